"""Ogg: the comments of Vorbis, Opus, Speex and FLAC streams, page by page.

Pages are laid out as they were wherever that is possible, so that most files keep their length up
to the added text and all pages of sound stay where and what they are. Where the number of pages
changes, those that follow get new numbers and checksums; the packets in them stay.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from genrescope.catalog.containers.base import Id3Version, Kept, Layout, Patch, read_at
from genrescope.catalog.containers.vorbis import Comments
from genrescope.errors import TagError

__all__ = ["Ogg"]

_SWAP = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))
_NO_POSITION = b"\xff" * 8

_KINDS = {
    b"\x01vorbis": b"\x03vorbis",
    b"OpusHead": b"OpusTags",
    b"Speex   ": b"",
    b"\x7fFLAC": b"",
}


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    flags: int
    position: bytes
    serial: bytes
    number: int
    laces: bytes

    @property
    def body(self) -> int:
        return self.start + 27 + len(self.laces)

    @property
    def end(self) -> int:
        return self.body + sum(self.laces)


class Ogg(Layout):
    """One stream in Ogg; several of them, side by side or one after another, are refused."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        first = self._page(0)
        packet = read_at(file, first.body, first.end - first.body)
        kind = next((k for k in _KINDS if packet.startswith(k)), None)
        if kind is None or len(packet) < 12:
            raise TagError("it holds something else than one stream of music, such as video")
        self._serial = first.serial
        self._count = 1  # packets after the first and before the sound
        if kind == b"\x01vorbis":
            self._count = 2
        elif kind == b"Speex   ":
            self._count = 1 + struct.unpack_from("<I", packet, 68)[0]
        elif kind == b"\x7fFLAC":
            self._count = max(1, struct.unpack_from(">H", packet, 7)[0])
        self._head: list[_Page] = []
        self._packets: list[bytes] = []
        self._read_head(first.end)
        self._sound_at = self._head[-1].end
        for page in self._pages(self._sound_at):
            self._refuse_others(page)
        comments = self._packets[0]
        self._magic = comments[: len(_KINDS[kind])]
        if self._magic != _KINDS[kind]:
            raise TagError("it is damaged: its comments are not where they belong")
        if kind == b"\x7fFLAC":
            self._magic = comments[:4]
            if comments[0] & 0x7F != 4:
                raise TagError("it is damaged: its comments are not where they belong")
        self._is_flac = kind == b"\x7fFLAC"
        self._comments = Comments.parse(comments[len(self._magic) :])
        frame = 1 if kind == b"\x01vorbis" else 0
        rest = self._comments.rest
        self._room = len(rest) - frame if rest and not rest[frame:].strip(b"\0") else 0
        self._frame = rest[:frame]
        self.container, self.values = "Vorbis comment", self._comments.values
        self.kept = {
            **self._comments.kept,
            "room": self._room,
            "pages": [len(page.laces) for page in self._head],
            "positions": [page.position.hex() for page in self._head],
        }

    def sound(self) -> Iterator[tuple[int, int]]:
        """The packets of sound, without the headers of the pages."""
        for page in self._pages(self._sound_at):
            yield page.body, page.end

    def others(self) -> Iterator[bytes]:
        """The other comments, the other headers, and when each page sounds."""
        yield from self._comments.others()
        yield from self._packets[1:]
        first = self._page(0)
        yield read_at(self._file, 0, first.end)
        for page in self._pages(self._sound_at):
            yield bytes([page.flags]) + page.position + page.laces

    def patches(self, values: Sequence[str], id3_version: Id3Version) -> Iterable[Patch]:
        """The comments with other genres."""
        new = self._comments.with_values(values)
        free = self._room + len(self._comments.render()) - len(new.render())
        if self._room:
            new.rest = self._frame + bytes(free if free >= 0 else self._room)
        return self._rewritten(new, self.kept)

    def patches_back(self, kept: Kept) -> Iterable[Patch]:
        """The comments as they were, on pages as they were."""
        new = self._comments.with_kept(kept)
        if self._room or kept["room"]:
            new.rest = self._frame + bytes(kept["room"])
        return self._rewritten(new, kept)

    # --- inside ------------------------------------------------------------

    def _rewritten(self, comments: Comments, kept: Kept) -> Iterator[Patch]:
        body = comments.render()
        magic = self._magic
        if self._is_flac:
            magic = magic[:1] + len(body).to_bytes(3, "big")
        packets = [magic + body, *self._packets[1:]]
        laces = [_laces(len(packet)) for packet in packets]
        ends = {sum(map(len, laces[: i + 1])) for i in range(len(laces))}
        total = max(ends)
        counts = _counts(total, len(laces[0]), list(kept["pages"]))
        same = counts == kept["pages"]
        flat, data = b"".join(laces), b"".join(packets)
        out, lace_at, data_at = b"", 0, 0
        number = self._head[0].number
        for i, count in enumerate(counts):
            part = flat[lace_at : lace_at + count]
            size = sum(part)
            flags = 0 if lace_at in ends or not lace_at else 1
            ending = any(lace_at < end <= lace_at + count for end in ends)
            position = bytes(8) if ending else _NO_POSITION
            if same:
                position = bytes.fromhex(kept["positions"][i])
            page = (flags, position, self._serial, number + i)
            out += _rendered(*page, part, data[data_at : data_at + size])
            lace_at, data_at = lace_at + count, data_at + size
        yield Patch(self._head[0].start, self._sound_at, out)
        shift = len(counts) - len(self._head)
        if shift:
            for old in self._pages(self._sound_at):
                content = read_at(self._file, old.body, old.end - old.body)
                fields = (old.flags, old.position, old.serial, old.number + shift)
                whole = _rendered(*fields, old.laces, content)
                yield Patch(old.start, old.body, whole[: old.body - old.start])

    def _read_head(self, at: int) -> None:
        open_packet, data = b"", b""
        while len(self._packets) < self._count:
            page = self._page(at)
            self._refuse_others(page)
            self._head.append(page)
            data, used = read_at(self._file, page.body, page.end - page.body), 0
            fields = (page.flags, page.position, page.serial, page.number)
            if _rendered(*fields, page.laces, data) != read_at(
                self._file, page.start, page.end - page.start
            ):
                raise TagError("it is damaged: the checksum of its comments is wrong")
            for lace in page.laces:
                if len(self._packets) == self._count:
                    raise TagError("it is damaged: sound stands on the page of its comments")
                open_packet += data[used : used + lace]
                used += lace
                if lace < 255:
                    self._packets.append(open_packet)
                    open_packet = b""
            at = page.end

    def _refuse_others(self, page: _Page) -> None:
        if page.serial != self._serial or page.flags & 2:
            raise TagError(
                "it holds several streams (chapters, a broadcast, or video), and which of them "
                "a genre would belong to is not clear; it is not written"
            )

    def _pages(self, at: int) -> Iterator[_Page]:
        while at < self._size:
            page = self._page(at)
            yield page
            at = page.end

    def _page(self, at: int) -> _Page:
        head = read_at(self._file, at, 27)
        if head[:4] != b"OggS" or head[4]:
            raise TagError("it is damaged: an Ogg page does not begin where the one before ends")
        laces = read_at(self._file, at + 27, head[26])
        page = _Page(
            at,
            head[5],
            head[6:14],
            head[14:18],
            struct.unpack("<I", head[18:22])[0],
            laces,
        )
        if page.end > self._size:
            raise TagError("it is damaged: its last Ogg page is cut off")
        return page


def _laces(size: int) -> bytes:
    return b"\xff" * (size // 255) + bytes([size % 255])


def _counts(total: int, of_comments: int, old: list[int]) -> list[int]:
    """How many segments each page gets; the number of pages stays where that can be."""
    spare = total - sum(old)
    if not spare:
        return old
    # The page that the comments end on first, then the others.
    last, seen = 0, 0
    for i, count in enumerate(old):
        last, seen = i, seen + count
        if seen >= min(of_comments, sum(old)):
            break
    counts = list(old)
    for i in (last, *range(len(old))):
        change = max(1 - counts[i], min(255 - counts[i], spare))
        counts[i] += change
        spare -= change
        if not spare:
            return counts
    if spare < 0:
        return [total]
    return [*([255] * (total // 255)), *([total % 255] if total % 255 else [])]


def _rendered(
    flags: int, position: bytes, serial: bytes, number: int, laces: bytes, body: bytes
) -> bytes:
    head = b"OggS\0" + bytes([flags]) + position + serial + struct.pack("<I", number & 0xFFFFFFFF)
    tail = bytes([len(laces)]) + laces
    whole = head + bytes(4) + tail + body
    # Its checksum is that of zlib, with the bits the other way round and another start.
    check = ~zlib.crc32(whole.translate(_SWAP), 0xFFFFFFFF) & 0xFFFFFFFF
    return head + struct.pack(">I", check).translate(_SWAP) + tail + body
