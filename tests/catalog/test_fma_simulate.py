"""Simulated archives: FMA's shape, repeatable, marked, and with genres that differ."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from genrescope.catalog import fma
from genrescope.catalog.fma_simulate import simulate
from genrescope.catalog.genres import GenreTree
from genrescope.catalog.splits import audit
from genrescope.catalog.synth import STYLES, synthesise
from genrescope.catalog.table import Split, Subset
from genrescope.errors import DataError, UnknownGenreError


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("simulated")
    simulate(top, tracks=240, seconds=0.5, audio="small")
    fma.prepare(top)
    return top


def test_the_same_arguments_give_the_same_archive(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    done = simulate(one, tracks=24, seconds=0.2, seed=3)
    simulate(two, tracks=24, seconds=0.2, seed=3)
    simulate(three, tracks=24, seconds=0.2, seed=4)
    assert contents(one) == contents(two)
    assert not set(contents(one).values()) & set(contents(three).values()) - {
        (one / "fma_metadata/genres.csv").read_bytes()
    }
    assert done.clips == len(list((one / "fma_large").rglob("*.mp3"))) == 24
    # What was lost is made again, and nothing else is touched.
    before = contents(one)
    victim = next((one / "fma_large").rglob("*.mp3"))
    victim.unlink()
    (one / "fma_metadata/features.csv").unlink()
    simulate(one, tracks=24, seconds=0.2, seed=3)
    assert contents(one) == before


def test_it_is_marked_and_never_mixed_with_another(small: Path, tmp_path: Path) -> None:
    assert fma.is_simulated(small)
    for folder in ("fma_metadata", "fma_small"):
        assert "made up" in (small / folder / "SIMULATED.txt").read_text()
    with pytest.raises(DataError, match="other settings"):
        simulate(small, tracks=241, seconds=0.5, audio="small")
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata" / "tracks.csv").write_text("real")
    with pytest.raises(DataError, match="real and made-up tracks do not mix"):
        simulate(tmp_path, tracks=5)
    assert not (tmp_path / "fma_metadata" / "SIMULATED.txt").exists()


def test_the_headers_are_those_of_fma(small: Path, data_dir: Path) -> None:
    def rows(path: Path, n: int) -> list[list[str]]:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            return [next(reader) for _ in range(n)]

    ours = small / "fma_metadata"
    assert rows(ours / "tracks.csv", 3) == rows(data_dir / "fma/tracks_head.csv", 3)
    with (ours / "genres.csv").open() as mine, (data_dir / "fma/genres.csv").open() as theirs:
        left, right = list(csv.DictReader(mine)), list(csv.DictReader(theirs))
    for row in (*left, *right):
        row.pop("#tracks")
    assert left == right


def test_the_features_have_fmas_518_columns_in_order(small: Path) -> None:
    with (small / "fma_metadata/features.csv").open(newline="") as file:
        reader = csv.reader(file)
        head = [next(reader) for _ in range(4)]
    assert [row[0] for row in head] == ["feature", "statistics", "number", "track_id"]
    columns = list(zip(*(row[1:] for row in head[:3]), strict=True))
    assert len(columns) == 518
    assert columns == sorted(columns)
    assert columns[0] == ("chroma_cens", "kurtosis", "01")
    assert columns[-1] == ("zcr", "std", "01")
    counts = {name: sum(c[0] == name for c in columns) // 7 for name, *_ in columns}
    assert counts == {
        **dict.fromkeys(("chroma_cens", "chroma_cqt", "chroma_stft"), 12),
        **{"mfcc": 20, "spectral_contrast": 7, "tonnetz": 6},
        **dict.fromkeys(("rmse", "zcr"), 1),
        **{f"spectral_{name}": 1 for name in ("bandwidth", "centroid", "rolloff")},
    }
    table = fma.load_features(small)
    of = {name: table.values[:, at] for at, name in enumerate(table.names)}
    for name in ("mfcc", "chroma_stft", "zcr", "tonnetz"):
        low, mid, high = (of[f"{name}_{s}_01"] for s in ("min", "mean", "max"))
        assert np.all((low <= mid) & (mid <= high))
        assert np.all(of[f"{name}_std_01"] > 0)


def test_splits_are_by_artist_and_artists_have_several_tracks(small: Path) -> None:
    table = fma.load_tracks(small)
    report = audit(table, label="genre_top", group="artist_id", split="split")
    assert not report.shared_groups
    of: dict[str, int] = defaultdict(int)
    for artist in table["artist_id"]:
        of[artist] += 1
    assert np.mean(list(of.values())) > 1.5
    for split in Split:
        some = table.where(table["split"] == split)
        assert 0.05 < len(some) / len(table) < 0.9
        assert len({GenreTree.fma().top(names[0]) for names in some["genres"] if names}) == 8


def test_subsets_and_missing_genres_are_as_in_fma(small: Path) -> None:
    table = fma.load_tracks(small)
    of_small = table.where(table["subset"] <= Subset.SMALL)
    counts = [int(np.sum(of_small["genre_top"] == g)) for g in sorted(set(of_small["genre_top"]))]
    assert len(counts) == 8
    assert max(counts) - min(counts) <= 1
    assert not np.any(table.where(table["subset"] <= Subset.MEDIUM)["genre_top"] == "")
    assert 0.4 < np.mean(table["genre_top"] == "") < 0.6
    none = np.array([not names for names in table["genres"]])
    assert none.any()
    assert np.all(table["split"][none] == Split.TRAINING)
    assert not set(table["track_id"].tolist()) & fma.KNOWN_BAD.keys()


def test_clips_are_where_fma_has_them_and_can_be_read(small: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    table = fma.load_tracks(small, subset="small", audio=small / "fma_small")
    assert {str(p) for p in (small / "fma_small").rglob("*.mp3")} == set(table["path"])
    y, sr = soundfile.read(table["path"][0])
    assert sr == 22050
    assert len(y) >= 0.5 * sr
    assert 0.05 < np.abs(y).max() <= 1


def _summary(y: np.ndarray, sr: int) -> np.ndarray:
    """Where the energy is in frequency, and how it moves."""
    frames = y[: len(y) // 512 * 512].reshape(-1, 512)
    power = np.abs(np.fft.rfft(frames * np.hanning(512), axis=1)) ** 2
    bands = np.log(1e-6 + np.stack([b.sum(1) for b in np.array_split(power, 16, axis=1)], axis=1))
    return np.concatenate([bands.mean(0), bands.std(0), np.abs(np.diff(bands, axis=0)).mean(0)])


def test_genres_can_be_told_apart_by_sound() -> None:
    genres = list(STYLES)[:8]
    x = np.array(
        [
            [
                _summary(synthesise(g, seconds=2, seed=k, artist=100 * at + k), 22050)
                for k in range(6)
            ]
            for at, g in enumerate(genres)
        ]
    )
    x = (x - x.mean((0, 1))) / x.std((0, 1))
    centres = x[:, :3].mean(1)  # other artists than the three that are placed
    hits = [
        np.argmin(((centres - x[at, k]) ** 2).sum(1)) == at for at in range(8) for k in (3, 4, 5)
    ]
    assert np.mean(hits) > 0.7  # chance: 0.125


@pytest.mark.parametrize("genre", list(STYLES))
def test_each_style_makes_sound(genre: str) -> None:
    y = synthesise(genre, seconds=1.01, sr=16000, seed=5, artist=2)
    assert y.shape == (16160,)
    assert y.dtype == np.float32
    assert 0.4 < np.abs(y).max() <= 1
    assert np.array_equal(y, synthesise(genre, seconds=1.01, sr=16000, seed=5, artist=2))
    assert not np.array_equal(y, synthesise(genre, seconds=1.01, sr=16000, seed=6, artist=2))


def test_arguments_out_of_bounds(tmp_path: Path) -> None:
    for wrong in ({"tracks": 0}, {"genres": 17}, {"seconds": 99}, {"seed": -1}, {"audio": "full"}):
        with pytest.raises(DataError, match="must be"):
            simulate(tmp_path, **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    with pytest.raises(UnknownGenreError, match="no made-up style"):
        synthesise("Polka", seconds=1, seed=0)
    with pytest.raises(DataError, match="cannot be made"):
        synthesise("Rock", seconds=0, seed=0)


@pytest.mark.parametrize(("tracks", "genres"), [(1, 1), (3, 16), (40, 16), (10, 1)])
def test_any_size(tmp_path: Path, tracks: int, genres: int) -> None:
    done = simulate(tmp_path, tracks=tracks, genres=genres, audio=None)
    assert done.tracks == tracks
    assert done.audio is None
    prepared = fma.prepare(tmp_path)
    assert next(t.rows for t in prepared.tables) == tracks
    assert len(fma.load_tracks(tmp_path)) == tracks
