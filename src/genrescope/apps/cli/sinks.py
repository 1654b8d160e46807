"""Where predictions go: a table, one JSON object, JSON lines, or CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from genrescope.apps.cli.details import Details, describe
from genrescope.apps.cli.render import Patience, Table, console
from genrescope.apps.cli.text import dump, printable
from genrescope.catalog.spreadsheet import guarded, guarded_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from genrescope.learn.prediction import FailedPrediction, Prediction

__all__ = [
    "CsvSink",
    "JsonLinesSink",
    "JsonSink",
    "Sink",
    "TableSink",
    "list_failures",
    "make_sink",
]


class Sink(Protocol):
    """Takes results one by one, and is closed at the end, however that comes."""

    def prediction(self, result: Prediction) -> None:
        """Take one track that was recognised."""

    def failure(self, result: FailedPrediction) -> None:
        """Take one file that was not."""

    def close(self) -> None:
        """Write what has been held back."""


# --- JSON ------------------------------------------------------------------


def _object(result: Prediction, *, top: int, with_timeline: bool) -> dict[str, Any]:
    whole = result.to_dict()
    moments = whole.pop("timeline")
    whole["top"] = [{"genre": g, "probability": round(p, 8)} for g, p in result.top(top)]
    if with_timeline:
        whole["timeline"] = moments
    return whole


class JsonSink:
    """One JSON object with everything, one line for each file, written at the end."""

    def __init__(self, out: TextIO, *, top: int, with_timeline: bool) -> None:
        self._out, self._top, self._with_timeline = out, top, with_timeline
        self._predictions: list[str] = []
        self._errors: list[str] = []

    def prediction(self, result: Prediction) -> None:
        """Keep one prediction, as text."""
        entry = _object(result, top=self._top, with_timeline=self._with_timeline)
        self._predictions.append(dump(entry, encoding=self._out.encoding))

    def failure(self, result: FailedPrediction) -> None:
        """Keep one error, as text."""
        self._errors.append(dump(result.to_dict(), encoding=self._out.encoding))

    def close(self) -> None:
        """Write the object."""

        def block(entries: Sequence[str]) -> str:
            return "[\n  " + ",\n  ".join(entries) + "\n]" if entries else "[]"

        self._out.write(
            f'{{"predictions": {block(self._predictions)}, "errors": {block(self._errors)}}}\n'
        )
        self._out.flush()


class JsonLinesSink:
    """The same objects, each on a line of its own, written as they come."""

    def __init__(self, out: TextIO, *, top: int, with_timeline: bool) -> None:
        self._out, self._top, self._with_timeline = out, top, with_timeline

    def prediction(self, result: Prediction) -> None:
        """Write one prediction."""
        self._write(_object(result, top=self._top, with_timeline=self._with_timeline))

    def failure(self, result: FailedPrediction) -> None:
        """Write one error."""
        self._write(result.to_dict())

    def close(self) -> None:
        """Nothing is held back."""

    def _write(self, entry: dict[str, Any]) -> None:
        self._out.write(dump(entry, encoding=self._out.encoding) + "\n")
        self._out.flush()


# --- CSV -------------------------------------------------------------------


class CsvSink:
    """One row a file, with a column for each genre; files that failed have their reason."""

    def __init__(self, out: TextIO, *, genres: Sequence[str]) -> None:
        self._out, self._genres = out, genres
        self._writer = csv.writer(out, lineterminator="\n")
        self._writer.writerow(
            [
                *("path", "genre", "best", "confidence", "plausible", "title", "artist"),
                *("tagged_genres", "duration", "reason", "sources", "branches"),
                *(_cell(genre) for genre in genres),
                *("error", "message"),
            ]
        )
        out.flush()

    def prediction(self, result: Prediction) -> None:
        """Write one prediction."""
        self._write(
            [
                guarded_path(printable(result.path)),
                *map(_cell, (result.genre or "", result.best)),
                f"{result.confidence:.6f}",
                _cell("; ".join(result.plausible)),
                *map(_cell, (result.title or "", result.artist or "")),
                _cell("; ".join(result.tagged_genres)),
                f"{result.duration:.3f}",
                _cell(result.reason),
                _cell("; ".join(result.sources)),
                _cell("; ".join(map(str, result.branches))),
                *(f"{result.probabilities[genre]:.8f}" for genre in self._genres),
                *("", ""),
            ]
        )

    def failure(self, result: FailedPrediction) -> None:
        """Write one error."""
        empty = [""] * (11 + len(self._genres))
        self._write(
            [guarded_path(printable(result.path)), *empty, result.error, _cell(result.message)]
        )

    def close(self) -> None:
        """Nothing is held back."""

    def _write(self, row: list[str]) -> None:
        self._writer.writerow(row)
        self._out.flush()


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return guarded(printable(text))


# --- the table -------------------------------------------------------------


class TableSink:
    """A table for people; on a terminal, rows appear as they are done.

    Parameters
    ----------
    genres : sequence of str
        All that may occur.
    top : int
        Genres a track.
    details : Details
        What is shown of each track below the table.
    live : Console, optional
        The console of a progress bar on the same terminal, which has to be told of every
        line so that it can move out of the way.
    """

    def __init__(
        self,
        *,
        genres: Sequence[str],
        top: int,
        details: Details,
        live: Console | None = None,
    ) -> None:
        self._out = console() if live is None else live
        self._top = top
        self._table = Table(self._out, genres=genres, top=top)
        self._details = details
        self._described: list[Prediction] = []
        self._held: list[Prediction] | None = []
        self._patience = Patience()

    def prediction(self, result: Prediction) -> None:
        """Print one row, or hold it until the widths are known."""
        if self._details:
            self._described.append(result)
        if self._held is None:
            self._table.print([result])
            return
        self._held.append(result)
        if self._out.is_terminal and self._patience.ends(len(self._held)):
            self._release(more=True)

    def failure(self, result: FailedPrediction) -> None:
        """Failures are listed after the table, see :func:`list_failures`."""

    def close(self) -> None:
        """Print rows that were held, and the details."""
        self._release()
        plain = not (self._out.encoding or "").lower().startswith("utf")
        width = self._out.width if self._out.is_terminal else 100
        for result in self._described:
            self._out.print()
            for line in describe(result, self._details, width=width, top=self._top, plain=plain):
                self._out.print(line)

    def _release(self, *, more: bool = False) -> None:
        if self._held:
            self._table.print(self._held, more=more)
        self._held = None


def make_sink(
    form: str,
    out: TextIO,
    *,
    genres: Sequence[str],
    top: int,
    details: Details,
    live: Console | None = None,
) -> Sink:
    """The sink for one form of output: ``table``, ``json``, ``jsonl`` or ``csv``."""
    if form == "json":
        return JsonSink(out, top=top, with_timeline=details.timeline)
    if form == "jsonl":
        return JsonLinesSink(out, top=top, with_timeline=details.timeline)
    if form == "csv":
        return CsvSink(out, genres=genres)
    return TableSink(genres=genres, top=top, details=details, live=live)


# --- what failed -----------------------------------------------------------

_ALL = 200  # failures that are named one by one; beyond, the first of each reason
_OF_EACH = 10
_TOGETHER = 3  # files with the same reason that share its line


def list_failures(
    failures: Sequence[FailedPrediction], *, total: int, write: Callable[[str], object]
) -> None:
    """List the files that were not recognised, each with its reason.

    Files with one reason stand together. Of very many, the first of each reason are named.

    Parameters
    ----------
    failures : sequence of FailedPrediction
        What failed, in order.
    total : int
        Files in all.
    write : callable (str)
        Takes one line.
    """
    if not failures:
        return
    write(f"{len(failures)} of {total} {_plural(total)} could not be recognised:")
    reasons: dict[str, list[str]] = {}
    for failure in failures:
        reasons.setdefault(_reason(failure), []).append(printable(failure.path))
    shown = len(failures) if len(failures) <= _ALL else _OF_EACH
    for reason, paths in reasons.items():
        if len(paths) < _TOGETHER:
            for path in paths:
                write(f"  {path}: {reason}")
            continue
        write(f"  {reason}")
        for path in paths[:shown]:
            write(f"    {path}")
        if len(paths) > shown:
            write(f"    and {len(paths) - shown} more")
    if len(failures) > _ALL:
        write("  --json, --jsonl and --csv name every file")


def _reason(failure: FailedPrediction) -> str:
    """The message without the path that it begins with."""
    lossy = os.fsencode(failure.path).decode("utf-8", "replace")
    message = failure.message
    for path in (str(failure.path), lossy):
        message = message.removeprefix(f"{path}: ")
    return printable(message)


def _plural(count: int) -> str:
    return "file" if count == 1 else "files"
