"""How predictions look in a terminal: text that is safe to print, bars, rows, timelines."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from genrescope.apps.cli.terminal import coloured, width_of
from genrescope.apps.cli.text import NOT_SURE, clock, percent, printable
from genrescope.catalog.genres import GENRE_COLOURS

if TYPE_CHECKING:
    from genrescope.learn.prediction import Moment, Prediction

__all__ = [
    "Column",
    "Patience",
    "Table",
    "bar",
    "colour",
    "console",
    "fit",
    "narrowed",
    "paragraph",
    "timeline",
    "track_name",
]

_EIGHTHS = " ▏▎▍▌▋▊▉"
_HEIGHTS = " ▁▂▃▄▅▆▇█"
_ASCII_HEIGHTS = " .:-=+*#@"
_GAP = 2  # cells between columns
_PADDED = 3  # cells, in a table of rich
_MIN_TRACK = 26  # cells; with fewer, a row becomes three lines
_MAX_TRACK = 56  # cells
_USUAL_TRACK = 40  # cells; for what is not known yet
_READABLE = 100  # cells of a line of prose
_ENDLESS = 100_000  # cells; what is no terminal has no width
_HELD = 24  # rows that are waited for before the widths of the columns are decided
_PATIENCE = 5.0  # s after the first row; then the widths are decided with what there is
_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # s between ticks


# --- text ------------------------------------------------------------------


def fit(text: str, width: int) -> str:
    """Text at exactly `width` cells: padded, or cut with an ellipsis."""
    if cell_len(text) > width:
        return set_cell_size(text, max(width - 1, 0)) + "…" if width else ""
    return text + " " * (width - cell_len(text))


def bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """A bar of at most `width` cells, drawn to an eighth of a cell, padded.

    >>> bar(0.5, 4), bar(0.3, 4), bar(0.001, 4)
    ('██  ', '█▎  ', '    ')
    """
    if ascii_only:
        return ("#" * round(share * width)).ljust(width)
    full, part = divmod(round(share * width * 8), 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


def colour(genre: str) -> str:
    """The colour of a genre, the same everywhere; none for a genre that FMA does not have."""
    return GENRE_COLOURS.get(genre, "")


class Patience:
    """Until when the rows of a table are held, so that its columns fit more than the first.

    Time counts from the first row: all rows that come at once are seen before a width is
    decided, however long they took to be found.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def ends(self, held: int) -> bool:
        """Whether to wait no longer, with so many rows at hand."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return held >= _HELD or (held > 1 and now - self._since > _PATIENCE)


class _Console(Console):
    """A console that leaves a broken pipe to the command."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(file: TextIO | None = None) -> Console:
    """A console that cuts nothing in a pipe and plays no tricks with the text.

    A terminal that shows no colours, and whoever asked for none, gets no escapes at all.
    """
    stream = sys.stdout if file is None else file
    in_pipe: Any = "256" if os.environ.get("FORCE_COLOR") else None
    return _Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        width=width_of(stream) or _ENDLESS,
        force_terminal=stream.isatty(),
        color_system=("auto" if stream.isatty() else in_pipe) if coloured(stream) else None,
    )


def paragraph(out: Console, text: str, *, label: str = "", indent: int = 1) -> None:
    """Print text, wrapped between words and indented; a label stands before the first line.

    Words are never broken, so that a path can be copied. In a pipe there is one line.
    """
    width = min(out.width, _READABLE) - indent if out.is_terminal else _ENDLESS
    lines = textwrap.wrap(text, max(width, 20), break_on_hyphens=False, break_long_words=False)
    for place, line in enumerate(lines or [""]):
        start = label if place == 0 else ""
        out.print(Text(f"{start:<{indent}}", style="dim").append(line, style="not dim"))


def narrowed(
    out: Console, headings: Sequence[str], rows: Sequence[Sequence[object]], *, least: Sequence[str]
) -> list[int]:
    """The columns of a table that fit on a line, by their places.

    Parameters
    ----------
    out : Console
        Where the table goes; all columns fit where lines have no end.
    headings : sequence of str
        Of all columns.
    rows : sequence of sequence
        Their cells, as they are printed.
    least : sequence of str
        Headings of columns that can be done without, the least important first.
    """
    cells = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    kept = list(range(len(headings)))
    for name in least:
        if sum(widths[place] + _PADDED for place in kept) <= out.width:
            break
        kept.remove(list(headings).index(name))
    return kept


def track_name(prediction: Prediction) -> tuple[str, str]:
    """Title and artist; without a title, the file name and nothing."""
    if prediction.title:
        return printable(prediction.title), printable(prediction.artist or "")
    name = prediction.path.name if prediction.path is not None else "samples"
    return printable(name), ""


# --- the table -------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One more column, after the genre: a heading, its cells, how wide these are at most."""

    heading: str
    cell: Callable[[Prediction], tuple[str, str]]  # text and style
    width: int


@dataclass(frozen=True)
class _Layout:
    track: int
    genre: int
    name: int
    bar: int
    stacked: bool


class Table:
    """Rows of predictions, laid out for the width of the terminal.

    Wide terminals and pipes get one line a track. Narrower ones get one line a genre, with
    title, artist and file stacked beside them.

    Parameters
    ----------
    out : Console
        Where it goes; anything but a terminal gets full names, however long.
    genres : sequence of str
        All that may occur, for the width of the columns.
    top : int
        Genres a track.
    columns : sequence of Column
        More columns, between the genre and the bars.
    """

    def __init__(
        self,
        out: Console,
        *,
        genres: Sequence[str],
        top: int = 3,
        columns: Sequence[Column] = (),
    ) -> None:
        self._out = out
        self._genres = genres
        self._top = min(top, len(genres))
        self._columns = columns
        self._layout: _Layout | None = None
        self._plain = not (out.encoding or "").lower().startswith("utf")

    def print(self, predictions: Iterable[Prediction], *, more: bool = False) -> None:
        """Print rows; the first call decides on the widths and prints the heading.

        With `more` to come, names may be longer than those that are there already.
        """
        rows = list(predictions)
        if self._layout is None:
            self._layout = self._arrange(rows, usual=_USUAL_TRACK if more else 0)
            self._heading(self._layout)
        for row in rows:
            for line in self._lines(row, self._layout):
                self._out.print(line)

    def _arrange(self, rows: Sequence[Prediction], *, usual: int) -> _Layout:
        names = max([cell_len(genre) for genre in self._genres] + [0])
        genre = max(names, len(NOT_SURE))
        extra = sum(column.width + _GAP for column in self._columns)
        longest = max([cell_len(self._one_line_name(row)) for row in rows] + [len("Track"), usual])
        if not self._out.is_terminal:
            return _Layout(longest, genre, names, 6, stacked=False)
        width = self._out.width
        for bar_width in (6, 4):
            evidence = self._top * (names + 1 + bar_width + 1 + 4 + _GAP)
            track = width - 2 - genre - _GAP - extra - evidence
            if track >= min(_MIN_TRACK if self._top > 1 else 12, longest):
                cells = min(longest, track, _MAX_TRACK)
                return _Layout(cells, genre, names, bar_width, stacked=False)
        bar_width = 10 if width - extra >= 78 else 5
        track = width - 2 - genre - _GAP - extra - _GAP - (names + 1 + bar_width + 1 + 4)
        tallest = max([cell_len(t) for row in rows for t, _ in self._stack(row)] + [20, usual])
        return _Layout(max(12, min(track, tallest)), genre, names, bar_width, stacked=True)

    def _heading(self, layout: _Layout) -> None:
        cells = [fit("Track", layout.track), fit("Genre", layout.genre)]
        cells += [fit(column.heading, column.width) for column in self._columns]
        evidence = 1 if layout.stacked else self._top
        cells.append("Most likely")
        line = " " + (" " * _GAP).join(cells)
        shown = layout.name + 1 + layout.bar + 1 + 4
        total = cell_len(line) - len("Most likely") - 1 + evidence * (shown + _GAP) - _GAP
        self._out.print(Text(line, style="bold"))
        self._out.print(Text(" " + ("-" if self._plain else "─") * total, style="dim"))

    def _lines(self, row: Prediction, layout: _Layout) -> list[Text]:
        ranked = row.top(self._top)
        if not layout.stacked:
            line = Text(" ")
            title, _ = track_name(row)
            name = Text(fit(self._one_line_name(row), layout.track))
            name.stylize("bold", 0, min(len(title), len(name)))
            line.append_text(name)
            self._verdict(line, row, layout)
            for genre, share in ranked:
                line.append(" " * _GAP)
                self._evidence(line, genre, share, layout)
            line.rstrip()
            return [line]
        stack = self._stack(row)
        lines = []
        for place in range(max(len(stack), len(ranked))):
            text, style = stack[place] if place < len(stack) else ("", "")
            line = Text(" ").append(fit(text, layout.track), style=style)
            self._verdict(line, row if place == 0 else None, layout)
            if place < len(ranked):
                line.append(" " * _GAP)
                self._evidence(line, *ranked[place], layout)
            line.rstrip()
            lines.append(line)
        return lines

    def _verdict(self, line: Text, row: Prediction | None, layout: _Layout) -> None:
        line.append(" " * _GAP)
        if row is None:
            line.append(" " * layout.genre)
        elif row.genre is None:
            line.append(fit(NOT_SURE, layout.genre), style="italic dim")
        else:
            line.append(fit(printable(row.genre), layout.genre), style=f"bold {colour(row.genre)}")
        for column in self._columns:
            text, style = column.cell(row) if row is not None else ("", "")
            line.append(" " * _GAP).append(fit(text, column.width), style=style)

    def _evidence(self, line: Text, genre: str, share: float, layout: _Layout) -> None:
        line.append(fit(printable(genre), layout.name) + " ")
        line.append(bar(share, layout.bar, ascii_only=self._plain), style=colour(genre))
        line.append(f" {percent(share):>4}")

    def _one_line_name(self, row: Prediction) -> str:
        title, artist = track_name(row)
        return f"{title}{' - ' if self._plain else ' · '}{artist}" if artist else title

    def _stack(self, row: Prediction) -> list[tuple[str, str]]:
        """What stands below each other beside the bars, with its style."""
        title, artist = track_name(row)
        length = clock(row.duration)
        if row.path is None or not row.title:
            return [(title, "bold"), (length, "dim")]
        lines = [(title, "bold"), (artist, ""), (f"{length}  {printable(row.path.name)}", "dim")]
        return [line for line in lines if line[0]]


# --- genre over time -------------------------------------------------------


def timeline(
    prediction: Prediction, *, width: int, top: int = 4, plain: bool = False
) -> list[Text]:
    """Genre over time: one strip a genre, high where the genre is probable.

    Parameters
    ----------
    prediction : Prediction
        With a timeline.
    width : int
        Cells for everything.
    top : int
        At most so many genres, those that are the most probable ones anywhere.
    plain : bool
        Draw with ASCII only.

    Returns
    -------
    list of Text
        Name, strips, ticks, and in words where the genre changes.
    """
    moments = prediction.timeline
    title, artist = track_name(prediction)
    peaks = {
        genre: max(m.probabilities[genre] for m in moments) for genre in prediction.probabilities
    }
    shown = sorted(peaks, key=lambda genre: -peaks[genre])[:top]
    names = max(cell_len(printable(genre)) for genre in shown)
    cells = max(10, min(width - names - 4, 100))
    at = [_nearest(moments, (i + 0.5) / cells * prediction.duration) for i in range(cells)]

    lines = [Text(" ").append(title, style="bold").append(f" · {artist}" if artist else "")]
    lines[0].append(f"  {clock(prediction.duration)}", style="dim")
    heights = _ASCII_HEIGHTS if plain else _HEIGHTS
    for genre in shown:
        line = Text("  " + fit(printable(genre), names) + " ")
        for moment in at:
            share = moment.probabilities[genre]
            style = colour(genre) if moment.best == genre else f"dim {colour(genre)}"
            line.append(heights[round(share * 8)], style=style.strip())
        line.rstrip()
        lines.append(line)
    lines.append(Text("  " + " " * names + " " + _ticks(prediction.duration, cells), style="dim"))
    lines.append(Text("  " + _in_words(moments), style=""))
    return lines


def _nearest(moments: Sequence[Moment], second: float) -> Moment:
    return min(moments, key=lambda moment: abs((moment.start + moment.end) / 2 - second))


def _ticks(duration: float, cells: int) -> str:
    step = next((s for s in _STEPS if duration / s * 9 <= cells), _STEPS[-1])
    line = [" "] * (cells + 8)
    for i in range(int(duration // step) + 1):
        label = clock(i * step)
        place = round(i * step / max(duration, 1e-9) * cells)
        if place + len(label) <= len(line):
            line[place : place + len(label)] = label
    return "".join(line).rstrip()


def _in_words(moments: Sequence[Moment]) -> str:
    changes: list[str] = []
    before = None
    for moment in moments:
        if moment.best != before:
            changes.append(f"{clock(moment.start)} {printable(moment.best)}")
            before = moment.best
    if len(changes) > 12:
        changes = [*changes[:12], f"and {len(changes) - 12} more changes"]
    return ", ".join(changes)
