"""Whether a sound is like the music that a recogniser learnt from.

A recogniser of eight genres finds one of them in anything: on hiss it is surer than on most songs.
So a bundle can have a part, "familiar", that looks at the same statistics and asks two questions.
How far is this from the middle of all music it learnt from (Mahalanobis distance along the
principal axes, Lee et al. 2018)? And on which side is it of a border between that music and made-up
hiss, hum, tones, clicks, weather, machines and voices? Either can say that a sound is unfamiliar;
the recogniser is then not sure, however probable a genre may seem.

Two rules stand beside them: less sound than it takes to be right as often as promised, and nothing
above a frequency below which no music in training ends. Only numpy and onnxruntime are needed.

References
----------
Lee, Lee, Lee, Shin (2018), A simple unified framework for detecting out-of-distribution samples.
Hendrycks, Mazeika, Dietterich (2019), Deep anomaly detection with outlier exposure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.mel import hz_to_mel, mel_to_hz
from genrescope.errors import BundleError, DataError
from genrescope.learn.parts.base import Part

__all__ = ["ASPECTS", "PART_NAME", "TESTS", "Familiar", "Familiarity", "aspects", "heard_to_hz"]

FloatArray = npt.NDArray[np.float32]

PART_NAME = "familiar"
TESTS = ("distance", "border")
UNLIKE = "unlike the music it learnt from"
_HEARD_DB = -71.0  # the statistics end at -72 dB below the loudest

#: What is said where an aspect is below, or above, what nearly all music has. The spectrum of music
#: may be full.
ASPECTS: dict[str, tuple[str, str]] = {
    "change": ("too steady to be music", "it comes and goes as hardly any music does"),
    "flatness": ("hardly more than bare tones", "as even as noise"),
    "fullness": ("most of the spectrum is empty", ""),
}


@dataclass(frozen=True)
class Familiar:
    """What was found out about a sound.

    Attributes
    ----------
    score : float
        0 is the middle of music in training, 1 the limit; what is above is unfamiliar.
    familiar : bool
        Whether an answer may be sure.
    reason : str
        Why not, in words; empty where it is familiar.

    Examples
    --------
    >>> Familiar(0.4, True, "").familiar
    True
    """

    score: float
    familiar: bool
    reason: str


class Familiarity:
    """The part "familiar" of a bundle, ready for use. Safe to share between threads.

    Parameters
    ----------
    part : Part
        As :func:`genrescope.learn.train.familiarity.familiar_part` makes it.

    Raises
    ------
    BundleError
        If its settings lack something, or it reads other statistics.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        said: Mapping[str, Any] = part.settings
        try:
            self._n = int(said["n_statistics"])
            self._tests = {
                test: (float(said["tests"][test]["middle"]), float(said["tests"][test]["limit"]))
                for test in TESTS
            }
            self._usual = {
                name: (float(low), float(high)) for name, (low, high) in said["usual"].items()
            }
            self.least_seconds = float(said["least_seconds"])
            self.least_hz = float(said["least_hz"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"the part {part.name} has no valid setting {error}; get the bundle again, "
                "or train it again"
            ) from error
        if self._n != frames.N_STATISTICS or any(low >= high for low, high in self._tests.values()):
            raise BundleError(
                f"the part {part.name} reads {self._n} statistics, this genrescope makes "
                f"{frames.N_STATISTICS}, or its limits are no limits; train the bundle again"
            )

    def judge(self, features: npt.ArrayLike, *, seconds: float | None = None) -> Familiar:
        """Judge one track.

        Parameters
        ----------
        features : array-like [shape=(windows, n_features), float32]
            Rows of :mod:`genrescope.audio.frames`; only the statistics, which come first, are read.
        seconds : float, optional
            How much sound a window holds (``TrackFeatures.window``); left out, it is taken to be
            enough.

        Returns
        -------
        Familiar

        Raises
        ------
        DataError
            If the rows are too short, there are none, or they hold NaN or infinity.
        """
        rows = np.asarray(features, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] < self._n:
            raise DataError(
                f"features have shape {list(rows.shape)}, expected [windows, {self._n} or more]; "
                "give the rows of genrescope.audio.frames"
            )
        statistics = np.ascontiguousarray(rows[:, : self._n])
        values = self._part.run({"statistics": statistics})
        score = max(
            (float(values[test].mean(dtype=np.float64)) - middle) / (limit - middle)
            for test, (middle, limit) in self._tests.items()
        )
        reason = self._rule(statistics, seconds)
        if not reason and score > 1:
            reason = self._words(statistics)
        return Familiar(score=score, familiar=not reason, reason=reason)

    def _rule(self, statistics: FloatArray, seconds: float | None) -> str:
        if seconds is not None and seconds < self.least_seconds:
            return f"too little sound ({math.floor(10 * seconds) / 10:.1f} s)"
        if float(heard_to_hz(statistics).max()) <= self.least_hz:
            return f"nothing above {self.least_hz / 1000:.3g} kHz"
        return ""

    def _words(self, statistics: FloatArray) -> str:
        """The aspect that is farthest outside of what is usual, if any is."""
        worst, word = 0.0, ""
        for name, values in aspects(statistics).items():
            if name not in self._usual:
                continue
            low, high = self._usual[name]
            value, width = float(values.mean()), max(high - low, 1e-6)
            for far, said in zip(((low - value), (value - high)), ASPECTS[name], strict=True):
                if far / width > worst:
                    worst, word = far / width, said
        return f"{UNLIKE} ({word})" if word else UNLIKE

    def __repr__(self) -> str:
        return f"Familiarity({self._part!r})"


@lru_cache(maxsize=1)
def _columns() -> dict[str, slice]:
    """Where the statistics that are looked at by name stand."""
    names = frames.STATISTIC_NAMES
    bands = {
        what: slice(
            names.index(f"band.{what}.0"), names.index(f"band.{what}.0") + frames.READ_BANDS
        )
        for what in ("std", "p50", "p95")
    }
    flatness = names.index("shape.shape_mean.flatness")
    return {**bands, "flatness": slice(flatness, flatness + 1)}


@lru_cache(maxsize=1)
def _centres() -> npt.NDArray[np.float64]:
    top = float(hz_to_mel(frames.REFERENCE_HZ / 2))
    centres = mel_to_hz(np.linspace(0.0, top, frames.N_BANDS + 2))[1:-1]
    return np.asarray(centres[: frames.READ_BANDS], dtype=np.float64)


def aspects(statistics: FloatArray) -> dict[str, FloatArray]:
    """What can be said of a sound in words.

    Parameters
    ----------
    statistics : np.ndarray [shape=(n, N_STATISTICS), float32]
        One row a window.

    Returns
    -------
    dict of str to np.ndarray [shape=(n,), float32]
        By the names of :data:`ASPECTS`. "change": spread of a band over time, mean over bands, in
        dB. "flatness": mean level against level of the mean, in dB, 0 where all bands are alike.
        "fullness": share of bands that sound at least half of the time.
    """
    at = _columns()
    found = {
        "change": statistics[:, at["std"]].mean(axis=1),
        "flatness": statistics[:, at["flatness"]][:, 0],
        "fullness": (statistics[:, at["p50"]] > _HEARD_DB).mean(axis=1),
    }
    return {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}


def heard_to_hz(statistics: FloatArray) -> npt.NDArray[np.float64]:
    """Middle of the highest band that is heard a twentieth of the time.

    Parameters
    ----------
    statistics : np.ndarray [shape=(n, N_STATISTICS), float32]
        One row a window.

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        Hz.
    """
    heard = statistics[:, _columns()["p95"]] > _HEARD_DB
    last = heard.shape[1] - 1 - heard[:, ::-1].argmax(axis=1)
    found: npt.NDArray[np.float64] = _centres()[np.where(heard.any(axis=1), last, 0)]
    return found
