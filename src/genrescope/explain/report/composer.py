"""What a page is made of: numbered figures and tables, text, and tabs.

Everything is text until the template escapes it; only drawings are markup already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genrescope.errors import MissingExtraError
from genrescope.explain.ink import Drawing, themed

try:
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the report", extra="lab", package="jinja2") from error

__all__ = [
    "Block",
    "Cell",
    "Column",
    "Composer",
    "Figure",
    "Section",
    "Table",
    "count",
    "decimal",
    "genre_cell",
    "interval",
    "numeric",
    "p_value",
    "percent",
    "seconds",
]


@dataclass(frozen=True)
class Cell:
    """A cell of a table on the page.

    Attributes
    ----------
    text, quiet : str
        What it says, and in smaller type what else, such as an interval.
    sort : float or str or None
        What it is sorted by; None sorts last.
    number : bool
        Whether it is set to the right.
    mark : str
        A word in a badge.
    colour : str
        Of a swatch in front, ``#rrggbb``.
    """

    text: str
    quiet: str = ""
    sort: float | str | None = None
    number: bool = False
    mark: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Column:
    """The head of a column; ``help`` is what its name means."""

    name: str
    help: str = ""
    number: bool = False


@dataclass(frozen=True)
class Figure:
    """A numbered figure; ``plot`` names the interactive form that takes its place, if any."""

    key: str
    number: int
    svg: Markup
    caption: str
    width: float
    plot: str = ""
    tab: str = ""
    kind: str = "figure"


@dataclass(frozen=True)
class Table:
    """A table; ``file`` is where all of it is, ``more`` how many rows only are there.

    Its number is the page's to give.
    """

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    file: str = ""
    more: int = 0
    sortable: bool = False
    wide: bool = False
    number: int = 0
    kind: str = "table"


@dataclass(frozen=True)
class Block:
    """Anything else: "text", "list", "note", "alert", "code", "heading", or "tabs" of figures."""

    kind: str
    lines: tuple[str, ...] = ()
    title: str = ""
    figures: tuple[Figure, ...] = ()


@dataclass
class Section:
    """A part of the page, with an id for links."""

    id: str
    title: str
    blocks: list[Block | Figure | Table] = field(default_factory=list)

    def text(self, *lines: str) -> None:
        """Add paragraphs; empty ones are left out."""
        self.blocks += [Block("text", (line,)) for line in lines if line]

    def heading(self, title: str) -> None:
        """Add a heading of the second order."""
        self.blocks.append(Block("heading", title=title))

    def list(self, lines: Iterable[str], *, title: str = "") -> None:
        """Add a list, unless it is empty."""
        if kept := tuple(line for line in lines if line):
            self.blocks.append(Block("list", kept, title=title))

    def note(self, *lines: str, title: str = "", alert: bool = False) -> None:
        """Add a box, unless it is empty."""
        if kept := tuple(line for line in lines if line):
            self.blocks.append(Block("alert" if alert else "note", kept, title=title))

    def add(self, block: Block | Figure | Table | None) -> None:
        """Add a figure or table, if there is one."""
        if block is not None:
            self.blocks.append(block)


class Composer:
    """Numbers figures and tables in the order in which they come.

    Parameters
    ----------
    simulated : bool
        Whether every caption must say that the data are made up.
    """

    def __init__(self, *, simulated: bool) -> None:
        self._simulated = simulated
        self.drawings: list[Drawing] = []
        self.figures: list[Figure] = []
        self.tables: list[Table] = []

    def figure(
        self, drawing: Drawing | None, caption: str, *, alt: str, plot: str = "", tab: str = ""
    ) -> Figure | None:
        """A drawing with its number and caption; None for None."""
        if drawing is None:
            return None
        self.drawings.append(drawing)
        made = Figure(
            key=drawing.key,
            number=len(self.figures) + 1,
            svg=Markup(themed(drawing, alt=alt)),  # noqa: S704 - matplotlib has escaped the names
            caption=self._said(caption),
            width=drawing.width,
            plot=plot,
            tab=tab,
        )
        self.figures.append(made)
        return made

    def table(self, table: Table) -> Table | None:
        """A table with its number and its caption as the page says it; None without rows."""
        if not table.rows:
            return None
        number = len(self.tables) + 1
        made = replace(table, number=number, caption=self._said(table.caption))
        self.tables.append(made)
        return made

    def _said(self, caption: str) -> str:
        return f"SIMULATED DATA. {caption}" if self._simulated else caption


def numeric(value: float | None, text: str, *, ends: str = "") -> Cell:
    """A cell with a number: a dash where there is none."""
    if value is None or not math.isfinite(value):
        return Cell("–", number=True)
    return Cell(text.replace("-", "−"), quiet=ends, sort=float(value), number=True)


def percent(value: float | None, *, ends: Any = None) -> Cell:
    """A share in percent, with its interval."""
    return numeric(value, f"{100 * (value or 0):.1f}", ends=interval(ends))


def decimal(value: float | None, digits: int = 3, *, ends: Any = None) -> Cell:
    """A number with so many decimals, with its interval."""
    return numeric(value, f"{value or 0:.{digits}f}", ends=interval(ends, scale=1, digits=digits))


def p_value(value: float | None) -> Cell:
    """A p value; very small ones say only that."""
    return numeric(value, "< 0.001" if (value or 0) < 0.001 else f"{value:.3f}")


def count(value: int | None) -> Cell:
    """A whole number."""
    return Cell("–", number=True) if value is None else numeric(float(value), f"{value:,}")


def seconds(value: float | None) -> Cell:
    """Seconds, with as many digits as mean something."""
    known = value or 0.0
    text = f"{known:,.0f}" if known >= 100 else f"{known:.2g}" if known >= 0.1 else "< 0.1"
    return numeric(value, text)


def genre_cell(name: str, colour: str) -> Cell:
    """The name of a genre behind a swatch of its colour."""
    return Cell(name, sort=name.casefold(), colour=colour)


def interval(ends: Sequence[float] | None, *, scale: float = 100.0, digits: int = 1) -> str:
    """An interval in words; empty where there is none.

    >>> interval((0.532, 0.578)), interval((float("nan"), 1.0))
    ('53.2 to 57.8', '')
    """
    if ends is None or any(end is None or not math.isfinite(end) for end in ends):
        return ""
    low, high = (f"{scale * end:.{digits}f}".replace("-", "−") for end in ends)
    return f"{low} to {high}"
