"""``genrescope robustness``: the table, the page and the JSON say the same, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from genrescope.apps.cli import robustness as command
from genrescope.apps.robustness_page import robustness_page
from genrescope.audio.frames import FRONT_END, N_FEATURES
from genrescope.errors import DataError
from tests.learn.tinybundle import make_bundle

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
ONLY = ("--only", "minus-20db", "--only", "rate-8k", "--only", "elsewhere")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    make_bundle(folder, n_features=N_FEATURES, front_end=FRONT_END, sharpness=3.0)
    return folder


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song of 60 s, two snippets, a file that is none, and a table of them."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(1)
    for name, seconds in (("song", 60.0), ("a", 2.0), ("b", 2.0)):
        t = np.arange(int(seconds * 22_050)) / 22_050
        y = 0.3 * np.sin(2 * np.pi * 220 * t * (1 + t / 300)) + 0.05 * rng.normal(size=len(t))
        soundfile.write(folder / f"{name}.wav", y, 22_050)
    (folder / "broken.wav").write_text("not music")
    (folder / "table.csv").write_text(
        "path,genre,artist_id\nsong.wav,Rock,1\na.wav,Techno,2\nb.wav,Nonsense,2\n"
    )
    return folder


@pytest.fixture
def run(bundle: Path) -> Run:
    app = typer.Typer()
    app.command()(command.robustness)

    def call(*args: object) -> Any:
        arguments = [str(arg) for arg in (*args, "--bundle", bundle, "--workers", 0)]
        result = CliRunner().invoke(app, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_long_and_short_are_told_apart_and_labels_are_used(run: Run, music: Path) -> None:
    result = run(music / "table.csv", *ONLY, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    long, short = found["sections"]
    assert (long["title"], short["title"]) == ("Clips of 30 s", "Short pieces")
    by_name = {row["name"]: row for row in long["effects"]}
    assert set(by_name) == {"minus-20db", "rate-8k", "elsewhere"}
    assert {row["n"] for row in long["effects"]} == {2}
    assert {row["n_labelled"] for row in long["effects"]} == {2}
    assert by_name["minus-20db"]["distance"] < by_name["rate-8k"]["distance"]
    assert [row["same"] for row in long["effects"]] == sorted(r["same"] for r in long["effects"])
    # Techno is below Electronic; Nonsense is nothing; and a snippet has no other place.
    assert {(row["name"], row["n_labelled"]) for row in short["effects"]} == {
        ("minus-20db", 1),
        ("rate-8k", 1),
    }
    assert {row["n_units"] for row in short["effects"]} == {1}


def test_the_table_and_the_page_say_the_same(run: Run, music: Path, tmp_path: Path) -> None:
    page = tmp_path / "robustness.md"
    result = run(music, *ONLY, "--markdown", page)
    assert result.exit_code == 1, "a file could not be read"
    assert "broken.wav" in result.stderr
    text = page.read_text()
    for label in ("20 dB softer, 16 bit", "sampled at 8 kHz", "another 30 s of the song"):
        assert label in result.stdout
        assert f"| {label} |" in text
    assert "1 file or clip could not" in text
    assert "2 clips of 30 s, from 1 file." in result.stdout


def test_a_pattern_is_expanded(run: Run, music: Path) -> None:
    found = json.loads(run(music / "[ab].wav", "--only", "fade", "--json").stdout)
    assert found["sections"][0]["effects"][0]["n"] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give files"),
        (["x.wav", "--run", "y"], "belong together"),
        (["x.wav", "--every", "0"], "more than 0"),
        (["x.wav", "--markdown", "no/such/folder.md"], "no folder"),
    ],
)
def test_wrong_usage_is_told_before_the_work(run: Run, arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in re.sub(r"[\s│]+", " ", result.stderr)


def test_nothing_to_hear_is_an_error(run: Run, music: Path) -> None:
    with pytest.raises(DataError, match=r"none of 1 files.*broken\.wav"):
        run(music / "broken.wav")
    with pytest.raises(DataError, match="no perturbation"):
        run(music / "a.wav", "--only", "nonsense")


def test_the_page_of_the_shipped_recogniser_reaches_what_is_asked() -> None:
    """As measured when the page was written; the page says by which command."""
    text = (ROOT / "docs" / "robustness.md").read_text()
    clips = text.split("## Clips of 30 s")[1].split("\n## ")[0]
    for label, least in (
        ("MP3, 128 kbit/s", 90.0),
        ("20 dB softer, 16 bit", 90.0),
        ("MP3, 64 kbit/s", 80.0),
        ("sampled at 16 kHz", 80.0),
        ("nothing above 16 kHz", 99.0),
    ):
        row = re.search(rf"^\| {re.escape(label)} \|[^|]+\| ([\d.]+)%", clips, flags=re.MULTILINE)
        assert row, label
        assert float(row[1]) >= least, label


def test_the_same_measurement_gives_the_same_page() -> None:
    row = {
        **{"name": "mono", "label": "mixed to mono", "kind": "channels", "n": 1200, "n_units": 9},
        **{"same": 0.8125, "same_interval": [0.75, 0.9], "distance": 0.0314, "n_sure": 0},
        **{"sure_kept": None, "sure_turned": None, "sure_before": 0.0, "sure_after": 0.0},
        **{"n_labelled": 1200, "accuracy_before": 0.5, "accuracy_after": 0.48},
        "change_interval": [-0.03, -0.01],
    }
    result = {
        "bundle": {"name": "tiny", "version": "1", "sha256": "0" * 64},
        "command": "genrescope robustness x",
        "sections": [{"title": "T", "about": "A.", "effects": [row]}],
        "n_failed": 0,
        "errors": [],
    }
    assert robustness_page(result) == robustness_page(json.loads(json.dumps(result)))
    assert (
        "| mixed to mono | 1,200 | 81.2% (75 to 90) |  |  | 0%, 0% | 0.031 | 0.500, 0.480 "
        "| -0.020 (-0.030 to -0.010) |" in robustness_page(result)
    )
