"""Sounds that the tests of the pages open, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from genrescope.apps.pieces import SR, make_piece

EVIL = "<img src=x onerror=window.hacked=1>"


def music(path: Path, *, seconds: float = 20.0) -> Path:
    """Loud guitars, again and again, in the format that the name says."""
    piece = make_piece("loud guitars")
    y = np.resize(piece, int(seconds * SR))
    soundfile.write(path, y, SR)
    return path


def tone(path: Path, *, hz: float, seconds: float = 12.0, sounding: float = 6.0) -> Path:
    """A tone that begins at `sounding` seconds, and silence before it."""
    t = np.arange(int(seconds * SR)) / SR
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * t) * (t >= sounding), SR)
    return path


def noise(path: Path, *, seconds: float = 12.0) -> Path:
    """White noise, which is not music."""
    y = np.random.default_rng(0).normal(0, 0.1, int(seconds * SR))
    soundfile.write(path, y, SR)
    return path


def evil(folder: Path) -> Path:
    """Music whose tags and name are markup, as far as a file system lets them be."""
    from mutagen.flac import FLAC

    path = music(folder / "<b>bold <img src=x onerror=window.hacked=1>.flac")
    tags: Any = FLAC(path)  # type: ignore[no-untyped-call]
    tags["title"], tags["artist"] = EVIL, "</script><script>window.hacked=1</script>"
    tags["genre"] = [EVIL]
    tags.save()
    return path
