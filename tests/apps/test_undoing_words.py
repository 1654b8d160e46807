"""Taking back, to the word: what each outcome is told with, and which run is chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrescope.apps.journal import Journal
from genrescope.apps.tagger import Tagger
from genrescope.apps.undoing import Undone, undo, undo_all
from genrescope.catalog.genre_tags import read_genre_field, write_genre_field
from genrescope.errors import JournalError
from tests.catalog.tagged import make

OLD = ("Rock;Pop",)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "state" / "journal.sqlite3") as opened:
        yield opened


def write(journal: Journal, path: Path, *genres: str, **options: bool) -> int:
    tagger = Tagger(journal, command="a test", bundle="none", **options)
    tagger.write(path, genres)
    return tagger.run


def one(results: object) -> Undone:
    (result,) = results  # type: ignore[misc]
    return result


def test_each_outcome_is_told_with_what_was_and_what_is(song: Path, journal: Journal) -> None:
    run = write(journal, song, "Folk")
    write_genre_field(song, ["Mine"])
    assert one(undo(journal, run=run)) == Undone(
        song,
        "changed since",
        f"{song}: its genres were changed since, from Folk to Mine; left as it is (--force "
        "restores Rock;Pop)",
        OLD,
        ("Mine",),
    )
    assert one(undo(journal, run=run, force=True)) == Undone(
        song, "restored", f"{song}: Mine -> Rock;Pop", OLD, ("Mine",)
    )
    (last,) = [run for run in journal.runs() if run.is_undo]
    assert (last.command, last.bundle) == ("genrescope undo", "")
    write(journal, song, "Folk")
    write_genre_field(song, list(OLD))
    assert one(undo(journal, last=True)) == Undone(
        song, "as before", f"{song}: has its old genres already", OLD, OLD
    )


def test_what_cannot_be_written_is_told_and_the_others_are_done(
    song: Path, journal: Journal
) -> None:
    other = make(song.parent, "flac")
    tagger = Tagger(journal, command="a test", bundle="none")
    for path in (song, other):
        tagger.write(path, ["Folk"])
    song.chmod(0o444)
    failed = f"{song}: is write-protected; nothing was changed. To have it tagged: chmod u+w"
    results = {result.path: result for result in undo(journal, last=True)}
    assert results[song] == Undone(song, "failed", failed, OLD, ())
    assert results[other].state == "restored"
    all_of_it = {result.path: result for result in undo_all(journal, song.parent)}
    assert all_of_it[song] == Undone(song, "failed", failed, OLD, ())
    assert all_of_it[other].state == "as before"
    song.chmod(0o644)
    assert one(undo_all(journal, song)).state == "restored"


def test_what_is_gone_is_told_by_its_name(song: Path, journal: Journal) -> None:
    run = write(journal, song, "Folk")
    song.unlink()
    gone = Undone(
        song, "gone", f"{song}: is gone (moved or removed); if it was moved, give its new path",
        OLD, (),
    )  # fmt: skip
    assert one(undo(journal, run=run)) == gone
    assert one(undo_all(journal, song)) == gone
    song.symlink_to("nowhere")  # a link that leads nowhere is there
    assert one(undo(journal, run=run)).state == "failed"


def test_all_of_it_is_told_as_one_step(song: Path, journal: Journal) -> None:
    write(journal, song, "Folk")
    write(journal, song, "Blues", "Jazz")
    assert one(undo_all(journal, song)) == Undone(
        song, "restored", f"{song}: Blues, Jazz -> Rock;Pop", OLD, ("Blues", "Jazz")
    )
    assert one(undo_all(journal, song)) == Undone(
        song, "as before", f"{song}: has the genres it had at first", OLD, OLD
    )


def test_links_are_parted_on_request(song: Path, journal: Journal) -> None:
    write(journal, song, "Folk")
    other = song.with_name("other.mp3")
    os.link(song, other)
    for call in (undo, undo_all):
        assert one(call(journal, path=song)).state == "failed"
        assert "hard links" in one(call(journal, path=song)).message
    assert one(undo(journal, path=song, split_links=True)).state == "restored"
    write(journal, other, "Blues")
    os.link(other, song.with_name("third.mp3"))
    assert one(undo_all(journal, other, split_links=True)).state == "restored"


def test_times_are_kept_where_they_were_when_it_was_written(song: Path, journal: Journal) -> None:
    os.utime(song, ns=(10**18, 10**18))
    write(journal, song, "Folk", keep_times=True)
    write(journal, song, "Blues", keep_times=True)
    assert one(undo_all(journal, song)).state == "restored"
    assert song.stat().st_mtime_ns == 10**18


def test_what_there_is_not_says_where_to_look(song: Path, journal: Journal) -> None:
    for call, says in (
        (undo(journal, run=3), f"3: no such run in {journal.path}; genrescope undo --list shows"),
        (
            undo(journal, path=song),
            f"{song}: nothing was written there that is not taken back; genrescope undo --list "
            "shows what was",
        ),
        (
            undo(journal, last=True),
            f"{journal.path}: there is nothing to take back; genrescope undo --list shows what was "
            "written",
        ),
        (
            undo_all(journal, song),
            f"{song}: nothing was ever written there; genrescope undo --list shows what was",
        ),
    ):
        with pytest.raises(JournalError) as caught:
            list(call)
        assert str(caught.value).startswith(says)
    assert journal.runs() == []


@pytest.mark.parametrize(
    "given", [{}, {"run": 1, "last": True}, {"run": 1, "path": Path("a")}, {"path": Path("a"),
    "last": True}],
)  # fmt: skip
def test_one_way_of_choosing_at_a_time(given: dict[str, object], journal: Journal) -> None:
    with pytest.raises(ValueError, match=r"^one of run, path and last says what to take back$"):
        list(undo(journal, **given))  # type: ignore[arg-type]


def test_a_run_that_is_half_taken_back_is_the_last_still(song: Path, journal: Journal) -> None:
    other = make(song.parent, "flac")
    write(journal, song, "Blues")
    tagger = Tagger(journal, command="a test", bundle="none")
    for path in (song, other):
        tagger.write(path, ["Folk"])
    assert one(undo(journal, path=other)).state == "restored"
    assert one(undo(journal, last=True)) == Undone(
        song, "restored", f"{song}: Folk -> Blues", ("Blues",), ("Folk",)
    )
    assert one(undo(journal, last=True)).old == OLD
    assert list(undo(journal, run=tagger.run)) == []  # all of it is taken back


def test_a_file_that_was_moved_over_another_is_that_file(song: Path, journal: Journal) -> None:
    """By its content it would be the first; by its name it is the second."""
    other = make(song.parent, "flac")
    write(journal, song, "Folk")
    elsewhere = song.parent.parent / "elsewhere.mp3"
    os.link(song, elsewhere)
    with pytest.raises(JournalError, match="nothing was written there"):
        list(undo(journal, path=elsewhere))  # it is where it was, too
    with pytest.raises(JournalError, match="nothing was ever written there"):
        list(undo_all(journal, elsewhere))
    song.unlink()
    assert one(undo(journal, path=elsewhere)).path == elsewhere
    assert read_genre_field(elsewhere).values == OLD
    assert other.exists()


def test_genres_that_two_runs_wrote_are_of_the_later(song: Path, journal: Journal) -> None:
    first = write(journal, song, "Folk")
    write(journal, song, "Blues")
    third = write(journal, song, "Folk")
    result = one(undo(journal, run=first))
    assert result.message == (
        f"{song}: was written again by run {third}, which can be taken back first; left as it is "
        "(--force restores Rock;Pop)"
    )
    assert one(undo(journal, run=first, force=True)).state == "restored"
    assert read_genre_field(song).values == OLD


def test_old_genres_below_a_later_change_stay_to_be_taken_back(
    song: Path, journal: Journal
) -> None:
    """They are back for now; what was written later would bring the others in again."""
    first = write(journal, song, "Folk")
    second = write(journal, song, "Rock;Pop")
    assert one(undo(journal, run=first)).state == "as before"
    assert [run.undone for run in journal.runs()] == [0, 0]
    assert one(undo(journal, run=second)).now == OLD
    assert read_genre_field(song).values == ("Folk",)
    assert one(undo(journal, run=first)).now == ("Folk",)
