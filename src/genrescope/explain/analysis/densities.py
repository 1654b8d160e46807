"""How the values of a feature spread within each genre: smooth curves on a common axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.explain.analysis.effects import FeatureEffect
from genrescope.explain.plain import fields_of

__all__ = ["Distribution", "distribution", "label_of"]

Floats = NDArray[np.float64]

GRID_POINTS = 200
SHOWN = (0.5, 99.5)  # percentiles of all tracks between which the curves are drawn
FEW = 5  # values below which a genre has no curve
_BINS = 2048  # of the histogram that is smoothed

_UNITS = {
    "bit_rate": "bit/s",
    "duration": "s",
    "tempo": "BPM",
}
_NAMES = {"bit_rate": "Bit rate"}


@dataclass(frozen=True, eq=False)
class Distribution:
    """One feature, genre by genre; the genres in the order of their medians, lowest first.

    Attributes
    ----------
    feature, label, unit : str
        Its column, its name for people, and its unit ("" where it has none).
    log : bool
        Whether ``grid`` is in equal ratios: for positive values with a long tail.
    grid : np.ndarray [shape=(m,), float64]
        Values of the feature, ascending.
    density : dict of genre -> np.ndarray [shape=(m,), float64]
        Share of the genre's tracks per unit of the feature, or per factor of ten where ``log``.
        All 0 for a genre with fewer than 5 values.
    median : dict of genre -> float
    quartiles : dict of genre -> (float, float)
        The first and the third.
    n : dict of genre -> int
        Tracks with a value.
    effect : FeatureEffect
    note : str
        What the curves leave out.
    """

    feature: str
    label: str
    unit: str
    log: bool
    grid: Floats
    density: dict[str, Floats]
    median: dict[str, float]
    quartiles: dict[str, tuple[float, float]]
    n: dict[str, int]
    effect: FeatureEffect
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The attributes under their names, arrays as lists."""
        return fields_of(self)


def label_of(feature: str) -> str:
    """The name of a column as a person would write it, where it is a plain word.

    Examples
    --------
    >>> label_of("speechiness"), label_of("mfcc_mean.3")
    ('Speechiness', 'mfcc_mean.3')
    """
    if feature in _NAMES:
        return _NAMES[feature]
    word = feature.replace("_", " ")
    return word[0].upper() + word[1:] if word.replace(" ", "").isalpha() else feature


def distribution(
    column: NDArray[Any], y: NDArray[np.int64], genres: tuple[str, ...], *, effect: FeatureEffect
) -> Distribution:
    """Smooth curves of one column, one a genre.

    Gaussian kernels with Silverman's width for each genre, on a common grid; mirrored at 0 and 1
    where values cannot go beyond.

    Parameters
    ----------
    column : np.ndarray [shape=(n,), float]
        The feature; what is not finite is missing. At least one value is there.
    y : np.ndarray [shape=(n,), int64]
        Genres as positions in ``genres``.
    genres : tuple of str
        Their names.
    effect : FeatureEffect
        Of this column; names it, too.

    Returns
    -------
    Distribution
    """
    known = np.isfinite(column)
    values, genre = column[known].astype(np.float64), y[known]
    log = _long_tailed(values)
    scaled = values
    if log:  # what is not above 0 lies left of every such axis
        scaled = np.log10(values, out=np.full_like(values, -np.inf), where=values > 0)
    drawable = scaled[np.isfinite(scaled)]
    low, high = np.percentile(drawable, SHOWN)
    if high <= low:  # nearly all values are equal
        low, high = float(drawable.min()), float(drawable.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    margin = 0.03 * (high - low)
    floor = 0.0 if not log and values.min() >= 0 else -np.inf
    ceiling = 1.0 if not log and values.min() >= 0 and values.max() <= 1 else np.inf
    low, high = max(low - margin, floor), min(high + margin, ceiling)
    axis = np.linspace(low, high, GRID_POINTS)
    density, median, quartiles, counts = {}, {}, {}, {}
    for g, name in enumerate(genres):
        own = scaled[genre == g]
        if not len(own):
            continue
        density[name] = _curve(own, axis, mirrors=(floor, ceiling))
        q1, middle, q3 = (float(v) for v in np.percentile(values[genre == g], [25, 50, 75]))
        median[name], quartiles[name], counts[name] = middle, (q1, q3), len(own)
    order = sorted(median, key=lambda name: median[name])
    outside = float(np.mean((scaled < low) | (scaled > high)))
    return Distribution(
        effect.feature,
        label_of(effect.feature),
        _UNITS.get(effect.feature, ""),
        log,
        grid=10**axis if log else axis,
        density={name: density[name] for name in order},
        median={name: median[name] for name in order},
        quartiles={name: quartiles[name] for name in order},
        n={name: counts[name] for name in order},
        effect=effect,
        note=_note(outside, zeros=int((values <= 0).sum()) if log else 0, counts=counts),
    )


def _long_tailed(values: Floats) -> bool:
    """Whether values are so skewed that equal ratios show them better.

    Shares (0 to 1) keep their axis: their ends mean something. A few zeros are borne.
    """
    positive = values[values > 0]
    if values.min() < 0 or values.max() <= 1 or len(positive) < 0.95 * len(values):
        return False
    if values.max() < 10 * np.median(values):
        return False
    return _skew(values) > 2 and abs(_skew(np.log10(positive))) < 1.5


def _skew(values: Floats) -> float:
    z = values - values.mean()
    spread = float(np.sqrt((z * z).mean()))
    return float((z**3).mean()) / spread**3 if spread > 0 else 0.0


def _curve(own: Floats, axis: Floats, *, mirrors: tuple[float, float]) -> Floats:
    """The kernel density of ``own`` at ``axis``."""
    total, own = len(own), own[np.isfinite(own)]
    if len(own) < FEW:
        return np.zeros_like(axis)
    step = axis[1] - axis[0]
    q1, q3 = np.percentile(own, [25, 75])
    spread = min((s for s in (own.std(), (q3 - q1) / 1.34) if s > 0), default=0.0)
    width = max(0.9 * spread * len(own) ** -0.2, step)  # finer than the grid cannot be drawn
    reach = 4 * width
    near = own[(own > axis[0] - reach) & (own < axis[-1] + reach)]
    if not len(near):
        return np.zeros_like(axis)
    counts, edges = np.histogram(near, bins=_BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    full = counts > 0
    places = [centres[full], *(2 * m - centres[full] for m in mirrors if np.isfinite(m))]
    kernels = sum(np.exp(-0.5 * ((axis[:, None] - at) / width) ** 2) for at in places)
    return np.asarray(kernels @ counts[full] / (total * width * np.sqrt(2 * np.pi)))


def _note(outside: float, *, zeros: int, counts: dict[str, int]) -> str:
    parts = []
    if outside > 0:
        parts.append(
            f"The curves leave out the lowest and highest {100 - SHOWN[1]:g} % of all values."
        )
    if zeros:
        parts.append(f"{zeros} values of 0 have no place on this axis.")
    few = [name for name, n in counts.items() if n < FEW]
    if few:
        parts.append(f"No curve for {', '.join(few)}: fewer than {FEW} values.")
    return " ".join(parts)
