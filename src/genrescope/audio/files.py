"""Opening files whose names and kinds are not to be relied on."""

from __future__ import annotations

import errno
import os
import stat

from genrescope.errors import (
    AudioCorruptError,
    AudioEmptyError,
    AudioError,
    AudioIsDirectoryError,
    AudioNotFoundError,
    AudioPermissionError,
    AudioUnsupportedError,
)

__all__ = ["not_opened", "open_regular", "printable"]


def printable(path: str) -> str:
    """A path that can be printed, whatever bytes its name is made of."""
    return path.encode("utf-8", "replace").decode("utf-8")


def open_regular(path: str) -> tuple[int, int]:
    """Descriptor and size of a regular file; opening anything else could block for ever."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise not_opened(path, error) from error
    # Looked at before it is opened, since opening a device may do something; and again
    # after, since it may have changed.
    _check_regular(path, status)
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        fd = os.open(path, flags)
    except OSError as error:
        raise not_opened(path, error) from error
    try:
        status = os.fstat(fd)
        _check_regular(path, status)
    except AudioError:
        os.close(fd)
        raise
    if status.st_size == 0:
        os.close(fd)
        raise AudioEmptyError(
            f"{printable(path)}: the file has no bytes; only files with sound can be read. "
            "Copy or download it again."
        )
    return fd, status.st_size


def _check_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise AudioIsDirectoryError(
            f"{printable(path)}: a directory; a single audio file is needed. Name a file in it."
        )
    if not stat.S_ISREG(status.st_mode):
        raise AudioUnsupportedError(
            f"{printable(path)}: a pipe, socket or device; only regular files are read. "
            "Copy its content to a file first."
        )


def not_opened(path: str, error: OSError | ValueError) -> AudioError:
    if isinstance(error, PermissionError):
        return AudioPermissionError(
            f"{printable(path)}: no permission to read it. Change its permissions or owner."
        )
    code = getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError) or code in (
        errno.ENAMETOOLONG,
        errno.ELOOP,
    ):
        why = "" if isinstance(error, FileNotFoundError) else f" ({_strerror(error)})"
        return AudioNotFoundError(
            f"{printable(path)}: there is no such file{why}. Check the spelling of the path."
        )
    return AudioCorruptError(f"{printable(path)}: the system cannot read it ({_strerror(error)}).")


def _strerror(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
