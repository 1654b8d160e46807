"""What the containers have in common: items, patches, and a file written anew from them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from genrescope.errors import TagError

__all__ = [
    "ROOM",
    "Id3Version",
    "Kept",
    "Layout",
    "Patch",
    "apply_patches",
    "exchanged",
    "put_back",
    "read_at",
    "room_for",
    "taken",
]

Id3Version = Literal["keep", 3, 4]
Kept = dict[str, Any]
"""What puts genre fields back to the byte; JSON."""

ROOM = 1024  # bytes that are left free in a tag that has to grow, for the next who writes
_CHUNK = 1 << 20
_PAGE = 4096  # file systems share whole blocks


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes that take the place of others.

    Attributes
    ----------
    start, end : int
        What is replaced; nothing where both are equal.
    data : bytes
        What stands there afterwards.
    """

    start: int
    end: int
    data: bytes


class Layout(ABC):
    """A file in one container.

    Attributes
    ----------
    container : str
        Where the genres stand, or would.
    values : tuple of str
        The genres.
    kept : dict
        What puts the genre fields back to the byte.
    """

    container: str
    values: tuple[str, ...]
    kept: Kept

    @abstractmethod
    def sound(self) -> Iterator[tuple[int, int]]:
        """Where the sound is: ranges of bytes that no tag is part of."""

    @abstractmethod
    def others(self) -> Iterator[bytes]:
        """Everything else that is no genre, and does not depend on the size of one."""

    @abstractmethod
    def patches(self, values: Sequence[str], id3_version: Id3Version) -> Iterable[Patch]:
        """What writes genres, in the order of the file."""

    @abstractmethod
    def patches_back(self, kept: Kept) -> Iterable[Patch]:
        """What puts the genre fields back that another scan of this file kept."""


def taken(items: Sequence[bytes], is_genre: Callable[[bytes], bool]) -> Kept:
    """The genres among items, and where they stood."""
    at = [i for i, item in enumerate(items) if is_genre(item)]
    return {"at": at, "raw": [items[i].hex() for i in at]}


def exchanged(
    items: Sequence[bytes], is_genre: Callable[[bytes], bool], new: Sequence[bytes]
) -> list[bytes]:
    """Items with new genres in the place of the first old one, or at the end."""
    at = next((i for i, item in enumerate(items) if is_genre(item)), len(items))
    rest = [item for item in items[at:] if not is_genre(item)]
    return [*items[:at], *new, *rest]


def put_back(items: Sequence[bytes], is_genre: Callable[[bytes], bool], kept: Kept) -> list[bytes]:
    """Items with the genres that were kept, each where it stood."""
    found = [item for item in items if not is_genre(item)]
    for at, raw in zip(kept["at"], kept["raw"], strict=True):
        found.insert(at, bytes.fromhex(raw))
    return found


def room_for(old_size: int, needed: int) -> int:
    """Free bytes in a tag of `needed` bytes, which had `old_size` with its free ones."""
    return old_size - needed if needed <= old_size else ROOM


def read_at(file: BinaryIO, start: int, size: int) -> bytes:
    """Exactly these bytes of a file.

    Raises
    ------
    TagError
        If the file ends before; the message lacks the path.
    """
    if size < 0 or start < 0:
        raise TagError("it is damaged: a size in it is wrong")
    file.seek(start)
    data = file.read(size)
    if len(data) != size:
        raise TagError("it is damaged: it ends too early")
    return data


def apply_patches(source: BinaryIO, patches: Iterable[Patch], target: BinaryIO) -> None:
    """Write the file anew with its patches; memory does not grow with the file."""
    at = 0
    size = source.seek(0, os.SEEK_END)
    for patch in patches:
        _copy(source, at, patch.start, target)
        target.write(patch.data)
        at = patch.end
    _copy(source, at, size, target)
    target.flush()


def _copy(source: BinaryIO, start: int, end: int, target: BinaryIO) -> None:
    target.flush()
    at = start
    to = target.tell()
    if hasattr(os, "copy_file_range") and end - start > _CHUNK:
        # Blocks that lie alike in both are shared by file systems that can.
        head = -at % _PAGE if (at - to) % _PAGE == 0 else 0
        try:
            for until in (at + head, end):
                while at < until:
                    done = os.copy_file_range(source.fileno(), target.fileno(), until - at, at, to)
                    if not done:
                        break
                    at, to = at + done, to + done
        except OSError:  # not on this file system, or not between these two
            pass
    target.seek(to)
    source.seek(at)
    while at < end:
        data = source.read(min(_CHUNK, end - at))
        if not data:
            raise TagError("it ends too early: something else shortened it")
        target.write(data)
        at += len(data)
