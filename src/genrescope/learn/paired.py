"""Tests of classifiers on the same tracks, in pairs, and what choosing the best is worth.

References
----------
Fagerland, Lydersen, Laake (2013), The McNemar test for binary matched-pairs data: mid-p and
asymptotic are better than exact conditional.
Holm (1979), A simple sequentially rejective multiple test procedure.
Tsamardinos, Greasidou, Borboudakis (2018), Bootstrapping the out-of-sample predictions for
efficient and accurate cross-validation.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.learn.resampling import (
    Floats,
    artist_units,
    check_predictions,
    interval,
    resamples,
    sum_by_unit,
)

__all__ = [
    "PairedDifference",
    "Selection",
    "compare_with_first",
    "difference_to_dict",
    "holm",
    "mcnemar_mid_p",
    "paired_difference",
]


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of recogniser a minus that of b on the same tracks.

    ``low`` and ``high`` are the ends of its 95 % interval, NaN where there is only one unit.
    """

    difference: float
    low: float
    high: float
    a: float
    b: float
    n: int
    n_units: int
    resampled: str  # "artist" or "track"

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Selection:
    """How much the best owes to having been chosen on the tracks that score it.

    Attributes
    ----------
    best : str
        Key of the best.
    n_models : int
        Classifiers that it was chosen from.
    accuracy : float
        Of the best, as measured.
    stays : float
        Share of resamples in which it is the best again.
    wins : dict of str to float
        Key -> share of resamples in which that classifier is the best, the most frequent first.
    optimism : float
        Mean over resamples of the winner's accuracy there minus its accuracy on all tracks.
    corrected, low, high : float or None
        Accuracy to expect of "take the best of these": in each resample the winner is scored on
        the artists that were not drawn (Tsamardinos et al. 2018); mean and 95 % interval. None
        where there are too few artists.
    n_boot, seed : int
        Resamples, and the seed of the draw.
    resampled : str
        "artist" or "track".
    """

    best: str
    n_models: int
    accuracy: float
    stays: float
    wins: dict[str, float]
    optimism: float
    corrected: float | None
    low: float | None
    high: float | None
    n_boot: int
    seed: int
    resampled: str

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        text = (
            f"The best of {self.n_models} stays the best in {100 * self.stays:.0f} % of the "
            f"resamples of {self.resampled}s. Being chosen on the tracks that score it flatters "
            f"its accuracy by about {100 * self.optimism:.1f} points"
        )
        if self.corrected is None:
            return text + "."
        return (
            f"{text}; on {self.resampled}s that had no part in the choice, the chosen one reaches "
            f"{self.corrected:.3f} ({self.low:.3f} to {self.high:.3f}) in place of "
            f"{self.accuracy:.3f}."
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it and the sentence, JSON-clean."""
        return {**asdict(self), "sentence": self.sentence}


def paired_difference(
    y: ArrayLike,
    p_a: ArrayLike,
    p_b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """Accuracy of a minus accuracy of b on the same tracks, with its interval.

    Comparing two intervals that were made apart wastes the pairing; this resamples the
    differences, by artist.

    Parameters
    ----------
    y : array-like [shape=(n,), int]
        True genres.
    p_a, p_b : array-like [shape=(n, k), float]
        Probabilities of the two recognisers.
    groups, n_boot, seed
        As in :func:`genrescope.learn.evaluate.score`.

    Returns
    -------
    PairedDifference

    Raises
    ------
    DataError
        As :func:`genrescope.learn.evaluate.score`.
    """
    k = np.shape(p_a)[1] if np.ndim(p_a) == 2 else 0
    truth, a = check_predictions(y, p_a, k=k)
    _, b = check_predictions(y, p_b, k=k)
    units, n_artists, _ = artist_units(groups, n=len(truth))
    right = np.stack([a.argmax(axis=1) == truth, b.argmax(axis=1) == truth], axis=1).astype(float)
    table = np.column_stack([right[:, 0] - right[:, 1], np.ones(len(truth))])
    by_unit = sum_by_unit(table, units)
    draws = []
    if len(by_unit) > 1:
        for weights in resamples(len(by_unit), n_boot=n_boot, seed=seed):
            total = weights @ by_unit
            draws.append(total[:, 0] / total[:, 1])
    difference = float(table[:, 0].mean())
    low, high = interval(draws, point=difference) or (np.nan, np.nan)
    return PairedDifference(
        difference=difference,
        low=low,
        high=high,
        a=float(right[:, 0].mean()),
        b=float(right[:, 1].mean()),
        n=len(truth),
        n_units=len(by_unit),
        resampled="artist" if n_artists else "track",
    )


def mcnemar_mid_p(a: ArrayLike, b: ArrayLike) -> float:
    """McNemar's test of two classifiers on the same tracks: the two-sided mid-p value.

    Only the tracks count that one got right and the other did not; were both equally good, each
    such track would be a coin toss.

    Parameters
    ----------
    a, b : array-like [shape=(n,), bool]
        Whether each was right.

    Returns
    -------
    float
        In (0, 1]; 1 where they never differ.

    Examples
    --------
    >>> round(mcnemar_mid_p([True] * 9 + [False], [False] * 9 + [True]), 4)
    0.0117
    """
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    n = int((first != second).sum())
    fewer = min(int((first & ~second).sum()), int((~first & second).sum()))
    if n == 0:
        return 1.0
    # Binomial probabilities by logarithms: 2 ** -n alone is 0 from n = 1,075.
    steps = np.arange(1, fewer + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(n + 1 - steps) - np.log(steps))])
    mass = np.exp(logs - n * math.log(2))
    if 2 * fewer == n:
        return float(1 - mass[-1] / 2)
    return float(2 * mass.sum() - mass[-1])


def holm(p: Floats) -> Floats:
    """p-values corrected for their number (Holm 1979); NaN stays NaN and is not counted.

    Parameters
    ----------
    p : np.ndarray [shape=(m,), float64]
        As tested, one by one.

    Returns
    -------
    np.ndarray [shape=(m,), float64]

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return out


def difference_to_dict(difference: PairedDifference | None) -> dict[str, Any] | None:
    """A paired difference, JSON-clean: an end that is not known is None."""
    if difference is None:
        return None
    values = {key: None if v != v else v for key, v in asdict(difference).items()}
    return {**values, "significant": difference.significant}


def compare_with_first(
    right: NDArray[np.bool_],
    groups: NDArray[np.str_] | None,
    *,
    keys: list[str],
    n_boot: int,
    seed: int,
) -> tuple[list[PairedDifference], Selection | None]:
    """The first classifier minus each, and what choosing it was worth, from one set of resamples.

    The resamples are those of :func:`paired_difference`.

    Parameters
    ----------
    right : np.ndarray [shape=(n, models), bool]
        Whether each was right; sorted, the best first.
    groups : np.ndarray [shape=(n,), str] or None
        Artists.
    keys : list of str
        Names of the columns.
    n_boot, seed : int
        Of the resampling.

    Returns
    -------
    list of PairedDifference, and Selection or None
        None where there is one model, or one artist.
    """
    n, models = right.shape
    units, n_artists, _ = artist_units(groups, n=n)
    by_unit = sum_by_unit(np.column_stack([right.astype(np.float64), np.ones(n)]), units)
    everywhere = by_unit.sum(axis=0)
    point: Floats = everywhere[:-1] / n
    drawn, outside = [], []
    if len(by_unit) > 1:
        for weights in resamples(len(by_unit), n_boot=n_boot, seed=seed):
            total = weights @ by_unit
            drawn.append(total[:, :-1] / total[:, -1:])
            left = (weights == 0).astype(np.float64) @ by_unit
            with np.errstate(invalid="ignore"):  # a resample may draw everyone
                outside.append(left[:, :-1] / left[:, -1:])
    resampled = "artist" if n_artists else "track"
    gaps = [accuracy[:, :1] - accuracy for accuracy in drawn]
    differences = []
    for m in range(models):
        ends = interval([gap[:, m] for gap in gaps], point=float(point[0] - point[m]))
        low, high = ends or (math.nan, math.nan)
        differences.append(
            PairedDifference(
                difference=float(point[0] - point[m]),
                low=low,
                high=high,
                a=float(point[0]),
                b=float(point[m]),
                n=n,
                n_units=len(by_unit),
                resampled=resampled,
            )
        )
    if models < 2 or not drawn:
        return differences, None
    accuracy, left_out = np.concatenate(drawn), np.concatenate(outside)
    winner = accuracy.argmax(axis=1)  # ties: the one that is first on all tracks
    every = np.arange(len(accuracy))
    share = np.bincount(winner, minlength=models) / len(accuracy)
    unseen = left_out[every, winner]
    unseen = unseen[np.isfinite(unseen)]
    corrected = float(unseen.mean()) if len(unseen) else None
    ends = None if corrected is None else interval([unseen], point=corrected)
    order = sorted(np.flatnonzero(share).tolist(), key=lambda m: (-share[m], m))
    return differences, Selection(
        best=keys[0],
        n_models=models,
        accuracy=float(point[0]),
        stays=float(share[0]),
        wins={keys[m]: float(share[m]) for m in order},
        optimism=float((accuracy[every, winner] - point[winner]).mean()),
        corrected=corrected,
        low=None if ends is None else ends[0],
        high=None if ends is None else ends[1],
        n_boot=len(accuracy),
        seed=seed,
        resampled=resampled,
    )
