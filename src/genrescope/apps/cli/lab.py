"""``genrescope lab``: everything about one table, in one report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli.interrupts import resumable
from genrescope.apps.cli.scheduler import ClusterOption, SchedulerOption, cluster_of

if TYPE_CHECKING:
    from genrescope.explain.report.writing import ReportPaths
    from genrescope.learn.lab.tabular import TabularData

__all__ = ["lab"]

BEST, WITHIN = "★", "≈"

_PANEL_OWN = "Your own table"
_PANEL_FMA = "FMA's tables"
_PANEL_HOW = "What is done"


def lab(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="fma-small-mfcc, fma-small-mel, fma-echonest, or fma for the output of "
            "`genrescope fma prepare`. Leave it out for a table of your own.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the report.")
    ] = Path("lab"),
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder that NAME is read from.",
            rich_help_panel=_PANEL_FMA,
            show_default=False,
        ),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            help="small, medium, large or full, for NAME fma.",
            rich_help_panel=_PANEL_FMA,
            show_default=False,
        ),
    ] = None,
    descriptors: Annotated[
        str | None,
        typer.Option(
            help="For NAME fma, the descriptors to use, such as mfcc,spectral_contrast; or "
            "echonest. (default: all 518)",
            rich_help_panel=_PANEL_FMA,
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet with one row a track; its numeric columns are the features.",
            rich_help_panel=_PANEL_OWN,
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet with the genres, where they are in a file of their own.",
            rich_help_panel=_PANEL_OWN,
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The genre. (default: genre_top, genre, label or class)",
            rich_help_panel=_PANEL_OWN,
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="What must not be on both sides of a split.  [",
            rich_help_panel=_PANEL_OWN,
            show_default=False,
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="COLUMN",
            help="What the two files are joined by. (default: the one column they share)",
            rich_help_panel=_PANEL_OWN,
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="training, validation or test, for --protocol official.",
            rich_help_panel=_PANEL_OWN,
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Settings of the classifiers: default, or cs464 for those of the 2022 study.",
            rich_help_panel=_PANEL_HOW,
        ),
    ] = "default",
    reference: Annotated[
        str | None,
        typer.Option(
            help="Show a published table beside the measured one: cs464.",
            rich_help_panel=_PANEL_HOW,
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="folds (no artist in two of them), official, or random, which flatters.",
            rich_help_panel=_PANEL_HOW,
        ),
    ] = "folds",
    folds: Annotated[
        int, typer.Option(min=2, help="Of the cross-validation.", rich_help_panel=_PANEL_HOW)
    ] = 5,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="KEYS",
            help="Only these classifiers, such as svc,random_forest. (default: all)",
            rich_help_panel=_PANEL_HOW,
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(
            "--minutes-per-model",
            min=0.01,
            help="What a model may take by the clock, over all folds; one that needs more is a row "
            "that says so.",
            rich_help_panel=_PANEL_HOW,
        ),
    ] = 15.0,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Models fitted side by side. (default: one a core)",
            rich_help_panel=_PANEL_HOW,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Of folds, models, maps and resampling.", rich_help_panel=_PANEL_HOW
        ),
    ] = 0,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Analyse a table, compare classifiers on it, and write one report.

    The report is a page that needs no network (DIR/index.html), every figure as
    SVG and PNG, every table as CSV and Parquet, and all numbers in
    DIR/results.json. Stopped at any moment, the same command goes on where it
    was. Needs the extra lab.

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
            "give the NAME of a table with --data DIR, or a table of your own with --features FILE"
        )
    if jobs is not None and (scheduler or cluster):
        raise typer.BadParameter("--jobs is for a run without a cluster: leave it out")
    with resumable(), cluster_of(scheduler, cluster) as engine, _Live() as live:
        for note in table.notes:
            live.tell(f"note: {note}")
        paths = run_lab(
            table,
            out,
            settings=settings,
            command=_command(),
            jobs=jobs,
            report=live.told,
            cluster=engine,
        )
    _show(paths)


def _named(
    name: str, data: Path | None, *, out: Path, subset: str | None, descriptors: str | None
) -> TabularData:
    from genrescope.learn.lab.datasets import DATASETS, load_dataset

    if name in DATASETS and data is None:
        raise typer.BadParameter(f"say where {name} is read from: --data DIR")
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
            disable=not self._console.is_terminal,
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
            if not self._console.is_terminal:
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

    from genrescope.apps.cli.render import console, paragraph
    from genrescope.apps.cli.text import printable

    told = json.loads(paths.results.read_text(encoding="utf-8"))
    screen = console()
    if told["data"]["simulated"]:
        paragraph(screen, "SIMULATED: the numbers were made up and say nothing about music.")
    paragraph(screen, printable(told["finding"]))
    screen.print()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("Classifier", no_wrap=True)
    table.add_column("", no_wrap=True, style="dim")
    for heading in ("Accuracy", "Macro-F1", "Log-loss", "ECE", "CPU s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in told["leaderboard"]["rows"]:
        table.add_row(*_row(row))
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
