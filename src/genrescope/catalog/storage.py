"""What writing to a disk needs: files that are whole or not there, room, sizes, checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from genrescope.errors import ChecksumError, DataError, DiskSpaceError

__all__ = [
    "Report",
    "atomic",
    "check_sha1",
    "hint",
    "human_bytes",
    "require_space",
    "sha1_of",
    "silent",
]

Report = Callable[[str, int, "int | None"], None]
"""Told the stage ("download", "check", "unpack"), bytes done, and bytes in all if known."""

_SPARE = 64 << 20  # bytes that stay free on the disk
_STALE = 3600.0  # s; a part older than this was left by a process that died


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `path` once all is on disk.

    Where the writing fails, what was at `path` stays as it was.

    Raises
    ------
    DataError
        If the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.part"):
        if time.time() - left.stat().st_mtime > _STALE:
            left.unlink(missing_ok=True)
    # With the process in its name: two that write one file do not write into each other's.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def check_sha1(path: Path, *, expected: str, report: Report | None = None) -> None:
    """Check a file that is there.

    Raises
    ------
    ChecksumError
        If its SHA-1 is another one.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        found = sha1_of(file, size, report or silent)
        if found != expected.lower():
            raise ChecksumError(
                f"{path}: SHA-1 is {found}, expected {expected.lower()}{hint(file)}; it is "
                "damaged, incomplete or another version. Move it away and fetch it again."
            )


def require_space(folder: Path, *, needed: int, what: str) -> None:
    """Check that `needed` bytes, and a little more, are free where `folder` is or will be.

    Raises
    ------
    DiskSpaceError
        If they are not; `what` names what the space is for.
    """
    here = folder.absolute()
    while not here.exists():
        here = here.parent
    free = shutil.disk_usage(here).free
    if needed and free < needed + _SPARE:
        raise DiskSpaceError(
            f"{what} needs {human_bytes(needed + _SPARE)} more on the disk of {folder}, and "
            f"{human_bytes(free)} are free; free some space, or choose another folder with --to"
        )


def human_bytes(count: int) -> str:
    """A size for people.

    >>> human_bytes(999), human_bytes(7_200_000_000)
    ('999 B', '7.2 GB')
    """
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def silent(stage: str, done: int, total: int | None) -> None:
    """A report that nobody reads."""


def sha1_of(file: BinaryIO, size: int, report: Report) -> str:
    """SHA-1 of an open file of `size` bytes, as hex digits."""
    digest = hashlib.sha1(usedforsecurity=False)  # the archives are published with it
    file.seek(0)
    done = 0
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        done += len(chunk)
        report("check", done, size)
    return digest.hexdigest()


def hint(file: BinaryIO) -> str:
    """What an open file that is not the expected one seems to be."""
    file.seek(0)
    return " (it is a web page)" if file.read(64).lstrip()[:1] == b"<" else ""
