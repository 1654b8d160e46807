"""Would more tracks help? How well a recogniser does with a part of the groups.

Folds stay as they are: every point of the curve answers for the same tracks, by recognisers that
learnt from a share of the groups of the other folds. What the last doubling brought, with its
interval, is the best guess of what the next one will bring, and rather too high: curves flatten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.learn.evaluate import score
from genrescope.learn.paired import PairedDifference, paired_difference
from genrescope.learn.resampling import Floats, Ints

__all__ = ["SHARES", "CurvePoint", "LearningCurve", "learning_curve"]

#: Of the groups in the training folds.
SHARES = (0.25, 0.5, 1.0)
_WORTH = 0.02  # a doubling that brings less is not worth the trouble

Answer = Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats]


@dataclass(frozen=True)
class CurvePoint:
    """A recogniser that learnt from a share of what there is.

    Attributes
    ----------
    share : float
        Of the groups of each genre in the training folds.
    tracks : float
        That it learnt from, on average over the folds.
    accuracy : float
        On the tracks of the other fold.
    interval : tuple of float
        95 %, by groups.
    """

    share: float
    tracks: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Accuracy by number of tracks.

    Attributes
    ----------
    points : tuple of CurvePoint
        The smallest share first.
    gain : PairedDifference
        All groups minus half of them, on the same tracks.
    verdict : str
        "more", "unsure" or "enough".
    words : str
        The same as a sentence or two, with the numbers.
    """

    points: tuple[CurvePoint, ...]
    gain: PairedDifference
    verdict: str
    words: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-clean."""
        gain = {k: None if v != v else v for k, v in asdict(self.gain).items()}
        return {
            "points": [asdict(point) for point in self.points],
            "gain": gain,
            "verdict": self.verdict,
            "words": self.words,
        }


def learning_curve(
    answer: Answer,
    whole: Floats,
    y: Ints,
    *,
    groups: NDArray[Any],
    folds: Ints,
    seed: int = 0,
) -> LearningCurve:
    """Measure how accuracy grows with the number of groups.

    Parameters
    ----------
    answer : callable
        Given which tracks to learn from and which to answer for (both [n], bool), probabilities
        [answered, k].
    whole : np.ndarray [shape=(n, k)]
        Out-of-fold probabilities of recognisers that learnt from all other folds.
    y : np.ndarray [shape=(n,), int64]
        True genres.
    groups, folds : np.ndarray [shape=(n,)]
        Group and fold of each track.
    seed : int >= 0
        Which groups.

    Returns
    -------
    LearningCurve
    """
    genres = [str(k) for k in range(whole.shape[1])]
    points, answers = [], {}
    for share in SHARES:
        p, sizes = whole, [int((folds != k).sum()) for k in np.unique(folds)]
        if share < 1:
            p, sizes = np.zeros_like(whole), []
            for k in np.unique(folds).tolist():
                kept = _part_of(groups, y, folds != k, share=share, seed=[seed, k])
                p[folds == k] = answer(kept, folds == k)
                sizes.append(int(kept.sum()))
        scores = score(y, p, genres=genres, groups=groups, n_boot=500, seed=seed)
        low, high = scores.intervals["accuracy"] or (scores.accuracy, scores.accuracy)
        points.append(CurvePoint(share, float(np.mean(sizes)), scores.accuracy, (low, high)))
        answers[share] = p
    gain = paired_difference(y, answers[1.0], answers[0.5], groups, seed=seed)
    verdict, words = _judge(points, gain)
    return LearningCurve(tuple(points), gain, verdict, words)


def _part_of(
    groups: NDArray[Any], y: Ints, train: NDArray[np.bool_], *, share: float, seed: list[int]
) -> NDArray[np.bool_]:
    """So many of the groups of every genre; at least one, and a smaller share within a larger."""
    rng = np.random.default_rng(seed)
    kept: set[Any] = set()
    for genre in np.unique(y[train]).tolist():
        own = np.unique(groups[train & (y == genre)])
        order = own[rng.permutation(len(own))]
        kept |= set(order[: max(1, round(share * len(own)))].tolist())
    part: NDArray[np.bool_] = train & np.isin(groups, list(kept))
    return part


def _judge(points: Sequence[CurvePoint], gain: PairedDifference) -> tuple[str, str]:
    half = next(point for point in points if point.share == 0.5)
    last = points[-1]
    told = (
        f"From {half.tracks:.0f} to {last.tracks:.0f} tracks, accuracy went from "
        f"{half.accuracy:.3f} to {last.accuracy:.3f} ({100 * gain.difference:+.1f} points"
    )
    if gain.low == gain.low:
        told += f", 95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    told += ")."
    if gain.low > 0 and gain.difference >= _WORTH:
        after = last.accuracy + gain.difference
        return "more", (
            f"{told} More tracks would help: with twice as many, expect up to about {after:.2f}."
        )
    if gain.difference < _WORTH and gain.high < 2 * _WORTH:
        return "enough", (
            f"{told} More tracks of the same kind would change little; look at the labels and the "
            "confused genres instead."
        )
    return "unsure", (
        f"{told} Whether more tracks would help cannot be told from these: the interval is wide."
    )
