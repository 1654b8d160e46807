"""The worker's side of :mod:`genrescope.audio.workers`: how it starts, and what it does.

Workers import this module first, so it imports nothing that takes time.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker, spawn
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from genrescope.errors import GenrescopeError

__all__ = ["QuietContext", "attend", "begin", "limit_memory", "run"]

# One thread a worker: with one worker a core, more of them only wait for one another.
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

# Nothing that decodes writes files; where other work does, none is nearly as large.
_LARGEST_FILE = 1 << 30  # bytes
_SPARE_CPU = 30  # s beyond the time limit, which is counted elsewhere and comes first

_launching = threading.Lock()


class _QuietProcess(SpawnProcess):
    """A spawned process that neither runs the caller's script nor hears Ctrl-C."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _launching, _without_main(), _without_interrupts():
            return SpawnProcess._Popen(process_obj)


class QuietContext(SpawnContext):
    """Starts processes that neither run the caller's script nor hear Ctrl-C."""

    Process = _QuietProcess


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keep multiprocessing from telling processes launched here to import ``__main__``."""
    original = spawn.get_preparation_data
    here = threading.get_ident()

    def prepare(name: str) -> dict[str, Any]:
        data = original(name)
        if threading.get_ident() == here:
            data.pop("init_main_from_name", None)
            data.pop("init_main_from_path", None)
        return data

    spawn.get_preparation_data = prepare
    try:
        yield
    finally:
        spawn.get_preparation_data = original


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes launched here never see SIGINT, not even while they start."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The first process that is spawned starts this one on the way, which lets SIGINT through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_function: Callable[[Any], Any] | None = None
_refusal = ""
_seconds: float | None = None


def begin(blob: bytes, memory_limit: int | None, seconds: float | None = None) -> None:
    """Make this process a worker.

    Parameters
    ----------
    blob : bytes
        The function, pickled.
    memory_limit : int, optional
        Bytes that can be allocated beyond what its imports took.
    seconds : float, optional
        The time that an item may take. The parent counts it. Should the parent be gone, the
        processor time of an item is limited to somewhat more; and no file can grow beyond 1 GiB.
    """
    global _function, _refusal, _seconds
    # Before anything imports NumPy, which reads them once.
    for variable in _ONE_THREAD:
        os.environ[variable] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A handler written in Python would wait for the decoder to return.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _silence()
    try:
        _function = pickle.loads(blob)  # noqa: S301 (the caller made it)
    except Exception as error:  # noqa: BLE001 (told with every item)
        _refusal = f"{type(error).__name__} while a worker started: {error}"
    limit_memory(memory_limit)
    _seconds = seconds
    if seconds is not None and sys.platform != "win32":
        import resource

        _lower(resource.RLIMIT_FSIZE, _LARGEST_FILE)


def _lower(limit: int, value: int) -> None:
    """Set a soft limit of this process, as far as its hard limit allows."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard < 0 else min(value, hard), hard))


def _limit_cpu() -> None:
    """Let the item that comes now take so much processor time and no more."""
    if _seconds is None or sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    so_far = used.ru_utime + used.ru_stime
    _lower(resource.RLIMIT_CPU, math.ceil(so_far + _seconds) + _SPARE_CPU)


def _silence() -> None:
    """Send what decoders print to nowhere: they write to standard output, too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there may be none
            stream.flush()
    for fd in (1, 2):
        os.dup2(nowhere, fd)
    if nowhere > 2:
        os.close(nowhere)


def limit_memory(n_bytes: int | None) -> None:
    """Limit the memory that can be allocated from now on; and leave no core dumps."""
    if sys.platform == "win32":
        return
    import resource

    _lower(resource.RLIMIT_CORE, 0)
    if n_bytes is None or not sys.platform.startswith("linux"):
        return
    # RLIMIT_DATA counts what can be written; RLIMIT_AS would count the address space that
    # libraries reserve and never touch.
    with contextlib.suppress(OSError, ValueError):
        _lower(resource.RLIMIT_DATA, n_bytes + _allocated())


def _allocated() -> int:
    """Bytes of this process that RLIMIT_DATA counts."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def run(blob: bytes) -> tuple[str, bytes]:
    """Do one item; whatever happens is an answer."""
    try:
        if _function is None:
            return "exception", pickle.dumps(_refusal)
        item = pickle.loads(blob)  # noqa: S301 (the caller made it)
        _limit_cpu()
        return "result", pickle.dumps(_function(item), pickle.HIGHEST_PROTOCOL)
    except GenrescopeError as error:
        return _told(error)
    except MemoryError:
        return "memory", pickle.dumps(None)
    except BaseException as error:  # noqa: BLE001 (a SystemExit is no reason to go, either)
        return "exception", pickle.dumps(f"{type(error).__name__}: {error}")


def attend(link: Connection, memory_limit: int | None, seconds: float | None = None) -> None:
    """Be a worker that does one item after another, until the other end of the link is closed.

    The first thing to come over the link is the function.
    """
    try:
        blob = link.recv_bytes()
    except (EOFError, OSError):
        return
    begin(blob, memory_limit, seconds)
    # A service manager sends SIGTERM to every process of a service at once. What is being done
    # is to be finished all the same; the parent ends its workers by SIGKILL.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            item = link.recv_bytes()
        except (EOFError, OSError):
            return
        link.send_bytes(pickle.dumps(run(item), pickle.HIGHEST_PROTOCOL))


def _told(error: GenrescopeError) -> tuple[str, bytes]:
    try:
        payload = pickle.dumps(error)
        pickle.loads(payload)  # noqa: S301 (made in the line before)
    except Exception:  # noqa: BLE001 (an error class that does not survive pickling)
        return "exception", pickle.dumps(f"{type(error).__name__}: {error}")
    return "result", payload
