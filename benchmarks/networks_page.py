"""What the trainings of study_networks came to: one page and one figure."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks_plan import ENTRIES, FOLDS, Entry, folder_of
from genrescope.catalog.splits import group_folds
from genrescope.catalog.storage import atomic
from genrescope.explain import ink
from genrescope.learn.card_parts import cross_cooled
from genrescope.learn.deep.architectures import build, count_parameters, find, parse_options
from genrescope.learn.deep.curves import read_curves
from genrescope.learn.deep.data import FrameData
from genrescope.learn.evaluate import score
from genrescope.learn.resampling import artist_units, interval, resamples, sum_by_unit

_REFERENCE = "cs464-cnn"
_CLIPS = 16  # a batch, to time
_METRICS = ("accuracy", "macro_f1", "top3", "log_loss", "ece", "artist_weighted_accuracy")


@dataclass(frozen=True, eq=False)
class Line:
    """A network over its seeds."""

    entry: Entry
    seeds: tuple[int, ...]
    parameters: int
    figures: dict[str, float]  # means over seeds
    ends: dict[str, tuple[float, float]]  # of the intervals, means over seeds
    spread: tuple[float, float]  # of accuracy over seeds, from least to most
    right: NDArray[np.float64]  # [tracks] share of the seeds that got it right
    right_first: NDArray[np.float64]  # [tracks] whether the first seed got it right
    cpu_seconds: float  # of one training: all folds of one seed
    epochs: float  # of one fold
    eager_ms: float
    onnx_ms: float


def read_line(entry: Entry, runs: Path, data: FrameData, folds: NDArray[np.int64]) -> Line:
    """All finished seeds of a network; the rest of the page follows from them."""
    done = [s for s in entry.seeds if (folder_of(runs, entry, s) / "scores.json").exists()]
    rows = np.flatnonzero(np.isin(folds, FOLDS))
    y, artists = data.y[rows], data.artist[rows]
    scores, right, cost, epochs, parameters = [], [], [], [], 0
    for seed in done:
        folder = folder_of(runs, entry, seed)
        found = json.loads((folder / "scores.json").read_text())
        parameters = found["parameters"]
        # A training that has more folds than are compared is charged for those that are.
        share = len(FOLDS) / len(found["folds_scored"])
        cost.append(share * json.loads((folder / "cost.json").read_text())["cpu_seconds"])
        epochs += [found["training"][f"fold-{k}"]["epochs"] for k in FOLDS]
        logits = np.zeros((len(data), len(data.genres)))
        for k in FOLDS:
            with np.load(folder / f"fold-{k}" / "answers.npz", allow_pickle=False) as stored:
                logits[folds == k] = stored["logits"]
        p, _ = cross_cooled(logits[rows], y, folds[rows])
        scores.append(score(y, p, genres=data.genres, groups=artists).to_dict())
        right.append((p.argmax(axis=1) == y).astype(np.float64))
    eager_ms, onnx_ms = milliseconds(entry)
    return Line(
        entry=entry,
        seeds=tuple(done),
        parameters=parameters,
        figures={m: statistics.fmean(one[m] for one in scores) for m in _METRICS},
        ends={
            m: (
                statistics.fmean(one["intervals"][m][0] for one in scores),
                statistics.fmean(one["intervals"][m][1] for one in scores),
            )
            for m in _METRICS
        },
        spread=(min(s["accuracy"] for s in scores), max(s["accuracy"] for s in scores)),
        right=np.mean(right, axis=0),
        right_first=right[0],
        cpu_seconds=statistics.fmean(cost),
        epochs=statistics.fmean(epochs),
        eager_ms=eager_ms,
        onnx_ms=onnx_ms,
    )


def milliseconds(entry: Entry, *, repeats: int = 7) -> tuple[float, float]:
    """Median milliseconds a clip on one thread, in batches: torch as it comes, ONNX Runtime."""
    import onnxruntime
    import torch

    from genrescope.learn.deep.export import plain_graph

    torch.set_num_threads(1)
    architecture = find(entry.network)
    architecture = architecture.at((1, 128, 128)).having(
        parse_options(architecture, dict(entry.options))
    )
    torch.manual_seed(0)
    net = build(architecture).eval()
    inputs = [torch.randn(_CLIPS, *architecture.input_shape)]
    if architecture.hears_dense:
        inputs.append(torch.randn(_CLIPS, 20, 130))

    def eager() -> None:
        with torch.no_grad():
            net(*inputs)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        plain_graph(net, architecture), options, providers=["CPUExecutionProvider"]
    )
    feed = {
        tensor.name: values.numpy()
        for tensor, values in zip(session.get_inputs(), inputs, strict=True)
    }

    def exported() -> None:
        session.run(None, feed)

    return _median_ms(eager, repeats), _median_ms(exported, repeats)


def _median_ms(work: Any, repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds) / _CLIPS * 1e3


def difference(
    a: NDArray[np.float64], b: NDArray[np.float64], artists: NDArray[np.str_]
) -> tuple[float, float, float]:
    """Accuracy of a minus that of b, both means over seeds, with a 95 % interval by artist."""
    units, _, _ = artist_units(artists, n=len(a))
    by_unit = sum_by_unit(np.column_stack([a - b, np.ones(len(a))]), units)
    draws = []
    for weights in resamples(len(by_unit), n_boot=1000, seed=0):
        total = weights @ by_unit
        draws.append(total[:, 0] / total[:, 1])
    point = float((a - b).mean())
    low, high = interval(draws, point=point) or (np.nan, np.nan)
    return point, low, high


def curves(lines: Sequence[Line], runs: Path) -> ink.Drawing:
    """Log-loss on held-out artists and on training tracks, epoch by epoch, one panel a network."""
    with ink.style():
        columns = 3
        rows = -(-len(lines) // columns)
        figure = ink.new_figure(ink.WIDTH, 2.1 * rows)
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for panel, line in zip(panels, lines, strict=False):
            for seed in line.seeds:
                histories = read_curves(folder_of(runs, line.entry, seed) / "curves.csv")
                for history in histories.values():
                    epochs = [row["epoch"] for row in history]
                    panel.plot(
                        *(epochs, [row["loss"] for row in history]),
                        color=ink.ALERT,
                        lw=0.8,
                        ls="--",
                    )
                    panel.plot(
                        *(epochs, [row["held_out_log_loss"] for row in history]),
                        color=ink.ACCENT,
                        lw=1.1,
                    )
            panel.set_title(line.entry.label)
            panel.set_ylim(0.8, 2.3)
            panel.grid(axis="y")
        for panel in panels[len(lines) :]:
            panel.axis("off")
        for panel in panels[::columns]:
            panel.set_ylabel("nats")
        for panel in panels[max(0, len(lines) - columns) : len(lines)]:
            panel.set_xlabel("epoch")
        first = panels[0]
        first.plot([], [], color=ink.ACCENT, lw=1.1, label="held-out artists")
        first.plot([], [], color=ink.ALERT, lw=0.8, ls="--", label="training loss")
        first.legend(loc="upper right")
        return ink.finish(figure, key="networks-curves")


def page(lines: Sequence[Line], data: FrameData, command: str) -> str:
    """The page, as Markdown."""
    ordered = sorted(lines, key=lambda line: -line.figures["accuracy"])
    study = next(line for line in lines if line.entry.label == _REFERENCE)
    rows = [_row(line) for line in ordered]
    text = [
        "# Networks on the mel frames of FMA-small",
        "",
        f"{len(data):,} tracks, scored by networks that had heard nothing of their artists: folds "
        f"{' and '.join(map(str, FOLDS))} of the project's five, the same for all. The best epoch "
        "is chosen on other artists of the training part. Inputs are 128 frames of 128 bands, one "
        "every 0.23 s, of which bands above 15 kHz are not read.",
        "",
        "| network | seeds | parameters | accuracy | macro-F1 | top-3 | log-loss | ECE "
        "| epochs | training, CPU s | torch, ms | ONNX, ms |",
        "| --- " * 12 + "|",
        *rows,
        "",
        "Accuracy and macro-F1: mean over seeds (mean of the seeds' 95 % intervals by bootstrap "
        "over artists); in brackets the lowest and highest seed. Training: processor seconds on "
        "one thread of one seed's two folds, bfloat16 except for the ViT. Milliseconds a clip: "
        f"float32, one thread, batches of {_CLIPS}, median; torch as it comes and ONNX Runtime.",
        "",
        "## Against the study's network",
        "",
        "| network | accuracy minus the study's, points | parameters, times fewer |",
        "| --- | --- | --- |",
    ]
    for line in ordered:
        if line is study:
            continue
        gap = difference(line.right, study.right, data.artist)
        text.append(
            f"| {line.entry.label} | {100 * gap[0]:+.1f} "
            f"({100 * gap[1]:+.1f} to {100 * gap[2]:+.1f}) "
            f"| {study.parameters / line.parameters:,.1f} |"
        )
    full = count_parameters(build(find("cs464-cnn")))
    text += [
        "",
        "The same tracks; accuracies are means over seeds, resampled by artist.",
        "",
        f"The study's CNN has {full:,} parameters for its own input, 3 x 128 x 1292; for "
        f"1 x 128 x 128 the same layers have {study.parameters:,}. Two things differ from its "
        "report: the weights start from He's distribution, since from torch's own start it "
        "did not learn at all, and it stops when held-out artists gain nothing "
        "for four epochs.",
        "",
        *_ingredient(lines, data),
        "## Beside what was published",
        "",
        "The study of 2022 (Bilkent University, CS464) reports 51 % for its CNN and 42 % for its "
        "Vision Transformer. Those cannot be compared with this table: they were scored on a "
        "random split, in which the artists of the test tracks are in training too; they see all "
        "1,292 frames of a clip where these see 128; and the network is nine times larger.",
        "",
        "![Learning curves](../figures/networks-curves.svg)",
        "",
        "Each line is one fold of one seed. Training loss of the networks that are trained the "
        "modern way holds label smoothing and mixup, so it cannot fall as low. Where lines still "
        "fall at the last epoch, more epochs would help.",
        "",
        "How each is trained:",
        "",
        *(
            f"- `{line.entry.label}`: `genrescope train {line.entry.network} "
            f"{' '.join(line.entry.arguments)}`"
            for line in ordered
        ),
        "",
        f"Made by `{command}`.",
        "",
    ]
    return "\n".join(text)


def _ingredient(lines: Sequence[Line], data: FrameData) -> list[str]:
    """What SpecAugment adds, where both trainings are there."""
    by_label = {line.entry.label: line for line in lines}
    without, with_it = (
        by_label.get(label) for label in ("compact-cnn-no-specaugment", "compact-cnn")
    )
    if without is None or with_it is None:
        return []
    gap = difference(with_it.right_first, without.right_first, data.artist)
    return [
        "## What SpecAugment adds",
        "",
        "The compact network with seed 0, once with bands and frames masked in training (Park et "
        f"al. 2019) and once without, all else the same: {100 * gap[0]:+.1f} points of accuracy "
        f"({100 * gap[1]:+.1f} to {100 * gap[2]:+.1f}). It is one seed, two folds and "
        f"{with_it.epochs:.0f} epochs; the seeds of the compact network lie between "
        f"{with_it.spread[0]:.3f} and {with_it.spread[1]:.3f}. A network this small, trained this "
        "short, has little to unlearn. Mixup and distillation were taken away from the network "
        "that ships: [ablations](ablations.md).",
        "",
    ]


def _row(line: Line) -> str:
    figures, ends = line.figures, line.ends

    def cell(name: str) -> str:
        return f"{figures[name]:.3f} ({ends[name][0]:.3f} to {ends[name][1]:.3f})"

    accuracy = cell("accuracy")
    if len(line.seeds) > 1:
        accuracy += f" [{line.spread[0]:.3f}, {line.spread[1]:.3f}]"
    return (
        f"| {line.entry.label} | {len(line.seeds)} | {line.parameters:,} | {accuracy} "
        f"| {cell('macro_f1')} | {figures['top3']:.3f} | {figures['log_loss']:.3f} "
        f"| {figures['ece']:.3f} | {line.epochs:.0f} | {line.cpu_seconds:,.0f} "
        f"| {line.eager_ms:.2f} | {line.onnx_ms:.2f} |"
    )


def read_lines(data_folder: Path, runs: Path) -> list[Line]:
    """All networks of which a training is finished."""
    data = FrameData.load(data_folder)
    return [
        read_line(entry, runs, data, folds_of(data))
        for entry in ENTRIES
        if any((folder_of(runs, entry, seed) / "scores.json").exists() for seed in entry.seeds)
    ]


def folds_of(data: FrameData) -> NDArray[np.int64]:
    """The project's five folds."""
    return group_folds(data.y, data.artist, n_folds=5, seed=0)


def write_page(data_folder: Path, runs: Path, docs: Path, command: str) -> None:
    """Write docs/results/networks.md and docs/figures/networks-curves.svg."""
    data = FrameData.load(data_folder)
    scored = np.isin(folds_of(data), FOLDS)
    lines = read_lines(data_folder, runs)
    kept = FrameData(
        track_id=data.track_id[scored],
        mel=data.mel[:0],
        mfcc=data.mfcc[:0],
        y=data.y[scored],
        genres=data.genres,
        artist=data.artist[scored],
    )
    with atomic(docs / "results" / "networks.md") as fresh:
        fresh.write_text(page(lines, kept, command))
    with atomic(docs / "figures" / "networks-curves.svg") as fresh:
        fresh.write_text(curves(lines, runs).svg)
