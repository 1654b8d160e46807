"""Short-time Fourier transform, mel bands and decibels, in float32 and for chosen frames only.

The numbers are librosa's: a centred, zero-padded short-time Fourier transform with a periodic Hann
window, Slaney's mel scale with area-normalised triangles, power spectra. What differs is the cost:
a caller that needs 128 of 2,584 frames pays for 128, and one that needs all of them less than half.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from genrescope.errors import AudioTooShortError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "hz_to_mel",
    "mel_bands",
    "mel_filterbank",
    "mel_spectrogram",
    "mel_to_hz",
    "mfcc_matrix",
    "power_frames",
    "power_to_db",
]

FloatArray = npt.NDArray[np.float32]

# Slaney's Auditory Toolbox (1998): linear below 1 kHz, logarithmic above.
_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0

_BLOCK = 256  # frames transformed at once: bounds memory, stays in cache
_CACHED = 64  # the same, for whole signals
_GROUP = 16  # mel bands multiplied at once


def hz_to_mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Frequency in Hz on Slaney's mel scale.

    Parameters
    ----------
    hz : array_like
        Frequencies in Hz, 0 or more.

    Returns
    -------
    np.ndarray [same shape, float64]
        Mels (Slaney 1998; not the HTK formula).
    """
    f = np.asarray(hz, dtype=np.float64)
    log_part = _LOG_START_MEL + np.log(np.maximum(f, _LOG_START_HZ) / _LOG_START_HZ) / _LOG_STEP
    return np.where(f < _LOG_START_HZ, f / _HZ_PER_MEL, log_part)


def mel_to_hz(mel: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Inverse of :func:`hz_to_mel`.

    Parameters
    ----------
    mel : array_like
        Mels on Slaney's scale.

    Returns
    -------
    np.ndarray [same shape, float64]
        Frequencies in Hz.
    """
    m = np.asarray(mel, dtype=np.float64)
    log_part = _LOG_START_HZ * np.exp(_LOG_STEP * (np.maximum(m, _LOG_START_MEL) - _LOG_START_MEL))
    return np.where(m < _LOG_START_MEL, m * _HZ_PER_MEL, log_part)


@lru_cache(maxsize=32)
def mel_filterbank(
    sr: float, *, n_fft: int, n_mels: int = 128, fmin: float = 0.0, fmax: float | None = None
) -> FloatArray:
    """Triangular mel filters, each of unit area (Slaney 1998).

    Parameters
    ----------
    sr : float > 0
        Sampling rate in Hz.
    n_fft : int > 0
        Length of the transform in samples.
    n_mels : int > 0
        Number of bands.
    fmin, fmax : float
        Lowest and highest frequency in Hz; ``fmax`` may lie above ``sr / 2``, the bands up there
        are then empty. None means ``sr / 2``.

    Returns
    -------
    np.ndarray [shape=(n_mels, 1 + n_fft // 2), float32]
        Read-only (it is cached); row 0 is the lowest band.
    """
    top = sr / 2 if fmax is None else fmax
    edges = mel_to_hz(np.linspace(hz_to_mel(fmin), hz_to_mel(top), n_mels + 2))
    bins = np.arange(1 + n_fft // 2) * (sr / n_fft)
    widths = np.diff(edges)
    ramps = edges[:, None] - bins[None, :]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    bank = weights.astype(np.float32)
    bank.flags.writeable = False
    return bank


@lru_cache(maxsize=32)
def _mel_groups(sr: float, n_fft: int, n_mels: int) -> tuple[tuple[slice, slice, FloatArray], ...]:
    """Neighbouring bands, the bins that they read, and their weights [bins, bands]."""
    bank = mel_filterbank(sr, n_fft=n_fft, n_mels=n_mels)
    groups = []
    for first in range(0, n_mels, _GROUP):
        bands = slice(first, min(first + _GROUP, n_mels))
        used = np.flatnonzero(bank[bands].any(axis=0))
        bins = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        groups.append((bands, bins, np.ascontiguousarray(bank[bands, bins].T)))
    return tuple(groups)


def mel_bands(power: FloatArray, *, sr: float, n_fft: int, n_mels: int = 128) -> FloatArray:
    """Sum power spectra into mel bands.

    A band reads few bins, and its neighbours nearly the same ones. So the product with the filter
    bank, nearly all zeros, is made of small dense ones.

    Parameters
    ----------
    power : np.ndarray [shape=(t, 1 + n_fft // 2), float32]
        A row each frame.
    sr, n_fft, n_mels
        See :func:`mel_filterbank`.

    Returns
    -------
    np.ndarray [shape=(t, n_mels), float32]
        ``power @ mel_filterbank(sr, n_fft=n_fft, n_mels=n_mels).T``, up to rounding.
    """
    out = np.empty((len(power), n_mels), dtype=np.float32)
    for bands, bins, weights in _mel_groups(sr, n_fft, n_mels):
        np.matmul(power[:, bins], weights, out=out[:, bands])
    return out


@lru_cache(maxsize=32)
def _hann(n: int) -> FloatArray:
    # Periodic, as scipy.signal.get_window("hann", n) and librosa use it.
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)).astype(np.float32)


@lru_cache(maxsize=8)
def mfcc_matrix(n_mfcc: int, n_mels: int) -> FloatArray:
    """Orthonormal DCT-II that turns mel decibels into cepstral coefficients.

    Parameters
    ----------
    n_mfcc : int > 0
        Number of coefficients.
    n_mels : int >= n_mfcc
        Number of mel bands.

    Returns
    -------
    np.ndarray [shape=(n_mfcc, n_mels), float32]
        ``mfcc = matrix @ decibels``, as ``librosa.feature.mfcc`` (dct_type 2, ortho).
    """
    k = np.arange(n_mfcc)[:, None]
    m = np.arange(n_mels)[None, :]
    basis = np.sqrt(2.0 / n_mels) * np.cos(np.pi * k * (2 * m + 1) / (2 * n_mels))
    basis[0] /= np.sqrt(2.0)
    matrix: FloatArray = basis.astype(np.float32)
    return matrix


def power_frames(y: FloatArray, centres: npt.NDArray[np.int64], *, n_fft: int) -> FloatArray:
    """Power spectra of windows centred at given samples.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples.
    centres : np.ndarray [shape=(t,), int64]
        Sample at the middle of each window; what reaches outside ``y`` counts as zero.
    n_fft : int > 0
        Length of the Hann window and of the transform, in samples.

    Returns
    -------
    np.ndarray [shape=(t, 1 + n_fft // 2), float32]
        Squared magnitudes.
    """
    window = _hann(n_fft)
    out = np.empty((len(centres), 1 + n_fft // 2), dtype=np.float32)
    starts = np.asarray(centres, dtype=np.int64) - n_fft // 2
    for first in range(0, len(starts), _BLOCK):
        block = starts[first : first + _BLOCK]
        frames = np.zeros((len(block), n_fft), dtype=np.float32)
        for row, start in zip(frames, block.tolist(), strict=True):
            lo, hi = max(start, 0), min(start + n_fft, len(y))
            if hi > lo:
                row[lo - start : hi - start] = y[lo:hi]
        frames *= window
        spectrum = np.fft.rfft(frames, axis=1)
        np.square(spectrum.real, out=out[first : first + len(block)])
        out[first : first + len(block)] += np.square(spectrum.imag)
    return out


def power_to_db(power: FloatArray, *, floor: float = 1e-10) -> FloatArray:
    """Decibels re 1 of a power spectrogram.

    Parameters
    ----------
    power : np.ndarray [float32]
        Power, 0 or more.
    floor : float > 0
        Powers below this count as this (librosa's ``amin``).

    Returns
    -------
    np.ndarray [same shape, float32]
        ``10 log10(max(power, floor))``; no maximum is subtracted and no range cut.
    """
    db = np.log10(np.maximum(power, np.float32(floor)))
    db *= np.float32(10.0)
    return db


@lru_cache(maxsize=1)
def _real_transform() -> Callable[..., npt.NDArray[np.complex64]]:
    """SciPy's if it is there: in float32 it is a third faster than NumPy's."""
    try:
        from scipy.fft import rfft
    except ImportError:
        rfft = np.fft.rfft
    transform: Callable[..., npt.NDArray[np.complex64]] = rfft
    return transform


def mel_spectrogram(
    y: FloatArray, *, sr: int, n_fft: int = 2048, hop_length: int = 512, n_mels: int = 128
) -> FloatArray:
    """Power mel spectrogram of a whole signal.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples in [-1, 1].
    sr : int > 0
        Sampling rate of ``y`` in Hz.
    n_fft, hop_length : int > 0
        Window and step in samples.
    n_mels : int > 0
        Number of mel bands between 0 Hz and ``sr / 2``.

    Returns
    -------
    np.ndarray [shape=(n_mels, 1 + n // hop_length), float32]
        Slaney-style mel bands (Slaney 1998), row 0 the lowest; the numbers of
        ``librosa.feature.melspectrogram`` with the same parameters, to a thousandth of a decibel
        in what lies less than 80 dB below the loudest.

    Raises
    ------
    AudioTooShortError
        If ``y`` is empty.
    """
    if len(y) == 0:
        raise AudioTooShortError("0 samples, at least 1 is needed for a spectrum")
    half, count = n_fft // 2, 1 + len(y) // hop_length
    padded = np.zeros(len(y) + n_fft, dtype=np.float32)
    padded[half : half + len(y)] = y
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    window, rfft = _hann(n_fft), _real_transform()
    windowed = np.empty((_CACHED, n_fft), dtype=np.float32)
    power = np.empty((_CACHED, 1 + half), dtype=np.float32)
    out = np.empty((n_mels, count), dtype=np.float32)
    for first in range(0, count, _CACHED):
        n = min(_CACHED, count - first)
        np.multiply(frames[first : first + n], window, out=windowed[:n])
        np.abs(rfft(windowed[:n], axis=1), out=power[:n])
        np.square(power[:n], out=power[:n])
        out[:, first : first + n] = mel_bands(power[:n], sr=sr, n_fft=n_fft, n_mels=n_mels).T
    return out
