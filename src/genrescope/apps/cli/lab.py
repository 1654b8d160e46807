"""``genrescope lab``: everything about one table, in one report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.clusters import cluster_of
from genrescope.apps.cli.interrupts import resumable
from genrescope.apps.cli.terminal import animated

if TYPE_CHECKING:
    from genrescope.explain.report.writing import ReportPaths
    from genrescope.learn.lab.tabular import TabularData

__all__ = ["lab"]

BEST, WITHIN = "★", "≈"


def lab(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="fma-small-mfcc, fma-small-mel, fma-echonest, or fma for the output of "
            "`genrescope fma prepare`. Leave it out for a table of your own.",
            show_default=False,
            autocompletion=completion.datasets,
        ),
    ] = None,
    out: Annotated[Path, options.out("Folder of the report.", show_default=True)] = Path("lab"),
    preset: Annotated[
        str,
        options.text(
            "--preset",
            "Settings of the classifiers: default, or cs464 for those of the 2022 study.",
            autocompletion=completion.presets,
        ),
    ] = "default",
    reference: Annotated[
        str | None,
        options.text(
            "--reference",
            "Show a published table beside the measured one: cs464.",
            autocompletion=completion.references,
        ),
    ] = None,
    protocol: Annotated[
        str,
        options.text(
            "--protocol",
            "folds (no artist in two of them), official, or random, which flatters.",
            autocompletion=completion.protocols,
        ),
    ] = "folds",
    folds: options.Folds = 5,
    models: Annotated[
        str | None,
        options.text(
            "--models",
            "Only these classifiers, such as svc,random_forest.",
            metavar="NAME,...",
            default="all",
        ),
    ] = None,
    minutes: Annotated[
        float,
        options.number(
            "--minutes-per-model",
            "What a model may take by the clock, over all folds; one that needs more is a row "
            "that says so.",
            metavar="MINUTES",
            min=0.01,
        ),
    ] = 15.0,
    workers: Annotated[
        int | None,
        options.number(
            "--workers",
            "Models that are fitted side by side.",
            "-j",
            "--jobs",
            min=1,
            default="one a core",
        ),
    ] = None,
    seed: options.Seed = 0,
    data: Annotated[
        Path | None,
        options.data("Folder that NAME is read from.", rich_help_panel=options.FMA_TABLES),
    ] = None,
    subset: Annotated[
        str | None,
        options.text(
            "--subset",
            "Of NAME fma: small, medium, large or full.",
            rich_help_panel=options.FMA_TABLES,
            autocompletion=completion.subsets,
        ),
    ] = None,
    descriptors: Annotated[
        str | None,
        options.text(
            "--descriptors",
            "Of NAME fma, the descriptors to use, such as mfcc,spectral_contrast; or echonest.",
            metavar="NAME,...",
            default="all 518",
            rich_help_panel=options.FMA_TABLES,
        ),
    ] = None,
    features: Annotated[
        Path | None,
        options.text(
            "--features",
            "CSV or Parquet with one row a track; its numeric columns are the features.",
            metavar="FILE",
            rich_help_panel=options.OWN_TABLE,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        options.text(
            "--labels",
            "CSV or Parquet with the genres, where they are in a file of their own.",
            metavar="FILE",
            rich_help_panel=options.OWN_TABLE,
        ),
    ] = None,
    label: options.LabelColumn = None,
    group: options.GroupColumn = None,
    id_column: Annotated[
        str | None,
        options.text(
            "--id",
            "What the two files are joined by.",
            metavar="COLUMN",
            default="the one column they share",
            rich_help_panel=options.OWN_TABLE,
        ),
    ] = None,
    split: options.SplitColumn = None,
    scheduler: options.Scheduler = None,
    cluster: options.Cluster = None,
) -> None:
    """Analyse a table, compare classifiers on it, and write one report.

    The report is a page that needs no network (FOLDER/index.html), every figure as SVG and PNG,
    every table as CSV and Parquet, and all numbers in FOLDER/results.json. Stopped at any moment,
    the same command goes on where it was. Needs the extra lab.

    Exit codes: 0 the report is written, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C
    (the same command goes on where it was).

    Examples:

      genrescope lab fma-small-mfcc --data DATA/fma --out report
      genrescope lab --features mine.csv --label genre --group artist --out report
    """
    from genrescope.explain.laboratory import LabSettings, run_lab

    settings = LabSettings(
        preset=preset,
        protocol=protocol,
        folds=folds,
        models=tuple(key.strip() for key in models.split(",")) if models else (),
        reference=reference or "",
        seconds_per_model=60 * minutes,
        seed=seed,
    )
    if name is not None and features is None:
        table = _named(name, data, out=out, subset=subset, descriptors=descriptors)
    elif features is not None and name is None:
        from genrescope.learn.lab.tables import load_table

        table = load_table(
            features, labels=labels, label=label, group=group, id_column=id_column, split=split
        )
    else:
        raise typer.BadParameter(
            "NAME: goes with --data, and --features with a table of your own; give one of the two"
        )
    if workers is not None and (scheduler or cluster):
        raise typer.BadParameter("--workers: is for a run without a cluster; leave it out")
    with resumable(), cluster_of(scheduler, cluster) as engine, _Live() as live:
        for note in table.notes:
            live.tell(f"note: {note}")
        paths = run_lab(
            table,
            out,
            settings=settings,
            command=_command(),
            jobs=workers,
            report=live.told,
            cluster=engine,
        )
    _show(paths)


def _named(
    name: str, data: Path | None, *, out: Path, subset: str | None, descriptors: str | None
) -> TabularData:
    from genrescope.learn.lab.datasets import DATASETS, load_dataset

    if name in DATASETS and data is None:
        raise typer.BadParameter(f"--data: is missing; say where {name} is read from")
    echonest = descriptors == "echonest"
    return load_dataset(
        name,
        data or Path(),
        subset=subset,
        groups=None if descriptors is None or echonest else descriptors.split(","),
        table="echonest" if echonest else "features",
        cache=out / "cache" / "tables",
    )


def _command() -> str:
    """What a reader types to get this report again."""
    return shlex.join(["genrescope", *sys.argv[1:]])


class _Live:
    """What is being done: a bar on a terminal, a line a stage in a pipe; both on stderr."""

    def __init__(self) -> None:
        from rich import progress as bars

        from genrescope.apps.cli.render import console

        self._console = console(sys.stderr)
        self._bars = bars.Progress(
            bars.TextColumn(" {task.description}"),
            bars.BarColumn(bar_width=24),
            bars.TextColumn("{task.fields[of]}"),
            bars.TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not animated(sys.stderr),
        )
        self._task = self._bars.add_task("reading", total=None, of="")

    def __enter__(self) -> _Live:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, line: str) -> None:
        """Write a line that stays."""
        from genrescope.apps.cli.text import printable

        self._console.print(printable(line))

    def told(self, event: str, facts: Mapping[str, Any]) -> None:
        """Hear of an event of :func:`~genrescope.explain.laboratory.run_lab`."""
        if event == "stage":
            self._bars.reset(self._task, description=facts["name"], total=None, of="")
            if self._bars.disable:
                self.tell(f"{facts['seconds']:6.0f} s  {facts['name']}")
        elif event == "plan":
            self._bars.update(self._task, total=facts["fits"] or None)
            if facts["kept"]:
                self.tell(f"{facts['kept']} fits of an earlier run are used again")
        elif event == "fit":
            self._bars.update(
                self._task,
                completed=facts["done"],
                of=f"{facts['done']} of {facts['of']} fits, last {facts['name']}",
            )
        elif event == "failed":
            self.tell(f"{facts['name']}: {facts['reason']}")


def _show(paths: ReportPaths) -> None:
    """The main figures, and where the report is."""
    import json

    from rich import box
    from rich.table import Table

    from genrescope.apps.cli.render import console, narrowed, paragraph
    from genrescope.apps.cli.text import printable

    told = json.loads(paths.results.read_text(encoding="utf-8"))
    screen = console()
    if told["data"]["simulated"]:
        paragraph(screen, "SIMULATED: the numbers were made up and say nothing about music.")
    paragraph(screen, printable(told["finding"]))
    screen.print()
    headings = ("Classifier", "", "Accuracy", "Macro-F1", "Log-loss", "ECE", "CPU s")
    cells = [_row(row) for row in told["leaderboard"]["rows"]]
    kept = narrowed(screen, headings, cells, least=("CPU s", "ECE", "Log-loss", "Macro-F1"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for place in kept:
        table.add_column(
            headings[place],
            justify="right" if place > 1 else "left",
            no_wrap=place > 0,
            overflow="fold",
            style="dim" if place == 1 else "",
        )
    for line in cells:
        table.add_row(*(line[place] for place in kept))
    screen.print(table, soft_wrap=False)
    unit = told["leaderboard"]["resampled"]
    paragraph(
        screen,
        f"Accuracy with its 95 % interval by {unit}; {BEST} the best, {WITHIN} not told apart from "
        "it. CPU seconds are of fitting and predicting, all folds together.",
    )
    screen.print()
    state = "nothing had changed" if paths.unchanged else f"made in {told['seconds']:.0f} s"
    screen.print(f" {printable(paths.index)} ({state})")


def _row(row: Mapping[str, Any]) -> list[str]:
    from genrescope.apps.cli.text import printable

    name = printable(row["name"])
    scores = row["scores"]
    if scores is None:
        return [name, "", f"failed: {printable(row['failure'])}", "", "", "", ""]
    low, high = scores["intervals"]["accuracy"] or (None, None)
    around = "" if low is None else f" ({low:.3f}–{high:.3f})"
    return [
        name,
        BEST if row["best"] else WITHIN if row["within"] else "",
        f"{scores['accuracy']:.3f}{around}",
        *(f"{scores[key]:.3f}" for key in ("macro_f1", "log_loss", "ece")),
        f"{row['fit_seconds'] + row['predict_seconds']:.1f}",
    ]
