"""Made-up music: short clips whose genres differ by rhythm, timbre and harmony.

This is for trying and testing without a download. It sounds like no real music, and what is
measured on it says nothing about real music.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError, UnknownGenreError

__all__ = ["STYLES", "Style", "synthesise"]

_MAJOR, _MINOR, _SEVENTH, _MINOR7 = (0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 7, 10)
_FIFTH, _CLUSTER, _NINTH = (0, 7, 12), (0, 1, 6), (0, 4, 11, 14)
_PARTIALS = 12

_Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Style:
    """How a genre is made up.

    Attributes
    ----------
    tempo : (float, float)
        Beats per minute, lowest and highest.
    kick, snare, hat : str
        One bar of 16 steps; ``x`` is a hit.
    swing : float
        Share of a step by which every second one is late.
    roots : tuple of int
        Semitones above the key, one chord a half bar.
    chord : tuple of int
        Semitones above the root.
    tilt : float
        Partial k has the amplitude k to the minus this.
    fm : float
        Modulation index; bell-like where it is high.
    attack, decay : float
        s.
    noise : float
        Breath, beside a tone of 1.
    drive : float
        Into a soft clipper; 0 is clean.
    base : int
        MIDI number of the key, about.
    steps : int
        Steps from one note to the next; 8 plays whole chords.
    """

    tempo: tuple[float, float]
    kick: str
    snare: str
    hat: str
    swing: float
    roots: tuple[int, ...]
    chord: tuple[int, ...]
    tilt: float
    fm: float
    attack: float
    decay: float
    noise: float
    drive: float
    base: int
    steps: int


_OFF = "." * 16
_FOUR, _EIGHTS, _OFFBEATS = "x...x...x...x...", "x.x.x.x.x.x.x.x.", "..x...x...x...x."
_BACK, _ALL = "....x.......x...", "x" * 16

# fmt: off
STYLES: Mapping[str, Style] = MappingProxyType({
    "Hip-Hop": Style((80, 96), "x..x..x...x.....", _BACK, _EIGHTS, .25, (0, 0, -4, -2), _MINOR7,
                     2.2, 0, .01, .3, .02, .4, 45, 4),
    "Pop": Style((112, 124), _FOUR, _BACK, _EIGHTS, 0, (0, 7, 9, 5), _MAJOR,
                 1.5, 0, .01, .35, .01, .2, 60, 2),
    "Folk": Style((92, 108), _OFF, _OFF, _OFF, 0, (0, 5, 0, 7), _MAJOR,
                  1.2, 0, .004, .5, .01, 0, 55, 2),
    "Experimental": Style((50, 140), "x......x.....x..", _OFF, _OFF, .4, (0, 1, 6, -5), _CLUSTER,
                          .8, 5, .05, .9, .5, 1.5, 50, 3),
    "Rock": Style((128, 150), "x.....x.x.x.....", _BACK, _EIGHTS, 0, (0, 0, 3, 5), _FIFTH,
                  .7, 0, .004, .4, .05, 6, 40, 2),
    "International": Style((96, 112), "x..x..x.x..x..x.", _OFF, _ALL, .1, (0, 1, 0, 10), _MINOR,
                           1.0, 1, .01, .25, .05, .3, 62, 1),
    "Electronic": Style((124, 136), _FOUR, _BACK, _OFFBEATS, 0, (0, 0, -2, -2), _MINOR,
                        .6, 2, .002, .12, 0, 1.5, 48, 1),
    "Instrumental": Style((60, 76), _OFF, _OFF, _OFF, 0, (0, -4, 5, -2), _NINTH,
                          2.4, 0, .4, 2, .03, 0, 57, 8),
    "Blues": Style((84, 100), "x.......x.......", _BACK, "x..xx..xx..xx..x", .33, (0, 5, 0, 7),
                   _SEVENTH, 1.0, 0, .01, .4, .03, 2, 45, 4),
    "Classical": Style((66, 90), _OFF, _OFF, _OFF, 0, (0, 2, 7, 0), _MAJOR,
                       1.8, 0, .08, .7, .01, 0, 64, 2),
    "Country": Style((112, 126), "x.......x.......", "....x.......x...", "..x...x...x...x.", 0,
                     (0, 5, 7, 0), _MAJOR, .9, .5, .003, .22, .01, .3, 52, 2),
    "Easy Listening": Style((76, 92), "x.......x.......", _OFF, _BACK, .1, (0, 9, 2, 7), _NINTH,
                            2.6, .2, .1, 1.2, .02, 0, 60, 8),
    "Jazz": Style((140, 190), "x.........x.....", _OFF, "x...x.xxx...x.xx", .33, (2, 7, 0, 9),
                  _MINOR7, 1.7, .8, .01, .3, .04, .2, 58, 2),
    "Old-Time / Historic": Style((100, 120), _FOUR, _OFFBEATS, _OFF, .2, (0, 7, 0, 7), _SEVENTH,
                                 1.4, 0, .01, .2, .7, 3, 65, 2),
    "Soul-RnB": Style((68, 84), "x..x......x.....", _BACK, _ALL, .2, (0, 9, 5, 7), _MINOR7,
                      2.0, .4, .03, .6, .02, .3, 53, 4),
    "Spoken": Style((100, 150), _OFF, _OFF, _OFF, .5, (0,), (0,),
                    .9, 0, .03, .12, .9, .5, 43, 3),
})
# fmt: on
"""How each top-level genre is made up."""


def synthesise(
    genre: str, *, seconds: float, sr: int = 22050, seed: int, artist: int = 0
) -> NDArray[np.float32]:
    """A clip in the style of a genre.

    Parameters
    ----------
    genre : str
        One of :data:`STYLES`.
    seconds : float > 0
        Its length.
    sr : int
        Sampling rate in Hz, 8,000 or more.
    seed : int >= 0
        Of the clip.
    artist : int >= 0
        Clips of one artist share key, tempo and tone, within the bounds of the genre.

    Returns
    -------
    np.ndarray [shape=(round(seconds * sr),), float32]
        Mono samples in [-1, 1].

    Raises
    ------
    UnknownGenreError
        If the genre has no style.
    DataError
        If there would be no samples, or `sr` is too low.
    """
    if genre not in STYLES:
        raise UnknownGenreError(f"{genre!r} has no made-up style; those are {', '.join(STYLES)}")
    n = round(seconds * sr)
    if n < 1 or sr < 8000:
        raise DataError(
            f"{seconds} s at {sr} Hz cannot be made; ask for a sample or more at 8,000 Hz or more"
        )
    style = STYLES[genre]
    ours, theirs = np.random.default_rng([seed, 0]), np.random.default_rng([artist, 1])
    # The artist's own place in the genre, from which a track strays a little.
    share = np.clip(theirs.uniform(0, 1) + ours.normal(0, 0.1), 0, 1)
    step = 15 / (style.tempo[0] + share * (style.tempo[1] - style.tempo[0]))  # s
    key = style.base + theirs.integers(-5, 6) + ours.integers(-1, 2)
    tilt = max(0.3, style.tilt + theirs.normal(0, 0.15) + ours.normal(0, 0.05))

    y = np.zeros(n, dtype=np.float32)
    start = int(ours.integers(0, 16))  # step of the bar that the clip begins with
    for at in range(int(seconds / step) + 1):
        place = (start + at) % 16
        time = (at + (style.swing if place % 2 else 0)) * step
        first = int(time * sr)
        if first >= n:
            break
        for hits, level, drum in (
            (style.kick, 0.9, _kick),
            (style.snare, 0.5, _snare),
            (style.hat, 0.2, _hat),
        ):
            if hits[place] == "x":
                _add(y, first, np.float32(level * ours.uniform(0.8, 1)) * drum(sr, ours))
        if (start + at) % style.steps == 0:
            root = key + style.roots[(start + at) // 8 % len(style.roots)]
            if style.steps == 8:
                pitches = [root + interval for interval in style.chord]
            else:
                pitches = [root + int(ours.choice(style.chord)) + 12 * int(ours.integers(0, 2))]
            for pitch in pitches:
                hertz = 440 * 2 ** ((pitch - 69) / 12)
                note = _note(style, tilt, hertz, sr, n - first, ours)
                _add(y, first, note * ours.uniform(0.3, 0.4) / len(pitches) ** 0.5)
    if style.drive:
        y = np.tanh((1 + style.drive) * y) / np.tanh(1 + style.drive)
    y = y + 1e-4 * _noise(ours, n)  # no digital silence
    loudest = float(np.abs(y).max())
    return (y * (ours.uniform(0.5, 0.95) / max(loudest, 1e-9))).astype(np.float32)


def _time(n: int, sr: int) -> _Samples:
    """`n` instants, in s."""
    return np.arange(n, dtype=np.float32) / np.float32(sr)


def _noise(rng: np.random.Generator, n: int) -> _Samples:
    return rng.standard_normal(n, dtype=np.float32)


def _add(to: _Samples, at: int, what: _Samples) -> None:
    end = min(len(to), at + len(what))
    to[at:end] += what[: end - at]


def _note(
    style: Style, tilt: float, pitch: float, sr: int, most: int, rng: np.random.Generator
) -> _Samples:
    """A tone of at most `most` samples."""
    t = _time(min(most, int((style.attack + 3 * style.decay) * sr)), sr)
    phase = 2 * np.pi * pitch * t
    if style.fm:
        phase = phase + style.fm * np.exp(-t / style.decay) * np.sin(1.41 * phase)
    tone = np.zeros_like(t)
    for k in range(1, _PARTIALS + 1):
        if k * pitch >= 0.45 * sr:
            break
        tone += k**-tilt * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    if style.noise:
        tone += style.noise * _noise(rng, len(t))
    fade = np.exp(-np.maximum(t - style.attack, 0) / style.decay)
    return np.asarray(tone * np.minimum(t / style.attack, 1) * fade)


def _kick(sr: int, rng: np.random.Generator) -> _Samples:
    t = _time(sr // 4, sr)
    phase = 2 * np.pi * (50 * t + 4 * (1 - np.exp(-t / 0.02)))
    return np.asarray(np.sin(phase) * np.exp(-t / 0.07))


def _snare(sr: int, rng: np.random.Generator) -> _Samples:
    t = _time(sr // 5, sr)
    body = 0.4 * np.sin(2 * np.pi * 190 * t)
    return np.asarray((body + 0.6 * _noise(rng, len(t))) * np.exp(-t / 0.05))


def _hat(sr: int, rng: np.random.Generator) -> _Samples:
    t = _time(sr // 16, sr)
    return np.asarray(np.diff(_noise(rng, len(t) + 1)) * np.exp(-t / 0.015))
