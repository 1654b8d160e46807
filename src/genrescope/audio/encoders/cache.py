"""The folder of the user where installed encoders are kept.

An encoder is a folder of its own: its files, the licence, and ``encoder.json``. It appears whole or
not at all.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from genrescope.errors import DataError, GenrescopeError

__all__ = ["ABOUT", "encoder_folder", "encoders_folder", "new_folder", "remove_folder"]

ABOUT = "encoder.json"


def encoders_folder() -> Path:
    """Where all installed encoders are: in the cache folder of the user."""
    return Path(platformdirs.user_cache_path("genrescope")) / "encoders"


def encoder_folder(name: str) -> Path:
    """Where an encoder of that name is, or would be.

    Examples
    --------
    >>> encoder_folder("musicnn:MTT").name
    'musicnn-MTT'
    """
    return encoders_folder() / re.sub(r"[^\w.@]+", "-", name)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` once it is complete.

    Raises
    ------
    DataError
        If the disk refuses; what was at `folder` is then still there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield part
            part.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if isinstance(error, GenrescopeError):
            raise
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space, or "
            "make the folder writable"
        ) from error


def remove_folder(folder: Path) -> bool:
    """Delete an encoder; False if it is not there."""
    if not folder.is_dir():
        return False
    # Out of sight first: what is half deleted must not be taken for an encoder.
    gone = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        os.replace(folder, gone / "gone")
    finally:
        shutil.rmtree(gone, ignore_errors=True)
    return True
