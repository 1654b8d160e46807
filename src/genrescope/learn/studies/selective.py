"""How a recogniser does when it may say "not sure", and whether its sets keep their word.

The *risk-coverage curve* orders tracks by confidence, highest first, and gives the share of wrong
answers (risk) among those that are answered, for every share of tracks answered (coverage). The
area under it is AURC; what the best order possible would give is taken off for the *excess* AURC,
so that a recogniser is not blamed twice for being wrong.

The second half counts how often sets of plausible genres hold the right one where it matters:
fold by fold and artist by artist, each fold with a quantile that has not seen its artists.

References
----------
El-Yaniv, Wiener (2010), On the foundations of noise-free selective classification.
Geifman, El-Yaniv (2017), Selective classification for deep neural networks.
Geifman, Uziel, El-Yaniv (2019), Bias-reduced uncertainty estimation for deep neural classifiers.
Ding, Liu, Xiong, Shi (2020), Revisiting the evaluation of uncertainty estimation and its
application to explore model complexity-uncertainty trade-off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.errors import DataError
from genrescope.learn.calibrate import conformal_quantile, prediction_set
from genrescope.learn.resampling import (
    Floats,
    artist_units,
    check_predictions,
    interval,
    resamples,
    sum_by_unit,
)

__all__ = [
    "COVERAGES",
    "Coverage",
    "Figure",
    "Selective",
    "conformal_coverage",
    "risk_coverage",
    "selective",
]

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
_SEED = 0  # of the resampling
_FEW = 5  # an artist with fewer tracks says nothing of how well artists are served


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval, None where none can be made."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """JSON-clean."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Selective:
    """What "not sure" is worth.

    Attributes
    ----------
    coverage, risk : np.ndarray [shape=(points,), float64]
        The curve: from few tracks answered to all. Tracks of equal confidence come at once.
    aurc, excess_aurc : Figure
        Area under it, and how much more that is than with the best order possible.
    accuracy_at : dict of float to Figure
        Accuracy of the answers that are given at each of :data:`COVERAGES`.
    gain_at : dict of float to Figure
        The same, less the accuracy on all tracks; resampled together.
    n, n_units : int
        Tracks, and artists that were resampled (tracks where there are none).
    """

    coverage: Floats
    risk: Floats
    aurc: Figure
    excess_aurc: Figure
    accuracy_at: dict[float, Figure]
    gain_at: dict[float, Figure]
    n: int
    n_units: int

    def to_dict(self) -> dict[str, Any]:
        """All but the curve, JSON-clean."""
        return {
            "aurc": self.aurc.to_dict(),
            "excess_aurc": self.excess_aurc.to_dict(),
            "accuracy_at": {f"{c:g}": f.to_dict() for c, f in self.accuracy_at.items()},
            "gain_at": {f"{c:g}": f.to_dict() for c, f in self.gain_at.items()},
            "n": self.n,
            "n_units": self.n_units,
        }


def risk_coverage(right: ArrayLike, confidence: ArrayLike) -> tuple[Floats, Floats]:
    """The risk-coverage curve.

    Parameters
    ----------
    right : array-like [shape=(n,), bool]
        Whether each answer is right.
    confidence : array-like [shape=(n,), float]
        Higher is answered first; finite.

    Returns
    -------
    coverage, risk : np.ndarray [shape=(points,), float64]
        One point for each different confidence, lowest coverage first.

    Raises
    ------
    DataError
        Shapes that differ, no answers, or confidences that are not finite.

    Examples
    --------
    >>> coverage, risk = risk_coverage([True, False, True, False], [0.9, 0.8, 0.7, 0.7])
    >>> coverage.tolist(), risk.tolist()
    ([0.25, 0.5, 1.0], [0.0, 0.5, 0.5])
    """
    wrong, c = _check(right, confidence)
    n, errors, last = _ordered(wrong, c, np.ones(len(c)))
    return n[last] / n[-1], errors[last] / n[last]


def selective(
    y: ArrayLike,
    probabilities: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
    coverages: Sequence[float] = COVERAGES,
    n_boot: int = 1000,
) -> Selective:
    """Score a recogniser that may say "not sure".

    Parameters
    ----------
    y : array-like [shape=(n,), int]
        True genres.
    probabilities : array-like [shape=(n, k), float]
        Of tracks that were not trained on; rows add up to 1.
    groups : array-like [shape=(n,)], optional
        Artists, resampled whole.
    confidence : array-like [shape=(n,), float], optional
        What to order by; by default the highest probability.
    coverages : sequence of float in (0, 1]
        Where to give the accuracy. Between two points of the curve, as many of the tied tracks as
        are needed count by their share.
    n_boot : int >= 0
        Resamples; 0 gives no intervals.

    Returns
    -------
    Selective

    Raises
    ------
    DataError
        As :func:`genrescope.learn.evaluate.score`, and a coverage outside (0, 1].
    """
    k = np.shape(probabilities)[1] if np.ndim(probabilities) == 2 else 0
    truth, p = check_predictions(y, probabilities, k=k)
    wrong, c = _check(
        p.argmax(axis=1) == truth, p.max(axis=1) if confidence is None else confidence
    )
    if len(wrong) != len(truth):
        raise DataError(f"confidence has {len(c)} values, expected one for each of {len(truth)}")
    wanted = np.asarray(coverages, dtype=np.float64)
    if ((wanted <= 0) | (wanted > 1)).any():
        raise DataError(f"coverages are {list(coverages)}; each is a share above 0, at most 1")
    units, _, _ = artist_units(groups, n=len(truth))
    n_units = int(units.max()) + 1
    point = _figures(wrong, c, np.ones(len(c)), wanted)
    draws: list[Floats] = []
    if n_units > 1:
        draws = [
            _figures(wrong, c, counts[units], wanted)
            for block in resamples(n_units, n_boot=n_boot, seed=_SEED)
            for counts in block
        ]
    table = np.array(draws).reshape(len(draws), len(point))

    def figure(at: int) -> Figure:
        low, high = interval([table[:, at]], point=float(point[at])) or (None, None)
        return Figure(float(point[at]), low, high)

    size = len(wanted)
    coverage, risk = risk_coverage(wrong == 0, c)
    return Selective(
        coverage=coverage,
        risk=risk,
        aurc=figure(0),
        excess_aurc=figure(1),
        accuracy_at={float(v): figure(2 + i) for i, v in enumerate(wanted)},
        gain_at={float(v): figure(2 + size + i) for i, v in enumerate(wanted)},
        n=len(truth),
        n_units=n_units,
    )


@dataclass(frozen=True)
class Coverage:
    """How often sets hold the right genre.

    Attributes
    ----------
    level : float
        What was promised.
    covered : np.ndarray [shape=(n,), bool]
        Whether the set of each track holds its genre.
    size : np.ndarray [shape=(n,), int64]
        Genres in the set.
    overall, by_artist : Figure
        Share of tracks that are covered, and the mean over artists of each one's share.
    per_fold : list of dict
        ``fold``, ``n``, ``quantile``, ``coverage`` (a :class:`Figure`), ``artist_coverage`` and
        ``size``.
    per_genre : list of dict
        ``genre`` (a position), ``n``, ``coverage`` (a :class:`Figure`) and ``size``.
    worst_artists : dict of float to float
        Coverage of the artist at the 5, 10, 25 and 50 % quantile, among artists with five tracks
        or more.
    badly_served : float
        Share of those artists that are covered at least 10 points less often than promised.
    n_many : int
        How many such artists there are.
    """

    level: float
    covered: NDArray[np.bool_]
    size: NDArray[np.int64]
    overall: Figure
    by_artist: Figure
    per_fold: list[dict[str, Any]]
    per_genre: list[dict[str, Any]]
    worst_artists: dict[float, float]
    badly_served: float
    n_many: int


def conformal_coverage(
    y: ArrayLike,
    probabilities: ArrayLike,
    *,
    folds: ArrayLike,
    artists: ArrayLike,
    level: float = 0.9,
    n_boot: int = 1000,
) -> Coverage:
    """Measure sets of plausible genres on artists that neither training nor quantile has met.

    Parameters
    ----------
    y : array-like [shape=(n,), int]
        True genres.
    probabilities : array-like [shape=(n, k), float]
        Out-of-fold and calibrated.
    folds, artists : array-like [shape=(n,)]
        Fold and artist of each track. Each fold's quantile is that of the other folds.
    level : float in (0, 1)
        How often sets are to hold the right genre.
    n_boot : int >= 0
        As for :func:`selective`.

    Returns
    -------
    Coverage

    Raises
    ------
    DataError
        As :func:`genrescope.learn.calibrate.conformal_quantile`, fewer than two folds, or an
        artist in two.
    """
    k = np.shape(probabilities)[1] if np.ndim(probabilities) == 2 else 0
    truth, p = check_predictions(y, probabilities, k=k)
    fold = np.asarray(folds)
    units, _, _ = artist_units(artists, n=len(truth))
    if fold.shape != truth.shape or len(np.unique(fold)) < 2:
        raise DataError(f"folds have shape {fold.shape}; give two at least, one a track")
    if len(np.unique(np.stack([units, np.unique(fold, return_inverse=True)[1]], 1), axis=0)) > (
        int(units.max()) + 1
    ):
        raise DataError("an artist is in two folds, so no fold has new artists; group the folds")
    sets = np.zeros(p.shape, dtype=bool)
    quantiles = {}
    for name in np.unique(fold).tolist():
        rest = fold != name
        quantiles[name] = conformal_quantile(p[rest], truth[rest], level=level, groups=units[rest])
        sets[~rest] = prediction_set(p[~rest], quantiles[name])
    covered = sets[np.arange(len(truth)), truth]
    size = sets.sum(axis=1)

    def figure(rows: NDArray[np.bool_], *, by_artist: bool = False) -> Figure:
        _, inside = np.unique(units[rows], return_inverse=True)
        both = np.stack([covered[rows], np.ones(int(rows.sum()))], axis=1).astype(np.float64)
        table = sum_by_unit(both, inside)
        if by_artist:
            table = np.stack([table[:, 0] / table[:, 1], np.ones(len(table))], axis=1)
        draws = [
            (total := weights @ table)[:, 0] / total[:, 1]
            for weights in resamples(len(table), n_boot=n_boot, seed=_SEED)
        ]
        point = float(table[:, 0].sum() / table[:, 1].sum())
        low, high = interval(draws, point=point) or (None, None)
        return Figure(point, low, high)

    everything = np.ones(len(truth), dtype=bool)
    total = np.bincount(units)
    share = np.bincount(units, weights=covered) / total
    many = share[total >= _FEW]
    return Coverage(
        level=level,
        covered=covered,
        size=size,
        overall=figure(everything),
        by_artist=figure(everything, by_artist=True),
        per_fold=[
            {
                "fold": name,
                "n": int((fold == name).sum()),
                "quantile": quantile,
                "coverage": figure(fold == name),
                "artist_coverage": figure(fold == name, by_artist=True),
                "size": float(size[fold == name].mean()),
            }
            for name, quantile in quantiles.items()
        ],
        per_genre=[
            {
                "genre": g,
                "n": int((truth == g).sum()),
                "coverage": figure(truth == g),
                "size": float(size[truth == g].mean()),
            }
            for g in np.unique(truth).tolist()
        ],
        worst_artists={q: float(np.quantile(many, q)) for q in (0.05, 0.1, 0.25, 0.5) if len(many)},
        badly_served=float((many < level - 0.1 + 1e-9).mean()) if len(many) else float("nan"),
        n_many=len(many),
    )


def _check(right: ArrayLike, confidence: ArrayLike) -> tuple[Floats, Floats]:
    """Wrong answers as 1, right ones as 0, and confidences."""
    r, c = np.asarray(right), np.asarray(confidence, dtype=np.float64)
    if r.ndim != 1 or r.shape != c.shape or len(r) == 0:
        raise DataError(
            f"right has shape {r.shape} and confidence {c.shape}; give one of each for every "
            "answer, one at least"
        )
    if not np.isfinite(c).all():
        raise DataError(f"confidence {int((~np.isfinite(c)).argmax())} is not finite")
    return 1.0 - r.astype(np.float64), c


def _ordered(wrong: Floats, c: Floats, weight: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Cumulated answers and errors, highest confidence first, and the ends of runs of ties."""
    order = np.argsort(-c, kind="stable")
    last = np.flatnonzero(np.append(np.diff(c[order]) != 0, True))
    n = np.cumsum(weight[order])
    kept = last[n[last] > 0]
    return n, np.cumsum((weight * wrong)[order]), kept


def _figures(wrong: Floats, c: Floats, weight: Floats, wanted: Floats) -> Floats:
    """AURC, its excess, accuracies at coverages, and their gains; of one resample."""
    n, errors, last = _ordered(wrong, c, weight)
    total = n[-1]
    # Within ties, errors are spread evenly: the mean over all orders of the tied tracks.
    ends_n, ends_e = np.append(0.0, n[last]), np.append(0.0, errors[last])
    at = np.arange(1, int(total) + 1, dtype=np.float64)
    aurc = float((np.interp(at, ends_n, ends_e) / at).mean())
    risk = float(errors[-1] / total)
    best = float((np.maximum(at - total * (1 - risk), 0.0) / at).mean())
    answered = wanted * total
    accuracy = 1 - np.interp(answered, ends_n, ends_e) / answered
    return np.concatenate([[aurc, aurc - best], accuracy, accuracy - (1 - risk)])
