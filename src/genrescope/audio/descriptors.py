"""The 518 descriptors of the Free Music Archive, from sound.

FMA's ``features.csv`` holds seven statistics over time of eleven descriptors, as librosa computed
them in 2017 (Defferrard et al. 2017). The same columns come from here for any sound, about six
times faster: one transform serves all descriptors but the constant-Q ones, the signal is gone
through once, and what a recording's tuning decides is cached.

Two things in that table are not what their names say, and are kept, for without them a model
trained on the table would read something else:

- All descriptors of the spectrum but the MFCC take the rate for 22,050 Hz, whatever it is. In a
  recording at 44,100 Hz a centroid, bandwidth or rolloff of 1,000 Hz means 2,000 Hz.
- ``rmse`` is the root of the mean power of the bins: it grows with the window.

librosa changed since: see the parameter ``convention`` of :func:`fma_descriptors`.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from genrescope.audio.chroma import (
    chroma_cens,
    chroma_filters,
    chroma_of_notes,
    normalise,
    tonnetz,
)
from genrescope.audio.cqt import constant_q
from genrescope.audio.mel import mel_bands, mfcc_matrix, power_to_db
from genrescope.audio.spectral import (
    centroid_and_bandwidth,
    contrast,
    peaks_and_valleys,
    rolloff,
    zero_crossings,
)
from genrescope.audio.stft import checked_samples, frame_count, magnitude_blocks
from genrescope.audio.tuning import Peaks
from genrescope.errors import AudioNotFiniteError

__all__ = [
    "DESCRIPTORS",
    "DESCRIPTOR_NAMES",
    "STATISTICS",
    "Convention",
    "descriptor_series",
    "fma_descriptors",
    "series_statistics",
]

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
Convention = Literal["fma", "librosa"]

#: Descriptor -> its number of rows, in the order of features.csv.
DESCRIPTORS: dict[str, int] = {
    "chroma_cens": 12,
    "chroma_cqt": 12,
    "chroma_stft": 12,
    "mfcc": 20,
    "rmse": 1,
    "spectral_bandwidth": 1,
    "spectral_centroid": 1,
    "spectral_contrast": 7,
    "spectral_rolloff": 1,
    "tonnetz": 6,
    "zcr": 1,
}
#: Statistics over time, in the order of features.csv.
STATISTICS = ("kurtosis", "max", "mean", "median", "min", "skew", "std")
#: The 518 columns, as the prepared features.csv names them.
DESCRIPTOR_NAMES: tuple[str, ...] = tuple(
    f"{name}_{statistic}_{row:02d}"
    for name, rows in DESCRIPTORS.items()
    for statistic in STATISTICS
    for row in range(1, rows + 1)
)

N_FFT = 2048  # samples
HOP = 512  # samples
N_MELS = 128
RANGE_DB = 80.0  # of mel decibels, below the loudest
_ASSUMED_HZ = 22_050  # librosa's default rate, which FMA's script left as it was
_LOUDEST = 1e15  # the square of a thousand times this is finite in float32
_KEPT = 20_000  # frames whose powers are kept, 82 MB; four minutes at 44,100 Hz
_STILL = 1e-6  # a standard deviation below this share of the largest value is rounding


def fma_descriptors(
    y: npt.ArrayLike, *, sr: int, convention: Convention = "fma"
) -> npt.NDArray[np.float32]:
    """Describe a recording as FMA's features.csv does.

    Parameters
    ----------
    y : array_like [shape=(n,), float]
        Mono samples in [-1, 1], at the file's own rate; at least 2,048.
    sr : int > 0
        Their rate in Hz; at least 8,245 or so, for the highest note that is looked for.
    convention : {"fma", "librosa"}
        "fma" computes what the published table has. "librosa" computes what FMA's script gives
        with librosa 0.10 or 0.11, where two functions have changed: the energy is that of the
        signal (a forty-fifth), and three neighbouring semitones are taken for one pitch class of
        ``chroma_cqt``, ``chroma_cens`` and ``tonnetz``.

    Returns
    -------
    np.ndarray [shape=(518,), float32]
        See :data:`DESCRIPTOR_NAMES`. A descriptor that does not change over time has skewness 0
        and kurtosis -3, as in the table; librosa and SciPy of today say NaN.

    Raises
    ------
    AudioTooShortError
        If there are fewer than 2,048 samples.
    AudioNotFiniteError
        If a sample is NaN, infinite, or beyond 1e15.
    AudioUnsupportedError
        If the rate is too low.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.random.default_rng(0).normal(size=22050).astype(np.float32) / 8
    >>> row = dict(zip(DESCRIPTOR_NAMES, fma_descriptors(y, sr=22050)))
    >>> len(row), round(float(row["zcr_mean_01"]), 1)
    (518, 0.5)
    """
    series = descriptor_series(y, sr=sr, convention=convention)
    return np.concatenate([series_statistics(rows).ravel() for rows in series.values()]).astype(
        np.float32
    )


def descriptor_series(
    y: npt.ArrayLike, *, sr: int, convention: Convention = "fma"
) -> dict[str, npt.NDArray[np.floating]]:
    """The descriptors over time, of which features.csv has the statistics.

    Parameters
    ----------
    y, sr, convention
        See :func:`fma_descriptors`.

    Returns
    -------
    dict of str to np.ndarray [shape=(rows, t)]
        In the order of :data:`DESCRIPTORS`. Frames are 512 samples apart, the first one at the
        first sample. A series made of notes can be a frame longer.

    Raises
    ------
    AudioTooShortError, AudioNotFiniteError, AudioUnsupportedError
        See :func:`fma_descriptors`.
    """
    if convention not in get_args(Convention):
        raise ValueError(
            f"convention is {convention!r}; it must be one of {', '.join(get_args(Convention))}"
        )
    samples = checked_samples(y, at_least=N_FFT)
    if max(samples.max(), -samples.min()) > _LOUDEST:
        raise AudioNotFiniteError(
            f"samples of more than {_LOUDEST:g}, whose powers are infinite; full scale is 1.0. "
            "Divide them by the largest."
        )
    series, tuning = _from_spectrum(samples, sr, convention)
    notes = constant_q(samples, sr=sr, tuning=tuning, hop_length=HOP)
    chroma = chroma_of_notes(notes, bins_per_octave=12 if convention == "fma" else 36)
    cens = chroma_cens(chroma)
    series["chroma_cqt"] = normalise(chroma, order=np.inf)
    series["chroma_cens"] = cens
    series["tonnetz"] = tonnetz(cens)
    series["zcr"] = zero_crossings(samples, frame_length=N_FFT, hop_length=HOP)[None]
    return {name: series[name] for name in DESCRIPTORS}


def _from_spectrum(
    samples: FloatArray, sr: int, convention: Convention
) -> tuple[dict[str, npt.NDArray[np.floating]], float]:
    """What needs the transform, and the tuning of the notes in semitones."""
    count = frame_count(len(samples), HOP)
    power = np.empty((min(count, _KEPT), 1 + N_FFT // 2), np.float32)
    mel = np.empty((count, N_MELS), np.float32)
    rms = np.empty((1, count), np.float32)
    centroid, bandwidth, end = (np.empty((1, count)) for _ in range(3))
    extremes = np.empty((2, DESCRIPTORS["spectral_contrast"], count), np.float32)
    of_notes, of_power = Peaks(sr, N_FFT), Peaks(_ASSUMED_HZ, N_FFT)
    axis = {"sr": _ASSUMED_HZ, "n_fft": N_FFT}
    for first, magnitudes in magnitude_blocks(samples, n_fft=N_FFT, hop_length=HOP):
        at = slice(first, first + len(magnitudes))
        part = np.square(magnitudes, out=power[at] if count <= _KEPT else power[: len(magnitudes)])
        loudest = magnitudes.max(axis=1)
        of_notes.add(magnitudes, loudest)
        of_power.add(part, np.square(loudest))
        mel[at] = mel_bands(part, sr=sr, n_fft=N_FFT, n_mels=N_MELS)
        rms[0, at] = _rms(magnitudes, convention)
        centroid[0, at], bandwidth[0, at] = centroid_and_bandwidth(magnitudes, **axis)
        extremes[:, :, at] = peaks_and_valleys(magnitudes, **axis)
        end[0, at] = rolloff(magnitudes, **axis)
    weights = chroma_filters(_ASSUMED_HZ, n_fft=N_FFT, tuning=of_power.tuning())
    if count <= _KEPT:
        chroma = np.ascontiguousarray((power @ weights.T).T)
    else:  # the tuning is known only now, and the powers of all frames would take too much memory
        chroma = np.empty((len(weights), count), np.float32)
        for first, magnitudes in magnitude_blocks(samples, n_fft=N_FFT, hop_length=HOP):
            chroma[:, first : first + len(magnitudes)] = weights @ np.square(magnitudes).T
    return {
        "chroma_stft": normalise(chroma, order=np.inf),
        "mfcc": _mfcc(mel),
        "rmse": rms,
        "spectral_bandwidth": bandwidth,
        "spectral_centroid": centroid,
        "spectral_contrast": contrast(extremes),
        "spectral_rolloff": end,
    }, of_notes.tuning()


def _mfcc(mel: FloatArray) -> FloatArray:
    db = power_to_db(mel.T)
    np.maximum(db, db.max() - np.float32(RANGE_DB), out=db)
    # All coefficients but the first are blind to the level: without it a frame in which all bands
    # are equal, silence for one, has coefficients of exactly 0.
    level = db[0].copy()
    db -= level
    mfcc: FloatArray = mfcc_matrix(DESCRIPTORS["mfcc"], N_MELS) @ db
    mfcc[0] += np.float32(np.sqrt(N_MELS)) * level
    return mfcc


def _rms(magnitudes: FloatArray, convention: Convention) -> FloatArray:
    power: FloatArray = np.einsum("tf,tf->t", magnitudes, magnitudes)
    if convention == "fma":
        power /= magnitudes.shape[1]
        return np.sqrt(power, out=power)
    # The bins at both ends stand for themselves, the others for two.
    ends = np.square(magnitudes[:, 0]) + np.square(magnitudes[:, -1])
    power = (2 * power - ends) / N_FFT**2
    return np.sqrt(power, out=power)


def series_statistics(series: npt.NDArray[np.floating]) -> DoubleArray:
    """Seven statistics over time.

    Parameters
    ----------
    series : np.ndarray [shape=(rows, t)]
        At least one frame.

    Returns
    -------
    np.ndarray [shape=(7, rows), float64]
        In the order of :data:`STATISTICS`. The standard deviation is that of a population,
        skewness and kurtosis are not corrected for bias, and a normal distribution has kurtosis 0.
        Where the series moves by no more than a millionth of its largest value, skewness is 0 and
        kurtosis -3.

    Examples
    --------
    >>> import numpy as np
    >>> series_statistics(np.array([[0.0, 1.0, 2.0, 1.0]])).ravel().tolist()
    [-1.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.7071067811865476]
    """
    x = series.astype(np.float64)
    mean = x.mean(axis=1, keepdims=True)
    centred = x - mean
    square = centred * centred
    variance = square.mean(axis=1)
    cube = np.einsum("rt,rt->r", square, centred) / x.shape[1]
    fourth = np.einsum("rt,rt->r", square, square) / x.shape[1]
    std = np.sqrt(variance)
    low, high = x.min(axis=1), x.max(axis=1)
    still = std <= _STILL * np.maximum(np.abs(low), np.abs(high))
    safe = np.where(still, 1.0, variance)
    return np.stack(
        [
            np.where(still, 0.0, fourth / safe**2) - 3.0,
            high,
            mean[:, 0],
            np.median(series, axis=1),
            low,
            np.where(still, 0.0, cube / safe**1.5),
            std,
        ]
    )
