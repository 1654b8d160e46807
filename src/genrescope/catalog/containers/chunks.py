"""WAV and AIFF: an ID3 tag in a chunk of its own.

In WAV, a list of facts (``LIST INFO``) may name a genre as well (``IGNR``). That is one text and
cannot hold several values. It is read where the ID3 tag has no genre, and where it is there it is
written along, with semicolons between; it is never added.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
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
from genrescope.catalog.containers.id3 import Id3Tag
from genrescope.errors import TagError

__all__ = ["Chunks"]

_INFO = "RIFF INFO"
_TAGS = (b"id3 ", b"ID3 ", b"ID32")


@dataclass(frozen=True, slots=True)
class _Chunk:
    name: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        """With the byte that fills up to an even size."""
        return self.start + 8 + self.size + self.size % 2


class Chunks(Layout):
    """A WAV or AIFF file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        head = read_at(file, 0, 12)
        self._little = head[:4] == b"RIFF"
        self._form = "<I" if self._little else ">I"
        self._end = 8 + self._number(head[4:8])
        self._chunks = self._walk()
        found = [c for c in self._chunks if c.name in _TAGS]
        self._chunk = found[0] if found else None
        data = read_at(file, found[0].start + 8, found[0].size) if found else b""
        self._tag = Id3Tag.parse(data) if found and Id3Tag.size_at(data[:10]) else Id3Tag(4)
        self._behind = data[self._tag.size :]
        self._info, self._facts = self._find_info()
        version = f"ID3v2.{self._tag.version}"
        self.container, self.values = version, self._tag.values
        if not self.values and self._fact_values():
            self.container, self.values = _INFO, self._fact_values()
        self.kept = {
            "id3": self._tag.kept,
            "chunk": self._chunk is not None,
            "end": self._end,
            "info": taken(self._facts, _is_genre),
        }

    def sound(self) -> Iterator[tuple[int, int]]:
        """The samples."""
        for chunk in self._chunks:
            if chunk.name in (b"data", b"SSND"):
                yield chunk.start + 8, chunk.start + 8 + chunk.size

    def others(self) -> Iterator[bytes]:
        """Every other chunk, and what is in the tag beside the genre."""
        yield from self._tag.others()
        yield self._behind
        yield from (fact for fact in self._facts if not _is_genre(fact))
        for chunk in self._chunks:
            if chunk not in (self._chunk, self._info) and chunk.name not in (b"data", b"SSND"):
                yield chunk.name + read_at(self._file, chunk.start + 8, chunk.size)
        yield read_at(self._file, self._end, max(0, self._size - self._end))

    def patches(self, values: Sequence[str], id3_version: Id3Version) -> Iterable[Patch]:
        """The chunk of the tag, and the genre in the list of facts where it has one."""
        tag = self._tag
        if not tag.size and id3_version == 3:
            tag = Id3Tag(3)
        new = tag.with_values(values, id3_version=id3_version)
        facts = self._facts
        if any(map(_is_genre, facts)):
            joined = "; ".join(values).encode("utf-8") + b"\0"
            facts = exchanged(facts, _is_genre, [self._fact(joined)] if values else [])
        return self._patched(new + self._behind if self._chunk or new else None, facts)

    def patches_back(self, kept: Kept) -> Iterable[Patch]:
        """Both as they were."""
        tag = self._tag.with_kept(kept["id3"]) + self._behind
        whole = tag if kept["chunk"] or tag else None
        facts = put_back(self._facts, _is_genre, kept["info"])
        return self._patched(whole, facts, end=kept["end"])

    # --- inside ------------------------------------------------------------

    def _patched(
        self, tag: bytes | None, facts: Sequence[bytes], *, end: int = 0
    ) -> Iterable[Patch]:
        patches: list[Patch] = []
        if self._info is not None and list(facts) != list(self._facts):
            data = self._rendered(b"LIST", b"INFO" + b"".join(facts))
            patches.append(Patch(self._info.start, self._info.end, data))
        if tag is not None:
            name = (
                (b"id3 " if self._little else b"ID3 ") if self._chunk is None else self._chunk.name
            )
            data = self._rendered(name, tag)
            # The last chunk may lack the byte that makes its size even.
            last = max((chunk.end for chunk in self._chunks), default=12)
            fill = b"\0" if self._chunk is None and last > self._end else b""
            start = self._end if self._chunk is None else self._chunk.start
            until = self._end if self._chunk is None else min(self._chunk.end, self._size)
            patches.append(Patch(start, until, fill + data))
        elif self._chunk is not None:
            # With the byte that made the chunk before it even, where that had none of its own.
            start = end if end == self._chunk.start - 1 else self._chunk.start
            patches.append(Patch(start, min(self._chunk.end, self._size), b""))
        patches.sort(key=lambda patch: patch.start)
        shift = sum(len(p.data) - (p.end - p.start) for p in patches)
        total = self._end + shift - 8
        if total >> 32:
            raise TagError("it would be larger than such a file can be, 4 GB")
        return [Patch(4, 8, struct.pack(self._form, total)), *patches]

    def _rendered(self, name: bytes, data: bytes) -> bytes:
        return name + struct.pack(self._form, len(data)) + data + bytes(len(data) % 2)

    def _fact(self, text: bytes) -> bytes:
        return self._rendered(b"IGNR", text)

    def _fact_values(self) -> tuple[str, ...]:
        found = []
        for fact in filter(_is_genre, self._facts):
            raw = fact[8 : 8 + self._number(fact[4:8])].partition(b"\0")[0]
            try:
                found.append(raw.decode("utf-8").strip())
            except UnicodeDecodeError:
                found.append(raw.decode("latin-1").strip())
        return tuple(text for text in found if text)

    def _find_info(self) -> tuple[_Chunk | None, list[bytes]]:
        for chunk in self._chunks:
            if self._little and chunk.name == b"LIST" and chunk.size >= 4:
                data = read_at(self._file, chunk.start + 8, chunk.size)
                if data[:4] != b"INFO":
                    continue
                facts, at = [], 4
                while at + 8 <= len(data):
                    size = self._number(data[at + 4 : at + 8])
                    end = at + 8 + size + size % 2
                    if at + 8 + size > len(data):
                        return None, []  # damaged: left alone
                    facts.append(data[at:end])
                    at = end
                return (chunk, facts) if at >= len(data) else (None, [])
        return None, []

    def _walk(self) -> list[_Chunk]:
        if self._end > self._size:
            raise TagError(
                "the size in its header is larger than the file: it was cut off, or written by a "
                "program that could not go back to its header; write it anew"
            )
        chunks, at = [], 12
        while at + 8 <= self._end:
            head = read_at(self._file, at, 8)
            chunk = _Chunk(head[:4], at, self._number(head[4:]))
            if at + 8 + chunk.size > self._end:
                raise TagError("it is damaged: a chunk in it does not end in the file")
            chunks.append(chunk)
            at = chunk.end
        return chunks

    def _number(self, data: bytes) -> int:
        return int(struct.unpack(self._form, data)[0])


def _is_genre(fact: bytes) -> bool:
    return fact[:4] == b"IGNR"
