"""Files that arrive in a folder, told of once they have stopped growing.

Folders are looked through again and again, which works on every system and on network drives,
where notices of changes do not. How often depends on how long a look takes, so that a large
library costs no more than a few percent of a core.

- What is there at the start has not arrived. What is changed later arrives again.
- A file is ready when its size and times have not changed for a while (`settle`), and when the
  same holds for the other new files in its folder, so that an album comes as a whole. One file
  that never stops growing holds up the others for twelve times `settle` at most.
- Unfinished downloads are passed over: other endings (``.part``, ``.crdownload``), ``x.part.mp3``
  and the like, empty files, and ``x.mp3`` as long as there is an ``x.mp3.part`` beside it.
- A file that is moved or renamed within the folder is the same file, and does not arrive again;
  neither does one whose path and state are known, since some drives number their files anew.
- Our own tag writes are noted (:meth:`Watcher.done`), and are no arrival.
- A folder that cannot be read is reported once, and again when it can be read. What is in it, or
  in the whole folder when a drive is unplugged, is remembered meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from genrescope.catalog.folders import AUDIO_SUFFIXES
from genrescope.errors import DataError

__all__ = ["Watcher", "unfinished"]

_PATIENCE = 12  # times the settle time that a file waits for its neighbours
_KEPT = 10_000  # files that have gone and are still known if they come back
_PARTIAL = frozenset(
    {".part", ".partial", ".crdownload", ".download", ".tmp", ".temp", ".aria2", ".!ut", ".!qb"}
)

Identity = tuple[int, int]  # device and number: the same file under any name
State = tuple[int, int]  # size and modification time
_Key = TypeVar("_Key")


@dataclass
class _New:
    """A file that has not settled."""

    state: State
    first: float  # when it was first seen, in s of the caller's clock
    still_since: float


class Watcher:
    """What arrives in a folder.

    Parameters
    ----------
    root : Path
        The folder.
    settle : float
        Seconds that a file has to stay as it is.
    on_trouble : callable (Path, str)
        Told of a folder that cannot be read and why, and, with an empty text, that it can again.

    Raises
    ------
    DataError
        If `root` is no folder, or `settle` is not above 0.
    """

    def __init__(
        self, root: Path, *, settle: float, on_trouble: Callable[[Path, str], None]
    ) -> None:
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise DataError(f"{root}: {what}; give the folder in which files arrive")
        if not settle > 0:
            raise DataError(f"settle is {settle}; give seconds above 0")
        self.root = root
        self.settle = settle
        self._on_trouble = on_trouble
        self._known: dict[Identity, State] = {}
        self._at: dict[Path, State] = {}
        self._device = root.stat().st_dev
        self._new: dict[Path, _New] = {}
        self._unreadable: set[Path] = set()
        for path, identity, state, _ in self._files():
            self._known[identity] = self._at[path] = state

    @property
    def waiting(self) -> int:
        """How many files have arrived and are not ready."""
        return len(self._new)

    def scan(self, now: float) -> list[Path]:
        """Look once.

        Parameters
        ----------
        now : float
            Seconds of a clock that only goes forward.

        Returns
        -------
        list of Path
            Files that are ready, each told of once, in the order of their names.
        """
        seen: set[Identity] = set()
        paths: set[Path] = set()
        new: dict[Path, _New] = {}
        identities: dict[Path, Identity] = {}
        for path, identity, state, ready_name in self._files():
            seen.add(identity)
            paths.add(path)
            if state in (self._known.get(identity), self._at.get(path)):
                self._known[identity] = self._at[path] = state
                continue
            before = self._new.get(path)
            if before is None:
                before = _New(state, first=now, still_since=now)
            elif before.state != state:
                before = _New(state, first=before.first, still_since=now)
            if not ready_name or state[0] == 0:
                before.still_since = now
            new[path] = before
            identities[path] = identity
        self._new = new
        if not self._unreadable:
            _forget(self._known, seen)
            _forget(self._at, paths)
        ready = self._ready(now)
        for path in ready:
            self._known[identities[path]] = self._at[path] = self._new.pop(path).state
        return ready

    def done(self, path: Path) -> None:
        """Take note that a file is now as we have written it."""
        try:
            status = path.stat()
        except OSError:
            return
        state = (status.st_size, status.st_mtime_ns)
        self._known[self._identity(status)] = self._at[path] = state

    def _ready(self, now: float) -> list[Path]:
        still = {p for p, one in self._new.items() if now - one.still_since >= self.settle}
        growing = {path.parent for path in self._new if path not in still}
        patience = _PATIENCE * self.settle
        return sorted(
            path
            for path in still
            if path.parent not in growing or now - self._new[path].still_since >= patience
        )

    def _identity(self, status: os.stat_result) -> Identity:
        # Not the number of the drive itself: it may be another when the drive comes back.
        device = status.st_dev
        return (0 if device == self._device else device), status.st_ino

    def _files(self) -> Iterator[tuple[Path, Identity, State, bool]]:
        """Audio files: path, identity, state, and whether the name is that of a finished file."""
        with suppress(OSError):
            self._device = self.root.stat().st_dev
        pending = [self.root]
        entered: set[Identity] = set()
        unreadable: set[Path] = set()
        while pending:
            here = pending.pop()
            try:
                status = here.stat()
                if (status.st_dev, status.st_ino) in entered:
                    continue  # a link back up
                entered.add((status.st_dev, status.st_ino))
                with os.scandir(here) as listing:
                    entries = list(listing)
            except OSError as error:
                if here != self.root and isinstance(error, FileNotFoundError):
                    continue  # removed between two looks
                unreadable.add(here)
                if here not in self._unreadable:
                    self._on_trouble(here, error.strerror or str(error))
                continue
            names = {entry.name.casefold() for entry in entries}
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    if entry.is_dir():
                        pending.append(here / entry.name)
                        continue
                    if os.path.splitext(entry.name)[1].casefold() not in AUDIO_SUFFIXES:
                        continue
                    if not entry.is_file():
                        continue
                    found = os.stat(entry.path)  # an entry's own has no numbers on Windows
                except OSError:  # removed meanwhile, or a link that leads nowhere
                    continue
                finished = not unfinished(entry.name, beside=names)
                state = (found.st_size, found.st_mtime_ns)
                yield here / entry.name, self._identity(found), state, finished
        for folder in self._unreadable - unreadable:
            self._on_trouble(folder, "")
        self._unreadable = unreadable


def _forget(known: dict[_Key, State], seen: set[_Key]) -> None:
    """Let go of the oldest of what is no more."""
    if len(known) <= len(seen) + _KEPT:
        return
    gone = [key for key in known if key not in seen]
    for key in gone[: max(0, len(gone) - _KEPT)]:
        del known[key]


def unfinished(name: str, *, beside: set[str]) -> bool:
    """Whether a file is a download that is not complete, going by names.

    Parameters
    ----------
    name : str
        Of the file.
    beside : set of str
        Of all files in its folder, case-folded.

    Returns
    -------
    bool

    Examples
    --------
    >>> unfinished("a.part.mp3", beside=set()), unfinished("a.mp3", beside={"a.mp3", "a.mp3.part"})
    (True, True)
    >>> unfinished("a.mp3", beside={"a.mp3"})
    False
    """
    stem = os.path.splitext(name)[0]
    if os.path.splitext(stem)[1].casefold() in _PARTIAL:
        return True
    return any(f"{name.casefold()}{ending}" in beside for ending in _PARTIAL)
