"""Checkpoints byte by byte: tables, entries, and what is damaged or of another kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genrescope.audio.encoders.protobuf import field, varint
from genrescope.audio.encoders.tensorflow_checkpoint import read_checkpoint, read_table
from genrescope.errors import DataError

MAGIC = bytes.fromhex("57fb808b247547db")
DAMAGED = "the file is damaged"


def block(*entries: tuple[int, bytes, bytes], restarts: int = 1) -> bytes:
    """Entries (bytes shared with the key before, the rest of the key, value) and their end."""
    body = b"".join(
        varint(shared) + varint(len(own)) + varint(len(value)) + own + value
        for shared, own, value in entries
    )
    return body + bytes(4 * restarts) + restarts.to_bytes(4, "little")


def table(*blocks: bytes) -> bytes:
    """Data blocks, their index and the footer; after a block, its kind and a checksum."""
    data, handles = b"", []
    for each in blocks:
        handles.append(varint(len(data)) + varint(len(each)))
        data += each + bytes(5)
    index = block(*((0, b"%d" % place, handle) for place, handle in enumerate(handles)))
    at = len(data)
    data += index + bytes(5)
    footer = varint(0) + varint(0) + varint(at) + varint(len(index))
    return data + footer.ljust(40, b"\0") + MAGIC


def refusal(read: Any, *given: bytes) -> str:
    with pytest.raises(DataError) as refused:
        read(*given)
    return str(refused.value)


def test_keys_share_what_they_begin_with() -> None:
    first = block((0, b"", b"header"), (0, b"conv/bias", b"1"), (5, b"kernel", b""), restarts=3)
    second = block((0, b"dense", b"22"))
    assert list(read_table(table(first, second)).items()) == [
        (b"", b"header"),
        (b"conv/bias", b"1"),
        (b"conv/kernel", b""),
        (b"dense", b"22"),
    ]
    assert read_table(table()) == {}
    assert read_table(table(block())) == {}


def test_what_does_not_end_as_a_table_does() -> None:
    whole = table(block((0, b"a", b"1")))
    for data in (b"", MAGIC, bytes(39) + MAGIC, whole[:-1], whole + b"\0"):
        assert refusal(read_table, data) == (
            "the file does not end as a LevelDB table does; it is damaged or something else"
        )
    # 48 bytes are a footer, of a table that has no room for its index.
    assert refusal(read_table, bytes(40) + MAGIC) == (
        f"byte 0: a block reaches past the end; {DAMAGED}"
    )


def footed(body: bytes, offset: int, size: int) -> bytes:
    footer = varint(7) + varint(9) + varint(offset) + varint(size)
    return body + footer.ljust(40, b"\0") + MAGIC


def test_a_block_is_within_the_file_and_not_compressed() -> None:
    empty = block()
    body = empty + bytes(5)
    assert read_table(footed(body, 0, len(empty))) == {}
    for offset, size in ((0, 3), (0, 10_000), (53, 8)):
        assert refusal(read_table, footed(body, offset, size)) == (
            f"byte {offset}: a block reaches past the end; {DAMAGED}"
        )
    assert refusal(read_table, footed(body, 52, 8)) == (  # the last byte is no kind
        "byte 60: the block is compressed (type 219); only plain ones are read"
    )
    assert refusal(read_table, footed(empty + b"\1" + bytes(4), 0, 8)) == (
        "byte 8: the block is compressed (type 1); only plain ones are read"
    )


def test_a_block_has_room_for_what_it_says() -> None:
    many = (9).to_bytes(4, "little")
    assert refusal(read_table, footed(many + bytes(5), 0, 4)) == (
        f"byte 0: the block has no room for entries; {DAMAGED}"
    )
    assert read_table(footed(bytes(4) + bytes(5), 0, 4)) == {}
    # One shares a byte with no key; the others end one byte behind the place for entries.
    for shared, own, length in ((1, 1, 1), (0, 1, 4), (0, 4, 1)):
        lengths = varint(shared) + varint(own) + varint(length)
        bad = lengths + b"1234" + bytes(4) + (1).to_bytes(4, "little")
        assert refusal(read_table, footed(bad + bytes(5), 0, len(bad))) == (
            f"byte 3: an entry is too long; {DAMAGED}"
        )


# --- tensors ---------------------------------------------------------------


def entry(
    *sizes: int, dtype: int = 1, shard: int = 0, offset: int = 0, size: int | None = None
) -> bytes:
    shape = b"".join(field(2, field(1, n) if n else b"") for n in sizes)
    count = int(np.prod(sizes)) if sizes else 1
    told = field(1, dtype) + field(2, shape)
    told += field(3, shard) if shard else b""
    told += field(4, offset) if offset else b""
    return told + field(5, 4 * count if size is None else size) + field(6, 0.0)


def index(**entries: bytes) -> bytes:
    named = {key.replace("__", "/"): value for key, value in entries.items()}
    return table(block((0, b"", b"header"), *((0, k.encode(), v) for k, v in named.items())))


def test_weights_have_their_shape_and_place() -> None:
    data = np.arange(10, dtype="<f4").tobytes()
    weights = read_checkpoint(
        index(a=entry(2, 3, offset=16), b=entry(4), c=entry(offset=36), d=entry(0, 3)), data
    )
    assert list(weights) == ["a", "b", "c", "d"]
    assert all(values.dtype == np.float32 for values in weights.values())
    assert weights["a"].tolist() == [[4, 5, 6], [7, 8, 9]]
    assert weights["b"].tolist() == [0, 1, 2, 3]
    assert weights["c"].shape == ()
    assert float(weights["c"]) == 9
    assert weights["d"].shape == (0, 3)


def test_what_only_training_needed_is_left_out() -> None:
    other = entry(9, dtype=3)  # which would be refused
    found = read_checkpoint(
        index(a=entry(1), a__Adam_1=other, beta1_power=other, beta2_power_2=other), bytes(4)
    )
    assert list(found) == ["a"]


def test_tensors_of_other_types_or_in_other_files_are_refused() -> None:
    words = "only float32 (type 1) in file 0 is read"
    for made, found in (
        (entry(1, dtype=3), "type 3 in file 0"),
        (entry(1, shard=2), "type 1 in file 2"),
        (field(5, 4), "type 0 in file 0"),
    ):
        assert refusal(read_checkpoint, index(w=made), bytes(4)) == f"tensor w: {found}; {words}"


def test_a_tensor_fits_its_shape_and_the_file() -> None:
    for made, found in (
        (entry(2, 2, size=15), "15 bytes at 0 of 16 for the shape [2, 2], which needs 16"),
        (entry(2, 2, offset=1), "16 bytes at 1 of 16 for the shape [2, 2], which needs 16"),
        (entry(2, 3), "24 bytes at 0 of 16 for the shape [2, 3], which needs 24"),
    ):
        assert refusal(read_checkpoint, index(w=made), bytes(16)) == (
            f"tensor w: {found}; {DAMAGED}"
        )
    assert refusal(read_checkpoint, index(w=field(1, 1) + field(2, field(2, 5))), b"") == (
        f"a shape holds a number where a dimension should be; {DAMAGED}"
    )


def test_a_name_that_is_no_text_is_told_so_that_it_can_be_printed() -> None:
    made = table(block((0, b"caf\xe9", entry(1))))
    assert refusal(read_checkpoint, made, b"").startswith("tensor caf\ufffd: 4 bytes at 0 of 0 ")
