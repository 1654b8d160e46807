"""``genrescope fma``: the Free Music Archive, fetched, prepared, counted, or made up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.command import Family
from genrescope.apps.cli.interrupts import resumable
from genrescope.apps.cli.terminal import animated
from genrescope.apps.cli.text import counted, print_json, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from genrescope.catalog.fma import FmaInfo

__all__ = ["fma"]

fma = Family("Fetch the Free Music Archive, prepare its tables, count what is in them.")

_EVERY = 10.0  # s between two lines of progress where there is no terminal
_FRESH = 0.1  # s between two movements of the bar
_VERBS = {"download": "downloading", "check": "checking", "unpack": "unpacking"}


@fma.command("fetch")
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="metadata, small, medium, large or full.",
            autocompletion=completion.archives,
        ),
    ],
    out: Annotated[
        Path,
        options.out("Folder for the archive and what it holds.", "--to", show_default=True),
    ] = Path("fma"),
    source: Annotated[
        Path | None, options.text("--from", "An archive that is there already.", metavar="FILE")
    ] = None,
    url: Annotated[
        str | None,
        options.text(
            "--url", "A mirror: the file, or its folder with / at the end.", metavar="URL"
        ),
    ] = None,
    sha1: Annotated[
        str | None,
        options.text(
            "--sha1", "What its SHA-1 has to be.", metavar="HEX", default="the official one"
        ),
    ] = None,
    unpack: Annotated[
        bool, typer.Option("--unpack/--no-unpack", help="Unpack the archive.")
    ] = True,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep the archive once it is unpacked.")
    ] = True,
) -> None:
    """Fetch one of FMA's archives, check it and unpack it.

    Stopped at any moment, even by a crash, the same command goes on where it was. Needs free disk
    for the archive and what it holds: metadata 2 GB, small 16 GB, medium 49 GB, large 205 GB, full
    1.9 TB.

    Exit codes: 0 all of it is there, 1 some damaged members could not be unpacked, 2 wrong usage
    or nothing to do, 130 stopped by Ctrl-C (the same command goes on where it was).

    Examples:

      genrescope fma fetch metadata
      genrescope fma fetch small --out DATA --no-keep
      genrescope fma fetch small --from Downloads/fma_small.zip
    """
    from genrescope.catalog.fma import ARCHIVES
    from genrescope.catalog.fma import fetch as fetch_archive

    if source is not None and url is not None:
        raise typer.BadParameter(
            "--from and --url: exclude each other; give --from for a file, or --url for a mirror"
        )
    if url is not None and "://" not in url:
        raise typer.BadParameter(
            f"--url {url}: is no web address; it must start with https:// or http://"
        )
    file = ARCHIVES[name].file if name in ARCHIVES else name
    stages = {stage: f"{verb} {file}" for stage, verb in _VERBS.items()}
    with resumable(), _progress(stages, sizes=tuple(stages)) as report:
        done = fetch_archive(
            name,
            to=out,
            source=url if source is None else source,
            sha1=sha1,
            keep="archive" if not unpack else "both" if keep else "folder",
            report=report,
        )
    if done.folder is None:
        typer.echo(f"{done.archive}: SHA-1 is right")
        return
    if done.unpacked is None:
        typer.echo(f"{done.folder}: was there already (remove it to unpack it again)")
    else:
        files = done.unpacked.written + done.unpacked.kept
        typer.echo(
            f"{done.folder}: {counted(files, 'file')}; SHA-1 of {done.archive.name} is right"
        )
    if done.failed:
        typer.echo(
            f"{counted(done.failed, 'member')} could not be unpacked; {done.quarantine} says why",
            err=True,
        )
        raise typer.Exit(1)
    if name == "metadata":
        typer.echo(f"Next: genrescope fma prepare {done.folder}", err=True)


@fma.command("prepare")
def prepare(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="fma_metadata, or the one it is in.")
    ],
    out: Annotated[
        Path | None,
        options.out("Folder for the Parquet files.", show_default="prepared, beside the CSV files"),
    ] = None,
    force: Annotated[bool, options.force("Make again what is up to date, too.")] = False,
) -> None:
    """Turn FMA's CSV files into typed Parquet, once.

    Dates become dates, lists lists, and subset and split ordered categories. A second run is done
    at once; a table is made again when its CSV file has changed. Needs the extra lab.

    Exit codes: 0 the tables are there, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C (the
    same command goes on where it was).

    Examples:

      genrescope fma prepare fma/fma_metadata
      genrescope fma prepare fma/fma_metadata --out prepared --force
    """
    from genrescope.catalog.fma_prepare import prepare as prepare_tables
    from genrescope.catalog.fma_tables import FILES

    stages = {name: f"reading {file}" for name, (file, _, _) in FILES.items()}
    with resumable(), _progress(stages) as report:
        done = prepare_tables(folder, out=out, force=force, report=report)
    typer.echo(f"{done.folder}")
    _table(
        ("table", "rows", "columns", ""),
        [
            (t.name, f"{t.rows:,}", f"{t.columns:,}", "made" if t.made else "up to date")
            for t in done.tables
        ],
        numeric=(1, 2),
    )
    for table in done.tables:
        for column, (count, examples) in table.unreadable.items():
            shown = ", ".join(repr(example) for example in examples)
            typer.echo(
                f"{table.name}: {counted(count, 'cell')} of {column} left empty, not readable: "
                f"{shown}",
                err=True,
            )
    for file in done.missing:
        typer.echo(f"{file} is not there; its table was left out", err=True)
    if done.simulated:
        typer.echo("SIMULATED: this archive was made up", err=True)


@fma.command("info")
def info(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A prepared folder, or one that holds it.")
    ],
    json: options.Json = False,
) -> None:
    """Count tracks by subset, split and genre, and what is missing or known to be bad.

    The tables are read and nothing is written. Needs the extra lab.

    Exit codes: 0 done, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope fma info fma/fma_metadata
    """
    from genrescope.catalog.fma_load import describe

    found = describe(folder)
    if json:
        print_json(found.to_dict())
    else:
        _show(found)


@fma.command("simulate")
def simulate(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to; made where it is not there.")
    ],
    tracks: Annotated[int, options.number("--tracks", "How many tracks.", min=1)] = 160,
    genres: Annotated[
        int, options.number("--genres", "How many top-level genres.", min=1, max=16)
    ] = 8,
    seed: options.Seed = 0,
    subset: Annotated[
        str,
        options.text(
            "--subset",
            "Which tracks get clips: large (all), medium, small, none.",
            "--audio",
            autocompletion=completion.audio_subsets,
        ),
    ] = "large",
    seconds: Annotated[
        float,
        options.number("--seconds", "Length of a clip.", metavar="SECONDS", min=0.1, max=30),
    ] = 3.0,
) -> None:
    """Make up an archive of FMA's shape, to try everything without a download.

    Tables with FMA's own headers and quirks, and short clips whose genres differ by rhythm, timbre
    and harmony. The same options give the same archive. Whatever is made from it says that it is
    simulated.

    Exit codes: 0 the archive is written, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C
    (the same command goes on where it was).

    Examples:

      genrescope fma simulate made-up
      genrescope fma simulate made-up --tracks 24 --genres 4 --seconds 1
    """
    from genrescope.catalog.fma_simulate import simulate as make_up

    stages = {"tables": "making up tables", "clips": "making up clips"}
    with resumable(), _progress(stages) as report:
        done = make_up(
            folder,
            tracks=tracks,
            genres=genres,
            seed=seed,
            audio=None if subset == "none" else subset,
            seconds=seconds,
            report=report,
        )
    typer.echo(
        f"{done.metadata}: {counted(done.tracks, 'track')} of "
        f"{counted(done.artists, 'artist')}, simulated"
    )
    if done.audio is not None:
        typer.echo(f"{done.audio}: {counted(done.clips, 'clip')}, simulated")
    typer.echo(f"Next: genrescope fma prepare {done.metadata}", err=True)


# --- what a person reads ----------------------------------------------------


def _show(found: FmaInfo) -> None:
    if found.simulated:
        typer.echo("SIMULATED: this archive was made up; its numbers say nothing about music\n")
    tables = ", ".join(
        f"{name} {rows:,} x {columns:,}" for name, (rows, columns) in found.tables.items()
    )
    typer.echo(
        f"{found.folder}: {counted(found.tracks, 'track')}, {counted(found.artists, 'artist')}"
    )
    typer.echo(f"Tables: {tables}")
    splits = list(dict.fromkeys(split for counts in found.subsets.values() for split in counts))
    if found.subsets:
        typer.echo("\nTracks by subset (each with the smaller ones inside it) and split")
        _table(
            ("subset", *(split or "(none)" for split in splits), "all"),
            [
                (name, *(f"{c.get(s, 0):,}" for s in splits), f"{sum(c.values()):,}")
                for name, c in found.subsets.items()
            ],
            numeric=range(1, len(splits) + 2),
        )
    if found.subsets:
        subsets = list(found.subsets)
        typer.echo("\nTracks by top-level genre and subset")
        named = sorted(found.genres.items(), key=lambda item: item[0] == "")
        _table(
            ("genre", *subsets),
            [
                (genre or "(none)", *(f"{counts.get(s, 0):,}" for s in subsets))
                for genre, counts in named
            ],
            numeric=range(1, len(subsets) + 1),
        )
    typer.echo("\nMissing genres")
    for text, counts in (
        ("no top-level genre", found.no_top_genre),
        ("no genre at all", found.no_genre),
    ):
        by_split = ", ".join(f"{split or '(none)'} {n:,}" for split, n in counts.items())
        total = sum(counts.values())
        share = f" ({total / found.tracks:.1%})" if found.tracks else ""
        typer.echo(f"  {text}: {total:,}{share}" + (f": {by_split}" if by_split else ""))
    typer.echo(f"\nKnown to be bad: {counted(len(found.known_bad), 'track')}")
    if found.known_bad:
        _table(
            ("track", "why"), [(str(track), why) for track, why in found.known_bad.items()], (0,)
        )
    for column, count in found.unreadable.items():
        typer.echo(f"{column}: {counted(count, 'cell')} left empty, not readable")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> None:
    shown = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [
            cell.rjust(width) if at in numeric else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo(("  " + "  ".join(cells)).rstrip())


# --- progress ---------------------------------------------------------------


@contextmanager
def _progress(
    stages: Mapping[str, str], *, sizes: Sequence[str] = ()
) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on a terminal, a line now and then elsewhere; both on standard error.

    `stages` are their titles; those in `sizes` count bytes.
    """
    if not animated(sys.stderr):
        yield _Lines(stages, sizes)
        return
    from rich import progress as bars

    from genrescope.apps.cli.render import console

    screen = console(sys.stderr)
    room = screen.width - 68  # beside the other columns, at their longest
    with bars.Progress(
        bars.TextColumn(" {task.description}"),
        *([bars.BarColumn(bar_width=min(40, room))] if room >= 8 else []),
        bars.TaskProgressColumn(),
        *([bars.DownloadColumn()] if sizes else []),
        *([bars.TransferSpeedColumn()] if sizes and room >= 0 else []),
        bars.TimeRemainingColumn(compact=True),
        console=screen,
        transient=True,
    ) as shown:
        yield _Bars(shown, stages)


class _Bars:
    """One bar a stage; it moves no more often than an eye can see."""

    def __init__(self, shown: Progress, stages: Mapping[str, str]) -> None:
        self._shown, self._stages = shown, stages
        self._stage, self._at = "", 0.0
        self._task = shown.add_task("starting", total=None)

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._shown.remove_task(self._task)
            self._task = self._shown.add_task(self._stages[stage], total=total)
            self._stage = stage
        elif now - self._at < _FRESH and done != total:
            return
        self._at = now
        self._shown.update(self._task, completed=done, total=total)


class _Lines:
    """A line when a stage begins, every few seconds, and when it ends."""

    def __init__(self, stages: Mapping[str, str], sizes: Sequence[str]) -> None:
        self._stages, self._sizes = stages, sizes
        self._stage, self._at = "", 0.0
        self._began, self._had = 0.0, 0
        self._said = ""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._at, self._began, self._had = stage, 0.0, now, done
        if now - self._at < _EVERY and self._at and done != total:
            return
        self._at = now
        line = self._line(stage, done, total, now - self._began)
        if line != self._said:
            typer.echo(line, err=True)
        self._said = line

    def _line(self, stage: str, done: int, total: int | None, seconds: float) -> str:
        from genrescope.catalog.storage import human_bytes

        sized = stage in self._sizes
        line = f"{self._stages[stage]}: {human_bytes(done) if sized else f'{done:,}'}"
        if not sized and total is None:
            line += " rows"
        if total:
            line += f" of {human_bytes(total) if sized else f'{total:,}'} ({done / total:.0%})"
        if sized and seconds >= 1:
            line += f", {human_bytes(int((done - self._had) / seconds))}/s"
        return line
