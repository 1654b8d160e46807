"""What Python runs first in every command of :mod:`benchmarks.chaos`: a bad clock, a bad disk.

What it does is said in ``GENRESCOPE_CHAOS``, words with commas between them:

``clock``
    The time of day jumps: about once in twenty times that somebody asks, by seconds or by years,
    forwards or backwards. `time.time`, `time.time_ns` and `datetime.now` say so; the file system
    and SQLite keep the real one, and the monotonic clock does not jump, as nowhere.
``disk``
    Files take up to 30 ms longer to be opened and up to 150 ms longer to be put on the disk.
``poison``
    A file that begins with an ID3 tag and holds `POISON` ends each worker process that opens it,
    as a bug in a decoder would.
"""

import datetime
import os
import random
import signal
import sys
import time
from typing import Any

POISON = b"genrescope chaos poison"
_JUMPS = (
    0.0,
    0.0,
    -5.0,
    7200.0,
    -86_400.0,
    40 * 86_400.0,
    3 * 365 * 86_400.0,
    -20 * 365 * 86_400.0,
)
_wanted = set(os.environ.get("GENRESCOPE_CHAOS", "").split(","))
_rng = random.Random(f"{os.environ.get('GENRESCOPE_CHAOS_SEED')} {os.getpid()}")


def _bad_clock() -> None:
    real, real_ns, ahead = time.time, time.time_ns, [0.0]

    def jump() -> float:
        if _rng.random() < 0.05:
            ahead[0] = _rng.choice(_JUMPS)
        return ahead[0]

    class Datetime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return datetime.datetime.fromtimestamp(time.time(), tz)

    time.time = lambda: real() + jump()
    time.time_ns = lambda: real_ns() + int(jump() * 1e9)
    datetime.datetime = Datetime  # type: ignore[misc]


def _bad_disk() -> None:
    real = os.fsync

    def fsync(fd: Any) -> None:
        time.sleep(_rng.random() * 0.15)
        real(fd)

    os.fsync = fsync


def _is_poison(path: str | bytes) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        head = os.read(fd, 2048)
    except OSError:
        return False
    finally:
        os.close(fd)
    return head[:3] == b"ID3" and POISON in head


def _watch_opening() -> None:
    busy: list[int] = []

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or busy or not isinstance(arguments[0], str | bytes):
            return
        name = os.fsdecode(arguments[0])
        if not name.endswith((".mp3", ".flac", ".wav", ".ogg", ".npy", ".json", ".jsonl")):
            return
        busy.append(1)
        try:
            if "disk" in _wanted:
                time.sleep(_rng.random() * 0.03)
            # A worker of ours says so in what it was started with.
            worker = any("spawn_main" in word for word in sys.orig_argv)
            if "poison" in _wanted and worker and _is_poison(arguments[0]):
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            busy.clear()

    sys.addaudithook(opened)


if "clock" in _wanted:
    _bad_clock()
if "disk" in _wanted:
    _bad_disk()
if _wanted & {"disk", "poison"}:
    _watch_opening()
