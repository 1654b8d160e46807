"""Onsets, tempo and beats of an excerpt: librosa's tools, and how far to believe them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.mel import power_to_db
from genrescope.errors import MissingExtraError

__all__ = ["Rhythm", "rhythm_of"]

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

RANGE_DB = 80.0
_COMB = 8  # beats over which a pulse is followed
_OFF = 0.045  # a tempo read off one lag may be so far from the right one
_CLEAR = 0.2  # agreement from which a pulse is called clear
_LEAST = 0.05  # and below which there is none
_HEARD = 0.15  # autocorrelation from which a moment has the pulse
_MIN_SECONDS = 3.0  # less shows no tempo


@dataclass(frozen=True, eq=False)
class Rhythm:
    """When something begins, and how regularly.

    Attributes
    ----------
    strength : np.ndarray [shape=(t,), float32]
        Onset strength: how much louder the mel bands become from one frame to the next, in dB.
    onsets, beats : np.ndarray [shape=(n,), float64]
        Seconds from the start of the excerpt; `beats` is empty where there is no pulse.
    tempogram : np.ndarray [shape=(lags, t), float32]
        Local autocorrelation of `strength` less its mean, 1 at lag 0; about 9 s to a window.
    bpm : np.ndarray [shape=(lags,), float64]
        Tempo of each lag, falling; infinite for lag 0.
    tempo : float
        Beats per minute, as the whole excerpt agrees on them.
    agreement : float
        How alike the onsets are one to eight beats later: 1 for a machine, 0 for noise.
    presence : float
        Share of the time in which the pulse is heard at this tempo.
    pulse : {"clear", "weak", "none", "short"}
        What to make of `tempo`: nothing where there is no pulse, or too little sound.
    """

    strength: FloatArray
    onsets: DoubleArray
    beats: DoubleArray
    tempogram: FloatArray
    bpm: DoubleArray
    tempo: float
    agreement: float
    presence: float
    pulse: str

    @property
    def heard(self) -> bool:
        """Whether there is a pulse at all."""
        return self.pulse in ("clear", "weak")


def rhythm_of(mel_power: FloatArray, *, sr: int, n_fft: int, hop_length: int) -> Rhythm:
    """Find onsets, tempo and beats.

    Parameters
    ----------
    mel_power : np.ndarray [shape=(n_mels, t), float32]
        Power mel spectrogram.
    sr, n_fft, hop_length : int > 0
        What it was made with.

    Returns
    -------
    Rhythm

    Raises
    ------
    MissingExtraError
        If librosa is not installed.
    """
    librosa = _librosa()
    fps = sr / hop_length
    db = power_to_db(mel_power)
    db = np.maximum(db, db.max() - np.float32(RANGE_DB))
    strength = np.asarray(
        librosa.onset.onset_strength(S=db, sr=sr, hop_length=hop_length, n_fft=n_fft), np.float32
    )
    count = len(strength)
    level = float(strength.max(initial=0.0))
    centred = strength - strength.mean()
    tempogram = np.asarray(
        librosa.feature.tempogram(onset_envelope=centred, sr=sr, hop_length=hop_length), np.float32
    )
    bpm = np.full(len(tempogram), np.inf)
    bpm[1:] = 60.0 * fps / np.arange(1, len(tempogram))
    none = np.zeros(0)
    if level < 1e-3 or count < _MIN_SECONDS * fps:
        onsets = none if level < 1e-3 else _onsets(librosa, strength, sr, hop_length)
        return Rhythm(strength, onsets, none, tempogram, bpm, 0.0, 0.0, 0.0, "short")
    guess = librosa.feature.tempo(onset_envelope=strength, sr=sr, hop_length=hop_length)
    lag, agreement = _refined(centred, 60.0 * fps / float(np.atleast_1d(guess)[0]))
    least = max(_LEAST, 2.0 / np.sqrt(count))
    pulse = "clear" if agreement >= max(_CLEAR, least) else "weak" if agreement >= least else "none"
    tempo = 60.0 * fps / lag
    beats = none
    if pulse != "none":
        _, frames = librosa.beat.beat_track(
            onset_envelope=strength, sr=sr, hop_length=hop_length, bpm=tempo, trim=False
        )
        beats = np.asarray(frames, np.float64) / fps
    return Rhythm(
        strength=strength,
        onsets=_onsets(librosa, strength, sr, hop_length),
        beats=beats,
        tempogram=tempogram,
        bpm=bpm,
        tempo=tempo,
        agreement=agreement,
        presence=_presence(tempogram, lag),
        pulse=pulse,
    )


def _librosa() -> Any:
    try:
        import librosa
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("finding beats", extra="lab", package="librosa") from error
    return librosa


def _onsets(librosa: Any, strength: FloatArray, sr: int, hop_length: int) -> DoubleArray:
    frames = librosa.onset.onset_detect(onset_envelope=strength, sr=sr, hop_length=hop_length)
    return np.asarray(frames, np.float64) * hop_length / sr


def _refined(centred: FloatArray, lag: float) -> tuple[float, float]:
    """The lag near `lag`, in frames, whose multiples agree most, and how much they do.

    One lag is read off in whole frames, 5 BPM apart at 120 BPM; the eighth multiple of it is
    eight times as precise.
    """
    n = len(centred)
    spectrum = np.fft.rfft(centred.astype(np.float64), 2 * n)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:n]
    correlation /= correlation[0] or 1.0
    places = np.arange(n)
    lags = lag * np.exp(np.linspace(-_OFF, _OFF, 181))
    scores = []
    for one in lags:
        beats = np.arange(1, 1 + max(1, min(_COMB, int(n / 2 / one))))
        scores.append(float(np.interp(beats * one, places, correlation).mean()))
    best = int(np.argmax(scores))
    return float(lags[best]), scores[best]


def _presence(tempogram: FloatArray, lag: float) -> float:
    """Share of frames whose nearest peak lies at `lag` and is high enough."""
    lags = np.arange(len(tempogram))
    near = np.flatnonzero(np.abs(lags - lag) <= max(2.0, 0.15 * lag))
    if not len(near):
        return 0.0
    part = tempogram[near]
    found = near[part.argmax(axis=0)]
    there = (np.abs(found - lag) <= max(1.0, 0.05 * lag)) & (part.max(axis=0) >= _HEARD)
    return float(there.mean())
