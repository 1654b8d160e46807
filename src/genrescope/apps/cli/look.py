"""``genrescope look``: what there is to see and hear in one track, or in two side by side."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli.terminal import animated
from genrescope.apps.cli.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

    from genrescope.explain.signal.excerpt import Excerpt
    from genrescope.explain.signal.measures import TrackSignal
    from genrescope.learn.prediction import Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["look"]

_LABEL = 10  # cells
_HARDLY = 0.5  # s
_SECONDS = 30.0  # as genrescope.explain.signal.excerpt.DEFAULT_SECONDS, which loads NumPy


def look(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="The track to look at.")
    ],
    other: Annotated[
        Path | None,
        typer.Argument(
            metavar="OTHER", show_default=False, help="A second track, to be set beside it."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.out("Where the page goes.", show_default="look-NAME in this folder"),
    ] = None,
    at: Annotated[
        list[float] | None,
        options.number(
            "--at",
            "The moment whose spectrum is drawn; the excerpt is taken around it. For two tracks "
            "give it twice, or once for both.",
            metavar="SECONDS",
        ),
    ] = None,
    seconds: Annotated[
        float,
        options.number(
            "--seconds",
            "Length of the excerpt, 0.5 to 300; the loudest part.",
            metavar="SECONDS",
        ),
    ] = _SECONDS,
    sound: options.Sound = True,
    bundle: options.Bundle = "default",
) -> None:
    """See and hear what is in a track: waveform, spectrum, mel bands, notes, rhythm.

    Writes one page that plays the sound in step with its pictures, and each picture as SVG and
    PNG. Of a long track an excerpt is shown; two tracks get excerpts of one length. Needs the
    extra lab.

    Exit codes: 0 the page is written, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope look song.mp3
      genrescope look song.mp3 --at 75.5 --seconds 20 --out page
      genrescope look hip-hop.mp3 folk.mp3
    """
    from genrescope.apps.cli.render import console

    files = [file] if other is None else [file, other]
    moments = at or []
    if len(moments) > len(files):
        raise typer.BadParameter(
            f"--at: is given {len(moments)} times for {counted(len(files), 'file')}; give it once "
            "for each"
        )
    if len(moments) == 1:
        moments *= len(files)
    elif moments and len(moments) < len(files):  # pragma: no cover - two files at most
        raise typer.BadParameter("give --at once, or once for each file")

    from genrescope.explain.page_files import check_folder
    from genrescope.explain.signal.measures import analyse_excerpt
    from genrescope.explain.signal.page import KIND, write_look
    from genrescope.learn.recogniser import Recogniser

    folder = out if out is not None else _folder(files)
    check_folder(folder, kind=KIND)
    recogniser = Recogniser.load(bundle)
    screen = console(sys.stderr)
    with screen.status("listening ...") if animated(sys.stderr) else nullcontext() as status:

        def now(what: str) -> None:
            if status is not None:
                status.update(f"{what} ...")

        now("listening")
        pieces = _pieces(files, seconds=seconds, moments=moments)
        signals, verdicts = [], []
        for place, piece in enumerate(pieces):
            now(f"looking at {printable(piece.path.name)}")
            signals.append(analyse_excerpt(piece, at=moments[place] if moments else None))
            verdicts.append(_verdict(recogniser, piece.path))
        now("drawing")
        paths = write_look(
            signals,
            folder,
            verdicts=verdicts,
            command=_command(files, out=folder, at=at or [], seconds=seconds, sound=sound),
            sound=sound,
        )
    _summarise(console(), signals, verdicts)
    typer.echo(os.fspath(paths.index))


def _pieces(files: list[Path], *, seconds: float, moments: list[float]) -> list[Excerpt]:
    """An excerpt of each file, all of one length: the shortest track decides."""
    from genrescope.explain.signal.excerpt import read_excerpt

    at: list[float | None] = [*moments] if moments else [None] * len(files)
    pieces = [read_excerpt(p, seconds=seconds, at=t) for p, t in zip(files, at, strict=True)]
    shortest = min(piece.seconds for piece in pieces)
    return [
        read_excerpt(piece.path, seconds=shortest, at=t)
        if piece.seconds > shortest + _HARDLY
        else piece
        for piece, t in zip(pieces, at, strict=True)
    ]


def _verdict(recogniser: Recogniser, path: Path) -> Prediction | None:
    """What the recogniser says of the whole track; None where there is too little to hear."""
    from genrescope.errors import AudioError

    try:
        return recogniser.predict(path)
    except AudioError:  # the excerpt could be read, so it is the rest that cannot
        return None


def _folder(files: list[Path]) -> Path:
    """A folder that is named after the tracks."""
    stems = [re.sub(r"[^\w.-]+", "-", printable(path.stem)).strip("-.")[:40] for path in files]
    return Path("-".join(["look", *(stem for stem in stems if stem)]))


def _command(files: list[Path], *, out: Path, at: list[float], seconds: float, sound: bool) -> str:
    words = ["genrescope", "look", *(printable(os.fspath(path)) for path in files)]
    for moment in at:
        words += ["--at", f"{moment:g}"]
    if seconds != _SECONDS:
        words += ["--seconds", f"{seconds:g}"]
    if not sound:
        words.append("--no-sound")
    return shlex.join([*words, "--out", printable(os.fspath(out))])


def _summarise(
    screen: Console, signals: list[TrackSignal], verdicts: list[Prediction | None]
) -> None:
    from genrescope.apps.cli.render import paragraph
    from genrescope.explain.signal.compare import measures_of, what_differs
    from genrescope.explain.signal.page import facts_of

    for place, (signal, verdict) in enumerate(zip(signals, verdicts, strict=True)):
        letter = f"{'AB'[place]}  " if len(signals) == 2 else ""
        screen.print(f" {letter}{printable(signal.excerpt.name)}", style="bold")
        for name, text in (*_genre(verdict), *facts_of(signal)):
            paragraph(screen, text, label=f" {name}", indent=_LABEL + 2)
        screen.print()
    if len(signals) == 2:
        for line in what_differs(measures_of(*signals)):
            paragraph(screen, line)
        screen.print()


def _genre(verdict: Prediction | None) -> Any:
    if verdict is None:
        return ()
    from genrescope.explain.signal.words import share

    best, probability = verdict.top(1)[0]
    if verdict.genre is None:
        return (("genre", f"not sure; at best {best}, {share(probability)}"),)
    return (("genre", f"{best}, {share(probability)}"),)
