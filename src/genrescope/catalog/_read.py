"""Raw columns from CSV and Parquet files, before any check of their content."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from genrescope.errors import MissingExtraError, TableError

__all__ = ["RawColumns", "csv_columns", "parquet_columns"]

# A biography or a lyric fits; a quote that is never closed does not.
_FIELD_LIMIT = 16 * 2**20  # characters
_LIMIT_LOCK = Lock()


@dataclass(frozen=True)
class RawColumns:
    """Columns as read, and the line in the file where each row ends (CSV only)."""

    columns: Mapping[str, Sequence[object]]
    lines: Sequence[int] = ()

    def with_lines(self, message: str) -> str:
        """`message` with ``row N`` at its start extended by the line in the file."""
        match = re.match(r"row (\d+)", message)
        if not match or not self.lines:
            return message
        line = self.lines[int(match[1]) - 1]
        return f"{match[0]} (line {line}){message[match.end() :]}"


def csv_columns(path: Path) -> RawColumns:
    """All cells of a CSV file as text, by column."""
    try:
        with path.open("rb") as handle:
            head = handle.read(2**16)
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TableError(f"{path}: is UTF-16; save the table as CSV in UTF-8")
    if head.startswith(b"PAR1"):
        raise TableError(f"{path}: is a Parquet file; give it a name that ends in .parquet")
    if head.startswith(b"PK\x03\x04"):
        raise TableError(f"{path}: is a zip or spreadsheet file; save the table as CSV in UTF-8")

    rows: list[list[str]] = []
    lines: list[int] = []
    # surrogateescape keeps file names that are not UTF-8; other cells are checked below.
    with (
        path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle,
        _large_fields(),
    ):
        reader = csv.reader(handle, delimiter=_delimiter(head), strict=True)
        try:
            for row in reader:
                if row and (len(row) > 1 or row[0].strip()):
                    rows.append(row)
                    lines.append(reader.line_num)
        except csv.Error as error:
            raise TableError(
                f"{path}: line {reader.line_num}: {error}; look for a quote that is not closed"
            ) from error
    if not rows:
        raise TableError(f"{path}: is empty; a table needs a header row with column names")
    header = _header(path, rows.pop(0))
    del lines[0]
    for at, row in enumerate(rows):
        if len(row) != len(header):
            raise TableError(
                f"{path}: row {at + 1} (line {lines[at]}) has {len(row)} cells and the header "
                f"{len(header)}; put a cell that holds the separator in double quotes"
            )
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header) if name}
    _check_utf8(path, columns, lines)
    return RawColumns(columns, lines)


def parquet_columns(path: Path) -> RawColumns:
    """All columns of a Parquet file as Python values."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "Reading a Parquet table", extra="lab", package="pyarrow"
        ) from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(f"{path}: cannot be read as Parquet: {error}") from error
    header = _header(path, table.column_names)
    # pandas stores its row index as a column of this name.
    return RawColumns(
        {
            name: table.column(i).to_pylist()
            for i, name in enumerate(header)
            if name and not re.match(r"__index_level_\d+__\Z", name)
        }
    )


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        hint = ""
        if {"album", "artist", "track"} <= set(names):
            hint = " (this looks like FMA's own tracks.csv, which has two header rows)"
        raise TableError(
            f"{path}: the column {twice[0]!r} occurs {names.count(twice[0])} times; "
            f"every column needs its own name{hint}"
        )
    if not any(names):
        raise TableError(f"{path}: the first row is blank; it must hold the column names")
    if "" in names[1:]:
        raise TableError(f"{path}: column {names.index('', 1) + 1} has no name; give it one")
    return names  # an unnamed first column is a row index, as pandas writes it: left out


def _delimiter(head: bytes) -> str:
    line = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n").partition(b"\n")[0]
    counts = {mark: line.count(mark.encode()) for mark in ",;\t"}
    return max(counts, key=lambda mark: counts[mark])


def _check_utf8(path: Path, columns: Mapping[str, Sequence[str]], lines: Sequence[int]) -> None:
    for name, cells in columns.items():
        if name == "path":
            continue
        for at, cell in enumerate(cells):
            if not cell.isascii() and any("\udc80" <= c <= "\udcff" for c in cell):
                raise TableError(
                    f"{path}: row {at + 1} (line {lines[at]}): {name} is not UTF-8; save the "
                    "table as CSV in UTF-8"
                )


@contextmanager
def _large_fields() -> Iterator[None]:
    # The limit is global to the csv module, so it is put back.
    with _LIMIT_LOCK:
        before = csv.field_size_limit(_FIELD_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)
