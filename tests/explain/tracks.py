"""Made-up pieces of music with known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genrescope.explain.signal.excerpt import SR, Excerpt

__all__ = ["chord", "clicks", "excerpt_of", "noise", "progression", "tone"]


def tone(hz: float, seconds: float, *, amplitude: float = 0.5, sr: int = SR) -> np.ndarray:
    """A sine."""
    t = np.arange(round(seconds * sr)) / sr
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def noise(seconds: float, *, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """White noise."""
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(round(seconds * SR))).astype(np.float32)


def clicks(bpm: float, seconds: float) -> np.ndarray:
    """A burst of noise at every beat."""
    rng = np.random.default_rng(1)
    y = np.zeros(round(seconds * SR), np.float32)
    burst = rng.standard_normal(400) * np.exp(-np.arange(400) / 80)
    for beat in range(int(seconds * bpm / 60)):
        start = round(beat * 60 / bpm * SR)
        part = y[start : start + len(burst)]
        part += (0.4 * burst[: len(part)]).astype(np.float32)
    return y


def chord(notes: tuple[int, ...], seconds: float) -> np.ndarray:
    """Midi notes with three partials each, faded in and out."""
    t = np.arange(round(seconds * SR)) / SR
    y = np.zeros(len(t))
    for note in notes:
        hz = 440.0 * 2 ** ((note - 69) / 12)
        y += sum(0.5**k * np.sin(2 * np.pi * hz * (k + 1) * t) for k in range(3))
    fade = np.minimum(1, np.minimum(t, t[::-1]) / 0.02)
    return (0.12 * y * fade).astype(np.float32)


def progression() -> np.ndarray:
    """C, F, G and C again: C major."""
    parts = [(48, 60, 64, 67), (53, 60, 65, 69), (55, 59, 62, 67), (48, 60, 64, 67)]
    return np.concatenate([chord(part, 1.5) for part in parts])


def excerpt_of(
    y: np.ndarray, *, title: str = "made up", start: float = 0.0, artist: str = ""
) -> Excerpt:
    """Samples as if they had been read from a file."""
    return Excerpt(
        path=Path("made-up.wav"),
        title=title,
        artist=artist,
        y=y,
        played=np.repeat(y, 2)[:, None],
        start=start,
        track_seconds=start + len(y) / SR,
        chosen="whole" if not start else "at",
        sr=SR,
        channels=1,
        format="WAV/PCM_16",
    )
