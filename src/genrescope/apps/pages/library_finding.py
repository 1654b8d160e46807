"""The music files of a library, and how far hearing them is."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrescope.apps.service.library import inside
from genrescope.audio.files import printable
from genrescope.catalog.folders import AUDIO_SUFFIXES
from genrescope.errors import GenrescopeError

__all__ = ["Scan", "find_inside", "folders_of"]

_log = logging.getLogger(__name__)


@dataclass
class Scan:
    """How far a scan is.

    Attributes
    ----------
    folder : str
        Inside the library; empty is all of it.
    began, ended : float
        Seconds of the monotonic clock; `ended` is 0 while it runs.
    found, done, failed : int
        Files there are, that were heard or failed, and that failed.
    outside : int
        Links that were left out, since they lead out of the library.
    running, looking, cancelled : bool
        Whether it runs, is still looking for files, and was stopped.
    error : str
        Why it ended early.
    """

    folder: str
    began: float
    found: int = 0
    done: int = 0
    failed: int = 0
    outside: int = 0
    running: bool = True
    looking: bool = True
    cancelled: bool = False
    ended: float = 0.0
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has; the rate in files a second."""
        took = (self.ended or time.monotonic()) - self.began
        told = {name: value for name, value in vars(self).items() if name not in ("began", "ended")}
        return {**told, "seconds": round(took, 1), "rate": round(self.done / max(took, 0.1), 1)}


def find_inside(
    root: Path, folder: Path, scan: Scan, cancel: threading.Event
) -> list[tuple[Path, str]]:
    """The music below a folder, in the order of names.

    Links are followed as long as they stay inside the library; each folder is entered, and each
    file taken, once. What is hidden is passed over.

    Parameters
    ----------
    root, folder : Path
        The library, resolved, and what to search in it.
    scan : Scan
        Is kept up to date.
    cancel : Event
        Ends the search.

    Returns
    -------
    list of (Path, str)
        Each file, links resolved, and its name inside the library, fit to be shown.
    """
    found: dict[Path, str] = {}
    for path in _walk(root, folder, scan, cancel):
        real = Path(os.path.realpath(path))
        found.setdefault(real, printable(os.path.relpath(path, root)))
        scan.found = len(found)
    return sorted(found.items(), key=lambda pair: pair[1])


def folders_of(root: Path) -> list[str]:
    """The folders right below the root."""
    with os.scandir(root) as entries:
        found = [
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and entry.is_dir()
            and printable(entry.name) == entry.name
            and _is_inside(root, entry.path)
        ]
    return sorted(found, key=str.casefold)


def _walk(root: Path, folder: Path, scan: Scan, cancel: threading.Event) -> Iterator[Path]:
    seen: set[str] = set()
    pending = [str(folder)]
    while pending and not cancel.is_set():
        here = pending.pop()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            _log.warning("%s: left out: %s", here, error.strerror)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not _is_inside(root, entry.path):
                scan.outside += 1
            elif entry.is_dir():
                pending.append(entry.path)
            elif Path(entry.name).suffix.casefold() in AUDIO_SUFFIXES and entry.is_file():
                yield Path(entry.path)


def _is_inside(root: Path, path: str) -> bool:
    try:
        inside(root, path)
    except GenrescopeError:
        return False
    return True
