"""Archives of FMA's shape that are made up, so that all can be tried without a download."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TextIO

import numpy as np

from genrescope.catalog import fma_inventions as inventions
from genrescope.catalog.fma_inventions import Track
from genrescope.catalog.fma_load import audio_path
from genrescope.catalog.fma_prepare import SIMULATED
from genrescope.catalog.genres import GenreTree
from genrescope.catalog.storage import Report
from genrescope.catalog.synth import STYLES, synthesise
from genrescope.errors import DataError

__all__ = ["Simulated", "simulate"]

_SUBSETS = ("small", "medium", "large")
_SR = 22050  # Hz of the clips
_MOST = 300_000  # ids have six digits, with gaps
_WORDS = """Everything in this folder was made up by `genrescope fma simulate`.

No track, artist or number in it is real, and what is measured on it says nothing about real
music. The features were drawn at random around a point of each genre; they were not computed
from the sound.

"""


@dataclass(frozen=True)
class Simulated:
    """What :func:`simulate` left.

    Attributes
    ----------
    metadata : Path
        The folder with the four CSV files.
    audio : Path or None
        The folder with the clips.
    tracks, artists, clips : int
        How many there are.
    """

    metadata: Path
    audio: Path | None
    tracks: int
    artists: int
    clips: int


def simulate(
    directory: str | PathLike[str],
    *,
    tracks: int = 160,
    genres: int = 8,
    seed: int = 0,
    audio: str | None = "large",
    seconds: float = 3.0,
    report: Report | None = None,
) -> Simulated:
    """Make up an archive of FMA's shape.

    ``fma_metadata`` holds tracks.csv, genres.csv, features.csv and echonest.csv in FMA's own
    header layouts and with the quirks of the real ones; ``fma_large`` (or another subset)
    holds short mp3 clips. Genres differ by rhythm, timbre and harmony, artists have several
    tracks, and no artist is in two splits. Half of the tracks have no top-level genre, a few
    none at all. The same arguments give the same archive. A call that was stopped goes on.

    Parameters
    ----------
    directory : path
        Where to; made if need be.
    tracks : int
        How many, 1 to 300,000.
    genres : int
        How many top-level genres, 1 to 16; the first eight are those of fma_small.
    seed : int >= 0
        Of everything.
    audio : {"large", "medium", "small"} or None
        Tracks of which subset have a clip; "large" is all.
    seconds : float
        Length of a clip, 0.1 to 30 s.
    report : callable, optional
        See :data:`genrescope.catalog.storage.Report`.

    Returns
    -------
    Simulated

    Raises
    ------
    DataError
        If an argument is out of bounds, or the folder holds an archive that is real or was
        made with other arguments.
    """
    for name, value, low, high in (
        ("tracks", tracks, 1, _MOST),
        ("genres", genres, 1, len(STYLES)),
        ("seed", seed, 0, 2**32),
        ("seconds", seconds, 0.1, 30),
    ):
        if not low <= value <= high:
            raise DataError(f"{name} is {value}; it must be {low} to {high}")
    if audio not in (None, *_SUBSETS):
        raise DataError(f"audio is {audio!r}; it must be one of {', '.join(_SUBSETS)}, or None")
    top = Path(directory)
    folders = [top / "fma_metadata", *([top / f"fma_{audio}"] if audio else [])]
    settings = {
        **{"tracks": tracks, "genres": genres, "seed": seed},
        **{"audio": audio, "seconds": seconds},
    }
    try:
        for folder in folders:
            _mark(folder, settings)
        names = list(STYLES)[:genres]
        rows = inventions.tracks(tracks, names, np.random.default_rng([seed, 0]))
        _tables(folders[0], rows, names, seed, report)
        clips = _clips(folders[1], rows, audio, seconds, seed, report) if audio else 0
    except OSError as error:
        raise DataError(f"{top}: cannot be written: {error.strerror or error}") from error
    return Simulated(
        folders[0],
        folders[1] if audio else None,
        len(rows),
        len({row.artist.id for row in rows}),
        clips,
    )


def _mark(folder: Path, settings: Mapping[str, object]) -> None:
    """Say that it is made up, before anything else is in it."""
    note = folder / SIMULATED
    text = _WORDS + json.dumps(settings) + "\n"
    if note.exists():
        if note.read_text(encoding="utf-8") != text:
            raise DataError(
                f"{folder}: was simulated with other settings (see {SIMULATED} there); choose "
                "another folder, or remove this one"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(
            f"{folder}: holds files that were not simulated; choose another folder, so that "
            "real and made-up tracks do not mix"
        )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with _atomic(note) as file:
            file.write(text)


def _tables(
    folder: Path, rows: Sequence[Track], names: Sequence[str], seed: int, report: Report | None
) -> None:
    for at, (file, head, lines) in enumerate(
        (
            ("tracks.csv", inventions.TRACKS_HEAD, inventions.track_rows(rows)),
            ("genres.csv", inventions.GENRES_HEAD, _genre_rows(rows)),
            (
                "features.csv",
                inventions.features_head(),
                inventions.feature_rows(rows, names, seed),
            ),
            (
                "echonest.csv",
                inventions.echonest_head(),
                inventions.echonest_rows(rows, names, seed),
            ),
        ),
        start=1,
    ):
        if not (folder / file).exists():
            with _atomic(folder / file) as out:
                writer = csv.writer(out, lineterminator="\n")
                writer.writerows(head)
                writer.writerows(lines)
        if report:
            report("tables", at, 4)


def _genre_rows(rows: Iterable[Track]) -> Iterator[Sequence[object]]:
    tree = GenreTree.fma()
    counts = Counter(genre for row in rows for genre in row.genres_all)
    for id_, title in sorted((tree.id(title), title) for title in tree.titles):
        path = tree.path(title)
        parent = tree.id(path[-2]) if len(path) > 1 else 0
        yield id_, counts[id_], parent, title, tree.id(path[0])


def _clips(
    folder: Path,
    rows: Sequence[Track],
    audio: str,
    seconds: float,
    seed: int,
    report: Report | None,
) -> int:
    import soundfile

    subsets = _SUBSETS[: _SUBSETS.index(audio) + 1]
    chosen = [row for row in rows if row.subset in subsets]
    for at, row in enumerate(chosen, start=1):
        path = folder / audio_path(row.id)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            y = synthesise(
                row.genre, seconds=seconds, sr=_SR, seed=seed * _MOST + row.id, artist=row.artist.id
            )
            part = path.with_name(f".{path.name}.part")
            soundfile.write(part, y, _SR, format="MP3")
            os.replace(part, path)
        if report:
            report("clips", at, len(chosen))
    return len(chosen)


@contextmanager
def _atomic(path: Path) -> Iterator[TextIO]:
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        yield file
    os.replace(part, path)
