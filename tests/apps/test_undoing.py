"""Everything that was written in a file is taken back, whatever was taken back before it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrescope.apps.journal import Journal
from genrescope.apps.tagger import Tagger
from genrescope.apps.undoing import Undone, undo, undo_all
from genrescope.catalog.genre_tags import read_genre_field, write_genre_field
from genrescope.errors import JournalError
from tests.catalog.tagged import make

GENRES = (("Älter",), ("Rock", "日本"), ("x" * 190,), ("Pop",), ("Rock;Pop",))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "state" / "journal.sqlite3") as opened:
        yield opened


def write(journal: Journal, path: Path, *genres: str) -> int:
    tagger = Tagger(journal, command="a test", bundle="none")
    tagger.write(path, genres)
    return tagger.run


def all_back(journal: Journal, path: Path, *, force: bool = False) -> Undone:
    (result,) = undo_all(journal, path, force=force)
    return result


def test_what_undoing_by_force_left(song: Path, journal: Journal) -> None:
    """Two runs, the older taken back first: no undo brings back what stood before."""
    original = song.read_bytes()
    older, newer = write(journal, song, "Folk"), write(journal, song, "Blues")
    assert [one.state for one in undo(journal, run=older, force=True)] == ["restored"]
    assert [one.state for one in undo(journal, run=newer, force=True)] == ["restored"]
    assert read_genre_field(song).values == ("Folk",)
    with pytest.raises(JournalError, match="nothing to take back"):
        list(undo(journal, last=True))
    result = all_back(journal, song)
    assert (result.state, result.now, result.old) == ("restored", ("Folk",), ("Rock;Pop",))
    assert result.message == f"{song}: Folk -> Rock;Pop"
    assert song.read_bytes() == original


@pytest.mark.parametrize("kind", ["mp3", "flac", "ogg", "opus", "m4a", "wav", "aiff"])
def test_any_order_of_writing_and_undoing(kind: str, tmp_path: Path, journal: Journal) -> None:
    rng = random.Random(kind)
    path = make(tmp_path, kind)
    if kind != "wav":  # as it is, without any genre
        write_genre_field(path, ["Rock;Pop"])
    original = path.read_bytes()
    for _ in range(4):
        write(journal, path, *rng.choice(GENRES))
        for _ in range(rng.randrange(6)):
            runs = [run.id for run in journal.runs()]
            if rng.random() < 0.5:
                write(journal, path, *rng.choice(GENRES))
            elif runs:
                list(undo(journal, run=rng.choice(runs), force=rng.random() < 0.7))
        assert all_back(journal, path).state in ("restored", "as before")
        assert path.read_bytes() == original
        rows = len(list(journal.entries()))
        assert all_back(journal, path).state == "as before"  # and nothing is written again
        assert len(list(journal.entries())) == rows
        with pytest.raises(JournalError, match="nothing"):
            list(undo(journal, last=True))


def test_runs_that_wrote_side_by_side(song: Path, tmp_path: Path, journal: Journal) -> None:
    """The run that began first may have written last."""
    other = make(tmp_path / "state", "flac")
    originals = song.read_bytes(), other.read_bytes()
    one, two = (Tagger(journal, command="a test", bundle="none") for _ in range(2))
    one.write(other, ["Folk"])
    two.write(other, ["Blues"])
    two.write(song, ["Blues"])
    one.write(song, ["Folk"])
    one.write(other, ["Jazz"])
    back = {result.path: result.state for result in undo_all(journal, tmp_path)}
    assert back == {song: "restored", other: "restored"}
    assert (song.read_bytes(), other.read_bytes()) == originals


def test_all_of_it_can_be_put_in_again(song: Path, journal: Journal) -> None:
    write(journal, song, "Folk")
    write(journal, song, "Blues")
    written = song.read_bytes()
    all_back(journal, song)
    run = journal.runs()[0]
    assert (run.command, run.is_undo, run.files) == ("genrescope undo --all", True, 2)
    assert {one.state for one in undo(journal, run=run.id)} == {"restored"}
    assert song.read_bytes() == written
    assert [one.now for one in undo(journal, last=True)] == [("Blues",)]


def test_it_goes_back_as_far_as_to_what_somebody_else_wrote(song: Path, journal: Journal) -> None:
    write(journal, song, "Folk")
    write_genre_field(song, ["Mine"])
    write(journal, song, "Blues")
    result = all_back(journal, song)
    assert result.state == "changed since"
    assert "from Folk to Mine; left as it is (--force restores Rock;Pop)" in result.message
    assert read_genre_field(song).values == ("Mine",)
    assert all_back(journal, song, force=True).state == "restored"
    assert read_genre_field(song).values == ("Rock;Pop",)


def test_files_that_were_moved_or_removed(song: Path, journal: Journal) -> None:
    write(journal, song, "Folk")
    write(journal, song, "Blues")
    moved = song.rename(song.with_name("moved.mp3"))
    gone = all_back(journal, song)
    assert (gone.state, gone.old) == ("gone", ("Rock;Pop",))
    assert "if it was moved, give its new path" in gone.message
    assert all_back(journal, moved).state == "restored"
    assert read_genre_field(moved).values == ("Rock;Pop",)


def test_a_file_that_cannot_be_read_stops_no_other(
    song: Path, tmp_path: Path, journal: Journal
) -> None:
    other = make(song.parent, "flac")
    write_genre_field(other, ["Soul"])
    for path in (song, other):
        write(journal, path, "Folk")
    song.write_bytes(b"no music")
    results = {result.path: result for result in undo_all(journal, song.parent)}
    assert results[song].state == "failed"
    assert str(song) in results[song].message
    assert read_genre_field(other).values == ("Soul",)


def test_nothing_was_written_there(song: Path, journal: Journal) -> None:
    with pytest.raises(JournalError, match=r"mp3\.mp3: nothing was ever written there"):
        all_back(journal, song)
