"""The folder that :mod:`benchmarks.chaos` works in: a small disk with music on it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import soundfile
from mutagen.id3 import ID3, TCON, TIT2, TPE1

from benchmarks.chaos_site.sitecustomize import POISON
from genrescope.apps.journal import digest_of
from genrescope.catalog.genre_tags import Scan
from genrescope.errors import GenrescopeError
from genrescope.learn.prediction import FailedPrediction
from genrescope.learn.recogniser import Recogniser

__all__ = ["Facts", "World", "facts_of", "make_world", "small_disk"]

ROOM = 160 << 20  # bytes on the disk beside the music
KINDS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
}


@dataclass(frozen=True)
class Facts:
    """What is known of a file.

    Attributes
    ----------
    digest : str
        Of all bytes.
    sound, others : str
        Of the sound, and of the tags other than genres; empty where no tag can be written.
    genres : tuple of str
    """

    digest: str
    sound: str = ""
    others: str = ""
    genres: tuple[str, ...] = ()


@dataclass
class World:
    """Where all of it is.

    Attributes
    ----------
    disk : Path
        May fill up: music, stores, journal, memory of what was heard, temporary files.
    notes : Path
        May not: what the commands print.
    facts : dict of str to Facts
        Of each file in the music, before anything was done.
    poisoned : set of str
        Files that end who decodes them.
    answers : dict of str to dict
        What the recogniser says of a file in quiet; those that cannot be read are not in it.
    small : bool
        Whether the disk is one of its own, of limited size.
    """

    disk: Path
    notes: Path
    small: bool
    facts: dict[str, Facts] = field(default_factory=dict)
    poisoned: set[str] = field(default_factory=set)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def music(self) -> Path:
        return self.disk / "music"

    @property
    def journal(self) -> Path:
        return self.disk / "state" / "journal.sqlite3"

    @property
    def heard(self) -> Path:
        return self.disk / "state" / "heard.sqlite3"

    @property
    def temporary(self) -> Path:
        return self.disk / "tmp"


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A file system of a few bytes at a folder, where this user may mount one.

    Yields
    ------
    bool
        Whether it is one.
    """
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={size}".encode()
    mounted = libc.mount(b"chaos", os.fsencode(folder), b"tmpfs", 0, options) == 0
    try:
        yield mounted
    finally:
        if mounted:
            libc.umount2(os.fsencode(folder), 2)  # also where somebody still looks at it


def make_world(world: World, *, clips: Path | None, files: int) -> None:
    """Fill the disk with music, note what it is, and have it heard in quiet.

    Parameters
    ----------
    world : World
        With an empty disk.
    clips : Path or None
        A folder of real ones, which are copied in turn; None makes all of them up.
    files : int
        How many, and a few more that are broken.
    """
    for folder in (world.music / "b", world.journal.parent, world.temporary, world.notes):
        folder.mkdir(parents=True)
    real = sorted(p for p in clips.iterdir() if p.suffix == ".mp3") if clips else []
    for i in range(files):
        folder = world.music / ("b" if i % 3 == 2 else "")
        if real and i % 2:
            model = real[i // 2 % len(real)]
            target = folder / f"{i:03d} {model.name}"
            shutil.copyfile(model, target)
        else:
            _write_tune(folder, i)
    _add_broken(world)
    for path in sorted(world.music.rglob("*.*")):
        world.facts[path.relative_to(world.music).as_posix()] = facts_of(path)
    names = [name for name in world.facts if name not in world.poisoned]
    recogniser = Recogniser.load()
    results = recogniser.predict_many([world.music / name for name in names], workers=1)
    for name, result in zip(names, results, strict=True):
        if not isinstance(result, FailedPrediction):
            world.answers[name] = result.to_dict()


def size_of(clips: Path | None, files: int) -> int:
    """Bytes that the music will take, about."""
    real = [p.stat().st_size for p in clips.iterdir() if p.suffix == ".mp3"] if clips else [0]
    return files * max(max(real), 1 << 20)


def facts_of(path: Path) -> Facts:
    """What is known of a file now."""
    digest = digest_of(path)
    try:
        with path.open("rb") as file:
            scan = Scan(file, path.name)
            return Facts(digest, scan.audio_digest(), scan.others_digest(), scan.field.values)
    except GenrescopeError:
        return Facts(digest)


def _write_tune(folder: Path, i: int) -> None:
    """A few seconds of a tune, with other tags in each."""
    rng = np.random.default_rng(i)
    sr, seconds = 48_000, 3.0 + i % 4
    t = np.arange(int(sr * seconds)) / sr
    notes = rng.choice([110.0, 220.0, 261.6, 329.6, 440.0], size=int(seconds * 4) + 1)
    y = 0.3 * np.sin(2 * np.pi * np.cumsum(notes[(t * 4).astype(int)]) / sr)
    y += (0.02 + 0.1 * (i % 3)) * rng.normal(size=len(t)) * (t * (1 + i % 3) % 1 < 0.2)
    kind, (form, subtype) = list(KINDS.items())[i // 2 % len(KINDS)]
    path = folder / f"{i:03d} tune.{kind}"
    soundfile.write(path, y.astype(np.float32), sr, format=form, subtype=subtype)
    opened = mutagen.File(path)
    if opened.tags is None:
        opened.add_tags()
    if kind in ("mp3", "wav", "aiff"):
        opened.tags.add(TIT2(encoding=3, text=f"Tune {i}"))
        if i % 4:
            opened.tags.add(TCON(encoding=0, text="Rock;Pop"))
    else:
        opened["title"] = f"Tune {i}"
        if i % 4:
            opened["GENRE"] = ["Älter", "日本"]
    opened.save()


def _add_broken(world: World) -> None:
    """What is found among music, too."""
    (world.music / "no sound.mp3").write_bytes(b"")
    (world.music / "page.flac").write_bytes(b"<!DOCTYPE html><title>404</title>\n" * 40)
    noise = np.random.default_rng(0)
    (world.music / "garbage.ogg").write_bytes(b"OggS" + noise.bytes(30_000))
    soundfile.write(world.music / "silent.wav", np.zeros(48_000, np.float32), 24_000)
    whole = io.BytesIO()
    soundfile.write(whole, 0.1 * noise.normal(size=96_000), 48_000, format="FLAC")
    (world.music / "cut.flac").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    poison = world.music / "b" / "poison.mp3"
    soundfile.write(poison, 0.1 * noise.normal(size=96_000), 48_000, format="MP3")
    tags = ID3()
    tags.add(TIT2(encoding=0, text=POISON.decode()))
    tags.add(TPE1(encoding=0, text="Nobody"))
    tags.save(poison)
    world.poisoned.add(poison.relative_to(world.music).as_posix())
