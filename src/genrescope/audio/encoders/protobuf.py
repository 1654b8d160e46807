"""Protocol buffers on the wire, as far as checkpoints and ONNX graphs need them.

A message is a sequence of fields, each a number, a kind and a value (Google, "Protocol Buffers
encoding"). Nothing here knows a schema: a reader gets numbers and bytes, a writer gives them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeVar

from genrescope.errors import DataError

__all__ = ["field", "iter_fields", "packed", "read_fields", "read_varint", "varint"]

_Data = TypeVar("_Data", bytes, memoryview)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_FIELD = 2**29 - 1  # a larger number is read as another one by readers that cut it off


def read_varint(data: bytes | memoryview, start: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first.

    Parameters
    ----------
    data : bytes
        What it is in.
    start : int
        Where it starts.

    Returns
    -------
    value, end : int
        The number, and the place behind it.

    Raises
    ------
    DataError
        If the bytes end before it does, or it has more than 64 bits.

    Examples
    --------
    >>> read_varint(b"\\xac\\x02", 0)
    (300, 2)
    """
    value = 0
    for place, byte in enumerate(data[start : start + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80 and value < 1 << 64:
            return value, start + place + 1
    raise DataError(f"byte {start}: a number does not end; the file is damaged")


def read_fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a message, in order.

    Parameters
    ----------
    data : bytes
        One message.

    Returns
    -------
    list of (int, int or bytes)
        Number and value. Fixed sizes are bytes, as are texts and messages in messages.

    Raises
    ------
    DataError
        If it is no message.
    """
    return list(iter_fields(data))


def iter_fields(data: _Data) -> Iterator[tuple[int, int | _Data]]:
    """The fields of a message one by one, and of a memoryview without a copy.

    Yields and raises as :func:`read_fields` returns and raises.
    """
    pos = 0
    while pos < len(data):
        tag, pos = read_varint(data, pos)
        kind, number = tag & 7, tag >> 3
        if not 0 < number <= _MAX_FIELD:
            raise DataError(f"byte {pos}: {number} is no number of a field; the file is damaged")
        if kind == _VARINT:
            value, pos = read_varint(data, pos)
            yield number, value
            continue
        if kind == _BYTES:
            size, pos = read_varint(data, pos)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
        if size < 0 or pos + size > len(data):
            raise DataError(f"byte {pos}: a field reaches past the end; the file is damaged")
        yield number, data[pos : pos + size]
        pos += size


def varint(value: int) -> bytes:
    """A number as :func:`read_varint` reads it; a negative one has all its 64 bits."""
    rest = value & 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def field(number: int, value: int | float | str | bytes) -> bytes:
    """One field of a message: an integer, a 32-bit float, a text, or a message.

    >>> field(1, 8).hex(), field(7, "a").hex()
    ('0808', '3a0161')
    """
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | _FIXED32) + struct.pack("<f", value)
    content = value.encode("utf-8") if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def packed(number: int, values: Iterable[int]) -> bytes:
    """Integers in one field."""
    return field(number, b"".join(varint(value) for value in values))
