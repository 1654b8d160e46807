"""Labels and probabilities checked, artists numbered, and whole artists resampled.

What scoring and calibration share. Only numpy is needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.errors import DataError

__all__ = [
    "LEVEL",
    "Floats",
    "Ints",
    "artist_units",
    "check_predictions",
    "interval",
    "resamples",
    "sum_by_unit",
]

LEVEL = 0.95  # of every interval
SUM_TOLERANCE = 1e-3  # probabilities of one track may add up to 1 +- this (float16 does)
_CELLS = 4_000_000  # resampled units held at once, so that memory stays near 64 MB

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def check_predictions(y: ArrayLike, probabilities: ArrayLike, *, k: int) -> tuple[Ints, Floats]:
    """Labels and probabilities as arrays, or an error that says what is wrong with them.

    Parameters
    ----------
    y : array-like [shape=(n,), int]
        Labels, each in 0 .. k - 1.
    probabilities : array-like [shape=(n, k), float]
        Rows add up to 1.
    k : int
        Number of genres.

    Returns
    -------
    tuple of np.ndarray [shape=(n,), int64] and np.ndarray [shape=(n, k), float64]

    Raises
    ------
    DataError
        Where one of the rules is broken.
    """
    raw, p = np.asarray(y), np.asarray(probabilities)
    if p.ndim != 2 or p.shape[1] != k or k == 0:
        raise DataError(
            f"probabilities have shape {p.shape}; they must be [tracks, genres], "
            f"one column for each of the {k} genres"
        )
    if raw.ndim != 1 or len(raw) != len(p):
        raise DataError(
            f"y has shape {raw.shape} and probabilities {p.shape}; "
            "give one label for every row of probabilities"
        )
    if len(raw) == 0:
        raise DataError("there are 0 tracks to score; give at least one")
    if not np.issubdtype(raw.dtype, np.integer):
        raise DataError(
            f"y holds {raw[0]!r} (dtype {raw.dtype}); labels are positions in `genres`: "
            "give integers"
        )
    outside = (raw < 0) | (raw >= k)
    if outside.any():
        raise DataError(
            f"y[{int(outside.argmax())}] is {raw[outside.argmax()]}; labels go from 0 to {k - 1} "
            f"({int(outside.sum())} outside); leave out tracks of genres that are not recognised"
        )
    p = p.astype(np.float64)
    finite = np.isfinite(p).all(axis=1)
    if not finite.all():
        row = int((~finite).argmax())
        raise DataError(
            f"probabilities of track {row} hold NaN or infinity ({int((~finite).sum())} such "
            "tracks); leave out the tracks that could not be recognised"
        )
    sums = p.sum(axis=1)
    wrong = (np.abs(sums - 1) > SUM_TOLERANCE) | (p < 0).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"probabilities of track {row} add up to {sums[row]:.6g}, lowest {p[row].min():.6g}; "
            "they must be at least 0 and add up to 1: apply softmax to scores first"
        )
    return raw.astype(np.int64), p


def artist_units(groups: ArrayLike | None, *, n: int) -> tuple[Ints, int, int]:
    """Number the units that a resampling draws: artists, and tracks of no known artist.

    Parameters
    ----------
    groups : array-like [shape=(n,)] or None
        Artists; None, "" and NaN stand for "not known". None in place of the array: no
        artist is known.
    n : int
        Number of tracks.

    Returns
    -------
    units : np.ndarray [shape=(n,), int64]
        0 .. number of units - 1; independent of the order of the tracks where all artists
        are known.
    n_artists : int
        Different known artists.
    n_without : int
        Tracks without one.

    Raises
    ------
    DataError
        Where there is not one group for every track.
    """
    if groups is None:
        return np.arange(n, dtype=np.int64), 0, n
    values = np.asarray(groups)
    if values.shape != (n,):
        raise DataError(
            f"groups have shape {values.shape}; give one artist for each of the {n} tracks"
        )
    if values.dtype == object:
        missing = np.array([v is None or v == "" or v != v for v in values], dtype=bool)
        values = np.array([str(v) for v in values])
    elif np.issubdtype(values.dtype, np.floating):
        missing = np.isnan(values)
    elif values.dtype.kind in "US":
        missing = values == values.dtype.type()
    else:
        missing = np.zeros(n, dtype=bool)
    units = np.empty(n, dtype=np.int64)
    known, ids = np.unique(values[~missing], return_inverse=True)
    units[~missing] = ids
    units[missing] = len(known) + np.arange(int(missing.sum()))
    return units, len(known), int(missing.sum())


def sum_by_unit(table: Floats, units: Ints) -> Floats:
    """Add up the rows of each unit.

    Parameters
    ----------
    table : np.ndarray [shape=(n, columns), float64]
        One row a track.
    units : np.ndarray [shape=(n,), int64]
        From :func:`artist_units`.

    Returns
    -------
    np.ndarray [shape=(number of units, columns), float64]
    """
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.diff(units[order], prepend=-1))
    return np.asarray(np.add.reduceat(table[order], starts, axis=0), dtype=np.float64)


def resamples(n_units: int, *, n_boot: int, seed: int) -> Iterator[Floats]:
    """How often each unit is drawn in each resample, in blocks that bound the memory.

    Parameters
    ----------
    n_units : int > 0
        Units to draw from; each resample draws as many, with replacement.
    n_boot : int
        Number of resamples.
    seed : int
        Of the draws; the same seed and sizes give the same draws.

    Yields
    ------
    np.ndarray [shape=(block, n_units), float64]
        Counts; ``block @ sum_by_unit(...)`` are the resampled sums.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // n_units)
    for start in range(0, n_boot, step):
        b = min(step, n_boot - start)
        drawn = rng.integers(0, n_units, size=(b, n_units))
        drawn += np.arange(b)[:, None] * n_units
        counts = np.bincount(drawn.ravel(), minlength=b * n_units)
        yield counts.reshape(b, n_units).astype(np.float64)


def interval(draws: list[Floats], *, point: float) -> tuple[float, float] | None:
    """The percentile interval of resampled figures, never leaving out the figure itself.

    Parameters
    ----------
    draws : list of np.ndarray
        The figure in each resample; NaN (not defined in that resample) is passed over.
    point : float
        The figure on all tracks.

    Returns
    -------
    tuple[float, float] | None
        None where there are no draws, or the figure is not defined.
    """
    values = np.concatenate(draws) if draws else np.empty(0)
    values = values[np.isfinite(values)]
    if not len(values) or not np.isfinite(point):
        return None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return min(float(low), point), max(float(high), point)
