"""APEv2 tags, item by item."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from genrescope.catalog.containers.base import Kept, exchanged, put_back, taken
from genrescope.errors import TagError

__all__ = ["ApeTag"]

_MAGIC = b"APETAGEX"
_HAS_HEADER, _NO_FOOTER, _IS_HEADER = 1 << 31, 1 << 30, 1 << 29


@dataclass(eq=False)
class ApeTag:
    """One tag.

    Attributes
    ----------
    items : list of bytes
        With their sizes, flags and keys.
    version, flags : int
        Of its footer.
    junk : bytes
        What follows the items inside the tag.
    size : int
        Bytes in all; 0 for a tag that is not in the file yet.
    """

    items: list[bytes] = field(default_factory=list)
    version: int = 2000
    flags: int = _HAS_HEADER
    junk: bytes = b""
    size: int = 0

    @staticmethod
    def size_before(footer: bytes) -> int:
        """Bytes of the tag that ends with these 32; 0 where there is none."""
        if len(footer) < 32 or footer[:8] != _MAGIC:
            return 0
        size, flags = struct.unpack("<I4xI", footer[12:24])
        if flags & _IS_HEADER:
            return 0
        return int(size) + (32 if flags & _HAS_HEADER else 0)

    @classmethod
    def parse(cls, data: bytes) -> ApeTag:
        """Take apart a whole tag.

        Raises
        ------
        TagError
            If it is damaged; the message lacks the path.
        """
        version, _, count, flags = struct.unpack("<4I", data[-24:-8])
        start = 32 if flags & _HAS_HEADER else 0
        if start and data[:8] != _MAGIC:
            raise TagError("its APEv2 tag is damaged: the header is missing")
        body = data[start:-32]
        tag = cls(version=version, flags=flags, size=len(data))
        at = 0
        while at < len(body) and len(tag.items) < count:
            end_of_key = body.find(b"\0", at + 8)
            if end_of_key < 0:
                raise TagError("its APEv2 tag is damaged: an item does not end in it")
            end = end_of_key + 1 + struct.unpack("<I", body[at : at + 4])[0]
            if end > len(body):
                raise TagError("its APEv2 tag is damaged: an item does not end in it")
            tag.items.append(body[at:end])
            at = end
        tag.junk = body[at:]
        return tag

    def has(self, *keys: bytes) -> bool:
        """Whether there is an item with one of these keys, in lower case."""
        return any(_key(item).lower() in keys for item in self.items)

    @property
    def values(self) -> tuple[str, ...]:
        """The genres."""
        found: list[str] = []
        for item in filter(_is_genre, self.items):
            text = item[item.index(b"\0", 8) + 1 :].decode("utf-8", "replace")
            found += [value for value in text.split("\0") if value]
        return tuple(found)

    @property
    def kept(self) -> Kept:
        """What puts the genre back."""
        return {**taken(self.items, _is_genre), "present": self.size > 0}

    def others(self) -> Iterator[bytes]:
        """All items but the genre."""
        yield from (item for item in self.items if not _is_genre(item))
        yield self.junk

    def with_values(self, values: Sequence[str]) -> bytes:
        """The tag with other genres."""
        old = next(filter(_is_genre, self.items), None)
        key, flags = (_key(old), _flags(old)) if old else (b"Genre", 0)
        if flags & 0b110:
            raise TagError("its APEv2 genre is no text")
        text = "\0".join(values).encode("utf-8")
        new = [struct.pack("<2I", len(text), flags) + key + b"\0" + text] if values else []
        return self._render(exchanged(self.items, _is_genre, new))

    def with_kept(self, kept: Kept) -> bytes:
        """The tag with the genre that was kept; no bytes where it was added with it."""
        items = put_back(self.items, _is_genre, kept)
        return b"" if not items and not kept["present"] else self._render(items)

    def _render(self, items: Sequence[bytes]) -> bytes:
        if not items and not self.size:
            return b""
        body = b"".join(items) + self.junk
        # The count says how many items there are before the junk, which may be all of the tag.
        fields = (self.version, len(body) + 32, len(items))
        head = _MAGIC + struct.pack("<4I", *fields, self.flags | _IS_HEADER) + bytes(8)
        foot = _MAGIC + struct.pack("<4I", *fields, self.flags) + bytes(8)
        return (head if self.flags & _HAS_HEADER else b"") + body + foot


def _key(item: bytes) -> bytes:
    return item[8 : item.index(b"\0", 8)]


def _flags(item: bytes) -> int:
    return int(struct.unpack("<I", item[4:8])[0])


def _is_genre(item: bytes) -> bool:
    return _key(item).lower() == b"genre"
