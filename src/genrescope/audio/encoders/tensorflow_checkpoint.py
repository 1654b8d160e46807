"""TensorFlow checkpoints ("tensor bundles") without TensorFlow.

A checkpoint is two files. ``.index`` is a LevelDB table, sorted by tensor name: its values say
type, shape and place of each tensor. ``.data-00000-of-00001`` holds the numbers, one tensor after
another, little-endian, rows last.

A table is a sequence of blocks and a footer of 48 bytes, which names the index block; that one
names the data blocks. In a block, a key is what it shares with the one before and its own rest.
(LevelDB, ``doc/table_format.md``; TensorFlow, ``core/protobuf/tensor_bundle.proto``.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genrescope.audio.encoders.protobuf import read_fields, read_varint
from genrescope.errors import DataError

__all__ = ["read_checkpoint", "read_table"]

FloatArray = npt.NDArray[np.float32]

_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER = 48  # bytes
_FLOAT = 1  # DT_FLOAT
_OPTIMISER = ("Adam", "beta1_power", "beta2_power")  # what training needed and use does not


class _Entry(NamedTuple):
    """Where a tensor is, and what it is: a BundleEntryProto."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def read_table(data: bytes) -> dict[bytes, bytes]:
    """Everything in a LevelDB table.

    Parameters
    ----------
    data : bytes
        The file; its blocks must not be compressed.

    Returns
    -------
    dict of bytes to bytes
        In the order of the table.

    Raises
    ------
    DataError
        If it is no such table, or damaged.
    """
    if len(data) < _FOOTER or not data.endswith(_MAGIC):
        raise DataError(
            "the file does not end as a LevelDB table does; it is damaged or something else"
        )
    footer = data[-_FOOTER:]
    _, pos = _read_handle(footer, 0)  # of the metaindex, which is empty
    index, _ = _read_handle(footer, pos)
    found: dict[bytes, bytes] = {}
    for _, value in _read_block(data, *index):
        handle, _ = _read_handle(value, 0)
        found.update(_read_block(data, *handle))
    return found


def _read_handle(data: bytes, pos: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the place behind them."""
    offset, pos = read_varint(data, pos)
    size, pos = read_varint(data, pos)
    return (offset, size), pos


def _read_block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block."""
    end = offset + size
    if size < 4 or end + 1 > len(data):
        raise DataError(f"byte {offset}: a block reaches past the end; the file is damaged")
    if data[end] != 0:
        raise DataError(
            f"byte {end}: the block is compressed (type {data[end]}); only plain ones are read"
        )
    block = data[offset:end]
    # At the end: where keys start afresh, four bytes each, and how many such places there are.
    stop = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    if stop < 0:
        raise DataError(f"byte {offset}: the block has no room for entries; the file is damaged")
    key, pos = b"", 0
    while pos < stop:
        shared, pos = read_varint(block, pos)
        own, pos = read_varint(block, pos)
        length, pos = read_varint(block, pos)
        if shared > len(key) or pos + own + length > stop:
            raise DataError(f"byte {offset + pos}: an entry is too long; the file is damaged")
        key = key[:shared] + block[pos : pos + own]
        pos += own
        yield key, block[pos : pos + length]
        pos += length


def _read_entry(data: bytes) -> _Entry:
    """Fields of a BundleEntryProto: 1 type, 2 shape, 3 shard, 4 offset, 5 size."""
    numbers = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: tuple[int, ...] = ()
    for number, value in read_fields(data):
        if number == 2 and isinstance(value, bytes):
            shape = tuple(_read_dimension(part) for n, part in read_fields(value) if n == 2)
        elif number in numbers and isinstance(value, int):
            numbers[number] = value
    return _Entry(numbers[1], shape, numbers[3], numbers[4], numbers[5])


def _read_dimension(data: int | bytes) -> int:
    """A dimension's size (field 1; zero is left out)."""
    if isinstance(data, int):
        raise DataError("a shape holds a number where a dimension should be; the file is damaged")
    return next((v for n, v in read_fields(data) if n == 1 and isinstance(v, int)), 0)


def read_checkpoint(index: bytes, data: bytes) -> dict[str, FloatArray]:
    """The weights in a checkpoint.

    Parameters
    ----------
    index : bytes
        The file ``.index``.
    data : bytes
        The file ``.data-00000-of-00001``.

    Returns
    -------
    dict of str to np.ndarray [float32]
        By name, without what only the optimiser needed.

    Raises
    ------
    DataError
        If a file is damaged, or a weight is not float32 or lies in another file.
    """
    weights: dict[str, FloatArray] = {}
    for key, value in read_table(index).items():
        name = key.decode("utf-8", "replace")
        if not name or any(word in name for word in _OPTIMISER):  # no name: the header
            continue
        entry = _read_entry(value)
        if entry.dtype != _FLOAT or entry.shard != 0:
            raise DataError(
                f"tensor {name}: type {entry.dtype} in file {entry.shard}; only float32 (type 1) "
                "in file 0 is read"
            )
        expected = 4 * math.prod(entry.shape)
        if entry.size != expected or entry.offset + entry.size > len(data):
            raise DataError(
                f"tensor {name}: {entry.size} bytes at {entry.offset} of {len(data)} for the "
                f"shape {list(entry.shape)}, which needs {expected}; the file is damaged"
            )
        raw = data[entry.offset : entry.offset + entry.size]
        weights[name] = np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(entry.shape)
    return weights
