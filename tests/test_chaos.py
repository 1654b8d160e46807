"""The chaos test's own eyes: its audit sees what is wrong, and its bad days are bad."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.chaos import run
from benchmarks.chaos_actors import Sample, same_answer
from benchmarks.chaos_audit import files_wrong, rows_wrong, trend_of
from benchmarks.chaos_faults import SITE
from benchmarks.chaos_world import World, facts_of, make_world

from genrescope.apps.journal import Entry, Journal
from genrescope.apps.tagger import Tagger
from genrescope.apps.undoing import undo
from genrescope.catalog.genre_tags import write_genre_field
from tests.audio.stores import write_tone

linux = pytest.mark.skipif(sys.platform != "linux", reason="kills, pauses and mounts as on Linux")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two files, of which one was written and taken back and one was written."""
    made = World(tmp_path / "disk", tmp_path / "notes", small=False)
    made.music.mkdir(parents=True)
    for i in range(2):
        path = made.music / f"{i}.wav"
        write_tone(path, seed=i)
        write_genre_field(path, ("Rock",))
        made.facts[path.name] = facts_of(path)
    with Journal.open(made.journal) as journal:
        tagger = Tagger(journal, command="test", bundle="")
        for name in made.facts:
            tagger.write(made.music / name, ["Folk"])
        list(undo(journal, path=made.music / "0.wav"))
    return made


def _rows(world: World) -> dict[Path, list[Entry]]:
    with Journal.open(world.journal) as journal:
        return {world.music / n: list(journal.entries(path=world.music / n)) for n in world.facts}


def _found(world: World) -> str:
    return "\n".join(files_wrong(world, _rows(world)))


def test_what_the_journal_says_is_no_finding(world: World) -> None:
    assert _found(world) == ""
    assert facts_of(world.music / "1.wav").genres == ("Folk",)


def test_a_file_that_is_lost_or_was_not_there(world: World) -> None:
    (world.music / "0.wav").rename(world.music / ".genrescope-0.part")
    assert _found(world) == ".genrescope-0.part: was not there before\n0.wav: is lost"


def test_genres_that_no_row_says(world: World) -> None:
    write_genre_field(world.music / "1.wav", ("Jazz",))
    found = _found(world)
    assert "1.wav: has the genres ('Jazz',), its last row says ('Folk',)" in found
    assert "its bytes are not those of its last row" in found
    assert "0.wav" not in found


def test_other_sound_and_other_tags(world: World) -> None:
    write_tone(world.music / "0.wav", seed=9)
    found = _found(world)
    assert "0.wav: holds other sound" in found
    path = world.music / "1.wav"
    data = path.read_bytes().replace(b"LIST", b"TSIL").replace(b"TCON", b"TIT2")
    path.write_bytes(data)
    assert "1.wav: holds other tags" in _found(world)


def test_a_change_that_is_in_no_row_and_rows_that_are_open(world: World) -> None:
    rows = _rows(world)
    first = world.music / "0.wav"
    assert len(rows[first]) == 2
    without = {**rows, first: rows[first][:1]}
    assert any("does not begin with what it was" in one for one in files_wrong(world, without))
    doubled = {**rows, first: [rows[first][0], rows[first][0], rows[first][1]]}
    assert any("is in no row" in one for one in files_wrong(world, doubled))
    object.__setattr__(rows[first][0], "state", "planned")
    assert any("rows are ['planned', 'written']" in one for one in files_wrong(world, rows))


def test_rows_that_were_taken_back_by_nobody(world: World) -> None:
    rows = [row for some in _rows(world).values() for row in some]
    assert list(rows_wrong(rows)) == []
    taker = next(row for row in rows if row.plan.undoes is not None)
    (wrong,) = rows_wrong([row for row in rows if row is not taker])
    assert "which did not" in wrong


def _samples(grow: float, *, files: int = 20, n: int = 100) -> list[Sample]:
    return [Sample(36.0 * i, int((100 + grow * i) * 2**20), files) for i in range(n)]


def test_what_grows_is_not_flat() -> None:
    assert trend_of(_samples(0)[:20]) is None
    flat, growing = trend_of(_samples(0)), trend_of(_samples(0.5))
    assert flat is not None
    assert growing is not None
    assert flat.flat
    assert flat.slope == pytest.approx(0, abs=0.1)
    assert not growing.flat
    assert growing.slope == pytest.approx(50, rel=0.05)  # MB an hour
    leaking = trend_of([*_samples(0)[:60], *_samples(0, files=40)[60:]])
    assert leaking is not None
    assert not leaking.flat


def test_answers_are_the_same_to_five_digits() -> None:
    one = {"genre": "Rock", "probabilities": {"Rock": 0.7, "Pop": 0.3}}
    assert same_answer(one, {**one, "probabilities": {"Rock": 0.700004, "Pop": 0.299996}})
    assert not same_answer(one, {**one, "probabilities": {"Rock": 0.7001, "Pop": 0.2999}})
    assert not same_answer(one, {**one, "genre": None})
    assert not same_answer({"path": "x", "error": "E", "message": "m"}, one)


def _bad_day(words: str, program: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(SITE), "GENRESCOPE_CHAOS": words}
    return subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False
    )


def test_a_bad_clock_jumps_and_the_other_one_does_not() -> None:
    program = (
        "import time; from datetime import UTC, datetime; a = time.monotonic()\n"
        "t = [time.time() for _ in range(2000)] + [datetime.now(UTC).timestamp()]\n"
        "print(max(t) - min(t) > 86400, time.monotonic() - a < 1000, isinstance("
        "datetime.now(), datetime))"
    )
    assert _bad_day("clock", program).stdout.split() == ["True"] * 3
    assert _bad_day("", program).stdout.split() == ["False", "True", "True"]


@linux
def test_what_ends_workers_does_not_end_the_command(tmp_path: Path) -> None:
    world = World(tmp_path / "disk", tmp_path / "notes", small=False)
    make_world(world, clips=None, files=2)
    (poison,) = world.poisoned
    assert len(world.facts) == 8
    assert poison not in world.answers
    assert {"no sound.mp3", "silent.wav"}.isdisjoint(world.answers)
    program = f"open({str(world.music / poison)!r}, 'rb').close(); print('lives')"
    assert _bad_day("poison", program).stdout == "lives\n"
    ended = _bad_day("poison", f"spawn_main = None; {program}")
    assert ended.returncode == -9


@linux
@pytest.mark.slow
def test_a_few_seconds_of_it_end_with_a_clean_audit(tmp_path: Path) -> None:
    chaos, found, _ = run(tmp_path, clips=None, files=6, seconds=6.0, seed=0)
    assert chaos.findings == []
    assert chaos.counts["commands"] > 5
    assert (found.files, found.restored) == (12, 12)
    assert found.features == found.identical > 10
