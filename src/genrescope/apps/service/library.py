"""Files of the library: named by clients, never outside of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genrescope.apps.service.problems import in_names_of
from genrescope.apps.service.temporary import Workshop
from genrescope.audio.files import open_regular, printable
from genrescope.errors import AudioError, AudioNotFoundError

__all__ = ["inside", "opened"]

_BY_DESCRIPTOR = os.path.isdir("/proc/self/fd")  # Linux


def inside(root: Path, path: str | os.PathLike[str]) -> Path:
    """The place in the library that is meant, symbolic links resolved.

    Parameters
    ----------
    root : Path
        The library, resolved.
    path : path-like
        Relative to `root`, or absolute and inside it.

    Returns
    -------
    Path

    Raises
    ------
    AudioNotFoundError
        If there is nothing there, or it is not inside: the same error, so that nobody learns
        what there is elsewhere.
    """
    given = os.fspath(path)
    with suppress(OSError, ValueError):
        found = Path(os.path.realpath(root / given, strict=True))
        if found == root or root in found.parents:
            return found
    raise _not_there(given)


@contextmanager
def opened(root: Path, told: str, workshop: Workshop) -> Iterator[Path]:
    """A path to read a file of the library by, whatever becomes of its name meanwhile.

    The file is opened first, and looked at then: that it is a regular one, and where it is. On
    Linux the path leads to that very file; a name that is changed in between changes nothing.
    Elsewhere the name is looked at again when the file has been read.

    Raises
    ------
    AudioError
        If there is no such file in the library, or it is none that can be read.
    """
    if os.path.isabs(told) or Path(told).drive or "\0" in told:
        raise _not_there(told)
    path = inside(root, told)
    try:
        fd, _ = open_regular(str(path))
    except AudioError as error:
        raise in_names_of(error, {str(path): told}) from error
    try:
        if not _is_inside(root, path, fd):
            raise _not_there(told)
        if not _BY_DESCRIPTOR:
            yield path
            if not _is_inside(root, path, fd):
                raise _not_there(told)
            return
        link = workshop.new(path.name)
        # The link has the ending, by which tags are found; the descriptor has the file.
        link.symlink_to(f"/proc/{os.getpid()}/fd/{fd}")
        try:
            yield link
        finally:
            workshop.remove(link)
    finally:
        os.close(fd)


def _is_inside(root: Path, path: Path, fd: int) -> bool:
    """Whether an open file is one of the library, and the one of that name."""
    if _BY_DESCRIPTOR:
        with suppress(OSError):
            return root in Path(os.readlink(f"/proc/self/fd/{fd}")).parents
        return False
    with suppress(OSError, ValueError):
        now, there = os.fstat(fd), os.stat(path)
        same = (now.st_dev, now.st_ino) == (there.st_dev, there.st_ino)
        return same and root in Path(os.path.realpath(path, strict=True)).parents
    return False


def _not_there(told: str) -> AudioNotFoundError:
    return AudioNotFoundError(
        f"{printable(told)}: there is no such file in the library; name one by its path inside it"
    )
