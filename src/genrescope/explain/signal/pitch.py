"""Which notes sound in a piece of a track, and which key they fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genrescope.audio.chroma import chroma_of_notes, normalise
from genrescope.audio.cqt import constant_q
from genrescope.errors import AudioTooShortError

__all__ = ["NOTES", "Pitch", "chroma_of", "note_name", "notes_of", "pitch_of"]

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

NOTES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")

_SOUNDS = 0.05  # share from which a pitch class is worth naming

# How well each pitch class fits a key, from C (Krumhansl and Kessler 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


@dataclass(frozen=True, eq=False)
class Pitch:
    """Which notes.

    Attributes
    ----------
    shares : np.ndarray [shape=(12,), float64]
        Of the pitch classes from C; they sum to 1.
    tuning_cents : float
        Deviation from A = 440 Hz in hundredths of a semitone, -50 to 50.
    key : str
        The key whose profile fits `shares` best, such as "A minor".
    fit : float
        Correlation with it.
    second : str
        The next best.
    margin : float
        How much better the first one fits.
    """

    shares: DoubleArray
    tuning_cents: float
    key: str
    fit: float
    second: str
    margin: float

    def strongest(self, n: int = 3) -> tuple[str, ...]:
        """Names of the `n` most frequent pitch classes, without those that hardly sound."""
        order = np.argsort(-self.shares, kind="stable")[:n]
        return tuple(NOTES[i] for i in order if self.shares[i] >= _SOUNDS)


def note_name(hz: float) -> str:
    """The nearest note, A4 at 440 Hz.

    >>> note_name(440.0), note_name(261.6), note_name(62.0)
    ('A4', 'C4', 'B1')
    """
    midi = round(69 + 12 * math.log2(hz / 440.0))
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"


def notes_of(y: FloatArray, *, sr: int, tuning: float, hop_length: int) -> FloatArray | None:
    """How strong each note is, over time.

    A filter of the constant-Q transform is a semitone and a half wide, so a note leaks into its
    neighbours; only notes that are louder than both neighbours are kept.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples.
    sr, hop_length : int > 0
        Rate in Hz, and step in samples.
    tuning : float
        Deviation from A = 440 Hz in semitones.

    Returns
    -------
    np.ndarray [shape=(84, t), float32] or None
        Seven octaves from C1; None where the piece is too short for the lowest one.
    """
    try:
        notes = constant_q(y, sr=sr, tuning=tuning, hop_length=hop_length)
    except AudioTooShortError:
        return None
    edge = np.zeros_like(notes[:1])
    below, above = np.concatenate([edge, notes[:-1]]), np.concatenate([notes[1:], edge])
    kept: FloatArray = np.where((notes > below) & (notes >= above), notes, np.float32(0))
    return kept


def chroma_of(notes: FloatArray) -> FloatArray:
    """Pitch classes [12, t], the strongest of each frame 1."""
    classes = chroma_of_notes(notes)
    scaled = normalise(classes, order=np.inf)
    # Quiet frames stay dark: what an encoder left in a pause has a pitch, too.
    loud = classes.max(axis=0)
    scaled[:, loud < loud.max() * 1e-3] = 0.0
    return scaled


def pitch_of(notes: FloatArray, *, tuning: float) -> Pitch | None:
    """Measure which notes there are; None where there are none."""
    summed = chroma_of_notes(notes).sum(axis=1, dtype=np.float64)
    if not summed.sum():
        return None
    shares = summed / summed.sum()
    fits: list[tuple[float, str]] = []
    for profile, mode in ((_MAJOR, "major"), (_MINOR, "minor")):
        for tonic, name in enumerate(NOTES):
            fit = float(np.corrcoef(shares, np.roll(profile, tonic))[0, 1])
            fits.append((fit if math.isfinite(fit) else 0.0, f"{name} {mode}"))
    (first, key), (next_fit, second) = sorted(fits, reverse=True)[:2]
    return Pitch(shares, 100.0 * tuning, key, first, second, first - next_fit)
