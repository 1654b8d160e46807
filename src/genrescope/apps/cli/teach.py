"""``genrescope teach``: a recogniser for the genres of a user's own collection."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of the recogniser. The same command goes on where a killed one stopped.",
        ),
    ],
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            metavar="NAME",
            show_default=False,
            help="What hears the tracks; may be given several times. See `genrescope encoders "
            "list`. (default: musicnn where it is installed, and frames)",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            metavar="COLUMN",
            show_default=False,
            help="Column of the table that says which tracks belong together, such as the "
            "artist; COLUMN//10 puts ten neighbouring numbers together. (default: artist, else "
            "album, else folder)",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the folds.")] = 0,
    folds: Annotated[int, typer.Option("--folds", min=2, help="For the test.")] = 5,
    windows: Annotated[
        int, typer.Option("--windows", min=1, help="Of 30 s, at most, of each track.")
    ] = 5,
    accuracy: Annotated[
        float | None,
        typer.Option(
            "--accuracy",
            min=0.01,
            max=0.99,
            show_default=False,
            help="Of the answers that are called sure. (default: the highest that can be promised)",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            show_default=False,
            help="Processes that listen; 0 for none beside this one. (default: one a core)",
        ),
    ] = None,
    page: Annotated[bool, typer.Option(help="Write a page with what was found out.")] = True,
    sound: Annotated[
        bool, typer.Option(help="Put the sound of doubtful tracks into the page.")
    ] = True,
) -> None:
    """Teach a recogniser your own genres.

    It learns from tracks that you have sorted, is tested on artists that it has not heard, and is
    written to DIR, for `genrescope predict --bundle DIR`. DIR/index.html says how good it is,
    whether more tracks would help, and which tracks look as if they were in the wrong place.
    """
    from genrescope.apps.cli.interrupts import resumable
    from genrescope.learn.teach.lesson import TeachSettings
    from genrescope.learn.teach.lesson import teach as learn

    settings = TeachSettings(
        encoders=tuple(encoder) if encoder else None,
        groups=groups,
        folds=folds,
        seed=seed,
        n_windows=windows,
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
