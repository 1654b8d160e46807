"""The recogniser behind its queue: what the routes and the pages call."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.apps.service.library import inside
from genrescope.apps.service.metrics import Metrics
from genrescope.apps.service.refusals import QueueFullError
from genrescope.apps.service.temporary import Workshop
from genrescope.audio.pool import IsolatedPool
from genrescope.errors import DataError, ServiceError
from genrescope.learn.recogniser import Recogniser

if TYPE_CHECKING:
    from genrescope.apps.service.settings import Settings
    from genrescope.learn.prediction import Prediction

__all__ = ["MAX_WINDOWS", "TIMELINE_WINDOWS", "Service"]

MAX_WINDOWS = 200
TIMELINE_WINDOWS = 20  # as for `genrescope predict --timeline`

_REHEARSAL_S = 3.0
_MEMORY = 0.9  # how much of the mean time of a file the files before it decide
_LAST_GRACE = 5.0  # s for files that nobody waits for any more
_LONGEST_WAIT = 120  # s, of Retry-After


@dataclass(frozen=True)
class _Hearing:
    """A file to recognise, and how much of it; None rehearses."""

    path: str
    windows: int | None

    def __fspath__(self) -> str:
        return self.path


class Service:
    """A recogniser with a queue before it.

    Parameters
    ----------
    settings : Settings
        What it is to be.

    Attributes
    ----------
    settings : Settings
        As given.
    recogniser : Recogniser
        The one that answers; its own `predict` runs here, without queue or limits.

    Raises
    ------
    BundleError
        If there is no such recogniser.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.recogniser = Recogniser.load(settings.bundle)
        self.workshop = Workshop()
        self._pool: IsolatedPool[_Hearing, Any] = IsolatedPool(
            partial(_hear, self.recogniser),
            workers=settings.workers,
            timeout=settings.max_seconds,
            memory_limit=settings.max_memory,
            rehearsal=_Hearing("", None),
        )
        self._taken = 0
        self._seconds = 0.1  # that a file takes, about
        self.rejected = 0
        self.stopping = False
        self.metrics = Metrics(lambda: self.state, self.about)

    # --- for the program that runs it --------------------------------------

    async def start(self) -> None:
        """Start the workers; :attr:`ready` tells when they are up."""
        self.workshop.open()
        self._pool.start()

    async def stop(self) -> None:
        """Refuse what is new, finish what is running within the time for it, stop the workers."""
        self.stopping = True
        await asyncio.to_thread(self._pool.close, grace=min(self.settings.grace, _LAST_GRACE))
        await asyncio.to_thread(self.workshop.close)

    @property
    def ready(self) -> bool:
        """Whether every worker is up and has rehearsed."""
        return not self.stopping and self._pool.warm == self._pool.size

    @property
    def state(self) -> dict[str, Any]:
        """The figures of the moment."""
        pool = self._pool
        return {
            "workers": pool.size,
            "warm": pool.warm,
            "running": pool.running,
            "waiting": pool.waiting,
            "places": self.places,
            "taken": self._taken,
            "lost": pool.lost,
            "rejected": self.rejected,
        }

    @property
    def about(self) -> dict[str, str]:
        """The recogniser in answers and figures: its name, version and SHA-256."""
        card = self.recogniser.card
        return {
            "name": card["name"],
            "version": str(card["version"]),
            "sha256": card["graph"]["sha256"],
        }

    # --- for routes and pages ----------------------------------------------

    @property
    def places(self) -> int:
        """How many requests there may be at once, worked on or waiting."""
        return self._pool.size + self.settings.queue

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, for the length of the block.

        Raises
        ------
        QueueFullError
            If there is none.
        ServiceError
            If the service is stopping.
        """
        if self.stopping:
            raise ServiceError("the service is stopping and takes nothing new; try again later")
        if self._taken >= self.places:
            self.rejected += 1
            left = self._seconds * self.places / self._pool.size
            raise QueueFullError(self.places, max(1, min(round(left), _LONGEST_WAIT)))
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def recognise(
        self,
        path: str | os.PathLike[str],
        *,
        windows: int | None = None,
        timeline: bool = False,
    ) -> Prediction:
        """Recognise a file in a worker, in turn.

        Where the caller is cancelled, a file that waits is dropped, and one that is being
        recognised gets two more seconds.

        Parameters
        ----------
        path : path-like
            The file.
        windows : int, optional
            Windows to hear of a long track, 1 to 200. Default: as the recogniser has it, and 20
            with `timeline`.
        timeline : bool
            Whether the course over time matters: hears more windows.

        Returns
        -------
        Prediction

        Raises
        ------
        AudioError
            If the file could not be recognised.
        DataError
            If `windows` is out of range.
        QueueFullError
            If there is no place in the queue (a ServiceError).
        ServiceError
            If the service is stopping, or has no workers.
        """
        with self.place():
            return await self.recognise_here(path, windows=windows, timeline=timeline)

    async def recognise_here(
        self, path: str | os.PathLike[str], *, windows: int | None, timeline: bool
    ) -> Prediction:
        """As :meth:`recognise`, for one who has a place already."""
        if windows is None and timeline:
            windows = TIMELINE_WINDOWS
        if windows is not None and not 1 <= windows <= MAX_WINDOWS:
            raise DataError(f"windows is {windows}, expected 1 to {MAX_WINDOWS}")
        task = self._pool.submit(_Hearing(os.fspath(path), windows))
        started = time.monotonic()
        ahead = self._pool.waiting + self._pool.running
        try:
            prediction: Prediction = await asyncio.wrap_future(task.future)
        except asyncio.CancelledError:
            task.abandon()
            raise
        waited = time.monotonic() - started
        took = waited * self._pool.size / max(self._pool.size, ahead)
        self._seconds = _MEMORY * self._seconds + (1 - _MEMORY) * took
        self.metrics.hearing.observe(waited)
        self.metrics.recognised.labels(str(prediction.sure).lower()).inc()
        return prediction

    @property
    def unready(self) -> str:
        """Why it is not ready."""
        if self.stopping:
            return "the service is stopping"
        failure = self._pool.failure
        return f"the workers do not start ({failure})" if failure else "the workers are starting"

    def count_error(self, error: BaseException) -> None:
        """Note an error for the figures."""
        self.metrics.errors.labels(type(error).__name__).inc()

    def inside_library(self, path: str | os.PathLike[str]) -> Path:
        """The file or folder of the library that is meant, symbolic links resolved.

        Parameters
        ----------
        path : path-like
            Relative to the library, or absolute and inside it.

        Returns
        -------
        Path
            Absolute.

        Raises
        ------
        ServiceError
            If there is no library.
        AudioNotFoundError
            If there is nothing at that path, or it is not inside.
        """
        if self.settings.library is None:
            raise ServiceError(
                "this service has no library; start it with --library FOLDER, or send the file"
            )
        return inside(self.settings.library, path)


def _hear(recogniser: Recogniser, hearing: _Hearing) -> Prediction | None:
    """What a worker does."""
    if not hearing.path:
        import mutagen  # noqa: F401 (loaded now rather than with the first file)
        import numpy as np

        rng = np.random.default_rng(0)
        noise = rng.normal(scale=0.1, size=int(_REHEARSAL_S * 44_100))
        recogniser.predict(noise, sr=44_100)
        return None
    if hearing.windows is not None:
        recogniser = copy.copy(recogniser)
        recogniser.n_windows = hearing.windows
    return recogniser.predict(hearing.path)
