"""How well one number tells genres apart, and how sure that is when artists have many tracks.

Tracks of one artist resemble each other. The effect of a feature is therefore given with an
interval that resamples whole artists, and once more on one value an artist. A p-value over tracks
pretends that they are independent and is too small; it is given because it is customary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import MissingExtraError
from genrescope.explain.plain import fields_of
from genrescope.learn.paired import holm
from genrescope.learn.resampling import LEVEL, resamples

try:
    from scipy.special import ndtr, ndtri
    from scipy.stats import chi2
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the analysis of features", extra="lab", package="scipy") from error

__all__ = ["FeatureEffect", "Labels", "bc_interval", "feature_effects", "ranks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_COLUMNS = 256  # handled at once, so that memory stays near 100 MB
_DRAWS = 5_000_000  # resamples times artists; bounds the time on tables with very many artists


@dataclass(frozen=True)
class FeatureEffect:
    """How well one feature tells genres apart.

    Attributes
    ----------
    feature, group : str
        Its name and its family.
    eta_squared : float
        Share of the feature's variance that lies between genres, 0 to 1. It is never below 0, so
        a useless feature has a little more than 0 too.
    eta_low, eta_high : float
        95 % interval: whole artists resampled, corrected for bias (Efron 1987, BC); NaN where
        there are too few artists.
    epsilon_squared : float
        The same of ranks: H / (n - 1), which outliers do not move.
    h, p, p_adjusted : float
        Kruskal and Wallis's H, corrected for ties; its p over tracks, which is too small where
        artists have several tracks; and p after Holm's correction for the number of features.
    medians : dict of genre -> float
        Of the genres that have values.
    n, n_missing : int
        Tracks with a value, and without.
    artist_eta_squared, artist_epsilon_squared, artist_p, artist_p_adjusted : float
        The same on one value an artist: the mean over the artist's tracks of the genre in which
        the artist has most. These p-values are fair. NaN where no artists are known.
    n_artists : int
        Number of these values; 0 where no artists are known.
    """

    feature: str
    group: str
    eta_squared: float
    eta_low: float
    eta_high: float
    epsilon_squared: float
    h: float
    p: float
    p_adjusted: float
    medians: dict[str, float]
    n: int
    n_missing: int
    artist_eta_squared: float = float("nan")
    artist_epsilon_squared: float = float("nan")
    artist_p: float = float("nan")
    artist_p_adjusted: float = float("nan")
    n_artists: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The attributes under their names; NaN becomes None."""
        return fields_of(self)


@dataclass(frozen=True, eq=False)
class Labels:
    """Genre and artist of every track.

    Attributes
    ----------
    y : np.ndarray [shape=(n,), int64]
        Genres as positions in ``genres``.
    genres : tuple of str
        Their names.
    units : np.ndarray [shape=(n,), int64]
        Artists, numbered from 0 without gaps.
    """

    y: Ints
    genres: tuple[str, ...]
    units: Ints

    @property
    def n_units(self) -> int:
        """How many artists."""
        return int(self.units.max(initial=-1)) + 1


def feature_effects(
    x: NDArray[Any],
    labels: Labels,
    *,
    names: Sequence[str],
    families: Sequence[str],
    n_boot: int = 500,
    seed: int = 0,
) -> tuple[FeatureEffect, ...]:
    """The effect of genre on every column, the largest eta squared first.

    Parameters
    ----------
    x : np.ndarray [shape=(n, d), float]
        Features; what is not finite is missing.
    labels : Labels
        Genre and artist of the rows.
    names, families : sequence of d str
        Of the columns.
    n_boot : int >= 0
        Resamples for the intervals; fewer are drawn where artists are very many.
    seed : int
        Of the resampling.

    Returns
    -------
    tuple of FeatureEffect
        A column without two genres that have values, or without spread, has effect NaN and
        comes last.
    """
    d, k = x.shape[1], len(labels.genres)
    n_boot = min(n_boot, max(100, _DRAWS // max(labels.n_units, 1))) if labels.n_units > 1 else 0
    clustered = labels.n_units < len(labels.y)
    table = np.full((d, 9), np.nan)  # eta, low, high, epsilon, h, p, the last three by artist
    medians = np.full((k, d), np.nan)
    present, by_artist = np.zeros(d, int), np.zeros(d, int)
    pairs = _Pairs(labels)
    for start in range(0, d, _COLUMNS):
        block = slice(start, min(start + _COLUMNS, d))
        part = np.where(np.isfinite(x[:, block]), x[:, block], np.nan).astype(np.float64)
        here = np.isfinite(part)
        present[block] = here.sum(axis=0)
        for g in range(k):
            medians[g, block] = _medians(part[labels.y == g])
        sums = pairs.sums(part, here)
        table[block, :3] = _eta_intervals(pairs, sums, n_boot=n_boot, seed=seed)
        table[block, 3:6] = [_kruskal(column, labels.y, k) for column in part.T]
        if clustered:
            means, main = pairs.artist_means(sums)
            own = _Pairs(Labels(main, labels.genres, np.arange(len(main))))
            table[block, 6] = own.eta(own.sums(means, np.isfinite(means)))[0]
            table[block, 7:9] = [_kruskal(column, main, k)[[0, 2]] for column in means.T]
            by_artist[block] = np.isfinite(means).sum(axis=0)
    adjusted, artist_adjusted = holm(table[:, 5]), holm(table[:, 8])
    effects = []
    for j in range(d):
        eta, low, high, epsilon, h, p, artist_eta, artist_epsilon, artist_p = table[j].tolist()
        effects.append(
            FeatureEffect(
                names[j],
                families[j],
                eta_squared=eta,
                eta_low=low,
                eta_high=high,
                epsilon_squared=epsilon,
                h=h,
                p=p,
                p_adjusted=float(adjusted[j]),
                medians={
                    genre: float(m)
                    for genre, m in zip(labels.genres, medians[:, j], strict=True)
                    if np.isfinite(m)
                },
                n=int(present[j]),
                n_missing=len(x) - int(present[j]),
                artist_eta_squared=artist_eta,
                artist_epsilon_squared=artist_epsilon,
                artist_p=artist_p,
                artist_p_adjusted=float(artist_adjusted[j]),
                n_artists=int(by_artist[j]),
            )
        )
    return tuple(sorted(effects, key=lambda e: -e.eta_squared if e.eta_squared >= 0 else 1.0))


def ranks(values: NDArray[Any]) -> tuple[Floats, Ints]:
    """Ranks from 1, ties at their mean, and the sizes of the ties.

    Parameters
    ----------
    values : np.ndarray [shape=(n,)]
        Without NaN.

    Returns
    -------
    ranks : np.ndarray [shape=(n,), float64]
    sizes : np.ndarray [shape=(different values,), int64]

    Examples
    --------
    >>> ranks(np.array([3.0, 1.0, 3.0]))[0].tolist()
    [2.5, 1.0, 2.5]
    """
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])[: len(values)]
    sizes = np.diff(np.r_[starts, len(values)])
    out = np.empty(len(values))
    out[order] = np.repeat(starts + (sizes + 1) / 2, sizes)
    return out, sizes.astype(np.int64)


def bc_interval(draws: Floats, point: Floats) -> tuple[Floats, Floats]:
    """Bias-corrected percentile intervals, none of which leaves out its own figure.

    Sums of squares grow when artists are drawn twice, so plain percentiles of eta squared or of
    a mean of absolute values lie too high; the share of draws below the figure says by how much
    (Efron 1987).

    Parameters
    ----------
    draws : np.ndarray [shape=(n_boot, d), float64]
        Resampled figures.
    point : np.ndarray [shape=(d,), float64]
        The figures on all tracks.

    Returns
    -------
    low, high : np.ndarray [shape=(d,), float64]
        NaN without draws.
    """
    b = len(draws)
    if b == 0:
        return np.full_like(point, np.nan), np.full_like(point, np.nan)
    ordered = np.sort(draws, axis=0)
    share = ((draws < point).sum(axis=0) + 0.5 * (draws == point).sum(axis=0)) / b
    shift = 2 * ndtri(np.clip(share, 1 / (b + 1), b / (b + 1)))
    ends = []
    for z in (ndtri((1 - LEVEL) / 2), ndtri((1 + LEVEL) / 2)):
        place = ndtr(shift + z) * (b - 1)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, b - 1)
        columns = np.arange(draws.shape[1])
        step = (place - below) * (ordered[above, columns] - ordered[below, columns])
        ends.append(ordered[below, columns] + step)
    return np.minimum(ends[0], point), np.maximum(ends[1], point)


class _Pairs:
    """Sums over the tracks of one artist in one genre; every effect is made from these."""

    def __init__(self, labels: Labels) -> None:
        self.k, self.n_units = len(labels.genres), labels.n_units
        code = labels.y * max(self.n_units, 1) + labels.units  # a genre's pairs side by side
        self.order = np.argsort(code, kind="stable")
        codes, self.starts = np.unique(code[self.order], return_index=True)
        self.genre, self.unit = np.divmod(codes, max(self.n_units, 1))
        self.size = np.diff(np.r_[self.starts, len(code)])

    def sums(self, part: Floats, here: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
        """Counts, sums and sums of squares [pairs, columns] about the centre, and the centre."""
        n = np.maximum(here.sum(axis=0), 1)
        filled = np.where(here, part, 0.0)
        centre = filled.sum(axis=0) / n
        z = np.where(here, filled - centre, 0.0)[self.order]

        def add(values: NDArray[Any]) -> Floats:
            return np.asarray(np.add.reduceat(values, self.starts, axis=0), dtype=np.float64)

        if here.all():  # one column of counts serves all
            counts = self.size[:, None].astype(np.float64)
        else:
            counts = add(here[self.order].astype(np.float64))
        return counts, add(z), add(z * z), centre

    def eta(
        self, sums: tuple[Floats, Floats, Floats, Floats], weights: Floats | None = None
    ) -> Floats:
        """Eta squared [draws, columns] of artists taken as often as ``weights`` [draws, artists]
        says; one row with every artist once by default."""
        counts, first, second, _ = sums
        w = np.ones((1, self.n_units)) if weights is None else weights
        between = np.zeros((len(w), first.shape[1]))
        total_n = np.zeros((len(w), counts.shape[1]))
        total, squares = np.zeros_like(between), np.zeros_like(between)
        for g in range(self.k):
            of = slice(*np.searchsorted(self.genre, [g, g + 1]))
            here = w[:, self.unit[of]]
            n, s = here @ counts[of], here @ first[of]
            between += np.divide(s * s, n, out=np.zeros_like(s), where=n > 0)
            total_n, total, squares = total_n + n, total + s, squares + here @ second[of]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_square = total * total / total_n
            within_range = np.clip((between - mean_square) / (squares - mean_square), 0.0, 1.0)
        # A constant column leaves rounding behind in place of zero.
        spread = squares - mean_square > 1e-12 * np.maximum(squares, 1e-300)
        return np.asarray(np.where(spread, within_range, np.nan))

    def artist_means(self, sums: tuple[Floats, Floats, Floats, Floats]) -> tuple[Floats, Ints]:
        """One row an artist: means over the tracks of the artist's main genre, and that genre."""
        counts, first, _, centre = sums
        order = np.lexsort((self.genre, -self.size, self.unit))
        _, at = np.unique(self.unit[order], return_index=True)
        chosen = order[at]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.asarray(first[chosen] / counts[chosen] + centre)
        return means, self.genre[chosen].astype(np.int64)


def _eta_intervals(
    pairs: _Pairs, sums: tuple[Floats, Floats, Floats, Floats], *, n_boot: int, seed: int
) -> Floats:
    """Eta squared, and the ends of its interval [columns, 3]."""
    point = pairs.eta(sums)[0]
    if n_boot == 0:
        return np.stack([point, np.full_like(point, np.nan), np.full_like(point, np.nan)], axis=1)
    draws = [pairs.eta(sums, w) for w in resamples(pairs.n_units, n_boot=n_boot, seed=seed)]
    low, high = bc_interval(np.nan_to_num(np.concatenate(draws)), point)
    return np.stack([point, low, high], axis=1)


def _kruskal(column: Floats, y: Ints, k: int) -> Floats:
    """Epsilon squared, H corrected for ties, and p; NaN where there is nothing to compare."""
    known = np.isfinite(column)
    values, genre = column[known], y[known]
    n = len(values)
    sizes = np.bincount(genre, minlength=k)
    r, ties = ranks(values)
    used = sizes > 0
    correction = 1 - (ties.astype(float) ** 3 - ties).sum() / max(float(n) ** 3 - n, 1)
    if used.sum() < 2 or correction <= 0:
        return np.full(3, np.nan)
    sums = np.bincount(genre, weights=r - (n + 1) / 2, minlength=k)
    h = 12 / (n * (n + 1)) * (sums[used] ** 2 / sizes[used]).sum() / correction
    return np.array([h / (n - 1), h, chi2.sf(h, used.sum() - 1)])


def _medians(part: Floats) -> Floats:
    """Medians of the columns without the missing values; NaN where there are none."""
    if not np.isnan(part).any():
        return np.asarray(np.median(part, axis=0)) if len(part) else np.full(part.shape[1], np.nan)
    known = [column[np.isfinite(column)] for column in part.T]
    return np.array([np.median(c) if len(c) else np.nan for c in known])
