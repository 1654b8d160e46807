"""The leak audit: what it finds, what it lets pass, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.catalog.splits import audit, group_folds
from genrescope.catalog.table import TrackTable
from genrescope.errors import SplitError, TableError


def table(
    *rows: str, columns: str = "track_id artist_id artist_name title genre_top split"
) -> TrackTable:
    """Rows as text, cells between commas; as the audit command reads them."""
    names = columns.split()
    cells = list(zip(*([c.strip() for c in row.split(",")] for row in rows), strict=True))
    return TrackTable(dict(zip(names, cells, strict=True)), text=names)


CLEAN = (
    "1, 7, Ann, One, Rock, training",
    "2, 7, Ann, Two, Pop, training",
    "3, 8, Bob, One, Rock, test",
    "4, 9, Cleo, Two, Pop, test",
)


def test_a_clean_split() -> None:
    report = audit(table(*CLEAN))
    assert report.clean
    assert report.splits == {"training": 2, "test": 2}
    assert report.labels["test"] == {"Pop": 1, "Rock": 1}
    assert (report.n_tracks, report.n_groups) == (4, 3)
    assert report.similar_names == report.dominant_groups == ()
    assert report.missing_labels == report.without_group == {}


def test_an_artist_in_both_splits_is_named_with_counts_and_examples() -> None:
    report = audit(table(*CLEAN, "5, 7, Ann, Three, Rock, test"))
    assert not report.clean
    (leak,) = report.shared_groups
    assert (leak.group, leak.name) == ("7", "Ann")
    assert leak.tracks == {"training": 2, "test": 1}
    assert leak.examples == {"training": ('1 "One"', '2 "Two"'), "test": ('5 "Three"',)}
    assert report.duplicate_tracks == report.repeated_titles == ()


def test_the_worst_leak_comes_first() -> None:
    rows = [f"{i}, A, Ann, t{i}, Rock, {'training' if i < 9 else 'test'}" for i in range(10)]
    rows += [f"{i}, B, Bob, t{i}, Rock, {'training' if i < 14 else 'test'}" for i in range(10, 18)]
    assert [s.name for s in audit(table(*rows)).shared_groups] == ["Bob", "Ann"]


def test_a_track_id_that_occurs_twice() -> None:
    report = audit(table(*CLEAN, "4, 9, Cleo, Other, Pop, test"))
    assert not report.clean
    (twice,) = report.duplicate_tracks
    assert (twice.track_id, twice.tracks) == ("4", {"test": 2})
    assert report.shared_groups == ()


def test_one_title_by_one_artist_under_two_artist_ids() -> None:
    report = audit(table(*CLEAN, "5, 77, ANN, one, Rock, test"))
    assert not report.clean
    assert report.shared_groups == ()
    (again,) = report.repeated_titles
    assert (again.title, again.artist) == ("One", "Ann")
    assert again.tracks == {"training": ("1",), "test": ("5",)}


@pytest.mark.parametrize(
    "name",
    [
        "ann",
        " A n n",
        "The Ann",
        "Ann feat. Bob",
        "Ann (ft. Zed)",
        "Änn",
        "ANN featuring X",
        "A-n-n",
    ],
)
def test_spellings_of_one_name_in_different_splits_are_a_warning(name: str) -> None:
    report = audit(table(*CLEAN, f"5, 77, {name}, Five, Rock, test"))
    assert report.clean
    (similar,) = report.similar_names
    assert [(group, tracks) for group, _, tracks in similar.groups] == [
        ("7", {"training": 2}),
        ("77", {"test": 1}),
    ]


@pytest.mark.parametrize(
    "row", ["5, 77, Ann, Five, Rock, training", "5, 77, Annabel, Five, Rock, test"]
)
def test_names_that_are_no_warning(row: str) -> None:
    assert audit(table(*CLEAN, row)).similar_names == ()


def test_names_of_marks_alone_are_not_all_one() -> None:
    report = audit(table(*CLEAN, "5, 77, !!!, Five, Rock, test", "6, 78, ???, Six, Rock, training"))
    assert report.similar_names == ()


def test_an_artist_with_a_large_share_of_a_split() -> None:
    rows = [f"{i}, {i}, a{i}, t, Rock, test" for i in range(189)]
    rows += [f"{i}, big, Big, t{i}, Rock, test" for i in range(200, 211)]
    report = audit(table(*CLEAN, *rows))
    (big,) = report.dominant_groups
    assert (big.name, big.split, big.tracks) == ("Big", "test", 11)
    assert big.share == pytest.approx(11 / 202)
    # One track less, and it is below 5 %.
    assert audit(table(*CLEAN, *rows[:-1])).dominant_groups == ()


def test_tracks_without_artist_or_split_are_counted_and_leak_nothing() -> None:
    report = audit(
        table(
            *CLEAN,
            "5, , , Five, Rock, test",
            "6, , , Six, Rock, training",
            "7, 7, Ann, Seven, Rock, ",
        )
    )
    assert report.clean
    assert report.without_group == {"training": 1, "test": 1}
    assert report.without_split == 1
    assert report.n_tracks == 7
    assert sum(report.splits.values()) == 6


def test_a_class_that_a_split_lacks() -> None:
    report = audit(table(*CLEAN, "5, 7, Ann, Five, Jazz, training", "6, 8, Bob, Six, , test"))
    assert report.missing_labels == {"test": ("Jazz",)}
    assert report.labels["test"][""] == 1


def test_splits_come_in_their_order_and_short_names_count_as_one() -> None:
    rows = ["1, a, A, x, Rock, test", "2, b, B, y, Rock, val", "3, c, C, z, Rock, train"]
    report = audit(table(*rows, "4, c, C, w, Rock, Training"))
    assert list(report.splits) == ["training", "validation", "test"]
    assert report.splits["training"] == 2
    assert report.clean


def test_other_columns_can_be_named() -> None:
    rows = ["1, x, L, 10", "2, x, L, 9", "3, y, L, 9"]
    report = audit(
        table(*rows, columns="id band mood fold"), group="band", split="fold", label="mood"
    )
    assert list(report.splits) == ["9", "10"]
    assert report.shared_groups[0].group == "x"
    assert report.shared_groups[0].examples == {"9": ("row 2",), "10": ("row 1",)}
    assert audit(table(*rows, columns="id band mood fold"), group="band", split="fold", label=None)


def test_typed_tables_are_audited_too() -> None:
    typed = TrackTable(
        {
            "track_id": [1, 2, 3],
            "artist_id": ["a", "a", "b"],
            "genre_top": ["Rock"] * 3,
            "split": ["training", "test", None],
        }
    )
    report = audit(typed)
    assert report.shared_groups[0].tracks == {"training": 1, "test": 1}
    assert report.without_split == 1


def test_what_cannot_be_audited() -> None:
    with pytest.raises(TableError, match=r"no column 'artist' \(did you mean 'artist_id'"):
        audit(table(*CLEAN), group="artist")
    with pytest.raises(TableError, match="no tracks"):
        audit(table(*CLEAN).where(np.zeros(4, dtype=bool)))
    with pytest.raises(SplitError, match="every track is in the split 'test'"):
        audit(table(*CLEAN[2:]))
    with pytest.raises(SplitError, match="no track has a value in the column 'split'"):
        audit(table("1, 7, Ann, One, Rock, "))
    with pytest.raises(TableError, match="no track has a value in the column 'artist_id'"):
        audit(table("1, , Ann, One, Rock, test", "2, , Ann, Two, Rock, training"))


def test_the_report_goes_into_json() -> None:
    report = audit(table(*CLEAN, "5, 7, Ann, Three, Rock, test", "6, 88, bob, One, Rock, training"))
    again = json.loads(json.dumps(report.to_dict()))
    assert again["clean"] is False
    assert again["shared_groups"][0]["tracks"] == {"training": 2, "test": 1}
    assert again["repeated_titles"][0]["tracks"] == {"training": ["6"], "test": ["3"]}
    assert again["similar_names"][0][0] == {"group": "8", "name": "Bob", "tracks": {"test": 1}}


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["training", "test"])), min_size=2
    )
)
def test_it_finds_exactly_the_artists_in_two_splits(tracks: list[tuple[str, str]]) -> None:
    where: dict[str, set[str]] = {}
    for artist, split in tracks:
        where.setdefault(artist, set()).add(split)
    if len({split for _, split in tracks}) < 2:
        return
    artists, splits = zip(*tracks, strict=True)
    report = audit(TrackTable({"artist_id": artists, "split": splits}), label=None)
    assert {s.group for s in report.shared_groups} == {a for a, s in where.items() if len(s) == 2}


@pytest.mark.data
def test_a_random_split_of_the_real_tracks_leaks_and_grouped_folds_do_not(data_dir) -> None:  # type: ignore[no-untyped-def]
    tracks = TrackTable.load(data_dir / "fma" / "small_tracks.csv")
    fold = group_folds(tracks["genre_top"], tracks["artist_id"])
    assert audit(tracks.with_column("fold", fold), split="fold").clean
    test = np.random.default_rng(0).random(len(tracks)) < 0.1
    random = audit(tracks.with_column("split", np.where(test, "test", "training")))
    assert len(random.shared_groups) > 300
    # FMA lists some artists under two ids, which no grouping by id can see.
    names = {n for s in audit(tracks.with_column("fold", fold), split="fold").similar_names
             for _, n, _ in s.groups}  # fmt: skip
    assert {"ODOR BABY", "ODORBABY"} <= names
