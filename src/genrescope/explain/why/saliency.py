"""What of a sound spoke for a genre: parts are taken away, and the recogniser is asked again.

Nothing here looks inside the recogniser, so it works for any: a graph that ships, a network in
training, a function. A picture of the sound is divided into cells, so many bands by so many
stretches of time. What a cell is worth is how far the log-odds of the genre fall without it. That
such a map is true is not taken for granted: :func:`deletion` takes the cells away in the order of
the map, and compares with a random order; :func:`rank_correlation` compares with the map of a
recogniser that knows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError

__all__ = [
    "Deletion",
    "Occlusion",
    "Score",
    "deletion",
    "log_odds",
    "occlude",
    "rank_correlation",
]

Floats = npt.NDArray[np.float64]

#: Log-odds [n] of one genre where only some cells are kept: True in [n, bands, times].
Score = Callable[[npt.NDArray[np.bool_]], Floats]

_BATCH = 64  # pictures that are asked about at once
_RIDGE = 20.0  # as much as 80 more halves in which the cell does nothing
_SURE = 1e-6  # probabilities beyond this are as good as certain


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What each part is worth: how far the log-odds fall without it.

    Attributes
    ----------
    cells : np.ndarray [shape=(bands, times), float64]
        What each cell adds while a random half of the others is missing.
    by_band : np.ndarray [shape=(bands,), float64]
        Of a whole band, at all times.
    by_time : np.ndarray [shape=(times,), float64]
        Of a stretch of time, with all bands.
    whole : float
        Log-odds of the whole sound.
    nothing : float
        Log-odds where every cell is hidden.
    draws : int
        Random halves that the cells were judged by.
    """

    cells: Floats
    by_band: Floats
    by_time: Floats
    whole: float
    nothing: float
    draws: int

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            "cells": np.round(self.cells, 4).tolist(),
            "by_band": np.round(self.by_band, 4).tolist(),
            "by_time": np.round(self.by_time, 4).tolist(),
            "whole": round(self.whole, 4),
            "nothing": round(self.nothing, 4),
            "draws": self.draws,
        }


@dataclass(frozen=True, eq=False)
class Deletion:
    """How the log-odds fall while cells are taken away.

    Attributes
    ----------
    share : np.ndarray [shape=(steps + 1,), float64]
        Of the cells that are gone, 0 to 1.
    ordered : np.ndarray [shape=(steps + 1,), float64]
        Log-odds when the cells go in the order of the map, the best first.
    chance : np.ndarray [shape=(orders, steps + 1), float64]
        The same for random orders.
    area : float
        Between the mean of the random curves and the ordered one: how much lower, on average, the
        log-odds are for having followed the map. Above 0 the map tells something.
    spread : float
        Standard deviation of that area over the random orders.
    """

    share: Floats
    ordered: Floats
    chance: Floats
    area: float
    spread: float

    @property
    def better(self) -> bool:
        """Whether the map beats every random order."""
        return bool((_areas(self.share, self.ordered, self.chance) > 0).all())

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            "share": np.round(self.share, 4).tolist(),
            "ordered": np.round(self.ordered, 4).tolist(),
            "chance_mean": np.round(self.chance.mean(axis=0), 4).tolist(),
            "area": round(self.area, 4),
            "spread": round(self.spread, 4),
            "better_than_all": self.better,
        }


def log_odds(probability: npt.ArrayLike) -> Floats:
    """Logarithm of p / (1 - p), finite for certainties, too.

    Examples
    --------
    >>> log_odds([0.5, 0.9]).round(2).tolist()
    [0.0, 2.2]
    """
    p = np.clip(np.asarray(probability, np.float64), _SURE, 1 - _SURE)
    odds: Floats = np.log(p) - np.log1p(-p)
    return odds


def occlude(score: Score, shape: tuple[int, int], *, draws: int = 600, seed: int = 0) -> Occlusion:
    """Hide parts of a sound, and see how far the log-odds of the genre fall.

    Whole bands and whole stretches of time are hidden one by one. Single cells matter too little
    for that: random halves of all cells are hidden, each with its opposite, and a linear model is
    fitted (ridge regression) that says what each cell adds while others are missing.

    Parameters
    ----------
    score : callable
        See :data:`Score`.
    shape : (int, int)
        Bands and times of the grid of cells.
    draws : int
        How many halves; an even number, and more than there are cells is better.
    seed : int
        Of their choice.

    Returns
    -------
    Occlusion

    Raises
    ------
    DataError
        If the shape or the number cannot be, or the answers are not finite.
    """
    bands, times = shape
    if min(bands, times) < 1 or draws < 2:
        raise DataError(
            f"{draws} draws of {bands} x {times} cells; give 2 draws or more, and a grid of at "
            "least one cell"
        )
    half = np.random.default_rng(seed).random((draws // 2, bands, times)) < 0.5
    halves = np.concatenate([half, ~half])
    rows = np.repeat(np.eye(bands, dtype=bool)[:, :, None], times, axis=2)
    columns = np.repeat(np.eye(times, dtype=bool)[:, None, :], bands, axis=1)
    ends = np.stack([np.ones(shape, bool), np.zeros(shape, bool)])
    found = _ask(score, np.concatenate([ends, ~rows, ~columns, halves]))
    whole, nothing = float(found[0]), float(found[1])
    fall = whole - found[2 : 2 + bands + times]
    return Occlusion(
        cells=_linear(halves, found[2 + bands + times :]),
        by_band=fall[:bands],
        by_time=fall[bands:],
        whole=whole,
        nothing=nothing,
        draws=len(halves),
    )


def _linear(kept: npt.NDArray[np.bool_], found: Floats) -> Floats:
    """What each cell adds [bands, times], by ridge regression on which of them were kept."""
    x = kept.reshape(len(kept), -1) - 0.5
    square = x.T @ x + _RIDGE * np.eye(x.shape[1])
    worth = np.linalg.solve(square, x.T @ (found - found.mean()))
    cells: Floats = worth.reshape(kept.shape[1:])
    return cells


def deletion(
    score: Score,
    cells: npt.NDArray[np.floating[Any]],
    *,
    steps: int = 20,
    orders: int = 8,
    seed: int = 0,
) -> Deletion:
    """Take the cells away in the order of a map, and in random orders.

    Parameters
    ----------
    score : callable
        See :data:`Score`.
    cells : np.ndarray [shape=(bands, times)]
        What each cell is said to be worth.
    steps : int
        How many are asked about on the way, 1 to the number of cells.
    orders : int
        How many random orders.
    seed : int
        Of those.

    Returns
    -------
    Deletion

    Raises
    ------
    DataError
        If the map is not finite, or `steps` or `orders` are below 1.
    """
    worth = np.asarray(cells, np.float64)
    if worth.ndim != 2 or not worth.size or not np.isfinite(worth).all():
        raise DataError(
            f"a map of shape {worth.shape} cannot be followed; it needs bands by times, all finite"
        )
    if steps < 1 or orders < 1:
        raise DataError(f"steps is {steps} and orders is {orders}; give 1 or more")
    count = worth.size
    rng = np.random.default_rng(seed)
    ways = [
        np.argsort(-worth.ravel(), kind="stable"),
        *(rng.permutation(count) for _ in range(orders)),
    ]
    gone = np.unique(np.round(np.linspace(0, count, steps + 1)).astype(np.int64))
    kept = np.ones((len(ways), len(gone), count), bool)
    for way, order in enumerate(ways):
        for step, n in enumerate(gone):
            kept[way, step, order[:n]] = False
    found = _ask(score, kept.reshape(-1, *worth.shape)).reshape(len(ways), len(gone))
    share = gone / count
    areas = _areas(share, found[0], found[1:])
    return Deletion(
        share=share,
        ordered=found[0],
        chance=found[1:],
        area=float(areas.mean()),
        spread=float(areas.std()),
    )


def rank_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Spearman's correlation of two maps; NaN where one is constant.

    Examples
    --------
    >>> rank_correlation([1, 2, 3], [1, 4, 9])
    1.0
    """
    ranks = [_ranks(np.asarray(one, np.float64).ravel()) for one in (first, second)]
    a, b = (rank - rank.mean() for rank in ranks)
    size = math.sqrt(float(a @ a) * float(b @ b))
    return round(float(a @ b) / size, 12) if size else math.nan


def _ranks(values: Floats) -> Floats:
    """Ranks, equal values sharing their mean."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shared: Floats = (ends - (counts - 1) / 2)[which]
    return shared


def _areas(share: Floats, ordered: Floats, chance: Floats) -> Floats:
    areas: Floats = np.asarray(np.trapezoid(chance - ordered, share, axis=1), np.float64)
    return areas


def _ask(score: Score, kept: npt.NDArray[np.bool_]) -> Floats:
    parts = [score(kept[first : first + _BATCH]) for first in range(0, len(kept), _BATCH)]
    found = np.concatenate(parts).astype(np.float64)
    if found.shape != (len(kept),) or not np.isfinite(found).all():
        raise DataError(
            f"the recogniser gave the shape {found.shape} or values that are not finite for "
            f"{len(kept)} pictures; it must give one finite number each"
        )
    return found
