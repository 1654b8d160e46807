"""A store in the forms that training and other programs read."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from mutagen.id3 import TIT2, TPE1
from mutagen.wave import WAVE

from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.export import export_prepared, export_table
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import Catalogue
from genrescope.audio.store.write import Extraction, extract
from genrescope.catalog.prepared import load_prepared
from genrescope.errors import DataError
from tests.audio.stores import write_tone


def make(
    folder: Path, columns: dict[str, list[object]], *, what: str = "frames,descriptors",
    simulated: bool = False, tracks: int = 3,
) -> FeatureStore:  # fmt: skip
    """A store of three tracks, of which the source says so."""
    for i in range(tracks):
        write_tone(folder / "m" / f"{i}.wav", seed=i, seconds=0.6)
    tags = WAVE(folder / "m" / "1.wav")
    tags.add_tags()
    tags.tags.add(TIT2(encoding=3, text="Tagged title"))
    tags.tags.add(TPE1(encoding=3, text="Tagged artist"))
    tags.save()
    ids = tuple(f"{i}.wav" for i in range(tracks))
    paths = tuple(str(folder / "m" / id_) for id_ in ids)
    catalogue = Catalogue(ids, paths, columns, "manifest", simulated)
    recipe = Recipe(tuple(what.split(",")), seconds=1.0)
    extract(catalogue, folder / "s", how=Extraction(recipe), workers=0)
    return FeatureStore.open(folder / "s")


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "small_tracks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# --- to train on -------------------------------------------------------------


def test_tracks_with_a_genre_become_a_prepared_folder(tmp_path: Path) -> None:
    store = make(
        tmp_path,
        {
            "genre_top": ["Rock", "Pop", None],
            "artist_id": ["7", None, "8"],
            "artist_name": ["A, B", None, "C"],
            "title": [None, None, "x"],
        },
    )
    out = tmp_path / "deep" / "e"
    written = export_prepared(store, out)
    names = ["small_tracks.csv", "small_mel_frames.npz", "small_mfcc.npz"]
    assert written == [out / name for name in names]
    assert sorted(os.listdir(out)) == sorted(names)
    assert table_of(out) == [
        {
            "track_id": "0", "title": "", "genre_top": "Rock", "artist_id": "7",
            "artist_name": "A, B", "path": store.rows[0].path,
        },
        {
            "track_id": "1", "title": "Tagged title", "genre_top": "Pop",
            "artist_id": "Tagged artist", "artist_name": "Tagged artist",
            "path": store.rows[1].path,
        },
    ]  # fmt: skip
    read, expected = load_prepared(out), store.prepared([0, 1])
    assert read.track_id.tolist() == [0, 1]
    assert np.array_equal(read.mel, expected.mel)
    assert np.array_equal(read.mfcc_3s, expected.mfcc_3s)
    assert read.mfcc_3s.dtype == np.float16


def test_more_tracks_than_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path, {"genre_top": ["Rock", None, "Pop", "Rock", "Folk"]}, tracks=5)
    monkeypatch.setattr("genrescope.audio.store.export._BATCH", 2)
    (tmp_path / "e").mkdir()  # a folder that is there is written into
    export_prepared(store, tmp_path / "e")
    read, expected = load_prepared(tmp_path / "e"), store.prepared([0, 2, 3, 4])
    assert read.genre_top.tolist() == ["Rock", "Pop", "Rock", "Folk"]
    assert read.track_id.tolist() == expected.track_id.tolist() == [0, 2, 3, 4]
    assert np.array_equal(read.mel, expected.mel)
    assert np.array_equal(read.mfcc_3s, expected.mfcc_3s)


def test_what_cannot_be_trained_on_is_said(tmp_path: Path) -> None:
    store = make(tmp_path, {"genre_top": [None, None, ""]})
    with pytest.raises(DataError) as caught:
        export_prepared(store, tmp_path / "e")
    assert str(caught.value) == (
        f"{store.path}: no track has a genre, without which nothing can be learnt or scored; "
        "extract from GENRE/track folders, or a manifest with the column genre"
    )
    assert not (tmp_path / "e").exists()


def test_without_frames_nothing_is_exported(tmp_path: Path) -> None:
    store = make(tmp_path, {"genre_top": ["Rock", "Pop", "Pop"]}, what="descriptors")
    with pytest.raises(DataError, match="holds descriptors and no frames"):
        export_prepared(store, tmp_path / "e")
    assert not (tmp_path / "e").exists()
    (tmp_path / "file").write_bytes(b"")
    frames = make(tmp_path / "2", {"genre_top": ["Rock", "Pop", "Pop"]}, what="frames")
    with pytest.raises(DataError, match="file: cannot be written: File exists"):
        export_prepared(frames, tmp_path / "file")
    with pytest.raises(DataError, match="holds frames and no descriptors"):
        export_table(frames, tmp_path / "d.parquet")


def test_made_up_tracks_stay_known_as_such(tmp_path: Path) -> None:
    store = make(tmp_path, {"genre_top": ["Rock", "Pop", "Pop"]}, simulated=True)
    marker = tmp_path / "e" / "SIMULATED.txt"
    assert export_prepared(store, tmp_path / "e")[-1] == marker
    assert marker.read_text() == "The features in this folder are of made-up tracks.\n"
    export_table(store, tmp_path / "t" / "d.parquet")
    assert (tmp_path / "t" / "SIMULATED.txt").exists()


# --- for other programs ------------------------------------------------------


def test_descriptors_with_all_that_the_source_says(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff")
    store = make(
        tmp_path,
        {
            "genre_top": ["Rock", None, "Pop"],
            "tags": [["a", "b"], [], None],
            "plays": [3, None, 4],
            "note": [odd, None, "x"],
            "id": ["left", "out", "!"],
            "mfcc_mean_01": [1.0, 2.0, 3.0],
        },
    )
    path = export_table(store, tmp_path / "t" / "d.parquet")
    assert path == tmp_path / "t" / "d.parquet"
    assert os.listdir(tmp_path / "t") == ["d.parquet"]
    table = pyarrow.parquet.read_table(path)
    assert table.column_names == [
        "track_id", "path", "genre_top", "tags", "plays", "note", "artist", "title",
        *DESCRIPTOR_NAMES,
    ]  # fmt: skip
    cells = {name: table[name].to_pylist() for name in table.column_names[:8]}
    assert cells == {
        "track_id": ["0.wav", "1.wav", "2.wav"],
        "path": [row.path for row in store.rows],
        "genre_top": ["Rock", None, "Pop"],
        "tags": ["a; b", "", None],
        "plays": [3, None, 4],
        "note": ["?", None, "x"],
        "artist": ["", "Tagged artist", ""],
        "title": ["", "Tagged title", ""],
    }
    values = np.stack([table[name].to_numpy() for name in DESCRIPTOR_NAMES], axis=1)
    assert values.dtype == np.float32
    assert np.array_equal(values, store.descriptors().values)


@pytest.mark.parametrize("known", ["artist_id", "artist_name", "artist"])
def test_tags_are_not_told_where_the_source_knows(tmp_path: Path, known: str) -> None:
    columns: dict[str, list[object]] = {known: ["1", "2", "3"], "title": ["x", "y", "z"]}
    path = export_table(make(tmp_path, columns, what="descriptors"), tmp_path / "d.parquet")
    table = pyarrow.parquet.read_table(path)
    assert table.column_names[:4] == ["track_id", "path", known, "title"]
    assert table.column_names[4:] == list(DESCRIPTOR_NAMES)
    assert table[known].to_pylist() == ["1", "2", "3"]
    assert table["title"].to_pylist() == ["x", "y", "z"]
