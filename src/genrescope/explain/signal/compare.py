"""Two tracks side by side: what differs between them, in numbers and in sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrescope.explain.signal.words import (
    decibels,
    hertz,
    key_in_words,
    share,
    tempo_in_words,
)

if TYPE_CHECKING:
    from genrescope.explain.signal.measures import TrackSignal

__all__ = ["Measure", "between", "measures_of", "what_differs"]


@dataclass(frozen=True)
class Measure:
    """One thing in which two tracks may differ.

    Attributes
    ----------
    name : str
        What is measured.
    first, second : str
        Of the two tracks, with units.
    words : str
        The difference in a sentence without a full stop; empty where it is too small to matter.
    weight : float
        How large it is, in differences that begin to matter.
    figures : tuple of str
        Where it is to be seen.
    """

    name: str
    first: str
    second: str
    words: str
    weight: float
    figures: tuple[str, ...]


@dataclass(frozen=True)
class _Scale:
    """How a number is compared: from `least` on a difference is told."""

    name: str
    value: Callable[[TrackSignal], float]
    text: Callable[[float], str]
    least: float
    tell: Callable[[str, str, float, float], str]  # more, less, of the one, of the other
    figures: tuple[str, ...]
    ratio: bool = False


def _times(more: float, less: float) -> str:
    ratio = more / max(less, 1e-9)
    return f"{ratio:.1f} times" if ratio < 10 else "more than ten times"


_SCALES = (
    _Scale(
        "average level",
        lambda s: s.level.rms_db,
        decibels,
        1.5,
        lambda m, n, x, y: f"{m} is {x - y:.1f}\u00a0dB louder on average",
        ("waveform",),
    ),
    _Scale(
        "peaks above the average",
        lambda s: s.level.crest_db,
        decibels,
        3.0,
        lambda m, n, x, y: f"the peaks of {m} stand out more, by {x - y:.0f}\u00a0dB",
        ("waveform",),
    ),
    _Scale(
        "half of the energy below",
        lambda s: s.tone.half_hz,
        hertz,
        1.4,
        lambda m, n, x, y: f"half of the energy reaches {_times(x, y)} as high in {m} as in {n}",
        ("stft-log", "mel-filters"),
        ratio=True,
    ),
    _Scale(
        "nine tenths of the energy below",
        lambda s: s.tone.ninety_hz,
        hertz,
        1.4,
        lambda m, n, x, y: (
            f"nine tenths of the energy reach {_times(x, y)} as high in {m} as in {n}"
        ),
        ("stft-linear", "mel-filters"),
        ratio=True,
    ),
    _Scale(
        "bass below 150 Hz",
        lambda s: s.tone.bass,
        share,
        0.1,
        lambda m, n, x, y: (
            f"the bass below 150 Hz has {share(x)} of the energy of {m} and "
            f"{share(y)} of that of {n}"
        ),
        ("stft-log",),
    ),
    _Scale(
        "brightness (mean frequency)",
        lambda s: s.tone.centroid_hz,
        hertz,
        1.25,
        lambda m, n, x, y: (
            f"{m} sounds brighter: its mean frequency is {hertz(x)}, that of {n} {hertz(y)}"
        ),
        ("stft-linear", "mfcc"),
        ratio=True,
    ),
    _Scale(
        "energy in held notes",
        lambda s: s.tone.held,
        share,
        0.1,
        lambda m, n, x, y: (
            f"held notes have {share(x)} of the energy of {m} and {share(y)} of "
            f"that of {n}: more level lines there, more upright ones here"
        ),
        ("mel-spectrogram",),
    ),
    _Scale(
        "onsets a second",
        lambda s: len(s.rhythm.onsets) / s.excerpt.seconds,
        lambda v: f"{v:.1f}",
        1.25,
        lambda m, n, x, y: f"more begins in {m}: {x:.1f} onsets a second, {y:.1f} in {n}",
        ("onsets",),
        ratio=True,
    ),
)


def measures_of(first: TrackSignal, second: TrackSignal) -> tuple[Measure, ...]:
    """Everything that is compared, in the order of the figures.

    Parameters
    ----------
    first, second : TrackSignal
        The tracks, called A and B.
    """
    rows = [_measure(scale, first, second) for scale in _SCALES]
    rows.append(_words("notes", key_in_words, first, second, _key_differs, ("chroma",)))
    rows.append(_words("tempo", tempo_in_words, first, second, _tempo_differs, ("tempogram",)))
    return tuple(rows)


def what_differs(measures: tuple[Measure, ...], *, most: int = 5) -> tuple[str, ...]:
    """The largest differences as sentences, the largest first."""
    told = sorted((m for m in measures if m.words), key=lambda m: -m.weight)[:most]
    return tuple(_sentence(m.words) for m in told)


def between(measures: tuple[Measure, ...], figure: str) -> str:
    """What differs in a figure, in a sentence."""
    told = [m for m in measures if figure in m.figures and m.words]
    if told:
        return _sentence("; ".join(m.words for m in told))
    if any(figure in m.figures for m in measures):
        return "Here the two hardly differ."
    return ""


def _measure(scale: _Scale, first: TrackSignal, second: TrackSignal) -> Measure:
    a, b = scale.value(first), scale.value(second)
    (more, x), (less, y) = sorted((("A", a), ("B", b)), key=lambda pair: -pair[1])
    if scale.ratio:
        weight = math.log(max(x, 1e-9) / max(y, 1e-9)) / math.log(scale.least)
    else:
        weight = (x - y) / scale.least
    words = scale.tell(more, less, x, y) if weight >= 1 else ""
    return Measure(scale.name, scale.text(a), scale.text(b), words, weight, scale.figures)


def _words(
    name: str,
    text: Callable[[TrackSignal], str],
    first: TrackSignal,
    second: TrackSignal,
    differ: Callable[[TrackSignal, TrackSignal], tuple[str, float]],
    figures: tuple[str, ...],
) -> Measure:
    words, weight = differ(first, second)
    return Measure(name, text(first), text(second), words, weight, figures)


def _key_differs(first: TrackSignal, second: TrackSignal) -> tuple[str, float]:
    if first.pitch is None or second.pitch is None:
        return "", 0.0
    spread = abs(float(first.pitch.shares.max()) - float(second.pitch.shares.max()))
    top = [" and ".join(s.pitch.strongest(2)) for s in (first, second) if s.pitch is not None]
    return f"A dwells on {top[0]}, B on {top[1]}", 1.0 + 5 * spread


def _tempo_differs(first: TrackSignal, second: TrackSignal) -> tuple[str, float]:
    a, b = first.rhythm, second.rhythm
    if "short" in (a.pulse, b.pulse):
        return "", 0.0
    if a.heard != b.heard:
        one, other = ("A", "B") if a.heard else ("B", "A")
        tempo = a.tempo if a.heard else b.tempo
        return f"{one} has a pulse, of about {tempo:.0f}\u00a0BPM, and {other} has none", 4.0
    if not a.heard:
        return "", 0.0
    parts = []
    fast, slow = max(a.tempo, b.tempo), min(a.tempo, b.tempo)
    weight = math.log(fast / slow) / math.log(1.06)
    if weight >= 1:
        parts.append(f"A goes at about {a.tempo:.0f}\u00a0BPM, B at {b.tempo:.0f}")
    if abs(a.agreement - b.agreement) >= 0.1:
        clear, other = ("A", "B") if a.agreement > b.agreement else ("B", "A")
        parts.append(f"the pulse of {clear} is clearer than that of {other}")
        weight = max(weight, abs(a.agreement - b.agreement) / 0.1)
    return ", and ".join(parts), min(weight, 4.0)


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."
