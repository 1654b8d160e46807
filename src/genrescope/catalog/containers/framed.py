"""Files that are sound between tags: mp3, and what carries APEv2 (WavPack, Monkey's Audio, ...).

In front there may be an ID3v2 tag; at the end an APEv2 tag, Lyrics3 and ID3v1, in this order or
another. Where the genres stand:

- mp3 and TrueAudio: ID3v2. Where there is none, but an APEv2 tag with genre, title or artist, that
  one. Where there is neither, a new ID3v2.4 tag in front, which repeats what an ID3v1 tag says.
- The others: APEv2, new at the end where there is none.

Genres that also stand in another of these tags (APEv2 beside ID3v2, the number in ID3v1) are
written there as well, so that no reader shows the old ones; they are never added there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from genrescope.catalog.containers.ape import ApeTag
from genrescope.catalog.containers.base import Id3Version, Kept, Layout, Patch, read_at
from genrescope.catalog.containers.id3 import Id3Tag, frames_of_v1, names_of, number_of
from genrescope.errors import TagError

__all__ = ["Framed"]

_NO_GENRE = 255
_LYRICS = b"LYRICS200"


class Framed(Layout):
    """Sound between tags.

    Parameters
    ----------
    file : BinaryIO
        The file.
    has_id3 : bool
        Whether ID3v2 is what this kind of file has its genres in.
    """

    def __init__(self, file: BinaryIO, *, has_id3: bool) -> None:
        self._file = file
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        in_front = Id3Tag.size_at(file.read(10))
        self._begin, self._end = in_front, size
        self._rest: list[tuple[int, int]] = []
        self._v1, self._ape = self._find_tail()
        self._id3 = Id3Tag.parse(read_at(file, 0, in_front)) if in_front else Id3Tag(4)
        ape = self._ape[1] if self._ape else ApeTag()
        by_ape = not has_id3 or (not in_front and ape.has(b"genre", b"title", b"artist"))
        self._primary = "ape" if by_ape else "id3"
        self._new_ape = ape
        self.container, self.values = self._read()
        self.kept = {
            "primary": self._primary,
            "id3": self._id3.kept,
            "ape": self._new_ape.kept,
            "v1": self._v1[1][127] if self._v1 else None,
        }
        if self._primary == "id3" and not in_front and self._v1:
            copied = frames_of_v1(self._v1[1], 4) + frames_of_v1(self._v1[1], 3)
            self.kept["id3"]["copied"] = [frame.hex() for frame in copied]

    def sound(self) -> Iterator[tuple[int, int]]:
        """All between the tags."""
        yield self._begin, self._end

    def others(self) -> Iterator[bytes]:
        """All in the tags but genres."""
        # What a new tag repeats of ID3v1 is no other tag.
        v1 = self._v1[1] if self._v1 else None
        copied = set(frames_of_v1(v1, self._id3.version)) if v1 else set()
        yield from (frame for frame in self._id3.others() if frame not in copied)
        yield from self._new_ape.others()
        for start, end in self._rest:
            yield read_at(self._file, start, end - start)
        if self._v1:
            yield self._v1[1][:127]

    def patches(self, values: Sequence[str], id3_version: Id3Version) -> Iterable[Patch]:
        """Genres in the tag that is theirs, and in each other that has some."""
        tag = self._id3
        if self._primary == "id3":
            if not self._begin:
                version = 3 if id3_version == 3 else 4
                copied = frames_of_v1(self._v1[1], version) if self._v1 and values else []
                tag = Id3Tag(version, frames=copied)
            in_front = tag.with_values(values, id3_version=id3_version)
            if in_front or self._begin:
                yield Patch(0, self._begin, in_front)
        at = self._ape[0] if self._ape else self._end
        if self._primary == "ape" or self._new_ape.values:
            yield Patch(at, at + self._new_ape.size, self._new_ape.with_values(values))
        yield from self._number(number_of(values))

    def patches_back(self, kept: Kept) -> Iterable[Patch]:
        """Each tag as it was."""
        if kept["primary"] == "id3":
            in_front = self._id3.with_kept(kept["id3"])
            if in_front or self._begin:
                yield Patch(0, self._begin, in_front)
        if self._ape or kept["ape"]["raw"]:
            at = self._ape[0] if self._ape else self._end
            yield Patch(at, at + self._new_ape.size, self._new_ape.with_kept(kept["ape"]))
        if kept["v1"] is not None:
            yield from self._number(kept["v1"])

    # --- inside ------------------------------------------------------------

    def _number(self, number: int) -> Iterator[Patch]:
        if self._v1 and self._v1[1][127] != number:
            at = self._v1[0] + 127
            yield Patch(at, at + 1, bytes([number]))

    def _read(self) -> tuple[str, tuple[str, ...]]:
        version = f"ID3v2.{self._id3.version}"
        first = version if self._primary == "id3" else "APEv2"
        found = {version: self._id3.values if self._primary == "id3" else ()}
        found["APEv2"] = self._new_ape.values
        if self._v1 and self._v1[1][127] != _NO_GENRE:
            found["ID3v1"] = names_of([str(self._v1[1][127])])
        for name in (first, *found):
            if found.get(name):
                return name, found[name]
        return first, ()

    def _find_tail(self) -> tuple[tuple[int, bytes] | None, tuple[int, ApeTag] | None]:
        """What stands after the sound, from the end on."""
        v1, ape = None, None
        while True:
            before = self._end
            head = self._last(128)
            if v1 is None and head[:3] == b"TAG" and len(head) == 128:
                self._end -= 128
                v1 = self._end, head
            elif self._last(9) == _LYRICS and self._last(15)[:6].isdigit():
                self._strip(int(self._last(15)[:6]) + 15)
            elif ape is None and (size := ApeTag.size_before(self._last(32))):
                if not 32 <= size <= self._end - self._begin:
                    raise TagError("its APEv2 tag is damaged: it is larger than the file")
                self._end -= size
                ape = self._end, ApeTag.parse(read_at(self._file, self._end, size))
            if self._end == before:
                return v1, ape

    def _strip(self, size: int) -> None:
        if size <= self._end - self._begin:
            self._rest.append((self._end - size, self._end))
            self._end -= size

    def _last(self, size: int) -> bytes:
        start = max(self._begin, self._end - size)
        return read_at(self._file, start, self._end - start)
