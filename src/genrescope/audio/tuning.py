"""How far a recording is from the concert pitch of 440 Hz.

Spectral peaks between 150 and 4,000 Hz are placed between the bins by a parabola; the louder half
of them is sorted by its distance to the nearest semitone, in hundredths; the fullest hundredth is
the tuning. The answer is librosa's, but only the peaks are computed with, not every bin.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Peaks", "estimate_tuning"]

FloatArray = npt.NDArray[np.float32]

_LOW_HZ, _HIGH_HZ = 150.0, 4000.0
_THRESHOLD = 0.1  # of the loudest bin of the frame
_RESOLUTION = 0.01  # of a bin of the chromatic scale


class Peaks:
    """Spectral peaks, collected from blocks of frames.

    Parameters
    ----------
    sr : float > 0
        Sampling rate in Hz.
    n_fft : int > 0
        Length of the transform in samples.
    """

    def __init__(self, sr: float, n_fft: int) -> None:
        self._hz_per_bin = float(sr), n_fft
        bins = np.fft.rfftfreq(n_fft, 1.0 / sr)
        inside = np.flatnonzero((bins >= _LOW_HZ) & (bins < min(_HIGH_HZ, sr / 2)))
        # A peak has a neighbour on both sides; the lowest bin, 0 Hz, is never inside.
        self._low = int(inside[0]) if len(inside) else 1
        self._high = min(len(bins) - 1, int(inside[-1]) + 1) if len(inside) else 1
        self._hz: list[FloatArray] = []
        self._heights: list[FloatArray] = []

    def add(self, spectra: FloatArray, loudest: FloatArray) -> None:
        """Take the peaks of some frames.

        Parameters
        ----------
        spectra : np.ndarray [shape=(t, bins), float32]
            Magnitudes or powers, contiguous.
        loudest : np.ndarray [shape=(t,), float32]
            The largest value of each frame.
        """
        low, high = self._low, self._high
        middle = spectra[:, low:high]
        is_peak = middle > spectra[:, low - 1 : high - 1]
        is_peak &= middle >= spectra[:, low + 1 : high + 1]
        is_peak &= middle > (np.float32(_THRESHOLD) * loudest)[:, None]
        at = np.flatnonzero(is_peak)
        frame, column = np.divmod(at, high - low)
        column += low
        at = frame * spectra.shape[1] + column
        flat = spectra.reshape(-1)
        before, peak, after = flat.take(at - 1), flat.take(at), flat.take(at + 1)
        slope = (after - before) / np.float32(2)
        curve = (before + after).astype(np.float64) - 2.0 * peak.astype(np.float64)
        shift = np.zeros(len(at), np.float32)
        # Elsewhere the top of the parabola lies beyond the neighbour.
        near = np.abs(slope) < np.abs(curve)
        shift[near] = -slope[near] / curve[near]
        sr, n_fft = self._hz_per_bin
        self._hz.append(((column + shift) * sr / n_fft).astype(np.float32))
        self._heights.append(peak + np.float32(0.5) * slope * shift)

    def tuning(self, bins_per_octave: int = 12) -> float:
        """The tuning that the peaks agree on most, see :func:`estimate_tuning`."""
        if not sum(map(len, self._hz)):
            return 0.0
        hz, heights = np.concatenate(self._hz), np.concatenate(self._heights)
        hz = hz[heights >= np.median(heights)]
        away = np.mod(bins_per_octave * np.log2(hz / (440.0 / 16)), np.float32(1.0))
        away[away >= 0.5] -= 1.0
        edges = np.linspace(-0.5, 0.5, round(1.0 / _RESOLUTION) + 1)
        counts, _ = np.histogram(away, edges)
        return float(edges[np.argmax(counts)])


def estimate_tuning(
    magnitudes: FloatArray, *, sr: float, n_fft: int | None = None, bins_per_octave: int = 12
) -> float:
    """Estimate the tuning of a recording.

    Parameters
    ----------
    magnitudes : np.ndarray [shape=(1 + n_fft // 2, t), float32]
        A magnitude or power spectrogram.
    sr : float > 0
        Sampling rate in Hz.
    n_fft : int > 0, optional
        Length of the transform; by default the even one that has as many bins.
    bins_per_octave : int > 0
        Steps of the scale.

    Returns
    -------
    float
        Deviation from A = 440 Hz in fractions of a step, in [-0.5, 0.5);
        ``librosa.estimate_tuning(S=magnitudes, sr=sr)``. 0 where there is no peak.

    Examples
    --------
    >>> import numpy as np
    >>> from genrescope.audio.stft import magnitude_spectrogram
    >>> sharp = 440 * 2 ** (0.25 / 12)  # by a quarter of a semitone
    >>> tone = np.sin(2 * np.pi * sharp * np.arange(22050) / 22050)
    >>> round(estimate_tuning(magnitude_spectrogram(tone), sr=22050), 2)
    0.24
    """
    spectra = np.ascontiguousarray(magnitudes.T)
    peaks = Peaks(sr, n_fft or 2 * (spectra.shape[1] - 1))
    peaks.add(spectra, spectra.max(axis=1))
    return peaks.tuning(bins_per_octave)
