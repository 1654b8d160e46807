"""The laboratory from end to end, on a table made up here."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genrescope.errors import DataError, SplitError
from genrescope.explain.laboratory import LabSettings, run_lab
from genrescope.explain.report.summary import summary
from genrescope.learn.lab.tabular import TabularData

MODELS = ("ridge", "gaussian_nb", "decision_tree")
SETTINGS = LabSettings(models=MODELS, folds=3)
SECTIONS = (
    "Data and split",
    "Analysis",
    "Manifolds",
    "Classifiers",
    "Ensembles",
    "Confusion",
    "Explanations",
)


def table(*, seed: int = 0) -> TabularData:
    """180 tracks of 45 artists in three genres; the first two features tell them apart."""
    rng = np.random.default_rng(seed)
    n, d = 180, 6
    artist = np.arange(n) % 45
    y = (artist % 3).astype(np.int64)
    x = rng.normal(size=(n, d)).astype(np.float32)
    x[:, 0] += 2.0 * (y == 0)
    x[:, 1] += 2.0 * (y == 1)
    x[rng.random(n) < 0.1, 3] = np.nan
    names = np.arange(n).astype(str)
    return TabularData(
        name="made-up",
        x=x,
        features=tuple(f"feature.{i}" for i in range(d)),
        feature_groups=("low",) * 3 + ("high",) * 3,
        y=y,
        genres=("Folk", "Pop", "Rock"),
        groups=artist.astype(str),
        group_name="artist",
        track_id=names,
        title=np.char.add("Song ", names),
        artist=np.char.add("Band ", artist.astype(str)),
        notes=("One row had no genre and is left out.",),
        source="Made up for a test.",
    )


class Heard:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict]] = []

    def __call__(self, event: str, facts: dict) -> None:
        self.events.append((event, dict(facts)))

    @property
    def fitted(self) -> list[str]:
        return [facts["key"] for event, facts in self.events if event == "fit"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lab")
    run_lab(table(), out, settings=SETTINGS, command="genrescope lab ...", jobs=1)
    return out


@pytest.fixture
def own(done: Path, tmp_path: Path) -> Path:
    """The same once more, for tests that change it."""
    return Path(shutil.copytree(done, tmp_path / "own"))


def test_the_report_has_every_section_and_file(done: Path) -> None:
    page = (done / "index.html").read_text()
    for section in SECTIONS:
        assert section in page
    results = json.loads((done / "results.json").read_text())
    assert [row["key"] for row in results["leaderboard"]["rows"] if row["scores"]]
    assert {row["key"] for row in results["leaderboard"]["rows"]} == set(MODELS)
    best = results["leaderboard"]["rows"][0]["scores"]
    assert best["accuracy"] > 0.6
    assert best["intervals"]["accuracy"][0] < best["accuracy"]
    assert results["leaderboard"]["resampled"] == "artist"
    assert results["audit"]["clean"]
    assert {"PCA", "LDA", "t-SNE"} == {one["method"] for one in results["maps"]}
    assert results["analysis"]["effects"][0]["feature"] in ("feature.0", "feature.1")
    assert list(done.glob("figures/*.svg"))
    assert list(done.glob("tables/*.parquet"))
    assert table().notes[0] in page


def test_the_summary_tells_the_same_numbers(done: Path) -> None:
    results = json.loads((done / "results.json").read_text())
    text = (done / "summary.md").read_text()
    assert text == summary(results)
    for row in results["leaderboard"]["rows"]:
        assert f"{row['scores']['accuracy']:.3f}" in text
        assert row["name"] in text


def test_what_has_not_changed_is_not_done_again(done: Path) -> None:
    before = (done / "index.html").stat().st_mtime_ns
    heard = Heard()
    paths = run_lab(
        table(), done, settings=SETTINGS, command="genrescope lab ...", jobs=1, report=heard
    )
    assert paths.unchanged
    assert heard.events == []
    assert (done / "index.html").stat().st_mtime_ns == before


def test_a_damaged_report_is_written_again_from_what_is_known(own: Path) -> None:
    (own / "index.html").write_text("gone")
    heard = Heard()
    paths = run_lab(table(), own, settings=SETTINGS, jobs=1, report=heard)
    assert not paths.unchanged
    assert heard.fitted == []
    assert "Classifiers" in (own / "index.html").read_text()


def test_another_model_fits_that_model_alone(own: Path, tmp_path: Path) -> None:
    heard = Heard()
    more = replace(SETTINGS, models=(*MODELS, "nearest_centroid"))
    run_lab(table(), own, settings=more, jobs=1, report=heard)
    assert heard.fitted == ["nearest_centroid"] * 3


def test_simulated_data_are_called_so(tmp_path: Path) -> None:
    data = replace(table(), simulated=True)
    run_lab(data, tmp_path, settings=replace(SETTINGS, models=("ridge", "gaussian_nb")), jobs=1)
    assert "simulated" in (tmp_path / "index.html").read_text().casefold()
    assert "SIMULATED" in (tmp_path / "summary.md").read_text()


def test_settings_that_name_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cs464"):
        run_lab(table(), tmp_path, settings=replace(SETTINGS, reference="cs465"))
    with pytest.raises(DataError, match="decision_tree"):
        run_lab(table(), tmp_path, settings=replace(SETTINGS, models=("decision_trees",)))
    with pytest.raises(SplitError, match="official"):
        run_lab(table(), tmp_path, settings=replace(SETTINGS, protocol="official"))
    assert list(tmp_path.iterdir()) == []
