"""ID3v2 tags, frame by frame: every frame but the genre stays as its bytes are.

The version is kept: 2.2, 2.3 or 2.4. Several genres are one frame with a NUL between the values,
in 2.3 and 2.2 as well. The standard has that for 2.4 only, but a slash or a semicolon would make
one genre of them, while a NUL is taken apart by mutagen, and so by all that reads with it; what
does not take it apart shows the first genre. Version 2.3 has no UTF-8, so a value that is no
Latin-1 makes the frame UTF-16.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from genrescope.catalog.containers.base import (
    ROOM,
    Id3Version,
    Kept,
    exchanged,
    put_back,
    room_for,
    taken,
)
from genrescope.errors import TagError

__all__ = ["Id3Tag", "frames_of_v1", "names_of", "number_of"]

_NAMES = (b"TCON", b"TCO\0")
_FRAME = re.compile(rb"[A-Z0-9]{3}[A-Z0-9\0 ]")
_FRAME_22 = re.compile(rb"[A-Z0-9]{3}")
_LIMIT = 1 << 28


@dataclass(eq=False)
class Id3Tag:
    """One tag.

    Attributes
    ----------
    version : int
        2, 3 or 4.
    flags : int
        Of its header.
    extended : bytes
        Its extended header, where it has one.
    frames : list of bytes
        With their headers, after synchronisation bytes were removed from the tag as a whole.
    junk : bytes
        What follows the frames and is not zero.
    room : int
        Free bytes.
    size : int
        Bytes in all; 0 for a tag that is not in the file yet.
    """

    version: int
    flags: int = 0
    extended: bytes = b""
    frames: list[bytes] = field(default_factory=list)
    junk: bytes = b""
    room: int = 0
    size: int = 0

    @staticmethod
    def size_at(head: bytes) -> int:
        """Bytes of the tag whose first ten bytes these are; 0 where there is none."""
        if len(head) < 10 or head[:3] != b"ID3" or head[3] in (0, 0xFF) or max(head[6:10]) > 127:
            return 0
        footer = 10 if head[5] & 0x10 and head[3] == 4 else 0
        return 10 + _synchsafe(head[6:10]) + footer

    @classmethod
    def parse(cls, data: bytes) -> Id3Tag:
        """Take apart a whole tag.

        Raises
        ------
        TagError
            If it is damaged, or of a version that is not known; the message lacks the path.
        """
        size = cls.size_at(data[:10])
        if not size or size > len(data):
            raise TagError("its ID3 tag is damaged: it does not end in the file")
        version, flags = data[3], data[5]
        if version not in (2, 3, 4):
            raise TagError(f"its ID3 tag has version 2.{version}, which nobody knows")
        if version == 2 and flags & 0x40:
            raise TagError("its ID3v2.2 tag is compressed, in a way that was never defined")
        body = data[10 : 10 + _synchsafe(data[6:10])]
        if version < 4 and flags & 0x80:
            body = body.replace(b"\xff\0", b"\xff")
        extended = b""
        if version > 2 and flags & 0x40:
            extended, flags = _extended(body, version, flags)
            body = body[len(extended) :]
        tag = cls(version, flags, extended, size=size)
        at = tag._split(body)
        rest = body[at:]
        tag.junk = rest.rstrip(b"\0")
        tag.room = len(rest) - len(tag.junk)
        return tag

    @property
    def values(self) -> tuple[str, ...]:
        """The genres, numbers as the names they mean."""
        texts = [
            text for frame in self.frames if self._is_genre(frame) for text in self._texts(frame)
        ]
        return names_of(texts)

    @property
    def kept(self) -> Kept:
        """What puts the genre back."""
        return {
            **taken(self.frames, self._is_genre),
            "version": self.version,
            "room": self.room,
            "present": self.size > 0,
            "made": False,
        }

    def others(self) -> Iterator[bytes]:
        """All frames but the genre."""
        yield from (frame for frame in self.frames if not self._is_genre(frame))
        yield self.junk

    def with_values(self, values: Sequence[str], *, id3_version: Id3Version) -> bytes:
        """The tag with other genres; no bytes where it would be a new one without any."""
        tag = self
        if id3_version not in ("keep", self.version):
            if self.frames and self.size:
                tag = _converted(self, int(id3_version))
            else:
                tag = Id3Tag(int(id3_version), frames=list(self.frames))
        new = [tag._genre_frame(values)] if values else []
        frames = exchanged(tag.frames, tag._is_genre, new)
        if not self.size and not new:
            return b""
        needed = tag._length(frames)
        return tag._render(frames, room_for(self.size, needed) if self.size else ROOM)

    def with_kept(self, kept: Kept) -> bytes:
        """The tag with the genre that was kept; no bytes where it was added with it."""
        if kept["version"] == self.version:
            frames = put_back(self.frames, self._is_genre, kept)
        else:
            old = Id3Tag(kept["version"])
            texts = [text for raw in kept["raw"] for text in old._texts(bytes.fromhex(raw))]
            # As names: a bracket or a number does not mean the same in each version.
            new = [self._genre_frame(names_of(texts))] if texts else []
            frames = exchanged(self.frames, self._is_genre, new)
        if not kept["present"]:
            left = [frame for frame in frames if frame.hex() not in kept.get("copied", ())]
            if not left and not self.junk:
                return b""
        if not self.size and not frames:
            return b""
        return self._render(frames, kept["room"] if kept["present"] else self.room)

    # --- inside ------------------------------------------------------------

    def _is_genre(self, frame: bytes) -> bool:
        return frame[:3] == b"TCO" if self.version == 2 else frame[:4] in _NAMES

    def _split(self, body: bytes) -> int:
        """Fill `frames`; where they end."""
        if self.version == 4:
            # iTunes once wrote sizes as in 2.3; what leads through to the end is right.
            ways = [_walk(body, 4, size) for size in (_synchsafe, _plain)]
            self.frames, at, _ = next((way for way in ways if way[2]), ways[0])
        else:
            self.frames, at, _ = _walk(body, self.version, _plain)
        return at

    def _texts(self, frame: bytes) -> list[str]:
        content = frame[6:] if self.version == 2 else frame[10:]
        flags = 0 if self.version == 2 else struct.unpack(">H", frame[8:10])[0]
        if self.version == 4:
            if flags & 0x04:
                raise TagError("its genre is encrypted")
            content = content[1:] if flags & 0x40 else content
            content = content[4:] if flags & 0x09 else content
            if flags & 0x02 or self.flags & 0x80:
                content = content.replace(b"\xff\0", b"\xff")
            compressed = flags & 0x08
        else:
            if flags & 0x40:
                raise TagError("its genre is encrypted")
            compressed = flags & 0x80
            content = content[4:] if compressed else content
            content = content[1:] if flags & 0x20 else content
        if compressed:
            try:
                content = zlib.decompress(content)
            except zlib.error as error:
                raise TagError("its genre is compressed and damaged") from error
        return _decoded(content)

    def _genre_frame(self, values: Sequence[str]) -> bytes:
        # A bracket in front would be taken for a number of the old list of genres.
        written = [f"({v}" if v.startswith("(") and self.version < 4 else v for v in values]
        text = "\0".join(written)
        if self.version == 4:
            content = b"\3" + text.encode("utf-8")  # has no byte FF, so needs no synchronisation
        else:
            try:
                content = b"\0" + text.encode("latin-1")
            except UnicodeEncodeError:
                content = b"\1\xff\xfe" + text.encode("utf-16-le")
        return _frame(self.version, b"TCON", content)

    def _length(self, frames: Sequence[bytes]) -> int:
        return len(self._render(frames, 0))

    def _render(self, frames: Sequence[bytes], room: int) -> bytes:
        footer = bool(self.flags & 0x10) and self.version == 4
        if footer:
            room = 0  # the standard allows no free bytes before a footer
        body = b"".join(frames) + self.junk
        extended = self.extended
        if extended and self.version == 3:
            fields = bytearray(extended)
            fields[6:10] = struct.pack(">I", room)
            if len(fields) >= 14 and fields[4] & 0x80:
                fields[10:14] = struct.pack(">I", zlib.crc32(body))
            extended = bytes(fields)
        body = extended + body
        if self.version < 4 and self.flags & 0x80:
            body = re.sub(rb"\xff(?=[\xe0-\xff\0]|\Z)", b"\xff\0", body)
        body += bytes(room)
        if len(body) >= _LIMIT:
            raise TagError("its ID3 tag would be larger than an ID3 tag can be")
        head = bytes([self.version, 0, self.flags]) + _to_synchsafe(len(body))
        return b"ID3" + head + body + (b"3DI" + head if footer else b"")


def names_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Genres as ID3 writes them, "(17)" and "17" as names, in order."""
    from mutagen.id3 import TCON

    frame: Any = TCON
    return tuple(str(name) for name in frame(encoding=3, text=list(texts)).genres)


def number_of(values: Sequence[str]) -> int:
    """The number of the first genre that ID3v1 knows; 255 where it knows none."""
    from mutagen.id3 import TCON

    numbers = {name.casefold(): n for n, name in reversed(list(enumerate(TCON.GENRES)))}
    return next((numbers[v.casefold()] for v in values if v.casefold() in numbers), 255)


def frames_of_v1(tag: bytes, version: int) -> list[bytes]:
    """What an ID3v1 tag says beside the genre, as frames for an ID3v2 tag.

    Many programs do not look at ID3v1 where there is ID3v2: a new tag with nothing but a genre
    would hide title and artist from them.
    """

    def cut(start: int, size: int) -> bytes:
        return tag[start : start + size].partition(b"\0")[0].rstrip(b" ")

    date = b"TDRC" if version == 4 else b"TYER"
    frames = [
        _frame(version, name, b"\0" + text)
        for name, text in (
            (b"TIT2", cut(3, 30)),
            (b"TPE1", cut(33, 30)),
            (b"TALB", cut(63, 30)),
            (date, cut(93, 4)),
        )
        if text
    ]
    comment = cut(97, 29)
    if comment:
        frames.append(_frame(version, b"COMM", b"\0engID3v1 Comment\0" + comment))
    if tag[125] == 0 and tag[126]:
        frames.append(_frame(version, b"TRCK", b"\0" + str(tag[126]).encode()))
    return frames


def _frame(version: int, name: bytes, content: bytes) -> bytes:
    if version == 2:
        return name[:3] + struct.pack(">I", len(content))[1:] + content
    size = _to_synchsafe(len(content)) if version == 4 else struct.pack(">I", len(content))
    return name + size + b"\0\0" + content


def _walk(body: bytes, version: int, size_of: Any) -> tuple[list[bytes], int, bool]:
    """Frames, where they end, and whether nothing but zeros follows."""
    header, pattern = (6, _FRAME_22) if version == 2 else (10, _FRAME)
    frames, at = [], 0
    while at + header <= len(body) and pattern.match(body, at):
        digits = body[at + 3 : at + 6] if version == 2 else body[at + 4 : at + 8]
        end = at + header + size_of(digits)
        if end > len(body):
            break
        frames.append(body[at:end])
        at = end
    return frames, at, not body[at:].strip(b"\0")


def _extended(body: bytes, version: int, flags: int) -> tuple[bytes, int]:
    if re.match(rb"[A-Z0-9]{4}", body):  # the flag is wrong: a frame begins here
        return b"", flags & ~0x40
    size = _synchsafe(body[:4]) if version == 4 else 4 + _plain(body[:4])
    if size < 6 or size > len(body):
        raise TagError("its ID3 tag is damaged: its extended header does not fit into it")
    if version == 4 and body[5] & 0x20:
        raise TagError("its ID3v2.4 tag has a checksum, which nothing writes and few read")
    return body[:size], flags


def _decoded(content: bytes) -> list[str]:
    kind, raw = content[:1], content[1:]
    if kind in (b"\1", b"\2"):
        codec = "utf-16-be" if kind == b"\2" or raw[:2] == b"\xfe\xff" else "utf-16-le"
        text = raw[: len(raw) // 2 * 2].decode(codec, "replace").replace("\ufeff", "")
    else:
        text = raw.decode("utf-8" if kind == b"\3" else "latin-1", "replace")
    return [value for value in text.split("\0") if value]


def _converted(tag: Id3Tag, version: int) -> Id3Tag:
    """The tag in another version, by mutagen; refused where anything would be lost."""
    from mutagen.id3 import ID3

    id3: Any = ID3
    raw = tag._render(tag.frames, 0)
    before = id3(BytesIO(raw))
    changed = id3(BytesIO(raw), translate=False)
    if version == 3:
        changed.update_to_v23()
    else:
        changed.update_to_v24()
    out = BytesIO()
    changed.save(out, v1=0, v2_version=version, v23_sep=None, padding=lambda info: 0)
    after = id3(BytesIO(out.getvalue()))
    lost = [
        key
        for key in {**before, **after}
        if key != "TCON" and (key not in before or key not in after or before[key] != after[key])
    ]
    if lost or changed.unknown_frames or tag.junk:
        what = ", ".join(sorted(lost)) or "frames that are not known"
        raise TagError(
            f"turning its ID3v2.{tag.version} tag into 2.{version} would change {what}; keep the "
            "version"
        )
    new = Id3Tag.parse(out.getvalue())
    return Id3Tag(version, frames=new.frames, size=tag.size)


def _synchsafe(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


def _to_synchsafe(value: int) -> bytes:
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))


def _plain(data: bytes) -> int:
    return int.from_bytes(data, "big")
