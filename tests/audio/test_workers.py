"""Workers that crash, hang and eat memory, and items that do not notice."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.audio.decode import audio_info, read_audio
from genrescope.audio.workers import available_cores, map_isolated
from genrescope.errors import (
    AudioEmptyError,
    AudioError,
    AudioNotFoundError,
    DecoderCrashError,
    DecoderMemoryError,
    DecoderTimeoutError,
    MissingExtraError,
)

posix = pytest.mark.skipif(os.name != "posix", reason="needs Unix signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")


# --- what workers are given to do (at the top of the module, to be found by them) ---------


def double(x: int) -> int:
    return 2 * x


def slow_first(x: int) -> int:
    if x == 0:
        time.sleep(0.3)
    return x


def say_begun(note: Path) -> str:
    time.sleep(0.3)  # the pool knows by then that it is in work
    note.touch()
    time.sleep(0.7)
    return "done"


def misbehave(what: str | int) -> Any:
    """Do as told."""
    match what:
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit("enough")
        case "hang":
            while True:
                pass
        case "deaf":  # C code that holds the interpreter and never returns to it
            ctypes.PyDLL(None).sleep(1000)
        case "memory":
            return np.ones(300 << 20, np.uint8).sum()
        case "error":
            raise AudioEmptyError("song.mp3: it is empty")
        case "extra":
            raise MissingExtraError("plots", extra="lab", package="matplotlib")
        case "bug":
            raise KeyError("surprise")
        case "unpicklable":
            return lambda: None
        case "noise":
            for stream in (sys.stdout, sys.stderr):
                os.write(stream.fileno(), b"Warning: noise from C\n")
                print("Warning: noise from Python", file=stream)
        case "environment":
            return os.environ["OPENBLAS_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]
        case "threads":
            np.ones((300, 300)) @ np.ones((300, 300))
            return len(os.listdir("/proc/self/task"))
        case "pid":
            time.sleep(0.02)
            return os.getpid()
    return what


class Explosive:
    """Cannot be sent anywhere."""

    def __reduce__(self) -> Any:
        raise RuntimeError("boom")


# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_in_order(workers: int) -> None:
    results = list(map_isolated(double, range(100), workers=workers))
    assert results == [(i, 2 * i) for i in range(100)]


def test_results_as_completed() -> None:
    results = [x for x, _ in map_isolated(slow_first, range(8), workers=2, ordered=False)]
    assert sorted(results) == list(range(8))
    assert results[0] != 0
    in_order = [x for x, _ in map_isolated(slow_first, range(8), workers=2)]
    assert in_order == list(range(8))


def test_nothing_to_do() -> None:
    assert list(map_isolated(double, [])) == []
    assert list(map_isolated(double, [], workers=0)) == []


def test_partial_functions_and_real_files(fma_clips: list[Path]) -> None:
    short = partial(read_audio, duration=0.5, sr=8000)
    for path, result in map_isolated(short, fma_clips[:3], workers=2):
        want, _ = short(path)
        np.testing.assert_array_equal(result[0], want)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_items_are_taken_as_they_are_needed(workers: int, ordered: bool) -> None:
    taken = []

    def endless() -> Iterator[int]:
        for i in itertools.count():
            taken.append(i)
            yield i

    results = map_isolated(double, endless(), workers=workers, ordered=ordered)
    assert taken == []
    got = {x for x, _ in itertools.islice(results, 50)}
    assert len(got) == 50
    assert len(taken) <= 50 + 16 * max(1, workers) + 1
    results.close()


def test_no_more_workers_than_items() -> None:
    assert available_cores() >= 1
    pids = {pid for _, pid in map_isolated(misbehave, ["pid"] * 2, workers=40)}
    assert len(pids) <= 2


@posix
@pytest.mark.parametrize("ordered", [True, False])
def test_lost_workers_cost_their_item_only(ordered: bool) -> None:
    items = [0, "segfault", 1, 2, "kill", 3, "abort", "exit", 4, "segfault", 5]
    results = list(map_isolated(misbehave, items, workers=2, timeout=30, ordered=ordered))
    assert sorted(map(str, (x for x, _ in results))) == sorted(map(str, items))
    told = {"segfault": "SIGSEGV", "kill": "SIGKILL", "abort": "SIGABRT", "exit": "status 3"}
    for item, result in results:
        if isinstance(item, int):
            assert result == item
        else:
            assert type(result) is DecoderCrashError
            assert told[item] in str(result)
            assert str(result).startswith(f"{item}: ")


def test_every_item_may_be_fatal() -> None:
    results = list(map_isolated(misbehave, ["exit"] * 6, workers=2, timeout=30))
    assert all(type(result) is DecoderCrashError for _, result in results)
    assert len(results) == 6


@posix
@pytest.mark.parametrize("how", ["hang", "deaf"])
def test_a_runaway_is_stopped_while_others_go_on(how: str) -> None:
    items = [how, *range(20)]
    done = {}
    for item, result in map_isolated(misbehave, items, workers=2, timeout=2.0, ordered=False):
        done[item] = result
        if item == how:
            assert len(done) == 21  # all others were there before it was given up
    assert type(done[how]) is DecoderTimeoutError
    assert "2 s" in str(done[how])
    assert [done[i] for i in range(20)] == list(range(20))


def test_waiting_for_a_worker_does_not_count() -> None:
    results = list(map_isolated(time.sleep, [0.3] * 6, workers=1, timeout=1.0))
    assert results == [(0.3, None)] * 6


@linux
def test_memory_is_limited() -> None:
    results = dict(map_isolated(misbehave, ["memory", 1, 2], workers=1, memory_limit=100 << 20))
    assert type(results["memory"]) is DecoderMemoryError
    assert (results[1], results[2]) == (1, 2)
    results = dict(map_isolated(misbehave, ["memory"], workers=1, memory_limit=500 << 20))
    assert results["memory"] == 300 << 20


@linux
def test_a_decoder_without_memory_says_so(tmp_path: Path, fma_clips: list[Path]) -> None:
    results = list(map_isolated(read_audio, fma_clips[:1], workers=1, memory_limit=4 << 20))
    assert type(results[0][1]) is DecoderMemoryError


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_arrive_as_they_were_raised(workers: int) -> None:
    items = ["error", "extra", "bug", 1]
    results = dict(map_isolated(misbehave, items, workers=workers))
    assert type(results["error"]) is AudioEmptyError
    assert str(results["error"]) == "song.mp3: it is empty"
    assert type(results["extra"]) is MissingExtraError
    assert results["extra"].extra == "lab"
    assert type(results["bug"]) is AudioError
    assert "KeyError: 'surprise'" in str(results["bug"])
    assert results[1] == 1


def test_errors_of_real_files(tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    name = os.fsdecode(b"\xff.mp3") if sys.platform == "linux" else "none.mp3"
    paths = [tmp_path / name, tmp_path / "empty.mp3"]
    (_, lost), (_, empty) = map_isolated(audio_info, paths, workers=1)
    assert type(lost) is AudioNotFoundError
    assert type(empty) is AudioEmptyError
    with pytest.raises(AudioNotFoundError) as raised:
        audio_info(paths[0])
    assert str(raised.value) == str(lost)


def test_what_cannot_be_sent() -> None:
    results = dict(map_isolated(misbehave, ["unpicklable", "sys.exit", 1], workers=1))
    assert isinstance(results["unpicklable"], AudioError)
    assert "SystemExit: enough" in str(results["sys.exit"])
    assert results[1] == 1
    bomb = Explosive()
    (_, first), (_, second) = map_isolated(double, [bomb, 2], workers=1)
    assert isinstance(first, AudioError)
    assert "boom" in str(first)
    assert second == 4
    with pytest.raises(TypeError, match="top level"):
        map_isolated(lambda x: x, [1], workers=1)
    with pytest.raises(ValueError, match="-1"):
        map_isolated(double, [1], workers=-1)


def test_workers_are_silent_and_single_threaded(capfd: pytest.CaptureFixture[str]) -> None:
    results = dict(map_isolated(misbehave, ["noise", "environment"], workers=1))
    assert results["noise"] == "noise"
    assert results["environment"] == ("1", "1")
    assert capfd.readouterr() == ("", "")


@linux
def test_no_more_threads_than_one() -> None:
    ((_, threads),) = map_isolated(misbehave, ["threads"], workers=1)
    assert threads == 1


@posix
def test_closing_stops_workers_at_once() -> None:
    results = map_isolated(misbehave, itertools.chain([0, 0], itertools.repeat("deaf")), workers=2)
    next(results)
    children = _children()
    assert children
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 10  # many times what it takes; it must not wait for them
    assert not any(map(_alive, children))


@posix
def test_workers_killed_from_outside_are_replaced() -> None:
    def items() -> Iterator[str]:
        for i in range(60):
            if i == 40:  # the workers have nothing to do and wait
                time.sleep(0.3)
                _kill_children()
                time.sleep(0.3)
            yield "pid"

    results = []
    for _, result in map_isolated(misbehave, items(), workers=2, timeout=20):
        results.append(result)
        if len(results) == 3:  # they are in the middle of something
            _kill_children()
    assert len(results) == 60
    assert all(isinstance(result, int | DecoderCrashError) for result in results)
    assert sum(isinstance(result, int) for result in results) >= 54


@posix
def test_a_pool_that_is_stuck_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrescope.audio.workers._STUCK", 0.5)

    def items() -> Iterator[int]:
        for i in range(40):
            if i == 35:  # the workers wait, and will never hear of the rest
                time.sleep(0.3)
                for pid in _children():
                    os.kill(pid, signal.SIGSTOP)
            yield i

    results = list(map_isolated(double, items(), workers=1))
    assert results == [(i, 2 * i) for i in range(40)]


@posix
@pytest.mark.parametrize("guarded", [True, False])
def test_scripts_and_their_own_functions(tmp_path: Path, guarded: bool) -> None:
    code = """
        from genrescope.audio.workers import map_isolated
        from genrescope.audio.decode import audio_info
        def own(x):
            return x + 1
        print("started")
        if not GUARDED:
            for path, result in map_isolated(audio_info, ["none.mp3"] * 3, workers=2):
                print(type(result).__name__)
        elif __name__ == "__main__":
            for item, result in map_isolated(own, [1, 2], workers=1):
                print(result)
        """
    (tmp_path / "script.py").write_text(textwrap.dedent(code).replace("GUARDED", str(guarded)))
    out = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60
    )
    assert out.stderr == ""
    assert out.returncode == 0
    lines = out.stdout.split()
    if guarded:
        assert lines[-2:] == ["2", "3"]
    else:
        assert lines == ["started"] + ["AudioNotFoundError"] * 3


@posix
@pytest.mark.parametrize("when", ["starting", "working"])
def test_ctrl_c_ends_soon_and_quietly(tmp_path: Path, when: str) -> None:
    code = """
        import itertools, signal, sys, time
        from genrescope.audio.workers import map_isolated
        from tests.audio.test_workers import misbehave
        # As in a shell that runs it in the foreground, whatever the tests were started from.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        items = itertools.chain([1, 2, 3], itertools.repeat("deaf"))
        if WHEN == "starting":
            print("ready", flush=True)
        try:
            for item, result in map_isolated(misbehave, items, workers=2):
                if result == 3:
                    print("ready", flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    script = textwrap.dedent(code).replace("WHEN", repr(when))
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a shell makes one
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert out.endswith("interrupted\n")
    assert err == ""
    assert process.returncode == 0
    for _ in range(50):  # until nobody of the group is left
        if not _alive(-process.pid):
            break
        time.sleep(0.1)
    assert not _alive(-process.pid)


def _children() -> list[int]:
    import multiprocessing

    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def _kill_children() -> None:
    for pid in _children():
        os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_clock_that_is_set_forward_costs_no_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = time.time, tmp_path / "begun"
    monkeypatch.setattr(time, "time", lambda: real() + 1000 * begun.exists())
    results = list(map_isolated(say_begun, [begun], workers=1, timeout=20))
    assert results == [(begun, "done")]
