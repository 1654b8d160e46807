"""Tracks whose genre is doubtful: confident learning on answers that had not seen them.

A track is doubtful where a recogniser that was not trained on it is confident that it belongs to
another genre, and confident means: at least as sure as it is, on average, of tracks that carry that
genre. How many are taken follows from the counts of such tracks; which, from the margin between the
two probabilities.

Source: Northcutt, Jiang, Chuang (2021), Confident learning: estimating uncertainty in dataset
labels, JAIR 70 (pruning by noise rate, ranked by normalised margin).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.learn.resampling import Floats, Ints, check_predictions

__all__ = ["Doubtful", "Mislabelled", "find_mislabelled"]


@dataclass(frozen=True)
class Doubtful:
    """A track that looks as if it carried the wrong genre.

    Attributes
    ----------
    row : int
        Its place in what was given.
    given, suggested : int
        Genre on its label, and genre that it sounds like, as positions.
    p_given, p_suggested : float
        Their out-of-fold probabilities.
    """

    row: int
    given: int
    suggested: int
    p_given: float
    p_suggested: float

    @property
    def margin(self) -> float:
        """How much more probable the other genre is."""
        return self.p_suggested - self.p_given


@dataclass(frozen=True, eq=False)
class Mislabelled:
    """What confident learning says of a set of labels.

    Attributes
    ----------
    doubtful : tuple of Doubtful
        The most doubtful first.
    thresholds : np.ndarray [shape=(k,), float64]
        Mean probability of a genre over the tracks that carry it; infinite where none does.
    joint : np.ndarray [shape=(k, k), float64]
        Estimated share of all tracks with a given (row) and a true (column) genre; adds up to 1.
    noise : float
        Estimated share of labels that are wrong: what is off the diagonal of ``joint``. Where a
        recogniser confuses genres for other reasons, it counts those too: an upper estimate.
    """

    doubtful: tuple[Doubtful, ...]
    thresholds: Floats
    joint: Floats
    noise: float


def find_mislabelled(y: ArrayLike, probabilities: ArrayLike) -> Mislabelled:
    """Find labels that do not fit what is heard.

    Parameters
    ----------
    y : array-like [shape=(n,), int]
        Genres as given, positions in the columns of `probabilities`.
    probabilities : array-like [shape=(n, k), float]
        Calibrated, from recognisers that had not seen the track (nor its artist).

    Returns
    -------
    Mislabelled

    Raises
    ------
    DataError
        As :func:`genrescope.learn.evaluate.score`.

    Examples
    --------
    >>> y = [0] * 5 + [1] * 5
    >>> p = [[0.9, 0.1]] * 4 + [[0.05, 0.95]] + [[0.2, 0.8]] * 5
    >>> [found.row for found in find_mislabelled(y, p).doubtful]
    [4]
    """
    k = np.shape(probabilities)[1] if np.ndim(probabilities) == 2 else 0
    given, p = check_predictions(y, probabilities, k=k)
    n = len(given)
    size = np.bincount(given, minlength=k)
    own = p[np.arange(n), given]
    sums = np.bincount(given, weights=own, minlength=k)
    thresholds = np.where(size > 0, sums / np.maximum(size, 1), np.inf)
    confident = p >= thresholds
    # Of several genres that are confident, the most probable one.
    likely = np.where(confident, p, -1.0).argmax(axis=1)
    counted: NDArray[np.bool_] = np.asarray(confident.any(axis=1))
    joint = _joint(given, likely, counted, size)
    return Mislabelled(
        doubtful=_prune(given, p, likely, counted, joint),
        thresholds=thresholds,
        joint=joint,
        noise=float(1.0 - np.trace(joint)),
    )


def _joint(given: Ints, likely: Ints, counted: NDArray[np.bool_], size: Ints) -> Floats:
    """The confident joint, scaled so that its rows are the shares of the given genres."""
    k = len(size)
    counts = np.bincount(given[counted] * k + likely[counted], minlength=k * k).reshape(k, k)
    counts = counts.astype(np.float64)
    empty = counts.sum(axis=1) == 0
    counts[np.flatnonzero(empty), np.flatnonzero(empty)] = (
        1.0  # no track of the genre is confident: nothing speaks against it
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    joint: Floats = shares * (size / size.sum())[:, None]
    return joint


def _prune(
    given: Ints, p: Floats, likely: Ints, counted: NDArray[np.bool_], joint: Floats
) -> tuple[Doubtful, ...]:
    """For each pair of genres, the tracks with the largest margin, as many as are expected."""
    n, k = p.shape
    found: list[Doubtful] = []
    for i in range(k):
        for j in range(k):
            expected = round(n * joint[i, j])
            if i == j or not expected:
                continue
            rows = np.flatnonzero(counted & (given == i) & (likely == j))
            margins = p[rows, j] - p[rows, i]
            rows = rows[np.argsort(-np.round(margins, 12), kind="stable")][:expected]
            found += [
                Doubtful(int(row), i, j, float(p[row, i]), float(p[row, j]))
                for row in rows
                if p[row, j] > p[row, i]
            ]
    return tuple(sorted(found, key=lambda d: (-round(d.margin, 12), d.row)))
