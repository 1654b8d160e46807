"""Tracks of folders, manifests and FMA, by name; and what a store keeps of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from genrescope.audio.store.sources import CATALOGUE, Catalogue, find_tracks
from genrescope.catalog.fma_prepare import prepare
from genrescope.catalog.fma_simulate import simulate
from genrescope.errors import DataError, TableError

A = Catalogue(
    ("a", "b"), ("/m/a", "/m/b"), {"genre_top": ["Rock", None], "split": ["test", "x"]}, "folder"
)
B = Catalogue(("c", "b"), ("/n/c", "/n/b"), {"genre_top": ["Pop", "Jazz"], "n": [3, 4]}, "manifest")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"RIFF")


# --- catalogues --------------------------------------------------------------


def test_a_later_run_adds_tracks_and_says_what_is_so_now() -> None:
    both = A.merged(B)
    assert both.ids == ("a", "b", "c")
    assert both.paths == ("/m/a", "/n/b", "/n/c")
    assert both.columns == {
        "genre_top": ["Rock", "Jazz", "Pop"],
        "split": ["test", "x", None],
        "n": [None, 4, 3],
    }
    assert (both.kind, both.simulated) == ("manifest", False)
    assert A.columns["genre_top"] == ["Rock", None]  # as it was
    made_up = Catalogue((), (), {}, "FMA", simulated=True)
    assert A.merged(made_up).simulated
    assert made_up.merged(A).simulated


def test_an_id_names_one_track() -> None:
    with pytest.raises(DataError) as caught:
        Catalogue(("a", "b", "a"), ("/1", "/2", "/3"), {}, "folder")
    assert str(caught.value) == (
        "a is the id of two tracks, /1 and /3; each needs its own: name each file once, or give "
        "the manifest a column track_id"
    )
    with pytest.raises(ValueError, match="shorter"):
        Catalogue(("a", "b"), ("/1",), {}, "folder")


def test_some_of_the_tracks() -> None:
    some = A.merged(B).taken([2, 0])
    assert (some.ids, some.paths) == (("c", "a"), ("/n/c", "/m/a"))
    assert some.columns == {"genre_top": ["Pop", "Rock"], "split": [None, "test"], "n": [3, None]}
    assert (some.kind, len(some)) == ("manifest", 2)
    assert Catalogue(("a",), ("/a",), {}, "FMA", simulated=True).taken([0]).simulated


def test_a_catalogue_survives_being_written() -> None:
    odd = os.fsdecode(b"\xff")
    before = Catalogue((odd,), (f"/{odd}",), {"tags": [["x", "ü"]]}, "FMA", simulated=True)
    data = before.to_json()
    assert data.isascii()
    assert b": " not in data
    after = Catalogue.from_json(data)
    for name in ("ids", "paths", "columns", "kind", "simulated"):
        assert getattr(after, name) == getattr(before, name), name
    with pytest.raises(ValueError, match="Out of range"):
        Catalogue(("a",), ("/a",), {"x": [float("nan")]}, "FMA").to_json()


def test_a_store_keeps_it(tmp_path: Path) -> None:
    assert Catalogue.read(tmp_path) is None
    A.keep(tmp_path)
    first = (tmp_path / CATALOGUE).stat().st_ino
    A.keep(tmp_path)  # what is known already is not written again
    assert (tmp_path / CATALOGUE).stat().st_ino == first
    B.keep(tmp_path)
    found = Catalogue.read(tmp_path)
    assert found is not None
    assert found.to_json() == A.merged(B).to_json()


@pytest.mark.parametrize("wrong", [b"{", b"[]", b'{"id": ["a"]}', b'{"id": 3, "path": 4}'])
def test_a_catalogue_that_is_damaged_says_the_way_out(tmp_path: Path, wrong: bytes) -> None:
    (tmp_path / CATALOGUE).write_bytes(wrong)
    with pytest.raises(DataError) as caught:
        Catalogue.read(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / CATALOGUE}: cannot be read (")
    assert told.endswith(
        "); `genrescope features extract` with the same source makes it again once this file is "
        "removed"
    )


# --- folders and files -------------------------------------------------------


def test_one_file_is_a_source_whatever_its_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "sub" / "a.xyz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in ("sub/a.xyz", "~/sub/a.xyz", tmp_path / "sub" / "a.xyz"):
        found = find_tracks(source)
        assert (found.ids, found.paths) == (("a.xyz",), (str(tmp_path / "sub" / "a.xyz"),))
        assert (found.kind, found.columns, found.simulated) == ("folder", {}, False)


def test_ids_are_paths_below_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "m" / "b.wav", tmp_path / "m" / "x" / "y" / "a.mp3", tmp_path / "m" / "c.txt")
    monkeypatch.chdir(tmp_path)
    found = find_tracks("m")
    assert found.ids == ("b.wav", "x/y/a.mp3")
    assert found.paths == (str(tmp_path / "m/b.wav"), str(tmp_path / "m/x/y/a.mp3"))
    assert found.kind == "folder"


def test_folders_are_genres_only_where_all_of_them_are(tmp_path: Path) -> None:
    touch(tmp_path / "Rock" / "a.wav", tmp_path / "Pop" / "b.wav")
    assert find_tracks(tmp_path).columns == {"genre_top": ["Pop", "Rock"]}
    touch(tmp_path / "Rock" / "Some album" / "c.wav")
    assert find_tracks(tmp_path).columns == {"genre_top": ["Pop", "Rock", "Rock"]}
    touch(tmp_path / "d.wav")  # beside them
    assert find_tracks(tmp_path).columns == {}
    forced = find_tracks(tmp_path, genre_folders=True)
    assert forced.kind == "genre folders"
    assert forced.ids == ("Pop/b.wav", "Rock/a.wav", "Rock/Some album/c.wav")


def test_folders_that_cannot_be_read_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "Rock" / "a.wav", tmp_path / "Pop" / "b.wav")
    real, said = os.scandir, list[Path]()

    def refuse(where: Path) -> object:
        if Path(where).name == "Pop":
            raise PermissionError(13, "Permission denied")
        return real(where)

    monkeypatch.setattr(os, "scandir", refuse)
    for forced in (None, True):
        found = find_tracks(
            tmp_path, genre_folders=forced, on_error=lambda path, _: said.append(path)
        )
        assert found.ids == ("Rock/a.wav",)
    assert said == [tmp_path / "Pop"] * 2


# --- manifests ---------------------------------------------------------------


def test_tracks_of_a_manifest_are_named_by_their_place_below_it(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "list.CSV").write_text("path\nsub/../a.wav\n/elsewhere/b.wav\n../c.wav\n")
    found = find_tracks(tmp_path / "m" / "list.CSV")
    assert found.ids == ("a.wav", "/elsewhere/b.wav", str(tmp_path / "c.wav"))
    assert found.paths == (str(tmp_path / "m/a.wav"), "/elsewhere/b.wav", str(tmp_path / "c.wav"))
    assert (found.kind, found.columns) == ("manifest", {})


@pytest.mark.parametrize("ending", [".parquet", ".pq"])
def test_cells_are_plain_values_whatever_the_table_holds(tmp_path: Path, ending: str) -> None:
    table = pa.table({
        "path": ["a.wav", "b.wav"],
        "track_id": [17, 4],
        "genre_top": ["Rock", None],
    })  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / f"m{ending}")
    found = find_tracks(tmp_path / f"m{ending}")
    assert found.ids == ("17", "4")
    assert list(found.columns) == ["genre_top"]
    json.dumps(found.columns, allow_nan=False)


def test_tab_separated_manifests(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("path\tmood\na.wav\tcalm\n")
    assert find_tracks(tmp_path / "m.tsv").columns == {"mood": ["calm"]}


# --- FMA ---------------------------------------------------------------------


def test_fma_by_subset_and_with_the_folder_of_its_sound(tmp_path: Path) -> None:
    made = simulate(tmp_path, tracks=6, genres=2, seconds=0.7)
    prepare(made.metadata)
    assert made.audio is not None
    whole = find_tracks(made.metadata, audio=made.audio)
    assert whole.paths[0].startswith(str(made.audio))
    assert all(os.path.exists(path) for path in whole.paths)
    assert not {"path", "track_id"} & whole.columns.keys()
    json.dumps(whole.columns, allow_nan=False)
    subset = whole.columns["subset"][0]
    assert isinstance(subset, str)
    assert set(find_tracks(made.metadata, audio=made.audio, subset="small").ids) <= set(whole.ids)
    with pytest.raises(DataError, match="nowhere: no such folder; give the unpacked fma_small"):
        find_tracks(made.metadata, audio=tmp_path / "nowhere")
    with pytest.raises(TableError, match="'tiny' is no subset"):
        find_tracks(made.metadata, audio=made.audio, subset="tiny")


@pytest.mark.parametrize("option", [{"audio": "x"}, {"subset": "small"}])
def test_options_of_fma_belong_to_fma(tmp_path: Path, option: dict[str, str]) -> None:
    touch(tmp_path / "a.wav")
    for source in (tmp_path, tmp_path / "a.wav"):
        with pytest.raises(DataError, match=r"holds no prepared FMA tables, and audio and subset"):
            find_tracks(source, **option)


def test_sources_that_there_are_not_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path}/none.csv: no such file or folder$"):
        find_tracks(tmp_path / "none.csv")
    with pytest.raises(DataError, match=f"^{tmp_path}: no audio files in this folder or below it$"):
        find_tracks(tmp_path)
