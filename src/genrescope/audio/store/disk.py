"""Files that are whole or not there, and a lock, for the feature store."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genrescope.errors import DataError, DiskSpaceError, GenrescopeError

__all__ = [
    "StoreLock",
    "open_new",
    "replace_file",
    "sha256_of",
    "sync_folder",
    "write_all",
    "write_new",
]

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_BINARY = getattr(os, "O_BINARY", 0)
_LOCKED_BYTE = 1 << 20  # beyond what is written, which others must be able to read on Windows


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into an error of ours.

    Raises
    ------
    DiskSpaceError
        If the disk is full.
    DataError
        If it refuses for another reason.
    """
    try:
        yield
    except GenrescopeError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in FULL:
            raise DiskSpaceError(
                f"{path}: {why}; all that was committed before is whole. Free some space, and the "
                "same command goes on where it was"
            ) from error
        raise DataError(f"{path}: cannot be written: {why}") from error


def open_new(path: Path) -> int:
    """A descriptor of a new, empty file."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | _BINARY, 0o666)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`; the system may take it piece by piece."""
    rest = memoryview(data).cast("B")
    while len(rest):
        rest = rest[os.write(fd, rest) :]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_new(path: Path, data: bytes | memoryview) -> None:
    """Bring a new file to the disk."""
    fd = open_new(path)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes | memoryview, *, ending: str = "part") -> None:
    """Put `data` in the place of `path` at once; errors as of :func:`told`.

    `ending` is of the file that is filled first; two who write the same file need two.
    """
    part = path.with_name(f".{path.name}.{ending}")
    with told(path):
        try:
            write_new(part, data)
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class StoreLock:
    """One writer at a time.

    The system frees the lock when the process that has it ends, however it ends.

    Attributes
    ----------
    left_by : int or None
        Process that had the lock before and ended without giving it back.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._fd = -1
        self.left_by: int | None = None

    def __enter__(self) -> StoreLock:
        with told(self._path):
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | _BINARY, 0o666)
        try:
            self._take(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return self

    def _take(self, fd: int) -> None:
        try:
            _lock(fd)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise DataError(
                    f"{self._path}: this file system cannot lock ({error.strerror}); put the "
                    "store on a local disk"
                ) from error
            holder = _read(fd)
            who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
            raise DataError(
                f"{self._path.parent}: {who} is writing to this store, and one at a time may. "
                "Wait until it is done, or stop it"
            ) from error
        before = _read(fd)
        self.left_by = int(before["pid"]) if before else None
        said = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        with told(self._path):
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            write_all(fd, said.encode())

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        os.close(self._fd)  # which unlocks it


def _read(fd: int) -> dict[str, Any] | None:
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        said = json.loads(os.read(fd, 4096))
        return said if isinstance(said, dict) and {"pid", "host"} <= said.keys() else None
    except (OSError, ValueError):
        return None


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
