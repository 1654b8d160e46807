"""A table of the size of the 2022 study: 39,000 tracks, 140 features, 16 unbalanced genres.

The study's own table is FMA's, which a benchmark cannot download; the time that a classifier needs
depends on size, balance and how hard the genres are to tell apart, and those are FMA's here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["N_FEATURES", "SHARES", "make_table"]

N_FEATURES = 140
_FACTORS = 30  # statistics of MFCC are correlated: they move in about this many directions

# Tracks of each top-level genre in FMA, from Rock to Easy Listening.
SHARES = np.array(
    [14182, 10608, 9372, 3552, 2803, 2332, 2079, 1389, 1230, 571, 554, 423, 194, 175, 110, 24]
)


def make_table(
    n: int = 39_000, *, n_test: int = 4_951, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Features and genres of `n` tracks to train on and of `n_test` to score."""
    rng = np.random.default_rng(seed)
    k = len(SHARES)
    y = rng.choice(k, size=n + n_test, p=SHARES / SHARES.sum())
    # Two kinds of track in each genre, so that its borders are not straight.
    kind = rng.integers(0, 2, size=len(y))
    centres = rng.normal(0, 0.62, size=(k, 2, _FACTORS))
    factors = centres[y, kind] + rng.normal(size=(len(y), _FACTORS))
    factors *= np.exp(0.25 * rng.normal(size=(len(y), 1)))  # heavy tails
    loadings = rng.normal(size=(_FACTORS, N_FEATURES)) / np.sqrt(_FACTORS)
    x = factors @ loadings + 0.5 * rng.standard_t(5, size=(len(y), N_FEATURES))
    # Labels are an opinion: an eighth of them is another genre's.
    noisy = rng.random(len(y)) < 1 / 8
    y[noisy] = rng.choice(k, size=int(noisy.sum()), p=SHARES / SHARES.sum())
    x = x.astype(np.float32)
    return x[:n], y[:n], x[n:], y[n:]
