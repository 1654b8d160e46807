"""Which sound a file holds, whatever its tags say and whatever it is called.

Programs write tags before, after and between the sound, so neither size nor date of a file tell
whether its sound is the one that was heard before. :func:`sound_identity` finds the bytes of the
sound and takes a digest of how many they are and of eight places among them. Reading all of a
library again would cost about as much as hearing it; eight places cost next to nothing, and
whoever changes the sound of a track in earnest changes its length or most of its bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["sound_identity"]

_PLACES = 8
_PIECE = 16 << 10  # bytes read at each place
_SCANNED = 1 << 20  # bytes of Ogg pages in which the comments end, usually
_ID3V1 = 128  # bytes
_OGG_HEAD = 27  # bytes of a page before its table of segments
_NO_POSITION = 2**64 - 1

Span = tuple[int, int]


def sound_identity(path: str | os.PathLike[str]) -> bytes:
    """A digest of the sound of a file.

    Parameters
    ----------
    path : path-like
        A music file of any kind. Of kinds that are not known here, all bytes count as sound.

    Returns
    -------
    bytes
        16 of them; the same before and after tags were written, also by other programs.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        ogg = False
        try:
            spans, ogg = _spans(file, size)
        except (struct.error, ValueError, IndexError):  # not what it seems
            spans = [(0, size)]
        spans = [(start, end) for start, end in spans if start < end]
        length = sum(end - start for start, end in spans)
        digest = hashlib.blake2b(struct.pack(">Q", length), digest_size=16)
        for piece in _pieces(file, spans, length, ogg=ogg):
            digest.update(piece)
        return digest.digest()


def _pieces(file: BinaryIO, spans: list[Span], length: int, *, ogg: bool) -> Iterator[bytes]:
    """Eight pieces, spread evenly over the spans as if these were one."""
    if length <= _PLACES * _PIECE:
        wanted = [(0, length)]
    else:
        step = (length - _PIECE) / (_PLACES - 1)
        wanted = [(round(k * step), round(k * step) + _PIECE) for k in range(_PLACES)]
    for first, last in wanted:
        before = 0
        for start, end in spans:
            a = max(first, before) - before + start
            b = min(last, before + end - start) - before + start
            if a < b:
                yield _ogg_piece(file, a, b) if ogg else _read(file, a, b)
            before += end - start


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _ogg_piece(file: BinaryIO, start: int, end: int) -> bytes:
    """The bytes without the number and checksum of each page, which longer comments change."""
    first = max(0, start - _OGG_HEAD)
    piece = bytearray(_read(file, first, end + _OGG_HEAD))
    for found in re.finditer(rb"OggS", bytes(piece)):
        piece[found.start() + 18 : found.start() + 26] = bytes(
            max(0, min(8, len(piece) - found.start() - 18))
        )
    return bytes(piece[start - first : end - first])


def _spans(file: BinaryIO, size: int) -> tuple[list[Span], bool]:
    """Where the sound is, and whether it lies in Ogg pages."""
    start = _after_id3(file, 0)
    file.seek(start)
    head = file.read(16)
    if head[:4] == b"fLaC":
        return [(_after_flac_blocks(file, start + 4), _before_tail(file, start, size))], False
    if head[:4] == b"OggS":
        return [(_after_ogg_headers(file, start, size), size)], True
    if head[:4] in (b"RIFF", b"RF64", b"FORM") and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        order = ">" if head[:4] == b"FORM" else "<"
        return _chunks(file, start + 12, size, order=order), False
    if head[4:8] == b"ftyp":
        return _boxes(file, size), False
    if head == _ASF_HEADER:
        file.seek(start + 16)
        (length,) = struct.unpack("<Q", file.read(8))
        return [(start + length, size)], False
    return [(start, _before_tail(file, start, size))], False


_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


def _after_id3(file: BinaryIO, start: int) -> int:
    """The first byte behind ID3v2 tags; there may be several."""
    while True:
        file.seek(start)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
            return start
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        start += 10 + length + (10 if head[5] & 0x10 else 0)


def _before_tail(file: BinaryIO, start: int, end: int) -> int:
    """The end without ID3v1, APEv2 and Lyrics3 tags, in any order."""
    while True:
        if end - start >= _ID3V1 and _read(file, end - _ID3V1, end - _ID3V1 + 3) == b"TAG":
            end -= _ID3V1
            continue
        foot = _read(file, max(start, end - 32), end)
        if len(foot) == 32 and foot[:8] == b"APETAGEX":
            length, _, flags = struct.unpack("<III", foot[12:24])
            length += 32 if flags & 0x80000000 else 0
            if 32 <= length <= end - start:
                end -= length
                continue
        if foot[-9:] == b"LYRICS200" and foot[-15:-9].isdigit():
            length = int(foot[-15:-9]) + 15
            if length <= end - start:
                end -= length
                continue
        return end


def _after_flac_blocks(file: BinaryIO, place: int) -> int:
    while True:
        file.seek(place)
        head = file.read(4)
        if len(head) < 4:
            return place
        place += 4 + int.from_bytes(head[1:4], "big")
        if head[0] & 0x80:
            return place


def _after_ogg_headers(file: BinaryIO, place: int, size: int) -> int:
    """The first page on which sound ends; pages of headers are at position 0 or at none."""
    file.seek(place)
    data, first = file.read(_SCANNED), place
    while place + _OGG_HEAD <= size:
        if place + _OGG_HEAD + 255 > first + len(data):  # covers as large as that
            file.seek(place)
            data, first = file.read(_SCANNED), place
        at = place - first
        head = data[at : at + _OGG_HEAD]
        if head[:4] != b"OggS":
            raise ValueError("no page where one should be")
        (position,) = struct.unpack("<Q", head[6:14])
        if position not in (0, _NO_POSITION):
            return place
        place += _OGG_HEAD + head[26] + sum(data[at + _OGG_HEAD : at + _OGG_HEAD + head[26]])
    return place


def _chunks(file: BinaryIO, place: int, size: int, *, order: str) -> list[Span]:
    """The chunks of RIFF and AIFF that hold samples."""
    spans = []
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        end = min(place + 8 + length, size)
        if name in (b"data", b"SSND"):
            if length == 0xFFFFFFFF:  # RF64, or a stream that was never closed
                end = size
            spans.append((place + 8, end))
        place += 8 + length + length % 2
    if not spans:
        raise ValueError("no chunk with samples")
    return spans


def _boxes(file: BinaryIO, size: int) -> list[Span]:
    """The boxes of MP4 that hold sound."""
    spans = []
    place = 0
    while place + 8 <= size:
        file.seek(place)
        length, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            head = 16
        elif length == 0:
            length = size - place
        if length < head:
            raise ValueError("a box that is shorter than its head")
        if name == b"mdat":
            spans.append((place + head, min(place + length, size)))
        place += length
    if not spans:
        raise ValueError("no box with sound")
    return spans
