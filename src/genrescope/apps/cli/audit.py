"""``genrescope audit``: prove that a split leaks nothing, or say what leaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli.text import counted, print_json

if TYPE_CHECKING:
    from genrescope.catalog.leaks import AuditReport
    from genrescope.catalog.table import TrackTable

__all__ = ["audit"]

EXAMPLE = "for example"  # heading of the column that a narrow terminal may cut


def audit(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV or Parquet file with one row a track.")
    ],
    folds: Annotated[
        int | None,
        options.number("--folds", "Make this many grouped folds and audit those instead.", min=2),
    ] = None,
    seed: options.Seed = 0,
    group: options.GroupColumn = None,
    label: options.LabelColumn = None,
    split: options.SplitColumn = None,
    json: options.Json = False,
    limit: Annotated[
        int,
        options.number(
            "--limit",
            "Show at most so many of each finding; 0 shows all.",
            min=0,
            rich_help_panel=options.OUTPUT,
        ),
    ] = 20,
) -> None:
    """Find artists that are in more than one split, and whatever else leaks.

    The table is read and nothing is written.

    Exit codes: 0 nothing leaks, 1 something does, 2 wrong usage or nothing to do, 130 stopped by
    Ctrl-C.

    Examples:

      genrescope audit tracks.csv
      genrescope audit tracks.csv --folds 5 --group artist --label genre
    """
    from genrescope.catalog.leaks import audit as run_audit
    from genrescope.catalog.table import COLUMNS, TrackTable
    from genrescope.errors import SplitError, TableError

    if folds is not None and split is not None:
        raise typer.BadParameter(
            "--folds: excludes --split; give --split to audit a column, or --folds for new folds"
        )
    # As text, so that a table with other faults than leaks can be audited too.
    tracks = TrackTable.load(table, text=COLUMNS, keep_unknown=True)
    group = group or _first(tracks, "artist_id", "artist_name") or "artist_id"
    label = label or _first(tracks, "genre_top", "genre")
    if folds is not None:
        tracks, split = _with_folds(tracks, label=label, group=group, folds=folds, seed=seed)
    else:
        split = split or "split"
        _require_split(table, tracks, split)
    try:
        report = run_audit(tracks, label=label, group=group, split=split)
    except (TableError, SplitError) as error:
        raise type(error)(f"{table}: {error}") from error

    if json:
        print_json({"table": str(table), **report.to_dict()})
    else:
        _show(report, name=table.name, limit=limit or None)
    raise typer.Exit(0 if report.clean else 1)


def _first(tracks: TrackTable, *names: str) -> str | None:
    return next((name for name in names if name in tracks), None)


def _with_folds(
    tracks: TrackTable, *, label: str | None, group: str, folds: int, seed: int
) -> tuple[TrackTable, str]:
    from genrescope.catalog.splits import group_folds
    from genrescope.errors import TableError

    tracks.require(group)
    if label is None:
        raise TableError(
            "folds balance the classes, so they need one; name its column with --label"
        )
    tracks.require(label)
    fold = group_folds(tracks[label], tracks[group], n_folds=folds, seed=seed)
    column = f"{folds} folds by {group}"
    return tracks.with_column(column, [f"fold {f}" for f in fold]), column


def _require_split(path: Path, tracks: TrackTable, split: str) -> None:
    from genrescope.errors import TableError

    if split not in tracks:
        raise TableError(
            f"{path}: no column {split!r}; its columns are: {', '.join(tracks.columns)}. Name "
            "the one that says the split with --split, or audit grouped folds with --folds 5"
        )


# --- what a person reads ----------------------------------------------------


@dataclass(frozen=True)
class _Section:
    """One finding: how grave, what it is, and a table of the cases."""

    style: str  # for a terminal
    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()  # columns of numbers
    whole: bool = False  # shown whatever the limit

    def shown(self, limit: int | None) -> Sequence[Sequence[str]]:
        """The rows of the first `limit` cases; a row with a blank start continues a case."""
        starts = [at for at, row in enumerate(self.rows) if row[0]]
        if self.whole or limit is None or limit >= len(starts):
            return self.rows
        return self.rows[: starts[limit]]

    def hidden(self, limit: int | None) -> int:
        """How many cases `limit` keeps back."""
        return sum(1 for row in self.rows[len(self.shown(limit)) :] if row[0])


def _show(report: AuditReport, *, name: str, limit: int | None) -> None:
    import sys

    title = (
        f"{name}: {counted(report.n_tracks, 'track')}, {counted(report.n_groups, _noun(report))} "
        f"({report.group}), {counted(len(report.splits), 'split')} ({report.split})"
    )
    sections = [_balance(report), *_leaks(report), *_warnings(report)]
    style, verdict = _verdict(report)
    if sys.stdout.isatty():
        _show_rich(title, sections, style, verdict, limit)
    else:
        typer.echo("\n".join(_plain(title, sections, verdict, limit)))


def _balance(report: AuditReport) -> _Section:
    names = sorted({name for counts in report.labels.values() for name in counts})
    rows = []
    for name in names:
        counts = [report.labels[split].get(name, 0) for split in report.splits]
        totals = report.splits.values()
        shares = [_share(n, total) for n, total in zip(counts, totals, strict=True)]
        rows.append([name or f"(no {report.label})", *shares])
    placed = sum(report.splits.values())
    rows.append(["all", *(_share(n, placed) for n in report.splits.values())])
    heading = "Tracks by split" + (f" and {report.label}" if report.label else "")
    columns = [report.label or "", *report.splits]
    return _Section("bold", heading, columns, rows, range(1, len(columns)), whole=True)


def _leaks(report: AuditReport) -> Iterator[_Section]:
    splits, noun = list(report.splits), _noun(report)
    if shared := report.shared_groups:
        named = any(s.name != s.group for s in shared)
        columns = [report.group, *(["name"] if named else []), *splits, EXAMPLE]
        yield _Section(
            "red",
            f"LEAK: {counted(len(shared), noun)} {_are(shared)} in more than one split",
            columns,
            [
                [
                    s.group,
                    *([s.name] if named else []),
                    *_counts(s.tracks, splits),
                    "; ".join(f"{split} {tracks[0]}" for split, tracks in s.examples.items()),
                ]
                for s in shared
            ],
            range(len(columns) - 1 - len(splits), len(columns) - 1),
        )
    if twice := report.duplicate_tracks:
        verb = "occurs" if len(twice) == 1 else "occur"
        yield _Section(
            "red",
            f"LEAK: {counted(len(twice), 'track id')} {verb} more than once",
            ["track_id", *splits],
            [[d.track_id, *_counts(d.tracks, splits)] for d in twice],
            range(1, 1 + len(splits)),
        )
    if repeated := report.repeated_titles:
        yield _Section(
            "red",
            f"LEAK: {counted(len(repeated), 'title')} by one artist {_are(repeated)} in more than "
            "one split",
            ["title", "artist", "tracks"],
            [[r.title, r.artist, _named(r.tracks)] for r in repeated],
        )


def _warnings(report: AuditReport) -> Iterator[_Section]:
    from genrescope.catalog.leaks import DOMINANT_SHARE

    noun = _noun(report)
    if similar := report.similar_names:
        splits = list(report.splits)
        yield _Section(
            "yellow",
            f"WARNING: {counted(len(similar), 'name')} with more than one spelling, in different "
            f"splits; if each is one {noun}, they leak",
            ["", report.group, "name", *splits],
            [
                [f"{at}." if first else "", group, name, *_counts(tracks, splits)]
                for at, case in enumerate(similar, 1)
                for first, (group, name, tracks) in zip(
                    (True, *[False] * len(case.groups)), case.groups, strict=False
                )
            ],
            (0, *range(3, 3 + len(splits))),
        )
    if dominant := report.dominant_groups:
        yield _Section(
            "yellow",
            f"WARNING: {counted(len(dominant), noun)} with more than {100 * DOMINANT_SHARE:g} % of "
            "a split, and as much weight in its score",
            [report.group, "name", "split", "tracks", "share"],
            [[d.group, d.name, d.split, f"{d.tracks:,}", _percent(d.share)] for d in dominant],
            (3, 4),
        )
    if report.without_group:
        yield _Section(
            "yellow",
            f"WARNING: {counted(sum(report.without_group.values()), 'track')} without {noun}, "
            "which nobody can check",
            list(report.without_group),
            [[f"{n:,}" for n in report.without_group.values()]],
            range(len(report.without_group)),
        )
    if report.missing_labels:
        yield _Section(
            "yellow",
            f"WARNING: a split lacks {report.label} values that another has",
            ["split", "missing"],
            [[split, ", ".join(names)] for split, names in report.missing_labels.items()],
        )
    if report.without_split:
        yield _Section(
            "yellow",
            f"WARNING: {counted(report.without_split, 'track')} in no split, left out of this "
            "audit",
            (),
            (),
        )


def _verdict(report: AuditReport) -> tuple[str, str]:
    noun = _noun(report)
    warnings = sum(1 for _ in _warnings(report))
    warned = f" ({counted(warnings, 'warning')} above)" if warnings else ""
    if report.clean:
        return "green", f"CLEAN: no {noun}, track or title is in more than one split{warned}."
    found = [
        counted(len(items), what)
        for items, what in (
            (report.shared_groups, noun),
            (report.duplicate_tracks, "track id"),
            (report.repeated_titles, "title"),
        )
        if items
    ]
    return "red", (
        f"LEAKS: {', '.join(found)}. Scores on this split are too high; split by {noun} instead "
        "(--folds 5 shows what that gives)."
    )


def _plain(
    title: str, sections: Sequence[_Section], verdict: str, limit: int | None
) -> Iterator[str]:
    """Aligned text that does not depend on the width of anything."""
    yield title
    for section in sections:
        yield ""
        yield section.heading
        rows = [[_printable(c) for c in row] for row in (section.columns, *section.shown(limit))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows if section.rows else []:
            cells = [
                cell.rjust(width) if at in section.numeric else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            yield "  " + "  ".join(cells).rstrip()
        if more := _more(section, limit):
            yield "  " + more
    yield ""
    yield verdict


def _show_rich(
    title: str, sections: Sequence[_Section], style: str, verdict: str, limit: int | None
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from genrescope.apps.cli.render import console

    screen = console()
    screen.print(Text(title, style="bold"), soft_wrap=False)
    for section in sections:
        screen.print()
        screen.print(Text(section.heading, style=section.style), soft_wrap=False)
        if section.rows:
            table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="dim")
            rows = [[_printable(cell) for cell in row] for row in section.shown(limit)]
            room = screen.width - 3 * len(section.columns)
            for at, column in enumerate(section.columns):
                one_line = at in section.numeric or column == EXAMPLE
                table.add_column(
                    Text(column),
                    justify="right" if at in section.numeric else "left",
                    no_wrap=one_line,
                    overflow="ellipsis" if one_line else "fold",
                    # What the columns before leave over; without it, they would be squeezed.
                    max_width=max(12, room) if column == EXAMPLE else None,
                )
                room -= max(len(column), *(len(row[at]) for row in rows))
            for row in rows:
                table.add_row(*map(Text, row))
            screen.print(table, soft_wrap=False)
        if more := _more(section, limit):
            screen.print(Text("  " + more, style="dim"), soft_wrap=False)
    screen.print()
    screen.print(Text(verdict, style=f"bold {style}"), soft_wrap=False)


def _more(section: _Section, limit: int | None) -> str:
    hidden = section.hidden(limit)
    return f"... and {hidden:,} more; --limit 0 shows all" if hidden else ""


def _noun(report: AuditReport) -> str:
    return "artist" if report.group.startswith("artist") else report.group


def _are(found: Sequence[object]) -> str:
    return "is" if len(found) == 1 else "are"


def _counts(tracks: Mapping[str, int], splits: Sequence[str]) -> list[str]:
    return [f"{tracks[s]:,}" if s in tracks else "-" for s in splits]


def _named(tracks: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{split} {', '.join(names)}" for split, names in tracks.items())


def _share(count: int, total: int) -> str:
    return f"{count:,} {_percent(count / total):>7}" if count else "-"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _printable(text: str) -> str:
    """One line of text that a terminal takes as text."""
    return "".join(c if c.isprintable() else " " for c in text)
