"""Short tracks, and stores made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from genrescope.audio.store.disk import sha256_of
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import find_tracks
from genrescope.audio.store.write import Extraction, Report, Summary, extract

__all__ = ["SHORT", "SR", "N", "content", "fill", "make_music", "write_tone"]

SR = 22_050  # Hz
SHORT = Recipe(seconds=1.0)
N = 7  # tracks


def write_tone(path: Path, *, seed: int, seconds: float = 0.7, sr: int = SR) -> None:
    """A tone with noise, different for each seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * sr)) / sr
    y = 0.3 * np.sin(2 * np.pi * (150 + 60 * seed) * t * (1 + t)) + 0.02 * rng.normal(size=len(t))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, y.astype(np.float32), sr)


def make_music(folder: Path) -> Path:
    """Seven short tracks, two files that are no music and one that is silent."""
    for i in range(N):
        write_tone(folder / f"{i}.wav", seed=i, seconds=0.7 + 0.1 * i)
    (folder / "2b broken.wav").write_bytes(b"RIFF" + np.random.default_rng(0).bytes(5000))
    (folder / "5b empty.mp3").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(SR), SR)
    return folder


def fill(
    folder: Path,
    out: Path,
    *,
    recipe: Recipe = SHORT,
    workers: int = 0,
    report: Report | None = None,
    **options: Any,
) -> Summary:
    """Extract in this process, three tracks a part."""
    how = Extraction(recipe, **{"batch": 3, **options})
    return extract(find_tracks(folder), out, how=how, workers=workers, report=report)


def content(folder: Path) -> dict[str, str]:
    """Checksums of all files of a store."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
