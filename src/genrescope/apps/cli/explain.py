"""``genrescope explain``: why a track sounds like a genre to a recogniser."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.terminal import animated
from genrescope.apps.cli.text import printable

if TYPE_CHECKING:
    from genrescope.explain.why.reasons import Why

__all__ = ["explain"]

_LABEL = 12  # cells


def explain(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="The track to explain.")
    ],
    genre: Annotated[
        str | None,
        options.text(
            "--genre",
            "The genre to explain.",
            metavar="GENRE",
            default="the one that is recognised",
            autocompletion=completion.genres,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.out("Where the page goes.", show_default="explain-NAME in this folder"),
    ] = None,
    at: Annotated[
        float | None,
        options.number(
            "--at",
            "A moment of the 30 s that are explained.",
            metavar="SECONDS",
            default="where it sounds most like it",
        ),
    ] = None,
    draws: Annotated[
        int,
        options.number("--draws", "How often random parts are hidden; more is truer.", min=2),
    ] = 600,
    seed: options.Seed = 0,
    sound: options.Sound = True,
    bundle: options.Bundle = "default",
) -> None:
    """See and hear what in a track spoke for its genre, and what against it.

    Parts of the sound are hidden, and the recogniser is asked again. Writes one page with the map
    of what counted, a test whether the map is true, and the sound of only what spoke for the
    genre. Needs the extra lab.

    Exit codes: 0 the page is written, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope explain song.mp3
      genrescope explain song.mp3 --genre Folk --at 75 --out why
    """
    from genrescope.apps.cli.render import console
    from genrescope.explain.page_files import check_folder
    from genrescope.explain.why.page import KIND, write_why
    from genrescope.explain.why.reasons import explain_track
    from genrescope.learn.recogniser import Recogniser

    folder = out if out is not None else _folder(file)
    check_folder(folder, kind=KIND)
    recogniser = Recogniser.load(bundle, metadata=False)  # what the sound says, and nothing else
    screen = console(sys.stderr)
    with screen.status("listening ...") if animated(sys.stderr) else nullcontext() as status:
        why = explain_track(recogniser, file, genre=genre, at=at, draws=draws, seed=seed)
        if status is not None:
            status.update("drawing ...")
        words = ["genrescope", "explain", printable(os.fspath(file))]
        words += [] if bundle == "default" else ["--bundle", printable(bundle)]
        words += [] if genre is None else ["--genre", genre]
        words += [] if at is None else ["--at", f"{at:g}"]
        words += [] if draws == 600 else ["--draws", str(draws)]
        words += ["--seed", str(seed)] if seed else []
        words += [] if sound else ["--no-sound"]
        command = shlex.join([*words, "--out", printable(os.fspath(folder))])
        paths = write_why(why, folder, command=command, sound=sound)
    _summarise(why)
    typer.echo(os.fspath(paths.index))


def _folder(file: Path) -> Path:
    stem = re.sub(r"[^\w.-]+", "-", printable(file.stem)).strip("-.")[:40]
    return Path(f"explain-{stem}" if stem else "explain")


def _summarise(why: Why) -> None:
    from genrescope.apps.cli.render import console, paragraph
    from genrescope.explain.why.words import in_short, is_it_true

    screen = console()
    screen.print(f" {printable(why.excerpt.name)}: why {why.genre}?", style="bold")
    said, spoke, alone = in_short(why)
    for name, text in (
        ("recognised", said),
        ("what spoke", spoke),
        ("enough", alone),
        *(("true?" if not n else "", text) for n, text in enumerate(is_it_true(why))),
    ):
        paragraph(screen, text, label=f" {name}", indent=_LABEL + 1)
    screen.print()
