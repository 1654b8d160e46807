"""What runs inside a worker of a cluster: a batch of items, each in a process that can be lost.

A worker of Dask is a process that many tracks pass through, and a decoder's bug must not end it.
So it keeps processes of its own to decode in (:mod:`genrescope.audio.pool`), from one batch to the
next, since to start one takes a second and more. They end when they had nothing to do for a while,
when the worker ends, and when it is killed.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from genrescope.audio.pool import IsolatedPool
from genrescope.audio.workers import DEFAULT_MEMORY_LIMIT, DEFAULT_TIMEOUT
from genrescope.errors import DecoderCrashError, GenrescopeError

__all__ = ["Isolation", "each_isolated", "release"]

_IDLE = 60.0  # s without a batch after which the processes are ended
_TRIES = 2  # of an item that ends the process that does it


@dataclass(frozen=True)
class Isolation:
    """The processes that a worker decodes in.

    Attributes
    ----------
    slots : int
        How many there are: as many as batches are done at a time.
    timeout : float
        Seconds that an item may take.
    memory_limit : int or None
        Bytes that a process may allocate; see :func:`genrescope.audio.workers.map_isolated`.
    """

    slots: int = 1
    timeout: float = DEFAULT_TIMEOUT
    memory_limit: int | None = DEFAULT_MEMORY_LIMIT


def each_isolated(
    fn: Callable[[Any], Any], items: Sequence[Any], isolation: Isolation
) -> Iterator[Any]:
    """Apply a function to items, in the order of them, in processes that stay for the next batch.

    An item that ends its process is tried once more, in a new one: it may have been the system's
    doing. The second time it is given up.

    Yields
    ------
    object or GenrescopeError
        For each item, as :func:`genrescope.audio.workers.map_isolated` has it.

    Raises
    ------
    ServiceError
        If no process can be started: no fault of any item.
    """
    with _Borrowed(fn, isolation) as pool:
        tasks = [pool.submit((item,)) for item in items]
        for item, task in zip(items, tasks, strict=True):
            for left in reversed(range(_TRIES)):
                try:
                    result = task.future.result()
                except DecoderCrashError as error:
                    result = DecoderCrashError(f"{error} It was tried {_TRIES} times.")
                    if left:
                        task = pool.submit((item,))
                        continue
                except GenrescopeError as error:
                    if not _is_about_an_item(error):
                        raise
                    result = error
                break
            yield result


def _is_about_an_item(error: GenrescopeError) -> bool:
    from genrescope.errors import ServiceError

    return not isinstance(error, ServiceError)


def _attempt(fn: Callable[[Any], Any], item: tuple[Any, ...]) -> Any:
    """Do the item in the box; an empty box asks whether the process is up."""
    return fn(item[0]) if item else True


class _Pools:
    """The pools of this process, by what they do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[bytes, tuple[IsolatedPool[Any, Any], int]] = {}
        self._timers: dict[bytes, threading.Timer] = {}

    def borrow(self, fn: Callable[[Any], Any], about: Isolation) -> tuple[bytes, Any]:
        work = partial(_attempt, fn)
        key = hashlib.sha256(pickle.dumps((work, about))).digest()
        with self._lock:
            if (timer := self._timers.pop(key, None)) is not None:
                timer.cancel()
            if key not in self._pools:
                _allow_children()
                pool: IsolatedPool[Any, Any] = IsolatedPool(
                    work,
                    workers=about.slots,
                    timeout=about.timeout,
                    memory_limit=about.memory_limit,
                    rehearsal=(),
                )
                pool.start()
                self._pools[key] = (pool, 0)
            pool, users = self._pools[key]
            self._pools[key] = (pool, users + 1)
            return key, pool

    def give_back(self, key: bytes) -> None:
        with self._lock:
            if key not in self._pools:
                return
            pool, users = self._pools[key]
            self._pools[key] = (pool, users - 1)
            if users == 1:
                timer = self._timers[key] = threading.Timer(_IDLE, self._end, (key,))
                timer.daemon = True
                timer.start()

    def release(self) -> None:
        for key in list(self._pools):
            self._end(key)

    def _end(self, key: bytes) -> None:
        with self._lock:
            if key not in self._pools or self._pools[key][1]:
                return
            if (timer := self._timers.pop(key, None)) is not None:
                timer.cancel()
            pool, _ = self._pools.pop(key)
        pool.close()


class _Borrowed:
    """A pool for the time of a batch."""

    def __init__(self, fn: Callable[[Any], Any], isolation: Isolation) -> None:
        self._fn, self._about = fn, isolation
        self._key = b""

    def __enter__(self) -> IsolatedPool[Any, Any]:
        self._key, pool = _pools.borrow(self._fn, self._about)
        return pool  # type: ignore[no-any-return]

    def __exit__(self, *about: object) -> None:
        _pools.give_back(self._key)


_pools = _Pools()


def release() -> None:
    """End the processes that no batch is done in, without waiting."""
    _pools.release()


def _allow_children() -> None:
    # The processes of Dask's workers are daemons, which multiprocessing lets have no children; it
    # could not end them. Ours end themselves when the pipe to them closes.
    config: dict[str, Any] = getattr(multiprocessing.current_process(), "_config", {})
    config["daemon"] = False
