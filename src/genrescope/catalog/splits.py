"""Splits in which no artist is on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.catalog.leaks import AuditReport, audit
from genrescope.errors import SplitError

__all__ = ["AuditReport", "audit", "group_folds", "holdout"]


def group_folds(
    labels: ArrayLike, groups: ArrayLike, *, n_folds: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """Folds that share no group and have nearly the same class counts.

    Groups are dealt out largest first, each to the fold where it disturbs the balance of
    classes and sizes least; groups of one size come in an order drawn from `seed`. The same
    arguments give the same folds on every machine.

    Parameters
    ----------
    labels : array_like [shape=(n,), str or int]
        Class of each track.
    groups : array_like [shape=(n,), str or int]
        What must not be split, as a rule the artist. All tracks with an equal value stay
        together, those with an empty name too.
    n_folds : int >= 2
        How many folds.
    seed : int >= 0
        Order among groups of one size.

    Returns
    -------
    np.ndarray [shape=(n,), int64]
        Fold of each track, 0 to ``n_folds - 1``; none is empty.

    Raises
    ------
    SplitError
        If lengths differ, or there are fewer groups than folds.

    Examples
    --------
    >>> group_folds(["Pop", "Rock", "Pop", "Rock"], ["a", "a", "b", "b"], n_folds=2).tolist()
    [0, 0, 1, 1]
    """
    if n_folds < 2:
        raise SplitError(f"n_folds is {n_folds}; a split needs at least 2 folds")
    counts, group_of = _group_counts(labels, groups)
    if len(counts) < n_folds:
        raise SplitError(
            f"{n_folds} folds need at least {n_folds} different groups, here are {len(counts)}; "
            "ask for fewer folds, or check the column that names the group"
        )
    weights = np.full(n_folds, 1.0 / n_folds)
    return _deal(counts, weights=weights, seed=seed)[group_of]


def holdout(
    labels: ArrayLike, groups: ArrayLike, *, fraction: float, seed: int = 0
) -> NDArray[np.bool_]:
    """Hold out about `fraction` of every class, in whole groups.

    Parameters
    ----------
    labels, groups : array_like [shape=(n,)]
        As in :func:`group_folds`.
    fraction : float in (0, 1)
        Share of the tracks to hold out.
    seed : int >= 0
        Order among groups of one size.

    Returns
    -------
    np.ndarray [shape=(n,), bool]
        True for a track that is held out; no group has both values, and neither side is empty.

    Raises
    ------
    SplitError
        If lengths differ, `fraction` is out of range, or one side would be empty.
    """
    if not 0.0 < fraction < 1.0:
        raise SplitError(f"fraction is {fraction}; it must lie between 0 and 1, both excluded")
    counts, group_of = _group_counts(labels, groups)
    side = _deal(counts, weights=np.array([1.0 - fraction, fraction]), seed=seed)
    if side.min() == side.max():
        raise SplitError(
            f"holding out {fraction:g} of {len(group_of)} tracks in {len(counts)} group(s) leaves "
            "one side empty; use another fraction or more groups"
        )
    held_out: NDArray[np.bool_] = side[group_of] == 1
    return held_out


def _group_counts(
    labels: ArrayLike, groups: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Tracks of each class in each group [groups, classes], and the group of each track."""
    label_names, label_of = _codes("labels", labels)
    group_names, group_of = _codes("groups", groups)
    if len(label_of) != len(group_of):
        raise SplitError(
            f"labels has {len(label_of)} values and groups has {len(group_of)}; "
            "both need one value a track"
        )
    if len(label_of) == 0:
        raise SplitError("there are no tracks to split")
    counts = np.zeros((len(group_names), len(label_names)))
    np.add.at(counts, (group_of, label_of), 1.0)
    return counts, group_of


def _codes(name: str, values: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise SplitError(f"{name} has shape {array.shape}; one value a track is needed")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise SplitError(f"{name} has missing (NaN) values; fill or drop those tracks first")
    if array.dtype.kind == "O":  # a None among names would make np.unique fail obscurely
        if any(v is None or v != v for v in array):
            raise SplitError(f"{name} has missing values; fill or drop those tracks first")
        array = array.astype(str)
    names, codes = np.unique(array, return_inverse=True)
    return names, codes.astype(np.int64)


def _deal(
    counts: NDArray[np.float64], *, weights: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """Deal groups to bins of given weights (sum 1), largest first.

    The cost is, over bins and classes, the squared distance between a bin's count and its
    share of what has been dealt, relative to the class total; the size counts as one class
    more. (StratifiedGroupKFold of scikit-learn follows the same idea for equal bins.)
    """
    size = counts.sum(axis=1)
    # Relative to the class total, so that a rare class weighs as much as a frequent one.
    load = np.hstack([counts / counts.sum(axis=0), (size / size.sum())[:, None]])
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(counts))
    order = shuffled[np.argsort(-size[shuffled], kind="stable")]

    filled = np.zeros((len(weights), load.shape[1]))
    bin_of = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        # How much the cost grows if the group goes to each bin: ((gap + l)^2 - gap^2) / w, less
        # what is the same for all bins.
        cost = ((2.0 * filled + load[group]) * load[group]).sum(axis=1) / weights
        # Rounding keeps ties ties, whatever the order of summation on this machine.
        best = int(np.argmin(np.round(cost, 12)))
        filled[best] += load[group]
        bin_of[group] = best
    return bin_of
