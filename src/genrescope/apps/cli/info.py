"""``genrescope info``: what a recogniser was made from, and how well it does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli.text import percent, print_json, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["info"]

_LABEL = 12  # cells

# What is shown of a recipe, and under which name; the last go first where it is narrow.
_FIGURES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "ece": "ECE",
    "top3": "top-3",
    "log_loss": "log-loss",
    "artist_weighted_accuracy": "by artist",
}


def info(
    bundle: options.Bundle = "default",
    json: options.Json = False,
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown",
            help="Print the model card as Markdown.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
) -> None:
    """Describe a recogniser: its genres, training data, licence and scores.

    Nothing is written; --json prints the whole card.

    Exit codes: 0 done, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope info
      genrescope info --bundle mine --markdown > card.md
    """
    from genrescope.apps.cli.render import console
    from genrescope.learn.bundle import Bundle

    if json and markdown:
        raise typer.BadParameter("--json and --markdown: exclude each other; give one of them")
    loaded = Bundle.load(bundle)
    if markdown:
        from genrescope.apps.model_card import model_card

        sys.stdout.write(model_card(loaded.card))
        return
    if json:
        print_json(loaded.card)
        return
    screen = console()
    _describe(screen, loaded.card, where=str(loaded.folder))
    _scores(screen, loaded.card)


def _describe(screen: Console, card: Mapping[str, Any], *, where: str) -> None:
    from rich.text import Text

    graph, front_end, training = card["graph"], card["front_end"], card["training"]
    heading = Text(f" {printable(card['name'])} {printable(card['version'])}", style="bold")
    screen.print(heading)
    _paragraph(screen, "", card["description"])
    screen.print()
    _paragraph(screen, "Genres", ", ".join(card["genres"]))
    _paragraph(
        screen,
        "Trained on",
        f"{training['data']}: {_count(training['tracks'], 'track')} by "
        f"{_count(training['artists'], 'artist')} "
        f"({training['licence']})",
    )
    _paragraph(screen, "Made by", f"{training['command']}   ({card['created']})")
    _paragraph(
        screen,
        "Hears",
        f"front end {front_end['name']} {front_end['version']}, "
        f"{front_end['n_features']:,} numbers a window",
    )
    _paragraph(screen, "Licence", card["licence"])
    _paragraph(
        screen,
        "Graph",
        f"{graph['file']}, {graph['bytes'] / 1e6:.1f} MB, ONNX opset {graph['opset']}, "
        f"SHA-256 {graph['sha256'][:16]}...",
    )
    _paragraph(screen, "Folder", where)


def _scores(screen: Console, card: Mapping[str, Any]) -> None:
    from rich.text import Text

    metrics, abstention, conformal = card["metrics"], card["abstention"], card["conformal"]
    screen.print()
    screen.print(Text(" How well it does", style="bold"))
    _paragraph(screen, "", metrics["protocol"])
    screen.print()
    _recipes(screen, metrics["table"])
    if abstention["threshold"] is None:
        sure = "never: no threshold reached the accuracy that was asked for"
    else:
        sure = f"where the best genre has {percent(abstention['threshold'])} or more"
        if abstention["coverage"] is not None and abstention["accuracy_when_sure"] is not None:
            sure += (
                f": {percent(abstention['coverage'])} of tracks, of which "
                f"{percent(abstention['accuracy_when_sure'])} are right"
            )
    screen.print()
    _paragraph(screen, "Sure", sure)
    _paragraph(
        screen,
        "Plausible",
        f"{conformal['mean_set_size']:.1f} genres on average, which hold the right one for "
        f"{percent(conformal['level'])} of tracks",
    )
    scores = metrics["scores"]
    if scores:
        from genrescope.apps.cli.scores import format_scores

        screen.print()
        width = screen.width if screen.is_terminal else 120
        screen.print(format_scores(scores, width=width), soft_wrap=False, width=width)


def _recipes(screen: Console, table: list[dict[str, Any]]) -> None:
    """The recipes that were compared, one a line, as many figures as fit."""
    from rich.text import Text

    if not table:
        return
    figures = [key for key in _FIGURES if any(row.get(key) is not None for row in table)]
    names = max(len(printable(row["name"])) for row in table)
    widths = {key: max(len(_FIGURES[key]), 6) for key in figures}
    while (
        screen.is_terminal
        and len(figures) > 1
        and (1 + names + sum(2 + widths[key] for key in figures) > screen.width)
    ):
        figures.pop()
    cells = "".join(f"  {_FIGURES[key]:>{widths[key]}}" for key in figures)
    screen.print(Text(" " + " " * names + cells, style="dim"))
    for place, row in enumerate(table):
        shown = ["" if row.get(key) is None else f"{row[key]:.3f}" for key in figures]
        cells = "".join(
            f"  {cell:>{widths[key]}}" for key, cell in zip(figures, shown, strict=True)
        )
        style = "bold" if place == 0 else ""
        screen.print(Text(f" {printable(row['name']):<{names}}{cells}", style=style))


def _paragraph(screen: Console, label: str, text: str) -> None:
    """A label and a text that is wrapped beside it."""
    from genrescope.apps.cli.render import paragraph

    indent = _LABEL + 2 if label else 1
    paragraph(screen, printable(text), label=f" {label}", indent=indent)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
