"""Protocol buffers on the wire: numbers, fields, and bytes that are neither."""

from __future__ import annotations

import struct

import pytest

from genrescope.audio.encoders.protobuf import (
    field,
    iter_fields,
    packed,
    read_fields,
    read_varint,
    varint,
)
from genrescope.errors import DataError


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16_383, "ff7f"),
        (16_384, "808001"), (2**64 - 1, "ffffffffffffffffff01"), (-1, "ffffffffffffffffff01"),
        (-2, "feffffffffffffffff01"),
    ],
)  # fmt: skip
def test_numbers_have_seven_bits_a_byte(value: int, written: str) -> None:
    data = bytes.fromhex(written)
    assert varint(value) == data
    assert read_varint(data, 0) == (value % 2**64, len(data))
    assert read_varint(b"\x80\x80" + data + b"\x05", 2) == (value % 2**64, len(data) + 2)


@pytest.mark.parametrize(
    "data", ["", "80", "ff" * 9, "80" * 10, "80" * 10 + "01", "ff" * 9 + "02", "ff" * 9 + "7f"]
)
def test_a_number_ends_within_64_bits(data: str) -> None:
    with pytest.raises(DataError) as refused:
        read_varint(b"\x01\x01\x01" + bytes.fromhex(data), 3)
    assert str(refused.value) == "byte 3: a number does not end; the file is damaged"


def test_fields_are_numbers_floats_texts_and_messages() -> None:
    assert field(1, 150) == bytes.fromhex("089601")
    assert field(2, "testing") == b"\x12\x07testing"
    assert field(2, "é") == b"\x12\x02\xc3\xa9"
    assert field(3, b"\x08\x96\x01") == bytes.fromhex("1a03089601")
    assert field(5, 0.5) == b"\x2d" + struct.pack("<f", 0.5)
    assert field(16, 1) == bytes.fromhex("800101"), "a number above 15 takes two bytes"
    assert packed(4, [3, 270, 86_942]) == bytes.fromhex("2206038e029ea705")


def test_fields_are_read_in_order_whatever_their_kind() -> None:
    data = (
        field(1, 300)
        + bytes.fromhex("09") + b"12345678"  # 64 bits
        + field(2, "text")
        + field(3, b"")
        + field(5, 0.5)
        + field(1, 7)
    )  # fmt: skip
    expected = [
        (1, 300), (1, b"12345678"), (2, b"text"), (3, b""), (5, struct.pack("<f", 0.5)), (1, 7),
    ]  # fmt: skip
    assert read_fields(data) == expected
    assert read_fields(b"") == []


def test_a_view_is_read_without_a_copy() -> None:
    data = bytearray(field(1, "abc") + field(2, 5))
    (_, text), (_, number) = iter_fields(memoryview(data))
    assert isinstance(text, memoryview)
    data[2] = ord("x")
    assert bytes(text) == b"xbc"
    assert number == 5


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (field(1, "abc")[:-1], 2),
        (field(1, 5) + field(2, 0.5)[:-1], 3),
        (b"\x09" + b"1234567", 1),
        (b"\x0b", 1),  # a group, which nothing writes any more
        (b"\x0c", 1),
        (b"\x0e" + b"\0" * 8, 1),
    ],
)
def test_a_field_ends_where_the_message_does(data: bytes, place: int) -> None:
    with pytest.raises(DataError) as refused:
        read_fields(data)
    assert str(refused.value) == (
        f"byte {place}: a field reaches past the end; the file is damaged"
    )


@pytest.mark.parametrize("number", [0, 2**29])
def test_a_number_of_a_field_is_told(number: int) -> None:
    data = field(1, 1) + field(number, 1)
    with pytest.raises(DataError) as refused:
        read_fields(data)
    assert str(refused.value) == (
        f"byte {len(data) - 1}: {number} is no number of a field; the file is damaged"
    )
    assert read_fields(field(2**29 - 1, 1)) == [(2**29 - 1, 1)]
