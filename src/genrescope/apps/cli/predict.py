"""``genrescope predict``: genres of files, folders and lists."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.batch import Batch
from genrescope.apps.cli.clusters import cluster_of, predict_there
from genrescope.apps.cli.interrupts import Interrupts
from genrescope.apps.cli.text import NOT_SURE, percent

if TYPE_CHECKING:
    from genrescope.apps.cli.details import Details
    from genrescope.audio.scale import Cluster
    from genrescope.learn.prediction import FailedPrediction, Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["predict"]

DEFAULT_TOP = 3
TAGGER = "musicnn"
TIMELINE_WINDOWS = 20


class _Shown(NamedTuple):
    """What of an answer is shown, and how."""

    form: str
    top: int
    details: Details


def predict(
    paths: options.Paths = None,
    null: options.Null = False,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="FILE",
            show_default=False,
            help="Tracks without sound: a CSV table with title, artist, ... (instead of PATH).",
        ),
    ] = None,
    workers: options.Workers = None,
    windows: Annotated[
        int | None,
        options.number(
            "--windows",
            "Windows of 30 s to hear of a long track, spread evenly over it.",
            min=1,
            default=f"5; {TIMELINE_WINDOWS} with --timeline",
            rich_help_panel=options.HEARING,
        ),
    ] = None,
    bundle: options.Bundle = "default",
    metadata: options.Metadata = True,
    together: Annotated[
        bool,
        typer.Option(
            "--together/--alone",
            help="Judge all tracks of an artist together, once the last is heard, or each for "
            "itself, at once.",
            rich_help_panel=options.HEARING,
        ),
    ] = False,
    encoder: Annotated[
        str,
        options.text(
            "--encoder",
            "With --tags: whose words.",
            rich_help_panel=options.HEARING,
            autocompletion=completion.encoders,
        ),
    ] = TAGGER,
    json: options.Json = False,
    jsonl: options.JsonLines = False,
    csv: options.Csv = False,
    top: options.Top = DEFAULT_TOP,
    timeline: Annotated[
        bool,
        typer.Option(
            "--timeline",
            help="Show how the genre changes over time.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    tree: Annotated[
        bool,
        typer.Option(
            "--tree",
            help="Show sub-genres with what they are part of.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    sets: Annotated[
        bool,
        typer.Option(
            "--sets",
            help="Show the genres that hold the right one nine times in ten.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    tags: Annotated[
        bool,
        typer.Option(
            "--tags",
            help="Show what an encoder hears, in its own words, in place of genres.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    scheduler: options.Scheduler = None,
    cluster: options.Cluster = None,
) -> None:
    """Recognise the genre of music files.

    The files are read and nothing is written. "Not sure" is an answer.

    Exit codes: 0 every file was recognised, 1 some could not be, 2 wrong usage or nothing to do,
    130 stopped by Ctrl-C (what was done until then is printed).

    Examples:

      genrescope predict song.mp3 ~/Music
      genrescope predict ~/Music --csv > genres.csv
      find . -name "*.flac" -print0 | genrescope predict -0 - --jsonl
      genrescope predict --table tracks.csv --csv
      genrescope predict song.mp3 --timeline --tree --sets
      genrescope predict --encoder musicnn --tags song.mp3
    """
    from genrescope.apps.cli.details import Details

    paths = options.check_paths(paths, null=null)
    form = options.form_of(json=json, jsonl=jsonl, csv=csv)
    if csv and timeline:
        raise typer.BadParameter("--timeline: does not fit into CSV; use the table or --json")
    if bool(paths) == (table is not None):
        raise typer.BadParameter(
            "PATH: is missing; give files or folders, or a --table of tracks without sound"
            if not paths
            else "--table: excludes PATH; give one of them"
        )
    if encoder != TAGGER and not tags:
        raise typer.BadParameter(
            "--encoder: goes with --tags; for genres, a bundle names the encoders that it needs"
        )
    if (scheduler or cluster) and (tags or table is not None or workers is not None):
        raise typer.BadParameter(
            "--scheduler and --cluster: hear files; leave out --tags, --table and --workers"
        )
    if tags:
        from genrescope.apps.cli.encoders import show_tags

        if table is not None:
            raise typer.BadParameter("--tags: needs sound; give files, not a --table")
        batch = Batch(paths, null=null)
        code = show_tags(
            batch, encoder=encoder, form=form, top=top, windows=windows, workers=workers
        )
        raise typer.Exit(code)
    shown = _Shown(form, top, Details(timeline=timeline, tree=tree, sets=sets))
    if table is not None:
        if together or timeline or tree:
            raise typer.BadParameter(
                "--table: has no sound; leave out --together, --timeline and --tree"
            )
        if not metadata:
            raise typer.BadParameter(
                "--no-metadata: leaves nothing of a --table to judge by; leave it out"
            )
        raise typer.Exit(_predict_table(table, bundle, shown))

    with Interrupts() as interrupts:
        try:
            from genrescope.learn.recogniser import Recogniser

            with cluster_of(scheduler, cluster) as engine:
                recogniser = Recogniser.load(
                    bundle,
                    n_windows=TIMELINE_WINDOWS if timeline and windows is None else windows,
                    workers=workers,
                    metadata=metadata,
                )
                batch = Batch(paths, null=null)
                code = _predict(
                    recogniser, batch, interrupts, shown=shown, together=together, engine=engine
                )
        except KeyboardInterrupt:  # before there was anything to print
            if json:
                typer.echo('{"predictions": [], "errors": []}')
            code = interrupts.exit_code
    raise typer.Exit(code)


def _predict(
    recogniser: Recogniser,
    batch: Batch,
    interrupts: Interrupts,
    *,
    shown: _Shown,
    together: bool,
    engine: Cluster | None,
) -> int:
    from genrescope.apps.cli import sinks
    from genrescope.apps.cli.progress import Progress
    from genrescope.learn.prediction import FailedPrediction

    form, top, details = shown
    if details.tree and not recogniser.knows_subgenres:
        raise typer.BadParameter(
            f"--tree: {recogniser.bundle.name} knows no sub-genres; "
            "take one that does, such as --bundle default"
        )
    out = sys.stdout
    streams_to_terminal = form in ("jsonl", "csv") and out.isatty()
    progress = Progress("Recognising", unit="files", wanted=not streams_to_terminal)
    if progress.shown:
        batch.look_ahead()
        progress.total = batch.total
    # A table on a terminal shares the screen with the progress bar, and is printed through it.
    live = progress.console if progress.shown and out.isatty() else None
    sink = sinks.make_sink(form, out, genres=recogniser.genres, top=top, details=details, live=live)

    started = time.monotonic()
    verdicts: Counter[str | None] = Counter()
    failures: list[FailedPrediction] = []
    held: list[Prediction] | None = [] if together else None
    if together:
        recogniser.together([])  # says now, rather than at the end, that the bundle cannot

    def take(result: Prediction | FailedPrediction) -> None:
        with interrupts.held():  # so that a line is written whole or not at all
            if isinstance(result, FailedPrediction):
                failures.append(result)
                sink.failure(result)
            else:
                if held is not None:
                    held.append(result)
                    return
                verdicts[result.genre] += 1
                sink.prediction(result)

    try:
        with progress, closing(predict_there(recogniser, batch, engine)) as results:
            for result in results:
                take(batch.explain(result))
                progress.advance()
            for failure in batch.unread:
                take(failure)
    except KeyboardInterrupt:
        pass
    if held:
        alone, held = held, None
        for judged in recogniser.together(alone):
            take(judged)
    sink.close()
    out.flush()

    done = sum(verdicts.values()) + len(failures)
    tell = progress.tell
    if done == 0 and not interrupts.happened:
        tell(f"genrescope: {batch.nothing_found()}")
        return 2
    if form == "table":
        if sys.stderr.isatty() and failures and verdicts:
            tell("")
        sinks.list_failures(failures, total=done, write=tell)
        if sys.stderr.isatty():  # a person, who may want nothing that moves
            _summarise(verdicts, time.monotonic() - started, recogniser, tell)
    elif failures:
        tell(f"{len(failures)} of {done} files could not be recognised; the output says why")
    if interrupts.happened:
        tell(f"stopped after {done} files")
        return interrupts.exit_code
    if failures:
        return 2 if batch.only_patterns(failures) and not verdicts else 1
    return 0


def _predict_table(path: Path, bundle: str, shown: _Shown) -> int:
    """Recognise tracks that are only written about."""
    from genrescope.apps.cli import sinks
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.parts.about import read_about_table
    from genrescope.learn.parts.fusion import predict_table

    known = Bundle.load(bundle)
    rows = read_about_table(path)
    form, top, details = shown
    sink = sinks.make_sink(form, sys.stdout, genres=known.genres, top=top, details=details)
    for result in predict_table([about for _, about in rows], known):
        sink.prediction(result)
    sink.close()
    return 0


def _summarise(
    verdicts: Counter[str | None],
    seconds: float,
    recogniser: Recogniser,
    tell: Callable[[str], None],
) -> None:
    """What there was, for a person who looks at a long table."""
    n, unsure = sum(verdicts.values()), verdicts[None]
    if n > 1:
        parts = [f"{count} {genre}" for genre, count in verdicts.most_common() if genre]
        parts += [f"{unsure} {NOT_SURE}"] if unsure else []
        tell(f"\n {n} tracks in {seconds:.1f} s: {', '.join(parts)}")
    abstention = recogniser.card["abstention"]
    if unsure and abstention["threshold"] is not None and abstention["accuracy_when_sure"]:
        tell(
            f" {NOT_SURE}: below {percent(abstention['threshold'])}. From there on, "
            f"{percent(abstention['accuracy_when_sure'])} are right (tested on new artists)."
        )
