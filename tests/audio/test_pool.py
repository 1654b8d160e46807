"""Workers that stay, and are replaced where a file ends them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from genrescope.audio.pool import IsolatedPool
from genrescope.errors import (
    AudioEmptyError,
    AudioError,
    DecoderCrashError,
    DecoderTimeoutError,
    ServiceError,
)

posix = pytest.mark.skipif(os.name != "posix", reason="needs Unix signals")
PATIENCE = 60.0  # s


def obey(what: Any) -> Any:
    """Do as told."""
    match what:
        case "pid":
            return os.getpid()
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "error":
            raise AudioEmptyError("a.mp3: it is empty")
        case "bug":
            raise KeyError("surprise")
        case "hang":
            while True:
                pass
        case "rehearsed":
            return _rehearsed
        case "rehearse":
            _rehearsed.append(os.getpid())
            return None
        case ("wait", flag):
            while not os.path.exists(flag):
                time.sleep(0.01)
            return "waited"
    return what


_rehearsed: list[int] = []


def refuse(what: Any) -> Any:
    raise AudioEmptyError("it will not start")


@contextmanager
def pool(fn: Any = obey, **settings: Any) -> Iterator[IsolatedPool[Any, Any]]:
    found: IsolatedPool[Any, Any] = IsolatedPool(fn, **{"workers": 1, **settings})
    found.start()
    try:
        yield found
    finally:
        found.close()


def until(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_the_same_worker_does_one_after_another() -> None:
    with pool(rehearsal="rehearse") as workers:
        tasks = [workers.submit(what) for what in ("pid", "pid", "rehearsed", 7)]
        first, second, rehearsed, seven = [task.future.result(PATIENCE) for task in tasks]
        assert first == second != os.getpid()
        assert rehearsed == [first]
        assert seven == 7
        assert workers.warm == 1
        assert workers.pids() == [first]
    assert workers.pids() == []


@posix
def test_what_ends_a_worker_costs_its_item_only() -> None:
    with pool(timeout=2.0, rehearsal="rehearse") as workers:
        wanted = {
            "error": AudioEmptyError,
            "bug": AudioError,
            "abort": DecoderCrashError,
            "exit": DecoderCrashError,
            "hang": DecoderTimeoutError,
        }
        tasks = {what: workers.submit(what) for what in wanted}
        last = workers.submit("rehearsed")
        for what, kind in wanted.items():
            with pytest.raises(kind, match="a.mp3" if what == "error" else what):
                tasks[what].future.result(PATIENCE)
        assert len(last.future.result(PATIENCE)) == 1
        assert workers.lost == 3


def test_abandoned_items(tmp_path: Path) -> None:
    with pool() as workers:
        running = workers.submit(("wait", str(tmp_path / "flag")))
        waiting = workers.submit("pid")
        until(lambda: workers.running == 1)
        assert workers.waiting == 1
        waiting.abandon()
        assert workers.waiting == 0
        assert waiting.future.cancelled()
        running.abandon(patience=60)
        (tmp_path / "flag").touch()
        assert running.future.result(PATIENCE) == "waited"
        assert workers.lost == 0
        hanging = workers.submit("hang")
        until(lambda: workers.running == 1)
        hanging.abandon(patience=0.1)
        with pytest.raises(DecoderTimeoutError):
            hanging.future.result(PATIENCE)
        assert workers.lost == 1
        assert workers.submit(3).future.result(PATIENCE) == 3


def test_closing_finishes_what_is_there(tmp_path: Path) -> None:
    with pool() as workers:
        first = workers.submit(("wait", str(tmp_path / "flag")))
        second = workers.submit(2)
        until(lambda: workers.running == 1)
        (tmp_path / "flag").touch()
        workers.close(grace=PATIENCE)
        assert (first.future.result(0), second.future.result(0)) == ("waited", 2)
        with pytest.raises(ServiceError, match="stopping"):
            workers.submit(3)


def test_closing_ends_in_time() -> None:
    with pool() as workers:
        first, second = workers.submit("hang"), workers.submit(2)
        until(lambda: workers.running == 1)
        pid = workers.pids()[0]
        workers.close(grace=0.1)
        for task in (first, second):
            with pytest.raises((ServiceError, CancelledError)):
                task.future.result(0)
        assert not Path(f"/proc/{pid}").exists()


def test_workers_that_do_not_start_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrescope.audio.pool._PAUSE", 0.01)
    with pool(refuse, rehearsal="rehearse") as workers:
        task = workers.submit(1)
        with pytest.raises(ServiceError, match="cannot be started"):
            task.future.result(PATIENCE)
        assert "it will not start" in workers.failure
        assert workers.warm == 0
    with pytest.raises(ValueError, match="workers is 0"):
        IsolatedPool(obey, workers=0)


@posix
@pytest.mark.parametrize("how", ["raise SystemExit(4)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_workers_do_not_outlive_the_program(how: str) -> None:
    code = f"""
    import os, signal, time
    from genrescope.audio.pool import IsolatedPool
    from tests.audio.test_pool import obey
    pool = IsolatedPool(obey, workers=2)
    pool.start()
    print([pool.submit("pid").future.result(60) for _ in range(1)] and pool.pids(), flush=True)
    {how}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode in (4, -9), done.stderr
    for pid in eval(done.stdout):
        until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]


def echo(large: bytes, what: Any) -> Any:
    """What it is told; the first argument is there to be sent."""
    return what


@posix
def test_workers_that_die_while_they_start_are_replaced() -> None:
    """Also where there is more to send to them than a pipe holds."""
    pool = IsolatedPool(partial(echo, b"x" * 3_000_000), workers=1)
    pool.start()
    killed: set[int] = set()
    until = time.monotonic() + PATIENCE
    while len(killed) < 2 and time.monotonic() < until:
        for child in multiprocessing.active_children():
            if child.name == "genrescope-worker" and child.pid and child.pid not in killed:
                killed.add(child.pid)
                os.kill(child.pid, signal.SIGKILL)
    assert len(killed) == 2
    try:
        assert pool.submit("hello").future.result(PATIENCE) == "hello"
    finally:
        pool.close()
