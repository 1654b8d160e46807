"""FMA's tables to Parquet: both header styles, what stands in cells, and every known trap."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.catalog import fma
from genrescope.catalog.fma_inventions import TRACKS_HEAD
from genrescope.catalog.fma_simulate import simulate
from genrescope.catalog.fma_tables import _id_list, _name_list
from genrescope.catalog.table import Split, Subset
from genrescope.errors import DataError, TableError
from tests.memory import peak_of

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

COLUMNS = list(zip(*TRACKS_HEAD[:2], strict=True))[1:]
GOOD: dict[tuple[str, str], object] = {
    ("album", "id"): 1,
    ("artist", "id"): 7,
    ("artist", "name"): "AWOL",
    ("set", "split"): "training",
    ("set", "subset"): "small",
    ("track", "duration"): 168,
    ("track", "genre_top"): "Hip-Hop",
    ("track", "genres"): "[21]",
    ("track", "genres_all"): "[21]",
    ("track", "tags"): "[]",
    ("track", "title"): "Food",
}


def row(track_id: object, **cells: object) -> list[object]:
    """A row of tracks.csv; cells by "group_name", or by the names of the track."""
    changed = dict(GOOD)
    for name, value in cells.items():
        group, _, rest = name.partition("_")
        key = (group, rest) if (group, rest) in COLUMNS else ("track", name)
        changed[("set", name) if name in ("split", "subset") else key] = value
    return [track_id, *(changed.get(column, "") for column in COLUMNS)]


def folder(path: Path, *rows: list[object]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    with (path / "tracks.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([*TRACKS_HEAD, *rows])
    return path


def prepared(path: Path, *rows: list[object]) -> list[dict[str, Any]]:
    done = fma.prepare(folder(path, *rows))
    found: list[dict[str, Any]] = pq.read_table(done.folder / "tracks.parquet").to_pylist()
    return found


# --- the real files ---


@pytest.fixture(scope="module")
def real(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("real")
    for ours, theirs in (
        ("tracks", "tracks_head"),
        ("genres", "genres"),
        ("echonest", "echonest_audio_features"),
    ):
        shutil.copyfile(data_dir / f"fma/{theirs}.csv", top / f"{ours}.csv")
    done = fma.prepare(top)
    assert done.missing == ("features.csv",)
    assert not done.simulated
    assert not any(table.unreadable for table in done.tables)
    return top


def test_every_cell_of_the_real_head_survives(real: Path) -> None:
    with (real / "tracks.csv").open(encoding="utf-8", newline="") as file:
        raw = list(csv.reader(file))
    table = pq.read_table(real / "prepared/tracks.parquet")
    assert table.num_rows == len(raw) - 3 == 673
    assert table.num_columns == 53
    got = table.to_pylist()
    for at, (_, *levels) in enumerate(zip(*raw[:3], strict=True)):
        del levels
        group, name = raw[0][at], raw[1][at]
        key = "track_id" if at == 0 else name if group in ("track", "set") else f"{group}_{name}"
        for cells, parsed in zip(raw[3:], got, strict=True):
            cell, value = cells[at].strip(), parsed[key]
            if cell in ("", "-1"):
                assert value is None
            elif isinstance(value, datetime):
                assert str(value) == cell
            elif isinstance(value, float):
                assert value == float(cell)
            elif isinstance(value, list):
                assert str(value) == cell
            else:
                assert str(value) == cell, key


def test_the_types(real: Path) -> None:
    schema = pq.read_schema(real / "prepared/tracks.parquet")
    types = {field.name: str(field.type) for field in schema}
    for name in ("date_created", "date_recorded", "album_date_released", "artist_date_created"):
        assert types[name] in ("timestamp[s]", "timestamp[ms]")
    for name, kind in (("genres", "int32"), ("artist_tags", "string")):
        assert types[name].startswith("list<")
        assert kind in types[name]
    assert types["listens"] == "int64"
    assert types["artist_latitude"] == "double"
    for name, values in (
        ("subset", ["small", "medium", "large", "full"]),
        ("split", ["training", "validation", "test"]),
    ):
        column = pq.read_table(real / "prepared/tracks.parquet")[name].combine_chunks()
        assert column.type.ordered
        assert column.dictionary.to_pylist() == values
    assert types["genre_top"].startswith("dictionary<values=string")


def test_subset_is_an_order_and_no_alphabet(real: Path) -> None:
    with (real / "tracks.csv").open(encoding="utf-8", newline="") as file:
        raw = [cells[32] for cells in list(csv.reader(file))[3:]]
    small, medium = raw.count("small"), raw.count("medium")
    assert len([s for s in raw if s <= "small"]) == len(raw)  # the slip of 2022
    assert len(fma.load_tracks(real, subset="small")) == small
    assert len(fma.load_tracks(real, subset=Subset.MEDIUM)) == small + medium
    assert len(fma.load_tracks(real, subset="full")) == len(raw)
    table = fma.load_tracks(real, subset="medium", split="test")
    assert set(table["split"]) == {Split.TEST}
    assert len(table) == 49
    with pytest.raises(TableError, match="is no subset"):
        fma.load_tracks(real, subset="tiny")
    with pytest.raises(TypeError, match="compare by alphabet"):
        table["subset"] <= "small"  # noqa: B015


def test_tracks_as_a_table(real: Path) -> None:
    table = fma.load_tracks(real)
    first = {name: column[0] for name, column in table.columns.items()}
    assert first == {
        "track_id": 2,
        "path": "000/000002.mp3",
        "title": "Food",
        "artist_id": "1",
        "artist_name": "AWOL",
        "album_id": "1",
        "genre_top": "Hip-Hop",
        "genres": ("Hip-Hop",),
        "split": Split.TRAINING,
        "subset": Subset.SMALL,
        "duration": 168.0,
        "problem": "",
    }
    assert np.mean(table["genre_top"] == "") > 0.05
    assert fma.load_tracks(real, audio="/music")["path"][0] == str(Path("/music/000/000002.mp3"))


def test_real_counts(real: Path) -> None:
    found = fma.describe(real)
    assert found.tracks == 673
    assert found.subsets["large"] == {"training": 563, "validation": 48, "test": 62}
    assert found.genres["Rock"] == {"small": 8, "medium": 41, "large": 268, "full": 268}
    assert found.no_top_genre == {"training": 50, "test": 1}
    assert found.no_genre == {"training": 1}
    assert found.tables == {"tracks": (673, 53), "genres": (163, 5), "echonest": (13129, 9)}
    json.dumps(found.to_dict())


def test_the_real_genres_and_echonest(real: Path) -> None:
    tree = fma.load_genres(real)
    assert len(tree) == 163
    assert tree.path(1) == ("Experimental", "Avant-Garde")
    table = fma.load_echonest(real, track_id=np.array([10, 2]))
    assert table.track_id.tolist() == [10, 2]
    assert table.values[1, table.names.index("tempo")] == np.float32(165.922)
    with pytest.raises(DataError, match=r"1 of 2 tracks have no echonest \(track 1 is"):
        fma.load_echonest(real, track_id=np.array([2, 1]))
    with pytest.raises(DataError, match=r"no table features: features\.csv was not there"):
        fma.load_features(real)


def test_a_flat_table_cut_out_of_tracks(data_dir: Path, tmp_path: Path) -> None:
    shutil.copyfile(data_dir / "fma/rock_hiphop_tracks.csv", tmp_path / "tracks.csv")
    done = fma.prepare(tmp_path)
    assert not done.tables[0].unreadable
    first = pq.read_table(done.folder / "tracks.parquet").slice(0, 1).to_pylist()[0]
    assert first["date_created"] == datetime(2008, 11, 26, 1, 48)  # 11/26/2008 1:48
    assert first["listens"] == 1293
    table = fma.load_tracks(tmp_path)
    assert len(table) == 17_536
    assert "split" not in table
    with pytest.raises(DataError, match="no column subset to choose by"):
        fma.load_tracks(tmp_path, subset="small")
    assert fma.describe(tmp_path).subsets == {}


# --- traps ---


def test_html_line_breaks_and_quotes_stay_in_their_cell(tmp_path: Path) -> None:
    bio = '<p>One, "two"</p>\r\n\r\n<p>3,training,small\n4</p>'
    got = prepared(tmp_path, row(2, artist_bio=bio, title='A "quoted", title'), row(3))
    assert got[0]["artist_bio"] == bio
    assert got[0]["title"] == 'A "quoted", title'
    assert got[1]["title"] == "Food"


def test_only_nothing_is_nothing(tmp_path: Path) -> None:
    titles = ["NULL", "NA", "nan", "None", "null", "N/A", "", "0", "  "]
    got = prepared(tmp_path, *(row(2 + at, title=title) for at, title in enumerate(titles)))
    assert [r["title"] for r in got] == [*titles[:6], None, "0", None]


def test_genres_may_be_missing(tmp_path: Path) -> None:
    prepared(
        tmp_path,
        row(2, genre_top="", genres="[]", genres_all="[]"),
        row(3, genre_top="", genres="[21, 12]"),
        row(5, genres="[99999]"),
    )
    table = fma.load_tracks(tmp_path)
    assert table["genre_top"].tolist() == ["", "", "Hip-Hop"]
    assert table["genres"].tolist() == [(), ("Hip-Hop", "Rock"), ("99999",)]
    found = fma.describe(tmp_path)
    assert found.no_genre == {"training": 1}
    assert found.no_top_genre == {"training": 2}
    assert found.genres[""] == dict.fromkeys(("small", "medium", "large", "full"), 2)


def test_minus_one_and_empty_are_not_known(tmp_path: Path) -> None:
    got = prepared(tmp_path, row(2, album_id=-1, listens="", favorites="3.0", bit_rate=-1))
    assert [got[0][n] for n in ("album_id", "listens", "favorites", "bit_rate")] == [
        *(None, None, 3, None)
    ]
    assert fma.load_tracks(tmp_path)["album_id"].tolist() == [""]


def test_known_bad_tracks_are_flagged_and_their_durations_not_believed(tmp_path: Path) -> None:
    prepared(tmp_path, *(row(id_) for id_ in (2, 1486, 98565, 98567, 99134, 98566, 133297)))
    table = fma.load_tracks(tmp_path)
    problems = dict(zip(table["track_id"].tolist(), table["problem"], strict=True))
    wrong = "the duration in the metadata is wrong"
    assert problems == {
        2: "",
        1486: wrong,
        98565: f"shorter than 30 s; {wrong}",
        98567: f"shorter than 30 s; {wrong}",
        99134: f"almost no audio; {wrong}",
        98566: wrong,
        133297: f"almost no audio; {wrong}",
    }
    assert np.isnan(table["duration"]).tolist() == [False] + [True] * 6
    assert fma.describe(tmp_path).known_bad.keys() == problems.keys() - {2}
    assert len(fma.KNOWN_BAD) == 21
    # Made-up tracks are not the real ones of these numbers.
    (tmp_path / "SIMULATED.txt").write_text("made up")
    fma.prepare(tmp_path)
    assert fma.is_simulated(tmp_path)
    assert not any(fma.load_tracks(tmp_path)["problem"])


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("['a', 'b, c']", ["a", "b, c"]),
        ("['a', \"it's\"]", ["a", "it's"]),
        ("['it\\'s']", ["it's"]),
        ("[]", []),
        ("['[x]', 'y']", ["[x]", "y"]),
        ("a", None),
        ("['a'", None),
        ("__import__('os')", None),
        ("[1, 'a']", ["1", "a"]),
    ],
)
def test_lists_in_cells(cell: str, items: list[str] | None) -> None:
    assert _name_list(cell) == items


@settings(max_examples=200, deadline=None)
@given(names=st.lists(st.text(max_size=8), max_size=4), ids=st.lists(st.integers(0, 10**8)))
def test_whatever_python_writes_as_a_list_is_read(names: list[str], ids: list[int]) -> None:
    assert _name_list(str(names)) == names
    assert _id_list(str(ids)) == ids


def test_cells_that_cannot_be_read_are_counted_and_shown(tmp_path: Path) -> None:
    top = folder(
        tmp_path,
        row(2, date_created="yesterday", tags="oops", listens="many", duration=1.5),
        row(3, date_created="2008-11-26 01:48:12", genres="[a]", listens=3),
    )
    done = fma.prepare(top)
    assert dict(done.tables[0].unreadable) == {
        "date_created": (1, ("yesterday",)),
        "tags": (1, ("oops",)),
        "listens": (1, ("many",)),
        "duration": (1, ("1.5",)),
        "genres": (1, ("[a]",)),
    }
    got = pq.read_table(done.folder / "tracks.parquet").to_pylist()
    assert got[0]["date_created"] is None
    assert got[1]["date_created"] == datetime(2008, 11, 26, 1, 48, 12)
    assert [r["listens"] for r in got] == [None, 3]
    assert fma.describe(top).unreadable["tracks.listens"] == 1
    assert fma.prepare(top).tables[0].unreadable == done.tables[0].unreadable


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([row(2, subset="huge")], "column subset: 'huge' is none of small, medium"),
        ([row(2, split="Train")], "column split: 'Train' is none of training"),
        ([row("")], "track_id: a row has none"),
        ([row("x")], "x"),
        ([row(2), row(3), row(2)], "track_id 2 is there more than once"),
        ([row(2)[:-1]], "Expected 53 columns, got 52"),
        ([], "no rows"),
    ],
)
def test_damage_is_refused(tmp_path: Path, rows: list[list[object]], match: str) -> None:
    top = folder(tmp_path / "m", *rows)
    with pytest.raises(DataError, match=match) as caught:
        fma.prepare(top)
    assert "tracks.csv" in str(caught.value)
    assert [p.name for p in top.rglob("*") if p.is_file()] == ["tracks.csv"]


def test_a_file_cut_short_inside_a_quote_is_refused(tmp_path: Path) -> None:
    top = folder(tmp_path, row(2), row(3, title='Title, "quoted"'), row(5))
    data = (top / "tracks.csv").read_bytes()
    (top / "tracks.csv").write_bytes(data[: data.index(b'"Title') + 4])
    with pytest.raises(DataError, match="a quote is not closed"):
        fma.prepare(top)


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    top = folder(tmp_path, row(2))
    good = (top / "tracks.csv").read_text()
    for text, match in (
        ("", "no column track_id"),
        ("a,b\n1,2\n", "no column track_id"),
        ("track_id,title\n1,2\n", "lacks the columns genre_top, genres"),
        ("track_id,title,title,genre_top,genres\n", "'title' is there 2 times"),
        (good.replace("track_id", "track_id,x", 1), "do not fit together"),
        (good.replace("track,track", "track,artist", 1), "is there 2 times"),
    ):
        (top / "tracks.csv").write_text(text)
        with pytest.raises(DataError, match=match):
            fma.prepare(top)
    latin = good.encode().replace(b"Food", b"F\xf6\xf6d")
    many = folder(tmp_path / "many", *(row(at) for at in range(2, 999))) / "tracks.csv"
    late = many.read_bytes() + latin.splitlines()[-1]  # beyond what is read for the header
    for data in (latin, late):
        (top / "tracks.csv").write_bytes(data)
        with pytest.raises(DataError, match=r"UTF-?8"):
            fma.prepare(top)
    with pytest.raises(DataError, match=r"holds no tracks\.csv.*fma fetch metadata"):
        fma.prepare(tmp_path / "none")
    with pytest.raises(DataError, match="holds no prepared FMA tables"):
        fma.load_tracks(tmp_path / "none")


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    simulate(tmp_path, tracks=5, audio=None)
    path = tmp_path / "fma_metadata/features.csv"
    lines = path.read_text().splitlines()
    lines[6] = lines[6].rpartition(",")[0] + ",oops"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"features\.csv.*oops"):
        fma.prepare(tmp_path)


@pytest.mark.slow
def test_the_size_of_the_real_table_in_bounded_memory(tmp_path: Path) -> None:
    bio = "<p>Words, and more of them.</p>\n" * 50
    n = 106_574
    with (folder(tmp_path) / "tracks.csv").open("a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            row(at, artist_bio=f"{at} {bio}", tags=f"['tag {at}', 'x']", listens=at)
            for at in range(n)
        )
    prepared = (
        "import sys\n"
        "from genrescope.catalog.fma_prepare import prepare\n"
        f"assert prepare(sys.argv[1]).tables[0].rows == {n}\n"
    )
    assert peak_of(prepared, tmp_path) < 1.5e9
    assert len(fma.load_tracks(tmp_path, subset="small", split="training")) == n
