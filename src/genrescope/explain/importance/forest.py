"""One random forest a fold: its impurity, and what it loses when features are shuffled.

What the forest and the boosted model share (genres that can be learnt, families, intervals over
artists) is here too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.analysis.effects import bc_interval
from genrescope.explain.importance.shuffling import shuffle_losses, trees_of
from genrescope.explain.importance.types import Importance
from genrescope.explain.importance.words import misleads
from genrescope.explain.words import plural
from genrescope.learn.lab.protocol import Protocol
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.resampling import artist_units, resamples, sum_by_unit

try:
    from sklearn.ensemble import RandomForestClassifier
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("explaining models", extra="lab", package="scikit-learn") from error

__all__ = [
    "FOREST",
    "SETTINGS",
    "Grown",
    "artist_interval",
    "by_size",
    "family_numbers",
    "grow",
    "impurity",
    "known_classes",
    "permutation",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TREES = 300  # of all folds together
NOISE = 5  # columns of random numbers that the forest is given besides
REPEATS = 5  # shuffles of each feature
SHUFFLED_ROWS = 8000  # tracks at most that the shuffles are measured on
FOREST_ROWS = 20_000  # tracks at most that one tree is grown on
N_BOOT = 500
SETTINGS = (TREES, NOISE, REPEATS, SHUFFLED_ROWS, FOREST_ROWS, N_BOOT)

FOREST = "RandomForestClassifier"


@dataclass(frozen=True, eq=False)
class Grown:
    """One fold's forest, and what it loses on the fold when features are shuffled."""

    per_tree: Floats  # [trees, d + NOISE]: impurity
    test: NDArray[np.intp]
    y: Ints  # as the forest numbers genres; -1 for one that it does not know
    p: Floats
    single: tuple[NDArray[np.float32], NDArray[np.float32]]  # log-loss, accuracy [n, d]
    family: tuple[NDArray[np.float32], NDArray[np.float32]]


def grow(data: TabularData, protocol: Protocol, *, seed: int, threads: int = 1) -> list[Grown]:
    """Grow a forest for each fold and measure it on the fold.

    Parameters
    ----------
    data : TabularData
        The table.
    protocol : Protocol
        Who is trained on and who is held out.
    seed : int
        Of everything drawn.
    threads : int
        To use; the figures do not depend on it.

    Returns
    -------
    list of Grown
    """
    n_trees = max(30, TREES // protocol.n_folds)
    return [
        _one_forest(data, train, test, n_trees=n_trees, seed=[seed, number], threads=threads)
        for number, (train, test) in enumerate(_sampled(protocol, seed))
    ]


def _sampled(protocol: Protocol, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The parts, with so many held-out tracks left away that the time stays bounded."""
    share = min(1.0, SHUFFLED_ROWS / max(int((protocol.fold >= 0).sum()), 1))
    rng = np.random.default_rng([seed, 1])
    out = []
    for train, test in protocol.parts():
        keep = max(1, round(share * len(test)))
        kept = test if share == 1.0 else np.sort(rng.choice(test, keep, replace=False))
        out.append((train, kept))
    return out


def _one_forest(
    data: TabularData,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    *,
    n_trees: int,
    seed: list[int],
    threads: int,
) -> Grown:
    _, y = known_classes(data, train)
    rng = np.random.default_rng(seed)
    middle = _medians(data.x[train])
    x_train, x_test = (
        np.concatenate(
            [
                np.where(np.isfinite(data.x[rows]), data.x[rows], middle),
                rng.standard_normal((len(rows), NOISE), dtype=np.float32),
            ],
            axis=1,
        )
        for rows in (train, test)
    )
    forest = RandomForestClassifier(
        n_trees,
        min_samples_leaf=3 if len(train) >= 500 else 1,
        max_samples=FOREST_ROWS if len(train) > FOREST_ROWS else None,
        random_state=int(rng.integers(2**31)),
        n_jobs=threads,
    ).fit(x_train, y[train])
    per_tree = np.stack([tree.feature_importances_ for tree in forest.estimators_])
    shuffles = np.stack([rng.permutation(len(test)) for _ in range(REPEATS)])
    d = len(data.features)
    trees = trees_of(forest)
    single = shuffle_losses(trees, x_test, y[test], part_of=np.arange(d + NOISE), shuffles=shuffles)
    of = family_numbers(data)
    family = shuffle_losses(
        trees,
        x_test,
        y[test],
        part_of=np.concatenate([of, np.full(NOISE, of.max() + 1)]),
        shuffles=shuffles,
    )
    return Grown(
        per_tree,
        test,
        y[test],
        single.probabilities,
        (single.log_loss[:, :d], single.accuracy[:, :d]),
        (family.log_loss[:, :-1], family.accuracy[:, :-1]),
    )


def known_classes(data: TabularData, train: NDArray[np.intp]) -> tuple[Ints, Ints]:
    """The genres that have training tracks, and all labels as positions among them, or -1."""
    classes = np.unique(data.y[train])
    if len(classes) < 2:
        named = ", ".join(data.genres[c] for c in classes) or "none"
        raise DataError(
            f"the training part of {data.name} has {len(classes)} genre(s) ({named}); a model "
            "needs two: use fewer folds, or a table with more tracks of each genre"
        )
    number = np.full(len(data.genres), -1, dtype=np.int64)
    number[classes] = np.arange(len(classes))
    return classes, number[data.y]


def _medians(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Medians of the columns; 0 for one that has no value."""
    if np.isfinite(x).all():
        return np.asarray(np.median(x, axis=0), dtype=np.float32)
    known = (column[np.isfinite(column)] for column in x.T)
    return np.array([np.median(c) if len(c) else 0.0 for c in known], dtype=np.float32)


def family_numbers(data: TabularData) -> Ints:
    families = sorted(set(data.feature_groups))
    place = {name: i for i, name in enumerate(families)}
    return np.array([place[name] for name in data.feature_groups], dtype=np.int64)


def by_size(
    families: list[str], mean: Floats, low: Floats, high: Floats
) -> dict[str, tuple[float, float, float]]:
    order = np.argsort(-mean, kind="stable")
    return {families[i]: (float(mean[i]), float(low[i]), float(high[i])) for i in order}


def impurity(
    data: TabularData, forests: list[Grown], families: list[str], *, seconds: float
) -> Importance:
    per_tree = np.concatenate([f.per_tree for f in forests])
    d = len(data.features)
    own = per_tree[:, :d]
    member = np.eye(len(families))[family_numbers(data)]
    by_family = own @ member
    low, high = np.percentile(own, [2.5, 97.5], axis=0)
    family_low, family_high = np.percentile(by_family, [2.5, 97.5], axis=0)
    noise = float(per_tree[:, d:].mean())
    return Importance(
        "impurity",
        FOREST,
        data.features,
        mean=own.mean(axis=0),
        low=low,
        high=high,
        spread_of=f"95 % of the {len(per_tree)} trees",
        unit="share of the fall in impurity",
        by_group=by_size(families, by_family.mean(axis=0), family_low, family_high),
        per_genre=None,
        warning=misleads(own.mean(axis=0), noise=noise),
        seconds=seconds,
        noise=noise,
        n=int(sum(len(f.test) for f in forests)),
    )


def permutation(
    data: TabularData, forests: list[Grown], families: list[str], *, seconds: float
) -> Importance:
    started = time.process_time()
    rows = np.concatenate([f.test for f in forests])
    units = artist_units(data.groups[rows], n=len(rows))[0]
    single, family = (
        [
            artist_interval(np.concatenate([getattr(f, of)[which] for f in forests]), units)
            for which in (0, 1)
        ]
        for of in ("single", "family")
    )
    loss, accuracy = single
    return Importance(
        "permutation",
        FOREST,
        data.features,
        mean=loss[0],
        low=loss[1],
        high=loss[2],
        spread_of=f"95 % interval over {plural(data.group_name)}",
        unit="rise of log-loss on held-out tracks",
        by_group=by_size(families, *family[0]),
        per_genre=None,
        warning=(
            "Shuffling one of several features that say the same costs little, because the others "
            "stand in: a small loss does not mean that a feature is useless. The figures of whole "
            "families are not misled by that within the family."
        ),
        seconds=seconds + time.process_time() - started,
        accuracy=accuracy[0],
        accuracy_low=accuracy[1],
        accuracy_high=accuracy[2],
        accuracy_by_group=by_size(families, *family[1]),
        n=len(rows),
    )


def artist_interval(
    values: NDArray[Any], units: Ints, *, corrected: bool = False
) -> tuple[Floats, Floats, Floats]:
    """Means of the columns over the rows, and 95 % intervals that resample whole artists."""
    sums = sum_by_unit(values.astype(np.float64), units)
    sizes = np.bincount(units).astype(np.float64)
    mean = sums.sum(axis=0) / sizes.sum()
    if len(sizes) < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    draws = np.concatenate(
        [(w @ sums) / (w @ sizes)[:, None] for w in resamples(len(sizes), n_boot=N_BOOT, seed=0)]
    )
    if corrected:
        return mean, *bc_interval(draws, mean)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return mean, np.minimum(low, mean), np.maximum(high, mean)
