"""MP4 (m4a, m4b, alac): the list of tags, atom by atom.

Genres are one ``©gen`` atom with a value each; the old ``gnre`` atom with a number gives way to it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

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
from genrescope.catalog.containers.id3 import names_of
from genrescope.errors import TagError

__all__ = ["Mp4"]

_TEXT, _NUMBER = b"\xa9gen", b"gnre"
_LARGEST = 1 << 28  # bytes of all that is not sound
_HANDLER = b"\0\0\0\x21hdlr" + bytes(8) + b"mdirappl" + bytes(9)
_PATH = (b"udta", b"meta", b"ilst")
_MOVED = {b"stco": ">I", b"co64": ">Q"}


@dataclass(frozen=True, slots=True)
class _Atom:
    name: bytes
    start: int
    content: int
    end: int


class Mp4(Layout):
    """An MP4 file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        self._top = list(_atoms(lambda at, n: read_at(file, at, n), 0, self._size))
        found = next((a for a in self._top if a.name == b"moov"), None)
        if found is None:
            raise TagError("it is damaged: it has no moov atom")
        if found.end - found.start > _LARGEST:
            raise TagError("it is damaged: its moov atom is too large")
        self._moov_at = found
        self._moov = read_at(file, found.start, found.end - found.start)
        self._path = [_Atom(b"moov", 0, found.content - found.start, len(self._moov))]
        for name in _PATH:
            inner = next((a for a in self._children(self._path[-1]) if a.name == name), None)
            if inner is None:
                break
            self._path.append(inner)
        self._missing = _PATH[len(self._path) - 1 :]
        self._items = [] if self._missing else [self._raw(a) for a in self._children(self._path[3])]
        self._free = self._find_free()
        self.container, self.values = "MP4", self._read()
        self.kept = {
            **taken(self._items, _is_genre),
            "missing": [name.decode() for name in self._missing],
            "room": None if self._free is None else self._free.end - self._free.start,
        }

    def sound(self) -> Iterator[tuple[int, int]]:
        """All media data."""
        for atom in self._top:
            if atom.name == b"mdat":
                yield atom.content, atom.end

    def others(self) -> Iterator[bytes]:
        """Every other atom, and what the offsets point to."""
        yield from (item for item in self._items if not _is_genre(item))
        on_way = {(a.start, a.end) for a in self._path}
        for parent in self._path[:3] if not self._missing else self._path:
            for atom in self._children(parent):
                on_path = (atom.start, atom.end) in on_way
                ours = atom.name == b"hdlr" and self._raw(atom) == _HANDLER
                if not on_path and not ours and atom.name not in (b"free", *_PATH):
                    yield from self._told(atom)
        for atom in self._top:
            if atom.name not in (b"moov", b"mdat", b"free"):
                yield atom.name + struct.pack(">Q", atom.end - atom.start)

    def patches(self, values: Sequence[str], id3_version: Id3Version) -> Iterable[Patch]:
        """The moov atom with other genres."""
        if self._missing and not values:
            return []
        data = [_atom(b"data", struct.pack(">2I", 1, 0) + v.encode("utf-8")) for v in values]
        new = [_atom(_TEXT, b"".join(data))] if values else []
        items = exchanged(self._items, _is_genre, new)
        room = self.kept["room"]
        if room is not None:
            left = room + sum(map(len, self._items)) - sum(map(len, items))
            room = left if left >= 8 else room
        return self._rewritten(items, room)

    def patches_back(self, kept: Kept) -> Iterable[Patch]:
        """The moov atom with the genres that were kept."""
        items = put_back(self._items, _is_genre, kept)
        missing = tuple(name.encode() for name in kept["missing"])
        if missing and not items and not self._missing:
            # The outermost of what was added with the genre, if it holds nothing else now.
            at = len(_PATH) - len(missing) + 1
            for atom in self._path[at:]:
                names = {a.name for a in self._children(atom)}
                if not names - {b"hdlr", *_PATH} or atom.name == b"ilst":
                    return self._moved(self._replaced(self._path.index(atom), b""))
        return self._rewritten(items, kept["room"])

    # --- inside ------------------------------------------------------------

    def _rewritten(self, items: Sequence[bytes], room: int | None) -> Iterable[Patch]:
        content = b"".join(items)
        if self._missing:
            new = _atom(b"ilst", content)
            if b"meta" in self._missing:
                new = _atom(b"meta", bytes(4) + _HANDLER + new)
            if b"udta" in self._missing:
                new = _atom(b"udta", new)
            parent = self._path[-1]
            # Some leave four zero bytes at the end of udta, so in front there; else at the end.
            at = parent.content if parent.name == b"udta" else parent.end
            return self._moved(self._replaced(len(self._path), new, (at, at)))
        new = _atom(b"ilst", content)
        ilst, free = self._path[3], self._free
        if free is None or room is None or room == free.end - free.start:
            return self._moved(self._replaced(3, new))
        filled = _atom(b"free", bytes(room - 8))
        if free.start == ilst.end:
            return self._moved(self._replaced(3, new + filled, (ilst.start, free.end)))
        return self._moved(self._replaced(3, filled + new, (free.start, ilst.end)))

    def _replaced(self, depth: int, new: bytes, where: tuple[int, int] | None = None) -> bytes:
        """The moov atom with other bytes at that depth of the path, and the sizes around them."""
        start, end = where or (self._path[depth].start, self._path[depth].end)
        moov = bytearray(self._moov[:start] + new + self._moov[end:])
        shift = len(new) - (end - start)
        for atom in self._path[:depth]:
            size = atom.end - atom.start + shift
            if struct.unpack_from(">I", moov, atom.start)[0] == 1:
                struct.pack_into(">Q", moov, atom.start + 8, size)
            elif size >> 32:
                raise TagError("it would be larger than its moov atom can be")
            else:
                struct.pack_into(">I", moov, atom.start, size)
        return bytes(moov)

    def _moved(self, moov: bytes) -> Iterable[Patch]:
        """The patch, with the offsets of all sound that moves along."""
        start, end = self._moov_at.start, self._moov_at.end
        shift = len(moov) - (end - start)
        if shift:
            if any(a.name in (b"moof", b"mfra", b"sidx") for a in self._top):
                raise TagError(
                    "it is a fragmented MP4 (a stream that was recorded), where a tag cannot be "
                    "made larger; turn it into a plain one: ffmpeg -i FILE -c copy NEW.m4a"
                )
            out = bytearray(moov)
            for atom in self._tables(moov):
                self._shift(out, atom, shift)
            moov = bytes(out)
        return [Patch(start, end, moov)]

    def _shift(self, moov: bytearray, table: _Atom, shift: int) -> None:
        form = _MOVED[table.name]
        width = struct.calcsize(form)
        (count,) = struct.unpack_from(">I", moov, table.content + 4)
        for at in range(table.content + 8, table.content + 8 + count * width, width):
            (offset,) = struct.unpack_from(form, moov, at)
            if offset >= self._moov_at.end:
                if (offset + shift) >> (8 * width):
                    raise TagError("it is too large for the offsets in it to be moved")
                struct.pack_into(form, moov, at, offset + shift)

    def _tables(self, moov: bytes) -> Iterator[_Atom]:
        """Where the offsets stand, in all tracks."""

        def below(start: int, end: int) -> Iterator[_Atom]:
            for atom in _atoms(lambda at, n: moov[at : at + n], start, end):
                if atom.name in (b"trak", b"mdia", b"minf", b"stbl"):
                    yield from below(atom.content, atom.end)
                elif atom.name in _MOVED:
                    (count,) = struct.unpack_from(">I", moov, atom.content + 4)
                    width = struct.calcsize(_MOVED[atom.name])
                    if atom.content + 8 + count * width > atom.end:
                        raise TagError("it is damaged: a table of offsets is cut off")
                    yield atom

        yield from below(self._path[0].content if len(moov) >= 16 else 8, len(moov))

    def _told(self, atom: _Atom) -> Iterator[bytes]:
        """An atom, with what its offsets point to in place of the offsets."""
        raw = bytearray(self._raw(atom))
        if atom.name == b"trak":
            for table in self._tables(self._moov):
                if atom.start <= table.start < atom.end:
                    form = _MOVED[table.name]
                    width = struct.calcsize(form)
                    (count,) = struct.unpack_from(">I", self._moov, table.content + 4)
                    begin = table.content + 8
                    for at in range(begin, begin + count * width, width):
                        (offset,) = struct.unpack_from(form, self._moov, at)
                        self._file.seek(offset)
                        yield self._file.read(16)
                    inside = begin - atom.start
                    raw[inside : inside + count * width] = bytes(count * width)
        yield bytes(raw)

    def _children(self, atom: _Atom) -> Iterator[_Atom]:
        content = atom.content
        # A meta atom begins with four bytes of its own, except where QuickTime wrote it.
        if atom.name == b"meta" and self._moov[content + 4 : content + 8] != b"hdlr":
            content += 4
        end = atom.end
        if atom.name == b"udta" and not self._moov[end - 4 : end].strip(b"\0"):
            end = self._end_of_udta(content, end)
        return _atoms(lambda at, n: self._moov[at : at + n], content, end)

    def _end_of_udta(self, start: int, end: int) -> int:
        at = start
        while at + 8 <= end:
            size = struct.unpack_from(">I", self._moov, at)[0]
            if size < 8:
                break
            at += size
        return min(at, end)

    def _raw(self, atom: _Atom) -> bytes:
        return self._moov[atom.start : atom.end]

    def _find_free(self) -> _Atom | None:
        """Free bytes right beside the list of tags."""
        if self._missing:
            return None
        ilst = self._path[3]
        beside = [
            atom
            for atom in self._children(self._path[2])
            if atom.name == b"free" and (atom.end == ilst.start or atom.start == ilst.end)
        ]
        return beside[-1] if beside else None

    def _read(self) -> tuple[str, ...]:
        found: list[str] = []
        for item in filter(_is_genre, self._items):
            for atom in _atoms(lambda at, n, item=item: item[at : at + n], 8, len(item)):  # type: ignore[misc]
                if atom.name != b"data" or atom.end - atom.content < 8:
                    continue
                kind = struct.unpack_from(">I", item, atom.content)[0] & 0xFFFFFF
                value = item[atom.content + 8 : atom.end]
                if item[4:8] == _NUMBER:
                    number = int.from_bytes(value, "big") - 1
                    found += names_of([str(number)]) if 0 <= number < 255 else ()
                else:
                    codec = "utf-16-be" if kind == 2 else "utf-8"
                    found.append(value.decode(codec, "replace"))
        return tuple(text for text in found if text)


def _is_genre(item: bytes) -> bool:
    return item[4:8] in (_TEXT, _NUMBER)


def _atom(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _atoms(read: Callable[[int, int], bytes], start: int, end: int) -> Iterator[_Atom]:
    at = start
    while at + 8 <= end:
        size, name = struct.unpack(">I4s", read(at, 8))
        content = at + 8
        if size == 1:
            size = struct.unpack(">Q", read(at + 8, 8))[0] if at + 16 <= end else 0
            content = at + 16
        elif size == 0:
            size = end - at
        if size < content - at or at + size > end:
            raise TagError("it is damaged: an atom does not end where its size says")
        yield _Atom(name, at, content, at + size)
        at += size
