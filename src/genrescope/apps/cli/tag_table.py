"""Where proposals go: a table, one JSON object, JSON lines, or CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from genrescope.apps.cli.render import Patience, colour, console, fit
from genrescope.apps.cli.text import NOT_SURE, dump, percent, printable
from genrescope.catalog.spreadsheet import guarded, guarded_path

if TYPE_CHECKING:
    from rich.console import Console

    from genrescope.apps.genre_policy import Proposal
    from genrescope.learn.prediction import FailedPrediction

__all__ = ["ProposalSink", "make_sink", "outcome"]

_GAP = "  "
_LONGEST = 60  # cells of a column in a pipe where all rows are there
_CONFIDENCE = 4  # cells


class ProposalSink(Protocol):
    """Takes proposals one by one, and is closed at the end, however that comes."""

    def proposal(self, result: Proposal, *, written: bool) -> None:
        """Take one proposal, and whether it was carried out."""

    def failure(self, result: FailedPrediction) -> None:
        """Take one file that could not be read, heard or written."""

    def close(self, *, run: int | None) -> None:
        """Write what has been held back; `run` is the number of the run that wrote."""


def make_sink(form: str, out: TextIO, *, base: Path | None, live: Console | None) -> ProposalSink:
    """The sink for one form of output.

    Parameters
    ----------
    form : str
        ``table``, ``json``, ``jsonl`` or ``csv``.
    out : TextIO
        Standard output.
    base : Path or None
        The folder that all files are in; on a terminal their names begin below it.
    live : Console or None
        Of a progress bar on the same terminal.
    """
    if form == "json":
        return _JsonSink(out)
    if form == "jsonl":
        return _JsonLinesSink(out)
    if form == "csv":
        return _CsvSink(out)
    return _TableSink(console() if live is None else live, base=base)


def outcome(proposal: Proposal) -> str:
    """What is said of a proposal where there is room for a few words.

    Genres that are (to be) written, else why there is nothing to write.
    """
    if proposal.writes:
        return printable("; ".join(proposal.proposed))
    if proposal.action == "not sure":
        heard = proposal.prediction
        guess = f" ({heard.best}?)" if heard is not None else ""
        return printable(f"{NOT_SURE}{guess}: {proposal.why}")
    return printable(proposal.why)


# --- for programs ----------------------------------------------------------


def _object(result: Proposal, *, written: bool) -> dict[str, Any]:
    return {**result.to_dict(), "written": written}


class _JsonSink:
    """One JSON object with everything, one line for each file, written at the end."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._proposals: list[str] = []
        self._errors: list[str] = []

    def proposal(self, result: Proposal, *, written: bool) -> None:
        self._proposals.append(dump(_object(result, written=written), encoding=self._out.encoding))

    def failure(self, result: FailedPrediction) -> None:
        self._errors.append(dump(result.to_dict(), encoding=self._out.encoding))

    def close(self, *, run: int | None) -> None:
        def block(entries: Sequence[str]) -> str:
            return "[\n  " + ",\n  ".join(entries) + "\n]" if entries else "[]"

        self._out.write(
            f'{{"proposals": {block(self._proposals)}, "errors": {block(self._errors)}, '
            f'"run": {dump(run)}}}\n'
        )
        self._out.flush()


class _JsonLinesSink:
    """The same objects, each on a line of its own, written as they come."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def proposal(self, result: Proposal, *, written: bool) -> None:
        self._write(_object(result, written=written))

    def failure(self, result: FailedPrediction) -> None:
        self._write(result.to_dict())

    def close(self, *, run: int | None) -> None:
        """Nothing is held back."""

    def _write(self, entry: dict[str, Any]) -> None:
        self._out.write(dump(entry, encoding=self._out.encoding) + "\n")
        self._out.flush()


class _CsvSink:
    """One row a file; several genres are joined by semicolons."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._writer = csv.writer(out, lineterminator="\n")
        self._row(
            *("path", "action", "now", "proposed", "confidence", "best", "why", "written"),
            *("error", "message"),
        )

    def proposal(self, result: Proposal, *, written: bool) -> None:
        heard = result.prediction
        self._row(
            guarded_path(printable(str(result.path))),
            result.action,
            guarded(printable("; ".join(result.now))),
            guarded(printable("; ".join(result.proposed))),
            "" if result.confidence is None else f"{result.confidence:.6f}",
            guarded(printable(heard.best if heard is not None else "")),
            guarded(printable(result.why)),
            "yes" if written else "no",
            *("", ""),
        )

    def failure(self, result: FailedPrediction) -> None:
        self._row(
            guarded_path(printable(str(result.path))),
            *[""] * 7,
            result.error,
            guarded(printable(result.message)),
        )

    def close(self, *, run: int | None) -> None:
        """Nothing is held back."""

    def _row(self, *cells: str) -> None:
        self._writer.writerow(cells)
        self._out.flush()


# --- for people ------------------------------------------------------------


@dataclass(frozen=True)
class _Widths:
    name: int
    now: int
    proposed: int


class _TableSink:
    """File, genres now, how probable, genres proposed or why there are none."""

    def __init__(self, out: Console, *, base: Path | None) -> None:
        self._out = out
        self._base = base if out.is_terminal else None
        self._plain = not (out.encoding or "").lower().startswith("utf")
        self._held: list[Proposal] | None = []
        self._widths = _Widths(0, 0, 0)
        self._patience = Patience()

    def proposal(self, result: Proposal, *, written: bool) -> None:
        if self._held is None:
            self._print(result)
            return
        self._held.append(result)
        if self._out.is_terminal and self._patience.ends(len(self._held)):
            self._release(more=True)

    def failure(self, result: FailedPrediction) -> None:
        """Failures are listed after the table."""

    def close(self, *, run: int | None) -> None:
        self._release()

    def _release(self, *, more: bool = False) -> None:
        rows, self._held = self._held, None
        if not rows:
            return
        self._widths = self._arrange(rows, more=more)
        cells = [fit("File", self._widths.name), fit("Genre now", self._widths.now)]
        line = " " + _GAP.join([*cells, " " * _CONFIDENCE, "Proposed"])
        self._out.print(Text(line, style="bold"))
        total = self._widths.name + self._widths.now + self._widths.proposed + _CONFIDENCE
        rule = "-" if self._plain else "─"
        self._out.print(Text(" " + rule * (total + 3 * len(_GAP)), style="dim"))
        for row in rows:
            self._print(row)

    def _arrange(self, rows: Sequence[Proposal], *, more: bool) -> _Widths:
        names = max([len("File"), *(cell_len(self._name(row)) for row in rows)])
        now = max([len("Genre now"), *(cell_len(self._now(row)) for row in rows)])
        proposed = max([len("Proposed"), *(cell_len(outcome(row)) for row in rows)])
        if not self._out.is_terminal:
            return _Widths(names, min(now, _LONGEST), proposed)
        room = self._out.width - 2 - _CONFIDENCE - 3 * len(_GAP)
        if more:
            names, now, proposed = max(names, 40), max(now, 16), max(proposed, 28)
        now = min(now, max(9, room // 5))
        # What is proposed is what was asked for; a name that is cut can still be told.
        proposed = min(proposed, max(14, room - now - min(names, room * 2 // 5)))
        return _Widths(min(names, room - now - proposed), now, proposed)

    def _print(self, row: Proposal) -> None:
        widths = self._widths
        line = Text(" ").append(_fit_left(self._name(row), widths.name, plain=self._plain))
        line.append(_GAP).append(fit(self._now(row), widths.now), style="" if row.now else "dim")
        share = "" if row.confidence is None else percent(row.confidence)
        line.append(_GAP).append(f"{share:>{_CONFIDENCE}}").append(_GAP)
        text = outcome(row)
        cut = fit(text, widths.proposed) if self._out.is_terminal else text
        line.append(cut, style=self._style(row))
        line.rstrip()
        self._out.print(line)

    def _style(self, row: Proposal) -> str:
        if not row.writes:
            return "dim italic" if row.action == "not sure" else "dim"
        return f"bold {colour(row.prediction.best)}" if row.prediction is not None else "bold"

    def _now(self, row: Proposal) -> str:
        return printable("; ".join(row.now)) or ("-" if self._plain else "–")

    def _name(self, row: Proposal) -> str:
        path = os.fspath(row.path or "")
        if self._base is not None:
            path = os.path.relpath(os.path.abspath(path), self._base)
        return printable(path)


def _fit_left(text: str, width: int, *, plain: bool) -> str:
    """A path at exactly `width` cells; what is cut is its beginning, not its name."""
    if cell_len(text) <= width:
        return fit(text, width)
    mark = "~" if plain else "…"
    tail = text[-width:]
    while tail and cell_len(tail) > width - 1:
        tail = tail[1:]
    return set_cell_size(mark + tail, width)
