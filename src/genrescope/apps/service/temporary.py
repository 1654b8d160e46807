"""The private folder that uploads live in while they are recognised."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from genrescope.catalog.folders import AUDIO_SUFFIXES

__all__ = ["Workshop"]


class Workshop:
    """A folder that nobody else can look into, with names of its own making."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def open(self) -> None:
        """Make the folder."""
        self._folder = Path(tempfile.mkdtemp(prefix="genrescope-serve-"))

    def close(self) -> None:
        """Remove it with all that is left in it."""
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

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
