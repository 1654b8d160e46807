"""What each ingredient of the network on statistics adds: take one away at a time.

``python -m benchmarks.study_ablations --data ../shared/data/fma --runs runs/ablations --docs docs``

The network is a member of the recogniser that ships, alone. Everything else stays as it is: the
same five folds by artist, the same features, the same seeds. What is done is not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genrescope.audio import frames
from genrescope.catalog.storage import atomic
from genrescope.learn.card_parts import cross_cooled
from genrescope.learn.evaluate import Scores, score
from genrescope.learn.paired import paired_difference
from genrescope.learn.train.recipe import Recipe, Run, teach
from genrescope.learn.train.statnet import FrontScale, fit_front_scale
from genrescope.learn.train.training import Goal, NetSettings, StatLearner, soft_targets, train_net

Floats = NDArray[np.float64]
SEEDS = (0,)
_COMMAND = (
    "python -m benchmarks.study_ablations --data ../shared/data/fma --runs runs/ablations "
    "--docs docs"
)


@dataclass(frozen=True)
class Variant:
    """One way to train it."""

    key: str
    words: str
    settings: NetSettings = dataclasses.field(default_factory=NetSettings)
    teacher_share: float = 0.7
    imitates: bool = True
    limited: bool = True
    subgenres: bool = False


_NET = NetSettings()
VARIANTS = (
    Variant("whole", "as it ships"),
    Variant("mixup", "without mixup", dataclasses.replace(_NET, mixup=0.0)),
    Variant("noise", "without noise on the inputs", dataclasses.replace(_NET, noise=0.0)),
    Variant("limited", "without band-limited copies", limited=False),
    Variant("soft", "without the teacher's probabilities", teacher_share=0.0),
    Variant("imitation", "without imitating the teacher's embedding", imitates=False),
    Variant("teacher", "without a teacher at all", teacher_share=0.0, imitates=False),
    Variant("hierarchy", "with the sub-genres to learn, too", subgenres=True),
)


class Study:
    """Data, features and what is stored of one study."""

    def __init__(self, data: Path, runs: Path) -> None:
        self.run = Run(runs, recipe=Recipe(), data=data)
        self.artists = self.run.data.artist_id
        self._inputs: dict[int, NDArray[np.float32]] = {}

    @cached_property
    def views(self) -> list[NDArray[np.float32]]:
        """Statistics as they are, then band-limited."""
        return [view[:, : frames.N_STATISTICS].copy() for view in self.run.features()]

    def inputs(self, k: int) -> NDArray[np.float32]:
        """Scaled inputs of all tracks [n, views, n_in], by a scale that fold k had no part in."""
        if k in self._inputs:
            return self._inputs[k]
        train = self.run.folds != k

        def fit() -> dict[str, NDArray[np.float32]]:
            sample = np.concatenate([self.views[0][train], self.views[1][train][::3]])
            fitted = fit_front_scale(sample, n_components=self.run.recipe.components)
            return {"mean": fitted.mean, "scale": fitted.scale, "projection": fitted.projection}

        scale = FrontScale(**self.run.arrays(f"fold-{k}/scale", fit))
        self._inputs[k] = np.stack([scale(view) for view in self.views], axis=1)
        return self._inputs[k]

    def subgenres(self) -> NDArray[np.float32]:
        """Sub-genres of each track, in spreads from their mean, weighed like the embedding."""
        listed = self.run.data.subgenres
        if listed is None:
            raise SystemExit("small_tracks.csv has no column subgenres")
        names = sorted({name for cell in listed for name in cell} - set(self.run.genres))
        table = np.array([[name in cell for name in names] for cell in listed], dtype=np.float64)
        table = table[:, table.sum(axis=0) >= 30]
        return ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)

    def answers(self, variant: Variant, seed: int) -> Floats:
        """Out-of-fold log-probabilities of a variant."""
        run = self.run
        out = np.zeros((len(run.y), len(run.genres)))
        for k in range(run.recipe.folds):
            rest = run.folds == k

            def fit(k: int = k, rest: NDArray[np.bool_] = rest) -> dict[str, Floats]:
                return {"logits": self._fit(variant, seed, k, rest)}

            out[rest] = run.arrays(f"{variant.key}/seed-{seed}-fold-{k}", fit)["logits"]
        print(variant.key, seed, f"{(out.argmax(axis=1) == run.y).mean():.4f}", flush=True)
        return out

    def _fit(self, variant: Variant, seed: int, k: int, rest: NDArray[np.bool_]) -> Floats:
        run, train = self.run, ~rest
        inputs = self.inputs(k)
        mine = inputs[train] if variant.limited else inputs[train][:, :1]
        teacher, embedding = teach(run, f"fold-{k}", train)
        if not variant.imitates:
            embedding = None
        if variant.subgenres and embedding is not None:
            embedding = np.concatenate([embedding, self.subgenres()[train]], axis=1)
        y = run.y[train]
        learner = StatLearner(mine, settings=variant.settings, device=torch.device("cpu"))
        share = variant.teacher_share
        targets = soft_targets(y, teacher if share else None, n_genres=len(run.genres), share=share)
        weights = train_net(
            learner,
            Goal(targets, y, self.artists[train], embedding),
            settings=variant.settings,
            seed=seed,
            device=torch.device("cpu"),
        )
        return forward(weights, inputs[rest][:, 0])


def forward(weights: dict[str, NDArray[np.float32]], x: NDArray[np.float32]) -> Floats:
    """Logits of folded weights, as the graph computes them."""
    gelu = torch.nn.functional.gelu
    w = {name: torch.as_tensor(value) for name, value in weights.items()}
    first = gelu(torch.as_tensor(x) @ w["first.weight"] + w["first.bias"])
    hidden = first + gelu(first @ w["block.weight"] + w["block.bias"])
    logits: Floats = (hidden @ w["genre.weight"] + w["genre.bias"]).double().numpy()
    return logits


def page(study: Study, answers: dict[str, list[Floats]]) -> str:
    """The page, as Markdown."""
    y, artists = study.run.y, study.artists
    cooled = {
        key: [cross_cooled(one, y, study.run.folds)[0] for one in several]
        for key, several in answers.items()
    }

    def mean_of(scores: list[Scores], name: str) -> float:
        return float(np.mean([getattr(one, name) for one in scores]))

    lines = [
        "# What each ingredient adds",
        "",
        f"One network on statistics of the frames, of those that the shipped recogniser is made "
        f"of, alone: {len(y):,} tracks, five folds by artist, one seed. One "
        "thing at a time is taken away, or added.",
        "",
        "| network | accuracy | difference, points | macro-F1 | log-loss | ECE |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    whole = np.mean(cooled["whole"], axis=0)
    for variant in VARIANTS:
        several = cooled[variant.key]
        scores = [score(y, p, genres=study.run.genres, groups=artists) for p in several]
        low, high = np.mean([one.intervals["accuracy"] for one in scores], axis=0)
        gap = ""
        if variant.key != "whole":
            found = paired_difference(y, np.mean(several, axis=0), whole, artists)
            gap = (
                f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
            )
        lines.append(
            f"| {variant.words} | {mean_of(scores, 'accuracy'):.3f} ({low:.3f} to {high:.3f}) "
            f"| {gap} | {mean_of(scores, 'macro_f1'):.3f} | {mean_of(scores, 'log_loss'):.3f} "
            f"| {mean_of(scores, 'ece'):.3f} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            "Intervals of 95 % by bootstrap over artists. The difference is to the network as it "
            "ships, on the same tracks; it counts as one where its interval leaves out zero. The "
            "teacher is VGGish, in training only. Sub-genres are learnt as a second task, beside "
            "the embedding.",
            "",
            f"Made by `{_COMMAND}`.",
            "",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Train all variants, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_ablations")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args(arguments)
    study = Study(given.data, given.runs)
    answers: dict[str, list[Floats]] = {variant.key: [] for variant in VARIANTS}
    for seed in SEEDS:
        for variant in VARIANTS:
            answers[variant.key].append(study.answers(variant, seed))
    if given.docs is not None:
        with atomic(given.docs / "results" / "ablations.md") as fresh:
            fresh.write_text(page(study, answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
