"""``genrescope train``: make a recogniser from prepared data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli.command import Family
from genrescope.apps.cli.terminal import animated
from genrescope.apps.cli.train_network import add_networks

__all__ = ["train"]

train = Family("Train a recogniser, or one of the networks it can be made of.")


@train.command("default")
def default(
    data: Annotated[
        Path,
        options.data(
            "Prepared features: small_tracks.csv, small_mel_frames.npz, small_mfcc.npz, and "
            "small_vggish.npz where there is a teacher."
        ),
    ],
    out: options.RunFolder,
    seed: options.Seed = 0,
    folds: options.Folds = 5,
    epochs: Annotated[
        int | None, options.number("--epochs", "Of the networks.", min=1, default="30")
    ] = None,
    rounds: Annotated[
        int | None, options.number("--rounds", "Of the trees, at most.", min=1, default="300")
    ] = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Score the models that the recogniser is compared with, too.",
        ),
    ] = True,
) -> None:
    """Repeat the training of the recogniser that ships.

    Validated in folds that share no artist, calibrated, then trained on all tracks and written
    to FOLDER/bundle, for `genrescope predict --bundle`. On two cores it takes about 40 minutes.
    Needs the extra train.

    Exit codes: 0 the recogniser is written, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C
    (the same command goes on where it was).

    Examples:

      genrescope train default --data PREPARED --out run
      genrescope train default --data PREPARED --out quick --epochs 5 --rounds 50 --no-baselines
    """
    import os

    from genrescope.learn.train.default import train_default
    from genrescope.learn.train.recipe import Recipe

    recipe = Recipe(seed=seed, folds=folds)
    if epochs is not None:
        recipe = replace(
            recipe,
            net=replace(recipe.net, epochs=epochs),
            frame_net=replace(recipe.frame_net, epochs=epochs),
        )
    if rounds is not None:
        recipe = replace(recipe, trees=replace(recipe.trees, rounds=rounds))
    changed = [
        f" --{name} {value}"
        for name, value, usual in (
            ("seed", seed, 0),
            ("folds", folds, 5),
            ("epochs", epochs, None),
            ("rounds", rounds, None),
        )
        if value != usual
    ]
    with _progress(recipe) as report:
        bundle = train_default(
            data,
            out,
            recipe=recipe,
            device=device,
            threads=threads or os.cpu_count() or 1,
            baselines=baselines,
            command=f"genrescope train default{''.join(changed)}",
            report=report,
        )
    _print_result(bundle)


@contextmanager
def _progress(recipe: Any) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """A bar on a terminal, one line a step in a pipe; both on stderr."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from genrescope.apps.cli.render import console

    screen = console(sys.stderr)
    # Every part has its members; an epoch of a network on frames costs about ten of the others.
    per_part = 1 + recipe.nets + 10 * recipe.frame_nets + 4
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=screen,
        disable=not animated(sys.stderr),
    )
    task = bar.add_task("features", total=per_part * (recipe.folds + 1))
    weights = {"net": 1.0, "frames": 10.0, "trees": 4.0, "scale": 0.5, "teacher": 0.5}
    state = {"done": 0.0}

    def kind_of(name: str) -> str:
        return name.rsplit("/", 1)[-1].split("-")[0]

    def report(event: str, told: Mapping[str, Any]) -> None:
        if event == "epoch":
            share = weights[kind_of(told["member"])] * told["epoch"] / told["epochs"]
            words = f"{told['part']} {told['member']}, epoch {told['epoch']}/{told['epochs']}"
            words += f", held-out log-loss {told['held_out_log_loss']:.3f}"
            bar.update(task, description=words, completed=state["done"] + share)
        elif event in ("step", "kept"):
            kind = kind_of(told["name"])
            # Answers that are kept stand for a whole part, whose members are not looked at again.
            whole = event == "kept" and kind == "answers"
            state["done"] += per_part if whole else weights.get(kind, 0.0)
            bar.update(task, description=told["name"], completed=state["done"])
            if bar.disable:
                after = f"{told['seconds']} s" if event == "step" else "kept from before"
                screen.print(f"{told['name']}: {after}", highlight=False)
        elif event == "fold":
            screen.print(f"{told['name']}: accuracy {told['accuracy']:.3f}", highlight=False)
        elif event == "part":
            screen.print(f"part {told['name']}: {told['bytes'] / 1000:,.0f} kB", highlight=False)
        elif event == "note":
            screen.print(told["text"], highlight=False)

    with bar:
        yield report


def _print_result(bundle: Any) -> None:
    from genrescope.apps.cli.render import console
    from genrescope.apps.cli.scores import format_scores

    screen = console()
    screen.print(
        format_scores(bundle.card["metrics"]["scores"], width=screen.width), soft_wrap=False
    )
    typer.echo(f"\nThe recogniser is in {bundle.folder}; use it with --bundle {bundle.folder}")


add_networks(train)
