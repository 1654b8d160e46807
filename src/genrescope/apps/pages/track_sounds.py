"""The sounds that people have opened on the page *Track*, and the workers that draw them."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.apps.pages.track_listen import explained, look, slices, transcode
from genrescope.audio.pool import IsolatedPool
from genrescope.errors import ServiceError

if TYPE_CHECKING:
    from genrescope.learn.recogniser import Recogniser

__all__ = ["Drawing", "Opened", "Sounds"]

_KEPT = 64  # sounds at most
_BYTES = 4 << 30  # of uploads at most
_SECONDS = 2 * 3600.0  # since it was last asked for
_WORKERS = 2  # so that a picture need not wait for an explanation
_WAITING = 32  # jobs at most


@dataclass(eq=False)
class Opened:
    """A sound that somebody has opened.

    Attributes
    ----------
    path : Path
        The file; for an upload one with a name that the server made up.
    name : str
        What the person calls it. Never part of a path.
    ours : bool
        Whether the file is an upload, to be removed in the end.
    track_id : int or None
        Its number in the archive, where it is a sample clip.
    id : str
        128 random bits: who knows it may hear the sound, nobody else.
    made : dict of str to Any
        What was computed from it, by what was asked for; a Path is removed in the end.
    locks : dict of str to asyncio.Lock
        Held while the one thing is computed, so that it is computed once; the sound itself does
        not wait for an explanation.
    used : float
        When it was last asked for (``time.monotonic``).
    """

    path: Path
    name: str
    ours: bool = False
    track_id: int | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    made: dict[str, Any] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)

    async def once(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """What was made under that key, made now where it was not; a failure is not kept.

        Parameters
        ----------
        key : str
            What it is called in :attr:`made`.
        make : callable
            Makes it.
        """
        async with self.locks.setdefault(key, asyncio.Lock()):
            if key not in self.made:
                self.made[key] = await make()
        return self.made[key]


class Sounds:
    """All sounds that are open on one server; the oldest go when there are too many.

    Parameters
    ----------
    kept : int
        How many may be open.
    total : int
        How many bytes uploads may take on disk.
    seconds : float
        After so long without a question, a sound is closed.
    """

    def __init__(
        self, *, kept: int = _KEPT, total: int = _BYTES, seconds: float = _SECONDS
    ) -> None:
        self._kept, self._total, self._seconds = kept, total, seconds
        self._open: dict[str, Opened] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, sound: Opened) -> Opened:
        """Keep a sound open."""
        self._open[sound.id] = sound
        self.tidy()
        return sound

    def get(self, key: str) -> Opened | None:
        """The sound with that id; None where there is none, or no longer."""
        self.tidy()
        found = self._open.get(key)
        if found is not None:
            found.used = time.monotonic()
        return found

    def close(self, key: str) -> None:
        """Forget a sound, and remove it where it is an upload."""
        sound = self._open.pop(key, None)
        if sound is not None:
            made = [value for value in sound.made.values() if isinstance(value, Path)]
            for path in [*([sound.path] if sound.ours else []), *made]:
                path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Close what is too old, and the oldest where there is too much."""
        now = time.monotonic()
        by_age = sorted(self._open.values(), key=lambda one: one.used)
        sizes = {one.id: _size(one) for one in by_age}
        for one in by_age:
            much = len(sizes) > self._kept or sum(sizes.values()) > self._total
            if now - one.used > self._seconds or (much and one is not by_age[-1]):
                del sizes[one.id]
                self.close(one.id)


def _size(sound: Opened) -> int:
    try:
        return sound.path.stat().st_size if sound.ours else 0
    except OSError:
        return 0


class Drawing:
    """Workers that decode, draw and explain, apart from those that recognise.

    They are started when the first sound is opened: a server that nobody looks at has none.

    Parameters
    ----------
    recogniser : Recogniser
        Who is asked for reasons.
    timeout : float
        Seconds that one job may take.
    memory_limit : int or None
        Bytes that a worker may allocate.
    """

    def __init__(self, recogniser: Recogniser, *, timeout: float, memory_limit: int | None) -> None:
        self._make = partial(
            IsolatedPool,
            partial(_do, recogniser),
            workers=_WORKERS,
            timeout=timeout,
            memory_limit=memory_limit,
        )
        self._pool: IsolatedPool[Any, Any] | None = None
        self._lock = threading.Lock()

    async def do(self, job: str, path: Path, **how: Any) -> Any:
        """Have something done with a file.

        Parameters
        ----------
        job : {"look", "slices", "transcode", "explained"}
            A function of :mod:`genrescope.apps.pages.track_listen`.
        path : Path
            The file.
        **how
            Its other arguments.

        Returns
        -------
        Any
            What that function returns.

        Raises
        ------
        GenrescopeError
            What that function raises, or what ended its worker.
        ServiceError
            If there is too much to do already, or the server is stopping.
        """
        with self._lock:
            if self._pool is None:
                self._pool = self._make()
                self._pool.start()
            pool = self._pool
        if pool.waiting >= _WAITING:
            raise ServiceError(
                f"{pool.waiting} sounds are waiting to be drawn already; try again in a minute"
            )
        task = pool.submit((job, path, how))
        try:
            return await asyncio.wrap_future(task.future)
        except asyncio.CancelledError:
            task.abandon()
            raise

    def close(self) -> None:
        """Stop the workers."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


_JOBS: dict[str, tuple[Callable[..., Any], bool]] = {
    "look": (look, False),
    "slices": (slices, True),
    "transcode": (transcode, False),
    "explained": (explained, True),
}


def _do(recogniser: Recogniser, job: tuple[str, Path, dict[str, Any]]) -> Any:
    """What a worker does."""
    name, path, how = job
    function, asks = _JOBS[name]
    return function(recogniser, path, **how) if asks else function(path, **how)
