"""From which probability on a sub-genre is taken.

Most sub-genres have too few artists for a threshold of their own: it would fit the noise of the
tracks that it was chosen on. So each is drawn towards one that all share.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genrescope.learn.parts.hierarchy import SubTree

__all__ = ["choose_thresholds", "decide"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_REACH = 1.5  # a genre's own threshold lies within exp(+-1.5) of the common one


def choose_thresholds(probabilities: Floats, truth: Bools, *, shrinkage: float) -> Floats:
    """From where on each sub-genre is taken, for the best micro-F1.

    One threshold for all is found first. With F the micro-F1 there, a genre's own best threshold
    maximises 2 x hits - F x taken (what a genre adds to micro-F1 does so only through these), and
    is drawn towards the common one, on a logarithmic scale, the more the rarer the genre is.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, m), float64]
        Of tracks that were not learnt from.
    truth : np.ndarray [shape=(n, m), bool]
        What the tracks have.
    shrinkage : float >= 0
        Tracks. A genre with as many lies half-way between its own threshold and the common one.

    Returns
    -------
    np.ndarray [shape=(m,), float64]
        In [0, 1]; 1 where no track has any of the genres.
    """
    flat, real = probabilities.ravel(), truth.ravel()
    if not real.any():
        return np.ones(probabilities.shape[1])
    values, hits, taken = _steps(flat, real)
    f1 = 2 * hits / (taken + real.sum())
    common, best = max(float(values[f1.argmax()]), 1e-9), float(f1.max())
    out = np.empty(probabilities.shape[1])
    for j in range(len(out)):
        values, hits, taken = _steps(probabilities[:, j], truth[:, j])
        near = np.abs(np.log(np.maximum(values, 1e-300) / common)) <= _REACH
        own = common
        if near.any():
            gain = np.where(near, 2 * hits - best * taken, -np.inf)
            own = float(values[gain.argmax()])
        share = truth[:, j].sum() / (truth[:, j].sum() + shrinkage) if truth[:, j].any() else 0.0
        out[j] = np.exp(share * np.log(own) + (1 - share) * np.log(common))
    return np.minimum(out, 1.0)


def decide(
    probabilities: Floats,
    truth: Bools,
    folds: npt.NDArray[np.int64],
    *,
    tree: SubTree,
    shrinkage: float,
) -> Bools:
    """The sets of all tracks, with thresholds that were chosen on the other folds.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k + m), float64]
        Out of fold; columns as ``tree.paths``.
    truth : np.ndarray [shape=(n, k + m), bool]
        What the tracks have.
    folds : np.ndarray [shape=(n,), int]
        Two different ones at least.
    tree : SubTree
        The genres.
    shrinkage : float >= 0
        As in :func:`choose_thresholds`.

    Returns
    -------
    np.ndarray [shape=(n, k + m), bool]
    """
    chosen = np.zeros(truth.shape, dtype=bool)
    first = len(tree.genres)
    for k in np.unique(folds).tolist():
        rest = folds != k
        found = choose_thresholds(
            probabilities[rest, first:], truth[rest, first:], shrinkage=shrinkage
        )
        chosen[~rest] = tree.choose(probabilities[~rest], found)
    return chosen


def _steps(scores: Floats, real: Bools) -> tuple[Floats, Floats, Floats]:
    """Every different score high to low, with the hits and the number taken from it on."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(real[order])[last].astype(np.float64)
    return ranked[last], hits, last + 1.0
