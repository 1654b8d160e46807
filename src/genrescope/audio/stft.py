"""Magnitudes of the short-time Fourier transform, in blocks that fit the processor's cache.

They are librosa's to the last bit: the transform is done in float64 and its result rounded to
float32. A float32 transform would be a third faster, but its rounding noise lies above what an mp3
encoder leaves in the bands that it emptied, and the spectral contrast reads exactly those.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from genrescope.errors import AudioNotFiniteError, AudioTooShortError

__all__ = ["frame_count", "magnitude_blocks", "magnitude_spectrogram", "periodic_hann"]

FloatArray = npt.NDArray[np.float32]

BLOCK = 256  # frames; their magnitudes take 1 MB
_TRANSFORMED = 32  # frames transformed at once


@lru_cache(maxsize=16)
def periodic_hann(n: int) -> npt.NDArray[np.float64]:
    """Hann window of one period, as ``scipy.signal.get_window("hann", n)``.

    Parameters
    ----------
    n : int > 0
        Length in samples.

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        Read-only (it is cached).
    """
    # Written as SciPy computes it, so that not even the last bit differs.
    angle = np.linspace(-np.pi, np.pi, n + 1)
    window = (0.5 + 0.5 * np.cos(angle))[:-1] if n > 1 else np.ones(n)
    window.flags.writeable = False
    return window


def frame_count(n_samples: int, hop_length: int) -> int:
    """How many centred frames a signal has.

    Parameters
    ----------
    n_samples : int >= 0
        Length of the signal.
    hop_length : int > 0
        Step in samples.

    Examples
    --------
    >>> frame_count(44_100 * 30, 512)
    2584
    """
    return 1 + n_samples // hop_length


def checked_samples(y: npt.ArrayLike, *, at_least: int = 1) -> FloatArray:
    """Samples as one float32 row.

    Raises
    ------
    ValueError
        If `y` has more than one dimension or is not of floats.
    AudioTooShortError
        If there are fewer than `at_least` samples.
    AudioNotFiniteError
        If a sample is NaN or infinite.
    """
    samples = np.asarray(y)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise ValueError(
            f"y is {samples.dtype} of shape {samples.shape}; it must be one row of floats, "
            "full scale 1.0: average the channels, divide integers by their largest value"
        )
    if len(samples) < at_least:
        raise AudioTooShortError(
            f"{len(samples)} samples, at least {at_least} are needed; take a longer piece"
        )
    with np.errstate(over="ignore"):
        samples = samples.astype(np.float32, copy=False)
    if not (np.isfinite(samples.max(initial=0)) and np.isfinite(samples.min(initial=0))):
        raise AudioNotFiniteError(
            "NaN or infinite samples; only finite ones mean sound. Export the sound again from "
            "where it was made."
        )
    return samples


def magnitude_blocks(
    y: FloatArray, *, n_fft: int = 2048, hop_length: int = 512, block: int = BLOCK
) -> Iterator[tuple[int, FloatArray]]:
    """Magnitude spectra, some frames at a time.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples, finite.
    n_fft, hop_length : int > 0
        Window (Hann) and step in samples. Frame `t` is centred at sample ``t * hop_length``;
        what reaches outside `y` counts as zero.
    block : int > 0
        Frames of a block.

    Yields
    ------
    first : int
        Number of the first frame of the block.
    magnitudes : np.ndarray [shape=(at most block, 1 + n_fft // 2), float32]
        Its memory is used again for the next block.
    """
    count = frame_count(len(y), hop_length)
    padded = np.zeros(len(y) + n_fft, np.float32)
    padded[n_fft // 2 : n_fft // 2 + len(y)] = y
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    window = periodic_hann(n_fft)
    bins = 1 + n_fft // 2
    at_once = min(_TRANSFORMED, block)
    windowed = np.empty((at_once, n_fft))
    spectrum = np.empty((at_once, bins), np.complex128)
    rounded = np.empty((at_once, bins), np.complex64)
    magnitudes = np.empty((block, bins), np.float32)
    for first in range(0, count, block):
        size = min(block, count - first)
        for start in range(0, size, at_once):
            n = min(at_once, size - start)
            np.multiply(frames[first + start : first + start + n], window, out=windowed[:n])
            np.fft.rfft(windowed[:n], axis=1, out=spectrum[:n])
            rounded[:n] = spectrum[:n]
            np.abs(rounded[:n], out=magnitudes[start : start + n])
        yield first, magnitudes[:size]


def magnitude_spectrogram(
    y: npt.ArrayLike, *, n_fft: int = 2048, hop_length: int = 512
) -> FloatArray:
    """Magnitudes of the short-time Fourier transform of a whole signal.

    Parameters
    ----------
    y : array_like [shape=(n,), float]
        Mono samples in [-1, 1].
    n_fft, hop_length : int > 0
        Hann window and step in samples.

    Returns
    -------
    np.ndarray [shape=(1 + n_fft // 2, 1 + n // hop_length), float32]
        ``numpy.abs(librosa.stft(y))`` with the same parameters, bit for bit. Row 0 is 0 Hz.

    Raises
    ------
    AudioTooShortError
        If `y` is empty.
    AudioNotFiniteError
        If a sample is NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    >>> spectrum = magnitude_spectrogram(tone, n_fft=800, hop_length=400)
    >>> spectrum.shape, int(spectrum[:, 10].argmax())
    ((401, 21), 100)
    """
    samples = checked_samples(y)
    count = frame_count(len(samples), hop_length)
    out = np.empty((count, 1 + n_fft // 2), np.float32)
    for first, part in magnitude_blocks(samples, n_fft=n_fft, hop_length=hop_length):
        out[first : first + len(part)] = part
    return out.T
