"""Workers that stay: for a service, which is asked now and then, and for long.

As in :mod:`genrescope.audio.workers`, an item can at worst end the worker that does it. Here each
worker has a thread of this process and a pipe to itself, so nothing is shared that a worker could
take with it; it is started before the first item, and again as soon as it was lost.
"""

from __future__ import annotations

import atexit
import pickle
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from genrescope.audio.isolation import QuietContext, attend
from genrescope.audio.outcomes import crashed, not_started, received, too_slow
from genrescope.audio.workers import DEFAULT_MEMORY_LIMIT, DEFAULT_TIMEOUT, available_cores
from genrescope.errors import GenrescopeError, ServiceError

__all__ = ["IsolatedPool", "Task"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOK = 0.25  # s between looks at whether the one who asked still wants to know
_START = 180.0  # s that a worker may take to start and to rehearse
_PAUSE = 2.0  # s after a worker that did not start
_TRIES = 3  # starts in a row that may fail before items are refused


class Task(Generic[Item, Result]):
    """An item on its way.

    Attributes
    ----------
    future : concurrent.futures.Future
        Gives the result, or raises the GenrescopeError that became of the item.
    """

    def __init__(self, item: Item, blob: bytes, on_leave: Callable[[], None]) -> None:
        self.item, self.blob = item, blob
        self.future: Future[Result] = Future()
        self.deadline = float("inf")
        self._on_leave = on_leave

    def abandon(self, *, patience: float = 2.0) -> None:
        """Say that nobody waits for the result any more.

        An item that waits is dropped. One that a worker has begun gets `patience` seconds to
        come to its end, since a new worker takes about as long to start; then it is stopped.
        """
        if self.future.cancel():
            self._on_leave()
        else:
            self.deadline = min(self.deadline, time.monotonic() + patience)


class _Worker:
    """A process and the pipe to it."""

    def __init__(
        self, context: SpawnContext, blob: bytes, memory_limit: int | None, seconds: float
    ) -> None:
        self.link, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=attend,
            args=(theirs, memory_limit, seconds),
            daemon=True,
            name="genrescope-worker",
        )
        try:
            self.process.start()
        except BaseException:
            self.link.close()
            raise
        finally:
            theirs.close()
        # Not among the arguments: whoever starts a process writes these into a pipe of which it
        # holds both ends, and waits for ever where the process dies before it has read them all.
        try:
            self.link.send_bytes(blob)
        except OSError:
            self.end()
            raise

    def ask(self, blob: bytes) -> None:
        self.link.send_bytes(blob)

    def answer(self, timeout: float) -> tuple[str, bytes] | None:
        """What it says within the time, else None; EOFError where it has died."""
        ready = wait([self.link, self.process.sentinel], timeout)
        if not ready:
            return None
        if self.link in ready:
            told: tuple[str, bytes] = pickle.loads(self.link.recv_bytes())  # noqa: S301 (ours)
            return told
        raise EOFError

    def end(self) -> int | None:
        """Stop it, whatever it does; its exit code."""
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        self.link.close()
        self.process.close()
        return code


class IsolatedPool(Generic[Item, Result]):
    """Worker processes that stay, and the line of items before them.

    Parameters
    ----------
    fn : callable
        Takes one item. A function at the top level of a module, or a ``functools.partial``
        of one; it is sent to every worker once.
    workers : int > 0, optional
        Processes; default one a core.
    timeout : float
        Seconds that an item may take, not counting its wait for a worker.
    memory_limit : int, optional
        Bytes that a worker may allocate beyond what the imports of `fn` took; see
        :func:`genrescope.audio.workers.map_isolated`.
    rehearsal : item, optional
        What every worker does once before the first item, so that what is loaded on first use
        is there.

    Attributes
    ----------
    lost : int
        Workers that died or were stopped, and were replaced.

    Raises
    ------
    ValueError
        If `workers` is below 1.
    """

    def __init__(
        self,
        fn: Callable[[Item], Result],
        *,
        workers: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        memory_limit: int | None = DEFAULT_MEMORY_LIMIT,
        rehearsal: Item | None = None,
    ) -> None:
        self.size = available_cores() if workers is None else workers
        if self.size < 1:
            raise ValueError(f"workers is {workers}; a pool needs 1 or more")
        self.timeout, self.lost = timeout, 0
        self._memory_limit = memory_limit
        self._blob = pickle.dumps(fn, pickle.HIGHEST_PROTOCOL)
        self._rehearsal = None if rehearsal is None else pickle.dumps(rehearsal)
        self._line: deque[Task[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._stop_at = float("inf")  # when what still runs is stopped
        self._warm = self._busy = 0
        self._failure = ""
        self._workers: set[_Worker] = set()
        self._threads: list[threading.Thread] = []

    # --- from outside ------------------------------------------------------

    def start(self) -> None:
        """Start the workers; returns at once."""
        _pools.add(self)
        for number in range(self.size):
            thread = threading.Thread(target=self._sit, name=f"worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def warm(self) -> int:
        """How many workers are up and have rehearsed."""
        return self._warm

    @property
    def failure(self) -> str:
        """Why workers do not start; empty where they do."""
        return self._failure

    @property
    def waiting(self) -> int:
        """How many items wait for a worker."""
        return len(self._line)

    @property
    def running(self) -> int:
        """How many items are being done."""
        return self._busy

    def pids(self) -> list[int]:
        """The processes, for those who measure them."""
        with self._changed:
            return [worker.process.pid for worker in self._workers if worker.process.pid]

    def submit(self, item: Item) -> Task[Item, Result]:
        """Put an item at the end of the line.

        Raises
        ------
        ServiceError
            If the pool is closed.
        """
        task: Task[Item, Result] = Task(
            item, pickle.dumps(item, pickle.HIGHEST_PROTOCOL), lambda: self._leave(task)
        )
        with self._changed:
            if self._closing:
                raise ServiceError("the service is stopping and takes nothing new; try again later")
            self._line.append(task)
            self._changed.notify()
        return task

    def close(self, *, grace: float = 0.0) -> None:
        """Take nothing new, finish what is there, and stop the workers.

        Parameters
        ----------
        grace : float
            Seconds after which what is not finished is stopped, too.
        """
        with self._changed:
            self._closing = True
            self._stop_at = time.monotonic() + grace
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._drop("the service has stopped before it came to this file; send it again")
        _pools.discard(self)

    def kill(self) -> None:
        """End every worker now; for the end of the program."""
        self._closing, self._stop_at = True, 0.0
        for worker in list(self._workers):
            try:
                worker.process.kill()
            except (ValueError, AttributeError):  # ended meanwhile
                continue

    # --- the thread of a worker --------------------------------------------

    def _sit(self) -> None:
        worker: _Worker | None = None
        misses = 0
        while True:
            if worker is None and not self._closing:
                worker = self._hire()
                misses = 0 if worker else misses + 1
                if worker is None:
                    if misses >= _TRIES:
                        self._drop(str(not_started("the file")))
                    with self._changed:
                        self._changed.wait(_PAUSE)
                    continue
            task = self._next()
            if task is None:
                break
            if worker is None:  # closing, and the last one was lost
                self._refuse(task, "the service has stopped; send the file again")
                continue
            with self._changed:
                self._busy += 1
            try:
                kept = self._do(worker, task)
            finally:
                with self._changed:
                    self._busy -= 1
            if not kept:
                worker = None
        if worker is not None:
            self._dismiss(worker)

    def _next(self) -> Task[Item, Result] | None:
        """The next item that somebody waits for; None at the end."""
        with self._changed:
            while True:
                while self._line:
                    task = self._line.popleft()
                    if time.monotonic() > self._stop_at:
                        self._refuse(task, "the service has stopped; send the file again")
                    elif task.future.set_running_or_notify_cancel():
                        return task
                if self._closing:
                    return None
                self._changed.wait()

    def _hire(self) -> _Worker | None:
        # What comes from the caller's script has to be looked for in it.
        context = SpawnContext() if b"__main__" in self._blob else QuietContext()
        try:
            worker = _Worker(context, self._blob, self._memory_limit, max(self.timeout, _START))
        except OSError as error:
            self._failure = f"{type(error).__name__}: {error}"
            return None
        with self._changed:
            self._workers.add(worker)
        if self._rehearsal is not None:
            try:
                worker.ask(self._rehearsal)
                end = time.monotonic() + _START
                told = self._wait(worker, lambda: min(end, self._stop_at))
                result = "it does not answer" if told is None else received("rehearsal", *told)
            except (EOFError, OSError):
                result = "it died"
            if isinstance(result, str | Exception):
                self._failure = f"a worker did not start: {result}"
                self._dismiss(worker, warm=False)
                return None
        self._failure = ""
        with self._changed:
            self._warm += 1
        return worker

    def _do(self, worker: _Worker, task: Task[Item, Result]) -> bool:
        """Have an item done; False where that cost the worker."""
        limit = time.monotonic() + self.timeout
        task.deadline = min(task.deadline, limit)
        try:
            worker.ask(task.blob)
            told = self._wait(worker, lambda: min(task.deadline, self._stop_at))
        except (EOFError, OSError):
            self.lost += 1
            _finish(task, crashed(task.item, self._dismiss(worker)))
            return False
        if told is None:
            self.lost += 1
            self._dismiss(worker)
            if time.monotonic() >= self._stop_at:
                self._refuse(task, "the service has stopped; send the file again")
            else:
                _finish(task, too_slow(task.item, self.timeout))
            return False
        _finish(task, received(task.item, *told))
        return True

    def _wait(self, worker: _Worker, until: Callable[[], float]) -> tuple[str, bytes] | None:
        """The answer of a worker, or None where it is too late for one."""
        end = until()
        while (left := min(end, until()) - time.monotonic()) > 0:
            told = worker.answer(min(left, _LOOK))
            if told is not None:
                return told
        return None

    def _dismiss(self, worker: _Worker, *, warm: bool = True) -> int | None:
        with self._changed:
            self._workers.discard(worker)
            self._warm -= warm
        return worker.end()

    # --- the line ----------------------------------------------------------

    def _leave(self, task: Task[Item, Result]) -> None:
        with self._changed:
            try:
                self._line.remove(task)
            except ValueError:  # a worker's thread has just taken it, and will drop it
                return

    def _drop(self, why: str) -> None:
        with self._changed:
            tasks = list(self._line)
            self._line.clear()
        for task in tasks:
            if task.future.set_running_or_notify_cancel():
                self._refuse(task, why)

    def _refuse(self, task: Task[Item, Result], why: str) -> None:
        task.future.set_exception(ServiceError(why))


def _finish(task: Task[Any, Any], result: Any) -> None:
    if isinstance(result, GenrescopeError):
        task.future.set_exception(result)
    else:
        task.future.set_result(result)


_pools: weakref.WeakSet[IsolatedPool[Any, Any]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    # Before multiprocessing waits for its children, who do not hear its SIGTERM.
    for pool in list(_pools):
        pool.kill()
