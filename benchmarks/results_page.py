"""Write docs/results.md: every model of the project on the same folds, from the records of runs.

``python -m benchmarks.results_page --mel runs/mel --mfcc runs/mfcc --networks runs/networks``

The rows are those of the card of the recogniser that ships, of laboratory runs
(``genrescope lab``), and of ``python -m benchmarks.study_networks``; the page of
``study_ablations`` is quoted.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.catalog.storage import atomic
from genrescope.learn.bundle import Bundle

_COMMAND = (
    "python -m benchmarks.results_page --mel runs/mel --mfcc runs/mfcc --networks runs/networks"
)
_METRICS = ("accuracy", "macro_f1", "log_loss", "ece")


@dataclass(frozen=True)
class Row:
    """One model."""

    name: str
    hears: str
    figures: Mapping[str, float]
    ends: Mapping[str, tuple[float, float]]
    size: str = "–"
    train: str = "–"
    predict: str = "–"

    def cells(self) -> str:
        """Its line of the table."""

        def cell(name: str) -> str:
            low, high = self.ends[name]
            return f"{self.figures[name]:.3f} ({low:.3f} to {high:.3f})"

        return (
            f"| {self.name} | {self.hears} | {cell('accuracy')} | {cell('macro_f1')} "
            f"| {self.figures['log_loss']:.3f} | {self.figures['ece']:.3f} | {self.size} "
            f"| {self.train} | {self.predict} |"
        )


def of_card(bundle: Bundle) -> list[Row]:
    """What the card of the shipped bundle says, with what one track costs."""
    hears = {
        "SVC as it comes, 140 MFCC statistics": "140 MFCC statistics",
        "VGGish + logistic regression (needs VGGish)": "VGGish",
        "genrescope, with title and artist": "frames, title, artist",
        "genrescope, all tracks of an artist together": "frames, title, artist, other tracks",
    }
    whole = tuple(name for name in _names(bundle) if name.startswith("genrescope"))
    n_bytes = sum(file.stat().st_size for file in bundle.folder.iterdir() if file.is_file())
    found = []
    for said in bundle.card["metrics"]["table"]:
        shipped = said["name"] in whole
        found.append(
            Row(
                name=f"**{said['name']}**" if shipped else said["name"],
                hears=hears.get(said["name"], "frames, 3 s of MFCC"),
                figures=said,
                ends={m: tuple(said["intervals"][m]) for m in _METRICS},
                size=f"{n_bytes / 1e6:.1f} MB" if shipped else "–",
                predict=f"{milliseconds(bundle):.1f}" if shipped else "–",
            )
        )
    return found


def _names(bundle: Bundle) -> list[str]:
    return [row["name"] for row in bundle.card["metrics"]["table"]]


def milliseconds(bundle: Bundle, *, n: int = 64, repeats: int = 7) -> float:
    """Median milliseconds for one window, features at hand, one thread."""
    rows = np.random.default_rng(0).normal(size=(n, 1, bundle.n_features)).astype(np.float32)
    bundle.run(rows)
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        bundle.run(rows)
        seconds.append(time.process_time() - start)
    return sorted(seconds)[repeats // 2] / n * 1e3


def of_lab(folder: Path, hears: str) -> list[Row]:
    """The leaderboard of a laboratory run on all 7,115 tracks."""
    found = []
    with (folder / "tables" / "leaderboard.csv").open(newline="") as file:
        for said in csv.DictReader(file):
            if said["failure"] or not said["accuracy"]:
                continue
            columns = {m: "log_loss_nats" if m == "log_loss" else m for m in _METRICS}
            ends = {
                m: tuple(float(said[f"{m}_{end}" + "_nats" * (m == "log_loss")]) for end in _ENDS)
                for m in _METRICS
            }
            fit, predict = float(said["fit_cpu_s"] or 0), float(said["predict_cpu_s"] or 0)
            found.append(
                Row(
                    name=said["model"],
                    hears=hears,
                    figures={m: float(said[column]) for m, column in columns.items()},
                    ends=ends,
                    train=f"{fit:,.0f}" if fit else "–",
                    predict=f"{predict / 7115 * 1e3:.1f}" if fit else "–",
                )
            )
    return found


_ENDS = ("low", "high")


def of_networks(data: Path, runs: Path) -> list[Row]:
    """Networks on frames, two of the five folds."""
    from benchmarks.networks_page import read_lines

    return [
        Row(
            name=f"{line.entry.label} ({line.parameters:,} parameters) †",
            hears="frames, 3 s of MFCC" if line.entry.network == "frame-net" else "frames",
            figures=line.figures,
            ends=line.ends,
            size=f"{line.parameters * 4 / 1e6:.1f} MB",
            train=f"{line.cpu_seconds:,.0f}",
            predict=f"{line.onnx_ms:.1f}",
        )
        for line in read_lines(data, runs)
    ]


def elsewhere(docs: Path) -> list[str]:
    """Ingredients of other models, as their own pages have them."""
    masks = re.search(
        r"all else the same: (\S+) points of accuracy \((.+?)\)",
        (docs / "results" / "networks.md").read_text(),
    )
    tree = re.findall(
        r"^\| flat: logistic regressions \| ([+-]\S+ \(.+?\))",
        (docs / "subgenres.md").read_text(),
        flags=re.MULTILINE,
    )
    if masks is None or not tree:
        raise SystemExit("docs/results/networks.md or docs/subgenres.md has another form; make it")
    return [
        f"- SpecAugment, in the compact network: {masks[1]} points ({masks[2]}); "
        "[networks](results/networks.md#what-specaugment-adds).",
        f"- The tree of genres, in place of flat labels, for sub-genres: {tree[0]} points of "
        "micro-F1; [sub-genres](subgenres.md).",
    ]


def page(rows: Iterable[Row], docs: Path, bundle: Bundle) -> str:
    """The page, as Markdown."""
    ablations = (docs / "results" / "ablations.md").read_text()
    ordered = sorted(rows, key=lambda row: -row.figures["accuracy"])
    table = ablations[ablations.index("| network |") : ablations.index("\n\nIntervals")]
    return "\n".join(
        [
            "# Results",
            "",
            "Every model of the project on FMA-small: 7,115 official training and validation "
            "tracks, 8 genres, 2,104 artists, five folds by artist (no artist in two). Intervals "
            "of 95 % by bootstrap over artists. Expect artists by whom nothing was ever heard to "
            "be harder still: FMA's official test tracks were not touched. Always answering the "
            "most frequent genre is right for 12.6 %.",
            "",
            "| model | hears | accuracy | macro-F1 | log-loss | ECE | size | training, CPU s "
            "| one track, ms |",
            "| --- " * 9 + "|",
            *(row.cells() for row in ordered),
            "",
            "† Folds 0 and 1 only, which are a little harder or easier than all five: see "
            "[networks](results/networks.md) for the comparison. Size: the bundle on disk, or "
            "float32 weights. Training: all folds, one thread; one track: with its features at "
            "hand. –: not measured. Tables with everything: "
            "[MFCC](results/fma-small-mfcc.md), [frames](results/fma-small-mel.md).",
            "",
            "## What each ingredient adds",
            "",
            "A member of the shipped recogniser, alone; one thing at a time "
            "([how](results/ablations.md)):",
            "",
            table,
            "",
            "In other models:",
            "",
            *elsewhere(docs),
            "",
            "What was tried on these folds and did not help is in the closing lines of "
            "[the model card](model-card.md) and in [metadata](metadata.md), "
            "[sub-genres](subgenres.md), [not sure](not-sure.md) and "
            "[robustness](robustness.md).",
            "",
            f"Made by `{_COMMAND}`.",
            "",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results_page")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/fma"))
    parser.add_argument("--mel", type=Path, required=True, help="run of `lab fma-small-mel`")
    parser.add_argument("--mfcc", type=Path, required=True, help="run of `lab fma-small-mfcc`")
    parser.add_argument("--networks", type=Path, required=True, help="runs of study_networks")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    given = parser.parse_args(arguments)
    bundle = Bundle.load("default")
    rows: list[Any] = [
        *of_card(bundle),
        *of_lab(given.mel, "statistics of the frames"),
        *of_lab(given.mfcc, "140 MFCC statistics"),
        *of_networks(given.data, given.networks),
    ]
    with atomic(given.docs / "results.md") as fresh:
        fresh.write_text(page(rows, given.docs, bundle))
    return 0


if __name__ == "__main__":
    sys.exit(main())
