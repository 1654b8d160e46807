"""Learning curves: as a table, and as a figure where matplotlib is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrescope.catalog.storage import atomic
from genrescope.errors import MissingExtraError

__all__ = ["draw_curves", "read_curves", "write_curves"]

Histories = Mapping[str, list[dict[str, float]]]

_COLUMNS = ("epoch", "learning_rate", "loss", "held_out_log_loss", "held_out_accuracy", "seconds")
# Okabe and Ito's colours, which colour-blind eyes tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def write_curves(path: Path, histories: Histories) -> None:
    """Write the history of all parts as a table: part, epoch, ...

    Parameters
    ----------
    path : Path
        A CSV file, which is replaced as a whole.
    histories : mapping
        Rows of each part.
    """
    with atomic(path) as fresh, fresh.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("part", *_COLUMNS))
        for part, history in histories.items():
            writer.writerows([part, *(repr(row[name]) for name in _COLUMNS)] for row in history)


def read_curves(path: Path) -> dict[str, list[dict[str, float]]]:
    """Read what :func:`write_curves` wrote."""
    found: dict[str, list[dict[str, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            history = found.setdefault(row["part"], [])
            history.append({name: float(row[name]) for name in _COLUMNS})
    return found


def draw_curves(stem: Path, histories: Histories, *, title: str) -> tuple[Path, ...]:
    """Draw the learning curves of all parts as SVG and PNG.

    Parameters
    ----------
    stem : Path
        Of the files, without suffix.
    histories : mapping
        Rows of each part.
    title : str
        What was trained.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("learning curves", extra="lab", package="matplotlib") from error
    # The same curves give the same file: no date, and names that do not change.
    with matplotlib.rc_context({"svg.hashsalt": "genrescope", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        for place, (part, history) in enumerate(histories.items()):
            _draw(loss, accuracy, history, part=part, colour=_COLOURS[place % len(_COLOURS)])
        figure.suptitle(title, fontsize=11)
        loss.set_ylabel("loss in nats (dashed: training, solid: held-out artists)", fontsize=8)
        accuracy.set_ylabel("accuracy on held-out artists", fontsize=8)
        for axes in (loss, accuracy):
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        if histories:
            accuracy.legend(frameon=False, fontsize=8, title="dot: epoch that was kept")
        files = []
        for suffix, more in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 150})):
            path = stem.with_suffix(suffix)
            with atomic(path) as fresh:
                figure.savefig(fresh, format=suffix[1:], **more)
            files.append(path)
    return tuple(files)


def _draw(
    loss: Any, accuracy: Any, history: list[dict[str, float]], *, part: str, colour: str
) -> None:
    epochs = [row["epoch"] for row in history]
    held = [row["held_out_log_loss"] for row in history]
    right = [row["held_out_accuracy"] for row in history]
    loss.plot(epochs, [row["loss"] for row in history], "--", color=colour, linewidth=1)
    loss.plot(epochs, held, color=colour, linewidth=1.5)
    accuracy.plot(epochs, right, color=colour, linewidth=1.5, label=part)
    if history:
        best = min(range(len(held)), key=held.__getitem__)
        loss.plot(epochs[best], held[best], "o", color=colour, markersize=4)
        accuracy.plot(epochs[best], right[best], "o", color=colour, markersize=4)
