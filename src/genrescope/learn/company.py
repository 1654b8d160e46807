"""The company that a track keeps: what the sound of the artist's other tracks says.

Where a whole library or album is at hand, a track need not be judged alone. Its artist's name then
counts not for its letters but for which other tracks it joins. No label enters: only the answers
for the other tracks do. It holds as far as artists keep to one genre.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError
from genrescope.learn.calibrate import apply_temperature

__all__ = ["company", "pool_company"]

Floats = npt.NDArray[np.float64]

_FLOOR = 1e-12


def company(
    probabilities: npt.ArrayLike, artists: Sequence[str | None]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Mean log-probabilities of the other tracks of each track's artist.

    Parameters
    ----------
    probabilities : array-like [shape=(n, k), float]
        Answers for the tracks, one by one.
    artists : sequence of n str or None
        None and "" are tracks of no known artist, which have no company.

    Returns
    -------
    log_p : np.ndarray [shape=(n, k), float64]
        Rows of zeros where there are no others.
    others : np.ndarray [shape=(n,), int64]
        How many there are.

    Raises
    ------
    DataError
        If lengths differ.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or len(p) != len(artists):
        raise DataError(f"probabilities have the shape {p.shape}, there are {len(artists)} artists")
    keys = [str(name).casefold() if name else f"\0{i}" for i, name in enumerate(artists)]
    _, unit = np.unique(keys, return_inverse=True)
    log_p = np.log(np.maximum(p, _FLOOR))
    total = np.zeros((int(unit.max()) + 1 if len(unit) else 0, p.shape[1]))
    np.add.at(total, unit, log_p)
    others = np.bincount(unit)[unit] - 1 if len(unit) else unit
    mean = (total[unit] - log_p) / np.maximum(others, 1)[:, None]
    return np.where(others[:, None] > 0, mean, 0.0), others.astype(np.int64)


def pool_company(
    probabilities: npt.ArrayLike,
    artists: Sequence[str | None],
    *,
    weight: float = 1.0,
    temperature: float = 1.0,
) -> Floats:
    """Each track's answer, with what the artist's other tracks say added to it.

    Parameters
    ----------
    probabilities, artists
        As for :func:`company`.
    weight : float >= 0
        Of the mean of the others, beside the track's own 1; 0 changes nothing.
    temperature : float > 0
        What the sum is divided by.

    Returns
    -------
    np.ndarray [shape=(n, k), float64]
        Exactly as given for tracks without company.

    Examples
    --------
    >>> pool_company([[0.6, 0.4], [0.1, 0.9], [0.6, 0.4]], ["a", "a", None]).round(2).tolist()
    [[0.14, 0.86], [0.14, 0.86], [0.6, 0.4]]
    """
    if weight < 0:
        raise DataError(f"weight is {weight}; it is 0 or more")
    p = np.asarray(probabilities, dtype=np.float64)
    log_p, others = company(p, artists)
    pooled = apply_temperature(np.log(np.maximum(p, _FLOOR)) + weight * log_p, temperature)
    return np.where(others[:, None] > 0, pooled, p)
