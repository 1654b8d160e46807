"""Files of the library: named by clients, never outside of it."""

from __future__ import annotations

import os
from pathlib import Path

from genrescope.audio.files import printable
from genrescope.errors import AudioNotFoundError

__all__ = ["inside"]


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
    try:
        if "\0" in given:
            raise ValueError("NUL")
        found = Path(os.path.realpath(root / given, strict=True))
        if found == root or root in found.parents:
            return found
    except (OSError, ValueError):
        pass
    raise AudioNotFoundError(
        f"{printable(given)}: there is no such file in the library; name one by its path inside it"
    )
