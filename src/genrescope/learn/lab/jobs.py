"""Fits that run side by side in processes, within a budget of memory and time."""

from __future__ import annotations

import pickle
import queue
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.isolation import QuietContext, begin, run
from genrescope.audio.workers import available_cores
from genrescope.errors import DataError
from genrescope.learn.lab.compare_worker import Job, fit_fold
from genrescope.learn.lab.results import FoldResult

__all__ = ["Task", "failure", "free_memory", "run_here", "run_jobs"]

Number = tuple[str, int]  # a model's key, and the fold
Answers = Iterator[tuple[Number, FoldResult]]

_GIB = 1 << 30
_FLOOR = _GIB  # bytes that a process gets at least, where the budget allows it
_RESTARTS = 3  # times that a broken pool is replaced without an answer in between
_CHECK = 1.0  # seconds between looks at a pool that has nothing to say


@dataclass(frozen=True, eq=False)
class Task:
    """A fit, how long it may take (s, by the clock), and what memory it is thought to need."""

    number: Number
    job: Job
    seconds: float
    memory: int


def free_memory() -> int:
    """Bytes of memory that nothing uses; 8 GiB where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 8 * _GIB


def run_here(tasks: Sequence[Task], *, wanted: Callable[[Number], bool]) -> Answers:
    """Do tasks one after the other in this process, without limits."""
    for task in tasks:
        if wanted(task.number):
            try:
                yield task.number, fit_fold(task.job)
            except MemoryError:
                yield task.number, failure(f"it ran out of memory; {_gib(task.memory)} expected")


def run_jobs(
    tasks: Sequence[Task],
    *,
    wanted: Callable[[Number], bool],
    workers: int | None = None,
    memory: int | None = None,
) -> Answers:
    """Do tasks in processes, started in the order given.

    Parameters
    ----------
    tasks : sequence of Task
        What to do.
    wanted : callable
        Asked before a task is started whether its answer is still of use.
    workers : int > 0, optional
        Processes; default one a core.
    memory : int, optional
        Bytes for all of them together; default two thirds of what is free.

    Yields
    ------
    tuple of (number, FoldResult)
        As each is done. A task that was lost has a result with a failure in it.

    Raises
    ------
    DataError
        If there are no workers or there is no memory.

    Notes
    -----
    Closing the generator, or an exception such as KeyboardInterrupt inside it, stops the
    processes at once.
    """
    workers = available_cores() if workers is None else workers
    memory = free_memory() * 2 // 3 if memory is None else memory
    if workers < 1 or memory < 1:
        raise DataError(f"{workers} workers with {memory} bytes: at least 1 of each is needed")
    return _Pool(deque(tasks), wanted, min(workers, max(len(tasks), 1)), memory).answers()


@dataclass(eq=False)
class _Pool:
    """The state of one call of :func:`run_jobs`."""

    waiting: deque[Task]
    wanted: Callable[[Number], bool]
    workers: int
    memory: int
    _pool: Any = None
    _restarts: int = 0
    _running: dict[Any, Task] = field(default_factory=dict)  # by future
    _given: dict[Any, int] = field(default_factory=dict)  # bytes, by future
    _done: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def answers(self) -> Answers:
        try:
            while self.waiting or self._running:
                yield from self._start_some()
                if self._running:
                    yield from self._listen()
        finally:
            self._stop()

    def _start_some(self) -> Answers:
        """Start tasks while there are processes and memory for the next one."""
        while self.waiting and len(self._running) < self.workers:
            task = self.waiting[0]
            free = self.memory - sum(self._given.values())
            if not self.wanted(task.number):
                self.waiting.popleft()
            elif task.memory > self.memory:
                self.waiting.popleft()
                yield (
                    task.number,
                    failure(
                        f"it needs about {_gib(task.memory)} of memory and "
                        f"{_gib(self.memory)} are allowed; allow more, or take fewer rows"
                    ),
                )
            elif task.memory > free:
                return
            else:
                self.waiting.popleft()
                share = max(self.memory // self.workers, min(_FLOOR, self.memory))
                self._schedule(task, min(free, max(task.memory, share)))

    def _schedule(self, task: Task, given: int) -> None:
        if self._pool is None:
            from pebble import ProcessPool

            self._pool = ProcessPool(
                self.workers,
                initializer=begin,
                initargs=(pickle.dumps(fit_fold), None),
                context=QuietContext(),
            )
        blob = pickle.dumps(replace(task.job, memory=given), pickle.HIGHEST_PROTOCOL)
        try:
            future = self._pool.schedule(run, (blob,), timeout=task.seconds)
        except RuntimeError:  # the pool broke since it was last looked at
            self.waiting.appendleft(task)
            self._replace()
            return
        self._running[future], self._given[future] = task, given
        future.add_done_callback(self._done.put)

    def _listen(self) -> Answers:
        """Wait a while for an answer."""
        try:
            future = self._done.get(timeout=_CHECK)
        except queue.Empty:
            if self._pool is None or not self._pool.active:
                self._replace()
            return
        if future not in self._running:  # of a pool that has been replaced
            return
        task, given = self._running[future], self._given[future]
        result = self._result(future, task, given)
        if result is None:
            self._replace()
            return
        del self._running[future], self._given[future]
        self._restarts = 0
        if self.wanted(task.number) or not result.failure:
            yield task.number, result

    def _result(self, future: Any, task: Task, given: int) -> FoldResult | None:
        """What came of a task; None where the pool broke, through no fault of the task."""
        from pebble import ProcessExpired

        try:
            kind, payload = future.result()
        except ProcessExpired as error:
            return failure(f"its process {_how(getattr(error, 'exitcode', None))}")
        except TimeoutError:
            return failure(f"it took longer than {task.seconds:.3g} s, the time allowed a fold")
        except Exception:  # noqa: BLE001 (whatever breaks a pool)
            return None
        if kind == "memory":
            return failure(f"it needed more than {_gib(given)} of memory, its share")
        answer = pickle.loads(payload)  # noqa: S301 (a worker of ours made it)
        return answer if isinstance(answer, FoldResult) else failure(str(answer))

    def _replace(self) -> None:
        """Do what was running again, in a new pool."""
        self._stop()
        self._restarts += 1
        if self._restarts > _RESTARTS:
            raise DataError(
                "worker processes cannot be started or do not survive; free memory or "
                "processes, or use jobs=0 to do without"
            )
        self.waiting.extendleft(reversed(self._running.values()))
        self._running.clear()
        self._given.clear()

    def _stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()


def failure(text: str) -> FoldResult:
    """The answer of a model that gave none."""
    return FoldResult(np.zeros((0, 0), np.float32), 0.0, 0.0, failure=text)


def _gib(n: int) -> str:
    return f"{n / _GIB:.2g} GiB"


def _how(code: int | None) -> str:
    if code is None:
        return "died"
    if code >= 0:
        return f"ended itself with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    out = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{out}"
