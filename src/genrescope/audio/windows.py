"""Which windows of a track are described, for every front end and encoder alike.

That silent windows are left out, and when a track is refused, is decided here, once: so the rows of
several encoders belong to the same seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from genrescope.errors import (
    AudioEmptyError,
    AudioError,
    AudioSilentError,
    AudioTooShortError,
    DataError,
)

__all__ = [
    "DEFAULT_WINDOWS",
    "MIN_SECONDS",
    "WINDOW_SECONDS",
    "Encode",
    "Sound",
    "TrackFeatures",
    "describe_file",
    "describe_samples",
    "describe_windows",
    "window_offsets",
]

FloatArray = npt.NDArray[np.float32]

WINDOW_SECONDS = 30.0
DEFAULT_WINDOWS = 5
MIN_SECONDS = 0.5
_SILENCE = 1e-4  # peak amplitude: -80 dB of full scale


@dataclass(frozen=True)
class TrackFeatures:
    """What the recogniser reads of one track.

    Attributes
    ----------
    features : np.ndarray [shape=(windows, N_FEATURES), float32]
        One row a window.
    offsets : np.ndarray [shape=(windows,), float64]
        Where each window starts, in seconds.
    duration : float
        Length of the track in seconds, as far as the decoder knows it.
    window : float
        Length of a window in seconds (the whole track where it is shorter).
    """

    features: FloatArray
    offsets: npt.NDArray[np.float64]
    duration: float
    window: float


class Encode(Protocol):
    """Rows of some windows of one track."""

    def __call__(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray: ...


@dataclass(frozen=True)
class Sound:
    """A track, a window at a time.

    Attributes
    ----------
    name : str
        For errors.
    read : callable
        The samples of the window that starts at so many seconds.
    sr : int
        Sampling rate in Hz.
    duration : float
        In seconds.
    measure : callable, optional
        Where the duration is a header's word, this finds the true one; it is asked only when a
        window turns out shorter than it should be.
    """

    name: str
    read: Callable[[float], FloatArray]
    sr: int
    duration: float
    measure: Callable[[], float] | None = None


def window_offsets(duration: float, n_windows: int) -> npt.NDArray[np.float64]:
    """Starts of 30-s windows spread evenly over a track.

    Parameters
    ----------
    duration : float
        Of the track, in seconds.
    n_windows : int > 0
        At most so many; a track has one for every 30 s.

    Returns
    -------
    np.ndarray [shape=(windows,), float64]
        In seconds.

    Examples
    --------
    >>> window_offsets(120.0, 2).tolist()
    [15.0, 75.0]
    >>> window_offsets(8.0, 5).tolist()
    [0.0]
    """
    count = max(1, min(n_windows, round(duration / WINDOW_SECONDS)))
    middles = (np.arange(count) + 0.5) / count * duration
    return np.clip(middles - WINDOW_SECONDS / 2, 0.0, max(0.0, duration - WINDOW_SECONDS))


def describe_samples(
    y: FloatArray, encode: Encode, *, sr: int, n_windows: int | None = None, at_once: int = 1
) -> TrackFeatures:
    """Describe sound that is in memory.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples in [-1, 1].
    encode : callable
        What becomes of some windows, half a second or more each: a row for each.
    sr : int > 0
        Sampling rate in Hz.
    n_windows : int > 0, optional
        At most so many windows of 30 s, spread evenly over `y`. Default: 5.
    at_once : int > 0
        Windows that are encoded together, and held in memory.

    Returns
    -------
    TrackFeatures
        A row for each window that is not silent.

    Raises
    ------
    DataError
        If `n_windows` is less than 1.
    AudioEmptyError, AudioTooShortError, AudioSilentError
        If there is nothing to describe.
    """
    size = int(WINDOW_SECONDS * sr)

    def read(offset: float) -> FloatArray:
        start = round(offset * sr)
        return y[start : start + size]

    sound = Sound("the array", read, sr, len(y) / sr)
    return describe_windows(sound, encode, n_windows=n_windows, at_once=at_once)


def describe_file(
    path: str | os.PathLike[str],
    encode: Encode,
    *,
    n_windows: int | None = None,
    at_once: int = 1,
) -> TrackFeatures:
    """Describe an audio file; only the windows are decoded.

    Parameters
    ----------
    path : path-like
        Any file that :func:`genrescope.audio.decode.open_audio` reads.
    encode, n_windows, at_once
        As of :func:`describe_samples`.

    Returns
    -------
    TrackFeatures
        A row for each window that is not silent.

    Raises
    ------
    DataError
        If `n_windows` is less than 1.
    AudioError
        Whatever is wrong with the file, each by its own class.
    """
    from genrescope.audio.decode import open_audio
    from genrescope.audio.files import printable

    with open_audio(path) as audio:

        def read(offset: float) -> FloatArray:
            samples: FloatArray = audio.read(offset=offset, duration=WINDOW_SECONDS)
            return samples

        measure = None if audio.exact else lambda: audio.measure() / audio.sr
        name = printable(os.fsdecode(path))
        sound = Sound(name, read, audio.sr, audio.duration, measure)
        return describe_windows(sound, encode, n_windows=n_windows, at_once=at_once)


def describe_windows(
    sound: Sound, encode: Encode, *, n_windows: int | None = None, at_once: int = 1
) -> TrackFeatures:
    """Describe the windows of a track; parameters, result and errors as above."""
    count = DEFAULT_WINDOWS if n_windows is None else n_windows
    if count < 1:
        raise DataError(f"n_windows is {count}; at least 1 window must be looked at")
    sr, duration = sound.sr, sound.duration
    rows: list[FloatArray] = []
    kept: list[float] = []
    waiting: list[FloatArray] = []
    longest = 0
    for offset in window_offsets(duration, count).tolist():
        y = sound.read(offset)
        expected = min(WINDOW_SECONDS, duration - offset)
        if sound.measure is not None and len(y) < (expected - MIN_SECONDS) * sr:
            true = Sound(sound.name, sound.read, sr, sound.measure())
            return describe_windows(true, encode, n_windows=count, at_once=at_once)
        longest = max(longest, len(y))
        if len(y) < MIN_SECONDS * sr or float(np.abs(y).max()) < _SILENCE:
            continue
        kept.append(offset)
        waiting.append(y)
        if len(waiting) == at_once:
            rows.append(encode(waiting, sr=sr))
            waiting = []
    if waiting:
        rows.append(encode(waiting, sr=sr))
    if not rows:
        raise _nothing(sound.name, longest=longest, sr=sr)
    return TrackFeatures(
        features=np.concatenate(rows),
        offsets=np.asarray(kept, dtype=np.float64),
        duration=float(duration),
        window=float(min(WINDOW_SECONDS, duration)),
    )


def _nothing(name: str, *, longest: int, sr: int) -> AudioError:
    """Why a track has no window that can be described."""
    if longest == 0:
        return AudioEmptyError(f"{name}: no samples, so there is nothing to recognise")
    if longest < MIN_SECONDS * sr:
        return AudioTooShortError(
            f"{name}: {longest / sr:.3f} s of sound, at least {MIN_SECONDS} s is needed "
            "to recognise a genre"
        )
    return AudioSilentError(
        f"{name}: no sample is louder than -80 dB of full scale in any of the windows that "
        "were looked at; there is nothing to recognise in silence"
    )
