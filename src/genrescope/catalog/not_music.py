"""Made-up sound that is not music: hiss, hum, tones, clicks, applause, weather, machines, babble.

A recogniser of genres must not name one for these. They are made from a seed by numpy alone, each
kind with its levels, colours and speeds drawn anew, so that no two are the same recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError

__all__ = ["KINDS", "Kind", "make_not_music"]

_Samples = NDArray[np.float32]
_Make = Callable[[np.random.Generator, int, int], NDArray[np.floating]]


@dataclass(frozen=True)
class Kind:
    """A kind of sound that is not music.

    Attributes
    ----------
    family : str
        What it has in common with its neighbours: "noise", "tones", "strokes", "places", "voices".
    make : callable
        ``make(rng, n, sr)`` gives `n` samples of any level.
    """

    family: str
    make: _Make


def make_not_music(
    kind: str, *, seconds: float = 30.0, sr: int = 44_100, seed: int
) -> NDArray[np.float32]:
    """A recording of one kind.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    seconds : float > 0
        Its length.
    sr : int
        Sampling rate in Hz, 8,000 or more.
    seed : int >= 0
        Decides everything that is drawn.

    Returns
    -------
    np.ndarray [shape=(round(seconds * sr),), float32]
        Mono samples; their peak is between -30 and 0 dB of full scale.

    Raises
    ------
    DataError
        If the kind is not known, there would be no samples, or `sr` is too low.

    Examples
    --------
    >>> hiss = make_not_music("pink hiss", seconds=1.0, seed=0)
    >>> hiss.shape, bool(abs(hiss).max() <= 1)
    ((44100,), True)
    """
    if kind not in KINDS:
        raise DataError(f"{kind!r} is not a kind of non-music; those are {', '.join(KINDS)}")
    n = round(seconds * sr)
    if n < 1 or sr < 8_000:
        raise DataError(
            f"{seconds} s at {sr} Hz cannot be made; ask for a sample or more at 8,000 Hz or more"
        )
    rng = np.random.default_rng([seed, *kind.encode()])
    y = np.asarray(KINDS[kind].make(rng, n, sr), dtype=np.float64)
    peak = 10 ** (rng.uniform(-30, 0) / 20)
    return (y * (peak / max(float(np.abs(y).max()), 1e-12))).astype(np.float32)


# --- bricks ----------------------------------------------------------------


def _coloured(rng: np.random.Generator, n: int, power: float) -> NDArray[np.float64]:
    """Noise whose power falls as frequency to the minus `power`, with unit spread."""
    size = 1 << max(1, (n - 1).bit_length())
    spectrum = np.fft.rfft(rng.standard_normal(size))
    shape = np.maximum(np.arange(len(spectrum)), 1.0) ** (-power / 2)
    y = np.fft.irfft(spectrum * shape, size)[:n]
    return np.asarray(y / max(float(y.std()), 1e-12))


def _band(y: NDArray[np.float64], sr: int, low: float, high: float) -> NDArray[np.float64]:
    """What is between two frequencies in Hz, with edges of a third of an octave."""
    size = 1 << max(1, (len(y) - 1).bit_length())
    hz = np.maximum(np.fft.rfftfreq(size, 1 / sr), 1e-3)
    gain = 1 / (1 + (low / hz) ** 12) / (1 + (hz / high) ** 12)
    return np.asarray(np.fft.irfft(np.fft.rfft(y, size) * gain, size)[: len(y)])


def _faster(y: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """The same sound at a rate so many times as high, nothing added above."""
    size = 1 << max(1, (len(y) - 1).bit_length())
    spectrum = np.fft.rfft(y, size)
    spectrum[-1] = 0
    return np.asarray(np.fft.irfft(spectrum, size * times)[: len(y) * times] * times)


def _slow(
    rng: np.random.Generator, n: int, sr: int, *, every: float, low: float, high: float
) -> NDArray[np.float64]:
    """A curve that wanders between `low` and `high`, with a new goal every so many seconds."""
    knots = rng.uniform(low, high, size=max(2, int(n / sr / every) + 2))
    return np.interp(np.arange(n) / sr, np.arange(len(knots)) * every, knots)


def _phase(hertz: NDArray[np.float64], sr: int) -> NDArray[np.float64]:
    return np.asarray(2 * np.pi * np.cumsum(hertz) / sr)


def _strokes(
    rng: np.random.Generator, n: int, sr: int, *, rate: float, decay: float, power: float
) -> NDArray[np.float64]:
    """Short bursts of noise, `rate` a second at random, each fading within `decay` seconds."""
    hits = np.zeros(n)
    count = int(rng.poisson(rate * n / sr)) + 1
    np.add.at(hits, rng.integers(0, n, size=count), rng.exponential(size=count))
    t = np.arange(max(1, int(6 * decay * sr))) / sr
    envelope = np.exp(-t / decay)
    size = 1 << (n + len(t)).bit_length()
    loud = np.fft.irfft(np.fft.rfft(hits, size) * np.fft.rfft(envelope, size), size)[:n]
    return np.asarray(np.maximum(loud, 0.0) * _coloured(rng, n, power))


# --- noise -----------------------------------------------------------------


def _hiss(power: float) -> _Make:
    def make(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
        return _coloured(rng, n, power + rng.uniform(-0.2, 0.2))

    return make


def _radio(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Hiss through a channel, between two stations."""
    low = float(np.exp(rng.uniform(np.log(60), np.log(600))))
    y = _band(_coloured(rng, n, 0.5), sr, low, low * rng.uniform(6, 30))
    return y * _slow(rng, n, sr, every=rng.uniform(0.3, 3), low=0.5, high=1)


def _faint(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """What a converter gives when nothing is connected: a few steps of 16 bits."""
    y = np.round(rng.normal(scale=rng.uniform(0.6, 3), size=n) + rng.uniform(-0.4, 0.4))
    y[0] = max(1.0, abs(float(y[0])))
    return np.asarray(y)


def _hum(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Mains, 50 or 60 Hz, with overtones and a little noise."""
    mains = float(rng.choice([50.0, 60.0])) + rng.uniform(-0.05, 0.05)
    t = np.arange(n) / sr
    y = rng.uniform(0.0005, 0.03) * _coloured(rng, n, rng.uniform(0, 1.5))
    tilt = rng.uniform(0.5, 2)
    for k in range(1, int(rng.integers(2, 30))):
        weight = k**-tilt * rng.uniform(0.2, 1) * (1.5 if k % 2 == 0 else 1.0)
        y += weight * np.sin(2 * np.pi * k * mains * t + rng.uniform(0, 2 * np.pi))
    return np.asarray(y)


# --- tones -----------------------------------------------------------------


def _wave(phase: NDArray[np.float64], shape: int) -> NDArray[np.float64]:
    sine = np.sin(phase)
    if shape == 0:
        return np.asarray(sine)
    if shape == 1:
        return np.asarray(np.tanh(8 * sine))
    return np.asarray(np.mod(phase / np.pi, 2.0) - 1.0)


def _tone(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """One steady tone, as from a test generator."""
    hertz = np.full(n, float(np.exp(rng.uniform(np.log(60), np.log(0.3 * sr)))))
    y = _wave(_phase(hertz, sr), int(rng.integers(0, 3)))
    return np.asarray(y + rng.choice([0.0, 1e-4, 1e-2]) * rng.standard_normal(n))


def _tones(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Several steady tones that stand in no simple ratio."""
    t, y = np.arange(n) / sr, np.zeros(n)
    for _ in range(int(rng.integers(2, 9))):
        hertz = float(np.exp(rng.uniform(np.log(80), np.log(6_000))))
        y += rng.uniform(0.2, 1) * np.sin(2 * np.pi * hertz * t + rng.uniform(0, 6.28))
    return np.asarray(y + rng.choice([0.0, 1e-4, 1e-2]) * rng.standard_normal(n))


def _sweep(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """A tone that glides up or down, once or again and again."""
    t = np.arange(n) / sr
    period = float(rng.choice([n / sr, 10.0, 3.0, 1.0]))
    place = np.mod(t / period, 1.0)
    place = 1 - place if rng.random() < 0.5 else place
    low, high = 20 * 2 ** rng.uniform(0, 4), 0.45 * sr * rng.uniform(0.2, 1)
    even = rng.random() < 0.5  # in octaves, else in Hz
    hertz = low * (high / low) ** place if even else low + (high - low) * place
    return np.asarray(
        np.sin(_phase(hertz, sr)) + rng.choice([0.0, 1e-4, 1e-2]) * rng.standard_normal(n)
    )


def _beeps(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Pips, telephone keys or Morse: pairs of tones, on and off."""
    t = np.arange(n) / sr
    step = float(rng.choice([0.06, 0.1, 0.25, 0.5, 1.0]))
    steps = int(n / sr / step) + 1
    regular = rng.random() < 0.5
    on = np.arange(steps) % 2 == 0 if regular else rng.random(steps) < 0.6
    on[0] = True
    first = rng.choice([697.0, 770.0, 852.0, 941.0, 1000.0], size=steps)
    second = rng.choice([1209.0, 1336.0, 1477.0, 2000.0], size=steps)
    if rng.random() < 0.6:
        first[:], second[:] = first[0], second[0]
    at = np.minimum((t / step).astype(np.int64), steps - 1)
    y = np.sin(_phase(first[at], sr)) + rng.choice([0.0, 1.0]) * np.sin(_phase(second[at], sr))
    return np.asarray(y * on[at] + rng.choice([1e-4, 1e-2]) * rng.standard_normal(n))


def _siren(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Two-tone or wailing, over street noise."""
    t = np.arange(n) / sr
    turn = np.sin(2 * np.pi * rng.uniform(0.15, 3) * t)
    turn = np.sign(turn) if rng.random() < 0.5 else turn
    hertz = rng.uniform(500, 1_000) * 2 ** (rng.uniform(0.2, 0.6) * turn)
    phase = _phase(hertz, sr)
    y = sum(np.sin(k * phase) / k for k in range(1, int(rng.integers(2, 8))))
    return np.asarray(y + rng.uniform(0.01, 0.3) * _coloured(rng, n, 1.5))


# --- strokes ---------------------------------------------------------------


def _clicks(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Ticks, as of a clock or a counter."""
    rate = float(np.exp(rng.uniform(np.log(0.7), np.log(20))))
    if rng.random() < 0.5:
        at = (np.arange(0, n / sr, 1 / rate) * sr).astype(np.int64)
    else:
        at = np.sort(rng.integers(0, n, size=max(1, int(rng.poisson(rate * n / sr)))))
    y = np.zeros(n)
    t = np.arange(int(0.02 * sr)) / sr
    ring = np.sin(2 * np.pi * rng.uniform(500, 6_000) * t) * np.exp(-t / rng.uniform(2e-4, 4e-3))
    for start in at.tolist():
        end = min(n, start + len(ring))
        y[start:end] += ring[: end - start]
    return np.asarray(y + rng.choice([1e-5, 1e-3]) * rng.standard_normal(n))


def _crackle(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """The run-in groove of a record."""
    dust = _strokes(rng, n, sr, rate=rng.uniform(5, 80), decay=rng.uniform(1e-4, 1e-3), power=0)
    rumble = _band(_coloured(rng, n, 1.0), sr, 15, 120)
    return dust + rng.uniform(0.002, 0.05) * _coloured(rng, n, 0.7) + rng.uniform(0, 0.3) * rumble


def _applause(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Many hands, nearer and farther, in a room."""
    y = np.zeros(n)
    for _ in range(3):
        centre = float(np.exp(rng.uniform(np.log(700), np.log(2_500))))
        hands = _strokes(
            rng, n, sr, rate=rng.uniform(20, 400), decay=rng.uniform(3e-3, 2e-2), power=0
        )
        y += rng.uniform(0.3, 1) * _band(hands, sr, centre / 2, centre * 3)
    y /= max(float(y.std()), 1e-12)
    y += rng.uniform(0.05, 0.3) * _band(_coloured(rng, n, 0.5), sr, 200, 8_000)
    return np.asarray(y * _slow(rng, n, sr, every=rng.uniform(2, 8), low=0.4, high=1))


def _footsteps(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Steps or knocks: dull strokes at a walking pace, with a quiet room around."""
    y = rng.uniform(0.002, 0.05) * _coloured(rng, n, 1.2)
    at, t = rng.uniform(0, 0.5), np.arange(int(0.15 * sr)) / sr
    pace = rng.uniform(0.3, 1.2)
    while int(at * sr) < n:
        start = int(at * sr)
        knock = np.sin(2 * np.pi * rng.uniform(70, 250) * t) * np.exp(-t / 0.03)
        knock += 0.4 * rng.standard_normal(len(t)) * np.exp(-t / rng.uniform(0.005, 0.03))
        end = min(n, start + len(t))
        y[start:end] += rng.uniform(0.5, 1) * knock[: end - start]
        at += pace * rng.uniform(0.9, 1.1)
    return np.asarray(y)


# --- places ----------------------------------------------------------------


def _rain(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    drops = _strokes(
        rng, n, sr, rate=rng.uniform(50, 1_500), decay=rng.uniform(5e-4, 4e-3), power=0
    )
    drops = _band(drops, sr, rng.uniform(300, 2_000), rng.uniform(5_000, 16_000))
    bed = _coloured(rng, n, rng.uniform(0.2, 0.9))
    return drops / max(float(drops.std()), 1e-12) + rng.uniform(0.2, 1.5) * bed


def _wind(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Gusts: noise whose strength and brightness go up and down."""
    low = _coloured(rng, n, rng.uniform(1.5, 2.2))
    high = _band(_coloured(rng, n, 0.5), sr, 300, rng.uniform(1_000, 3_000))
    gust = _slow(rng, n, sr, every=rng.uniform(0.5, 4), low=0.05, high=1)
    return low * (0.3 + gust) + rng.uniform(0.1, 1) * high * gust**2


def _engine(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """A motor or a fan: a low buzz with many overtones, its speed wandering."""
    hertz = rng.uniform(20, 140) * _slow(rng, n, sr, every=rng.uniform(1, 6), low=0.9, high=1.1)
    phase, y = _phase(hertz, sr), np.zeros(n)
    tilt = rng.uniform(0.6, 1.8)
    for k in range(1, int(rng.integers(8, 40))):
        y += k**-tilt * rng.uniform(0.1, 1) * np.sin(k * phase + rng.uniform(0, 6.28))
    noise = _coloured(rng, n, rng.uniform(0.5, 1.5)) * (1 + 0.5 * np.sin(phase))
    return np.asarray(y + rng.uniform(0.05, 1) * noise)


def _animals(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Birds or crickets: chirps over the air."""
    y = rng.uniform(0.005, 0.1) * _coloured(rng, n, rng.uniform(0.5, 1.5))
    top = min(8_000.0, 0.4 * sr)
    for _ in range(int(rng.integers(1, 4))):
        centre, length = rng.uniform(1_500, top), rng.uniform(0.02, 0.3)
        glide, gap = rng.uniform(-0.6, 0.6), rng.uniform(0.05, 1.5)
        t = np.arange(int(length * sr)) / sr
        at = rng.uniform(0, gap)
        while int(at * sr) < n:
            start = int(at * sr)
            hertz = centre * (1 + glide * (t / length - 0.5)) * rng.uniform(0.95, 1.05)
            chirp = np.sin(_phase(hertz, sr)) * np.sin(np.pi * t / length) ** 2
            end = min(n, start + len(t))
            y[start:end] += rng.uniform(0.3, 1) * chirp[: end - start]
            at += length + gap * rng.uniform(0.5, 1.5)
    return np.asarray(y)


# --- voices ----------------------------------------------------------------

# First three resonances of vowels in Hz (Peterson and Barney 1952, men), rounded.
_VOWELS = np.array(
    [
        (270, 2290, 3010),
        (390, 1990, 2550),
        (530, 1840, 2480),
        (660, 1720, 2410),
        (730, 1090, 2440),
        (570, 840, 2410),
        (440, 1020, 2240),
        (300, 870, 2240),
        (640, 1190, 2390),
        (490, 1350, 1690),
    ],
    dtype=np.float64,
)


def _voice(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Somebody who talks without words: syllables, hisses and pauses of one made-up mouth.

    Every tenth of a second or so, the resonances, the melody and what sounds (voice, breath or
    nothing) take new goals; overtones of the voice are weighted by the resonances.
    """
    hop = max(1, sr // 200)
    frames = n // hop + 2
    t = np.arange(frames) * (hop / sr)
    size = float(rng.uniform(0.9, 1.25))  # of the head: resonances of women and children are higher
    pitch = float(np.exp(rng.uniform(np.log(85), np.log(260))))
    speed = rng.uniform(0.7, 1.4)
    edges, kinds = [0.0], []
    while edges[-1] < t[-1]:
        kinds.append(int(rng.choice(4, p=[0.58, 0.2, 0.14, 0.08])))  # vowel, hiss, gap, pause
        low, high = ((0.05, 0.18), (0.03, 0.11), (0.02, 0.07), (0.2, 0.7))[kinds[-1]]
        edges.append(edges[-1] + rng.uniform(low, high) / speed)
    at = np.minimum(np.searchsorted(edges, t, side="right") - 1, len(kinds) - 1)
    kind = np.asarray(kinds)[at]
    middles = (np.asarray(edges[:-1]) + np.asarray(edges[1:])) / 2
    vowels = _VOWELS[rng.integers(0, len(_VOWELS), size=len(kinds))] * size
    formants = np.stack([np.interp(t, middles, vowels[:, k]) for k in range(3)])
    melody = np.interp(t, middles, rng.normal(scale=0.12, size=len(kinds)))
    drift = 0.15 * np.mod(-t / rng.uniform(1.5, 3.5), 1.0)  # falls within each sentence
    f0 = pitch * np.exp(melody + drift) * (1 + 0.01 * rng.standard_normal(frames))
    smooth = np.hanning(7) / np.hanning(7).sum()
    voiced = np.convolve((kind == 0).astype(np.float64), smooth, mode="same")
    hissing = np.convolve((kind == 1).astype(np.float64), smooth, mode="same")

    # The voice ends at 5 kHz: it is summed at a rate that is just enough, then brought to sr.
    slow = max(1, sr // 11_025)
    few = n // slow + 1
    knots = np.arange(frames) * hop
    samples = np.arange(few) * slow
    phase = _phase(np.interp(samples, knots, f0), sr // slow)
    top = min(5_000.0, 0.45 * sr)
    spoken = np.zeros(few)
    width = np.array([70.0, 100.0, 150.0])[:, None]
    for k in range(1, int(top / f0.min()) + 1):
        hertz = k * f0
        near = ((hertz - formants) / width) ** 2
        gain = (np.array([[1.0], [0.5], [0.25]]) / (1 + near)).sum(axis=0) / k**0.5
        gain *= voiced * (hertz < top)
        spoken += np.interp(samples, knots, gain) * np.sin(k * phase)
    y = _faster(spoken, slow)[:n]
    samples = np.arange(n)
    hiss = _band(rng.standard_normal(n), sr, rng.uniform(1_800, 3_500), rng.uniform(6_000, 10_000))
    y += rng.uniform(0.1, 0.4) * np.interp(samples, knots, hissing) * hiss
    room = 10 ** rng.uniform(-4, -2)
    return np.asarray(y + room * _coloured(rng, n, rng.uniform(0.3, 1.3)))


def _babble(rng: np.random.Generator, n: int, sr: int) -> NDArray[np.float64]:
    """Several people at once."""
    people = int(rng.integers(2, 6))
    voices = (rng.uniform(0.4, 1) * _voice(rng, n, sr) for _ in range(people))
    return np.asarray(sum(voices))


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "white hiss": Kind("noise", _hiss(0.0)),
        "pink hiss": Kind("noise", _hiss(1.0)),
        "brown hiss": Kind("noise", _hiss(2.0)),
        "radio hiss": Kind("noise", _radio),
        "idle converter": Kind("noise", _faint),
        "mains hum": Kind("tones", _hum),
        "tone": Kind("tones", _tone),
        "tones": Kind("tones", _tones),
        "sweep": Kind("tones", _sweep),
        "beeps": Kind("tones", _beeps),
        "siren": Kind("tones", _siren),
        "clicks": Kind("strokes", _clicks),
        "crackle": Kind("strokes", _crackle),
        "applause": Kind("strokes", _applause),
        "footsteps": Kind("strokes", _footsteps),
        "rain": Kind("places", _rain),
        "wind": Kind("places", _wind),
        "engine": Kind("places", _engine),
        "animals": Kind("places", _animals),
        "voice without words": Kind("voices", _voice),
        "babble": Kind("voices", _babble),
    }
)
"""Every kind, with its family."""
