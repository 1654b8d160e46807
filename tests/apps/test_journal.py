"""The journal: what it holds, who may write to it, and how it is made true again."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from genrescope.apps.journal import Journal, Planned, Run, digest_of, journal_path
from genrescope.apps.safe_write import FileIdentity, try_lock
from genrescope.errors import JournalError
from tests.apps.children import in_child


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


@pytest.fixture
def journal(place: Path) -> Iterator[Journal]:
    with Journal.open(place) as opened:
        yield opened


def plan(path: Path, new: bytes = b"new", **changes: object) -> Planned:
    """A plan to put `new` into the place of what is at `path`."""
    import hashlib

    before = FileIdentity.of(os.stat(path))
    return Planned(
        **{
            "container": "ID3v2.4",
            "old": ("Rock",),
            "new": ("Folk",),
            "kept": {"raw": ["00ff"]},
            "before": before,
            "after": FileIdentity(before.device, 2**63 + 5, 3, 7),
            "digest_before": digest_of(path),
            "digest_after": hashlib.blake2b(new, digest_size=16).hexdigest(),
            "sound": "s",
            **changes,
        }
    )


def written(run: Run, path: Path, **changes: object) -> int:
    entry = run.start(path, temporary=path.with_name("t.part"))
    run.plan(entry, plan(path, **changes))
    run.finish(entry)
    return entry


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"old")
    return path


def test_an_entry_comes_back_as_it_was_noted(journal: Journal, song: Path) -> None:
    run = journal.begin(command="genrescope tag", bundle="default")
    number = written(run, song)
    (entry,) = journal.entries()
    assert entry == journal.entry(number)
    assert (entry.run, entry.path, entry.state) == (run.id, song, "written")
    assert entry.plan == plan(song)
    assert entry.identity.inode == 2**63 + 5  # more than an integer of SQLite holds
    assert abs(entry.when - datetime.now(UTC)) < timedelta(minutes=1)
    assert entry.in_force
    (summary,) = journal.runs()
    assert (summary.id, summary.files, summary.is_undo) == (run.id, 1, False)


def test_entries_of_a_file_and_of_a_folder(journal: Journal, tmp_path: Path) -> None:
    run = journal.begin(command="c", bundle="")
    folder = tmp_path / "a"
    folder.mkdir()
    (tmp_path / "ab").mkdir()
    paths = [folder / "1.mp3", folder / os.fsdecode(b"\xff\xff.mp3"), tmp_path / "ab" / "1.mp3"]
    for path in paths:
        path.write_bytes(b"old")
        written(run, path)
    assert [e.path for e in journal.entries(path=folder)] == [paths[1], paths[0]]
    assert [e.path for e in journal.entries(path=paths[1])] == [paths[1]]
    assert [e.path for e in journal.entries(run=run.id)] == paths[::-1]
    assert list(journal.entries(run=run.id + 1)) == []
    assert len(list(journal.entries(path=Path("/")))) == 3


def test_thousands_of_entries_come_page_by_page(journal: Journal, song: Path) -> None:
    run = journal.begin(command="c", bundle="")
    with journal._transaction():
        for _ in range(1203):
            journal._execute(
                "INSERT INTO entries (run, path, temporary, at, state) "
                "VALUES (?, ?, ?, 0, 'written')",
                (run.id, os.fsencode(song), b""),
            )
    numbers = [entry.id for entry in journal.entries()]
    assert len(numbers) == 1203
    assert numbers == sorted(numbers, reverse=True)
    assert journal.runs()[0].files == 1203
    # Looking up one file does not read the others.
    query = "EXPLAIN QUERY PLAN SELECT id FROM entries WHERE path = ? AND id < 9 ORDER BY id DESC"
    assert "entries_of_path" in str(journal._execute(query, (b"x",)).fetchall())


def test_a_plan_waits_for_the_disk_and_the_rest_does_not(journal: Journal, song: Path) -> None:
    """FULL is what a power cut cannot take back; in WAL, every commit survives a kill."""
    assert journal._execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    said: list[str] = []
    journal._db.set_trace_callback(said.append)
    written(journal.begin(command="c", bundle=""), song)
    modes, mode = {}, ""
    for line in said:
        if "synchronous" in line:
            mode = line.rpartition("=")[2]
        for state in ("'begun'", "'planned'", "'written'"):
            if f"state = {state}" in line or f", {state})" in line:
                modes.setdefault(state, mode)
    assert modes == {"'begun'": "NORMAL", "'planned'": "FULL", "'written'": "NORMAL"}


def test_what_a_dead_writer_left_is_made_true(place: Path, tmp_path: Path) -> None:
    """One file for each moment at which a writer may die, and for what may happen after."""
    cases = {
        # name: (state when it died, content found, temporary still there, state expected)
        "begun": ("begun", b"old", True, None),
        "before": ("planned", b"old", True, "left"),
        "lost": ("planned", b"old", False, "left"),
        "after": ("planned", b"new", False, "written"),
        "foreign": ("planned", b"other", False, "unclear"),
        "gone": ("planned", None, False, "planned"),
    }

    def die() -> None:
        opened = Journal.open(place)
        run = opened.begin(command="c", bundle="")
        for name, (state, content, temporary, _) in cases.items():
            path, part = tmp_path / name, tmp_path / f"{name}.part"
            path.write_bytes(b"old")
            entry = run.start(path, temporary=part)
            if state == "planned":
                run.plan(entry, plan(path))
            if temporary:
                part.write_bytes(b"new")
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        os._exit(9)

    in_child(die)
    (alive,) = (p for p in place.parent.iterdir() if p.suffix == ".alive")
    if os.name == "posix":
        assert alive.stat().st_mode & 0o777 == 0o600  # its owner's alone
    with Journal.open(place) as opened:
        found = {entry.path.name: entry.state for entry in opened.entries()}
        assert found == {n: case[3] for n, case in cases.items() if case[3]}
        assert opened.runs()[0].unclear == 1
    assert not list(tmp_path.glob("*.part"))
    (tmp_path / "gone").write_bytes(b"new")  # its disk is back
    with Journal.open(place) as opened:
        assert {e.path.name: e.state for e in opened.entries()}["gone"] == "written"
    assert not [p for p in place.parent.iterdir() if p.suffix == ".alive"]


def test_what_another_wrote_on_top_says_what_became_of_a_file(journal: Journal, song: Path) -> None:
    """A writer dies after the rename; before anyone notices, another puts the old bytes back."""
    part = song.with_name("t.part")

    def put(content: bytes, run: Run, **changes: object) -> int:
        part.write_bytes(content)
        entry = run.start(song, temporary=part)
        after = FileIdentity.of(os.stat(part))
        run.plan(entry, plan(song, content, after=after, **changes))
        part.rename(song)
        return entry

    def die() -> None:
        put(b"new", Journal.open(journal.path).begin(command="c", bundle=""))
        os._exit(9)

    run = journal.begin(command="c", bundle="")
    in_child(die)
    run.finish(put(b"old", run))
    with Journal.open(journal.path) as opened:
        later, earlier = opened.entries()
    assert (earlier.state, later.state) == ("written", "written")
    assert later.plan.digest_before == earlier.plan.digest_after


def test_who_was_killed_between_two_files_leaves_nothing_behind(place: Path) -> None:
    def die() -> None:
        opened = Journal.open(place)
        opened.begin(command="c", bundle="")
        os._exit(9)

    in_child(die)
    assert [p for p in place.parent.iterdir() if p.suffix == ".alive"]
    with Journal.open(place) as living:
        living.begin(command="c", bundle="")
        with Journal.open(place):
            (held,) = (p for p in place.parent.iterdir() if p.suffix == ".alive")
        assert held.name.endswith(f"-{living._owner}.alive")
    assert not [p for p in place.parent.iterdir() if p.suffix == ".alive"]


def test_a_lock_file_that_is_swept_before_it_is_locked_is_made_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []

    def lock_late(fd: int) -> bool:
        if not swept:
            (path,) = (p for p in journal.path.parent.iterdir() if p.suffix == ".alive")
            path.unlink()
            swept.append(path)
        return try_lock(fd)

    monkeypatch.setattr("genrescope.apps.journal.try_lock", lock_late)
    journal.begin(command="c", bundle="")
    assert swept[0].exists()


def test_rows_of_a_living_writer_are_left_to_it(journal: Journal, song: Path) -> None:
    run = journal.begin(command="c", bundle="")
    entry = run.start(song, temporary=song.with_name("t.part"))
    song.with_name("t.part").write_bytes(b"new")
    run.plan(entry, plan(song))
    with Journal.open(journal.path) as second:
        assert [e.state for e in second.entries()] == ["planned"]
    assert song.with_name("t.part").exists()
    run.leave(entry)
    assert [e.state for e in journal.entries()] == ["left"]
    assert journal.runs() == []


def test_an_undo_that_died_after_the_rename_counts(place: Path, song: Path) -> None:
    def die() -> None:
        opened = Journal.open(place)
        first = written(opened.begin(command="c", bundle=""), song)
        run = opened.begin(command="genrescope undo", bundle="")
        entry = run.start(song, temporary=song.with_name("t.part"))
        run.plan(entry, plan(song, undoes=first))
        song.write_bytes(b"new")
        os._exit(9)

    in_child(die)
    with Journal.open(place) as opened:
        undone, first = opened.entries()
        assert first.undone_by == undone.id
        assert [(run.is_undo, run.undone) for run in opened.runs()] == [(True, 0), (False, 1)]


def test_many_threads_and_processes_write_at_once(place: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.mp3" for n in range(4)]
    for path in paths:
        path.write_bytes(b"old")

    def work() -> None:
        with Journal.open(place) as opened:
            run = opened.begin(command="c", bundle="")
            threads = [
                threading.Thread(target=lambda p=path: [written(run, p) for _ in range(5)])
                for path in paths
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    with Journal.open(place) as opened:
        assert [run.files for run in opened.runs()] == [20, 20, 20]


def test_a_journal_is_not_carried_over_a_fork(journal: Journal) -> None:
    journal.begin(command="c", bundle="")
    assert "does not survive a fork" in in_child(lambda: journal.begin(command="c", bundle=""))
    assert in_child(journal.close) == ""
    alive = next(p for p in journal.path.parent.iterdir() if p.suffix == ".alive")
    with alive.open("r+b") as file:
        assert not try_lock(file.fileno())  # the child's end did not end the life of this one


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENRESCOPE_JOURNAL", str(tmp_path / "mine.db"))
    with Journal.open() as opened:
        assert opened.path == tmp_path / "mine.db"
    monkeypatch.delenv("GENRESCOPE_JOURNAL")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        assert journal_path() == tmp_path / "state" / "genrescope" / "journal.sqlite3"


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("this is no database, it is a text that somebody keeps here" * 20)
    with pytest.raises(JournalError, match=r"text: .*not a database.*GENRESCOPE_JOURNAL"):
        Journal.open(text)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JournalError, match="cannot be used"):
        Journal.open(tmp_path / "file" / "journal.sqlite3")
    newer = tmp_path / "newer"
    Journal.open(newer).close()
    db = sqlite3.connect(newer)
    db.execute("PRAGMA user_version=9")
    db.close()
    with pytest.raises(JournalError, match="newer genrescope wrote it"):
        Journal.open(newer)
    assert text.read_text().startswith("this is no database")


def test_what_is_refused_says_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    place = tmp_path / "file" / "journal.sqlite3"
    with pytest.raises(JournalError) as caught:
        Journal.open(place)
    told = str(caught.value)
    assert told.startswith(f"{place}: the journal of written tags cannot be used ([Errno 17] ")
    assert told.endswith(
        "); without it nothing is written. Name another file in GENRESCOPE_JOURNAL, or make room "
        "and permission there"
    )
    newer = tmp_path / "newer"
    Journal.open(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version=2")
    with pytest.raises(JournalError) as caught:
        Journal.open(newer)
    assert str(caught.value) == (
        f"{newer}: a newer genrescope wrote it (layout 2, this one knows 1); upgrade genrescope, "
        "or name another file in GENRESCOPE_JOURNAL"
    )


def test_a_place_that_cannot_lock_is_said(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(fd: int) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("genrescope.apps.journal.try_lock", none)
    with pytest.raises(JournalError) as caught:
        journal.begin(command="c", bundle="")
    assert str(caught.value).endswith(
        ".alive: cannot be locked (No locks available); put the journal on a local disk "
        "(GENRESCOPE_JOURNAL)"
    )


def test_a_summary_says_all_of_a_run(journal: Journal, song: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    first = journal.begin(command=f"genrescope tag {odd}", bundle="mine")
    one = written(first, song)
    written(first, song)
    second = journal.begin(command="genrescope undo", bundle="")
    written(second, song, undoes=one)
    nothing = journal.begin(command="c", bundle="")
    later, earlier = journal.runs()
    assert (earlier.id, later.id) == (first.id, second.id)
    assert nothing.id not in (earlier.id, later.id)
    assert (earlier.command, earlier.bundle) == ("genrescope tag caf\\udce9", "mine")
    assert (earlier.files, earlier.undone, earlier.unclear, earlier.is_undo) == (2, 1, 0, False)
    assert (later.files, later.undone, later.unclear, later.is_undo) == (1, 0, 0, True)
    assert abs(earlier.when - datetime.now(UTC)) < timedelta(minutes=1)
    assert journal.entry(10**6) is None


def test_entries_are_found_by_where_their_content_is(journal: Journal, song: Path) -> None:
    run = journal.begin(command="c", bundle="")
    here, there = FileIdentity(1, 2, 3, 4), FileIdentity(1, 22, 3, 4)
    written(run, song, after=here)
    last = written(run, song, after=here)
    written(run, song, after=there)
    moved_on = FileIdentity(1, 2, 99, 99)  # changed in place since
    assert next(entry.id for entry in journal.entries_at(moved_on)) == last
    assert len(list(journal.entries_at(here))) == 2
    planned = run.start(song, temporary=song)
    run.plan(planned, plan(song, after=FileIdentity(7, 7, 7, 7)))
    assert list(journal.entries_at(FileIdentity(7, 7, 7, 7))) == []


def test_what_was_noted_as_before_counts_as_taken_back(journal: Journal, song: Path) -> None:
    run = journal.begin(command="c", bundle="")
    number = written(run, song)
    journal.note_as_before(number)
    entry = journal.entry(number)
    assert entry is not None
    assert (entry.undone_by, entry.in_force) == (number, False)
    assert journal.runs()[0].undone == 1


def test_a_journal_that_is_closed_leaves_no_sign_of_life(place: Path) -> None:
    opened = Journal.open(place)
    opened.begin(command="c", bundle="")
    assert [p.name for p in place.parent.iterdir() if p.suffix == ".alive"]
    opened.close()
    assert not [p.name for p in place.parent.iterdir() if p.suffix == ".alive"]
    with pytest.raises(JournalError, match="cannot be used"):
        opened.runs()
    opened.close()  # once more is nothing
