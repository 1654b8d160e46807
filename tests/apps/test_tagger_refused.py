"""Genres that are none, files that are not as expected, and what is swept on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mutagen.id3 import ID3

from genrescope.apps import safe_write
from genrescope.apps.journal import Journal
from genrescope.apps.safe_write import temporary_beside
from genrescope.apps.tagger import Change, Tagger
from genrescope.catalog.genre_tags import read_genre_field
from genrescope.errors import TagError
from tests.catalog.tagged import make


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "state" / "journal.sqlite3") as opened:
        yield opened


@pytest.fixture
def tagger(journal: Journal) -> Tagger:
    return Tagger(journal, command="a test", bundle="none")


@pytest.mark.parametrize(
    "genre", ["", " ", "a\x1fb", "a\x7fb", "a\x00", "x" * 501, "\ud800", "a\nb", "a\tb"]
)
def test_what_is_no_genre_is_shown(genre: str, song: Path, tagger: Tagger) -> None:
    original = song.read_bytes()
    with pytest.raises(TagError) as caught:
        tagger.write(song, ["Rock", genre])
    assert str(caught.value) == (
        f"{song}: {genre.strip()[:60]!r} cannot be a genre: a genre is text on one line, of 1 to "
        "500 characters; nothing was changed"
    )
    assert song.read_bytes() == original


@pytest.mark.parametrize("genre", ["x" * 500, "a b", "~", "Ü", "\x80"])
def test_genres_at_the_bounds_are_genres(genre: str, song: Path, tagger: Tagger) -> None:
    assert tagger.write(song, [f" {genre} ", genre]).new == (genre,)
    assert read_genre_field(song).values == (genre,)


def test_one_string_is_no_sequence_of_genres(song: Path, tagger: Tagger) -> None:
    with pytest.raises(TypeError, match=r"^genres is a sequence of names, not one string$"):
        tagger.write(song, "Rock")


def test_no_genre_removes_the_field(song: Path, tagger: Tagger) -> None:
    assert tagger.write(song, []) == Change(song, ("Rock;Pop",), ())
    assert read_genre_field(song).values == ()
    assert "TCON" not in ID3(song)


def test_other_genres_than_expected_are_named(song: Path, tagger: Tagger) -> None:
    for expected, told in ((["Jazz", "x"], "Jazz, x"), ([], "none"), (["Rock"], "Rock")):
        with pytest.raises(TagError) as caught:
            tagger.write(song, ["Folk"], expected=expected)
        assert str(caught.value) == (
            f"{song}: its genres are Rock;Pop now, and were {told} when this was decided; nothing "
            "was changed. Look again and decide anew"
        )
    assert tagger.write(song, ["Folk"], expected=["ROCK", "pop"]).new == ("Folk",)
    assert tagger.write(song, ["Blues"], expected=["folk"]).old == ("Folk",)


def test_the_version_of_id3_is_kept_or_the_one_that_is_asked_for(
    tmp_path: Path, journal: Journal
) -> None:
    path = make(tmp_path, "mp3", tagged=False)
    for asked, version in ((3, 3), ("keep", 3), (4, 4), ("keep", 4)):
        writer = Tagger(journal, command="a test", bundle="", id3_version=asked)  # type: ignore
        writer.write(path, [f"genre {asked} {version}"])
        assert ID3(path, translate=False).version[1] == version
    fresh = make(tmp_path / "state", "mp3", tagged=False)
    Tagger(journal, command="a test", bundle="").write(fresh, ["Folk"])
    assert ID3(fresh).version[1] == 4


def test_what_a_killed_writer_left_beside_is_swept_once_a_folder(
    song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_write, "_YOUNG", -1.0)
    writer = Tagger(journal, command="a test", bundle="")
    left = [temporary_beside(song) for _ in range(3)]
    left[0].write_bytes(b"half")
    assert writer.write(song, ["Rock;Pop"]).new == ("Rock;Pop",)
    assert left[0].exists()  # nothing was written here
    writer.write(song, ["Folk"])
    assert not left[0].exists()
    left[1].write_bytes(b"half")
    writer.write(song, ["Blues"])
    assert left[1].exists()
    Tagger(journal, command="a test", bundle="").write(song, ["Jazz"])
    assert not left[1].exists()


def test_runs_are_numbered_in_the_journal(song: Path, journal: Journal) -> None:
    one = Tagger(journal, command="genrescope tag", bundle="default")
    two = Tagger(journal, command="b", bundle="")
    two.write(song, ["Folk"])
    one.write(song, ["Blues"])
    assert [(run.id, run.command, run.bundle) for run in journal.runs()] == [
        (two.run, "b", ""),
        (one.run, "genrescope tag", "default"),
    ]
