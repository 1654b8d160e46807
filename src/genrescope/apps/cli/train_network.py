"""``genrescope train NETWORK``: train one of the networks on prepared mel frames."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.command import Family
from genrescope.apps.cli.terminal import animated
from genrescope.learn.deep.architectures import ARCHITECTURES, Architecture

__all__ = ["add_networks"]

_LINE_EVERY = 10.0  # seconds between two lines where there is no terminal


def add_networks(train: Family) -> None:
    """Give ``genrescope train`` a command for each network."""
    for architecture in ARCHITECTURES:
        train.command(
            architecture.key,
            help=f"Train {architecture.title}.\n\n{architecture.description}\n\n"
            + _HELP.format(key=architecture.key),
            short_help=f"Train {architecture.title}.",
            rich_help_panel="Networks",
        )(_command(architecture))


_HELP = """\
Validated in folds that share no artist; within each, the best epoch is chosen by more artists
that are held out. FOLDER gets scores.json, curves.csv, curves.svg and .png, the weights, and
bundle/, for `genrescope predict --bundle`. Needs the extra train.

Several GPUs: torchrun --nproc-per-node N -m genrescope train NETWORK

Exit codes: 0 the run is done, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C (the same
command goes on where it was).

Examples:

  genrescope train {key} --data PREPARED --out runs/{key}
  genrescope train {key} --data PREPARED --out runs/{key} --fold 0 --epochs 3 --no-export
"""


def _command(architecture: Architecture) -> Callable[..., None]:
    def train_it(
        data: Annotated[
            Path,
            options.data(
                "A feature store with frames, or prepared features: small_tracks.csv, "
                "small_mel_frames.npz, small_mfcc.npz."
            ),
        ],
        out: options.RunFolder,
        preset: Annotated[
            str,
            options.text(
                "--preset",
                "modern; or what the 2022 study did: cs464-adam (batches of 32), cs464-sgd "
                "(batches of 16).",
                autocompletion=completion.network_presets,
            ),
        ] = "modern",
        seed: options.Seed = 0,
        folds: options.Folds = 5,
        fold: Annotated[
            list[int] | None,
            options.number(
                "--fold", "Train this fold only; repeat it for more.", min=0, default="all of them"
            ),
        ] = None,
        epochs: Annotated[
            int | None, options.number("--epochs", "At most.", min=1, default="of the preset")
        ] = None,
        batch: Annotated[
            int | None, options.number("--batch", "Tracks a step.", min=2, default="of the preset")
        ] = None,
        rate: Annotated[
            float | None,
            options.number("--lr", "Learning rate.", metavar="RATE", default="of the preset"),
        ] = None,
        network: options.NetworkOptions = None,
        settings: Annotated[
            list[str] | None,
            options.text(
                "--set",
                "Train otherwise, such as mixup=0 or ema=0.99; repeat it for more.",
                metavar="NAME=VALUE",
            ),
        ] = None,
        device: options.Device = "auto",
        precision: Annotated[
            str,
            options.text(
                "--precision",
                "auto, fp32, bf16 or fp16.",
                autocompletion=completion.of("auto", "fp32", "bf16", "fp16"),
            ),
        ] = "auto",
        threads: options.Threads = None,
        every: Annotated[
            float,
            options.number(
                "--checkpoint-every", "Between two states on disk.", metavar="SECONDS", min=0
            ),
        ] = 20.0,
        export: Annotated[
            bool,
            typer.Option(
                "--export/--no-export", help="Train on all tracks in the end, and write a bundle."
            ),
        ] = True,
        tensorboard: Annotated[
            bool, typer.Option("--tensorboard", help="Write event files for TensorBoard.")
        ] = False,
    ) -> None:
        from genrescope.apps.cli.model import read_options
        from genrescope.learn.deep.architectures import find
        from genrescope.learn.deep.plan import Plan
        from genrescope.learn.deep.settings import read_settings, settings_for

        chosen = {"epochs": epochs, "batch": batch, "learning_rate": rate}
        built = find(architecture.key, read_options(network))
        plan = Plan(
            architecture=built,
            settings=settings_for(
                built,
                preset=preset,
                **{k: v for k, v in chosen.items() if v is not None},
                **read_settings(read_options(settings, "--set", "mixup=0")),
            ),
            preset=preset,
            seed=seed,
            folds=folds,
            only=tuple(fold or ()),
            export=export,
            precision=precision,
            every=every,
            tensorboard=tensorboard,
            command=_spelled(
                architecture.key,
                {"preset": (preset, "modern"), "seed": (seed, 0), "folds": (folds, 5)},
                {"fold": fold, "with": network, "set": settings},
                {"epochs": epochs, "batch": batch, "lr": rate},
            ),
        )
        _run(data, out, plan, device=device, threads=threads)

    return train_it


def _spelled(
    key: str,
    usual: Mapping[str, tuple[Any, Any]],
    repeated: Mapping[str, Any],
    given: Mapping[str, Any],
) -> str:
    """The command without what does not change the result."""
    words = [f"genrescope train {key}"]
    words += [f"--{name} {value}" for name, (value, most) in usual.items() if value != most]
    words += [f"--{name} {value}" for name, value in given.items() if value is not None]
    words += [f"--{name} {value}" for name, values in repeated.items() for value in values or ()]
    return " ".join(words)


def _run(data: Path, out: Path, plan: Any, *, device: str, threads: int | None) -> None:
    from genrescope.apps.cli.interrupts import Interrupts
    from genrescope.learn.deep.experiment import train_network

    with Interrupts() as interrupts:
        try:
            with _progress() as report:
                found = train_network(
                    data, out, plan=plan, device=device, threads=threads, report=report
                )
        except KeyboardInterrupt:
            typer.echo(f"stopped; the same command goes on with {out}", err=True)
            raise typer.Exit(interrupts.exit_code) from None
    if found is not None:  # this process leads
        _print_result(found, out, exported=plan.export)


@contextmanager
def _progress() -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """A bar on a terminal, now and then a line in a pipe; both on stderr."""
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from genrescope.apps.cli.render import console

    screen = console(sys.stderr)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=screen,
        disable=not animated(sys.stderr),
    )
    task = bar.add_task("data", total=None)
    state: dict[str, Any] = {"parts": [], "epochs": 1, "said": 0.0}

    def done_before(part: str) -> int:
        return int(state["parts"].index(part) * state["epochs"])

    def report(event: str, told: Mapping[str, Any]) -> None:
        if event == "start":
            state.update(parts=told["parts"], epochs=told["epochs"])
            bar.update(task, total=len(told["parts"]) * told["epochs"])
            screen.print(
                f"{told['model']} on {told['device']} ({told['precision']}), "
                f"{told['tracks']:,} tracks",
                highlight=False,
            )
        elif event == "epoch":
            words = _epoch_line(told)
            bar.update(task, description=words, completed=done_before(told["part"]) + told["epoch"])
            if bar.disable and time.monotonic() - state["said"] > _LINE_EVERY:
                state["said"] = time.monotonic()
                screen.print(words, highlight=False, soft_wrap=True)
        elif event in ("fold", "kept"):
            bar.update(task, completed=done_before(told["part"]) + state["epochs"])
            after = "kept from before"
            if event == "fold":
                after = (
                    f"accuracy {told['accuracy']:.3f}, epoch {told['best_epoch']} is kept, "
                    f"{told['seconds']:.0f} s"
                )
            screen.print(f"{told['part']}: {after}", highlight=False, soft_wrap=True)
        elif event == "note":
            screen.print(told["text"], highlight=False, soft_wrap=True)

    with bar:
        yield report


def _epoch_line(told: Mapping[str, Any]) -> str:
    return (
        f"{told['part']} epoch {told['epoch']}/{told['epochs']}: loss {told['loss']:.3f}, "
        f"held out {told['held_out_log_loss']:.3f}, accuracy {told['held_out_accuracy']:.3f}"
    )


def _print_result(found: Mapping[str, Any], out: Path, *, exported: bool) -> None:
    from genrescope.apps.cli.render import console
    from genrescope.apps.cli.scores import format_scores

    screen = console()
    screen.print(format_scores(found["scores"], width=screen.width), soft_wrap=False)
    typer.echo(f"\n{found['model']}, {found['parameters']:,} parameters; the run is in {out}")
    if exported:
        typer.echo(f"The recogniser is in {out / 'bundle'}; use it with --bundle {out / 'bundle'}")
