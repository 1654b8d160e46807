"""Columns of any CSV or Parquet file, and what kind of thing stands in each.

Tables come from spreadsheets of every country, from pandas, from R. Encoding, separator, signs for
"missing" and decimal commas are found out here; whatever was decided is said in a remark, so that
a report can repeat it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import MissingExtraError, TableError
from genrescope.learn.lab.cleaning import listed

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("Reading tables", extra="lab", package="pyarrow") from error

__all__ = ["Column", "FileColumns", "read_columns"]

Kind = Literal["number", "truth", "date", "text", "other", "empty"]

_MISSING = ("", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "nil", "?", "-", "--")
_NULLS = pa.array(_MISSING)
_HEAD = 1 << 16  # bytes looked at to find the separator
_BLOCK = 1 << 24  # bytes parsed at a time
_MOSTLY = 0.9  # share of numbers from which the other cells of a column are taken for mistakes

_ENCODINGS = {
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "cp1252": "Windows-1252",
    "latin-1": "Latin-1",
}
_TRUTH = {
    **dict.fromkeys(("true", "t", "yes", "y", "on"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "off"), 0.0),
}
_PLAIN = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE
)
_GAP = "[ \u00a0\u202f']"
# Digits in threes after a comma may be thousands or decimals; the rest of the column decides.
_THOUSANDS = re.compile(rf"[+-]?\d{{1,3}}([,]\d{{3}}|{_GAP}\d{{3}})*(\.\d+)?", re.ASCII)
_DECIMAL = re.compile(
    rf"[+-]?(\d{{1,3}}([.]\d{{3}}|{_GAP}\d{{3}})+|\d*)(,\d+)?(e[+-]?\d+)?", re.ASCII
)
_DATE = re.compile(
    r"(?P<y>\d{4})[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?|\d{1,2}[-/.]\d{1,2}[-/.](?P<z>\d{4})( .*)?"
)


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a file.

    Attributes
    ----------
    name : str
    kind : str
        "number"; "truth" (yes and no); "date"; "text"; "other" (lists, pictures, ...); "empty".
    numbers : np.ndarray [shape=(n,), float64] or None
        The cells of a number; 1 and 0 of a truth; the years of a date. NaN where missing.
    remark : str
        How the cells were read, where that was a decision: a sentence, or empty.
    """

    name: str
    kind: Kind
    numbers: NDArray[np.float64] | None
    remark: str
    _cells: Any

    def values(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """The numbers of some rows, a copy; NaN where there are none."""
        if self.numbers is None:
            return np.full(len(rows), np.nan)
        taken: NDArray[np.float64] = self.numbers[rows]
        return taken

    def text(self) -> NDArray[np.str_]:
        """The cells as text, trimmed; empty where missing, or where a sign for it stands."""
        return self._texts(known=True)

    def shown(self) -> NDArray[np.str_]:
        """The cells as text, for people: there are artists called NULL and titles such as NA."""
        return self._texts(known=False)

    def _texts(self, *, known: bool) -> NDArray[np.str_]:
        cells = self._cells
        if not pa.types.is_string(cells.type):
            return _spelled(cells)
        text = _known(cells) if known else pc.utf8_trim_whitespace(cells)
        return np.array(["" if c is None else c for c in text.to_pylist()], dtype=np.str_)


@dataclass(frozen=True, eq=False)
class FileColumns:
    """All columns of a file by name, how many rows they have, and what was decided on reading."""

    path: Path
    columns: Mapping[str, Column]
    rows: int
    notes: tuple[str, ...] = ()


def read_columns(path: Path) -> FileColumns:
    """Read a table whatever it was written by.

    Parameters
    ----------
    path : Path
        Parquet (by its first bytes), or text with a header row: comma, semicolon, tab or bar;
        UTF-8, UTF-16 or Windows-1252.

    Returns
    -------
    FileColumns
        In the file's order. A row index as pandas writes it, without a name, is left out.

    Raises
    ------
    TableError
        If the file cannot be read, is empty, or its rows and names do not fit together.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error
    if head.startswith(b"PAR1"):
        return _parquet(path)
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise TableError(
            f"{path}: is a zip, gzip or spreadsheet file; unpack it, or save the sheet as CSV"
        )
    if not head.strip():
        raise TableError(f"{path}: is empty; a table needs a header row with column names")
    return _delimited(path, head)


# --- text files ------------------------------------------------------------


def _delimited(path: Path, head: bytes) -> FileColumns:
    encoding = _encoding(path, head)
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(head)
    mark = _separator(path, text)
    wide = len(next(_records(text, mark)))
    bad: list[Any] = []

    def skip(row: Any) -> str:
        bad.append(row)
        return "skip"

    names = [str(at) for at in range(wide)]
    try:
        table = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(
                column_names=names, encoding=encoding, block_size=_BLOCK, use_threads=False
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=mark, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        ).combine_chunks()
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise TableError(
            f"{path}: cannot be read ({error}); look for a quote that is not closed"
        ) from error
    if bad:
        raise TableError(
            f"{path}: row {bad[0].number} has {bad[0].actual_columns} cells and the header {wide} "
            f"({len(bad):,} such rows); put a cell that holds the separator {mark!r} in double "
            "quotes"
        )
    cells = {at: _chunk(column) for at, column in enumerate(table.columns)}
    header = [column[0].as_py().strip() for column in cells.values()]
    rows = table.num_rows - 1
    if rows < 1:
        raise TableError(f"{path}: has a header and no rows; a row is needed for each track")
    if all(not name or _PLAIN.fullmatch(name) for name in header):
        raise TableError(f"{path}: its first row holds numbers; it must hold the column names")
    notes = []
    if encoding != "utf-8":
        notes.append(f"{path.name} is not UTF-8; it was read as {_ENCODINGS[encoding]}.")
    columns, unnamed = {}, []
    for at, name in enumerate(_header(path, header)):
        column = _column(name, cells[at].slice(1), mark)
        if name.startswith(_NO_NAME):
            if at == 0 or column.kind == "empty":
                continue  # the row index of pandas, or a separator at the end of each line
            unnamed.append(name)
        columns[name] = column
    if unnamed:
        notes.append(f"{path.name} has columns without a name, here called {listed(unnamed)}.")
    return FileColumns(path, columns, rows, tuple(notes))


def _encoding(path: Path, head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head[:200]:
        return "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
    for encoding in ("utf-8", "cp1252"):
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    decoder.decode(chunk)
                decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _separator(path: Path, text: str) -> str:
    """The mark at which most rows fall into as many cells as the first."""
    best, score = "", (0.0, 0)
    for mark in ",;\t|":
        widths = [len(record) for _, record in zip(range(50), _records(text, mark), strict=False)]
        # The last record may be cut off where the head ends.
        widths = widths[:-1] if len(widths) > 2 and len(text) >= _HEAD // 4 else widths
        if widths and widths[0] > 1:
            fit = (widths.count(widths[0]) / len(widths), widths[0])
            best, score = (mark, fit) if fit > score else (best, score)
    if not best:
        raise TableError(
            f"{path}: has one column; a table needs columns, separated by comma, semicolon, tab "
            "or bar"
        )
    return best


def _records(text: str, mark: str) -> Any:
    lines = io.StringIO(text.lstrip("\ufeff"), newline=None)
    return (row for row in csv.reader(lines, delimiter=mark) if row)


_NO_NAME = "column "  # and its number


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    twice = [name for name, n in Counter(cells).items() if n > 1 and name]
    if twice:
        hint = ""
        if {"album", "artist", "track"} <= set(cells) or {"mfcc", "tonnetz"} <= set(cells):
            hint = "; this looks like FMA's own table, for which there is `genrescope fma prepare`"
        raise TableError(
            f"{path}: the column {twice[0]!r} occurs {cells.count(twice[0])} times; every column "
            f"needs its own name{hint}"
        )
    return [name or f"{_NO_NAME}{at + 1}" for at, name in enumerate(cells)]


# --- Parquet ---------------------------------------------------------------


def _parquet(path: Path) -> FileColumns:
    try:
        table = pa.parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path}: cannot be read as Parquet: {error}") from error
    if not table.num_rows:
        raise TableError(f"{path}: has columns and no rows; a row is needed for each track")
    columns = {}
    for name, cells in zip(_header(path, table.column_names), table.columns, strict=True):
        if not re.fullmatch(r"__index_level_\d+__", name):  # pandas stores its row index so
            columns[name] = _column(name, _chunk(cells), ",")
    return FileColumns(path, columns, table.num_rows)


def _chunk(column: Any) -> Any:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # nothing in it, or more than one array can hold
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    return whole


# --- what stands in a column -----------------------------------------------


def _column(name: str, cells: Any, mark: str) -> Column:
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells = pc.cast(cells, kind.value_type)
        kind = cells.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        cells = pc.cast(cells, pa.string())
        kind = cells.type
    if pa.types.is_string(kind):
        return _of_text(name, cells, mark)
    if cells.null_count == len(cells):
        return Column(name, "empty", None, "", cells)
    if pa.types.is_boolean(kind):
        return Column(name, "truth", _floats(pc.cast(cells, pa.int8())), "", cells)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        numbers = _floats(cells)
        return Column(name, "empty" if np.isnan(numbers).all() else "number", numbers, "", cells)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Column(name, "date", _floats(pc.year(cells)), "", cells)
    return Column(name, "other", None, "", cells)


def _floats(cells: Any) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = pc.cast(cells, pa.float64(), safe=False).to_numpy(
        zero_copy_only=False
    )
    return numbers


def _spelled(cells: Any) -> NDArray[np.str_]:
    """Numbers as people write them: 2, not 2.0."""

    def spell(value: object) -> str:
        if value is None or value != value:
            return ""
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        return str(value)

    return np.array([spell(value) for value in cells.to_pylist()], dtype=np.str_)


def _known(cells: Any) -> Any:
    trimmed = pc.utf8_trim_whitespace(cells)
    missing = pc.is_in(pc.utf8_lower(trimmed), value_set=_NULLS)
    return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def _of_text(name: str, cells: Any, mark: str) -> Column:
    known = _known(cells)
    if known.null_count == len(known):
        return Column(name, "empty", None, "", cells)
    try:
        return Column(name, "number", _floats(known), "", cells)
    except pa.ArrowInvalid:
        pass
    coded = known.dictionary_encode()
    words: list[str] = coded.dictionary.to_pylist()
    codes = coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False).astype(np.intp)

    def spread(values: Sequence[float]) -> NDArray[np.float64]:
        by_row: NDArray[np.float64] = np.array([*values, np.nan])[codes]
        return by_row

    if all(word.casefold() in _TRUTH for word in words):
        return Column(name, "truth", spread([_TRUTH[w.casefold()] for w in words]), "", cells)
    dates = [_DATE.fullmatch(word) for word in words]
    if all(dates):
        years = [float(found["y"] or found["z"]) for found in dates if found]
        return Column(name, "date", spread(years), "", cells)
    plain = np.array([bool(_PLAIN.fullmatch(word)) for word in words])
    if plain.all():
        return Column(name, "number", spread([float(word) for word in words]), "", cells)
    if found := _with_commas(name, words, mark):
        values, remark = found
        return Column(name, "number", spread(values), remark, cells)
    rows = np.bincount(codes, minlength=len(words) + 1)[:-1]
    lost = int(rows[~plain].sum())
    if rows[plain].sum() >= _MOSTLY * rows.sum():
        odd = [repr(word[:30]) for word, good in zip(words, plain, strict=True) if not good]
        values = [float(w) if good else np.nan for w, good in zip(words, plain, strict=True)]
        remark = (
            f"{name} is a number but for {lost:,} of {int(rows.sum()):,} cells "
            f"({listed(odd, most=3)}); those are taken for missing."
        )
        return Column(name, "number", spread(values), remark, cells)
    return Column(name, "text", None, "", cells)


def _with_commas(name: str, words: Sequence[str], mark: str) -> tuple[list[float], str] | None:
    """Numbers with a decimal comma, or with marks at the thousands."""
    thousands = all(_THOUSANDS.fullmatch(word) for word in words)
    decimal = all(_DECIMAL.fullmatch(word) and word.strip("+-") for word in words)
    if not (thousands or decimal):
        return None
    example = next(word for word in words if not _PLAIN.fullmatch(word))
    # 1,234 may be either. Who separates cells by something else than a comma writes decimals so.
    if decimal and (mark != "," or not thousands):
        texts = [re.sub(rf"[.]|{_GAP}", "", word).replace(",", ".") for word in words]
        said = "with a decimal comma"
    else:
        texts = [re.sub(rf"[,]|{_GAP}", "", word) for word in words]
        said = "with marks at the thousands"
    values = [float(text) for text in texts]
    value = values[words.index(example)]
    return values, f"{name} is written {said}: {example!r} was read as {value:.10g}."
