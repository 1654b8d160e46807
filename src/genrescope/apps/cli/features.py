"""``genrescope features``: features of many audio files, on disk, to learn from."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.clusters import cluster_of
from genrescope.apps.cli.command import Family
from genrescope.apps.cli.interrupts import resumable
from genrescope.apps.cli.terminal import animated
from genrescope.apps.cli.text import counted, print_json, printable

if TYPE_CHECKING:
    from genrescope.audio.store.recipe import Recipe
    from genrescope.audio.store.write import Summary

__all__ = ["features"]

features = Family("Extract features of many audio files into a store, check it and read it.")

_EVERY = 10.0  # s between two lines of progress where there is no terminal
_FRESH = 0.1  # s between two movements of the bar

_Store = Annotated[
    str, typer.Argument(metavar="STORE", help="The folder of a store, or its URL (s3://...).")
]


@features.command("extract")
def extract(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of audio, with or without a folder for each genre; a manifest (CSV or "
            "Parquet, column path); or prepared FMA tables, with --audio.",
        ),
    ],
    out: Annotated[
        str,
        options.out(
            "Folder of the store, or URL (s3://...). The same command goes on where a killed one "
            "stopped."
        ),
    ],
    what: Annotated[
        str | None,
        options.text(
            "--what",
            "Some of mel,descriptors,frames.",
            metavar="NAME,...",
            default="what the store has, or all",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        options.number(
            "--seconds",
            "Of each track, from its beginning, for mel and descriptors.",
            metavar="SECONDS",
            default="30",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        options.text(
            "--dtype",
            "Of mel: uint8 (steps of 0.31 dB) or float16.",
            default="uint8",
            autocompletion=completion.of("uint8", "float16"),
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        options.text("--audio", "FMA's sound: the unpacked fma_small, ...", metavar="FOLDER"),
    ] = None,
    subset: Annotated[
        str | None,
        options.text(
            "--subset",
            "Of FMA: small, medium, large or full.",
            autocompletion=completion.subsets,
        ),
    ] = None,
    genre_folders: Annotated[
        bool | None,
        typer.Option(
            "--genre-folders/--no-genre-folders",
            show_default="if all are known as such",
            help="Whether the folders in SOURCE are genres.",
        ),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try tracks in quarantine once more.")
    ] = False,
    part: Annotated[
        int,
        options.number(
            "--part-size", "Tracks that are committed at a time, as a part.", "--batch", min=1
        ),
    ] = 128,
    workers: options.Workers = None,
    timeout: options.Timeout = 120.0,
    scheduler: options.Scheduler = None,
    cluster: options.Cluster = None,
    partitions: Annotated[
        int | None,
        options.number(
            "--partitions",
            "Make a store of N partitions, as a cluster and a URL need.",
            min=1,
            default="there, one for each 10,000 tracks",
            rich_help_panel=options.CLUSTER,
        ),
    ] = None,
) -> None:
    """Bring features of all tracks of a source into a store.

    mel: spectrograms of 128 bands at 22,050 Hz. descriptors: the 518 of FMA's features.csv.
    frames: what the shipped recogniser reads.

    Stopped at any moment, even by kill -9, the same command goes on where it was, with no track
    twice and none left out. A file that cannot be read goes into quarantine.csv with the reason,
    and is tried again with --retry or when it was replaced. A file that was replaced is read
    again.

    On a cluster the workers read the files and write the store, so all of them must see both
    under the same names. --workers is for a run without one.

    Exit codes: 0 all tracks are in the store, 1 some are in quarantine, 2 wrong usage or nothing
    to do, 130 stopped by Ctrl-C (the same command goes on where it was).

    Examples:

      genrescope features extract ~/Music --out store --what mel,descriptors
      genrescope features extract manifest.csv --out store --workers 4
      genrescope features extract prepared --audio fma_small --subset small --out store
    """
    from genrescope.audio.store.sources import find_tracks
    from genrescope.audio.store.write import Extraction
    from genrescope.audio.store.write import extract as extract_here

    if workers is not None and (scheduler or cluster):
        raise typer.BadParameter("--workers: is for a run without a cluster; leave it out")
    recipe = _recipe(out, what, seconds, dtype)
    catalogue = find_tracks(
        source, audio=audio, subset=subset, genre_folders=genre_folders, on_error=_unread
    )
    started = time.monotonic()
    how = Extraction(recipe, retry=retry, timeout=timeout, batch=part)
    with (
        resumable(),
        cluster_of(scheduler, cluster) as engine,
        _progress("Extracting", "tracks") as report,
    ):
        if engine is None and partitions is None and not _partitioned(out):
            done = extract_here(catalogue, out, how=how, workers=workers, report=report)
        else:
            from genrescope.audio.scale import Threads
            from genrescope.audio.scale.extract import extract_scaled

            if workers == 0:
                raise typer.BadParameter("--workers: 0 is for stores without partitions; give 1")
            done = extract_scaled(
                catalogue,
                out,
                engine=engine or Threads(workers),
                how=how,
                partitions=partitions,
                report=report,
            )
    _say(done, catalogue.kind, out, time.monotonic() - started)
    raise typer.Exit(1 if done.quarantined else 0)


@features.command("verify")
def verify(
    store: _Store,
    recompute: Annotated[
        int,
        options.number("--recompute", "Extract N random tracks again, and compare.", min=0),
    ] = 0,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    json: options.Json = False,
) -> None:
    """Check a store: checksums, rows, ids, NaN, and what is missing.

    The store is read and nothing is written.

    Exit codes: 0 the store is whole, 1 something is wrong, 2 wrong usage or nothing to do, 130
    stopped by Ctrl-C.

    Examples:

      genrescope features verify store
      genrescope features verify store --recompute 20
    """
    from genrescope.audio.store.verify import to_json
    from genrescope.audio.store.verify import verify as check

    with resumable(), _progress("Checking", "parts") as report:
        found = check(
            store,
            recompute=recompute,
            seed=seed,
            workers=workers,
            report=lambda done, total: report(done, total, 0),
        )
    if json:
        typer.echo(to_json(found))
        raise typer.Exit(0 if found.whole else 1)
    from genrescope.catalog.storage import human_bytes

    typer.echo(
        f"{store}: {counted(found.tracks, 'track')}, {found.quarantined:,} in quarantine; "
        f"{counted(found.files, 'file')}, {human_bytes(found.bytes)}"
    )
    if found.recomputed:
        typer.echo(
            f"{counted(found.recomputed, 'track')} extracted again: {found.identical:,} the same "
            "to the bit"
        )
    for note in found.notes:
        typer.echo(f"note: {note}")
    for problem in found.problems:
        typer.echo(f"wrong: {problem}")
    typer.echo("clean" if found.whole else f"{counted(len(found.problems), 'problem')}")
    raise typer.Exit(0 if found.whole else 1)


@features.command("info")
def info(store: _Store, json: options.Json = False) -> None:
    """Say what is in a store, by which parameters, and what could not be read.

    The store is read and nothing is written.

    Exit codes: 0 there is a store, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope features info store
    """
    from genrescope.audio.store import FeatureStore

    opened = FeatureStore.open(store)
    said = opened.describe()
    if json:
        print_json(said)
        return
    from genrescope.catalog.storage import human_bytes

    if said["simulated"]:
        typer.echo("SIMULATED: the tracks are made up; their numbers say nothing about music\n")
    typer.echo(
        f"{store}: {counted(said['tracks'], 'track')} ({said['source']}), "
        f"{said['seconds'] / 3600:.1f} h of sound read, {human_bytes(said['bytes'])} in "
        f"{counted(said['parts'], 'part')}"
    )
    for name, about in said["arrays"].items():
        typer.echo(f"  {name}: {' x '.join(map(str, about['shape']))} {about['dtype']}")
    for kind, end in said["front_ends"].items():
        parameters = ", ".join(f"{key} {value}" for key, value in end["parameters"].items())
        typer.echo(f"\n{kind}, version {end['version']}, hash {end['hash']}:\n  {parameters}")
    if said["genres"]:
        genres = ", ".join(f"{name or '(none)'} {n:,}" for name, n in said["genres"].items())
        typer.echo(f"\nGenres: {printable(genres)}")
    if said["not_extracted"]:
        typer.echo(f"\nNot extracted yet: {counted(said['not_extracted'], 'track')}")
    if opened.quarantine:
        typer.echo(f"\nIn quarantine: {counted(len(opened.quarantine), 'track')}")
        for failure in opened.quarantine[:20]:
            typer.echo(f"  {printable(failure.error)}: {printable(failure.reason)}")
        if len(opened.quarantine) > 20:
            typer.echo(f"  ... all of them are in {_quarantine(store)}")


@features.command("export")
def export(store: _Store, out: options.OutFolder) -> None:
    """Write a store in the forms that the other commands read.

    Frames become small_tracks.csv, small_mel_frames.npz and small_mfcc.npz, for
    `genrescope evaluate --data` and `genrescope train NETWORK --data`. Descriptors become
    descriptors.parquet, for `genrescope lab`. The store stays as it is.

    Exit codes: 0 the files are written, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope features export store --out prepared
    """
    from genrescope.audio.store import FeatureStore
    from genrescope.audio.store.export import export_prepared, export_table
    from genrescope.errors import DataError

    opened = FeatureStore.open(store)
    kinds = [kind for kind in ("frames", "descriptors") if kind in opened.recipe.what]
    if not kinds:
        raise DataError(
            f"{store}: holds mel alone, which is read from the store itself; extract frames or "
            "descriptors, too"
        )
    if "frames" in kinds:
        for path in export_prepared(opened, out):
            typer.echo(path)
    if "descriptors" in kinds:
        typer.echo(export_table(opened, out / "descriptors.parquet"))


# --- what a person reads ----------------------------------------------------


def _said(out: str) -> dict[str, Any] | None:
    """What the store says of itself; None where there is none yet."""
    from genrescope.audio.store import open_description
    from genrescope.audio.store.description import DESCRIPTION
    from genrescope.audio.store.place import Place, is_url

    there = Place(out).exists(DESCRIPTION) if is_url(out) else (Path(out) / DESCRIPTION).exists()
    return open_description(out)[1] if there else None


def _partitioned(out: str) -> bool:
    """Whether it is a store of partitions, or can be no other."""
    from genrescope.audio.store.place import is_url

    return is_url(out) or "partitions" in (_said(out) or {})


def _recipe(out: str, what: str | None, seconds: float | None, dtype: str | None) -> Recipe:
    """What was asked for; where nothing was, what the store has."""
    from genrescope.audio.store.recipe import Recipe, parse_what

    said = _said(out)
    there = Recipe() if said is None else Recipe.from_dict(said)
    return Recipe(
        there.what if what is None else parse_what(what),
        seconds=there.seconds if seconds is None else seconds,
        dtype=there.dtype if dtype is None else dtype,
    )


def _unread(folder: Path, error: OSError) -> None:
    typer.echo(
        f"{printable(str(folder))}: the folder cannot be read ({error.strerror or error}), and "
        "what is in it is left out",
        err=True,
    )


def _say(done: Summary, kind: str, out: str, seconds: float) -> None:
    if done.left_by is not None:
        typer.echo(
            f"Process {done.left_by} had ended in the middle; what it had not committed was done "
            "again",
            err=True,
        )
    new = done.added + done.replaced
    rate = f" in {seconds:.0f} s, {new / seconds:.1f} a second" if new and seconds >= 1 else ""
    typer.echo(f"{out}: {counted(done.rows, 'track')}; {new:,} now{rate} (source: {kind})")
    for count, text in (
        (done.kept, "were there already"),
        (done.replaced, "had another file than before"),
        (done.missing, "were there already, and their files are gone"),
    ):
        if count:
            typer.echo(f"  {count:,} {text}")
    if done.quarantined:
        where = _quarantine(out)
        waiting = f", {done.waiting:,} not tried again (--retry does)" if done.waiting else ""
        typer.echo(
            f"{counted(done.quarantined, 'track')} in quarantine{waiting}: {where} says why",
            err=True,
        )


def _quarantine(store: str) -> str:
    """Where it says what could not be read."""
    if _partitioned(store):
        return f"{store}/partition=*/quarantine.csv"
    return str(Path(store) / "quarantine.csv")


# --- progress ---------------------------------------------------------------


@contextmanager
def _progress(title: str, unit: str) -> Iterator[Callable[[int, int, int], None]]:
    """A bar on a terminal, a line now and then elsewhere; both on standard error."""
    if not animated(sys.stderr):
        yield _Lines(title, unit)
        return
    from rich import progress as bars

    from genrescope.apps.cli.render import console

    screen = console(sys.stderr)
    with bars.Progress(
        bars.TextColumn(" {task.description}"),
        bars.BarColumn(bar_width=max(8, min(40, screen.width - 64))),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}", style="dim"),
        bars.TimeRemainingColumn(compact=True),
        console=screen,
        transient=True,
    ) as shown:
        yield _Bar(shown, title, unit)


class _Rate:
    """How fast it goes, from the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, done: int) -> float:
        return done / max(time.monotonic() - self._began, 1e-3)


class _Bar:
    """The bar; it moves no more often than an eye can see."""

    def __init__(self, shown: Any, title: str, unit: str) -> None:
        self._shown, self._title, self._unit = shown, title, unit
        self._rate, self._at = _Rate(), 0.0
        self._task = shown.add_task(title, total=None, rate="")

    def __call__(self, done: int, total: int, failed: int) -> None:
        now = time.monotonic()
        if now - self._at < _FRESH and done != total:
            return
        self._at = now
        rate = f"{self._rate(done):.1f} {self._unit}/s" + (f", {failed} bad" if failed else "")
        self._shown.update(self._task, completed=done, total=total, rate=rate)


class _Lines:
    """A line every few seconds, and when it ends."""

    def __init__(self, title: str, unit: str) -> None:
        self._title, self._unit = title, unit
        self._rate, self._at = _Rate(), time.monotonic()

    def __call__(self, done: int, total: int, failed: int) -> None:
        now = time.monotonic()
        if now - self._at < _EVERY and done != total:
            return
        self._at = now
        rate = self._rate(done)
        left = int((total - done) / rate)
        line = f"{self._title}: {done:,} of {total:,} {self._unit} ({done / total:.0%}), "
        line += f"{rate:.1f}/s" + (f", {failed:,} failed" if failed else "")
        if left:
            line += f", {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        typer.echo(line, err=True)
