"""Writers of tags that are killed: every file whole, old or new, and the journal true."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.study_kills import run_kills

from genrescope.apps.journal import Journal
from genrescope.apps.tagger import Tagger
from genrescope.apps.undoing import undo
from genrescope.catalog.genre_tags import read_genre_field
from tests.apps.children import in_child

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def tagger(journal: Journal) -> Tagger:
    return Tagger(journal, command="a test", bundle="none")


# What reaches the system, each once before and once after it is done.
TOUCHING = frozenset(
    ("open", "write", "flush", "truncate", "fsync", "replace", "unlink", "remove", "execute",
     "copy_file_range", "fchmod", "fchown", "setxattr", "utime", "close", "flock", "link")
)  # fmt: skip


def dying_at(n: int, work: Callable[[], object]) -> Callable[[], object]:
    """The work, by a process that is killed at its n-th moment that touches the system."""

    def run() -> None:
        count = 0

        def watch(frame: object, event: str, called: object) -> None:
            nonlocal count
            if event.startswith("c_") and getattr(called, "__name__", "") in TOUCHING:
                count += 1
                if count == n:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        try:
            work()
        finally:
            sys.setprofile(None)

    return run


@forks
@pytest.mark.parametrize("taking_back", [False, True])
def test_killed_at_any_moment_the_file_is_whole_and_the_journal_true(
    taking_back: bool, song: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with Journal.open(home / "j.sqlite3") as opened:
        old = song.read_bytes()
        tagger(opened).write(song, ["Folk", "Blues"])
        new = song.read_bytes()
        if not taking_back:
            list(undo(opened, last=True))
    before, after = (new, old) if taking_back else (old, new)
    rows_before = 1 if taking_back else 2
    seen: set[bytes] = set()
    n = 0
    while True:
        n += 1
        work = tmp_path / f"at-{n}"
        shutil.copytree(home, work)
        song.write_bytes(before)

        def write(place: Path = work / "j.sqlite3") -> None:
            with Journal.open(place) as opened:
                if taking_back:
                    list(undo(opened, last=True))
                else:
                    tagger(opened).write(song, ["Folk", "Blues"])

        said = in_child(dying_at(n, write))
        assert said in ("", "killed"), said
        assert song.read_bytes() in (before, after), n
        if n % 4 == 0:  # and whoever clears up is killed as well
            in_child(dying_at(3 + n // 3, lambda place=work: Journal.open(place / "j.sqlite3")))
        with Journal.open(work / "j.sqlite3") as opened:
            rows = [row for row in opened.entries() if row.state != "left"]
            assert {row.state for row in rows} == {"written"}, n
            is_new = song.read_bytes() == after
            assert len(rows) == rows_before + is_new, n
            assert rows[0].new == read_genre_field(song).values, n
            assert (rows[-1].undone_by is not None) == (not taking_back or is_new), n
        assert os.listdir(song.parent) == ["mp3.mp3"], n
        assert sorted(p.name for p in work.iterdir() if p.suffix != ".alive") == ["j.sqlite3"]
        seen.add(song.read_bytes())
        shutil.rmtree(work)
        if said != "killed":
            break
    assert seen == {before, after}
    assert n > 60


@forks
def test_killed_at_random_over_many_files(tmp_path: Path) -> None:
    outcome = run_kills(tmp_path, kills=25, files=24, seed=1)
    assert outcome.kills == 25
    assert outcome.damaged == outcome.wrong == outcome.leftovers == []
    assert outcome.restored == 24
    assert outcome.written > 24


def test_the_study_of_kills_would_see_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that nobody makes true is found out."""
    monkeypatch.setattr(Journal, "_recover", lambda self: None)
    outcome = run_kills(tmp_path, kills=12, files=12, seed=2)
    assert outcome.wrong


@forks
def test_killed_while_a_refused_file_is_cleared_up(song: Path, tmp_path: Path) -> None:
    """The copy goes before the row that knows its name."""
    old = song.read_bytes()
    for n in range(1, 200, 3):
        place = tmp_path / f"j{n}.sqlite3"
        Journal.open(place).close()

        def refused(place: Path = place) -> None:
            with Journal.open(place) as opened:
                tagger(opened).write(song, ["17"])  # reads as "Rock", and so is thrown away

        said = in_child(dying_at(n, refused))
        with Journal.open(place) as opened:
            assert list(opened.entries()) == []
        assert os.listdir(song.parent) == ["mp3.mp3"], n
        assert song.read_bytes() == old
        if said != "killed":
            assert "TagError" in said
            return
    raise AssertionError("it never came to its end")
