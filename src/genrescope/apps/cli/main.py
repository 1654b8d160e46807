"""The command ``genrescope``."""

from __future__ import annotations

import sys
from typing import ClassVar

import typer

from genrescope import __version__
from genrescope.apps.cli.command import run
from genrescope.apps.cli.lazy import LazyGroup, Where

__all__ = ["app", "main"]

# First sentences stand here a second time, so that `--help` imports none of them; a test compares.
_COMMANDS = {
    "Listen": {
        "predict": "Recognise the genre of music files.",
        "demo": "Recognise twelve real clips and show the archive's own genres beside the answers.",
        "look": "See and hear what is in a track: waveform, spectrum, mel bands, notes, rhythm.",
        "explain": "See and hear what in a track spoke for its genre, and what against it.",
        "serve": "Recognise over HTTP, and show pages in the browser.",
    },
    "Tag": {
        "tag": "Show which genres would be written into the tags of files; with --write, write "
        "them.",
        "undo": "Bring back the genres that stood in files before genrescope wrote them.",
        "playlist": "Write a playlist (m3u8) for each genre that is recognised.",
        "watch": "Recognise what arrives in a folder; with --write, tag it.",
    },
    "Recognisers": {
        "info": "Describe a recogniser: its genres, training data, licence and scores.",
        "teach": "Teach a recogniser your own genres.",
        "bundles": "List, pull, push and remove recognisers of the Hugging Face Hub.",
        "encoders": "List, install and remove the encoders that a recogniser can be taught on.",
        "evaluate": "Score a recogniser on tracks whose genre is known.",
        "robustness": "Test how steady a recogniser is.",
    },
    "Research": {
        "fma": "The Free Music Archive: fetch it, prepare its tables, count what is in them.",
        "audit": "Find artists that are in more than one split, and whatever else leaks.",
        "features": "Features of many audio files on disk: extract them, check them, read them.",
        "lab": "Analyse a table, compare classifiers on it, and write one report.",
        "train": "Train a recogniser.",
        "runs": "Compare trainings: scores, what they cost, and whether the differences mean "
        "anything.",
        "model": "List networks, and show what is in them.",
    },
    "This installation": {
        "doctor": "Check what is installed, what can be read, and what takes up room.",
        "config": "Show and change what is set by file and by environment.",
    },
}


class _Root(LazyGroup):
    where: ClassVar = {
        name: Where(f"{__package__}.{name}", text, panel)
        for panel, commands in _COMMANDS.items()
        for name, text in commands.items()
    }


app = typer.Typer(
    name="genrescope",
    cls=_Root,
    help="Recognise the genre of music, say how sure it is, and why.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"genrescope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line, and end with its exit code."""
    sys.exit(run(app))
