"""``genrescope runs``: trainings side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli.text import print_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["runs"]

_FIGURES = {"macro_f1": "macro-F1", "top3": "top-3", "log_loss": "log-loss", "ece": "ECE"}


def runs(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER",
            show_default=False,
            help="Folders that were given to `genrescope train` with --out, or folders of such.",
        ),
    ],
    json: options.Json = False,
) -> None:
    """Compare trainings: scores, what they cost, and whether the differences mean anything.

    The last column is the accuracy minus that of the best run on the tracks that both scored,
    with a 95 % interval that resamples whole artists. The runs stay as they are.

    Exit codes: 0 done, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope runs runs
      genrescope runs runs/compact-cnn runs/vit-tiny --json
    """
    from genrescope.learn.deep.runs import compare_runs, find_runs, read_run

    compared = compare_runs([read_run(folder) for folder in find_runs(folders)])
    if json:
        print_json(compared)
        return
    _print(compared)


# The first go first where it is narrow.
_LEAST = (
    *("parameters", "seconds", "folds", "ECE", "log-loss", "top-3", "seed", "macro-F1"),
    *("95 % interval", "to the best"),
)


def _print(compared: Mapping[str, Any]) -> None:
    from rich.text import Text

    from genrescope.apps.cli.render import console

    screen = console()
    done = [run for run in compared["runs"] if run["scores"] is not None]
    if done:
        screen.print(_table(screen, done), soft_wrap=False)
    for run in done:
        if run["state"] != "done":
            screen.print(Text(f" {_name(run)} ({run['folder']}): {run['state']}", style="yellow"))
    for run in compared["runs"]:
        if run["scores"] is None:
            screen.print(Text(f" {_name(run)} ({run['folder']}): not done, {run['state']}"))
    several = [row for row in compared["seeds"] if len(row["seeds"]) > 1]
    if several:
        screen.print()
        screen.print(Text(" Mean over seeds, ± standard deviation", style="bold"))
        screen.print(_seeds(several), soft_wrap=False)


def _table(screen: Console, done: Sequence[Mapping[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from genrescope.apps.cli.render import narrowed

    headings = (
        *("Run", "seed", "folds", "parameters", "accuracy", "95 % interval"),
        *(*_FIGURES.values(), "seconds", "to the best"),
    )
    cells = []
    for run in done:
        scores = run["scores"]
        cells.append(
            [
                _name(run),
                str(run["seed"]),
                f"{len(run['folds_scored'])}/{run['folds']}",
                "" if run["parameters"] is None else f"{run['parameters']:,}",
                f"{scores['accuracy']:.3f}",
                _interval(scores["intervals"]["accuracy"]),
                *(_figure(scores[name]) for name in _FIGURES),
                "" if run["seconds"] is None else f"{run['seconds']:,.0f}",
                _to_best(run["to_best"]),
            ]
        )
    kept = narrowed(screen, headings, cells, least=_LEAST)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for place in kept:
        table.add_column(
            headings[place],
            justify="right" if place else "left",
            no_wrap=place > 0,
            overflow="fold",
        )
    for line in cells:
        table.add_row(
            *(
                Text(line[p], style="bold" if headings[p] in ("Run", "accuracy") else "")
                for p in kept
            )
        )
    return table


def _seeds(rows: Sequence[Mapping[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("Network", no_wrap=True)
    names = {"accuracy": "accuracy", **_FIGURES}
    for heading in ("seeds", *names.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        figures = (f"{row['mean'][n]:.3f} ± {row['spread'][n]:.3f}" for n in names)
        table.add_row(_name(row), str(len(row["seeds"])), *figures)
    return table


def _name(run: Mapping[str, Any]) -> str:
    usual = run["preset"] in ("modern", "default")
    return str(run["model"] if usual else f"{run['model']}, {run['preset']}")


def _interval(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.3f} – {pair[1]:.3f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _to_best(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    pair = found["interval"]
    shown = "" if pair is None else f" ({pair[0]:+.3f} – {pair[1]:+.3f})"
    return f"{found['difference']:+.3f}{shown}"
