"""The files of a part: their names, their heads, their rows.

An array is an .npy file whose head is always of the same length, so where a row lies follows from
its number. Descriptors are Parquet. A row is read by opening the file, seeking and reading into
place: that takes the same time in a store of any size, and leaves no file open.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.files import printable
from genrescope.audio.store.place import Place
from genrescope.catalog.fma_tables import import_pyarrow
from genrescope.errors import DataError

__all__ = [
    "HEADER",
    "PARTS",
    "descriptor_dataset",
    "descriptor_parquet",
    "npy_header",
    "part_file",
    "read_array",
    "read_descriptors",
]

PARTS = "parts"
HEADER = 128  # bytes of the head of an .npy file, whatever its number of rows


def part_file(number: int, name: str) -> str:
    """Name of a file of a part.

    >>> part_file(3, "mel"), part_file(3, "descriptors")
    ('000003.mel.npy', '000003.descriptors.parquet')
    """
    return f"{number:06d}.{name}.{'parquet' if name == 'descriptors' else 'npy'}"


def npy_header(shape: Sequence[int], kind: np.dtype[Any]) -> bytes:
    """The head of an .npy file, always of the same length.

    >>> len(npy_header((128, 128, 1292), np.dtype("uint8")))
    128
    """
    said = {"descr": kind.str, "fortran_order": False, "shape": tuple(shape)}
    start = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little")
    return start + repr(said).encode("ascii").ljust(HEADER - 11) + b"\n"


def read_array(
    place: Place, file: str, *, rows: int, at: Sequence[int], into: Sequence[npt.NDArray[Any]]
) -> None:
    """Read rows of an array.

    Parameters
    ----------
    place : Place
        The store.
    file : str
        Below it.
    rows : int
        That the file has, as the manifest says.
    at : sequence of int
        Rows that are wanted.
    into : sequence of np.ndarray
        Where each is put; of the shape and type of a row, in one piece.

    Raises
    ------
    DataError
        If the file cannot be read, or is not as the manifest says.
    """
    if not len(at):
        return
    shape, dtype = into[0].shape, into[0].dtype
    size = math.prod(shape) * dtype.itemsize
    head, whole = npy_header((rows, *shape), dtype), HEADER + rows * size
    try:
        if place.local is None:
            pieces = _fetched(place, file, size, at)
        else:
            pieces = _found(place.local / file, head, whole, size, at)
        for data, row in zip(pieces, into, strict=True):
            row[...] = np.frombuffer(data, dtype).reshape(shape)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{place.url}/{file}: not the {rows} rows of {dtype} {shape} that the manifest says "
            f"({error}); `genrescope features verify {place.url}` says what is damaged"
        ) from error


def _found(path: Path, head: bytes, whole: int, size: int, at: Sequence[int]) -> Iterator[bytes]:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        there = os.fstat(fd).st_size
        if there != whole:
            raise ValueError(f"it has {there} bytes, expected {whole}")
        if os.read(fd, HEADER) != head:
            raise ValueError("its head says something else")
        for row in at:
            os.lseek(fd, HEADER + row * size, os.SEEK_SET)
            yield os.read(fd, size)
    finally:
        os.close(fd)


def _fetched(place: Place, file: str, size: int, at: Sequence[int]) -> Iterator[bytes]:
    for row in at:
        yield place.read_range(file, HEADER + row * size, HEADER + (row + 1) * size)


def descriptor_parquet(ids: list[str], values: Any) -> memoryview:
    """Descriptors of tracks [n, 518] as the bytes of a Parquet file."""
    pa = import_pyarrow()
    shown = [printable(id_) for id_ in ids]  # Parquet's text is UTF-8, and names of files need not
    columns = [pa.array(shown, pa.string())]
    columns += [pa.array(column) for column in np.ascontiguousarray(values.T)]
    table = pa.Table.from_arrays(columns, names=["id", *DESCRIPTOR_NAMES])
    sink = pa.BufferOutputStream()
    # Without what helps to search: it would be as large as the numbers.
    pa.parquet.write_table(
        table, sink, compression="zstd", use_dictionary=False, write_statistics=False
    )
    return memoryview(sink.getvalue())


def read_descriptors(place: Place, file: str) -> npt.NDArray[np.float32]:
    """The descriptors of a part [rows, 518]; DataError if it cannot be read."""
    pa = import_pyarrow()
    try:
        source = pa.BufferReader(place.read(file))
        table = pa.parquet.ParquetFile(source).read(
            columns=list(DESCRIPTOR_NAMES), use_threads=False
        )
        columns = [table[name].to_numpy() for name in DESCRIPTOR_NAMES]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(
            f"{place.url}/{file}: cannot be read ({error}); `genrescope features verify "
            f"{place.url}` says what is damaged"
        ) from error
    values: npt.NDArray[np.float32] = np.stack(columns, axis=1)
    return values


def descriptor_dataset(
    place: Place,
    whole: Sequence[str],
    mixed: Sequence[tuple[str, Sequence[int]]],
    *,
    partitioned: bool,
) -> Any:
    """A pyarrow dataset over files of descriptors.

    Parameters
    ----------
    place : Place
        The store.
    whole : sequence of str
        Files below it of which every row counts.
    mixed : sequence of (str, sequence of int)
        Files of which only these rows do; they are read now.
    partitioned : bool
        Whether ``partition=N`` in the names of files is a column.
    """
    pa = import_pyarrow()
    import pyarrow.dataset

    ds = pyarrow.dataset
    schema = pa.schema([("id", pa.string()), *((name, pa.float32()) for name in DESCRIPTOR_NAMES)])
    hive = None
    if partitioned:
        schema = schema.append(pa.field("partition", pa.int32()))
        hive = ds.partitioning(pa.schema([("partition", pa.int32())]), flavor="hive")
    system, root = place.filesystem()
    found = ds.dataset(
        [f"{root}/{file}" for file in whole],
        schema=schema,
        format="parquet",
        filesystem=system,
        partitioning=hive,
        partition_base_dir=root,
    )
    if not mixed:
        return found
    tables = []
    for file, rows in mixed:
        table = pa.parquet.ParquetFile(pa.BufferReader(place.read(file))).read().take(sorted(rows))
        if partitioned:
            number = int(file.partition("/")[0].partition("=")[2])
            table = table.append_column("partition", pa.array([number] * len(rows), pa.int32()))
        tables.append(table)
    return ds.dataset([found, ds.dataset(pa.concat_tables(tables))])
