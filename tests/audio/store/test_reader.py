"""Reading a store: rows in any order, tables, and what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mutagen.id3 import TIT2, TPE1
from mutagen.wave import WAVE

from genrescope.audio import frames
from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.store import FeatureStore, load_frames
from genrescope.audio.store.place import Place
from genrescope.audio.store.recipe import Recipe, to_decibels
from genrescope.audio.store.sources import Catalogue
from genrescope.audio.store.write import Extraction, extract
from genrescope.errors import DataError
from tests.audio.stores import write_tone

COLUMNS: dict[str, list[object]] = {
    "genre_top": ["Rock", None, "Pop", "Rock"],
    "artist_id": [None, None, "9", None],
    "artist_name": ["Someone", None, "Nobody", None],
    "title": [None, "Said", None, None],
}


def make(folder: Path, ids: tuple[str, ...], recipe: Recipe, **columns: list[object]) -> Path:
    for i, id_ in enumerate(ids):
        path = folder / "m" / f"{id_}.wav"
        write_tone(path, seed=i, seconds=(0.6, 0.8, 2.0, 3.2)[i % 4])
        tags = WAVE(path)
        tags.add_tags()
        tags.tags.add(TIT2(encoding=3, text=f"Title {i}"))
        tags.tags.add(TPE1(encoding=3, text=f"Artist {i}"))
        tags.save()
    paths = tuple(str(folder / "m" / f"{id_}.wav") for id_ in ids)
    catalogue = Catalogue(ids, paths, columns, "manifest", simulated=True)
    extract(catalogue, folder / "s", how=Extraction(recipe, batch=3), workers=0)
    return folder / "s"


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tracks in two parts, of which not all is known."""
    folder = tmp_path_factory.mktemp("four")
    return make(folder, ("a", "b", "c", "d"), Recipe(seconds=1.0), **COLUMNS)


@pytest.fixture
def store(four: Path) -> FeatureStore:
    return FeatureStore.open(four)


# --- opening -----------------------------------------------------------------


def test_it_says_where_and_what_it_is(
    four: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert repr(store) == f"<FeatureStore {str(four)!r}: 4 tracks; mel, descriptors, frames>"
    assert (len(store), store.partitions, store.path) == (4, 0, four)
    assert store.front_ends == store.recipe.to_dict()["front_ends"]
    assert store.made_with["numpy"] == np.__version__
    monkeypatch.chdir(four.parent)
    assert FeatureStore.open("s").path == Path("s")
    assert len(FeatureStore.open(f"file://{four}")) == 4


@pytest.mark.parametrize("wrong", ["front_ends", "what", "seconds"])
def test_what_was_not_written_so_is_said(four: Path, tmp_path: Path, wrong: str) -> None:
    said = json.loads((four / "store.json").read_bytes())
    del said[wrong]
    (tmp_path / "store.json").write_text(json.dumps(said))
    with pytest.raises(DataError) as caught:
        FeatureStore.open(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: store.json or manifest.jsonl is not as it was written (KeyError: '{wrong}'); "
        "copy the store again"
    )
    if wrong == "what":
        (tmp_path / "store.json").write_text(json.dumps({**said, wrong: ["mels"]}))
        with pytest.raises(DataError, match=r"^what is 'mels'; give"):
            FeatureStore.open(tmp_path)


def test_a_store_of_one_folder_is_not_read_from_a_url(four: Path, tmp_path: Path) -> None:
    place = Place(f"memory://{tmp_path}/s")
    place.write("store.json", (four / "store.json").read_bytes())
    with pytest.raises(DataError, match="a store of one folder; copy it to a disk, or extract int"):
        FeatureStore.open(place.url)


# --- what the source says ----------------------------------------------------


def test_columns_by_track(store: FeatureStore) -> None:
    assert store.columns == ("genre_top", "artist_id", "artist_name", "title")
    assert store.column("genre_top") == ["Rock", None, "Pop", "Rock"]
    assert store.texts("genre_top").tolist() == ["Rock", "", "Pop", "Rock"]
    assert store.texts("mood").tolist() == [""] * 4
    assert store.texts("mood").dtype.kind == "U"
    with pytest.raises(DataError) as caught:
        store.column("mood")
    assert str(caught.value) == (
        f"{store.path}: its source has no column 'mood'; it has: genre_top, artist_id, "
        "artist_name, title"
    )


def test_a_source_that_says_nothing(tmp_path: Path) -> None:
    opened = FeatureStore.open(make(tmp_path, ("7", "08"), Recipe(("frames",))))
    with pytest.raises(DataError, match=r"it has: none$"):
        opened.column("genre_top")
    prepared = opened.prepared()
    assert prepared.track_id.tolist() == [7, 8]  # numbers are ids
    assert prepared.artist_id.tolist() == ["Artist 0", "Artist 1"]
    assert prepared.title.tolist() == ["Title 0", "Title 1"]
    assert opened.describe()["genres"] == {}
    (opened.path / "catalogue.json").unlink()
    alone = FeatureStore.open(opened.path)
    assert (alone.columns, len(alone.catalogue), alone.catalogue.kind) == ((), 0, "folder")


def test_prepared_tracks_take_the_first_who_says_anything(store: FeatureStore) -> None:
    found = store.prepared([3, 0, 1, 2])
    assert found.artist_id.tolist() == ["Artist 3", "Someone", "Artist 1", "9"]
    assert found.title.tolist() == ["Title 3", "Title 0", "Said", "Title 2"]
    assert found.genre_top.tolist() == ["Rock", "Rock", "", "Pop"]
    assert found.track_id.tolist() == [3, 0, 1, 2]  # the ids are names
    assert found.track_id.dtype == np.int64
    assert found.vggish is None
    mel, mfcc = store.frames()
    assert np.array_equal(found.mel, mel[[3, 0, 1, 2]])
    assert np.array_equal(found.mfcc_3s, mfcc[[3, 0, 1, 2]])
    assert np.array_equal(load_frames(store.path).mel, mel)
    with pytest.raises(DataError):
        load_frames(store.path.parent / "m")


# --- features ----------------------------------------------------------------


def test_rows_by_position_slice_and_from_the_end(store: FeatureStore) -> None:
    whole = store.mel()
    assert whole.shape == (4, 128, 44)
    for indices in ([3, 0], np.array([2, 2, -1]), slice(1, 3), slice(None, None, -2), [-4], []):
        expected = whole[indices] if len(np.atleast_1d(indices)) or indices else whole[:0]
        assert np.array_equal(store.mel(indices), expected)
        assert np.array_equal(store.decibels(indices), to_decibels(expected))
    table = store.descriptors([3, 0])
    assert table.ids.tolist() == ["d", "a"]
    assert len(table) == 2
    assert table.values.dtype == np.float32
    assert np.array_equal(table.values, store.descriptors().values[[3, 0]])
    assert store.descriptors([]).values.shape == (0, len(DESCRIPTOR_NAMES))


def test_positions_that_there_are_not(store: FeatureStore) -> None:
    for wrong, said in (([4], 4), ([0, -5], -5), ([-5, 9], 9)):
        with pytest.raises(IndexError) as caught:
            store.mel(wrong)
        assert str(caught.value) == f"there is no track {said}; the store has 4, from 0 to 3"
    for odd, told in (([[0]], r"int64 \(1, 1\)"), ([True], r"bool \(1,\)"), (["a"], r"<U1 \(1,\)")):
        with pytest.raises(
            DataError, match=rf"^the indices are {told}; give whole numbers in a row, 0 to 3$"
        ):
            store.mel(odd)  # type: ignore[arg-type]
    assert store.mel(np.array([3], dtype=np.uint8)).shape == (1, 128, 44)


def test_feature_rows_whatever_the_length_of_the_track(store: FeatureStore) -> None:
    rows = store.frame_features()
    assert [row.dense_frames for row in store.rows] == [130, 130, 87, 130]
    mel, mfcc = store.frames()
    assert rows.dtype == np.float32
    expected = frames.describe_prepared(mel, mfcc)
    assert np.array_equal(rows[[0, 1, 3]], expected[[0, 1, 3]])
    # What was repeated to fill the array is not heard twice.
    dense = mfcc[2:3, :87].astype(np.float32).transpose(0, 2, 1)
    db = mel[2:3].astype(np.float32) * np.float32(frames.RANGE_DB / 255)
    alone = frames.describe_decibels(db, np.ascontiguousarray(dense))
    assert np.array_equal(rows[2:3], alone)
    assert not np.array_equal(rows[2], expected[2])
    assert np.array_equal(store.frame_features([2, 0]), rows[[2, 0]])


def test_what_is_in_it_as_plain_values(store: FeatureStore) -> None:
    said = json.loads(json.dumps(store.describe(), allow_nan=False))
    size = sum(path.stat().st_size for path in (store.path / "parts").iterdir())
    recipe = store.recipe.to_dict()
    assert said == {
        "store": str(store.path),
        "source": "manifest",
        "simulated": True,
        "tracks": 4,
        "quarantined": {},
        "not_extracted": 0,
        "replaced_rows": 0,
        "parts": 2,
        "bytes": size,
        "seconds": 6.6,
        "arrays": {
            "mel": {"shape": [4, 128, 44], "dtype": "uint8"},
            "frames": {"shape": [4, 128, 128], "dtype": "uint8"},
            "mfcc": {"shape": [4, 130, 20], "dtype": "float16"},
            "descriptors": {"shape": [4, 518], "dtype": "float32"},
        },
        "genres": {"": 1, "Pop": 1, "Rock": 2},
        "columns": ["genre_top", "artist_id", "artist_name", "title"],
        "recipe": {"what": ["mel", "descriptors", "frames"], "seconds": 1.0, "dtype": "uint8"},
        "front_ends": recipe["front_ends"],
        "made_with": store.made_with,
    }
    assert list(said["genres"]) == ["", "Pop", "Rock"]


def test_what_is_not_in_it_is_counted_too(tmp_path: Path) -> None:
    path = make(tmp_path, ("a", "b"), Recipe(("mel",), seconds=1.0))
    (tmp_path / "m" / "bad.wav").write_bytes(b"RIFF")
    write_tone(tmp_path / "m" / "b.wav", seed=9)
    names = ("a", "b", "bad", "later")
    more = Catalogue(names, tuple(str(tmp_path / "m" / f"{n}.wav") for n in names), {}, "folder")
    extract(more.taken([0, 1, 2]), path, workers=0)
    more.keep(path)
    said = FeatureStore.open(path).describe()
    assert said["quarantined"] == {"AudioCorruptError": 1}
    assert (said["tracks"], said["not_extracted"], said["replaced_rows"]) == (2, 1, 1)
    assert said["arrays"] == {"mel": {"shape": [2, 128, 44], "dtype": "uint8"}}
