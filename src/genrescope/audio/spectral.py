"""Shape of a magnitude spectrum: where its middle is, how wide, how peaky, and where it ends.

Frames are rows here. What librosa computes with whole spectrograms, one array after another, is
done block by block.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["centroid_and_bandwidth", "contrast", "peaks_and_valleys", "rolloff", "zero_crossings"]

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

_CONTRAST_BANDS = 6  # octaves above the lowest band
_CONTRAST_HZ = 200.0  # top of the lowest band
_QUANTILE = 0.02  # of a band's bins: its peaks and valleys
_ROLL = 0.85
_STRIDE = 32  # bins
_RANGE_DB = 80.0
_FLOOR = 1e-10
_ZERO = 1e-10  # samples below this are zero


@lru_cache(maxsize=16)
def _moments(sr: float, n_fft: int) -> DoubleArray:
    hz = np.fft.rfftfreq(n_fft, 1.0 / sr)
    return np.stack([np.ones_like(hz), hz, hz**2], axis=1)


def centroid_and_bandwidth(
    magnitudes: FloatArray, *, sr: float, n_fft: int
) -> tuple[DoubleArray, DoubleArray]:
    """Mean frequency of a spectrum, and the deviation from it.

    Parameters
    ----------
    magnitudes : np.ndarray [shape=(t, 1 + n_fft // 2), float32]
        Frames are rows.
    sr : float > 0
        Sampling rate in Hz.
    n_fft : int > 0
        Length of the transform.

    Returns
    -------
    centroid, bandwidth : np.ndarray [shape=(t,), float64]
        Hz; both 0 where there is no sound. As ``librosa.feature.spectral_centroid`` and
        ``spectral_bandwidth``.
    """
    # In float64: the difference of the moments is small where a tone stands alone.
    total, first, second = (magnitudes.astype(np.float64) @ _moments(sr, n_fft)).T
    total = np.where(total < np.finfo(np.float32).tiny, 1.0, total)
    centroid = first / total
    return centroid, np.sqrt(np.maximum(second / total - centroid**2, 0.0))


def rolloff(magnitudes: FloatArray, *, sr: float, n_fft: int) -> DoubleArray:
    """Frequency below which 85 % of the magnitude lies.

    Parameters
    ----------
    magnitudes, sr, n_fft
        See :func:`centroid_and_bandwidth`.

    Returns
    -------
    np.ndarray [shape=(t,), float64]
        Hz, always that of a bin; ``librosa.feature.spectral_rolloff``.
    """
    # Bins are added one after the other, as librosa does: rounding decides between neighbours.
    # Whole frames at a time, first up to every 32nd bin, then bin by bin where 85 % is reached.
    if len(magnitudes) == 1:  # NumPy adds a lone column in pairs, in another order
        return rolloff(np.repeat(magnitudes, 2, axis=0), sr=sr, n_fft=n_fft)[:1]
    count, bins = magnitudes.shape
    by_bin = magnitudes.T.copy()
    stops = [*range(_STRIDE, bins, _STRIDE), bins]
    sums = np.zeros((len(stops) + 1, count), np.float32)
    start = 0
    for k, stop in enumerate(stops):
        if k:
            start -= 1
            by_bin[start] = sums[k]
        np.add.reduce(by_bin[start:stop], axis=0, out=sums[k + 1])
        start = stop
    limit = np.float32(_ROLL) * sums[-1]
    stride = np.count_nonzero(sums[1:] < limit, axis=0)
    frame = np.arange(count)
    near = np.empty((count, 1 + _STRIDE), np.float32)
    near[:, 0] = sums[stride, frame]
    at = np.minimum(stride[:, None] * _STRIDE + np.arange(_STRIDE), bins - 1)
    near[:, 1:] = magnitudes[frame[:, None], at]
    reached = np.cumsum(near, axis=1)[:, 1:] >= limit[:, None]
    last = stride * _STRIDE + reached.argmax(axis=1)
    hz: DoubleArray = np.fft.rfftfreq(n_fft, 1.0 / sr)[last]
    return hz


@lru_cache(maxsize=16)
def _bands(sr: float, n_fft: int) -> tuple[tuple[int, int, int], ...]:
    """First bin, last bin + 1, and number of bins in a quantile, a band each."""
    hz = np.fft.rfftfreq(n_fft, 1.0 / sr)
    edges = [0.0, *(_CONTRAST_HZ * 2.0**k for k in range(_CONTRAST_BANDS + 1))]
    bands = []
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = np.flatnonzero((hz >= low) & (hz <= high))
        first = int(inside[0]) - (k > 0)
        stop = len(hz) if k == _CONTRAST_BANDS else int(inside[-1]) + 1
        quantile = max(1, round(_QUANTILE * (stop - first)))
        bands.append((first, stop if k == _CONTRAST_BANDS else stop - 1, quantile))
    return tuple(bands)


def peaks_and_valleys(magnitudes: FloatArray, *, sr: float, n_fft: int) -> FloatArray:
    """Loudest and quietest bins of seven bands, about an octave each.

    Parameters
    ----------
    magnitudes, sr, n_fft
        See :func:`centroid_and_bandwidth`.

    Returns
    -------
    np.ndarray [shape=(2, 7, t), float32]
        Mean of the loudest fiftieth of the bins, then of the quietest.
    """
    out = np.empty((2, _CONTRAST_BANDS + 1, len(magnitudes)), np.float32)
    for k, (first, stop, n) in enumerate(_bands(sr, n_fft)):
        ordered = np.sort(magnitudes[:, first:stop], axis=1)
        share = np.full(n, 1 / n, np.float32)
        out[0, k] = ordered[:, -n:] @ share
        out[1, k] = ordered[:, :n] @ share
    return out


def contrast(extremes: FloatArray) -> DoubleArray:
    """Spectral contrast (Jiang et al. 2002).

    Parameters
    ----------
    extremes : np.ndarray [shape=(2, 7, t), float32]
        Of all frames, see :func:`peaks_and_valleys`; the loudest of each half sets its range of
        80 dB.

    Returns
    -------
    np.ndarray [shape=(7, t), float64]
        Peaks over valleys in dB of magnitude; ``librosa.feature.spectral_contrast``.
    """
    db = 10.0 * np.log10(np.maximum(extremes.astype(np.float64), _FLOOR))
    db = np.maximum(db, db.max(axis=(1, 2), keepdims=True) - _RANGE_DB)
    ratio: DoubleArray = db[0] - db[1]
    return ratio


def zero_crossings(
    y: FloatArray, *, frame_length: int = 2048, hop_length: int = 512
) -> DoubleArray:
    """Share of the samples of a frame at which the sign changes.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples.
    frame_length, hop_length : int > 0
        In samples; frames are centred, and the first and last sample go on outside `y`.

    Returns
    -------
    np.ndarray [shape=(1 + n // hop_length,), float64]
        ``librosa.feature.zero_crossing_rate``.
    """
    negative = y < np.float32(-_ZERO)
    changes = np.zeros(len(y) + 1, np.int32)  # changes[i]: how many there are up to sample i - 1
    np.cumsum(negative[1:] != negative[:-1], dtype=np.int32, out=changes[2:])
    start = np.arange(1 + len(y) // hop_length) * hop_length - frame_length // 2
    last = np.minimum(start + frame_length, len(y))
    # The change from the sample before a frame to its first one does not count.
    counts: DoubleArray = (changes[last] - changes[np.maximum(start + 1, 0)]) / frame_length
    return counts
