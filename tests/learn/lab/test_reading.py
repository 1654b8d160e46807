"""Tables as text: separators, encodings, numbers as people write them, and what is no table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.errors import TableError
from genrescope.learn.lab.reading import read_columns
from tests.learn.lab.test_tables import write


def raw(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_any_separator_and_encoding(tmp_path: Path, mark: str, encoding: str) -> None:
    lines = [["name", "n"], ["Café", "1"], [f'"a{mark} b"', "2"], ["Ünder", "3"]]
    text = "\r\n".join(mark.join(line) for line in lines) + "\r\n"
    found = read_columns(raw(tmp_path / "t.csv", text.encode(encoding)))
    assert list(found.columns) == ["name", "n"]
    assert found.columns["name"].text().tolist() == ["Café", f"a{mark} b", "Ünder"]
    assert found.columns["n"].numbers is not None
    assert found.columns["n"].numbers.tolist() == [1.0, 2.0, 3.0]
    assert bool(found.notes) == (encoding not in ("utf-8", "utf-8-sig"))


@pytest.mark.parametrize(
    ("mark", "cells", "values", "said"),
    [
        (";", ["1,5", "2,25", "3"], [1.5, 2.25, 3.0], "decimal comma"),
        (";", ["1,234", "2,345"], [1.234, 2.345], "decimal comma"),
        (";", ["1.234,5", "0,5"], [1234.5, 0.5], "decimal comma"),
        (",", ["1,234", "12"], [1234.0, 12.0], "thousands"),
        (",", ["1,234,567.5", "12"], [1234567.5, 12.0], "thousands"),
        (",", ["1,5", "1,234"], [1.5, 1.234], "decimal comma"),
        (",", ["1 234", "12"], [1234.0, 12.0], "thousands"),
        (",", ["+1.5", " 2e3 "], [1.5, 2000.0], ""),
    ],
)
def test_numbers_as_people_write_them(
    tmp_path: Path, mark: str, cells: list[str], values: list[float], said: str
) -> None:
    path = write(tmp_path / "t.csv", {"x": cells, "y": range(len(cells))}, mark=mark)
    column = read_columns(path).columns["x"]
    assert column.kind == "number"
    assert column.numbers is not None
    assert column.numbers.tolist() == values
    assert said in column.remark
    assert bool(column.remark) == bool(said)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "no rows"),
        ("a\n1\n", "has one column"),
        ("1,2\n3,4\n", "first row holds numbers"),
        ("a,a\n1,2\n", "'a' occurs 2 times"),
        (",mfcc,mfcc,tonnetz\n,1,2,3\n", "genrescope fma prepare"),
        ("a,b\n1,2\n3\n4,5\n", "row 3 has 1 cells and the header 2"),
        (b"PK\x03\x04xxxx", "spreadsheet"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes | str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_columns(raw(tmp_path / "t.csv", content))


def test_a_row_index_without_a_name_is_left_out(tmp_path: Path) -> None:
    path = raw(tmp_path / "t.csv", ",a,b\n0,1,2\n1,3,4\n")
    assert list(read_columns(path).columns) == ["a", "b"]


@settings(max_examples=60, deadline=None)
@given(numbers=st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 4)), min_size=1, max_size=20))
def test_decimal_commas_are_read_as_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    path = tmp_path_factory.mktemp("commas") / "t.csv"
    cells: Iterable[str] = (f"{value:.4f}".replace(".", ",") for value in numbers)
    write(path, {"x": list(cells), "y": range(len(numbers))}, mark=";")
    found = read_columns(path).columns["x"].numbers
    assert found is not None
    assert found.tolist() == numbers
