"""``genrescope lab`` as a user runs it."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest

from tests.apps.command import here, run
from tests.explain.browser import opened

MODELS = "ridge,gaussian_nb"
SECTIONS = ("Analysis", "Manifolds", "Classifiers", "Ensembles", "Confusion", "Explanations")


def write_messy(path: Path) -> Path:
    """Three genres that `loud` tells apart, and whatever else a user's table has."""
    rng = random.Random(0)
    rows = []
    for i in range(150):
        genre = ("Folk", "Rock", "Jazz")[i % 3]
        rows.append(
            {
                "track": f"t{i}",
                "genre": genre,
                "artist": f"band {i % 30}",
                "loud": rng.gauss({"Folk": 0, "Rock": 3, "Jazz": 6}[genre], 1),
                "gap": "" if i % 4 == 0 else rng.random(),
                "mood": rng.choice(["calm", "wild"]),
                "same": 1.5,
                "fast": rng.random(),
            }
        )
    rows.append({**rows[0], "track": "t150", "genre": "Polka", "artist": "band 99"})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("lab")
    features = write_messy(folder / "messy.csv")
    out = folder / "report"
    # fmt: off
    done = run("lab", "--features", features, "--label", "genre", "--group", "artist",
               "--out", out, "--models", MODELS, "--folds", "3")
    # fmt: on
    assert done.returncode == 0, done.stderr.decode()
    return out, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("what", ["gap", "mood", "same", "Polka"])
def test_whatever_a_table_has_is_handled_and_said(made: tuple[Path, str, str], what: str) -> None:
    out, _, errors = made
    assert any(what in line for line in errors.splitlines() if line.startswith("note:")), errors
    results = json.loads((out / "results.json").read_text())
    assert any(what in note for note in results["data"]["notes"])
    assert what in (out / "index.html").read_text()


def test_a_messy_table_is_learnt_from(made: tuple[Path, str, str]) -> None:
    out, printed, _ = made
    results = json.loads((out / "results.json").read_text())
    assert results["data"]["features"] == ["loud", "gap", "fast"]
    assert results["data"]["genres"] == ["Folk", "Jazz", "Rock"]
    assert results["leaderboard"]["rows"][0]["scores"]["accuracy"] > 0.8
    assert results["data"]["group"] == "artist"
    assert str(out / "index.html") in printed
    assert "RidgeClassifier" in printed
    assert "GaussianNB" in printed
    assert "genrescope lab --features" in results["command"]


def test_a_second_run_does_nothing(made: tuple[Path, str, str]) -> None:
    out, _, _ = made
    features = out.parent / "messy.csv"
    # fmt: off
    done = run("lab", "--features", features, "--label", "genre", "--group", "artist",
               "--out", out, "--models", MODELS, "--folds", "3")
    # fmt: on
    assert done.returncode == 0
    assert "nothing had changed" in done.stdout.decode()
    assert "classifiers" not in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "r"], "--features"),
        (["fma-small-mfcc"], "--data"),
        (["fma-smal", "--data", "."], "fma-small-mfcc"),
        (["--features", "none.csv"], "none.csv"),
        (["fma-small-mfcc", "--data", "."], "small_tracks.csv"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_way_out(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = here("lab", *arguments)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert not (tmp_path / "lab").exists()


def test_every_figure_of_a_messy_table_draws(made: tuple[Path, str, str]) -> None:
    drawn_without_a_fault(made[0])


@pytest.fixture(scope="module")
def some_tracks(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared tables, of every eighth artist of the one and every tenth row of the other."""
    there, folder = data_dir / "fma", tmp_path_factory.mktemp("fma")
    told = list(csv.reader((there / "small_tracks.csv").open(encoding="utf-8", newline="")))
    artist = told[0].index("artist_id")
    rows = [at for at, row in enumerate(told[1:]) if int(row[artist]) % 8 == 0]
    with (folder / "small_tracks.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([told[0], *(told[1 + at] for at in rows)])
    for name in ("small_mfcc.npz", "small_mel_frames.npz"):
        with np.load(there / name) as whole:
            n = len(told) - 1
            pieces = {key: whole[key] for key in whole.files}
        np.savez(
            folder / name, **{k: v[rows] if v.shape[:1] == (n,) else v for k, v in pieces.items()}
        )
    head, *heard = (there / "echonest_audio_features.csv").read_text("utf-8").splitlines()
    (folder / "echonest_audio_features.csv").write_text("\n".join([head, *heard[::10]]))
    for name in ("genre_top.csv", "genres.csv", "tracks_head.csv"):
        (folder / name).symlink_to(there / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "features"), [("fma-small-mfcc", 140), ("fma-echonest", 8)])
def test_the_shared_tables_run_by_name_and_draw(
    name: str, features: int, some_tracks: Path, tmp_path: Path
) -> None:
    # fmt: off
    done = run("lab", name, "--data", some_tracks, "--out", tmp_path / "r",
               "--models", "ridge,nearest_centroid", "--folds", "2", "--jobs", "1",
               "--reference", "cs464", timeout=250)
    # fmt: on
    assert done.returncode == 0, done.stderr.decode()
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    assert 600 < results["data"]["n"] < 1400
    assert len(results["data"]["features"]) == features
    page = (tmp_path / "r" / "index.html").read_text()
    for section in SECTIONS:
        assert section in page
    assert "52,868,624" in page  # of the published table
    drawn_without_a_fault(tmp_path / "r")


def drawn_without_a_fault(report: Path) -> None:
    """The page in a browser: every figure draws, nothing complains, nothing is fetched."""
    with opened(report / "index.html") as seen:
        seen.look_at_everything()
        assert seen.state["drawn"] == seen.state["figures"] > 15
        assert seen.state["errors"] == []
        assert seen.errors == []
        assert len(seen.requests) == 1
        assert seen.overflow <= 0
