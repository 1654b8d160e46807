"""The files of a part: heads of one length, rows by their number, Parquet for descriptors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.store.parts import (
    HEADER,
    descriptor_parquet,
    npy_header,
    read_array,
    read_descriptors,
)
from genrescope.audio.store.place import Place
from genrescope.errors import DataError

CELLS = np.arange(5 * 2 * 3, dtype=np.float16).reshape(5, 2, 3)
DATA = npy_header(CELLS.shape, CELLS.dtype) + CELLS.tobytes()


@pytest.fixture(params=["disk", "URL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    place = Place(tmp_path if request.param == "disk" else f"memory://{tmp_path}")
    place.write("d/a.npy", DATA)
    return place


def rows_of(place: Place, at: list[int], *, rows: int = 5, dtype: str = "float16") -> np.ndarray:
    out = np.zeros((len(at), 2, 3), dtype)
    read_array(place, "d/a.npy", rows=rows, at=at, into=list(out))
    return out


def test_heads_are_those_of_numpy(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(DATA)
    found = np.load(tmp_path / "a.npy")
    assert found.dtype == np.float16
    assert np.array_equal(found, CELLS)
    assert len(npy_header((10**9, 128, 1292), np.dtype("uint8"))) == HEADER == 128
    assert npy_header((1,), np.dtype("uint8")).endswith(b" \n")


def test_rows_by_their_number(place: Place) -> None:
    assert np.array_equal(rows_of(place, [4, 0, 0, 2]), CELLS[[4, 0, 0, 2]])
    read_array(place, "d/nowhere.npy", rows=5, at=[], into=[])  # nothing asked, nothing read


def test_a_file_that_is_gone_is_said(place: Place) -> None:
    place.remove(["d/a.npy"])
    with pytest.raises(DataError) as caught:
        rows_of(place, [0])
    told = str(caught.value)
    assert told.startswith(
        f"{place.url}/d/a.npy: not the 5 rows of float16 (2, 3) that the manifest says ("
    )
    assert told.endswith(f"); `genrescope features verify {place.url}` says what is damaged")


def test_a_file_that_is_not_as_the_manifest_says(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write("d/a.npy", DATA)
    with pytest.raises(DataError, match=r"\(it has 188 bytes, expected 200\)"):
        rows_of(place, [0], rows=6)
    place.write("d/a.npy", npy_header((6, 2, 3), np.dtype("float16")) + CELLS.tobytes())
    with pytest.raises(DataError, match=r"\(its head says something else\)"):
        rows_of(place, [0])
    place.write("d/a.npy", DATA + b"?")
    with pytest.raises(DataError, match="it has 189 bytes, expected 188"):
        rows_of(place, [0])


def test_no_file_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, opened, real = Place(tmp_path), list[int](), os.open
    place.write("d/a.npy", DATA)

    def note(path: Path, flags: int) -> int:
        opened.append(real(path, flags))
        return opened[-1]

    monkeypatch.setattr(os, "open", note)
    rows_of(place, [1])
    with pytest.raises(DataError):
        rows_of(place, [1], rows=4)
    assert len(opened) == 2
    for fd in opened:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)


def test_descriptors_survive_being_written(place: Place) -> None:
    values = np.random.default_rng(0).normal(size=(3, 518)).astype(np.float32)
    odd = os.fsdecode(b"caf\xe9")
    place.write("d/p.parquet", descriptor_parquet(["b", odd, "a"], values))
    found = read_descriptors(place, "d/p.parquet")
    assert found.dtype == np.float32
    assert np.array_equal(found, values)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(place.read("d/p.parquet")))
    assert table.column_names == ["id", *DESCRIPTOR_NAMES]
    assert table["id"].to_pylist() == ["b", "caf?", "a"]
    column = pyarrow.parquet.ParquetFile(
        pyarrow.BufferReader(place.read("d/p.parquet"))
    ).metadata.row_group(0).column(1)  # fmt: skip
    assert column.compression == "ZSTD"
    assert column.statistics is None  # as large as the numbers
    assert not column.has_dictionary_page


@pytest.mark.parametrize("data", [b"no Parquet", None, b""])
def test_descriptors_that_cannot_be_read(place: Place, data: bytes | None) -> None:
    if data is None:
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table({"id": ["a"]}), sink)
        data = sink.getvalue().to_pybytes()
    place.write("p.parquet", data)
    with pytest.raises(DataError, match=r"p\.parquet: cannot be read \(.*features verify .* says"):
        read_descriptors(place, "p.parquet")
    with pytest.raises(DataError, match=r"none\.parquet: cannot be read \("):
        read_descriptors(place, "none.parquet")
