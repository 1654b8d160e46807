"""The track table: types, its two enums, CSV and Parquet, and every way to be wrong."""

from __future__ import annotations

import csv
import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.catalog.table import COLUMNS, Split, Subset, TrackTable
from genrescope.errors import GenrescopeError, MissingExtraError, TableError


def write(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- enums -------------------------------------------------------------------


def test_subsets_are_ordered_by_size_and_not_by_alphabet() -> None:
    assert Subset.SMALL < Subset.MEDIUM < Subset.LARGE < Subset.FULL
    assert sorted(Subset, key=lambda s: s.value) != sorted(Subset)
    # The slip that once selected everything: as strings, every name but one is <= "small".
    names = ["small", "medium", "large", "full"]
    assert [n for n in names if n <= "small"] == names
    assert [s for s in Subset if s <= Subset.SMALL] == [Subset.SMALL]


@pytest.mark.parametrize("compare", ["__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"])
@pytest.mark.parametrize("member", [Subset.SMALL, Split.TEST])
def test_comparing_with_a_string_is_an_error(member: Subset | Split, compare: str) -> None:
    with pytest.raises(TypeError, match=r"compared with the string 'small'.*parse"):
        getattr(member, compare)("small")


def test_columns_of_enums_compare_like_their_members() -> None:
    table = TrackTable({"track_id": [1, 2, 3, 4], "subset": ["small", "FULL", "", " Medium "]})
    assert (table["subset"] <= Subset.MEDIUM).tolist() == [True, False, False, True]
    assert (table["subset"] > Subset.MEDIUM).tolist() == [False, True, False, False]
    assert (table["subset"] == Subset.FULL).tolist() == [False, True, False, False]
    with pytest.raises(TypeError, match="string 'small'"):
        _ = table["subset"] <= "small"
    with pytest.raises(TypeError, match="string 'full'"):
        _ = table["subset"] == "full"


def test_enums_of_different_kinds_do_not_compare() -> None:
    assert Subset.SMALL != Split.TRAINING
    with pytest.raises(TypeError):
        _ = Subset.SMALL < Split.TEST
    assert len({Subset.SMALL, Subset.parse("small"), Split.TEST}) == 2


@pytest.mark.parametrize(
    ("text", "split"),
    [("train", Split.TRAINING), ("Dev", Split.VALIDATION), (" TEST ", Split.TEST)],
)
def test_split_takes_the_usual_short_names(text: str, split: Split) -> None:
    assert Split.parse(text) is split


def test_parse_lists_the_members() -> None:
    with pytest.raises(TableError, match=r"'huge' is no subset.*small, medium, large, full"):
        Subset.parse("huge")


# --- columns -----------------------------------------------------------------


def test_columns_have_the_types_of_the_schema() -> None:
    table = TrackTable(
        {
            "track_id": ["2", "5.0"],
            "artist_id": [1.0, float("nan")],
            "duration": ["30.1", ""],
            "genres": ["[21, 10]", "Old-Time / Historic|Pop"],
            "subgenres": [["Rap"], ""],
            "split": ["training", ""],
        }
    )
    assert table["track_id"].dtype == np.int64
    assert table["track_id"].tolist() == [2, 5]
    assert table["artist_id"].tolist() == ["1", ""]
    assert table["duration"][0] == 30.1
    assert np.isnan(table["duration"][1])
    assert table["genres"].tolist() == [("21", "10"), ("Old-Time / Historic", "Pop")]
    assert table["subgenres"].tolist() == [("Rap",), ()]
    assert table["split"].tolist() == [Split.TRAINING, None]
    assert len(table) == 2


def test_unknown_column_lists_the_right_ones_and_the_nearest() -> None:
    with pytest.raises(TableError) as caught:
        TrackTable({"Artist ID": ["1"]})
    assert "unknown column 'Artist ID' (did you mean 'artist_id'?)" in str(caught.value)
    assert all(name in str(caught.value) for name in COLUMNS)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, GenrescopeError)


def test_asking_for_a_missing_column_says_what_is_here() -> None:
    table = TrackTable({"artist_name": ["a"], "title": ["b"]})
    with pytest.raises(TableError, match=r"'artist_nam' \(did you mean 'artist_name'\?\).*title"):
        table["artist_nam"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"track_id": ["1", "x"]}, "row 2: track_id: 'x' is not a whole number"),
        ({"track_id": ["1", ""]}, "row 2: track_id: '' is not a whole number"),
        ({"track_id": ["1_0"]}, "not a whole number"),
        ({"track_id": ["٣"]}, "not a whole number"),
        ({"track_id": ["1.5"]}, "not a whole number"),
        ({"track_id": [str(2**63)]}, "64 bits"),
        ({"track_id": [3, 1, 3, 1]}, "row 3: track_id 3 was already in row 1 .2 ids"),
        ({"duration": ["1", "-2"]}, "row 2: duration: '-2' is no duration"),
        ({"duration": ["inf"]}, "row 1: duration"),
        ({"duration": ["long"]}, "'long' is not a number of seconds"),
        ({"subset": ["small", "tiny"]}, "row 2: subset: 'tiny' is no subset"),
        ({"track_id": [1, 2], "title": ["a"]}, "differ in length"),
    ],
)
def test_bad_cells_name_their_row(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(TableError, match=message):
        TrackTable(columns)


def test_where_keeps_order_and_types_and_refuses_other_masks() -> None:
    table = TrackTable({"track_id": [5, 2, 9], "genre_top": ["Rock", "Pop", "Rock"]})
    rock = table.where(table["genre_top"] == "Rock")
    assert rock["track_id"].tolist() == [5, 9]
    assert len(table.where(np.zeros(3, dtype=bool))) == 0
    for mask in ([True], [0, 1, 2], [1, 0, 1]):
        with pytest.raises(TableError, match="the mask is"):
            table.where(mask)


def test_a_table_cannot_be_changed_and_can_be_pickled() -> None:
    table = TrackTable({"track_id": [1, 2], "mood": ["sad", "glad"]}, text={"mood"})
    with pytest.raises(ValueError, match="read-only"):
        table["track_id"][0] = 7
    with pytest.raises(TypeError):
        table.columns["title"] = []  # type: ignore[index]
    again = pickle.loads(pickle.dumps(table))
    assert again["mood"].tolist() == ["sad", "glad"]
    assert again.text == {"mood"}


def test_with_column_adds_and_replaces() -> None:
    table = TrackTable({"track_id": [1, 2]})
    added = table.with_column("split", ["train", "test"]).with_column("fold", [0, 1])
    assert added["split"].tolist() == [Split.TRAINING, Split.TEST]
    assert added["fold"].tolist() == ["0", "1"]
    assert "split" not in table


# --- CSV ---------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_csv_dialects(tmp_path: Path, mark: str, end: str, comma: str) -> None:
    rows = ["track_id,title,genre_top", '2,"a, ""b"" ; c",', "", '5,"two\nlines",Pop']
    quoted = [r.replace(", ", "@").replace(",", comma).replace("@", ", ") for r in rows]
    table = TrackTable.from_csv(write(tmp_path, mark + end.join(quoted) + end))
    assert table["track_id"].tolist() == [2, 5]
    assert table["title"].tolist() == ['a, "b" ; c', "two\nlines"]
    assert table["genre_top"].tolist() == ["", "Pop"]


def test_csv_errors_name_file_row_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, 'track_id,title\n1,"two\nlines"\nx,b\n')
    with pytest.raises(TableError, match=r"t\.csv: row 2 \(line 4\): track_id: 'x'"):
        TrackTable.from_csv(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("track_id,title\n1\n", r"row 1 \(line 2\) has 1 cells and the header 2"),
        ("track_id,title\n1,a,b\n", r"has 3 cells and the header 2"),
        ('track_id,title\n1,"open\n2,b\n', "quote that is not closed"),
        ("track_id,track_id\n1,2\n", "'track_id' occurs 2 times"),
        (",album,album,artist,track\n", "two header rows"),
        ("track_id,,title\n1,2,3\n", "column 2 has no name"),
        ("track_id,titel\n1,a\n", "did you mean 'title'"),
        ("track_id\n1\n".encode("utf-16"), "UTF-16"),
        (b"track_id,title\n1,caf\xe9\n", r"row 1 \(line 2\): title is not UTF-8"),
        (b"PK\x03\x04rest", "spreadsheet"),
        (b"PAR1rest", "Parquet"),
    ],
)
def test_broken_csv(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        TrackTable.from_csv(write(tmp_path, content))


@pytest.mark.parametrize("name", ["nothing.csv", "."])
def test_csv_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        TrackTable.from_csv(tmp_path / name)


def test_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    assert len(TrackTable.from_csv(write(tmp_path, "track_id,title\n"))) == 0


def test_huge_fields_are_read_and_the_limit_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit(131_000)
    try:
        table = TrackTable.from_csv(write(tmp_path, "title\n" + "x" * 3_000_000 + "\n"))
        assert len(table["title"][0]) == 3_000_000
        assert csv.field_size_limit() == 131_000
    finally:
        csv.field_size_limit(before)


def test_paths_that_are_not_utf8_survive(tmp_path: Path) -> None:
    table = TrackTable.from_csv(write(tmp_path, b"path\ncaf\xe9.mp3\n"))
    assert table["path"][0].encode("utf-8", "surrogateescape") == b"caf\xe9.mp3"


def test_a_row_index_without_name_is_left_out(tmp_path: Path) -> None:
    table = TrackTable.from_csv(write(tmp_path, ",track_id\n0,7\n1,8\n"))
    assert list(table.columns) == ["track_id"]


def test_required_and_unknown_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "track_id,Genre\n1,Rock\n")
    with pytest.raises(TableError, match="unknown column 'Genre'"):
        TrackTable.from_csv(path)
    assert TrackTable.from_csv(path, keep_unknown=True)["Genre"].tolist() == ["Rock"]
    with pytest.raises(TableError, match=r"no column 'genres' \(did you mean 'Genre'\?\)"):
        TrackTable.from_csv(path, keep_unknown=True, required=("genres",))


def test_known_columns_can_be_left_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, "track_id,split\nblues.1,A\nblues.1,B\n")
    table = TrackTable.from_csv(path, text=COLUMNS)
    assert table["track_id"].tolist() == ["blues.1", "blues.1"]
    assert table["split"].tolist() == ["A", "B"]


cell = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"), max_size=20)


@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=8))
def test_any_text_survives_csv(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["track_id", "title", "artist_name"])
    writer.writerows([str(i), *row] for i, row in enumerate(rows))
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    table = TrackTable.from_csv(path)
    assert table["title"].tolist() == [r[0].strip() for r in rows]
    assert table["artist_name"].tolist() == [r[1].strip() for r in rows]


# --- Parquet -----------------------------------------------------------------


def test_parquet_gives_the_same_table_as_csv(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = {
        "track_id": pa.array([2, 5], pa.int32()),
        "artist_id": pa.array([1.0, None]),
        "title": pa.array(["Food", None]),
        "subset": pa.array(["small", "large"]).dictionary_encode(),
        "genres": pa.array([["Rap", "Pop"], None]),
        "duration": pa.array([30.0, None]),
    }
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    text = (
        "track_id,artist_id,title,subset,genres,duration\n2,1,Food,small,Rap|Pop,30\n5,,,large,,\n"
    )
    from_csv = TrackTable.load(write(tmp_path, text))
    from_parquet = TrackTable.load(path)
    for name in columns:
        np.testing.assert_array_equal(from_parquet[name], from_csv[name], strict=True)


def test_parquet_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for content in (b"", b"track_id\n1\n"):
        with pytest.raises(TableError, match="cannot be read as Parquet"):
            TrackTable.load(write(tmp_path, content, "t.parquet"))
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        TrackTable.load(tmp_path / "none.pq")


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"genrescope\[lab\]"):
        TrackTable.from_parquet(tmp_path / "t.parquet")


# --- real tables -------------------------------------------------------------


@pytest.mark.data
def test_real_tables(data_dir: Path) -> None:
    small = TrackTable.load(data_dir / "fma" / "small_tracks.csv")
    assert len(small) == len(set(small["track_id"])) > 7000
    assert len(set(small["genre_top"])) == 8
    assert "" not in set(small["artist_id"])
    genres = TrackTable.load(data_dir / "fma" / "genre_top.csv")
    assert len(set(genres["genre_top"])) == 16
    with pytest.raises(TableError, match="two header rows"):
        TrackTable.load(data_dir / "fma" / "tracks_head.csv")
