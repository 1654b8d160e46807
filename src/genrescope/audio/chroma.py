"""Twelve pitch classes: from notes, from a power spectrum, smoothed, and as a map of tonality."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["chroma_cens", "chroma_filters", "chroma_of_notes", "normalise", "tonnetz"]

FloatArray = npt.NDArray[np.float32]

_SMOOTHED = 41  # frames, of energy-normalised chroma
_STEPS = (0.4, 0.2, 0.1, 0.05)  # shares at which its quantisation rises by a quarter
_CENTRE_OCTAVE, _OCTAVES_WIDE = 5.0, 2.0  # of the weight that spectral chroma gives to pitch
_TINY = np.finfo(np.float32).tiny


def normalise(x: FloatArray, *, order: float) -> FloatArray:
    """Divide every frame by its norm.

    Parameters
    ----------
    x : np.ndarray [shape=(rows, t), float32]
        Frames are columns.
    order : float > 0
        Of the norm; ``numpy.inf`` is the largest value.

    Returns
    -------
    np.ndarray [shape=(rows, t), float32]
        Frames of zeros stay as they are.
    """
    size = np.abs(x).astype(np.float64)
    if order == np.inf:
        norm = size.max(axis=0)
    elif order == 1:
        norm = size.sum(axis=0)
    else:
        norm = (size**order).sum(axis=0) ** (1.0 / order)
    norm[norm < _TINY] = 1.0
    scaled: FloatArray = (x / norm).astype(np.float32)
    return scaled


def chroma_of_notes(notes: FloatArray, *, bins_per_octave: int = 12) -> FloatArray:
    """Sum a constant-Q spectrum over its octaves.

    Parameters
    ----------
    notes : np.ndarray [shape=(n, t), float32]
        Magnitudes, row 0 at C.
    bins_per_octave : int
        A multiple of 12. What does not match how `notes` was made gives pitch classes that are
        none: see :func:`genrescope.audio.descriptors.fma_descriptors`.

    Returns
    -------
    np.ndarray [shape=(12, t), float32]
        Pitch classes from C, not normalised:
        ``librosa.feature.chroma_cqt(C=notes, bins_per_octave=..., norm=None)``.
    """
    if bins_per_octave < 12 or bins_per_octave % 12:
        raise ValueError(f"bins_per_octave is {bins_per_octave}; give a multiple of 12")
    merged = bins_per_octave // 12
    octave = np.roll(np.repeat(np.eye(12, dtype=np.float32), merged, axis=1), -(merged // 2), 1)
    octaves = -(-len(notes) // bins_per_octave)
    chroma: FloatArray = np.tile(octave, octaves)[:, : len(notes)] @ notes
    return chroma


def chroma_cens(chroma: FloatArray) -> FloatArray:
    """Energy-normalised chroma statistics (Müller and Ewert 2011).

    Parameters
    ----------
    chroma : np.ndarray [shape=(12, t), float32]
        Pitch classes, not normalised.

    Returns
    -------
    np.ndarray [shape=(12, t), float32]
        Shares of the frame, quantised, smoothed over 41 frames, and of unit length:
        ``librosa.feature.chroma_cens``.
    """
    shares = normalise(chroma, order=1)
    quantised = np.zeros(shares.shape)
    for step in _STEPS:
        quantised += shares > np.float32(step)
    quantised *= 0.25
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_SMOOTHED + 2) / (_SMOOTHED + 1))
    window = window[1:-1] / window.sum()  # the ends are zero
    half, count = _SMOOTHED // 2, chroma.shape[1]
    smooth = [np.convolve(row, window)[half : half + count] for row in quantised]
    return normalise(np.array(smooth, np.float32), order=2)


@lru_cache(maxsize=256)
def chroma_filters(sr: float, *, n_fft: int, tuning: float = 0.0) -> FloatArray:
    """Weights that gather a power spectrum into pitch classes (Ellis 2007).

    Parameters
    ----------
    sr : float > 0
        Sampling rate in Hz.
    n_fft : int > 0
        Length of the transform in samples.
    tuning : float
        Deviation from A = 440 Hz in semitones.

    Returns
    -------
    np.ndarray [shape=(12, 1 + n_fft // 2), float32]
        Read-only (it is cached); row 0 is C. ``librosa.filters.chroma``.
    """
    hz = np.linspace(0, sr, n_fft, endpoint=False)[1:]
    semitones = 12 * np.log2(hz / (440.0 * 2.0 ** (tuning / 12) / 16))
    semitones = np.concatenate([[semitones[0] - 18.0], semitones])
    widths = np.concatenate([np.maximum(np.diff(semitones), 1.0), [1.0]])
    away = np.remainder(semitones - np.arange(12.0)[:, None] + 6.0 + 120.0, 12) - 6.0
    weights = np.exp(-0.5 * (2 * away / widths) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=0))
    weights *= np.exp(-0.5 * ((semitones / 12 - _CENTRE_OCTAVE) / _OCTAVES_WIDE) ** 2)
    from_c: FloatArray = np.roll(weights, -3, axis=0)[:, : 1 + n_fft // 2].astype(np.float32)
    from_c.flags.writeable = False
    return from_c


def tonnetz(chroma: FloatArray) -> npt.NDArray[np.float64]:
    """Tonal centroids (Harte, Sandler and Gasser 2006).

    Parameters
    ----------
    chroma : np.ndarray [shape=(12, t), float32]
        Pitch classes from C.

    Returns
    -------
    np.ndarray [shape=(6, t), float64]
        Two coordinates each on the circles of fifths, minor thirds and major thirds:
        ``librosa.feature.tonnetz(chroma=chroma)``.
    """
    angles = np.multiply.outer([7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3], np.arange(12.0))
    angles[::2] -= 0.5
    radii = np.array([1, 1, 1, 1, 0.5, 0.5])
    place: npt.NDArray[np.float64] = (radii[:, None] * np.cos(np.pi * angles)) @ normalise(
        chroma, order=1
    )
    return place
