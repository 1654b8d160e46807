"""One window of sound as the shipped front end hears it, of which parts can be hidden.

The picture is divided into cells: 16 ranges of mel bands by stretches of 2 s. A hidden cell holds
what its bands are on average over the whole window: what happens there is gone, the colour of the
sound is not. Silence instead would be an event of its own, such as no training clip has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.mel import (
    hz_to_mel,
    mel_filterbank,
    mel_to_hz,
    mfcc_matrix,
    power_frames,
    power_to_db,
)
from genrescope.audio.statistics import N_MFCC
from genrescope.errors import DataError
from genrescope.explain.why.saliency import Floats, Score, log_odds

if TYPE_CHECKING:
    from genrescope.learn.bundle import Bundle

__all__ = ["FILLS", "Heard", "hear", "score_of"]

FloatArray = npt.NDArray[np.float32]

FILLS = ("mean", "floor")
_BANDS = 16
_SECONDS = 2.0
_FEWEST = 4  # stretches of time in a short sound
_DENSE_HOP, _DENSE_FFT = 512, 2048
_FRAME_BANDS = slice(frames.N_STATISTICS, frames.N_STATISTICS + frames.READ_BANDS * frames.N_FRAMES)
_MEL_HZ = mel_to_hz(np.linspace(0.0, hz_to_mel(frames.REFERENCE_HZ / 2), frames.N_BANDS + 2))


@dataclass(frozen=True, eq=False)
class Heard:
    """A window of sound as the recogniser hears it.

    Attributes
    ----------
    db : np.ndarray [shape=(115, 128), float32]
        Mel frames in dB below the loudest.
    times : np.ndarray [shape=(128,), float64]
        Their middles, in seconds from the start of the window.
    dense_db : np.ndarray [shape=(128, frames), float32]
        Mel spectrogram in dB behind the dense MFCC of the first 3 s.
    dense : np.ndarray [shape=(20, 130), float32]
        That MFCC.
    seconds : float
        Length of the window.
    band_edges : np.ndarray [shape=(bands + 1,), float64]
        Of the cells, in Hz; equal steps in mel.
    time_edges : np.ndarray [shape=(times + 1,), float64]
        Of the cells, in seconds from the start of the window.
    """

    db: FloatArray
    times: Floats
    dense_db: FloatArray
    dense: FloatArray
    seconds: float
    band_edges: Floats
    time_edges: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """Bands and times of the grid of cells."""
        return len(self.band_edges) - 1, len(self.time_edges) - 1

    def rows(self, kept: npt.NDArray[np.bool_], *, fill: str = "mean") -> FloatArray:
        """What the recogniser is told where only some cells are kept.

        Parameters
        ----------
        kept : np.ndarray [shape=(n, bands, times), bool]
            Which cells stay.
        fill : {"mean", "floor"}
            What a hidden cell holds: the mean of its bands over the window, or silence.

        Returns
        -------
        np.ndarray [shape=(n, N_FEATURES), float32]

        Raises
        ------
        DataError
            If the shape or the filling cannot be.
        """
        if kept.ndim != 3 or kept.shape[1:] != self.shape or fill not in FILLS:
            raise DataError(
                f"cells {list(kept.shape)} with the filling {fill!r}: expected "
                f"[n, {self.shape[0]}, {self.shape[1]}] and one of {', '.join(FILLS)}"
            )
        bands, times = _cells(_MEL_HZ[1:-1], self.band_edges), _cells(self.times, self.time_edges)
        bands = bands[: frames.READ_BANDS]
        db = _filled(self.db, kept[:, bands][:, :, times], fill)
        centres = mel_to_hz(np.linspace(0.0, hz_to_mel(frames.DENSE_HZ / 2), frames.N_BANDS + 2))
        places = np.arange(self.dense_db.shape[1]) * _DENSE_HOP / frames.DENSE_HZ
        low, early = _cells(centres[1:-1], self.band_edges), _cells(places, self.time_edges)
        dense_db = _filled(self.dense_db, kept[:, low][:, :, early], fill)
        # The MFCC follow linearly, so what is kept whole stays the same to the last bit.
        change = mfcc_matrix(N_MFCC, frames.N_BANDS) @ (dense_db - self.dense_db)
        wrapped = change[:, :, np.arange(frames.DENSE_FRAMES) % change.shape[2]]
        return frames.describe_decibels(db, self.dense[None] + wrapped)


def hear(y: FloatArray, *, sr: int) -> Heard:
    """Listen to a window of sound as :func:`genrescope.audio.frames.describe_samples` does.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples, half a second to 30 s.
    sr : int
        Sampling rate in Hz.

    Returns
    -------
    Heard

    Raises
    ------
    AudioError
        If there is too little sound.
    """
    y = y[: round(frames.WINDOW_SECONDS * sr)]
    row = frames.describe_samples(y, sr=sr, n_windows=1).features[0]
    seconds = len(y) / sr
    db = row[_FRAME_BANDS].reshape(frames.READ_BANDS, frames.N_FRAMES)
    dense = row[_FRAME_BANDS.stop :].reshape(N_MFCC, frames.DENSE_FRAMES)
    steps = np.arange(frames.N_FRAMES) + 0.5
    # As the front end spreads its frames: a short piece keeps the step and starts again.
    spread = seconds >= 2 / 3 * frames.WINDOW_SECONDS
    step = (seconds if spread else frames.WINDOW_SECONDS) / frames.N_FRAMES
    n_times = max(_FEWEST, round(seconds / _SECONDS))
    return Heard(
        db=db,
        times=np.asarray((steps * step) % seconds, np.float64),
        dense_db=_dense_decibels(y, sr),
        dense=dense,
        seconds=seconds,
        band_edges=mel_to_hz(np.linspace(0.0, hz_to_mel(frames.TOP_HZ), _BANDS + 1)),
        time_edges=np.linspace(0.0, seconds, n_times + 1),
    )


def score_of(heard: Heard, bundle: Bundle, genre: str, *, fill: str = "mean") -> Score:
    """The log-odds that a bundle gives a genre, as a function of the cells that are kept.

    Raises
    ------
    DataError
        If the bundle does not know the genre.
    """
    if genre not in bundle.genres:
        raise DataError(
            f"{bundle.name} does not know {genre!r}; it knows {', '.join(bundle.genres)}"
        )
    place = bundle.genres.index(genre)

    def score(kept: npt.NDArray[np.bool_]) -> Floats:
        return log_odds(bundle.run(heard.rows(kept, fill=fill)[:, None])[0][:, place])

    return score


def _cells(values: npt.NDArray[Any], edges: Floats) -> npt.NDArray[np.int64]:
    """In which cell each value is; what is beyond an edge belongs to the last cell before it."""
    found: npt.NDArray[np.int64] = np.clip(
        np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2
    ).astype(np.int64)
    return found


def _filled(db: FloatArray, kept: npt.NDArray[np.bool_], fill: str) -> FloatArray:
    low = float(db.max()) - frames.FLOOR_DB
    other = db.mean(axis=1, keepdims=True) if fill == "mean" else np.full((len(db), 1), low)
    filled: FloatArray = np.where(kept, db, other.astype(np.float32))
    return filled


def _dense_decibels(y: FloatArray, sr: int) -> FloatArray:
    """The mel spectrogram behind the dense MFCC, as the front end computes it."""
    part = y[: int((frames.DENSE_FRAMES + 5) * _DENSE_HOP / frames.DENSE_HZ * sr)]
    if sr != frames.DENSE_HZ:
        import soxr

        part = soxr.resample(part, sr, frames.DENSE_HZ, quality="HQ")
    if len(part) < 1.6 * frames.DENSE_HZ:
        part = np.resize(part, 3 * frames.DENSE_HZ)
    count = min(frames.DENSE_FRAMES, 1 + len(part) // _DENSE_HOP)
    centres = np.arange(count, dtype=np.int64) * _DENSE_HOP
    bank = mel_filterbank(frames.DENSE_HZ, n_fft=_DENSE_FFT, n_mels=frames.N_BANDS)
    db = power_to_db(bank @ power_frames(part, centres, n_fft=_DENSE_FFT).T)
    floored: FloatArray = np.maximum(db, db.max() - np.float32(frames.RANGE_DB))
    return floored
