"""The command ``genrescope``."""

from __future__ import annotations

import os
import sys

import typer

from genrescope import __version__
from genrescope.apps.cli.audit import audit
from genrescope.apps.cli.bundles import bundles
from genrescope.apps.cli.demo import demo
from genrescope.apps.cli.encoders import encoders
from genrescope.apps.cli.evaluate import evaluate
from genrescope.apps.cli.explain import explain
from genrescope.apps.cli.features import features
from genrescope.apps.cli.fma import fma
from genrescope.apps.cli.info import info
from genrescope.apps.cli.lab import lab
from genrescope.apps.cli.look import look
from genrescope.apps.cli.model import model
from genrescope.apps.cli.playlist import playlist
from genrescope.apps.cli.predict import predict
from genrescope.apps.cli.robustness import robustness
from genrescope.apps.cli.runs import runs
from genrescope.apps.cli.serve import serve
from genrescope.apps.cli.tag import tag
from genrescope.apps.cli.teach import teach
from genrescope.apps.cli.train import train
from genrescope.apps.cli.undo import undo
from genrescope.apps.cli.watch import watch
from genrescope.errors import GenrescopeError

app = typer.Typer(
    name="genrescope",
    help="Recognise the genre of music, say how sure it is, and why.",
    no_args_is_help=True,
    add_completion=True,
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


for command in (
    predict, demo, info, look, explain, evaluate, teach, robustness, audit, lab, runs, undo, serve,
    tag, playlist, watch,
):  # fmt: skip
    app.command()(command)
app.add_typer(fma, name="fma")
app.add_typer(features, name="features")
app.add_typer(train, name="train")
app.add_typer(encoders, name="encoders")
app.add_typer(model, name="model")
app.add_typer(bundles, name="bundles")


def main() -> None:
    """Run the command line; errors of ours become one line on stderr and exit code 2."""
    try:
        app()
    except GenrescopeError as error:
        typer.echo(f"genrescope: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does: what a shell calls SIGPIPE. Python
        # would complain once more when it flushes at exit, so that goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
