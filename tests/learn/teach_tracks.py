"""A small collection of made-up tracks: three genres that are easy to tell apart."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

GENRES = ("Bells", "Drums", "Hiss")
SR = 16_000


def sound(genre: str, *, artist: int, track: int, seconds: float = 1.2) -> np.ndarray:
    """Mono samples that a genre sounds like; artists and tracks differ a little."""
    rng = np.random.default_rng([GENRES.index(genre), artist, track])
    t = np.arange(int(seconds * SR)) / SR
    if genre == "Bells":
        base = 500 + 60 * artist
        y = sum(np.sin(2 * np.pi * base * k * t) / k for k in (1, 2.76, 5.4))
        y = y * np.exp(-3 * (t % 0.4))
    elif genre == "Drums":
        y = rng.normal(size=len(t)) * np.exp(-25 * (t % (0.2 + 0.01 * artist)))
        y = np.convolve(y, np.ones(30) / 30, mode="same") * 4
    else:
        y = rng.normal(size=len(t)) * (0.6 + 0.05 * artist)
    y = y + 0.01 * rng.normal(size=len(t))
    return (0.4 * y / np.abs(y).max()).astype(np.float32)


def write_collection(folder: Path, *, artists: int = 4, tracks: int = 2) -> Path:
    """``GENRE/ARTIST/TRACK.wav`` below `folder`."""
    for genre in GENRES:
        for artist in range(artists):
            for track in range(tracks):
                path = folder / genre / f"{genre} {artist}" / f"{track}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, sound(genre, artist=artist, track=track), SR)
    return folder


def write_manifest(folder: Path, music: Path, **columns: list[str]) -> Path:
    """A table of the files below `music`, with more columns."""
    files = sorted(music.rglob("*.wav"))
    path = folder / "tracks.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "genre", *columns])
        for row, wav in enumerate(files):
            genre = wav.relative_to(music).parts[0]
            writer.writerow([wav, genre, *(values[row] for values in columns.values())])
    return path
