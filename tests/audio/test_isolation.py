"""What a worker may use: processor time, memory, disk."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest

from genrescope.audio.workers import map_isolated
from genrescope.errors import AudioError, DecoderMemoryError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")


def limits(what: str) -> tuple[float, int]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, resource.getrlimit(getattr(resource, what))[0]


def write_far(size: int) -> int | None:
    with tempfile.TemporaryFile() as file:
        try:
            file.truncate(size)
        except OSError as error:
            return error.errno
    return None


def eat(size: int) -> int:
    return len(bytearray(size))


def spin(limit: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + limit, hard))
    while True:
        with suppress(ZeroDivisionError):
            time.process_time()


def told(fn: object, *items: object, **options: object) -> list[object]:
    return [result for _, result in map_isolated(fn, items, workers=1, **options)]


def test_processor_time_is_limited_anew_for_each_item() -> None:
    for used, limit in told(limits, "RLIMIT_CPU", "RLIMIT_CPU", timeout=50):
        assert used + 50 <= limit <= used + 50 + 32
    ((_, limit),) = told(limits, "RLIMIT_CPU", timeout=None)
    assert limit == resource.getrlimit(resource.RLIMIT_CPU)[0]


def test_files_cannot_grow_for_ever() -> None:
    assert told(write_far, 1 << 20, 2 << 30, timeout=60) == [None, errno.EFBIG]


def test_no_core_is_left() -> None:
    ((_, limit),) = told(limits, "RLIMIT_CORE")
    assert limit == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux limits memory")
def test_memory_is_limited() -> None:
    small, large = told(eat, 1 << 20, 1 << 30, memory_limit=1 << 28)
    assert small == 1 << 20
    assert isinstance(large, DecoderMemoryError)


def test_a_worker_that_runs_out_of_processor_time_costs_its_item_only() -> None:
    lost, kept = map_isolated(spin_or_sleep, [1, 0], workers=1)
    assert isinstance(lost[1], AudioError)
    assert "SIGXCPU" in str(lost[1])
    assert kept[1] == 0


def spin_or_sleep(limit: int) -> int:
    if limit:
        spin(limit)
    return limit


def test_not_even_the_first_process_hears_an_interrupt_while_it_starts() -> None:
    """Starting the first one starts the resource tracker, which lets SIGINT through again."""
    code = (
        "from multiprocessing import Pipe\n"
        "from genrescope.audio.isolation import QuietContext\n"
        "from tests.audio.test_isolation import tell_mask\n"
        "here, there = Pipe()\n"
        "QuietContext().Process(target=tell_mask, args=(there,)).start()\n"
        "print(here.recv())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


def tell_mask(link: Connection) -> None:
    """Send whether SIGINT is kept from this process."""
    link.send(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
