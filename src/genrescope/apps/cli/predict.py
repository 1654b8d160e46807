"""``genrescope predict``: genres of files, folders and lists."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrescope.apps.cli.batch import Batch
from genrescope.apps.cli.details import Details
from genrescope.apps.cli.interrupts import Interrupts
from genrescope.apps.cli.scheduler import (
    ClusterOption,
    SchedulerOption,
    cluster_of,
    predict_there,
)
from genrescope.apps.cli.terminal import silence_stdout
from genrescope.apps.cli.text import NOT_SURE, percent

if TYPE_CHECKING:
    from genrescope.audio.scale import Cluster
    from genrescope.learn.prediction import FailedPrediction, Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["predict"]

DEFAULT_TOP = 3
TAGGER = "musicnn"
TIMELINE_WINDOWS = 20

_NO_READER = 141  # 128 + SIGPIPE, which Windows does not have


def predict(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Files, folders (searched recursively), patterns; - reads a list from stdin.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel="Output")
    ] = False,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            help="Print one JSON object a line, each as soon as its file is done.",
            rich_help_panel="Output",
        ),
    ] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, one row a file.", rich_help_panel="Output")
    ] = False,
    top: Annotated[
        int,
        typer.Option(
            "--top",
            "-k",
            min=1,
            metavar="K",
            help="Genres to show a track.",
            rich_help_panel="Output",
        ),
    ] = DEFAULT_TOP,
    timeline: Annotated[
        bool,
        typer.Option(
            "--timeline", help="Show how the genre changes over time.", rich_help_panel="Output"
        ),
    ] = False,
    tree: Annotated[
        bool,
        typer.Option(
            "--tree",
            help="Show sub-genres with what they are part of.",
            rich_help_panel="Output",
        ),
    ] = False,
    sets: Annotated[
        bool,
        typer.Option(
            "--sets",
            help="Show the genres that hold the right one nine times in ten.",
            rich_help_panel="Output",
        ),
    ] = False,
    null: Annotated[
        bool,
        typer.Option("--null", "-0", help="The list on stdin has NUL between names, not newlines."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-j",
            min=0,
            metavar="N",
            show_default=False,
            help="Processes that decode (default: one a core; 0: none, and no protection from "
            "files that crash a decoder).",
        ),
    ] = None,
    windows: Annotated[
        int | None,
        typer.Option(
            "--windows",
            min=1,
            metavar="N",
            show_default=False,
            help="Windows of 30 s to hear of a long track, spread evenly over it "
            f"(default: 5; with --timeline {TIMELINE_WINDOWS}).",
        ),
    ] = None,
    bundle: Annotated[
        str, typer.Option("--bundle", metavar="DIR", help="The recogniser to use.")
    ] = "default",
    metadata: Annotated[
        bool,
        typer.Option(
            "--metadata/--no-metadata",
            help="Whether title, artist, album and date in the tags of a file have a say.",
        ),
    ] = True,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="Judge all tracks of an artist together; nothing is printed before the last is "
            "heard.",
        ),
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="FILE",
            show_default=False,
            help="Tracks without sound: a CSV table with title, artist, ... (instead of PATH).",
        ),
    ] = None,
    tags: Annotated[
        bool,
        typer.Option(
            "--tags",
            help="Show what an encoder hears, in its own words, in place of genres.",
            rich_help_panel="Output",
        ),
    ] = False,
    encoder: Annotated[
        str,
        typer.Option("--encoder", metavar="NAME", help="With --tags: whose words."),
    ] = TAGGER,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Recognise the genre of music files.

    Exit codes: 0 every file was recognised ("not sure" is an answer),
    1 some could not be, 2 wrong usage or no files,
    130 stopped by Ctrl-C (what was done until then is printed).

    Examples:

      genrescope predict song.mp3 ~/Music
      genrescope predict ~/Music --csv > genres.csv
      find . -name "*.flac" -print0 | genrescope predict -0 - --jsonl
      genrescope predict --table tracks.csv --csv
      genrescope predict --encoder musicnn --tags song.mp3
    """
    paths = paths or []
    if sum((json, jsonl, csv)) > 1:
        raise typer.BadParameter("--json, --jsonl and --csv exclude each other: give one of them")
    if csv and timeline:
        raise typer.BadParameter(
            "--timeline does not fit into CSV: use the table, --json or --jsonl"
        )
    if null and "-" not in paths:
        raise typer.BadParameter("--null is about a list on stdin: give - as a path")
    if "" in paths:
        raise typer.BadParameter("one of the paths is empty")
    if bool(paths) == (table is not None):
        raise typer.BadParameter("give files or folders, or a --table of tracks without sound")
    if encoder != TAGGER and not tags:
        raise typer.BadParameter(
            "--encoder goes with --tags; for genres, a bundle names the encoders that it needs"
        )
    if (scheduler or cluster) and (tags or table is not None or workers is not None):
        raise typer.BadParameter(
            "--scheduler and --cluster hear files: leave out --tags, --table and --workers"
        )
    form = "json" if json else "jsonl" if jsonl else "csv" if csv else "table"
    if tags:
        from genrescope.apps.cli.encoders import show_tags

        if table is not None:
            raise typer.BadParameter("--tags needs sound: give files, not a --table")
        batch = Batch(paths, null=null)
        code = show_tags(
            batch, encoder=encoder, form=form, top=top, windows=windows, workers=workers
        )
        raise typer.Exit(code)
    details = Details(timeline=timeline, tree=tree, sets=sets)
    if table is not None:
        if together or timeline or tree:
            raise typer.BadParameter("--together, --timeline and --tree need sound, not a --table")
        if not metadata:
            raise typer.BadParameter("--no-metadata leaves nothing of a --table to judge by")
        raise typer.Exit(_predict_table(table, form=form, top=top, details=details, bundle=bundle))

    with Interrupts() as interrupts:
        try:
            with cluster_of(scheduler, cluster) as engine:
                code = _predict(
                    Batch(paths, null=null),
                    interrupts,
                    form=form,
                    top=top,
                    details=details,
                    workers=workers,
                    windows=TIMELINE_WINDOWS if timeline and windows is None else windows,
                    bundle=bundle,
                    metadata=metadata,
                    together=together,
                    engine=engine,
                )
        except KeyboardInterrupt:  # before there was anything to print
            if json:
                typer.echo('{"predictions": [], "errors": []}')
            code = interrupts.exit_code
        except BrokenPipeError:  # the reader of a pipe has left, as `head` does
            silence_stdout()
            code = _NO_READER
    raise typer.Exit(code)


def _predict(
    batch: Batch,
    interrupts: Interrupts,
    *,
    form: str,
    top: int,
    details: Details,
    workers: int | None,
    windows: int | None,
    bundle: str,
    metadata: bool,
    together: bool,
    engine: Cluster | None,
) -> int:
    from genrescope.apps.cli import sinks
    from genrescope.apps.cli.progress import Progress
    from genrescope.learn.prediction import FailedPrediction
    from genrescope.learn.recogniser import Recogniser

    recogniser = Recogniser.load(bundle, n_windows=windows, workers=workers, metadata=metadata)
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
        if progress.shown and failures and verdicts:
            tell("")
        sinks.list_failures(failures, total=done, write=tell)
        if progress.shown:
            _summarise(verdicts, time.monotonic() - started, recogniser, tell)
    elif failures:
        tell(f"{len(failures)} of {done} files could not be recognised; the output says why")
    if interrupts.happened:
        tell(f"stopped after {done} files")
        return interrupts.exit_code
    if failures:
        return 2 if batch.only_patterns(failures) and not verdicts else 1
    return 0


def _predict_table(path: Path, *, form: str, top: int, details: Details, bundle: str) -> int:
    """Recognise tracks that are only written about."""
    from genrescope.apps.cli import sinks
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.parts.about import read_about_table
    from genrescope.learn.parts.fusion import predict_table

    known = Bundle.load(bundle)
    rows = read_about_table(path)
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
