"""The track table: one row a track, the same columns whatever the source.

The table is column-oriented and lives in NumPy alone. A column has one type, checked when
the table is made, so that no later step meets a surprise.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.catalog import _cells, _read
from genrescope.errors import TableError

__all__ = ["COLUMNS", "Split", "Subset", "TrackTable"]

_E = TypeVar("_E", bound="_OrderedEnum")


class _OrderedEnum(Enum):
    """Members compare by their place in the class, and never with a string.

    ``"medium" <= "small"`` is true for strings, because m comes before s: a study that
    selected its data so got everything. Here the same slip is an error.
    """

    @classmethod
    def parse(cls: type[_E], value: object) -> _E:
        """The member for a name in any case, such as ``"training"`` or ``"Train"``.

        Raises
        ------
        TableError
            If `value` names no member; the message lists them.
        """
        if isinstance(value, cls):
            return value
        key = str(value).strip().casefold()
        for member in cls:
            if key == member.value or key in cls._aliases().get(member.value, ()):
                return member
        rule = ", ".join(m.value for m in cls)
        raise TableError(f"{value!r} is no {cls.__name__.lower()}; it must be one of {rule}")

    @classmethod
    def _aliases(cls) -> Mapping[str, Collection[str]]:
        return {}

    def _place(self) -> int:
        return list(type(self)).index(self)

    def _refuse_string(self, other: object) -> None:
        if isinstance(other, str):
            kind = type(self).__name__
            raise TypeError(
                f"{self} was compared with the string {other!r}; strings compare by alphabet, "
                f"so use {kind}.parse({other!r}) or a member such as {self}"
            )

    def _compared(self, other: object, holds: Callable[[int, int], bool]) -> Any:
        self._refuse_string(other)
        if other is None:
            return False  # not known: in no subset and no split, as NaN among numbers
        if not isinstance(other, type(self)):
            return NotImplemented
        return holds(self._place(), other._place())

    def __lt__(self, other: object) -> bool:
        return self._compared(other, operator.lt)  # type: ignore[no-any-return]

    def __le__(self, other: object) -> bool:
        return self._compared(other, operator.le)  # type: ignore[no-any-return]

    def __gt__(self, other: object) -> bool:
        return self._compared(other, operator.gt)  # type: ignore[no-any-return]

    def __ge__(self, other: object) -> bool:
        return self._compared(other, operator.ge)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        self._refuse_string(other)
        return self is other

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Split(_OrderedEnum):
    """What a track is for; ``TRAINING < VALIDATION < TEST``."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"

    @classmethod
    def _aliases(cls) -> Mapping[str, Collection[str]]:
        return {
            "training": ("train",),
            "validation": ("valid", "val", "dev"),
            "test": ("testing",),
        }


class Subset(_OrderedEnum):
    """FMA subset in which a track appears first; ``subset <= Subset.MEDIUM`` selects."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"
    FULL = "full"


# Column -> what a cell holds and how to make it. "" (NaN for duration, None for the enums)
# stands for "not known", except in track_id and path.
_Convert = Callable[[Sequence[object]], NDArray[Any]]
_SCHEMA: Mapping[str, tuple[str, _Convert]] = {
    "track_id": ("integer, unique", _cells.integers),
    "path": ("text", _cells.texts),
    "title": ("text", _cells.texts),
    "artist_id": ("text", _cells.texts),
    "artist_name": ("text", _cells.texts),
    "album_id": ("text", _cells.texts),
    "genre_top": ("text", _cells.texts),
    "genres": ("several names", _cells.name_lists),
    "subgenres": ("several names", _cells.name_lists),
    "split": ("training, validation or test", _cells.members(Split.parse)),
    "subset": ("small, medium, large or full", _cells.members(Subset.parse)),
    "duration": ("seconds", _cells.seconds),
}

COLUMNS: tuple[str, ...] = tuple(_SCHEMA)
"""The names of the columns that a track table may have."""


@dataclass(frozen=True, eq=False, repr=False)
class TrackTable:
    """Tracks and what is known about them, column by column.

    Attributes
    ----------
    columns : mapping of str to sequence
        Columns of one length. Cells may be text, as read from a file, or values already of
        the column's type. ``track_id`` becomes int64, ``duration`` float64 in seconds (NaN:
        not known), ``split`` and ``subset`` members of :class:`Split` and :class:`Subset`
        (None: not known), ``genres`` and ``subgenres`` tuples of str, the rest str (empty:
        not known).
    text : collection of str
        Columns to keep as plain text: names that the schema does not know, or known ones
        whose values should be taken as they are (ids that are no numbers, say).

    Raises
    ------
    TableError
        For a column that is neither known nor in `text` (the message lists the right ones
        and the nearest), unequal lengths, a cell of the wrong type (with its row, the first
        data row being 1), or a track id that occurs twice.

    Examples
    --------
    >>> table = TrackTable({"track_id": ["2", "5"], "subset": ["small", "large"]})
    >>> table.where(table["subset"] <= Subset.MEDIUM)["track_id"].tolist()
    [2]
    """

    columns: Mapping[str, Any]  # sequences come in, arrays stay
    text: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        text = frozenset(self.text)
        _check_names(self.columns, text)
        made: dict[str, NDArray[Any]] = {}
        for name, cells in self.columns.items():
            convert = _cells.texts if name in text else _SCHEMA[name][1]
            try:
                column = convert(list(cells))
            except _cells.BadCellError as error:
                raise TableError(f"row {error.row + 1}: {name}: {error}") from error
            column.flags.writeable = False
            made[name] = column
        lengths = {name: len(column) for name, column in made.items()}
        if len(set(lengths.values())) > 1:
            raise TableError(f"columns differ in length: {lengths}; every track needs every cell")
        if "track_id" in made and "track_id" not in text:
            _check_unique(made["track_id"])
        object.__setattr__(self, "columns", MappingProxyType(made))
        object.__setattr__(self, "text", text & made.keys())

    def __len__(self) -> int:
        return next((len(column) for column in self.columns.values()), 0)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        self.require(name)
        column: NDArray[Any] = self.columns[name]
        return column

    def __repr__(self) -> str:
        return f"<TrackTable: {len(self)} tracks; {', '.join(self.columns)}>"

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy cannot be pickled, and tables go to workers.
        return (TrackTable, (dict(self.columns), self.text))

    def require(self, *names: str) -> None:
        """Check that the columns `names` are here.

        Raises
        ------
        TableError
            If one is not; the message lists those that are, and the nearest.
        """
        for name in names:
            if name not in self.columns:
                here = ", ".join(self.columns) or "none"
                raise TableError(
                    f"the table has no column {name!r}{_nearest(name, self.columns)}; "
                    f"its columns are: {here}"
                )

    def where(self, mask: ArrayLike) -> TrackTable:
        """The rows for which `mask` is true, in the same order.

        Parameters
        ----------
        mask : array_like [shape=(len(self),), bool]
            True for the rows to keep.

        Raises
        ------
        TableError
            If `mask` is not one bool a track.
        """
        keep = np.asarray(mask)
        if keep.dtype != np.bool_ or keep.shape != (len(self),):
            raise TableError(
                f"the mask is {keep.dtype} {keep.shape}; it must be bool ({len(self)},), "
                "one value a track"
            )
        kept = {name: column[keep] for name, column in self.columns.items()}
        for column in kept.values():
            column.flags.writeable = False
        table = object.__new__(TrackTable)  # these cells were checked when they came in
        object.__setattr__(table, "columns", MappingProxyType(kept))
        object.__setattr__(table, "text", self.text)
        return table

    def with_column(self, name: str, cells: ArrayLike | Sequence[object]) -> TrackTable:
        """The same tracks with one column added or replaced (kept as text if not known)."""
        text = self.text if name in _SCHEMA else self.text | {name}
        columns = {**self.columns, name: cells}
        return TrackTable(columns, text=text)

    @classmethod
    def from_csv(
        cls,
        path: str | PathLike[str],
        *,
        required: Iterable[str] = (),
        text: Collection[str] = (),
        keep_unknown: bool = False,
    ) -> TrackTable:
        """Read a table from CSV (UTF-8, header row; comma, semicolon or tab).

        Parameters
        ----------
        path : path
            The file. A byte order mark, CRLF, quoted line breaks and blank lines are fine.
        required : iterable of str
            Columns that must be there.
        text : collection of str
            As in :class:`TrackTable`.
        keep_unknown : bool
            Keep columns that the schema does not know, as text, instead of refusing them.

        Raises
        ------
        TableError
            If the file cannot be read, or breaks a rule of :class:`TrackTable`; the message
            names the file, and the row and line where there is one.
        """
        return cls._made(Path(path), _read.csv_columns(Path(path)), required, text, keep_unknown)

    @classmethod
    def from_parquet(
        cls,
        path: str | PathLike[str],
        *,
        required: Iterable[str] = (),
        text: Collection[str] = (),
        keep_unknown: bool = False,
    ) -> TrackTable:
        """Read a table from Parquet; arguments and errors as in :meth:`from_csv`.

        Raises
        ------
        MissingExtraError
            If pyarrow is not installed.
        """
        raw = _read.parquet_columns(Path(path))
        return cls._made(Path(path), raw, required, text, keep_unknown)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        required: Iterable[str] = (),
        text: Collection[str] = (),
        keep_unknown: bool = False,
    ) -> TrackTable:
        """Read Parquet if the name ends in ``.parquet`` or ``.pq``, otherwise CSV."""
        parquet = Path(path).suffix.casefold() in (".parquet", ".pq")
        read = cls.from_parquet if parquet else cls.from_csv
        return read(path, required=required, text=text, keep_unknown=keep_unknown)

    @classmethod
    def _made(
        cls,
        path: Path,
        raw: _read.RawColumns,
        required: Iterable[str],
        text: Collection[str],
        keep_unknown: bool,
    ) -> TrackTable:
        kept = set(text) & raw.columns.keys()
        if keep_unknown:
            kept |= raw.columns.keys() - _SCHEMA.keys()
        try:
            _check_names(raw.columns, frozenset(kept), required=required)
            return cls(raw.columns, text=frozenset(kept))
        except TableError as error:
            raise TableError(f"{path}: {raw.with_lines(str(error))}") from error


def _check_names(
    columns: Iterable[str], text: frozenset[str], *, required: Iterable[str] = ()
) -> None:
    names = list(columns)
    right = "the columns of a track table are: " + ", ".join(_SCHEMA)
    for name in required:
        if name not in names:
            raise TableError(f"no column {name!r}{_nearest(name, names)}; {right}")
    for name in names:
        if name not in _SCHEMA and name not in text:
            raise TableError(f"unknown column {name!r}{_nearest(name, _SCHEMA)}; {right}")


def _nearest(name: str, names: Iterable[str]) -> str:
    folded = {n.casefold().replace(" ", "_").replace("-", "_"): n for n in names}
    key = name.casefold().replace(" ", "_").replace("-", "_")
    close = difflib.get_close_matches(key, folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def _check_unique(track_id: NDArray[np.int64]) -> None:
    ids, first, count = np.unique(track_id, return_index=True, return_counts=True)
    twice = np.flatnonzero(count > 1)
    if len(twice):
        worst = twice[np.argmin(first[twice])]
        rows = np.flatnonzero(track_id == ids[worst])
        raise TableError(
            f"row {rows[1] + 1}: track_id {ids[worst]} was already in row {rows[0] + 1} "
            f"({len(twice)} ids occur more than once); each track needs one row"
        )
