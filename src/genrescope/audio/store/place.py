"""A folder on a disk or under any URL that fsspec knows, for stores that many machines fill.

A file is written whole or not at all: by a rename on a disk, by the store itself elsewhere (an
object of S3 or Google Cloud Storage appears when all of it has arrived).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from genrescope.audio.store.disk import FULL, replace_file, told
from genrescope.errors import DataError, DiskSpaceError, GenrescopeError, MissingExtraError

__all__ = ["Place", "is_url"]


def is_url(where: str | os.PathLike[str]) -> bool:
    """Whether this names a place by URL and not by path.

    >>> is_url("s3://bucket/store"), is_url("C:/store"), is_url("store")
    (True, False, False)
    """
    return "://" in os.fspath(where)


class Place:
    """A folder, local or remote.

    Parameters
    ----------
    where : str or path-like
        A path, or a URL: ``file:///...`` and what fsspec knows, such as ``s3://bucket/store``.

    Attributes
    ----------
    url : str
        The same as text; a path is made absolute, so that it means the same everywhere.
    local : Path or None
        The folder, where it is one of a file system.

    Raises
    ------
    MissingExtraError
        If it is a URL, and fsspec or the package for its protocol is not installed.
    DataError
        If there is no such protocol.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        text = os.fspath(where)
        self.local: Path | None = None
        self._fs: Any = None
        self._root = ""
        if text.startswith("file://"):
            text = unquote(urlsplit(text).path)
        if not is_url(text):
            self.local = Path(os.path.abspath(os.path.expanduser(text)))
            self.url = str(self.local)
            return
        self.url = text.rstrip("/")
        self._fs, self._root = _open(self.url)

    def __str__(self) -> str:
        return self.url

    def below(self, name: str) -> Place:
        """A folder in this one."""
        return Place(f"{self.url}/{name}" if self.local is None else self.local / name)

    def filesystem(self) -> tuple[Any, str]:
        """What pyarrow reads from: a file system (None: of this machine), and the folder in it."""
        return (None, str(self.local)) if self.local is not None else (self._fs, self._root)

    def read(self, name: str) -> bytes:
        """All of a file.

        Raises
        ------
        FileNotFoundError
            If there is none of that name.
        DataError
            If it cannot be read.
        """
        return self.read_range(name, 0, None)

    def read_range(self, name: str, start: int, stop: int | None) -> bytes:
        """A piece of a file; errors as of :meth:`read`."""
        with self._told(name, "read"):
            if self.local is None:
                data: bytes = self._fs.cat_file(f"{self._root}/{name}", start=start, end=stop)
                return data
            with (self.local / name).open("rb") as file:
                file.seek(start)
                return file.read() if stop is None else file.read(stop - start)

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Put a file there, whole or not at all; what has its name is replaced.

        Raises
        ------
        DiskSpaceError
            If there is no room.
        DataError
            If it cannot be written for another reason.
        """
        if self.local is not None:
            path = self.local / name
            with told(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            # Two workers may write the same file at once.
            replace_file(path, data, ending=f"{secrets.token_hex(4)}.part")
            return
        with self._told(name, "written"):
            self._fs.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(f"{self._root}/{name}", bytes(data))

    def names(self, folder: str) -> dict[str, int]:
        """Files in a folder, with their bytes; none where there is no such folder."""
        with contextlib.suppress(FileNotFoundError), self._told(folder, "read"):
            if self.local is not None:
                with os.scandir(self.local / folder) as entries:
                    return {one.name: one.stat().st_size for one in entries if one.is_file()}
            # What others wrote since is wanted, not what was there when it was last listed.
            self._fs.invalidate_cache()
            found = self._fs.ls(f"{self._root}/{folder}", detail=True)
            files = (one for one in found if one["type"] == "file")
            return {one["name"].rpartition("/")[2]: int(one["size"]) for one in files}
        return {}

    def remove(self, names: list[str]) -> None:
        """Remove files, as far as they are there."""
        for name in names:
            with contextlib.suppress(FileNotFoundError), self._told(name, "written"):
                if self.local is not None:
                    (self.local / name).unlink()
                else:
                    self._fs.rm_file(f"{self._root}/{name}")

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        with self._told(name, "read"):
            if self.local is not None:
                return (self.local / name).exists()
            return bool(self._fs.exists(f"{self._root}/{name}"))

    @contextlib.contextmanager
    def _told(self, name: str, what: str) -> Iterator[None]:
        """Turn what goes wrong while a file is read or written into an error of ours."""
        try:
            yield
        except (FileNotFoundError, GenrescopeError):
            raise
        except Exception as error:
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            if what == "written" and isinstance(error, OSError) and error.errno in FULL:
                raise DiskSpaceError(
                    f"{self.url}/{name}: {why}; all that was committed before is whole"
                ) from error
            raise DataError(f"{self.url}/{name}: cannot be {what}: {why}") from error


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError("A store at a URL", extra="scale", package="fsspec") from error
    protocol = url.partition("://")[0]
    try:
        fs, root = url_to_fs(url)
    except ImportError as error:  # fsspec names the package that is wanted
        raise DataError(f"{url}: {error}") from error
    except ValueError as error:
        raise DataError(f"{url}: there is no protocol {protocol!r} ({error})") from error
    return fs, str(root).rstrip("/")
