"""Short pieces of music that the project makes itself, for where there is no other sound.

They differ in rhythm and timbre, so that a recogniser has something to tell apart; no
genre is claimed for any. The same seed gives the same samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["PIECES", "SR", "make_piece", "write_pieces"]

SR = 44_100  # Hz
SECONDS = 10.0

Samples = npt.NDArray[np.float64]


def _time(seconds: float) -> Samples:
    return np.arange(int(seconds * SR)) / SR


def _hz(semitones: float) -> float:
    """Frequency of a note, in semitones above A at 110 Hz."""
    return 110.0 * 2 ** (semitones / 12)


def _saw(frequency: float, seconds: float, *, brightness: int) -> Samples:
    """A sawtooth of a few partials, all below 10 kHz."""
    t = _time(seconds)
    partials = range(1, min(brightness, int(10_000 / frequency)) + 1)
    return np.asarray(sum(np.sin(2 * np.pi * frequency * k * t) / k for k in partials))


def _decay(seconds: float, half_life: float) -> Samples:
    return np.asarray(0.5 ** (_time(seconds) / half_life))


def _kick() -> Samples:
    t = _time(0.3)
    return np.asarray(np.sin(2 * np.pi * (45 * t + 6 * (1 - np.exp(-t * 30)))) * _decay(0.3, 0.05))


def _snare(rng: np.random.Generator) -> Samples:
    t = _time(0.2)
    noise = rng.normal(size=len(t)) * 0.4
    return np.asarray((noise + np.sin(2 * np.pi * 190 * t)) * _decay(0.2, 0.03))


def _hat(rng: np.random.Generator) -> Samples:
    noise = np.diff(rng.normal(size=int(0.06 * SR) + 1))
    return np.asarray(noise * 0.3 * _decay(0.06, 0.008)[: len(noise)])


def _pluck(frequency: float, seconds: float, rng: np.random.Generator) -> Samples:
    """A plucked string (Karplus and Strong 1983), period by period."""
    period = int(SR / frequency)
    loop = rng.uniform(-1, 1, size=period)
    periods = []
    for _ in range(int(seconds * SR / period) + 1):
        periods.append(loop)
        loop = 0.498 * (loop + np.roll(loop, 1))
    return np.concatenate(periods)[: int(seconds * SR)]


def _add(out: Samples, sound: Samples, at: float, level: float = 1.0) -> None:
    start = int(at * SR)
    end = min(len(out), start + len(sound))
    if end > start:
        out[start:end] += level * sound[: end - start]


def _four_on_the_floor(out: Samples, rng: np.random.Generator) -> None:
    beat = 60 / 126
    for i in range(int(SECONDS / beat) + 1):
        _add(out, _kick(), i * beat)
        _add(out, _hat(rng), (i + 0.5) * beat, 0.8)
        for j in range(4):
            note = _hz((0, 0, 12, 7, 0, 3, 10, 7)[(4 * i + j) % 8])
            _add(
                out,
                _saw(note, beat / 4, brightness=12) * _decay(beat / 4, 0.05),
                (i + j / 4) * beat,
                0.25,
            )


def _plucked_strings(out: Samples, rng: np.random.Generator) -> None:
    chords = ((3, 7, 10, 15), (0, 7, 12, 16), (-2, 5, 10, 14), (-4, 3, 8, 12))
    step = 0.21
    for i in range(int(SECONDS / step)):
        chord = chords[(i // 8) % 4]
        note = chord[(0, 2, 1, 3, 2, 1, 3, 2)[i % 8]]
        _add(out, _pluck(_hz(note), 1.4, rng), i * step + rng.normal(0, 0.004) + 0.01, 0.5)


def _loud_guitars(out: Samples, rng: np.random.Generator) -> None:
    beat = 60 / 168
    for i in range(int(SECONDS / beat) + 1):
        root = (-5, -5, -2, 0)[(i // 8) % 4]
        chord = sum(_saw(_hz(root + n), beat, brightness=30) for n in (0, 7, 12))
        _add(out, np.tanh(6 * np.asarray(chord)), i * beat, 0.35)
        _add(out, _kick() if i % 2 == 0 else _snare(rng), i * beat, 0.9)
        _add(out, _hat(rng), i * beat, 1.2)
        _add(out, _hat(rng), (i + 0.5) * beat, 1.2)


def _slow_beat(out: Samples, rng: np.random.Generator) -> None:
    beat = 60 / 88
    for i in range(int(SECONDS / beat) + 1):
        if i % 2:
            _add(out, _snare(rng), i * beat)
        for place in ((0, 0.75), (), (0.5,), ())[i % 4]:
            _add(out, _kick(), (i + place) * beat, 1.2)
        for place in (0, 0.54):
            _add(out, _hat(rng), (i + place) * beat, 0.6)
        bass = np.sin(2 * np.pi * _hz((-12, -12, -9, -14)[(i // 4) % 4]) * _time(beat))
        _add(out, bass * _decay(beat, 0.3), i * beat, 0.7)


def _drifting_noise(out: Samples, rng: np.random.Generator) -> None:
    t = _time(SECONDS)
    for _ in range(14):
        frequency, rate = rng.uniform(60, 3000), rng.uniform(0.05, 0.4)
        swell = np.sin(2 * np.pi * rate * t + rng.uniform(0, 6)) ** 2
        out += (
            0.1 * swell * np.sin(2 * np.pi * frequency * t + 3 * np.sin(2 * np.pi * rate * 9 * t))
        )
    walk = np.cumsum(rng.normal(size=len(t) + 1000))
    total = np.cumsum(walk)
    brown = walk[500:-500] - (total[1000:] - total[:-1000]) / 1000  # without its slow drift
    out += 0.1 * brown / np.abs(brown).max() * np.sin(2 * np.pi * 0.2 * t) ** 2


#: File name (without ending) to what plays it.
PIECES: dict[str, Callable[[Samples, np.random.Generator], None]] = {
    "four on the floor": _four_on_the_floor,
    "plucked strings": _plucked_strings,
    "loud guitars": _loud_guitars,
    "slow beat": _slow_beat,
    "drifting noise": _drifting_noise,
}


def make_piece(name: str, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Ten seconds of one piece.

    Parameters
    ----------
    name : str
        One of :data:`PIECES`.
    seed : int
        For what is left to chance in it.

    Returns
    -------
    np.ndarray [shape=(441000,), float32]
        Mono samples at 44,100 Hz, peak 0.8.
    """
    out = np.zeros(int(SECONDS * SR))
    PIECES[name](out, np.random.default_rng(seed))
    return np.asarray(0.8 * out / np.abs(out).max(), dtype=np.float32)


def write_pieces(folder: Path) -> list[Path]:
    """All pieces as 16-bit wav files; those that are there already are kept."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in PIECES:
        path = folder / f"{name}.wav"
        if not path.exists():
            part = folder / f".{name}.{os.getpid()}.part"
            try:
                soundfile.write(part, make_piece(name), SR, format="WAV", subtype="PCM_16")
                os.replace(part, path)
            finally:
                with suppress(FileNotFoundError):
                    part.unlink()
        paths.append(path)
    return paths
