"""The command ``genrescope``."""

from __future__ import annotations

import os
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
        "encoders": "List, install and remove what hears a track beside our own features.",
        "evaluate": "Score a recogniser on tracks whose genre is known.",
        "robustness": "Test how steady a recogniser is.",
    },
    "Research": {
        "fma": "Fetch the Free Music Archive, prepare its tables, count what is in them.",
        "audit": "Find artists that are in more than one split, and whatever else leaks.",
        "features": "Extract features of many audio files into a store, check it and read it.",
        "lab": "Analyse a table, compare classifiers on it, and write one report.",
        "train": "Train a recogniser, or one of the networks it can be made of.",
        "runs": "Compare trainings: scores, what they cost, and whether the differences mean "
        "anything.",
        "model": "List networks, show their layers, draw what their filters look for.",
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
    add_completion=False,  # typer's own options import pydantic for every command; see _root
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"genrescope {__version__}")
        raise typer.Exit


def _show_completion(context: typer.Context, parameter: typer.CallbackParam, value: bool) -> None:
    if value:
        from typer import completion

        completion.show_callback(context, parameter, _shell() or value)


def _install_completion(
    context: typer.Context, parameter: typer.CallbackParam, value: bool
) -> None:
    if value:
        from typer import completion

        completion.install_callback(context, parameter, _shell() or value)


def _shell() -> str | None:
    """The shell that this runs in, or else the one that its user has."""
    import shellingham  # type: ignore[import-untyped]

    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        return os.path.basename(os.environ.get("SHELL", "")) or None


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
    show_completion: bool = typer.Option(
        False,
        "--show-completion",
        callback=_show_completion,
        help="Print the script that completes words in this shell: bash, zsh, fish or PowerShell.",
    ),
    install_completion: bool = typer.Option(
        False,
        "--install-completion",
        callback=_install_completion,
        help="Put it where the shell finds it.",
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line, and end with its exit code."""
    sys.exit(run(app))
