"""Run a function on many items in processes that may crash, hang or eat memory.

Decoders are C code that reads files from anywhere. In a worker the worst that a file can do
is to end its worker: the item is reported as failed, a new worker takes over, and no other
item notices. What is written to the standard output and error of a worker (mpg123 warns of
every odd byte) is thrown away.

Workers are started afresh (``spawn``), never forked: a fork copies the locks of threads that
do not exist in the copy. They import what the function needs and nothing else, in particular
not the caller's script, so that no ``if __name__ == "__main__"`` is needed in it.
"""

from __future__ import annotations

import os
import pickle
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.context import SpawnContext
from typing import Any, TypeVar

from genrescope.audio.isolation import QuietContext, begin, run
from genrescope.audio.outcomes import (
    crashed,
    not_started,
    out_of_memory,
    received,
    too_slow,
    unexpected,
)
from genrescope.errors import AudioError, GenrescopeError

__all__ = ["DEFAULT_MEMORY_LIMIT", "DEFAULT_TIMEOUT", "available_cores", "map_isolated"]

Item = TypeVar("Item")
Result = TypeVar("Result")

DEFAULT_TIMEOUT = 120.0  # seconds an item
DEFAULT_MEMORY_LIMIT = 4 << 30  # bytes a worker

_LOOK_AHEAD = 16  # items a worker that are taken before the results of earlier ones
_RESTARTS = 3  # times that a broken pool is replaced without a result in between
_CHECK = 1.0  # seconds between looks at a pool that has nothing to say
_STUCK = 90.0  # seconds without any item in work until a pool is given up


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_isolated(
    fn: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    memory_limit: int | None = DEFAULT_MEMORY_LIMIT,
    ordered: bool = True,
) -> Generator[tuple[Item, Result | GenrescopeError], None, None]:
    """Apply a function to every item, each in a process that can be lost.

    Parameters
    ----------
    fn : callable
        Takes one item. A function at the top level of a module, or a ``functools.partial``
        of one; it is sent to every worker once.
    items : iterable
        Picklable. Taken as they are needed, at most 16 a worker ahead of the results.
    workers : int >= 0, optional
        Processes; default one a core, never more than there are items. 0 runs everything
        in this process, where neither `timeout` nor `memory_limit` nor crashes are contained.
    timeout : float, optional
        Seconds that an item may take, not counting its wait for a worker; None is for ever.
    memory_limit : int, optional
        Bytes that a worker may allocate beyond what the imports of `fn` took; None is no
        limit. Where the system cannot limit memory (Windows, macOS) it has no effect.
    ordered : bool
        True gives the results in the order of `items`, False as each is done.

    Yields
    ------
    tuple of (item, result)
        One for each item. Where it failed, `result` is a GenrescopeError: the one that `fn`
        raised; DecoderTimeoutError, DecoderMemoryError or DecoderCrashError (with the name of
        the signal) where the worker was lost; AudioError with the type and text of any other
        exception.

    Raises
    ------
    TypeError
        If `fn` cannot be sent to another process.
    ValueError
        If `workers` is negative.

    Notes
    -----
    Closing the generator, or an exception such as KeyboardInterrupt inside it, stops the
    workers at once, in the middle of what they do.

    Examples
    --------
    >>> from math import sqrt
    >>> list(map_isolated(sqrt, [4, 9], workers=0))
    [(4, 2.0), (9, 3.0)]
    """
    if workers is None:
        workers = available_cores()
    if workers < 0:
        raise ValueError(f"workers is {workers}; give 0 (none beside this process) or more")
    if workers == 0:
        return _map_here(fn, items)
    try:
        blob = pickle.dumps(fn, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"{fn!r} cannot be sent to a worker ({error}); give a function at the top level "
            "of a module, or a functools.partial of one"
        ) from error
    batch = _Batch(blob, workers=workers, timeout=timeout, memory_limit=memory_limit)
    return batch.run(iter(items), ordered=ordered)


def _map_here(
    fn: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[tuple[Item, Result | GenrescopeError], None, None]:
    for item in items:
        try:
            result: Result | GenrescopeError = fn(item)
        except GenrescopeError as error:
            result = error
        except MemoryError:
            result = out_of_memory(item)
        except Exception as error:  # noqa: BLE001 (one item must not end the batch)
            result = unexpected(item, f"{type(error).__name__}: {error}")
        yield item, result


@dataclass(eq=False)
class _Entry:
    """An item on its way."""

    item: Any
    blob: bytes
    result: Any = None
    done: bool = False
    since: float = 0.0  # when it was handed to the pool, on a clock that does not jump


@dataclass(eq=False)
class _Batch:
    """The state of one call of :func:`map_isolated`."""

    blob: bytes
    workers: int
    timeout: float | None
    memory_limit: int | None
    _pool: Any = None
    _restarts: int = 0
    _stirred: float = 0.0  # when the pool last showed signs of life
    _waiting: dict[Any, _Entry] = field(default_factory=dict)  # by future
    _answers: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)  # of futures

    def run(
        self, items: Iterator[Item], *, ordered: bool
    ) -> Generator[tuple[Item, Result | GenrescopeError], None, None]:
        # The first few are taken before the pool is made, so as not to start idle workers.
        first = list(islice(items, self.workers))
        if not first:
            return
        self.workers = len(first)
        coming = (item for group in (first, items) for item in group)
        line: deque[_Entry] = deque()
        limit, exhausted = _LOOK_AHEAD * self.workers, False
        try:
            while line or not exhausted:
                while len(line) < limit and not exhausted:
                    for item in islice(coming, 1):
                        line.append(self._submit(item))
                        break
                    else:
                        exhausted = True
                ready = self._ready(line, ordered=ordered)
                if ready is None:
                    self._listen()
                else:
                    yield ready.item, ready.result
                    self._stirred = time.monotonic()  # the caller's time does not count
        finally:
            self._stop()

    def _ready(self, line: deque[_Entry], *, ordered: bool) -> _Entry | None:
        """Take an entry that may be given out now from the line."""
        if ordered:
            return line.popleft() if line and line[0].done else None
        for entry in line:
            if entry.done:
                line.remove(entry)
                return entry
        return None

    def _submit(self, item: Any) -> _Entry:
        try:
            entry = _Entry(item, pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
        except Exception as error:  # noqa: BLE001 (whatever the item's own code raises)
            text = f"it cannot be sent to a worker ({type(error).__name__}: {error})"
            return _Entry(item, b"", unexpected(item, text), done=True)
        self._schedule(entry)
        return entry

    def _schedule(self, entry: _Entry) -> None:
        for _ in range(_RESTARTS):
            if self._pool is None:
                self._pool = self._start()
            try:
                future = self._pool.schedule(run, (entry.blob,), timeout=self.timeout)
            except RuntimeError:  # broken since it was last looked at
                self._replace()
                continue
            entry.since = time.monotonic()
            self._waiting[future] = entry
            future.add_done_callback(self._answers.put)
            return
        self._finish(entry, not_started(entry.item))

    def _start(self) -> Any:
        from pebble import ProcessPool

        self._stirred = time.monotonic()
        return ProcessPool(
            self.workers,
            initializer=begin,
            initargs=(self.blob, self.memory_limit, self.timeout),
            # What comes from the caller's script has to be looked for in it.
            context=SpawnContext() if b"__main__" in self.blob else QuietContext(),
        )

    def _listen(self) -> None:
        """Wait for an answer and note it down."""
        try:
            future = self._answers.get(timeout=_CHECK)
        except queue.Empty:
            # A worker that was killed while it took an item keeps the lock for good.
            if any(future.running() for future in self._waiting):
                self._stirred = time.monotonic()
            stuck = time.monotonic() - self._stirred > _STUCK
            if self._pool is None or not self._pool.active or stuck:
                self._replace()
            return
        self._stirred = time.monotonic()
        entry = self._waiting.get(future)
        if entry is None:  # of a pool that has been replaced
            return
        try:
            kind, payload = future.result()
        except Exception as error:  # noqa: BLE001 (it was raised elsewhere, and is told)
            self._lost(future, entry, error)
            return
        del self._waiting[future]
        self._restarts = 0
        self._finish(entry, received(entry.item, kind, payload))

    def _lost(self, future: Any, entry: _Entry, error: BaseException) -> None:
        """An item came back without an answer."""
        from pebble import ProcessExpired

        if isinstance(error, ProcessExpired):
            result: AudioError = crashed(entry.item, getattr(error, "exitcode", None))
        elif isinstance(error, TimeoutError):
            if self.timeout is not None and time.monotonic() - entry.since < 0.9 * self.timeout:
                # The pool goes by the time of day, which was set forward: the item had no part in
                # it, and gets its time once more.
                del self._waiting[future]
                self._schedule(entry)
                return
            result = too_slow(entry.item, self.timeout)
        else:  # the pool broke, through no fault of this item
            self._replace()
            return
        del self._waiting[future]
        self._restarts = 0
        self._finish(entry, result)

    def _replace(self) -> None:
        """Start a new pool with all that the old one had not answered."""
        self._stop()
        self._restarts += 1
        entries = list(self._waiting.values())
        self._waiting.clear()
        for entry in entries:
            if self._restarts > _RESTARTS:
                self._finish(entry, not_started(entry.item))
            else:
                self._schedule(entry)

    def _finish(self, entry: _Entry, result: Any) -> None:
        entry.result, entry.done = result, True

    def _stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()
