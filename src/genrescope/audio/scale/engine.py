"""Batches of work on a cluster of Dask, or on threads of this process.

The same function does a batch here and there. A few batches a worker are on their way at a time,
and the next is made when one is done, so that neither the scheduler nor this process holds all of
them. A batch that is lost with its worker, or with the scheduler, is handed out again: what does it
must end in the same state when it is done twice.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol, TypeVar

from genrescope.audio.scale.work import release
from genrescope.audio.workers import available_cores
from genrescope.errors import ClusterError, DataError, GenrescopeError, MissingExtraError

__all__ = ["Cluster", "Engine", "Lost", "Threads", "parse_local"]

Batch = TypeVar("Batch")

_AHEAD = 2  # batches on their way for each that is done at a time
_CHECK = 1.0  # s between looks at a cluster that has nothing to say
_START = 60.0  # s that the first worker may let wait for itself
_ALONE = 120.0  # s without any worker until it is said
_RECONNECT = 60.0  # s that a scheduler may be away
_ANSWER = 5.0  # s in which a scheduler has to answer at any time
_KNOCK = 10.0  # s in which a scheduler has to answer at first
_FRESH = 2.0  # s that the number of workers is taken for known


@dataclass(frozen=True)
class Lost:
    """What became of a batch that ended several workers of the cluster, one after the other."""

    reason: str


class Engine(Protocol):
    """Where batches are done."""

    @property
    def slots(self) -> int:
        """How many batches are done at a time."""

    @property
    def slots_each(self) -> int:
        """How many of them in one process."""

    def run(
        self,
        fn: Callable[..., Any],
        batches: Iterable[Batch],
        *,
        split: Callable[[Batch], Iterable[Batch]] | None = None,
        shared: Any = None,
    ) -> Generator[tuple[Batch, Any], None, None]:
        """Do batches, and give out each with its result, as they are done."""


class Threads:
    """Batches side by side in threads of this process, which decode in processes of their own.

    Parameters
    ----------
    workers : int > 0, optional
        How many at a time; default one a core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.slots = max(1, available_cores() if workers is None else workers)
        self.slots_each = self.slots

    def run(
        self,
        fn: Callable[..., Any],
        batches: Iterable[Batch],
        *,
        split: Callable[[Batch], Iterable[Batch]] | None = None,
        shared: Any = None,
    ) -> Generator[tuple[Batch, Any], None, None]:
        """Do batches; see :class:`Engine`."""
        pool = ThreadPoolExecutor(self.slots, thread_name_prefix="batch")
        more = () if shared is None else (shared,)
        flow = _Flow(lambda batch: pool.submit(fn, batch, *more), limit=lambda: self.slots + 1)
        try:
            for batch, future in flow.results(batches):
                yield batch, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            release()


class Cluster:
    """Batches on the workers of Dask; a context manager.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    close : callable, optional
        Ends the cluster, where it is one of ours.
    """

    def __init__(self, client: Any, *, close: Callable[[], None] | None = None) -> None:
        self.client = client
        self._close = close
        self._alone_since: float | None = None
        self._counted = (float("-inf"), 1)  # when, and how many slots

    @classmethod
    def connect(cls, scheduler: str) -> Cluster:
        """Use a cluster that is there.

        Parameters
        ----------
        scheduler : str
            Its address, such as ``tcp://10.0.0.5:8786``; or the scheduler file that ``dask
            scheduler --scheduler-file`` wrote.

        Raises
        ------
        ClusterError
            If nobody answers there, no worker comes within a minute, or a worker runs another
            version of genrescope.
        MissingExtraError
            If Dask is not installed.
        """
        distributed = _import_distributed()
        where = {"scheduler_file" if scheduler.endswith(".json") else "address": scheduler}
        try:
            _knock(scheduler)
            # The time in which a scheduler that went away may come back, too.
            client = distributed.Client(**where, timeout=_RECONNECT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"{scheduler}: no scheduler of Dask answers there ({error}); `dask scheduler` "
                "prints the address to give, such as tcp://HOST:8786"
            ) from error
        return cls(client)._checked(scheduler)

    @classmethod
    def local(cls, workers: int) -> Cluster:
        """Start a cluster of processes on this machine, which ends with the context.

        Raises
        ------
        ClusterError
            If it does not start.
        MissingExtraError
            If Dask is not installed.
        """
        distributed = _import_distributed()
        import dask

        # A worker that died is started again, however often; Dask itself gives one up that is not
        # back after 15 s.
        held = contextlib.ExitStack()
        held.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "30d"}))
        try:
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                # What takes memory is decoded elsewhere, under limits of its own.
                memory_limit=0,
                # Nobody is to look in from elsewhere, and no port is to be in the way of another.
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                silence_logs=logging.CRITICAL,
            )
            held.callback(cluster.close, timeout=10)
            client = distributed.Client(cluster, set_as_default=False)
        except (OSError, RuntimeError, TimeoutError) as error:
            held.close()
            raise ClusterError(f"local:{workers}: no cluster can be started: {error}") from error
        return cls(client, close=held.close)._checked(f"local:{workers}")

    def _checked(self, name: str) -> Cluster:
        try:
            self.client.wait_for_workers(1, timeout=_START)
        except TimeoutError as error:
            self.close()
            raise ClusterError(
                f"{name}: no worker within {_START:.0f} s; start some with `dask worker {name}`"
            ) from error
        versions = self.client.run(_version, on_error="return")
        for worker, said in sorted(versions.items()):
            if said != _version() and not isinstance(said, OSError):
                self.close()
                raise ClusterError(
                    f"{worker}: runs genrescope {said} and this is {_version()}; install the same "
                    "genrescope[scale] for all workers"
                )
        return self

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; end it, if it was started here."""
        if self.client.status == "running":
            with contextlib.suppress(Exception):  # workers come and go
                self.client.run(release, on_error="ignore")
        with contextlib.suppress(Exception):
            self.client.close(timeout=5)
        if self._close is not None:
            self._close()

    @property
    def slots(self) -> int:
        """Threads of all workers, now; at least 1."""
        return max(1, sum(self._threads()))

    @property
    def slots_each(self) -> int:
        """Threads of the worker that has most of them."""
        return max(1, *self._threads())

    def run(
        self,
        fn: Callable[..., Any],
        batches: Iterable[Batch],
        *,
        split: Callable[[Batch], Iterable[Batch]] | None = None,
        shared: Any = None,
    ) -> Generator[tuple[Batch, Any], None, None]:
        """Do batches; see :class:`Engine`.

        Parameters
        ----------
        fn : callable
            Takes a batch; a function at the top level of a module that all workers have.
        batches : iterable
            Taken as they are needed.
        split : callable, optional
            What to do in place of a batch that ended several workers; nothing: it is given up.
        shared : object, optional
            A second argument of `fn`, the same for all batches; it is sent to a worker once.

        Yields
        ------
        tuple of (batch, result)
            As they are done; the result is `Lost` where the workers that did the batch died, one
            after the other.

        Raises
        ------
        ClusterError
            If the scheduler or all workers stay away.
        GenrescopeError
            What `fn` raises.
        """
        submit = _Submit(self.client, fn, shared)
        flow = _Flow(submit, limit=lambda: _AHEAD * self._slots_now(), idle=self._watch)
        try:
            for batch, future in flow.results(batches):
                self._alone_since = None
                try:
                    result = future.result()
                except GenrescopeError:
                    raise
                except Exception as error:  # noqa: BLE001 (it was raised elsewhere, and is told)
                    if _was_lost(future, error):
                        flow.again(batch)
                        continue
                    result = self._told(error)
                    if pieces := list(split(batch)) if split is not None else []:
                        for piece in pieces:
                            flow.again(piece)
                        continue
                yield batch, result
        finally:
            flow.drop()

    def _threads(self) -> list[int]:
        """Threads of each worker; TimeoutError soon, where the scheduler has just gone."""
        told = self.client.sync(self.client.scheduler.ncores, callback_timeout=_ANSWER)
        return [int(count) for count in told.values()]

    def _slots_now(self) -> int:
        at, count = self._counted
        if time.monotonic() - at > _FRESH and self.client.status == "running":
            with contextlib.suppress(OSError, TimeoutError):  # the scheduler has just gone
                count = self.slots
            self._counted = (time.monotonic(), count)
        return count

    def _watch(self) -> None:
        """Look whether there is still someone to wait for."""
        if self.client.status in ("closed", "closing"):
            raise ClusterError(
                "the scheduler went away and did not come back; what was committed stays. Start it "
                "again, and the same command goes on where it was"
            )
        try:
            alone = self.client.status == "running" and not self._threads()
        except (OSError, TimeoutError):
            return
        if not alone:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > _ALONE:
            raise ClusterError(
                f"the cluster has had no worker for {_ALONE:.0f} s; what was committed stays. "
                "Start workers, and the same command goes on where it was"
            )

    def _told(self, error: Exception) -> Lost:
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return Lost(f"the workers that did it died, {error.allowed_failures + 1} in a row")
        raise ClusterError(
            f"a worker could not do its work ({type(error).__name__}: {error}); all workers need "
            "the same genrescope[scale] and the same paths"
        ) from error


class _Submit:
    """Hands batches to the scheduler, with what they share."""

    def __init__(self, client: Any, fn: Callable[..., Any], shared: Any) -> None:
        self._client, self._fn, self._shared = client, fn, shared
        self._kept: Any = None

    def __call__(self, batch: Any) -> Any:
        if self._shared is None:
            return self._client.submit(self._fn, batch, pure=False)
        # Computed rather than scattered: it is made again where the worker that has it dies.
        if self._kept is None or self._kept.cancelled():
            self._kept = self._client.submit(_same, self._shared, pure=False)
        return self._client.submit(self._fn, batch, self._kept, pure=False)


class _Flow:
    """Futures on their way, a few at a time."""

    def __init__(
        self,
        submit: Callable[[Any], Any],
        *,
        limit: Callable[[], int],
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._submit, self._limit, self._idle = submit, limit, idle
        self._again: deque[Any] = deque()
        self._waiting: dict[Any, Any] = {}  # batch by future
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def again(self, batch: Any) -> None:
        """Hand a batch out once more."""
        self._again.append(batch)

    def results(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Any]]:
        coming, exhausted = iter(batches), False
        while True:
            limit = self._limit()
            while len(self._waiting) < limit and (self._again or not exhausted):
                if self._again:
                    self._start(self._again.popleft())
                    continue
                try:
                    self._start(next(coming))
                except StopIteration:
                    exhausted = True
            if not self._waiting:
                return
            try:
                future = self._done.get(timeout=_CHECK)
            except queue.Empty:
                self._idle()
                continue
            yield self._waiting.pop(future), future

    def drop(self) -> None:
        """Forget what is on its way."""
        for future in self._waiting:
            with contextlib.suppress(Exception):
                future.cancel()
        self._waiting.clear()

    def _start(self, batch: Any) -> None:
        future = self._submit(batch)
        self._waiting[future] = batch
        future.add_done_callback(self._done.put)


def parse_local(text: str) -> int:
    """Workers of a cluster on this machine.

    >>> parse_local("local:2")
    2

    Raises
    ------
    DataError
        If it is not ``local`` or ``local:N``.
    """
    kind, _, number = text.partition(":")
    if kind != "local" or (number and not (number.isascii() and number.isdigit())):
        raise DataError(
            f"the cluster is {text!r}; give local:N for N processes on this machine, or the "
            "address of a scheduler with --scheduler"
        )
    workers = int(number) if number else available_cores()
    if workers < 1:
        raise DataError(f"the cluster is {text!r}; it needs 1 worker or more")
    return workers


def _was_lost(future: Any, error: Exception) -> bool:
    """Whether it says nothing of the batch: what knew of it, or had its result, is gone."""
    if isinstance(error, CancelledError) or future.cancelled():
        return True
    # The batch is done, and its result cannot be had from where it is.
    return future.status != "error" and isinstance(error, OSError)


def _same(value: Any) -> Any:
    return value


def _knock(scheduler: str) -> None:
    """Find out soon whether nobody is there; an error of the system if so."""
    host, _, port = scheduler.removeprefix("tcp://").rpartition(":")
    if "://" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()


def _version() -> str:
    try:
        return metadata.version("genrescope")
    except metadata.PackageNotFoundError:  # run from its source
        return "of unknown version"


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingExtraError(
            "Work on a cluster", extra="scale", package="dask[distributed]"
        ) from error
    # What is lost is handed out again, and told where it cannot be; a log beside that is noise.
    for name in ("distributed", "distributed.client", "distributed.scheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed
