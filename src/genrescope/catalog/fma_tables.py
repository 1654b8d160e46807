"""FMA's four CSV files as typed columns: their header layouts, and what stands in the cells.

tracks.csv has two header rows and a row that names the index; features.csv and echonest.csv
have three and that row; genres.csv, and tables that others cut out of these, have one flat
row. Columns lose the levels that say nothing: ``track.title`` is ``title``, ``set.split`` is
``split``, while ``artist.name`` is ``artist_name``; ``mfcc, mean, 01`` is ``mfcc_mean_01``.
"""

from __future__ import annotations

import ast
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from genrescope.errors import DataError, MissingExtraError

__all__ = ["FILES", "Header", "Unreadable", "batches", "import_pyarrow", "read_header"]

# Table -> (file, its index column, columns without which it is of no use).
FILES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "tracks": ("tracks.csv", "track_id", ("genre_top", "genres", "title")),
    "genres": ("genres.csv", "genre_id", ("parent", "title", "top_level")),
    "features": ("features.csv", "track_id", ()),
    "echonest": ("echonest.csv", "track_id", ()),
}
"""The tables of FMA's metadata."""

_SUBSETS = ("small", "medium", "large", "full")  # in their order
_SPLITS = ("training", "validation", "test")
_PLAIN_LEVELS = frozenset(
    {"track", "set", "echonest", "audio_features", "ranks", "social_features"}
)
_BLOCK = 16 << 20  # bytes of text at a time
_ROWS = 16_384  # rows of a batch, about
_EXAMPLES = 3
_LARGEST = float(2**53)  # up to here, floats hold whole numbers exactly

# fmt: off
_COUNTS = frozenset({
    "album_comments", "album_favorites", "album_id", "album_listens", "album_tracks",
    "artist_comments", "artist_favorites", "artist_id", "bit_rate", "comments", "duration",
    "favorites", "interest", "listens", "number",
})
_DATES = frozenset({
    "album_date_created", "album_date_released", "artist_active_year_begin",
    "artist_active_year_end", "artist_date_created", "date_created", "date_recorded",
})
# fmt: on
_FLOATS = frozenset({"artist_latitude", "artist_longitude"})
_ID_LISTS = frozenset({"genres", "genres_all"})
_NAME_LISTS = frozenset({"album_tags", "artist_tags", "tags"})
_CATEGORIES = frozenset({"album_type", "genre_top", "language_code", "license"})
_ITEM = re.compile(r"'([^']*)'")
_PLAIN_LIST = re.compile(r"\[(?:'[^'\\]*'(?:, '[^'\\]*')*)?\]")

Convert = Callable[[Any, "Unreadable"], Any]


@dataclass(frozen=True)
class Header:
    """The columns of a file.

    Attributes
    ----------
    names : tuple of str
        One a column; the index comes first.
    rows : int
        Lines before the data.
    """

    names: tuple[str, ...]
    rows: int


@dataclass
class Unreadable:
    """Cells that are not of their column's type; they are left empty, and counted."""

    column: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, cell: str) -> None:
        """One more cell of the current column."""
        self.counts[self.column] += 1
        seen = self.examples.setdefault(self.column, [])
        if len(seen) < _EXAMPLES and (short := cell[:60]) not in seen:
            seen.append(short)


def import_pyarrow() -> Any:
    """pyarrow with its CSV, Parquet and compute parts.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Reading FMA's tables", extra="lab", package="pyarrow") from error
    return pyarrow


def read_header(path: Path, *, table: str) -> Header:
    """Find out the layout of one of FMA's files.

    Parameters
    ----------
    path : Path
        The file.
    table : str
        Which of :data:`FILES` it is.

    Raises
    ------
    DataError
        If it is in none of the layouts, a column occurs twice, or one that is needed is
        missing.
    """
    _, index, needed = FILES[table]
    rows: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                rows.append([cell.strip() for cell in row])
                # A row of column names has no line breaks, so rows are lines here.
                if len(rows) == 4 or reader.line_num > len(rows) or row[:1] == [index]:
                    break
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is no CSV file in UTF-8 ({error}); fetch it again") from error
    layout = f"it must be FMA's {FILES[table][0]}, or a flat table whose first column is {index}"
    if not rows or rows[-1][:1] != [index]:
        raise DataError(f"{path}: has no column {index} at its start; {layout}")
    if len(rows) == 1:
        names = [_plain(name) for name in rows[0]]
    else:
        levels = rows[:-1]
        if any(rows[-1][1:]) or len({len(row) for row in rows}) > 1:
            raise DataError(f"{path}: its {len(rows)} header rows do not fit together; {layout}")
        names = [index, *(_joined(path) for path in list(zip(*levels, strict=True))[1:])]
    for name, count in Counter(names).items():
        if count > 1 or not name:
            raise DataError(f"{path}: the column {name!r} is there {count} times; {layout}")
    if missing := [name for name in needed if name not in names]:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; {layout}")
    return Header(tuple(names), len(rows))


def batches(path: Path, *, table: str, header: Header, unreadable: Unreadable) -> Iterator[Any]:
    """Typed record batches of about 16,000 rows, so that memory stays bounded.

    Yields
    ------
    pyarrow.RecordBatch
        Empty cells are null. A count of -1 is FMA's "not known", and null too.

    Raises
    ------
    DataError
        If the file is cut short or damaged, an id is missing or occurs twice, a split or
        subset is none, or a feature is no number.
    """
    pa = import_pyarrow()
    numeric = table in ("features", "echonest")
    types: dict[str, Any] = {name: pa.string() for name in header.names}
    types[header.names[0]] = pa.int64()
    if numeric:
        number = pa.float32() if table == "features" else pa.float64()
        types.update(
            {name: number for name in header.names[1:] if not name.startswith("metadata_")}
        )
    try:
        with pa.csv.open_csv(
            path,
            read_options=pa.csv.ReadOptions(
                column_names=list(header.names),
                skip_rows=header.rows,
                block_size=_BLOCK,
                use_threads=False,
            ),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            # Only nothing is nothing: there are artists called NULL and titles such as NA.
            convert_options=pa.csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True
            ),
        ) as reader:
            waiting: list[Any] = []
            for batch in reader:
                waiting.append(batch)
                if sum(len(b) for b in waiting) >= _ROWS:
                    yield _typed(pa, path, waiting, table, unreadable)
                    waiting = []
            if waiting:
                yield _typed(pa, path, waiting, table, unreadable)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: {error}; the file is damaged or cut short, fetch the metadata again"
        ) from error


def _plain(name: str) -> str:
    return "tracks" if name == "#tracks" else name


def _joined(levels: Sequence[str]) -> str:
    kept = [level for level in levels[:-1] if level not in _PLAIN_LEVELS]
    return "_".join([*kept, levels[-1]])


def _typed(pa: Any, path: Path, waiting: list[Any], table: str, unreadable: Unreadable) -> Any:
    whole = pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]
    columns = []
    for name, column in zip(whole.schema.names, whole.columns, strict=True):
        unreadable.column = name
        try:
            columns.append(_converter(pa, name, table)(column, unreadable))
        except _BadError as error:
            raise DataError(f"{path}: column {name}: {error}") from error
    return pa.RecordBatch.from_arrays(columns, names=whole.schema.names)


class _BadError(Exception):
    """A cell that may not be left empty."""


def _converter(pa: Any, name: str, table: str) -> Convert:
    """What turns the text of a column to its type."""
    if name == FILES[table][1]:
        return _ids
    if table in ("features", "echonest"):
        return lambda column, unreadable: column
    if table == "genres":
        return _text if name == "title" else _required_integers
    for names, convert in (
        (_COUNTS, _counts),
        (_FLOATS, _floats),
        (_DATES, _dates),
        (_ID_LISTS, _id_lists),
        (_NAME_LISTS, _name_lists),
        (_CATEGORIES, _categories),
    ):
        if name in names:
            return convert
    if name == "subset":
        return lambda column, unreadable: _enum(column, _SUBSETS)
    if name == "split":
        return lambda column, unreadable: _enum(column, _SPLITS)
    return _text


def _ids(column: Any, unreadable: Unreadable) -> Any:
    if column.null_count:
        raise _BadError("a row has none; every row needs its id")
    return column


def _text(column: Any, unreadable: Unreadable) -> Any:
    pa = import_pyarrow()
    trimmed = pa.compute.utf8_trim_whitespace(column)
    return pa.compute.if_else(pa.compute.equal(trimmed, ""), None, trimmed)


def _categories(column: Any, unreadable: Unreadable) -> Any:
    return import_pyarrow().compute.dictionary_encode(_text(column, unreadable))


def _enum(column: Any, values: tuple[str, ...]) -> Any:
    """Ordered: the codes are ranks, so that no one need compare the names."""
    pa = import_pyarrow()
    text = _text(column, Unreadable())
    codes = pa.compute.index_in(text, value_set=pa.array(values))
    if codes.null_count != text.null_count:
        unknown = sorted({str(t) for t in text.unique().to_pylist() if t} - set(values))
        raise _BadError(f"{unknown[0]!r} is none of {', '.join(values)}")
    return pa.DictionaryArray.from_arrays(codes.cast(pa.int8()), pa.array(values), ordered=True)


def _required_integers(column: Any, unreadable: Unreadable) -> Any:
    pa = import_pyarrow()
    try:
        if column.null_count:
            raise _BadError("a row has none; every genre needs its place in the tree")
        return pa.compute.cast(_text(column, unreadable), pa.int64())
    except pa.ArrowInvalid as error:
        raise _BadError(str(error)) from error


def _counts(column: Any, unreadable: Unreadable) -> Any:
    pa = import_pyarrow()
    numbers = _floats(column, unreadable)
    whole = pa.compute.and_(
        pa.compute.less(pa.compute.abs(numbers), _LARGEST),
        pa.compute.equal(numbers, pa.compute.floor(numbers)),
    )
    for cell in column.filter(pa.compute.invert(whole), null_selection_behavior="drop").to_pylist():
        unreadable.add(cell)
    known = pa.compute.and_(whole, pa.compute.greater_equal(numbers, 0))
    return pa.compute.cast(pa.compute.if_else(known, numbers, None), pa.int64())


def _floats(column: Any, unreadable: Unreadable) -> Any:
    pa = import_pyarrow()
    return _lenient(column, unreadable, lambda text: pa.compute.cast(text, pa.float64()), _number)


def _dates(column: Any, unreadable: Unreadable) -> Any:
    pa = import_pyarrow()
    return _lenient(
        column,
        unreadable,
        lambda text: pa.compute.cast(text, pa.timestamp("s")),
        _date,
        type=pa.timestamp("s"),
    )


def _lenient(
    column: Any,
    unreadable: Unreadable,
    fast: Callable[[Any], Any],
    slow: Callable[[str], Any],
    *,
    type: Any = None,
) -> Any:
    """All cells at once; where one does not fit, cell by cell."""
    pa = import_pyarrow()
    text = _text(column, unreadable)
    try:
        return fast(text)
    except pa.ArrowInvalid:
        return pa.array(_each(text, unreadable, slow), type=type or pa.float64())


def _each(text: Any, unreadable: Unreadable, parse: Callable[[str], Any]) -> list[Any]:
    known: dict[str, Any] = {}
    out: list[Any] = []
    for cell in text.to_pylist():
        if cell is not None and cell not in known:
            known[cell] = parse(cell)
        value = None if cell is None else known[cell]
        if value is None and cell is not None:
            unreadable.add(cell)
        out.append(value)
    return out


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _date(cell: str) -> Any:
    """ISO, or as spreadsheets in the United States write it."""
    try:
        return datetime.fromisoformat(cell).replace(tzinfo=None)
    except ValueError:
        pass
    for form in ("%m/%d/%Y %H:%M", "%m/%d/%Y"):
        try:
            return datetime.strptime(cell, form)
        except ValueError:
            continue
    return None


def _id_lists(column: Any, unreadable: Unreadable) -> Any:
    pa = import_pyarrow()
    lists = _each(_text(column, unreadable), unreadable, _id_list)
    return pa.array(lists, type=pa.list_(pa.int32()))


def _name_lists(column: Any, unreadable: Unreadable) -> Any:
    pa = import_pyarrow()
    lists = _each(_text(column, unreadable), unreadable, _name_list)
    return pa.array(lists, type=pa.list_(pa.string()))


def _id_list(cell: str) -> list[int] | None:
    inner = cell[1:-1].replace(",", " ").split() if cell[:1] + cell[-1:] == "[]" else ["?"]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in inner):
        return None
    return [int(part) for part in inner]


def _name_list(cell: str) -> list[str] | None:
    """A list as Python writes it; nothing is evaluated but literals."""
    if _PLAIN_LIST.fullmatch(cell):
        return _ITEM.findall(cell)
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    names = [str(item) for item in value]
    # An escape can spell half a surrogate pair, which no table can hold.
    return None if any(re.search(r"[\ud800-\udfff]", name) for name in names) else names
