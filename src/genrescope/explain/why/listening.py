"""To hear what spoke for a genre: a sound of which only some cells are left."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.mel import hz_to_mel
from genrescope.audio.stft import periodic_hann
from genrescope.errors import DataError
from genrescope.explain.why.saliency import Floats

__all__ = ["best_cells", "masked"]

_N_FFT = 2048
_HOP = _N_FFT // 4
_BLOCK = 512  # frames at once
_LEFT_OVER = 0.01  # of the amplitude: -40 dB of what is hidden, so that gaps are no holes
_ENOUGH = 0.8


def best_cells(cells: Floats, *, share: float = _ENOUGH) -> npt.NDArray[np.bool_]:
    """The fewest cells that hold a share of all that speaks for the genre.

    Parameters
    ----------
    cells : np.ndarray [shape=(bands, times)]
        What each is worth.
    share : float
        Above 0, at most 1.

    Returns
    -------
    np.ndarray [shape=(bands, times), bool]

    Examples
    --------
    >>> best_cells(np.array([[5.0, 3.0], [2.0, -9.0]])).tolist()
    [[True, True], [False, False]]
    """
    if not 0 < share <= 1:
        raise DataError(f"share is {share:g}; give a number above 0 and at most 1")
    worth = np.clip(cells, 0.0, None).ravel()
    order = np.argsort(-worth, kind="stable")
    before = np.cumsum(worth[order]) - worth[order]
    best = np.zeros(worth.size, bool)
    best[order] = (before < share * worth.sum() * (1 - 1e-9)) & (worth[order] > 0)
    return best.reshape(cells.shape)


def masked(
    y: npt.NDArray[np.float32],
    kept: npt.NDArray[np.bool_],
    *,
    sr: int,
    band_edges: Floats,
    time_edges: Floats,
) -> npt.NDArray[np.float32]:
    """A sound of which only some cells are left.

    The short-time Fourier transform is weighted and added up again. Between cells the weight goes
    over smoothly, a quarter of a cell to either side, because sharp edges would be heard.

    Parameters
    ----------
    y : np.ndarray [shape=(n, channels), float32]
        Samples.
    kept : np.ndarray [shape=(bands, times), bool]
        Which cells stay. What is above the last band goes with it.
    sr : int
        Sampling rate in Hz.
    band_edges, time_edges : np.ndarray [shape=(bands + 1,) and (times + 1,)]
        Of the cells, in Hz and seconds.

    Returns
    -------
    np.ndarray [shape=(n, channels), float32]
        The same samples where all cells are kept.
    """
    gain = np.where(kept, 1.0, _LEFT_OVER)
    mels, hz = hz_to_mel(band_edges), np.arange(1 + _N_FFT // 2) * sr / _N_FFT
    across = _weights(hz_to_mel(hz), np.asarray(mels, np.float64))
    count = 1 + len(y) // _HOP
    along = _weights(np.arange(count) * _HOP / sr, time_edges)
    window = periodic_hann(_N_FFT)
    out = np.zeros((len(y) + 2 * _N_FFT, y.shape[1]))
    total = np.zeros(len(out))
    padded = np.zeros_like(out)
    padded[_N_FFT // 2 : _N_FFT // 2 + len(y)] = y
    for first in range(0, count, _BLOCK):
        at = np.arange(first, min(first + _BLOCK, count))
        weight = along[at] @ gain.T @ across.T  # [frames, bins]
        places = at[:, None] * _HOP + np.arange(_N_FFT)
        for channel in range(y.shape[1]):
            spectrum = np.fft.rfft(padded[places, channel] * window, axis=1) * weight
            back = np.fft.irfft(spectrum, n=_N_FFT, axis=1) * window
            for place, frame in zip(at.tolist(), back, strict=True):
                out[place * _HOP : place * _HOP + _N_FFT, channel] += frame
        for place in at.tolist():
            total[place * _HOP : place * _HOP + _N_FFT] += window**2
    part = slice(_N_FFT // 2, _N_FFT // 2 + len(y))
    sound = out[part] / np.maximum(total[part], 1e-3)[:, None]
    return sound.astype(np.float32)


def _weights(values: npt.NDArray[Any], edges: Floats) -> Floats:
    """How much of each cell is in each value [values, cells]; rows sum to 1."""
    width = float(np.diff(edges).min()) / 2
    # The share of a cell that lies to the right of each inner edge, a ramp from 0 to 1.
    right = np.clip((values[:, None] - edges[1:-1]) / width + 0.5, 0.0, 1.0)
    ones, zeros = np.ones((len(values), 1)), np.zeros((len(values), 1))
    steps = np.concatenate([ones, right, zeros], axis=1)
    weights: Floats = steps[:, :-1] - steps[:, 1:]
    return weights
