"""Short sound files with tags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import soundfile
from mutagen.id3 import TIT2, TPE1

from genrescope.catalog.genre_tags import read_genre_field

__all__ = ["genres", "noise", "sound"]


def noise(path: Path, *, seed: int = 0, **tags: Any) -> Path:
    """A second of noise, with the tags of a format that takes any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y = np.random.default_rng(seed).normal(size=44_100).astype(np.float32) * 0.1
    soundfile.write(path, y, 44_100)
    file = mutagen.File(path)
    for key, value in tags.items():
        file[key] = value
    file.save()
    return path


def sound(path: Path, *, title: str = "", artist: str = "") -> Path:
    """A second of noise as WAV, under a name that the writer of sound need not know."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y = np.random.default_rng(1).normal(size=44_100).astype(np.float32) * 0.1
    plain = path.parent / "plain.wav"
    soundfile.write(plain, y, 44_100)
    if title or artist:
        file = mutagen.File(plain)
        file.add_tags()
        file.tags.add(TIT2(encoding=3, text=title))
        file.tags.add(TPE1(encoding=3, text=artist))
        file.save()
    os.replace(plain, path)
    return path


def genres(folder: Path) -> dict[str, tuple[str, ...]]:
    """The genres that the files of a folder say, by the name of the file."""
    return {path.stem: read_genre_field(path).values for path in sorted(folder.rglob("*.flac"))}
