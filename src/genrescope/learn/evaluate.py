"""How good a recogniser is, with intervals that respect artists.

Tracks of one artist resemble each other, so the uncertainty of a score comes from the
number of artists more than from the number of tracks. Every interval here resamples
whole artists (the cluster bootstrap, Field & Welsh 2007); where there is no artist, it
resamples tracks and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genrescope.errors import DataError
from genrescope.learn.resampling import (
    LEVEL,
    Floats,
    Ints,
    artist_units,
    check_predictions,
    interval,
    resamples,
    sum_by_unit,
)

__all__ = [
    "ECE_BINS",
    "METRICS",
    "Scores",
    "expected_calibration_error",
    "score",
]

#: The figures that have an interval, in the order in which they are shown.
METRICS = (
    "accuracy",
    "balanced_accuracy",
    "artist_weighted_accuracy",
    "macro_f1",
    "top3",
    "log_loss",
    "ece",
    "coverage",
    "accuracy_when_sure",
)

ECE_BINS = 15  # equal-width bins of the highest probability
FEW_UNITS = 20  # below this many artists a percentile interval is only a rough guide


@dataclass(frozen=True, eq=False)
class Scores:
    """What :func:`score` measured.

    A figure that is not defined (recall of a genre without tracks, coverage without a
    threshold) is NaN here and null in :meth:`to_dict`.

    Attributes
    ----------
    accuracy : float
        Share of tracks whose most probable genre is the right one.
    balanced_accuracy : float
        Mean recall over the genres that have tracks.
    artist_weighted_accuracy : float
        Mean over artists of the artist's own accuracy; NaN without artists.
    macro_f1 : float
        Mean F1 over the genres that have tracks.
    top3 : float
        Share of tracks whose genre is among the three most probable.
    log_loss : float
        Mean of -ln(probability of the right genre), in nats.
    ece : float
        Expected calibration error: 15 equal-width bins of the highest probability.
    per_genre : dict[str, dict[str, float]]
        genre -> precision, recall, f1, support.
    confusion : np.ndarray [shape=(k, k), int64]
        Counts; rows are the true genres, columns the recognised ones.
    intervals : dict[str, tuple[float, float] | None]
        95 % interval of every figure of :data:`METRICS`; None where there is none.
    coverage, accuracy_when_sure : float
        Share of tracks whose highest probability is at least ``threshold``, and the
        accuracy on these; NaN without a threshold.
    threshold : float | None
        Of "sure", as given.
    n, n_artists, n_without_artist : int
        Tracks, different artists, and tracks whose artist is not known.
    genres : tuple[str, ...]
        Order of the rows and columns of ``confusion``.
    resampled : str
        What the intervals resampled: "artist" or "track".
    n_boot, seed : int
        Resamples, and the seed of the draw.
    reliability : list[dict[str, float]]
        For each bin with tracks: low, high, n, confidence (mean), accuracy.
    notes : tuple[str, ...]
        What a reader of the figures must know.
    """

    accuracy: float
    balanced_accuracy: float
    artist_weighted_accuracy: float
    macro_f1: float
    top3: float
    log_loss: float
    ece: float
    per_genre: dict[str, dict[str, float]]
    confusion: Ints
    intervals: dict[str, tuple[float, float] | None]
    coverage: float
    accuracy_when_sure: float
    threshold: float | None
    n: int
    n_artists: int
    n_without_artist: int
    genres: tuple[str, ...]
    resampled: str
    n_boot: int
    seed: int
    reliability: list[dict[str, float]] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        from genrescope.learn.notebook import scores_html

        return scores_html(self)

    def to_dict(self) -> dict[str, Any]:
        """The scores under stable names, fit for ``json.dumps(..., allow_nan=False)``.

        Returns
        -------
        dict[str, Any]
            The attributes' names; NaN becomes None, the confusion matrix a list of rows, an
            interval [low, high], and "resampling" says what the intervals resampled.
        """
        return {
            **{name: _clean(getattr(self, name)) for name in METRICS[:7]},
            "per_genre": {
                genre: {name: _clean(value) for name, value in row.items()}
                for genre, row in self.per_genre.items()
            },
            "confusion": self.confusion.tolist(),
            "intervals": {
                name: None if pair is None else [_clean(end) for end in pair]
                for name, pair in self.intervals.items()
            },
            "coverage": _clean(self.coverage),
            "accuracy_when_sure": _clean(self.accuracy_when_sure),
            "threshold": self.threshold,
            "n": self.n,
            "n_artists": self.n_artists,
            "n_without_artist": self.n_without_artist,
            "genres": list(self.genres),
            "resampling": {
                "unit": self.resampled,
                "level": LEVEL,
                "resamples": self.n_boot,
                "seed": self.seed,
                "method": "percentile bootstrap of whole " + self.resampled + "s",
            },
            "reliability": [{k: _clean(v) for k, v in row.items()} for row in self.reliability],
            "notes": list(self.notes),
        }


def score(
    y: ArrayLike,
    probabilities: ArrayLike,
    *,
    genres: Sequence[str],
    groups: ArrayLike | None = None,
    threshold: float | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score predictions.

    Ties go to the genre that comes first, as ``argmax`` does. Means over genres (macro-F1,
    balanced accuracy) are over the genres that have tracks; in a resample, over those the
    resample drew. The percentile interval of the calibration error lies a little high,
    because a resample adds noise to an average of absolute values; no interval leaves out
    its own figure.

    Parameters
    ----------
    y : array-like [shape=(n,), int]
        True genres as positions in ``genres``.
    probabilities : array-like [shape=(n, k), float]
        One row a track, each adding up to 1.
    genres : sequence of k str
        Names of the columns.
    groups : array-like [shape=(n,)], optional
        Artist of every track: numbers or strings. None, "" and NaN are tracks of no known
        artist, each a unit of its own.
    threshold : float in [0, 1], optional
        A track is "sure" where its highest probability is at least this.
    n_boot : int >= 0
        Resamples; 0 gives no intervals.
    seed : int
        Of the resampling.

    Returns
    -------
    Scores

    Raises
    ------
    DataError
        Nothing to score, shapes that do not fit, a label outside ``genres``, and
        probabilities that are NaN, negative, or do not add up to 1.
    """
    names = tuple(genres)
    truth, p = check_predictions(y, probabilities, k=len(names))
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"genres holds {', '.join(twice)} more than once; give each name once")
    if threshold is not None and not 0 <= threshold <= 1:
        raise DataError(f"threshold is {threshold}; it is a probability: give one in [0, 1]")
    if n_boot < 0:
        raise DataError(f"n_boot is {n_boot}; give 0 (no intervals) or more, such as 1000")
    n, k = p.shape
    units, n_artists, n_without = artist_units(groups, n=n)
    resampled = "artist" if n_artists else "track"
    n_units = int(units.max()) + 1
    table = _additive(truth, p, threshold=threshold)
    by_unit = sum_by_unit(table, units)
    point = _metrics(table.sum(axis=0, keepdims=True), k=k)
    unit_accuracy = by_unit[:, 2 * k : 3 * k].sum(axis=1) / by_unit[:, :k].sum(axis=1)
    if n_artists:
        point["artist_weighted_accuracy"] = unit_accuracy.mean(keepdims=True)
    draws: dict[str, list[Floats]] = {name: [] for name in METRICS}
    if n_units > 1:
        for weights in resamples(n_units, n_boot=n_boot, seed=seed):
            figures = _metrics(weights @ by_unit, k=k)
            if n_artists:
                figures["artist_weighted_accuracy"] = weights @ unit_accuracy / n_units
            for name in METRICS:
                draws[name].append(figures[name])
    intervals = {name: interval(draws[name], point=float(point[name][0])) for name in METRICS}
    support, predicted, hits = table[:, : 3 * k].sum(axis=0).reshape(3, k)
    confusion = np.bincount(truth * k + p.argmax(axis=1), minlength=k * k).reshape(k, k)
    return Scores(
        **{name: float(point[name][0]) for name in METRICS},
        per_genre=_per_genre(names, support, predicted, hits),
        confusion=confusion.astype(np.int64),
        intervals=intervals,
        threshold=None if threshold is None else float(threshold),
        n=n,
        n_artists=n_artists,
        n_without_artist=n_without,
        genres=names,
        resampled=resampled,
        n_boot=n_boot,
        seed=seed,
        reliability=_reliability(truth, p),
        notes=_notes(names, support, n_units, n_artists, n_without, resampled),
    )


def expected_calibration_error(
    y: ArrayLike, probabilities: ArrayLike, *, bins: int = ECE_BINS, adaptive: bool = False
) -> float:
    """Mean distance between the highest probability and how often it is right.

    Parameters
    ----------
    y : array-like [shape=(n,), int]
        True genres.
    probabilities : array-like [shape=(n, k), float]
        Rows add up to 1.
    bins : int > 0
        Number of bins.
    adaptive : bool
        False: equal-width bins (low, high] of [0, 1] (Guo et al. 2017), the "ece" of
        :class:`Scores`. True: bins with equally many tracks (Nixon et al. 2019).

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    Raises
    ------
    DataError
        As :func:`score`.
    """
    k = np.shape(probabilities)[1] if np.ndim(probabilities) == 2 else 0
    truth, p = check_predictions(y, probabilities, k=k)
    if bins < 1:
        raise DataError(f"bins is {bins}; give 1 or more, such as {ECE_BINS}")
    top = p.max(axis=1)
    gap = top - (p.argmax(axis=1) == truth)
    if adaptive:
        # Sorted by (confidence, gap), so that ties do not depend on the order of the tracks.
        chunks = np.array_split(gap[np.lexsort((gap, top))], bins)
        return float(sum(abs(chunk.sum()) for chunk in chunks) / len(truth))
    sums = np.bincount(_bin_of(top, bins), weights=gap, minlength=bins)
    return float(np.abs(sums).sum() / len(truth))


def _additive(truth: Ints, p: Floats, *, threshold: float | None) -> Floats:
    """One row a track, of quantities whose sums give every metric.

    Columns: support [k], predicted [k], hits [k], top3, log loss, sure, sure and right,
    confidence minus right in each ECE bin. So a bootstrap is one matrix product.
    """
    n, k = p.shape
    rows = np.arange(n)
    best = p.argmax(axis=1)
    right = best == truth
    confidence = p[rows, best]
    own = p[rows, truth]
    ahead = (p > own[:, None]) | ((p == own[:, None]) & (np.arange(k) < truth[:, None]))
    table = np.zeros((n, 3 * k + 4 + ECE_BINS))
    table[rows, truth] = 1
    table[rows, k + best] = 1
    table[rows, 2 * k + truth] = right
    table[:, 3 * k] = ahead.sum(axis=1) < 3
    table[:, 3 * k + 1] = -np.log(np.maximum(own, np.finfo(np.float64).eps))
    if threshold is None:
        table[:, 3 * k + 2 : 3 * k + 4] = np.nan
    else:
        table[:, 3 * k + 2] = confidence >= threshold
        table[:, 3 * k + 3] = (confidence >= threshold) & right
    table[rows, 3 * k + 4 + _bin_of(confidence, ECE_BINS)] = confidence - right
    return table


def _metrics(total: Floats, *, k: int) -> dict[str, Floats]:
    """Metrics of each row of summed columns of :func:`_additive`."""
    support, predicted, hits = total[:, :k], total[:, k : 2 * k], total[:, 2 * k : 3 * k]
    top3, loss, sure, sure_right = total[:, 3 * k : 3 * k + 4].T
    n = support.sum(axis=1)
    present = support > 0
    n_present = present.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(present, hits / support, 0)
        f1 = np.where(present, 2 * hits / (support + predicted), 0)
        when_sure = sure_right / sure
    return {
        "accuracy": hits.sum(axis=1) / n,
        "balanced_accuracy": recall.sum(axis=1) / n_present,
        "artist_weighted_accuracy": np.full(len(total), np.nan),
        "macro_f1": f1.sum(axis=1) / n_present,
        "top3": top3 / n,
        "log_loss": loss / n,
        "ece": np.abs(total[:, 3 * k + 4 :]).sum(axis=1) / n,
        "coverage": sure / n,
        "accuracy_when_sure": when_sure,
    }


def _bin_of(confidence: Floats, bins: int) -> Ints:
    """Bin (low, high] of each confidence; 0 belongs to the first."""
    found = np.ceil(confidence * bins).astype(np.int64) - 1
    return np.clip(found, 0, bins - 1)


def _reliability(truth: Ints, p: Floats) -> list[dict[str, float]]:
    confidence = p.max(axis=1)
    right = p.argmax(axis=1) == truth
    where = _bin_of(confidence, ECE_BINS)
    return [
        {
            "low": b / ECE_BINS,
            "high": (b + 1) / ECE_BINS,
            "n": int((where == b).sum()),
            "confidence": float(confidence[where == b].mean()),
            "accuracy": float(right[where == b].mean()),
        }
        for b in np.unique(where).tolist()
    ]


def _per_genre(
    names: tuple[str, ...], support: Floats, predicted: Floats, hits: Floats
) -> dict[str, dict[str, float]]:
    nan = float("nan")
    return {
        name: {
            "precision": float(h / q) if q else nan,
            "recall": float(h / s) if s else nan,
            "f1": float(2 * h / (s + q)) if s else nan,
            "support": int(s),
        }
        for name, s, q, h in zip(names, support, predicted, hits, strict=True)
    }


def _notes(
    names: tuple[str, ...],
    support: Floats,
    n_units: int,
    n_artists: int,
    n_without: int,
    resampled: str,
) -> tuple[str, ...]:
    notes = []
    absent = [name for name, s in zip(names, support, strict=True) if not s]
    if absent:
        notes.append(
            f"No tracks of {', '.join(absent)}: macro-F1 and balanced accuracy are means over "
            f"the {len(names) - len(absent)} genres present."
        )
    if not n_artists:
        notes.append("No artists are known: intervals resample tracks, and are too narrow.")
    elif n_without:
        notes.append(f"{n_without} tracks have no known artist; each counts as an artist.")
    if n_units == 1:
        notes.append(f"There is only one {resampled}: no interval can be made.")
    elif n_units < FEW_UNITS:
        notes.append(f"There are only {n_units} {resampled}s: the intervals are a rough guide.")
    return tuple(notes)


def _clean(value: float) -> float | None:
    return None if value != value else value
