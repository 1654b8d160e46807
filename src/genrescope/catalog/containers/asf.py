"""ASF (wma): attributes called ``WM/Genre``.

The first value stands among the extended content descriptions, which every reader knows; the
others in the metadata library, as TagLib and mutagen do it, since the descriptions may hold each
name once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO
from uuid import UUID

from genrescope.catalog.containers.base import (
    Id3Version,
    Kept,
    Layout,
    Patch,
    exchanged,
    put_back,
    read_at,
    taken,
)
from genrescope.errors import TagError

__all__ = ["HEADER", "Asf"]


def _guid(text: str) -> bytes:
    return UUID(text).bytes_le


HEADER = _guid("75B22630-668E-11CF-A6D9-00AA0062CE6C")
_CONTENT = _guid("D2D0A440-E307-11D2-97F0-00A0C95EA850")
_EXTENSION = _guid("5FBF03B5-A92E-11CF-8EE3-00C00C205365")
_METADATA = _guid("C5F8CBEA-5BAF-4877-8467-AA8C44FA4CCA")
_LIBRARY = _guid("44231C94-9498-49D1-A141-1D134E457054")
_PADDING = _guid("1806D474-CADF-4509-A4BA-9AABCB96AAE8")
_FILE = _guid("8CABDCA1-A947-11CF-8EE4-00C00C205365")
_RESERVED = _guid("ABD3D211-A9BA-11CF-8EE6-00C00C205365") + struct.pack("<H", 6)
_LISTS = (_CONTENT, _METADATA, _LIBRARY)
_NAME = "WM/Genre"
_LARGEST = 1 << 28  # bytes of the header

_Object = tuple[bytes, bytes]  # GUID and content


class Asf(Layout):
    """An ASF file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        head = read_at(file, 0, 30)
        self._end = struct.unpack("<Q", head[16:24])[0]
        if not 30 <= self._end <= min(self._size, _LARGEST):
            raise TagError("it is damaged: its header does not end in the file")
        self._reserved = head[28:30]
        self._objects = _split(read_at(file, 30, self._end - 30))
        self._inner: list[_Object] = []
        found = [data for guid, data in self._objects if guid == _EXTENSION]
        self._has_extension = bool(found)
        if found:
            self._inner = _split(found[0][22:])
        self._items = {guid: self._listed(guid) for guid in _LISTS}
        self._room = next((len(d) for g, d in self._objects if g == _PADDING), None)
        values = [_value(item, guid) for guid in _LISTS for item in self._genres(guid)]
        self.container = "ASF"
        self.values = tuple(value for value in values if value)
        self.kept = {
            "room": self._room,
            "extension": self._has_extension,
            "lists": {
                guid.hex(): {**taken(self._items[guid] or [], _genre_in(guid)),
                             "present": self._items[guid] is not None}
                for guid in _LISTS
            },
        }  # fmt: skip

    def sound(self) -> Iterator[tuple[int, int]]:
        """All behind the header."""
        yield self._end, self._size

    def others(self) -> Iterator[bytes]:
        """Every other attribute and object."""
        for guid in _LISTS:
            yield from (i for i in self._items[guid] or [] if not _genre_in(guid)(i))
        for guid, data in (*self._objects, *self._inner):
            if guid == _FILE:
                yield data[:16] + data[24:]  # without the size of the file
            elif guid not in (*_LISTS, _PADDING, _EXTENSION):
                yield guid + data

    def patches(self, values: Sequence[str], id3_version: Id3Version) -> Iterable[Patch]:
        """The header with other genres."""
        lists = {}
        for guid, new in ((_CONTENT, values[:1]), (_METADATA, ()), (_LIBRARY, values[1:])):
            raw = [_attribute(guid, value) for value in new]
            items = exchanged(self._items[guid] or [], _genre_in(guid), raw)
            lists[guid] = items if items or self._items[guid] is not None else None
        whole = self._rendered(lists, self._room)
        room = self._room
        if room is not None:
            left = room + self._end - len(whole)
            room = left if left >= 0 else room
        return [Patch(0, self._end, self._rendered(lists, room))]

    def patches_back(self, kept: Kept) -> Iterable[Patch]:
        """The header with the genres that were kept."""
        lists = {}
        for guid in _LISTS:
            old = kept["lists"][guid.hex()]
            items = put_back(self._items[guid] or [], _genre_in(guid), old)
            lists[guid] = items if items or old["present"] else None
        return [Patch(0, self._end, self._rendered(lists, kept["room"], kept["extension"]))]

    # --- inside ------------------------------------------------------------

    def _rendered(
        self, lists: dict[bytes, list[bytes] | None], room: int | None, extension: bool = True
    ) -> bytes:
        inner = _with_lists(self._inner, {g: lists[g] for g in (_METADATA, _LIBRARY)})
        joined = _joined(inner)
        objects = _with_lists(self._objects, {_CONTENT: lists[_CONTENT]})
        body = _RESERVED + struct.pack("<I", len(joined)) + joined
        if self._has_extension:
            objects = [(g, body if g == _EXTENSION else d) for g, d in objects]
            if not inner and not extension:
                objects = [pair for pair in objects if pair[0] != _EXTENSION]
        elif inner:
            objects.append((_EXTENSION, body))
        first = True
        for i, (guid, _) in enumerate(objects):
            if guid == _PADDING and first and room is not None:
                objects[i], first = (guid, bytes(room)), False
        size = 30 + sum(24 + len(data) for _, data in objects)
        total = self._size - self._end + size
        for i, (guid, data) in enumerate(objects):
            if guid == _FILE and struct.unpack_from("<Q", data, 16)[0] == self._size:
                objects[i] = guid, data[:16] + struct.pack("<Q", total) + data[24:]
        head = HEADER + struct.pack("<QI", size, len(objects)) + self._reserved
        return head + _joined(objects)

    def _genres(self, guid: bytes) -> list[bytes]:
        return [item for item in self._items[guid] or [] if _genre_in(guid)(item)]

    def _listed(self, guid: bytes) -> list[bytes] | None:
        """The attributes in one of the lists; None where there is no such list."""
        where = self._objects if guid == _CONTENT else self._inner
        data = next((d for g, d in where if g == guid), None)
        if data is None:
            return None
        items, at = [], 2
        try:
            for _ in range(struct.unpack_from("<H", data)[0]):
                if guid == _CONTENT:
                    (name,) = struct.unpack_from("<H", data, at)
                    (size,) = struct.unpack_from("<H", data, at + 4 + name)
                    end = at + 6 + name + size
                else:
                    name, size = struct.unpack_from("<4xH2xI", data, at)
                    end = at + 12 + name + size
                if end > len(data):
                    raise TagError("it is damaged: an attribute does not end in its list")
                items.append(data[at:end])
                at = end
        except struct.error as error:
            raise TagError("it is damaged: a list of attributes ends too early") from error
        return items


def _split(data: bytes) -> list[_Object]:
    objects, at = [], 0
    while at + 24 <= len(data):
        (size,) = struct.unpack_from("<Q", data, at + 16)
        if size < 24 or at + size > len(data):
            raise TagError("it is damaged: an object in its header does not end in it")
        objects.append((data[at : at + 16], data[at + 24 : at + size]))
        at += size
    if data[at:].strip(b"\0"):
        raise TagError("it is damaged: its header ends within an object")
    return objects


def _joined(objects: Sequence[_Object]) -> bytes:
    return b"".join(guid + struct.pack("<Q", 24 + len(data)) + data for guid, data in objects)


def _with_lists(
    objects: Sequence[_Object], lists: dict[bytes, list[bytes] | None]
) -> list[_Object]:
    found = []
    for guid, data in objects:
        if guid in lists:
            items = lists.pop(guid)
            if items is None:
                continue
            data = struct.pack("<H", len(items)) + b"".join(items)
        found.append((guid, data))
    for guid, items in lists.items():
        if items is not None:
            found.append((guid, struct.pack("<H", len(items)) + b"".join(items)))
    return found


def _genre_in(guid: bytes) -> Callable[[bytes], bool]:
    def is_genre(item: bytes) -> bool:
        return _name(item, guid) == _NAME

    return is_genre


def _name(item: bytes, guid: bytes) -> str:
    at = 0 if guid == _CONTENT else 4
    (size,) = struct.unpack_from("<H", item, at)
    start = 2 if guid == _CONTENT else 12
    return item[start : start + size].decode("utf-16-le", "replace").rstrip("\0")


def _value(item: bytes, guid: bytes) -> str:
    if guid == _CONTENT:
        (name,) = struct.unpack_from("<H", item)
        kind, _ = struct.unpack_from("<2H", item, 2 + name)
        raw = item[6 + name :]
    else:
        name, kind = struct.unpack_from("<4x2H", item)
        raw = item[12 + name :]
    return raw.decode("utf-16-le", "replace").rstrip("\0") if kind == 0 else ""


def _attribute(guid: bytes, value: str) -> bytes:
    name = (_NAME + "\0").encode("utf-16-le")
    text = (value + "\0").encode("utf-16-le")
    if guid == _CONTENT:
        if len(text) >> 16:
            raise TagError("the genre is too long for ASF")
        return struct.pack("<H", len(name)) + name + struct.pack("<2H", 0, len(text)) + text
    return struct.pack("<4H", 0, 0, len(name), 0) + struct.pack("<I", len(text)) + name + text
