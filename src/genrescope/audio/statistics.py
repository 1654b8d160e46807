"""What the frame summary says, as a fixed-length row of numbers.

Two views of a 30-s window go in: 128 sparse mel frames spread over the whole of it, and the dense
MFCC sequence of its first 3 s. Out comes one row of statistics a window: how loud each band is, how
it is distributed, how it changes from frame to frame, the shape of the spectrum, what is tonal and
what is a stroke, how the cepstral coefficients move together, and the rhythm of the dense part.

Everything is invariant to gain, is vectorised over windows, and uses numpy alone.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from genrescope.audio.mel import mfcc_matrix

__all__ = ["dense_statistics", "feature_names", "frame_statistics"]

FloatArray = npt.NDArray[np.float32]

N_MFCC = 20
_FRAME_LAGS = (1, 2, 4, 8)  # frames of about 0.23 s
_DENSE_LAGS = (1, 2, 4, 8, 12, 16, 24, 32, 48)  # frames of 23 ms
_BEAT_LAGS = tuple(range(4, 64, 2))
_TONAL_WIDTH = 9  # bands
_STROKE_WIDTH = 5  # frames
_GROUPS = 8  # octave-like groups of bands for contrast and energies
_TINY = np.float32(1e-6)
_MEDIAN_NETWORKS = {
    5: ((0, 1), (3, 4), (0, 3), (1, 4), (1, 2), (2, 3), (1, 2)),
    9: (
        *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8)),
        *((0, 3), (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
    ),
}
_MOMENTS = ("mean", "std", "skew", "kurtosis", "median", "min", "max")


def _moments(x: FloatArray) -> FloatArray:
    """Seven statistics over the last axis: [..., t] -> [..., 7]."""
    mean = x.mean(-1, keepdims=True)
    centred = x - mean
    square = centred * centred
    variance = square.mean(-1)
    std = np.sqrt(variance)
    safe = np.maximum(variance, _TINY)
    skew = (square * centred).mean(-1) / (safe * np.sqrt(safe))
    kurtosis = (square * square).mean(-1) / (safe * safe) - 3.0
    ordered = np.sort(x, axis=-1)
    n = x.shape[-1]
    median = 0.5 * (ordered[..., (n - 1) // 2] + ordered[..., n // 2])
    return np.stack(
        [mean[..., 0], std, skew, kurtosis, median, ordered[..., 0], ordered[..., -1]], axis=-1
    )


def _running_median(x: FloatArray, width: int, axis: int) -> FloatArray:
    """Median over ``width`` (5 or 9) neighbours along ``axis``, edges repeated.

    The values are exchanged pairwise until the median stands in the middle (networks of Devillard,
    "Fast median search", 1998): whole arrays at a time, ten times faster than sorting windows.
    """
    pad = [(0, 0)] * x.ndim
    pad[axis] = (width // 2, width // 2)
    padded = np.pad(x, pad, mode="edge")
    length = x.shape[axis]
    lanes = [padded.take(range(k, k + length), axis=axis) for k in range(width)]
    for low, high in _MEDIAN_NETWORKS[width]:
        lanes[low], lanes[high] = (
            np.minimum(lanes[low], lanes[high]),
            np.maximum(lanes[low], lanes[high]),
        )
    return lanes[width // 2]


def _correlations(z: FloatArray) -> FloatArray:
    """Upper triangle of the correlation matrix of standardised series [n, k, t]."""
    k = z.shape[1]
    matrix = (z @ z.transpose(0, 2, 1)) / np.float32(z.shape[-1])
    rows, cols = np.triu_indices(k, 1)
    return matrix[:, rows, cols]


def _autocorrelations(z: FloatArray, lags: tuple[int, ...]) -> FloatArray:
    """Autocorrelation of standardised series [n, k, t] at some lags: [n, k * len(lags)]."""
    parts = [(z[..., lag:] * z[..., :-lag]).mean(-1) for lag in lags]
    return np.concatenate(parts, axis=1)


def _standardise(x: FloatArray) -> FloatArray:
    centred = x - x.mean(-1, keepdims=True)
    scaled: FloatArray = centred / np.sqrt(
        np.maximum((centred * centred).mean(-1, keepdims=True), _TINY)
    )
    return scaled


@lru_cache(maxsize=4)
def _group_edges(bands: int) -> tuple[int, ...]:
    return tuple(int(e) for e in np.linspace(0, bands, _GROUPS + 1).round())


def _shape(db: FloatArray) -> FloatArray:
    """Spectral shape of every frame, [n, bands, t] -> [n, features, t]."""
    bands = db.shape[1]
    position = np.linspace(0.0, 1.0, bands, dtype=np.float32)[None, :, None]
    power = np.exp(db * np.float32(np.log(10.0) / 20.0))  # amplitude: less peaky than power
    total = power.sum(1, keepdims=True)
    share = power / total
    centroid = (share * position).sum(1)
    spread = np.sqrt(np.maximum((share * (position - centroid[:, None]) ** 2).sum(1), 0.0))
    running = np.cumsum(share, axis=1)
    rolloffs = [(running < np.float32(q)).mean(1) for q in (0.25, 0.5, 0.85, 0.95)]
    entropy = -(share * np.log(share + np.float32(1e-12))).sum(1) / np.float32(np.log(bands))
    flatness = db.mean(1) - np.float32(20.0 / np.log(10.0)) * np.log(total[:, 0] / bands)
    flux = np.zeros_like(centroid)
    flux[:, 1:] = np.maximum(db[..., 1:] - db[..., :-1], 0.0).mean(1)
    drop = np.zeros_like(centroid)
    drop[:, 1:] = np.maximum(db[..., :-1] - db[..., 1:], 0.0).mean(1)
    rows = [centroid, spread, *rolloffs, entropy, flatness, db.mean(1), flux, drop]
    edges = _group_edges(bands)
    for lo, hi in itertools.pairwise(edges):
        part = np.sort(db[:, lo:hi], axis=1)
        rows.append(part.mean(1))
        rows.append(part[:, -3:].mean(1) - part[:, :3].mean(1))
    return np.stack(rows, axis=1).astype(np.float32)


def frame_statistics(db: FloatArray) -> FloatArray:
    """Statistics of sparse mel frames.

    Parameters
    ----------
    db : np.ndarray [shape=(n, bands, frames), float32]
        Decibels below the loudest value of the window, 0 or less.

    Returns
    -------
    np.ndarray [shape=(n, features), float32]
        One row a window; see :func:`feature_names`.
    """
    n = len(db)
    ordered = np.sort(db, axis=-1)
    last = db.shape[-1] - 1
    quantiles = [ordered[..., round(q * last)] for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
    step = db[..., 1:] - db[..., :-1]
    jump = db[..., 4:] - db[..., :-4]
    absolute = np.abs(step)
    tonal = db - _running_median(db, _TONAL_WIDTH, axis=1)
    stroke = db - _running_median(db, _STROKE_WIDTH, axis=2)
    per_band = [
        db.mean(-1),
        db.std(-1),
        *quantiles,
        absolute.mean(-1),
        absolute.std(-1),
        np.abs(jump).mean(-1),
        tonal.mean(-1),
        tonal.std(-1),
        np.abs(stroke).mean(-1),
        np.maximum(stroke, 0.0).max(-1),
    ]
    mfcc = mfcc_matrix(N_MFCC, db.shape[1]) @ db
    z = _standardise(mfcc)
    shape = _shape(db)
    parts = [
        *per_band,
        _moments(mfcc).reshape(n, -1),
        np.abs(mfcc[..., 1:] - mfcc[..., :-1]).mean(-1),
        _correlations(z),
        _autocorrelations(z, _FRAME_LAGS),
        _moments(shape).reshape(n, -1),
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def dense_statistics(mfcc: FloatArray) -> FloatArray:
    """Statistics of the dense MFCC sequence.

    Parameters
    ----------
    mfcc : np.ndarray [shape=(n, 20, frames), float32]
        Coefficients of consecutive frames, 23 ms apart; coefficient 0 without its mean, since
        the level is not the music.

    Returns
    -------
    np.ndarray [shape=(n, features), float32]
        One row a window; see :func:`feature_names`.
    """
    n = len(mfcc)
    step = mfcc[..., 1:] - mfcc[..., :-1]
    bend = step[..., 1:] - step[..., :-1]
    z = _standardise(mfcc)
    onset = np.maximum(step[:, :1], 0.0)
    movement = np.sqrt((step[:, 1:] ** 2).mean(1, keepdims=True))
    novelty = np.concatenate([onset, movement], axis=1)
    parts = [
        _moments(mfcc).reshape(n, -1)[:, 1:],  # without the mean that was taken away
        step.std(-1),
        np.abs(step).mean(-1),
        bend.std(-1),
        _correlations(z),
        _autocorrelations(z, _DENSE_LAGS),
        _moments(novelty).reshape(n, -1),
        _autocorrelations(_standardise(novelty), _BEAT_LAGS),
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


_PER_BAND = (
    "mean",
    "std",
    "p05",
    "p25",
    "p50",
    "p75",
    "p95",
    "step_mean",
    "step_std",
    "jump_mean",
    "tonal_mean",
    "tonal_std",
    "stroke_mean",
    "stroke_max",
)
_SHAPE = (
    "centroid",
    "spread",
    "rolloff25",
    "rolloff50",
    "rolloff85",
    "rolloff95",
    "entropy",
    "flatness",
    "level",
    "rise",
    "fall",
    *(f"{what}{g}" for g in range(_GROUPS) for what in ("energy", "contrast")),
)


def feature_names(bands: int) -> list[str]:
    """Name of every column, frames first and then the dense part.

    Parameters
    ----------
    bands : int > 0
        Number of mel bands that :func:`frame_statistics` is given.

    Returns
    -------
    list of str
        ``group.statistic.index``, for example ``band.std.17`` or ``dense.mfcc_mean.3``.
    """

    def moments(prefix: str, series: list[str]) -> list[str]:
        return [f"{prefix}_{moment}.{one}" for one in series for moment in _MOMENTS]

    def pairs(prefix: str) -> list[str]:
        rows, cols = np.triu_indices(N_MFCC, 1)
        return [f"{prefix}.{i}-{j}" for i, j in zip(rows.tolist(), cols.tolist(), strict=True)]

    cepstral = [str(k) for k in range(N_MFCC)]
    names = [f"band.{what}.{b}" for what in _PER_BAND for b in range(bands)]
    names += moments("mfcc.mfcc", cepstral)
    names += [f"mfcc.step_mean.{k}" for k in cepstral]
    names += pairs("mfcc.correlation")
    names += [f"mfcc.lag{lag}.{k}" for lag in _FRAME_LAGS for k in cepstral]
    names += moments("shape.shape", list(_SHAPE))
    names += moments("dense.mfcc", cepstral)[1:]
    for what in ("step_std", "step_mean", "bend_std"):
        names += [f"dense.{what}.{k}" for k in cepstral]
    names += pairs("dense.correlation")
    names += [f"dense.lag{lag}.{k}" for lag in _DENSE_LAGS for k in cepstral]
    names += moments("dense.novelty", ["onset", "movement"])
    names += [f"dense.beat{lag}.{k}" for lag in _BEAT_LAGS for k in ("onset", "movement")]
    return names
