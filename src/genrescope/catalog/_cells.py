"""Cells of a track table: from text or foreign values to the type of their column."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.genres import split_genres

__all__ = ["BadCellError", "integers", "members", "name_lists", "seconds", "texts"]

# int() itself takes "1_000" and digits of other scripts; a table that has those is damaged.
_INTEGER = re.compile(r"[+-]?[0-9]+(?:\.0*)?\Z")
_INT64 = np.iinfo(np.int64)


class BadCellError(Exception):
    """A cell is not of its column's type. Internal: the table adds row, column and file."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def texts(cells: Sequence[object]) -> NDArray[Any]:
    """Text without outer blanks; empty where there is nothing."""
    # Objects, not fixed-width strings: one long cell would widen every other.
    return np.fromiter((_text(c) for c in cells), dtype=object, count=len(cells))


def integers(cells: Sequence[object]) -> NDArray[np.int64]:
    """Whole numbers; text such as "2.0" counts, an empty cell does not."""
    out = np.empty(len(cells), dtype=np.int64)
    for row, cell in enumerate(cells):
        text = _text(cell)
        if not _INTEGER.match(text):
            raise BadCellError(row, f"{_short(cell)} is not a whole number")
        value = int(text.partition(".")[0])
        if not _INT64.min <= value <= _INT64.max:
            raise BadCellError(row, f"{_short(cell)} does not fit in 64 bits")
        out[row] = value
    return out


def seconds(cells: Sequence[object]) -> NDArray[np.float64]:
    """Durations in s; NaN where there is none."""
    out = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        text = _text(cell)
        if not text:
            continue
        try:
            out[row] = float(text)
        except ValueError:
            raise BadCellError(row, f"{_short(cell)} is not a number of seconds") from None
        if out[row] < 0 or math.isinf(out[row]):
            raise BadCellError(row, f"{_short(cell)} is no duration; it must be 0 or more seconds")
    return out


def members(parse: Callable[[object], object]) -> Callable[[Sequence[object]], NDArray[Any]]:
    """A converter to the members of an enum; None where the cell is empty."""

    def convert(cells: Sequence[object]) -> NDArray[Any]:
        out = np.full(len(cells), None, dtype=object)
        for row, cell in enumerate(cells):
            if _text(cell):
                try:
                    out[row] = parse(cell)
                except ValueError as error:
                    raise BadCellError(row, str(error)) from error
        return out

    return convert


def name_lists(cells: Sequence[object]) -> NDArray[Any]:
    """Tuples of names, from a list, ``a|b``, ``a; b``, or ``[21, 10]`` as FMA writes it."""
    return np.fromiter((_names(c) for c in cells), dtype=object, count=len(cells))


def _names(cell: object) -> tuple[str, ...]:
    if isinstance(cell, list | tuple | np.ndarray):
        return tuple(t for t in map(_text, cell) if t)
    text = _text(cell)
    if text.startswith("[") and text.endswith("]"):
        parts = text[1:-1].split(",")
        return tuple(t for t in (p.strip().strip("'\"").strip() for p in parts) if t)
    return split_genres(text)


def _text(cell: object) -> str:
    if isinstance(cell, str):
        return cell.strip()
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape").strip()
    if isinstance(cell, Real) and not isinstance(cell, Integral):
        # A whole column of ids turns to floats when one is missing: 12.0 means 12.
        value = float(cell)
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return str(getattr(cell, "value", cell)).strip()


def _short(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 60 else text[:57] + "..."
