"""``genrescope predict``: genres of files, folders and lists."""

from __future__ import annotations

import glob
import os
import select
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrescope.apps.cli.details import Details
from genrescope.apps.cli.interrupts import Interrupts, silence_stdout
from genrescope.apps.cli.render import NOT_SURE, percent, printable

if TYPE_CHECKING:
    from genrescope.learn.prediction import FailedPrediction, Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["predict"]

DEFAULT_TOP = 3
TIMELINE_WINDOWS = 20

_POLL = 0.1  # s
_NO_READER = 141  # 128 + SIGPIPE, which Windows does not have


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Files, folders (searched recursively), patterns; - reads a list from stdin.",
        ),
    ],
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
) -> None:
    """Recognise the genre of music files.

    Exit codes: 0 every file was recognised ("not sure" is an answer),
    1 some could not be, 2 wrong usage or no files,
    130 stopped by Ctrl-C (what was done until then is printed).

    Examples:

      genrescope predict song.mp3 ~/Music
      genrescope predict ~/Music --csv > genres.csv
      find . -name "*.flac" -print0 | genrescope predict -0 - --jsonl
    """
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

    with Interrupts() as interrupts:
        try:
            code = _predict(
                _Batch(paths, null=null),
                interrupts,
                form="json" if json else "jsonl" if jsonl else "csv" if csv else "table",
                top=top,
                details=Details(timeline=timeline, tree=tree, sets=sets),
                workers=workers,
                windows=TIMELINE_WINDOWS if timeline and windows is None else windows,
                bundle=bundle,
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
    batch: _Batch,
    interrupts: Interrupts,
    *,
    form: str,
    top: int,
    details: Details,
    workers: int | None,
    windows: int | None,
    bundle: str,
) -> int:
    from genrescope.apps.cli import sinks
    from genrescope.apps.cli.progress import Progress
    from genrescope.learn.prediction import FailedPrediction
    from genrescope.learn.recogniser import Recogniser

    recogniser = Recogniser.load(bundle, n_windows=windows, workers=workers)
    if details.tree and not recogniser.knows_subgenres:
        raise typer.BadParameter(
            f"--tree: {recogniser.bundle.name} knows no sub-genres; "
            'take one that does, such as --bundle default'
        )
    out = sinks.stdout()
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

    def take(result: Prediction | FailedPrediction) -> None:
        with interrupts.held():  # so that a line is written whole or not at all
            if isinstance(result, FailedPrediction):
                failures.append(result)
                sink.failure(result)
            else:
                verdicts[result.genre] += 1
                sink.prediction(result)

    try:
        with progress, closing(recogniser.predict_many(batch)) as results:
            for result in results:
                take(batch.explain(result))
                progress.advance()
            for failure in batch.unread:
                take(failure)
    except KeyboardInterrupt:
        pass
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


class _Batch:
    """The files that the arguments mean, found as they are needed.

    Attributes
    ----------
    total : int or None
        How many there are, after :meth:`look_ahead`.
    unread : list of FailedPrediction
        Folders that could not be searched.
    """

    def __init__(self, given: list[str], *, null: bool) -> None:
        self._given = given
        self._null = null
        self._found: list[Path] | None = None
        self.total: int | None = None
        self.unread: list[FailedPrediction] = []

    def look_ahead(self) -> None:
        """Count the files, unless they come from a list that may still grow."""
        if "-" not in self._given:
            self._found = [path for path in self if path is not None]
            self.total = len(self._found)

    def __iter__(self) -> Iterator[Path | None]:
        """Each file once; None where the list on stdin is waited for."""
        if self._found is not None:
            yield from self._found
            return
        from genrescope.catalog.folders import find_audio

        seen: set[str] = set()
        for given in self._arguments():
            if given is None:
                yield None
                continue
            for path in find_audio(given, on_error=self._note):
                key = os.path.abspath(path)
                if key not in seen:
                    seen.add(key)
                    yield path

    def explain(self, result: Prediction | FailedPrediction) -> Prediction | FailedPrediction:
        """Say of a pattern that it matches nothing, rather than that there is no such file."""
        from genrescope.learn.prediction import FailedPrediction

        if isinstance(result, FailedPrediction) and self._is_pattern(result.path):
            message = f"{result.path}: no file matches this pattern"
            return FailedPrediction(result.path, result.error, message)
        return result

    def only_patterns(self, failures: list[FailedPrediction]) -> bool:
        """Whether all that failed is patterns that match nothing."""
        return all(self._is_pattern(failure.path) for failure in failures)

    def nothing_found(self) -> str:
        """What to say where there was not one file."""
        where = ", ".join(printable(path) for path in self._given if path != "-")
        places = [where] if where else []
        if "-" in self._given:
            places.append("the list on stdin")
        suffixes = " ".join(("mp3", "flac", "wav", "aiff", "ogg", "opus", "m4a", "wma"))
        return (
            f"no audio files in {' or '.join(places)}; "
            f"in folders, files that end in {suffixes} and the like are taken"
        )

    def _is_pattern(self, path: Path) -> bool:
        return (
            str(path) in {str(Path(given)) for given in self._given}
            and glob.has_magic(str(path))
            and not os.path.lexists(path)
        )

    def _arguments(self) -> Iterator[str | None]:
        for given in self._given:
            if given == "-":
                yield from _listed(b"\0" if self._null else b"\n")
            else:
                yield given

    def _note(self, folder: Path, error: OSError) -> None:
        from genrescope.learn.prediction import FailedPrediction

        kind = "AudioPermissionError" if isinstance(error, PermissionError) else "AudioError"
        message = f"{folder}: the folder cannot be read ({error.strerror or error})"
        self.unread.append(FailedPrediction(folder, kind, message))


def _listed(separator: bytes) -> Iterator[str | None]:
    """Names from standard input, as they arrive; None where there is none at the moment."""
    source = sys.stdin.fileno()
    rest = b""
    while True:
        while not _readable(source):
            yield None
        # Not through sys.stdin, which would wait for a full buffer.
        chunk = os.read(source, 1 << 16)
        if not chunk:
            break
        *names, rest = (rest + chunk).split(separator)
        yield from _names(names, separator)
    yield from _names([rest], separator)


def _readable(source: int) -> bool:
    """Whether there is something to read, or the end; waits a little for it."""
    try:
        return bool(select.select([source], [], [], _POLL)[0])
    except (OSError, ValueError):  # Windows can do this with sockets only
        return True


def _names(raw: list[bytes], separator: bytes) -> Iterator[str]:
    for name in raw:
        cut = name.removesuffix(b"\r") if separator == b"\n" else name
        if cut:
            yield os.fsdecode(cut)


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
