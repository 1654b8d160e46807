"""Probabilities that mean what they say, sets of plausible genres, and "not sure".

Three things are fitted on tracks that the recogniser was not trained on, of artists that it
has not heard:

- a *temperature* (Guo et al. 2017), one number that makes probabilities honest on average;
- a *conformal quantile*: genres whose probability is high enough to be in a set that holds the
  right one with a stated frequency;
- an *abstention threshold*: how high the highest probability must be for the answers that are
  given to reach a stated accuracy, with a stated confidence.

All of them respect that tracks of one artist are not independent. Only numpy is needed.

References
----------
Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks.
Sadinle, Lei, Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels.
Lee, Barber, Willett (2023), Distribution-free inference with hierarchical data.
Angelopoulos, Bates, Candes, Jordan, Lei (2021), Learn then test.
Korn, Graubard (1998), Confidence intervals for proportions with small expected number of
positive counts estimated from survey data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.errors import DataError
from genrescope.learn.resampling import Floats, artist_units, check_predictions

__all__ = [
    "Abstention",
    "abstention_threshold",
    "apply_temperature",
    "conformal_quantile",
    "fit_temperature",
    "lower_bound",
    "prediction_set",
]

TEMPERATURES = (0.01, 100.0)  # a fit stops at these ends

# Thresholds that are tested, from high to low: fixed before any data are seen.
GRID = np.arange(99, -1, -1) / 100
# The walk starts where at least this many artists (or 10 % of them, where that is more) have a
# sure track: with fewer, good answers prove too little, and the walk ends at its first step (on
# half of FMA-small that happened in 30 % of the draws with 5 %, in 8 % with 10 %). The start
# depends on the probabilities only, never on the labels.
MIN_UNITS = 30
MIN_SHARE = 0.1


# --- temperature -----------------------------------------------------------


def fit_temperature(logits: ArrayLike, y: ArrayLike) -> float:
    """The temperature that makes held-out labels most likely.

    The log-likelihood is concave in 1 / T, so its one root of the derivative is bracketed and
    halved until it is exact.

    Parameters
    ----------
    logits : array-like [shape=(n, k), float]
        Log-probabilities or any scores whose softmax they are; finite.
    y : array-like [shape=(n,), int]
        True genres.

    Returns
    -------
    float
        In [0.01, 100]: above 1 where the recogniser was too sure. The upper end means that
        the scores tell nothing about the labels, the lower one that they tell everything.

    Raises
    ------
    DataError
        Scores that are not finite, nothing to fit, or labels outside the columns.
    """
    z = _check_logits(logits)
    truth, _ = check_predictions(y, np.full(z.shape, 1 / z.shape[1]), k=z.shape[1])
    own = z[np.arange(len(z)), truth]

    def slope(beta: float) -> float:
        """d(-log-likelihood) / d(beta), which grows with beta."""
        p = _softmax(z * beta)
        return float(((p * z).sum(axis=1) - own).mean())

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(low) >= 0:
        return TEMPERATURES[1]
    if slope(high) <= 0:
        return TEMPERATURES[0]
    return 1 / _root(slope, low, high, geometric=True)


def apply_temperature(logits: ArrayLike, temperature: float) -> Floats:
    """Probabilities at a temperature: softmax(logits / temperature).

    Parameters
    ----------
    logits : array-like [shape=(n, k), float]
        Log-probabilities or scores; finite.
    temperature : float > 0
        From :func:`fit_temperature`.

    Returns
    -------
    np.ndarray [shape=(n, k), float64]
        Rows add up to 1.

    Raises
    ------
    DataError
        A temperature that is not above 0, or scores that are not finite.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise DataError(f"temperature is {temperature}; it must be above 0; 1 changes nothing")
    return _softmax(_check_logits(logits) / temperature)


# --- sets of plausible genres ----------------------------------------------


def conformal_quantile(
    probabilities: ArrayLike, y: ArrayLike, *, level: float, groups: ArrayLike | None = None
) -> float:
    """How improbable a genre may be and still be plausible (split conformal).

    The score is 1 - probability of the right genre (LAC, Sadinle et al. 2019): of all sets with
    their coverage, these are the smallest on average. On the out-of-fold probabilities of a
    linear model on FMA-small, new artists, level 0.9, sets hold 4.3 genres against 4.6 with the
    adaptive score (APS) and 4.5 with its regularised form, at the same coverage and the same
    spread of it over genres; at level 0.8, 2.9 against 3.3 and 3.2.

    Parameters
    ----------
    probabilities : array-like [shape=(n, k), float]
        Calibrated probabilities of tracks that were not trained on.
    y : array-like [shape=(n,), int]
        True genres.
    level : float in (0, 1)
        How often the set should hold the right genre, such as 0.9.
    groups : array-like [shape=(n,)], optional
        Artists. Every artist then weighs the same (hierarchical conformal prediction, Lee et
        al. 2023), which gives the guarantee for one track of an artist drawn at random;
        without, the guarantee is for a track exchangeable with those given, which a track of a
        new artist is not.

    Returns
    -------
    float
        In [0, 1], for :func:`prediction_set`. 1, every genre, where there are too few artists
        (tracks) for the level.

    Raises
    ------
    DataError
        As :func:`genrescope.learn.evaluate.score`, and a level outside (0, 1).
    """
    k = np.shape(probabilities)[1] if np.ndim(probabilities) == 2 else 0
    truth, p = check_predictions(y, probabilities, k=k)
    _check_share("level", level)
    units, _, _ = artist_units(groups, n=len(truth))
    scores = 1 - p[np.arange(len(truth)), truth]
    size = np.bincount(units)
    # One more unit, the new one, carries its weight at infinity.
    weight = 1 / (size[units] * (len(size) + 1))
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weight[order])
    found = int(np.searchsorted(reached, level - 1e-12))  # the sum may fall short by rounding
    return float(scores[order][found]) if found < len(order) else 1.0


def prediction_set(probabilities: ArrayLike, quantile: float) -> NDArray[np.bool_]:
    """Which genres are plausible: those with 1 - probability at most the quantile.

    The most probable genre always is, so that no set is empty; coverage only grows by it.

    Parameters
    ----------
    probabilities : array-like [shape=(n, k) or (k,), float]
        Calibrated probabilities.
    quantile : float in [0, 1]
        From :func:`conformal_quantile`.

    Returns
    -------
    np.ndarray [same shape, bool]

    Raises
    ------
    DataError
        A quantile outside [0, 1].
    """
    if not 0 <= quantile <= 1:
        raise DataError(f"quantile is {quantile}; it is 1 - a probability: give one in [0, 1]")
    p = np.asarray(probabilities, dtype=np.float64)
    plausible: NDArray[np.bool_] = (1 - p) <= quantile
    np.put_along_axis(plausible, p.argmax(axis=-1, keepdims=True), True, axis=-1)
    return plausible


# --- not sure --------------------------------------------------------------


@dataclass(frozen=True)
class Abstention:
    """When to say "not sure", and what that was measured to give.

    Attributes
    ----------
    threshold : float | None
        Sure where the highest probability is at least this; None where no threshold reaches
        the target (``reached`` is False then, and ``message`` says how near it came).
    coverage, accuracy_when_sure : float | None
        Share of tracks that are sure, and the accuracy on these, on the tracks given.
    lower_bound : float | None
        Lower confidence bound (at 1 - delta) of that accuracy; at least ``target_accuracy``.
        Where nothing reaches it, the bound where the walk ended.
    target_accuracy, delta : float
        As asked for.
    n, n_sure, n_units : int
        Tracks, sure tracks, and artists (tracks, where there are no artists).
    unit : str
        "artist" or "track": what was taken as independent.
    method : str
        In one line.
    message : str
        Empty where the target was reached; else why not, and what to do.
    """

    threshold: float | None
    coverage: float | None
    accuracy_when_sure: float | None
    lower_bound: float | None
    target_accuracy: float
    delta: float
    n: int
    n_sure: int
    n_units: int
    unit: str
    method: str
    message: str = ""

    @property
    def reached(self) -> bool:
        """Whether some threshold reaches the target."""
        return self.threshold is not None

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-clean."""
        return asdict(self)


def abstention_threshold(
    probabilities: ArrayLike,
    y: ArrayLike,
    *,
    target_accuracy: float,
    delta: float = 0.1,
    groups: ArrayLike | None = None,
) -> Abstention:
    """The lowest threshold at which sure answers are proven accurate enough.

    Thresholds from a fixed grid are tested from high to low, each for "the accuracy of sure
    answers is below the target", until the first test that cannot reject; the threshold is the
    last rejected. Testing in a fixed sequence costs no correction for many tests (Learn then
    Test, Angelopoulos et al. 2021), so with probability 1 - delta over the calibration artists
    the accuracy of sure answers on new artists is at least the target. A test rejects where
    :func:`lower_bound` of the accuracy reaches the target.

    Parameters
    ----------
    probabilities : array-like [shape=(n, k), float]
        Calibrated probabilities of tracks that were not trained on.
    y : array-like [shape=(n,), int]
        True genres.
    target_accuracy : float in (0, 1)
        Wanted accuracy of the answers that are given.
    delta : float in (0, 1)
        Accepted probability that the target is missed all the same.
    groups : array-like [shape=(n,)], optional
        Artists; without them tracks count as independent, which makes bounds too high where
        artists have several tracks.

    Returns
    -------
    Abstention
        Look at ``reached``: there may be no such threshold.

    Raises
    ------
    DataError
        As :func:`genrescope.learn.evaluate.score`, and a target or delta outside (0, 1).
    """
    k = np.shape(probabilities)[1] if np.ndim(probabilities) == 2 else 0
    truth, p = check_predictions(y, probabilities, k=k)
    _check_share("target_accuracy", target_accuracy)
    _check_share("delta", delta)
    units, n_artists, _ = artist_units(groups, n=len(truth))
    confidence = p.max(axis=1)
    right = p.argmax(axis=1) == truth
    n_units = int(units.max()) + 1
    enough = max(MIN_UNITS, math.ceil(MIN_SHARE * n_units))

    best: tuple[float, Floats] | None = None
    for threshold in GRID.tolist():
        sure = confidence >= threshold
        total = np.bincount(units[sure], minlength=n_units)
        hits = np.bincount(units[sure & right], minlength=n_units)
        counts = np.stack([hits, total])[:, total > 0].astype(np.float64)
        if counts.shape[1] < min(enough, n_units):
            continue
        # The bound reaches the target where the target's own tail is at most delta.
        a, b = _beta_shape(counts[0], counts[1], delta=delta)
        if _beta_cdf(target_accuracy, a, b) > delta:
            break
        best = (threshold, counts)

    unit = "artist" if n_artists else "track"
    method = (
        f"fixed-sequence test from high to low (Learn then Test), {unit}-clustered exact lower "
        "bound (Korn and Graubard)"
    )
    common = Abstention(
        threshold=None,
        coverage=None,
        accuracy_when_sure=None,
        lower_bound=None,
        target_accuracy=target_accuracy,
        delta=delta,
        n=len(truth),
        n_sure=0,
        n_units=n_units,
        unit=unit,
        method=method,
    )
    if best is not None:
        threshold, (hits, total) = best
        return replace(
            common,
            threshold=threshold,
            coverage=float(total.sum()) / len(truth),
            accuracy_when_sure=float(hits.sum() / total.sum()),
            lower_bound=lower_bound(hits, total, delta=delta),
            n_sure=int(total.sum()),
        )
    hits, total = counts  # where the walk ended; at 0 every track is sure, so some were tested
    bound = lower_bound(hits, total, delta=delta)
    return replace(
        common,
        lower_bound=bound,
        message=(
            f"no threshold reaches accuracy {target_accuracy:g}: the {int(total.sum())} surest "
            f"tracks (highest probability at least {threshold:g}) are only proven to reach "
            f"{bound:.3f}; ask for less, or calibrate on more {unit}s"
        ),
    )


def lower_bound(right: ArrayLike, total: ArrayLike, *, delta: float) -> float:
    """Lower confidence bound of a proportion that was counted in clusters.

    Korn and Graubard (1998): the number of tracks is replaced by the number of independent
    tracks that would give the same variance, then the exact bound of Clopper and Pearson is
    taken. Where no answer is wrong (or none right) the variance says nothing, and every
    cluster counts once.

    Parameters
    ----------
    right, total : array-like [shape=(clusters,), float]
        Right answers and answers of each artist; each total at least 1.
    delta : float in (0, 1)
        The bound holds with probability 1 - delta.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    DataError
        Shapes that differ, no cluster, more right than total, or a delta outside (0, 1).
    """
    x, m = np.asarray(right, dtype=np.float64), np.asarray(total, dtype=np.float64)
    if x.shape != m.shape or x.ndim != 1 or not len(m):
        raise DataError(
            f"right has shape {x.shape} and total {m.shape}; give one pair of counts for each "
            "artist, at least one"
        )
    if (m < 1).any() or (x < 0).any() or (x > m).any():
        raise DataError("counts of right answers must be in 0 .. total, each total at least 1")
    _check_share("delta", delta)
    hits, misses = _beta_shape(x, m, delta=delta)
    return _root(lambda q: _beta_cdf(q, hits, misses) - delta, 0.0, 1.0) if hits > 0 else 0.0


# --- arithmetic ------------------------------------------------------------


def _check_logits(logits: ArrayLike) -> Floats:
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or z.shape[1] == 0:
        raise DataError(f"logits have shape {z.shape}; they must be [tracks, genres]")
    bad = ~np.isfinite(z).all(axis=1)
    if bad.any():
        raise DataError(
            f"logits of track {int(bad.argmax())} are not finite ({int(bad.sum())} such tracks); "
            "clip probabilities before taking the logarithm, such as to at least 1e-12"
        )
    return z


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise DataError(f"{name} is {value}; it is a share: give one between 0 and 1, such as 0.9")


def _beta_shape(x: Floats, m: Floats, *, delta: float) -> tuple[float, float]:
    """Parameters of the beta distribution whose delta quantile is the lower bound."""
    n, g = float(m.sum()), len(m)
    share = float(x.sum()) / n
    if share in (0.0, 1.0) or g == 1:
        effective = float(g)
    else:
        variance = g / (g - 1) * float(((x - share * m) ** 2).sum()) / n**2
        effective = n if variance == 0 else share * (1 - share) / variance
        if delta < 0.5:  # a t quantile with few clusters is wider than one with many tracks
            effective *= (_t_quantile(delta, n - 1) / _t_quantile(delta, g - 1)) ** 2
        effective = min(effective, n)
    return share * effective, (1 - share) * effective + 1


def _softmax(z: Floats) -> Floats:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float64)


def _root(
    f: Callable[[float], float], low: float, high: float, *, geometric: bool = False
) -> float:
    """Where a growing function crosses zero in (low, high), to twelve digits."""
    while high - low > 1e-12 * high:
        middle = math.sqrt(low * high) if geometric else (low + high) / 2
        if f(middle) < 0:
            low = middle
        else:
            high = middle
    return low  # the lower side: a bound never says too much


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by the continued fraction of DLMF 8.17.22."""
    if x <= 0 or x >= 1 or a <= 0:
        return 0.0 if x <= 0 < a else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction of the mirror image converges faster
        return 1 - _beta_cdf(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    c, d = 1.0, 1 - (a + b) * x / (a + 1)  # modified Lentz
    d = 1 / (d or 1e-300)
    fraction = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = fraction
        for term in (even, odd):
            d = 1 / ((1 + term * d) or 1e-300)
            c = (1 + term / c) or 1e-300
            fraction *= c * d
        if abs(fraction - before) <= 1e-15 * abs(fraction):
            break
    return front * fraction / a


def _t_quantile(tail: float, df: float) -> float:
    """The value that Student's t exceeds with probability ``tail``, which is below 1/2."""
    if df > 60:  # Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5), good to 1e-7
        u = NormalDist().inv_cdf(1 - tail)
        first = (u**3 + u) / 4
        second = (5 * u**5 + 16 * u**3 + 3 * u) / 96
        third = (3 * u**7 + 19 * u**5 + 17 * u**3 - 15 * u) / 384
        return u + first / df + second / df**2 + third / df**3
    # P(|t| > q) = I_x(df/2, 1/2) at x = df / (df + q^2).
    x = _root(lambda x: _beta_cdf(x, df / 2, 0.5) - 2 * tail, 0.0, 1.0)
    return math.sqrt(df * (1 - x) / x)
