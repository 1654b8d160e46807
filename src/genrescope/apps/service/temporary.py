"""The private folder that uploads live in while they are recognised."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from genrescope.catalog.folders import AUDIO_SUFFIXES

__all__ = ["Workshop"]

_PREFIX = "genrescope-serve-"
_LOCK = ".lock"  # held for as long as the service lives, however it ends


class Workshop:
    """A folder that nobody else can look into, with names of its own making."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._held: int | None = None

    def open(self) -> None:
        """Make the folder, and remove those of services that were killed."""
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            lock = _lock(left)
            if lock is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._held = _lock(self._folder, make=True)

    def close(self) -> None:
        """Remove it with all that is left in it."""
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    @property
    def folder(self) -> Path:
        """Where it is."""
        if self._folder is None:
            raise RuntimeError("the workshop is not open")
        return self._folder

    def new(self, told: str) -> Path:
        """A path where nothing is.

        Of the name that a client told, only a known ending decides anything: it is replaced by
        our own spelling of it. Tags are found by it in files that do not begin with them.
        """
        ending = PurePosixPath(told).suffix.casefold()
        known = next((suffix for suffix in sorted(AUDIO_SUFFIXES) if suffix == ending), "")
        return self.folder / f"{secrets.token_hex(16)}{known}"

    def remove(self, path: Path) -> None:
        """Remove a file of it, if it is still there."""
        try:
            os.unlink(path)
        except OSError:  # Windows: still open elsewhere; the folder goes at the end
            return


def _lock(folder: Path, *, make: bool = False) -> int | None:
    """The lock of a folder of ours, where nobody holds it; None where somebody does."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return None
        flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
        fd = os.open(folder / _LOCK, flags, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd
