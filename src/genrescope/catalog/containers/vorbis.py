"""Vorbis comments, comment by comment, and FLAC, block by block."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
from genrescope.catalog.containers.id3 import Id3Tag
from genrescope.errors import TagError

__all__ = ["Comments", "Flac"]


@dataclass(eq=False)
class Comments:
    """What a stream says of itself.

    Attributes
    ----------
    items : list of bytes
        Each ``KEY=value``.
    vendor : bytes
        Who wrote the stream.
    rest : bytes
        What follows: a framing bit, free bytes.
    """

    items: list[bytes] = field(default_factory=list)
    vendor: bytes = b"genrescope"
    rest: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Comments:
        """Take apart what is between the headers of the stream.

        Raises
        ------
        TagError
            If it is damaged; the message lacks the path.
        """
        pieces: list[bytes] = []
        try:
            (size,) = struct.unpack_from("<I", data)
            vendor, at = data[4 : 4 + size], 4 + size
            (count,) = struct.unpack_from("<I", data, at)
            at += 4
            for _ in range(count):
                (size,) = struct.unpack_from("<I", data, at)
                if at + 4 + size > len(data):
                    raise TagError("its Vorbis comments are damaged: one does not end in them")
                pieces.append(data[at + 4 : at + 4 + size])
                at += 4 + size
        except struct.error as error:
            raise TagError("its Vorbis comments are damaged: they end too early") from error
        return cls(pieces, vendor, data[at:])

    @property
    def values(self) -> tuple[str, ...]:
        """The genres."""
        found = (item.partition(b"=")[2] for item in self.items if _is_genre(item))
        return tuple(value.decode("utf-8", "replace") for value in found if value)

    @property
    def kept(self) -> Kept:
        """What puts the genres back."""
        return taken(self.items, _is_genre)

    def others(self) -> Iterator[bytes]:
        """All comments but genres."""
        yield self.vendor
        yield from (item for item in self.items if not _is_genre(item))

    def with_values(self, values: Sequence[str]) -> Comments:
        """The comments with other genres, under the key that is there, or one in its style."""
        old = next(filter(_is_genre, self.items), None)
        keys = [item.partition(b"=")[0] for item in self.items]
        usual = b"genre" if keys and all(key == key.lower() for key in keys) else b"GENRE"
        key = usual if old is None else old.partition(b"=")[0]
        new = [key + b"=" + value.encode("utf-8") for value in values]
        return Comments(exchanged(self.items, _is_genre, new), self.vendor, self.rest)

    def with_kept(self, kept: Kept) -> Comments:
        """The comments with the genres that were kept."""
        return Comments(put_back(self.items, _is_genre, kept), self.vendor, self.rest)

    def render(self) -> bytes:
        """The bytes."""
        sized = [struct.pack("<I", len(item)) + item for item in self.items]
        head = struct.pack("<I", len(self.vendor)) + self.vendor
        return head + struct.pack("<I", len(sized)) + b"".join(sized) + self.rest


_STREAMINFO, _PADDING, _COMMENTS, _PICTURE = 0, 1, 4, 6


class Flac(Layout):
    """A FLAC file; an ID3 tag in front of it, which FLAC does not have, is left alone."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        self._start = Id3Tag.size_at(file.read(10))
        at = self._start + 4
        self._blocks: list[tuple[int, bytes]] = []
        last = False
        while not last:
            head = read_at(file, at, 4)
            last, kind = bool(head[0] & 0x80), head[0] & 0x7F
            size = int.from_bytes(head[1:], "big")
            self._blocks.append((kind, read_at(file, at + 4, size)))
            at += 4 + size
        sync = read_at(file, at, 2) if file.seek(0, 2) > at else b"\xff\xf8"
        if sync[0] != 0xFF or sync[1] & 0xFC != 0xF8 or self._blocks[0][0] != _STREAMINFO:
            raise TagError("it is damaged: the sound does not begin where its header ends")
        self._at = next((i for i, b in enumerate(self._blocks) if b[0] == _COMMENTS), -1)
        self._sound = at
        self._comments = Comments.parse(self._blocks[self._at][1]) if self._at >= 0 else Comments()
        self._room_at = max((i for i, b in enumerate(self._blocks) if b[0] == _PADDING), default=-1)
        self.container, self.values = "Vorbis comment", self._comments.values
        self.kept = {
            **self._comments.kept,
            "present": self._at >= 0,
            "room": len(self._blocks[self._room_at][1]) if self._room_at >= 0 else None,
        }

    def sound(self) -> Iterator[tuple[int, int]]:
        """From the first frame to the end."""
        yield self._sound, self._file.seek(0, 2)

    def others(self) -> Iterator[bytes]:
        """Every other comment and block, pictures among them."""
        yield read_at(self._file, 0, self._start)
        yield from self._comments.others()
        for kind, data in self._blocks:
            if kind not in (_COMMENTS, _PADDING):
                yield bytes([kind]) + data

    def patches(self, values: Sequence[str], id3_version: Id3Version) -> Iterable[Patch]:
        """The blocks with other genres; free ones give or take what is needed."""
        if self._at < 0 and not values:
            return []
        new = self._comments.with_values(values).render()
        room = self.kept["room"]
        if room is not None:
            old = len(self._blocks[self._at][1]) if self._at >= 0 else -4
            left = room + old - len(new)
            room = left if left >= 0 else room
        return [self._patch(new, room)]

    def patches_back(self, kept: Kept) -> Iterable[Patch]:
        """The blocks as they were."""
        comments = self._comments.with_kept(kept)
        gone = not kept["present"] and not comments.items
        return [self._patch(None if gone else comments.render(), kept["room"])]

    def _patch(self, comments: bytes | None, room: int | None) -> Patch:
        blocks = list(self._blocks)
        if self._room_at >= 0 and room is not None:
            blocks[self._room_at] = _PADDING, bytes(room)
        if self._at >= 0:
            blocks[self._at : self._at + 1] = [] if comments is None else [(_COMMENTS, comments)]
        elif comments is not None:
            blocks.insert(1, (_COMMENTS, comments))
        out = b""
        for i, (kind, data) in enumerate(blocks):
            if len(data) >> 24:
                raise TagError("its Vorbis comments would be larger than FLAC allows")
            last = 0x80 if i == len(blocks) - 1 else 0
            out += bytes([kind | last]) + len(data).to_bytes(3, "big") + data
        return Patch(self._start + 4, self._sound, out)


def _is_genre(item: bytes) -> bool:
    return item.partition(b"=")[0].lower() == b"genre" and b"=" in item
