"""``genrescope model``: the networks that can be trained, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.command import Family
from genrescope.apps.cli.filters import filters
from genrescope.apps.cli.text import print_json

if TYPE_CHECKING:
    from genrescope.learn.deep.architectures import Architecture, LayerRow

__all__ = ["model", "read_options"]

model = Family("List networks, show their layers, draw what their filters look for.")

model.command("filters")(filters)


@model.command("list")
def list_(json: options.Json = False) -> None:
    """List the networks with their inputs, options and numbers of parameters.

    Nothing is read or written.

    Exit codes: 0 done, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope model list
    """
    from genrescope.learn.deep.architectures import ARCHITECTURES, FRAMES_SHAPE

    rows = [
        {
            "name": architecture.key,
            "title": architecture.title,
            "description": architecture.description,
            "input": list(architecture.input_shape),
            "parameters": _total(architecture),
            "parameters_on_frames": _total(architecture.at(FRAMES_SHAPE)),
            "options": {name: _text(value) for name, value in architecture.options.items()},
        }
        for architecture in ARCHITECTURES
    ]
    if json:
        print_json(rows)
        return
    _print_list(rows)


@model.command("summary")
def summary(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            show_default=False,
            help="As `genrescope model list` has it; another input as in cs464-cnn@1x128x128.",
            autocompletion=completion.networks,
        ),
    ],
    network: options.NetworkOptions = None,
    genres: Annotated[int, options.number("--genres", "Size of the output.", min=2)] = 8,
    json: options.Json = False,
) -> None:
    """Show every layer of a network, the shape of what it gives, and its parameters.

    Nothing is read or written.

    Exit codes: 0 done, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope model summary compact-cnn
      genrescope model summary vit-tiny --with patch=16x16
      genrescope model summary cs464-cnn@1x128x128 --genres 16
    """
    from genrescope.learn.deep.architectures import find, summarise

    architecture = find(name, read_options(network))
    rows = summarise(architecture, n_genres=genres)
    if json:
        from dataclasses import asdict

        table = {
            "name": architecture.name,
            "input": list(architecture.input_shape),
            "parameters": sum(row.parameters for row in rows),
            "layers": [asdict(row) for row in rows],
        }
        print_json(table)
        return
    _print_summary(architecture, rows)


def read_options(
    given: Sequence[str] | None, name_of: str = "--with", example: str = "patch=16x16"
) -> dict[str, str]:
    """What was given as NAME=VALUE, by name.

    Raises
    ------
    typer.BadParameter
        If there is no = in it.
    """
    found = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise typer.BadParameter(f"{name_of} {text}: has no =; give NAME=VALUE, as {example}")
        found[name] = value
    return found


def _total(architecture: Architecture) -> int:
    from genrescope.learn.deep.architectures import summarise

    return sum(row.parameters for row in summarise(architecture))


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _shape(shape: Sequence[int] | None) -> str:
    return "" if shape is None else " x ".join(f"{size:,}" for size in shape)


def _print_list(rows: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from genrescope.apps.cli.render import console, narrowed, paragraph

    screen = console()
    headings = ("Network", "Parameters", "Input", "on frames")
    cells = [
        [
            row["name"],
            f"{row['parameters']:,}",
            _shape(row["input"]),
            f"{row['parameters_on_frames']:,}",
        ]
        for row in rows
    ]
    kept = narrowed(screen, headings, cells, least=("on frames", "Input"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for place in kept:
        right = headings[place] in ("Parameters", "on frames")
        table.add_column(headings[place], no_wrap=True, justify="right" if right else "left")
    for line in cells:
        table.add_row(*(Text(line[place], style="" if place else "bold") for place in kept))
    screen.print(table, soft_wrap=False)
    screen.print()
    for row in rows:
        words = f"{row['description']}"
        if row["options"]:
            words += " Options: " + ", ".join(f"{k}={v}" for k, v in row["options"].items()) + "."
        paragraph(screen, words, label=f" {row['name']}", indent=14)
    screen.print()
    frames = "Inputs are channels x mel bands x frames; prepared mel frames are 1 x 128 x 128."
    paragraph(screen, frames, label="", indent=1)


def _print_summary(architecture: Architecture, rows: Sequence[LayerRow]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from genrescope.apps.cli.render import console

    screen = console()
    screen.print(Text(f" {architecture.name}: {architecture.title}", style="bold"))
    screen.print(f" input {_shape(architecture.input_shape)}")
    screen.print()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("Layer", no_wrap=True)
    table.add_column("Output shape", no_wrap=True)
    table.add_column("Parameters", justify="right", no_wrap=True)
    for row in rows:
        plain = row.path.isdigit() or not row.path  # the places in a plain row of layers
        name = row.kind if plain else f"{row.kind} {row.path}"
        table.add_row(Text(name), _shape(row.shape), f"{row.parameters:,}")
    table.add_section()
    total = sum(row.parameters for row in rows)
    table.add_row(Text("Total", style="bold"), "", Text(f"{total:,}", style="bold"))
    screen.print(table, soft_wrap=False)
