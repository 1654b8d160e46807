"""``genrescope teach``: a recogniser for the genres of a user's own collection."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options

if TYPE_CHECKING:
    from genrescope.learn.teach.lesson import Taught

__all__ = ["teach"]

_SHOWN = 5  # doubtful tracks on the terminal


def teach(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="A folder with a folder for each genre, or a table with the columns path and "
            "genre.",
        ),
    ],
    out: Annotated[
        Path,
        options.out(
            "Folder of the recogniser. The same command goes on where a killed one stopped."
        ),
    ],
    group: Annotated[
        str | None,
        options.text(
            "--group",
            "What must not be on both sides of a split, such as the artist; COLUMN//10 puts ten "
            "neighbouring numbers together.",
            "--groups",
            metavar="COLUMN",
            default="artist, else album, else folder",
        ),
    ] = None,
    seed: options.Seed = 0,
    folds: options.Folds = 5,
    accuracy: Annotated[
        float | None,
        options.number(
            "--accuracy",
            "Of the answers that are called sure.",
            metavar="P",
            min=0.01,
            max=0.99,
            default="the highest that can be promised",
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write a page with what was found out.")
    ] = True,
    sound: options.Sound = True,
    workers: options.Workers = None,
    windows: options.Windows = None,
    encoder: options.Encoder = None,
) -> None:
    """Teach a recogniser your own genres.

    It learns from tracks that you have sorted, is tested on artists that it has not heard, and is
    written to FOLDER, for `genrescope predict --bundle FOLDER`. FOLDER/index.html says how good
    it is, whether more tracks would help, and which tracks look as if they were in the wrong
    place. The tracks stay as they are.

    Exit codes: 0 the recogniser is written, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C
    (the same command goes on where it was).

    Examples:

      genrescope teach MY_GENRES --out mine
      genrescope teach tracks.csv --out mine --group artist --encoder musicnn
    """
    from genrescope.apps.cli.interrupts import resumable
    from genrescope.learn.teach.lesson import TeachSettings
    from genrescope.learn.teach.lesson import teach as learn

    settings = TeachSettings(
        encoders=tuple(encoder) if encoder else None,
        groups=group,
        folds=folds,
        seed=seed,
        n_windows=windows or 5,
        target_accuracy=accuracy,
    )
    command = shlex.join(["genrescope", "teach", *_arguments()])
    with resumable(), _Watch() as watch:
        taught = learn(
            source, out, settings=settings, workers=workers, command=command, report=watch
        )
        index = _write_page(taught, out, command=command, sound=sound) if page else None
    _print(taught, out, index)


def _arguments() -> list[str]:
    """What stood on the command line after the name of this command."""
    given = sys.argv[1:]
    return given[given.index("teach") + 1 :] if "teach" in given else []


def _write_page(taught: Taught, out: Path, *, command: str, sound: bool) -> Path | None:
    from genrescope.errors import MissingExtraError

    try:
        from genrescope.explain.teach_page import write_teach_page
    except MissingExtraError as error:
        typer.echo(f"genrescope: no page was written: {error}", err=True)
        return None
    return write_teach_page(taught, out, command=command, sound=sound)


class _Watch:
    """A bar while the tracks are heard, then a word on what is done."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._kept = 0
        self._tracks = 0

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *details: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

    def __call__(self, event: str, details: Any) -> None:
        from genrescope.apps.cli.progress import Progress

        if event == "start":
            self._tracks = details["tracks"]
            hearing = " and ".join(details["encoders"])
            typer.echo(f"{details['tracks']} tracks; hearing them with {hearing}", err=True)
        elif event == "kept":
            if details["tracks"]:
                typer.echo(f"{details['tracks']} were heard before", err=True)
            left = self._tracks - details["tracks"]
            if left > 0:
                self._bar = Progress("listening", unit="tracks", total=left)
                self._bar.__enter__()
        elif event == "heard":
            if self._bar is not None:
                self._bar.advance()
        elif event == "fold" and details["fold"] == 0 and details["of"] == "all":
            self._close()
            typer.echo("learning and testing", err=True)


def _print(taught: Taught, out: Path, index: Path | None) -> None:
    from rich.text import Text

    from genrescope.apps.cli.render import console, paragraph
    from genrescope.apps.cli.scores import format_scores
    from genrescope.apps.cli.text import printable

    screen = console()
    screen.print(format_scores(taught.bundle.card["metrics"]["scores"], width=screen.width))
    for name, scores in taught.alone:
        screen.print(Text(f" {name}: accuracy {scores.accuracy:.3f}"), style="dim")
    screen.print()
    paragraph(screen, f"Groups: {taught.grouping.by}.")
    abstention = taught.bundle.card["abstention"]
    if abstention["threshold"] is not None and abstention["accuracy_when_sure"] is not None:
        paragraph(
            screen,
            f"Sure of {100 * abstention['coverage']:.0f} % of the tracks, and right about "
            f"{100 * abstention['accuracy_when_sure']:.0f} % of those.",
        )
    if taught.curve is not None:
        paragraph(screen, taught.curve.words)
    for note in taught.notes:
        paragraph(screen, note)
    doubtful = taught.mislabelled.doubtful
    if doubtful:
        screen.print()
        paragraph(screen, f"{len(doubtful)} tracks do not sound like their genre:")
        for found in doubtful[:_SHOWN]:
            line = (
                f"   {printable(Path(taught.paths[found.row]).name)}: "
                f"{taught.genres[found.given]} {100 * found.p_given:.0f} %, "
                f"{taught.genres[found.suggested]} {100 * found.p_suggested:.0f} %"
            )
            screen.print(Text(line), soft_wrap=True)
        if len(doubtful) > _SHOWN:
            screen.print(Text(f"   and {len(doubtful) - _SHOWN} more, in {out / 'doubtful.csv'}"))
    screen.print()
    size = taught.bundle.card["graph"]["bytes"] / 1e6
    typer.echo(f"The recogniser is in {out} ({size:.1f} MB); use it with --bundle {out}")
    if index is not None:
        typer.echo(f"What was found out is in {index}")
