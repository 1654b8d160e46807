"""What all targets share: their shape, and the folder that they work in."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "Target", "put", "workspace"]

FOLDER = "GENRESCOPE_FUZZ_FOLDER"
"""The variable that names the folder to work in; without it, one is made."""

Seeds = Callable[[], list[bytes]]


@dataclass(frozen=True)
class Target:
    """One entrance."""

    name: str
    about: str
    run: Callable[[bytes], None]
    seeds: Seeds
    words: tuple[bytes, ...] = ()
    max_len: int = 1 << 14
    json: bool = False


@functools.cache
def workspace() -> Path:
    """The folder to work in."""
    if given := os.environ.get(FOLDER):  # of a parent that removes it, however this ends
        return Path(given)
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="genrescope-fuzz-", dir=where))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def put(data: bytes, name: str) -> Path:
    """A file in it."""
    path = workspace() / name
    path.write_bytes(data)
    return path
