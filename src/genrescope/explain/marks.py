"""Marks that several figures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.explain.ink import LogLocator, NullFormatter, PatchCollection, Rectangle

__all__ = ["cells", "names_down", "number", "only_x", "plain_log", "share"]

_MOST = 0.9  # opacity of the strongest cell: white text stays readable on it in both themes


def cells(axes: Any, strength: NDArray[np.float64], colour: NDArray[np.str_]) -> None:
    """A heat map of rectangles, as opaque as they are strong, so that any paper shows through."""
    rows, columns = strength.shape
    places = [(r, c) for r, c in np.ndindex(rows, columns) if np.isfinite(strength[r, c])]
    for tone in np.unique(colour):
        chosen = [(r, c) for r, c in places if colour[r, c] == tone and strength[r, c] > 0.004]
        if not chosen:
            continue
        patches = [Rectangle((c - 0.48, r - 0.48), 0.96, 0.96) for r, c in chosen]
        alpha = [_MOST * min(float(strength[r, c]), 1.0) for r, c in chosen]
        axes.add_collection(
            PatchCollection(patches, facecolor=str(tone), edgecolor="none", alpha=alpha)
        )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def number(value: float) -> str:
    """A measured value in about three digits.

    >>> number(0.12345), number(123456.0), number(17.25), number(2008.0)
    ('0.123', '123,456', '17.2', '2008')
    """
    return _number(value).replace("-", "−")


def share(value: float, digits: int = 0) -> str:
    """A share in percent, its sign kept on the same line.

    >>> share(0.1234, 1)
    '12.3\\xa0%'
    """
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def plain_log(axes: Any, which: str) -> None:
    """Make an axis ("x" or "y") logarithmic, with plain numbers at 1, 2 and 5."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=7))
    axis.set_major_formatter(lambda value, _: _short(value))
    axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _number(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e7:
        return f"{value:.2g}"
    if size >= 1000 or value == int(value):  # a year has no comma
        return f"{value:,.0f}" if size >= 10_000 else f"{value:.0f}"
    if size < 1e-3:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(size))))}f}"


def names_down(axes: Any, names: Sequence[str]) -> None:
    """Write names on the vertical axis, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def only_x(axes: Any) -> None:
    """Leave only the lines that help to read values off the horizontal axis."""
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
