"""What is known of a track besides its sound: cells of every kind, tables, and file tags."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.catalog.fma_prepare import prepare
from genrescope.catalog.fma_simulate import simulate
from genrescope.catalog.tags import Tags, read_tags
from genrescope.errors import DataError
from genrescope.learn.parts.about import (
    ECHONEST,
    NUMBERS,
    About,
    fma_abouts,
    read_about_table,
    table_abouts,
)

anything = st.one_of(
    st.none(), st.text(), st.floats(), st.integers(), st.booleans(), st.lists(st.text(max_size=5))
)


FIELDS = ("title", "artist", "album", "date", "duration", "tags", "biography")


@given(
    st.fixed_dictionaries(
        dict.fromkeys(
            ("title", "artist", "album", "date", "duration", "tags", "biography"), anything
        )
    ),
    st.one_of(anything, st.dictionaries(st.sampled_from(ECHONEST), anything)),
)
def test_nothing_that_stands_in_a_cell_fails(fields: dict, echonest: object) -> None:
    about = About(**fields, echonest=echonest)
    assert about.numbers().shape == (len(NUMBERS),)
    for name in ("title", "artist", "album", "tags", "biography"):
        text = about.text(name)
        assert text is None or text.strip()
    assert set(about.known) <= {"title", "artist", "album", "tags", "biography", "numbers"}


def test_numbers_stand_at_their_places() -> None:
    about = About(date="2008-11-26", duration=100.0, echonest={"tempo": 120.0, "energy": 7.0})
    values = dict(zip(NUMBERS, about.numbers(), strict=True))
    assert values["year"] == 2008
    assert values["log_duration"] == pytest.approx(math.log(100))
    assert values["tempo"] == 120
    assert math.isnan(values["energy"])  # a share of 7 is none
    assert math.isnan(values["valence"])


@pytest.mark.parametrize(
    ("written", "year"),
    [
        ("2008", 2008),
        (1999, 1999),
        ("2017-09-10 00:12:19", 2017),
        ("11/26/2008 1:48", 2008),
        ("11/26/08", 2008),
        ("01/02/71 0:00", 1971),
        ("26 Nov 1950", 1950),
        ("0000", None),
        ("12345", None),
        ("once", None),
        (None, None),
    ],
)
def test_years(written: object, year: int | None) -> None:
    assert About(date=written).year == year  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "empty", ["", "   ", "\0", None, math.nan, "Track 01", "track", "Unknown", "AudioTrack 12"]
)
def test_titles_that_say_nothing(empty: object) -> None:
    assert About(title=empty).known == ()  # type: ignore[arg-type]


def test_placeholders_are_whole_texts() -> None:
    assert About(title="Track of my tears").title == "Track of my tears"
    assert About(artist="Various Artists").artist is None
    assert About(album="Various Artists").album == "Various Artists"


def test_biographies_lose_their_html() -> None:
    about = About(biography="<p>From <b>Lyon</b> &amp; Oslo</p>\n<br/>", tags="['lo-fi', 'drone']")
    assert about.biography == "From Lyon & Oslo"
    assert about.tags == ("lo-fi", "drone")
    assert About(tags=["a", None, "a", "b"]).tags == ("a", "b")  # type: ignore[list-item]


def test_genre_tags_are_not_taken() -> None:
    about = About.from_tags(Tags("T", "A", ("Rock",), "B", "1969"), duration=61.0)
    assert (about.title, about.artist, about.album, about.year) == ("T", "A", "B", 1969)
    assert about.tags is None
    assert about.duration == 61


def test_rows_of_many_kinds() -> None:
    assert About.from_row({"Title": "a", "track.artist": "x", "ARTIST NAME": "b"}).artist == "b"
    assert About.from_row({"length": "1:02:03"}).duration == 3723
    assert About.from_row({"duration": "168"}).duration == 168
    assert About.from_row({"date": "", "year": "2001"}).year == 2001
    assert About.from_row({"genre_top": "Rock", "genres": "[1]", "tags": "[]"}).known == ()
    assert About.from_row({None: ["x"], "title": "t"}).title == "t"  # type: ignore[dict-item]


def test_tables(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("﻿Title;Artist;Mood\nOne;A;x\n;;\nTwo\n", encoding="utf-8")
    rows = read_about_table(table)
    assert [about.title for _, about in rows] == ["One", None, "Two"]
    assert rows[0][0] == {"Title": "One", "Artist": "A", "Mood": "x"}
    table.write_text("colour,size\nred,1\n")
    with pytest.raises(DataError, match="none says anything about a track"):
        read_about_table(table)
    table.write_text("title\n")
    with pytest.raises(DataError, match="no rows"):
        read_about_table(table)
    with pytest.raises(DataError, match="cannot be read"):
        read_about_table(tmp_path / "none.csv")
    table.write_bytes(b"title\n\xff\xfe\xff\n")
    with pytest.raises(DataError, match="no CSV table"):
        read_about_table(table)


def test_rows_are_joined_by_id(tmp_path: Path) -> None:
    table, numbers = tmp_path / "t.csv", tmp_path / "e.csv"
    table.write_text("track_id,title\n2,Two\n5,Five\n")
    numbers.write_text("track_id,tempo,title\n5,90,Wrong\n")
    found = table_abouts(table, [5, 2], echonest=numbers)
    assert [about.title for about in found] == ["Five", "Two"]
    assert [about.known for about in found] == [("title", "numbers"), ("title",)]
    with pytest.raises(DataError, match=r"no row for 1 of 2 tracks \(first: 7\)"):
        table_abouts(table, [2, 7])


def test_prepared_archive(tmp_path: Path) -> None:
    simulated = simulate(tmp_path, tracks=40, seed=1)
    prepare(simulated.metadata)
    import pyarrow.parquet as parquet

    ids = parquet.read_table(simulated.metadata / "prepared" / "tracks.parquet")["track_id"]
    wanted = ids.to_pylist()[::-1]
    found = fma_abouts(simulated.metadata, wanted)
    assert len(found) == len(wanted)
    known = {name for about in found for name in about.known}
    assert {"title", "artist", "album", "numbers"} <= known
    assert any(np.isfinite(about.numbers()[2:]).any() for about in found)
    assert any(about.year for about in found)
    with pytest.raises(DataError, match="lacks 1 of 1 tracks"):
        fma_abouts(simulated.metadata, [10**6])


@pytest.mark.data
def test_real_tables_and_tags(data_dir: Path, fma_clips: list[Path]) -> None:
    table = data_dir / "fma" / "small_tracks.csv"
    echonest = data_dir / "fma" / "echonest_audio_features.csv"
    first, other = table_abouts(table, [2, 140], echonest=echonest)
    assert (first.title, first.artist) == ("Food", "AWOL")
    assert first.echonest is not None
    assert first.echonest["tempo"] == pytest.approx(165.922)
    assert other.artist == "Alec K. Redfearn & the Eyesores"
    tags = read_tags(next(path for path in fma_clips if path.stem == "000002"))
    assert About.from_tags(tags).title == first.title
    head = read_about_table(data_dir / "fma" / "rock_hiphop_tracks.csv")
    assert sum(about.duration is not None for _, about in head) > 0.99 * len(head)
    assert any(about.tags for _, about in head)
