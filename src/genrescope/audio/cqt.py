"""Constant-Q transform: magnitudes at the notes of the scale, seven octaves up from C1.

The way is librosa's (after Schörkhuber et al. 2014): the same twelve filters answer for every
octave, the sound being halved in rate from one octave to the next below. A filter is given by the
few coefficients of its spectrum that matter; they are turned back here to one filter in time, so
that an octave is a single matrix product and needs no transform. Filters are made once for a
sampling rate and a tuning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from genrescope.audio.stft import checked_samples, frame_count, magnitude_spectrogram, periodic_hann
from genrescope.audio.tuning import estimate_tuning
from genrescope.errors import AudioTooShortError, AudioUnsupportedError

__all__ = ["C1_HZ", "constant_q"]

FloatArray = npt.NDArray[np.float32]

C1_HZ = 440.0 * 2.0 ** ((24 - 69) / 12)
_HANN_BANDWIDTH = 1.50018310546875  # of the window's main lobe, in bins
_SPARSITY = 0.01  # share of a filter's spectrum that is left out, the smallest coefficients first
_BLOCK = 1024  # frames multiplied at once


@dataclass(frozen=True, eq=False)
class _Plan:
    """What to do with a sound of a certain rate and tuning."""

    early: int  # the rate is divided by this before the highest octave
    filters: tuple[FloatArray, ...]  # an octave each, from the highest: [taps, 2 * notes]


def constant_q(
    y: npt.ArrayLike,
    *,
    sr: float,
    tuning: float | None = None,
    hop_length: int = 512,
    n_octaves: int = 7,
) -> FloatArray:
    """Magnitudes of the constant-Q transform.

    Parameters
    ----------
    y : array_like [shape=(n,), float]
        Mono samples in [-1, 1].
    sr : float > 0
        Sampling rate of `y` in Hz.
    tuning : float, optional
        Deviation from A = 440 Hz in semitones; by default it is estimated from `y`.
    hop_length : int > 0
        Step in samples, divisible by ``2 ** (n_octaves - 1)``.
    n_octaves : int > 0
        Octaves of twelve notes from C1 (32.7 Hz) upwards.

    Returns
    -------
    np.ndarray [shape=(12 * n_octaves, about 1 + n / hop_length), float32]
        ``numpy.abs(librosa.cqt(y, ...))``; row 0 is the lowest note.

    Raises
    ------
    AudioTooShortError
        If `y` is too short to be halved in rate for the lowest octave.
    AudioNotFiniteError
        If a sample is NaN or infinite.
    AudioUnsupportedError
        If the highest note lies above ``sr / 2``.

    Examples
    --------
    >>> import numpy as np
    >>> a4 = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    >>> notes = constant_q(a4, sr=22050, tuning=0.0)
    >>> notes.shape, int(notes[:, 20].argmax())  # three octaves and nine semitones above C1
    ((84, 44), 45)
    """
    if hop_length < 1 or hop_length % 2 ** (n_octaves - 1):
        raise ValueError(
            f"hop_length is {hop_length}; {n_octaves} octaves need a multiple of "
            f"{2 ** (n_octaves - 1)}"
        )
    samples = checked_samples(y)
    if tuning is None:
        tuning = estimate_tuning(magnitude_spectrogram(samples), sr=sr)
    return constant_q_of(samples, _plan(float(sr), tuning, hop_length, n_octaves), hop_length)


def constant_q_of(samples: FloatArray, plan: _Plan, hop_length: int) -> FloatArray:
    """:func:`constant_q` of checked samples."""
    import soxr

    shortest = plan.early * 2 ** len(plan.filters)
    if len(samples) < shortest:
        raise AudioTooShortError(
            f"{len(samples)} samples, at least {shortest} are needed for the lowest octave; "
            "take a longer piece"
        )
    octaves = []
    rate = plan.early
    hop = hop_length
    for filters in plan.filters:
        if rate > 1:
            n = math.ceil(len(samples) / rate)
            samples = _of_length(soxr.resample(samples, rate, 1, quality="HQ"), n)
            # Scaled here, and rounded, as librosa does it: the resampler's rounding noise is all
            # that is left in silence next to sound, and it depends on the last bit.
            samples /= np.sqrt(1.0 / rate)
            hop //= rate
        octaves.append(_magnitudes(samples, filters, hop))
        rate = 2
    count = min(octave.shape[1] for octave in octaves)
    return np.concatenate([octave[:, :count] for octave in reversed(octaves)])


def _of_length(y: FloatArray, n: int) -> FloatArray:
    return y[:n] if len(y) >= n else np.concatenate([y, np.zeros(n - len(y), y.dtype)])


def _magnitudes(y: FloatArray, filters: FloatArray, hop: int) -> FloatArray:
    taps, notes = filters.shape[0], filters.shape[1] // 2
    count = frame_count(len(y), hop)
    padded = np.zeros(len(y) + taps, np.float32)
    padded[taps // 2 : taps // 2 + len(y)] = y
    frames = np.lib.stride_tricks.sliding_window_view(padded, taps)[::hop]
    out = np.empty((notes, count), np.float32)
    for first in range(0, count, _BLOCK):
        # Rows that overlap in memory are no matrix for BLAS.
        both = np.ascontiguousarray(frames[first : min(first + _BLOCK, count)]) @ filters
        np.square(both, out=both)
        np.sqrt((both[:, :notes] + both[:, notes:]).T, out=out[:, first : first + _BLOCK])
    return out


@lru_cache(maxsize=128)
def _plan(sr: float, tuning: float, hop_length: int, n_octaves: int) -> _Plan:
    scale = np.multiply.outer(2.0 ** np.arange(n_octaves), 2.0 ** (np.arange(12.0) / 12)).ravel()
    hz = scale * (C1_HZ * 2.0 ** (tuning / 12))
    quality = 1.0 / _relative_bandwidths(hz)
    reach = float(np.max(hz * (1 + 0.5 * _HANN_BANDWIDTH / quality)))
    if reach > sr / 2:
        raise AudioUnsupportedError(
            f"its sampling rate is {sr:g} Hz, and the highest of {n_octaves} octaves of notes "
            f"needs at least {math.ceil(2 * reach)} Hz; use a recording at 11025 Hz or more"
        )
    early = max(0, math.ceil(math.log2(sr / 2 / reach)) - 2)
    twos = (hop_length & -hop_length).bit_length() - 1
    factor = 2 ** min(early, max(0, twos - n_octaves + 1))
    base = sr / factor
    filters = []
    for octave in range(n_octaves):
        notes = slice(12 * (n_octaves - 1 - octave), 12 * (n_octaves - octave))
        gain = np.sqrt(2.0**octave) / np.sqrt(quality[notes] * base / hz[notes])
        filters.append(_filters(hz[notes], quality[notes], base / 2**octave, gain))
    return _Plan(factor, tuple(filters))


def _relative_bandwidths(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    log = np.log2(hz)
    steps = np.concatenate([[log[1] - log[0]], (log[2:] - log[:-2]) / 2, [log[-1] - log[-2]]])
    ratio = 2.0 ** (2 * steps)
    wide: npt.NDArray[np.float64] = (ratio - 1) / (ratio + 1)
    return wide


def _filters(
    hz: npt.NDArray[np.float64],
    quality: npt.NDArray[np.float64],
    sr: float,
    gain: npt.NDArray[np.float64],
) -> FloatArray:
    """Twelve complex filters in time, real parts first: [taps, 24]."""
    lengths = quality * sr / hz
    taps = int(2.0 ** np.ceil(np.log2(lengths.max())))
    atoms = np.zeros((len(hz), taps), np.complex64)
    for atom, length, frequency in zip(atoms, lengths, hz, strict=True):
        time = np.arange(-length // 2, length // 2, dtype=float)
        wave = np.exp(1j * (time * 2 * np.pi * frequency / sr)) * periodic_hann(len(time))
        start = (taps - len(wave)) // 2
        atom[start : start + len(wave)] = wave / np.abs(wave).sum()
    atoms *= (lengths / taps)[:, None]
    spectra = np.fft.fft(atoms, axis=1)[:, : taps // 2 + 1]
    spectra = np.where(_negligible(np.abs(spectra)), 0, spectra * gain[:, None])
    # sum_k spectrum[k] sum_n y[n] exp(-2 pi i k n / taps), with the sums exchanged.
    in_time = np.fft.fft(spectra, n=taps, axis=1).T
    both = np.concatenate([in_time.real, in_time.imag], axis=1).astype(np.float32)
    both.flags.writeable = False
    return both


def _negligible(sizes: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    ordered = np.sort(sizes, axis=1)
    share = np.cumsum(ordered / sizes.sum(axis=1, keepdims=True), axis=1)
    kept_from = np.argmin(share < _SPARSITY, axis=1)
    small: npt.NDArray[np.bool_] = sizes < np.take_along_axis(ordered, kept_from[:, None], axis=1)
    return small
