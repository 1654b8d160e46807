"""The mel-frame summary that the pretrained recogniser reads.

A window of 30 s becomes 128 mel frames, one about every 0.23 s, and the MFCC sequence of its first
3 s: the form in which FMA-small was prepared for training, computed here from sound. Two variants
differ in where the reference level comes from. The *exact* one transforms the whole window, takes
the loudest value of all of it, and repeats the prepared data to the bit of its quantisation. The
*fast* one transforms only the sampled frames and takes the loudest of them: a twentieth of the
work. The recogniser is trained on the fast one (:func:`describe_prepared` turns prepared frames
into it), so that what it meets in use is what it has learnt from.

Bands are fixed in Hz whatever the file's rate: the window length follows the rate, so that a bin is
always 21.5 Hz wide, and bands above the file's Nyquist frequency are empty. The recogniser reads
only bands below :data:`TOP_HZ`, since what is above tells the codec and not the music.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import windows
from genrescope.audio.mel import (
    hz_to_mel,
    mel_filterbank,
    mel_spectrogram,
    mel_to_hz,
    mfcc_matrix,
    power_frames,
    power_to_db,
)
from genrescope.audio.statistics import (
    N_MFCC,
    dense_statistics,
    feature_names,
    frame_statistics,
)
from genrescope.audio.windows import (
    DEFAULT_WINDOWS,
    WINDOW_SECONDS,
    TrackFeatures,
)
from genrescope.errors import AudioTooShortError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DEFAULT_WINDOWS",
    "FRONT_END",
    "N_FEATURES",
    "N_STATISTICS",
    "READ_BANDS",
    "STATISTIC_NAMES",
    "WINDOW_SECONDS",
    "TrackFeatures",
    "dense_mfcc",
    "describe_decibels",
    "describe_file",
    "describe_prepared",
    "describe_samples",
    "mel_frames",
]

FloatArray = npt.NDArray[np.float32]

FRONT_END_NAME = "frames"
FRONT_END_VERSION = 1
REFERENCE_HZ = 44_100  # the rate of the training clips; window lengths scale with the file's rate
N_FFT = 2048  # samples at REFERENCE_HZ
HOP = 512  # samples at REFERENCE_HZ
N_BANDS = 128
N_FRAMES = 128
RANGE_DB = 80.0  # of the stored frames, below their loudest value
TOP_HZ = 15_000.0
FLOOR_DB = 72.0  # what the recogniser sees below the loudest sampled value; see describe_decibels

DENSE_HZ = 22_050
DENSE_FRAMES = 130  # of hop 512 at DENSE_HZ: 3 s

_WRAP_BELOW_SECONDS = 20.0
_FRAME_STEP = WINDOW_SECONDS / N_FRAMES  # seconds
_BATCH = 256

_EDGES_HZ = mel_to_hz(np.linspace(0.0, hz_to_mel(REFERENCE_HZ / 2), N_BANDS + 2))
READ_BANDS = int((_EDGES_HZ[2:] <= TOP_HZ).sum())

#: Names of the statistics, the first columns of a feature row.
STATISTIC_NAMES: tuple[str, ...] = tuple(feature_names(READ_BANDS))
N_STATISTICS = len(STATISTIC_NAMES)
#: A feature row: statistics, then the frames in dB band by band, then the dense MFCC.
N_FEATURES = N_STATISTICS + READ_BANDS * N_FRAMES + N_MFCC * DENSE_FRAMES

#: What a bundle's card records of this front end, and what it is checked against.
FRONT_END: dict[str, Any] = {
    "name": FRONT_END_NAME,
    "version": FRONT_END_VERSION,
    "n_features": N_FEATURES,
    "parameters": {
        "window_seconds": WINDOW_SECONDS,
        "frames": N_FRAMES,
        "n_fft": N_FFT,
        "reference_hz": REFERENCE_HZ,
        "mel_bands": N_BANDS,
        "bands_read": READ_BANDS,
        "top_hz": TOP_HZ,
        "floor_db": FLOOR_DB,
        "dense_hz": DENSE_HZ,
        "dense_frames": DENSE_FRAMES,
        "n_mfcc": N_MFCC,
    },
}


def _frame_positions(n_samples: int, sr: int) -> npt.NDArray[np.int64]:
    """Samples at the middle of the 128 frames.

    The recipe spreads them evenly. A short piece would bring them so close together that nothing
    moves from one to the next, which no 30-s window ever shows; there they keep their usual step
    and wrap around instead.
    """
    hop = HOP * sr / REFERENCE_HZ
    total = 1 + int(n_samples / hop)
    steps = np.arange(N_FRAMES) + 0.5
    if n_samples >= _WRAP_BELOW_SECONDS * sr:
        frames = (steps / N_FRAMES * total).astype(np.int64)
    else:
        frames = (steps * (_FRAME_STEP * sr / hop)).astype(np.int64) % total
    return np.round(frames * hop).astype(np.int64)


def _n_fft(sr: int) -> int:
    return max(16, round(N_FFT * sr / REFERENCE_HZ))


def _quantise(db: FloatArray, *, top: float, low: float) -> npt.NDArray[np.uint8]:
    """Seven bits, as the prepared data is stored: 0, 1, 3, 5, ... 255."""
    scaled = np.clip((db - low) * np.float32(256.0 / (top - low)), 0.0, 255.0)
    values: npt.NDArray[np.uint8] = scaled.astype(np.uint8)
    values |= (values > 0).astype(np.uint8)
    return values


def _sampled_power(y: FloatArray, sr: int) -> FloatArray:
    return power_frames(y, _frame_positions(len(y), sr), n_fft=_n_fft(sr))


def _mel_db(power: FloatArray, sr: int) -> FloatArray:
    bank = mel_filterbank(sr, n_fft=_n_fft(sr), n_mels=N_BANDS, fmax=REFERENCE_HZ / 2)
    return power_to_db(bank @ power.T)


def mel_frames(y: FloatArray, *, sr: int, exact: bool = False) -> npt.NDArray[np.uint8]:
    """128 mel frames of a window.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples, a window of 30 s or less.
    sr : int > 0
        Sampling rate of ``y`` in Hz.
    exact : bool
        True repeats the prepared FMA data: the reference level is the maximum over the whole
        window. False takes it from the sampled frames alone, at a twentieth of the work.

    Returns
    -------
    np.ndarray [shape=(128, 128), uint8]
        Bands (row 0 the lowest) by frames; 0 is 80 dB below the loudest value (or the minimum of
        the window, where that is higher, in the exact variant), 255 the loudest.

    Raises
    ------
    AudioTooShortError
        If ``y`` is empty.
    """
    if len(y) == 0:
        raise AudioTooShortError("0 samples, at least 1 is needed for a spectrum")
    sampled = _mel_db(_sampled_power(y, sr), sr)
    if not exact:
        top = float(sampled.max())
        return _quantise(sampled, top=top, low=top - RANGE_DB)
    hop = HOP * sr / REFERENCE_HZ
    if sr == REFERENCE_HZ:
        whole = power_to_db(mel_spectrogram(y, sr=sr, n_fft=N_FFT, hop_length=HOP, n_mels=N_BANDS))
    else:
        every = np.round(np.arange(1 + int(len(y) / hop)) * hop).astype(np.int64)
        whole = _mel_db(power_frames(y, every, n_fft=_n_fft(sr)), sr)
    top = float(whole.max())
    low = max(top - RANGE_DB, float(whole.min()))
    return _quantise(sampled, top=top, low=min(low, top - 1e-3))


def dense_mfcc(y: FloatArray, *, sr: int, peak_db: float = -np.inf) -> FloatArray:
    """MFCC sequence of the first 3 s.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples of a window; only the first 3.1 s are looked at. Less than 1.6 s is repeated
        until it is 3 s long.
    sr : int > 0
        Sampling rate of ``y`` in Hz.
    peak_db : float
        Loudest mel value of the whole window in dB, where it is known: the floor is 80 dB below
        it or below the loudest of these 3 s, whichever is higher.

    Returns
    -------
    np.ndarray [shape=(20, frames), float32]
        ``librosa.feature.mfcc`` at 22,050 Hz, at most 130 frames.
    """
    needed = int((DENSE_FRAMES + 5) * 512 / DENSE_HZ * sr)
    part = y[:needed]
    if sr != DENSE_HZ:
        import soxr

        part = soxr.resample(part, sr, DENSE_HZ, quality="HQ")
    if len(part) < 1.6 * DENSE_HZ:
        part = np.resize(part, 3 * DENSE_HZ)
    frames = min(DENSE_FRAMES, 1 + len(part) // 512)
    centres = np.arange(frames, dtype=np.int64) * 512
    bank = mel_filterbank(DENSE_HZ, n_fft=2048, n_mels=N_BANDS)
    db = power_to_db(bank @ power_frames(part, centres, n_fft=2048).T)
    db = np.maximum(db, np.float32(max(float(db.max()), peak_db) - RANGE_DB))
    return mfcc_matrix(N_MFCC, N_BANDS) @ db


def _decibels(frames: npt.NDArray[np.uint8]) -> FloatArray:
    """Stored frames [n, 128, 128] in dB above their floor."""
    return frames.astype(np.float32) * np.float32(RANGE_DB / 255.0)


def describe_decibels(db: FloatArray, dense: FloatArray) -> FloatArray:
    """Feature rows of frames that are in decibels.

    The floor of 72 dB is above the one of the prepared frames even where their loudest sampled
    value is 6 dB below the loudest of the whole clip (the most in 7,115 clips), so both variants
    of :func:`mel_frames` end at the same numbers.

    Parameters
    ----------
    db : np.ndarray [shape=(n, 128, frames), float32]
        Mel frames in dB, any reference level; bands above :data:`TOP_HZ` are not read.
    dense : np.ndarray [shape=(n, 20, frames), float32]
        Dense MFCC sequences.

    Returns
    -------
    np.ndarray [shape=(n, N_FEATURES), float32]
        One row a window: statistics, the frames themselves, the dense sequence itself (without
        the mean of coefficient 0, which is the level).
    """
    read = db[:, :READ_BANDS] - db[:, :READ_BANDS].max(axis=(1, 2), keepdims=True)
    read = np.maximum(read, np.float32(-FLOOR_DB))
    level_free = dense.copy()
    level_free[:, 0] -= dense[:, 0].mean(axis=-1, keepdims=True)
    # A piece shorter than 3 s is repeated for the network, which needs a fixed length.
    wrapped = level_free[:, :, np.arange(DENSE_FRAMES) % dense.shape[2]]
    parts = [
        frame_statistics(read),
        dense_statistics(level_free),
        read.reshape(len(read), -1),
        wrapped.reshape(len(wrapped), -1),
    ]
    return np.concatenate(parts, axis=1)


def describe_prepared(
    mel: npt.NDArray[np.uint8], mfcc_3s: npt.NDArray[np.floating[Any]]
) -> FloatArray:
    """Feature rows of prepared tracks.

    Parameters
    ----------
    mel : np.ndarray [shape=(n, 128, 128), uint8]
        Mel frames, as ``small_mel_frames.npz`` has them.
    mfcc_3s : np.ndarray [shape=(n, 130, 20), floating]
        The dense MFCC sequence, as ``small_mfcc.npz`` has it.

    Returns
    -------
    np.ndarray [shape=(n, N_FEATURES), float32]
        The rows that :func:`describe_file` gives for the same sound.

    Raises
    ------
    DataError
        If the shapes are not those.
    """
    if mel.ndim != 3 or mel.shape[1:] != (N_BANDS, N_FRAMES) or mel.dtype != np.uint8:
        raise DataError(
            f"mel frames are {mel.dtype} {list(mel.shape)}, expected uint8 [n, 128, 128]; "
            "prepare them by the recipe of genrescope.audio.frames"
        )
    if mfcc_3s.shape != (len(mel), DENSE_FRAMES, N_MFCC):
        raise DataError(
            f"mfcc_3s has shape {list(mfcc_3s.shape)}, expected [{len(mel)}, 130, 20]; "
            "prepare it by the recipe of genrescope.audio.frames"
        )
    out = np.empty((len(mel), N_FEATURES), dtype=np.float32)
    for first in range(0, len(mel), _BATCH):
        part = slice(first, first + _BATCH)
        dense = np.ascontiguousarray(mfcc_3s[part].astype(np.float32).transpose(0, 2, 1))
        out[part] = describe_decibels(_decibels(mel[part]), dense)
    return out


def _describe_window(y: FloatArray, sr: int) -> FloatArray:
    """One window of sound to one feature row [N_FEATURES]."""
    power = _sampled_power(y, sr)
    db = _mel_db(power, sr)
    top = float(db[:READ_BANDS].max())
    frames = _quantise(db, top=top, low=top - RANGE_DB)
    # The dense part's floor follows the loudest of the window: the sampled frames, on its scale.
    scale = (REFERENCE_HZ / sr) ** 2
    limit = int(DENSE_HZ / 2 / (sr / _n_fft(sr))) + 1
    part = power[:, :limit]
    bank = mel_filterbank(sr, n_fft=_n_fft(sr), n_mels=N_BANDS, fmax=DENSE_HZ / 2)[:, :limit]
    peak = float(power_to_db((bank @ part.T).max(keepdims=True) * np.float32(scale))[0, 0])
    dense = dense_mfcc(y, sr=sr, peak_db=peak)
    row: FloatArray = describe_decibels(_decibels(frames[None]), dense[None])[0]
    return row


def _describe_windows(windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
    return np.stack([_describe_window(y, sr) for y in windows])


def describe_samples(y: FloatArray, *, sr: int, n_windows: int = DEFAULT_WINDOWS) -> TrackFeatures:
    """Features of sound that is in memory.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples in [-1, 1].
    sr : int > 0
        Sampling rate of ``y`` in Hz.
    n_windows : int > 0
        At most so many windows of 30 s, spread evenly over ``y``.

    Returns
    -------
    TrackFeatures
        One row a window that is not silent.

    Raises
    ------
    AudioTooShortError
        If there is less than half a second.
    AudioSilentError
        If nothing is louder than -80 dB of full scale.
    """
    return windows.describe_samples(y, _describe_windows, sr=sr, n_windows=n_windows)


def describe_file(
    path: str | os.PathLike[str], *, n_windows: int = DEFAULT_WINDOWS
) -> TrackFeatures:
    """Features of an audio file; only the windows are decoded and only one is held in memory.

    Parameters
    ----------
    path : path-like
        Any file that :func:`genrescope.audio.decode.open_audio` reads.
    n_windows : int > 0
        At most so many windows of 30 s, spread evenly over the track.

    Returns
    -------
    TrackFeatures
        One row a window that is not silent.

    Raises
    ------
    AudioError
        Whatever is wrong with the file, each by its own class.
    """
    return windows.describe_file(path, _describe_windows, n_windows=n_windows)
