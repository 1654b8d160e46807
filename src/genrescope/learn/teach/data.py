"""The tracks that a recogniser is taught with: where they are, whose, and what they sound like.

Tracks come from folders of genres or from a table. What must stay together in a fold, the group, is
the artist where one is known, else the album, else the folder. Sound is described in processes that
may be lost, and what was described is kept on disk as it comes, so that a killed run goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.encoders import FrontEnd
from genrescope.audio.files import printable
from genrescope.audio.workers import map_isolated
from genrescope.catalog.folders import read_manifest, scan_genre_folders
from genrescope.catalog.storage import atomic
from genrescope.catalog.table import TrackTable
from genrescope.catalog.tags import read_tags
from genrescope.errors import DataError, GenrescopeError, TableError

__all__ = [
    "Grouping",
    "Heard",
    "Refused",
    "check_sizes",
    "describe_tracks",
    "drop_copies",
    "group_tracks",
    "read_source",
]

FloatArray = npt.NDArray[np.float32]
Report = Callable[[str, Mapping[str, Any]], None]

_SHARD = 32  # tracks a file
_SHARD_SECONDS = 20.0  # a slow encoder writes smaller ones
_MOSTLY = 0.5  # of the tracks must have a value for a column or tag to group by
_BLOCKS = re.compile(r"(?P<column>.+)//(?P<size>[1-9]\d*)")
# The file names of GTZAN, which has no artists; its track numbers run artist by artist.
_GTZAN = re.compile(
    r"(blues|classical|country|disco|hiphop|jazz|metal|pop|reggae|rock)\.(\d{5})\.\w+"
)
_GTZAN_BLOCK = 10


@dataclass(frozen=True, eq=False)
class Heard:
    """A track that was described.

    Attributes
    ----------
    rows : np.ndarray [shape=(windows, n_features), float32]
        One row a window.
    artist, album : str
        From the tags of the file; empty where they do not say.
    """

    rows: FloatArray
    artist: str
    album: str


@dataclass(frozen=True)
class Refused:
    """A track that could not be used, and why.

    Attributes
    ----------
    path : str
        Its file.
    kind : str
        Name of the error, or "duplicate".
    reason : str
        In a sentence.
    """

    path: str
    kind: str
    reason: str


@dataclass(frozen=True, eq=False)
class Grouping:
    """What must stay together in a fold.

    Attributes
    ----------
    groups : np.ndarray [shape=(n,), str]
        One a track.
    by : str
        What they are, in words.
    known : bool
        False where every track stands for itself: scores are then likely to be too high.
    """

    groups: npt.NDArray[np.str_]
    by: str
    known: bool


def read_source(source: str | os.PathLike[str]) -> TrackTable:
    """Read which tracks there are, and of which genre.

    Parameters
    ----------
    source : path
        A folder with a folder for each genre, or a table with the columns ``path`` and ``genre``
        (or ``genre_top``).

    Returns
    -------
    TrackTable
        With ``path`` and ``genre_top``, which no row lacks; each file once.

    Raises
    ------
    TableError
        If there is no such place, a genre is missing, or a file is there with two genres.
    """
    place = Path(source)
    if place.is_dir():
        table = scan_genre_folders(place)
    elif place.exists():
        table = read_manifest(place)
    else:
        raise TableError(
            f"{place}: does not exist; give a folder with a folder for each genre, or a table "
            "with the columns path and genre"
        )
    table.require("genre_top")
    names = np.char.strip(table["genre_top"].astype(str))
    if (names == "").any():
        row = int((names == "").argmax())
        raise TableError(
            f"{place}: row {row + 1} ({printable(Path(table['path'][row]).name)}) has no genre, "
            f"and {int((names == '').sum())} rows in all; fill them in or leave them out"
        )
    table = table.with_column("genre_top", names)
    first: dict[str, int] = {}
    keep = np.ones(len(table), dtype=bool)
    for row, path in enumerate(os.path.abspath(path) for path in table["path"]):
        before = first.setdefault(path, row)
        if before != row and names[before] != names[row]:
            raise TableError(
                f"{place}: {printable(path)} stands there as {names[before]} and as "
                f"{names[row]}; a track has one genre here: keep one of the rows"
            )
        keep[row] = before == row
    return table.where(keep)


def describe_tracks(
    paths: Sequence[str],
    front_end: FrontEnd,
    cache: Path,
    *,
    n_windows: int,
    workers: int | None = None,
    report: Report | None = None,
) -> tuple[dict[str, Heard], list[Refused]]:
    """Describe files in worker processes, or take what an earlier run has described.

    Parameters
    ----------
    paths : sequence of str
        Files.
    front_end : FrontEnd
        What makes the rows.
    cache : Path
        Folder for what was described.
    n_windows : int > 0
        At most so many windows of 30 s of each track.
    workers : int >= 0, optional
        Processes; see :func:`genrescope.audio.workers.map_isolated`.
    report : callable, optional
        Told ``("kept", {"tracks": n})`` and then ``("heard", {"path": ..., "error": ...})``.

    Returns
    -------
    heard : dict of str to Heard
        By path.
    refused : list of Refused
        Files that could not be described; tried again by the next run.
    """
    tell = report or _silent
    identity = json.dumps([front_end.card_section(), n_windows], sort_keys=True)
    folder = cache / hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    stamps = {path: _stamp(path) for path in paths}
    heard = {
        path: found for path, (stamp, found) in _kept(folder).items() if stamps.get(path) == stamp
    }
    tell("kept", {"tracks": len(heard)})
    refused: list[Refused] = []
    fresh: dict[str, Heard] = {}
    written = time.monotonic()
    results = map_isolated(
        partial(_describe, front_end, n_windows),
        [path for path in paths if path not in heard],
        workers=workers,
        ordered=False,
    )
    try:
        with closing(results):
            for path, result in results:
                failed = isinstance(result, GenrescopeError)
                if failed:
                    refused.append(Refused(path, type(result).__name__, str(result)))
                elif isinstance(result, Heard):
                    fresh[path] = heard[path] = result
                tell("heard", {"path": path, "error": str(result) if failed else ""})
                if len(fresh) >= _SHARD or time.monotonic() - written > _SHARD_SECONDS:
                    _write(folder, fresh, stamps)
                    fresh, written = {}, time.monotonic()
    finally:
        _write(folder, fresh, stamps)
    order = {path: place for place, path in enumerate(paths)}
    return heard, sorted(refused, key=lambda r: order[r.path])


def group_tracks(
    table: TrackTable, heard: Sequence[Heard], *, asked: str | None = None
) -> Grouping:
    """Find what must stay together in a fold.

    Parameters
    ----------
    table : TrackTable
        Tracks, with ``path`` and ``genre_top``.
    heard : sequence of Heard
        The same tracks.
    asked : str, optional
        A column of the table; ``COLUMN//N`` puts N neighbouring numbers of a genre together.

    Returns
    -------
    Grouping
        By the column that was asked for; else by the first of these that most tracks have: the
        columns ``artist_id``, ``artist_name`` and ``artist``, the artist in the tags, album
        (column or tags), the blocks of ten track numbers of GTZAN, the folder below the genre.

    Raises
    ------
    TableError
        If the column is not there, or holds no numbers where blocks of them are asked for.
    """
    genres = table["genre_top"].astype(str)
    if asked is not None:
        return _asked(table, genres, asked)
    for column in ("artist_id", "artist_name", "artist"):
        if column in table and _enough(table[column], genres):
            return _filled(table[column], f"the column {column}")
    artists = np.array([track.artist.casefold() for track in heard], dtype=str)
    if _enough(artists, genres):
        return _filled(artists, "the artist in the tags of the files")
    for column in ("album_id", "album"):
        if column in table and _enough(table[column], genres):
            return _filled(table[column], f"the column {column}, since no artists are known")
    albums = np.array([track.album.casefold() for track in heard], dtype=str)
    if _enough(albums, genres):
        return _filled(albums, "the album in the tags of the files, since no artists are known")
    found = [_GTZAN.fullmatch(Path(path).name) for path in table["path"]]
    if all(found):
        blocks = [f"{m[1]} {int(m[2]) // _GTZAN_BLOCK}" for m in found if m]
        return Grouping(
            np.array(blocks),
            "blocks of ten track numbers of GTZAN, whose neighbours are often of one artist",
            known=True,
        )
    folders = np.array([str(Path(path).parent) for path in table["path"]])
    several = {genre: len(set(folders[genres == genre])) for genre in set(genres.tolist())}
    if all(count >= 2 for count in several.values()) and len(set(folders)) < len(folders):
        return Grouping(folders, "the folder, since no artists are known", known=True)
    return Grouping(
        np.array([f"track {row}" for row in range(len(genres))]),
        "nothing: no artist, album or folder tells which tracks belong together, so an artist may "
        "be on both sides of a fold and the scores are likely to be too high",
        known=False,
    )


def _asked(table: TrackTable, genres: npt.NDArray[np.str_], asked: str) -> Grouping:
    blocks = None if asked in table else _BLOCKS.fullmatch(asked)
    if blocks is None:
        return _filled(table[asked], f"the column {asked}")
    column, size = blocks["column"], int(blocks["size"])
    try:
        numbers = [int(str(value)) for value in table[column]]
    except ValueError as error:
        raise TableError(
            f"column {column} holds {str(error).rsplit(':', 1)[-1].strip()}, which is no whole "
            f"number; {asked} puts {size} neighbouring numbers together"
        ) from error
    names = [f"{genre} {number // size}" for genre, number in zip(genres, numbers, strict=True)]
    words = f"the column {column} in blocks of {size} within each genre"
    return Grouping(np.array(names), words, known=True)


def _enough(values: npt.NDArray[Any], genres: npt.NDArray[np.str_]) -> bool:
    """Whether a column is known for most tracks and splits every genre."""
    texts = np.asarray(values, dtype=str)
    if (texts != "").mean() <= _MOSTLY:
        return False
    own = np.where(texts == "", np.arange(len(texts)).astype(str), texts)
    return all(len(set(own[genres == genre])) >= 2 for genre in set(genres.tolist()))


def _filled(values: npt.NDArray[Any], by: str) -> Grouping:
    """Groups from a column; a track without a value stands for itself."""
    texts = np.asarray(values, dtype=str)
    missing = texts == ""
    names = [
        f"track {row}" if empty else f"= {text}"
        for row, (text, empty) in enumerate(zip(texts.tolist(), missing.tolist(), strict=True))
    ]
    if missing.any():
        by += f" ({int(missing.sum())} tracks without one stand for themselves)"
    return Grouping(np.array(names), by, known=True)


def drop_copies(table: TrackTable, heard: Mapping[str, Heard]) -> tuple[TrackTable, list[Refused]]:
    """Keep one of several tracks that sound the same to the last digit.

    Parameters
    ----------
    table : TrackTable
        Tracks, with ``path`` and ``genre_top``.
    heard : mapping of str to Heard
        By path.

    Returns
    -------
    table : TrackTable
        Without copies.
    copies : list of Refused
        What was left out.

    Raises
    ------
    DataError
        If two copies carry two genres.
    """
    first: dict[bytes, int] = {}
    keep = np.ones(len(table), dtype=bool)
    copies: list[Refused] = []
    clashes: list[str] = []
    for row, (path, genre) in enumerate(zip(table["path"], table["genre_top"], strict=True)):
        before = first.setdefault(hashlib.sha256(heard[path].rows.tobytes()).digest(), row)
        if before == row:
            continue
        other = table["path"][before]
        keep[row] = False
        copies.append(Refused(path, "duplicate", f"the same sound as {printable(other)}"))
        if table["genre_top"][before] != genre:
            clashes.append(
                f"{printable(other)} ({table['genre_top'][before]}) and {printable(path)} ({genre})"
            )
    if clashes:
        more = f", and {len(clashes) - 3} more such pairs" if len(clashes) > 3 else ""
        raise DataError(
            f"the same sound has two genres: {'; '.join(clashes[:3])}{more}; a track has one "
            "genre here: keep one of each pair"
        )
    return table.where(keep), copies


def check_sizes(genres: Sequence[str], groups: Sequence[str]) -> None:
    """Check that every genre can be both learnt and tested.

    Raises
    ------
    DataError
        If there are fewer than two genres, or a genre has fewer than two groups.
    """
    tracks = Counter(genres)
    if len(tracks) < 2:
        raise DataError(
            f"there is one genre, {next(iter(tracks), 'none')}; a recogniser needs two or more to "
            "tell apart"
        )
    sizes = {genre: len({q for g, q in zip(genres, groups, strict=True) if g == genre})
             for genre in tracks}  # fmt: skip
    small = sorted(genre for genre, size in sizes.items() if size < 2)
    if small:
        told = ", ".join(
            f"{genre} ({tracks[genre]} track{'s' * (tracks[genre] != 1)}, 1 group)"
            for genre in small[:5]
        )
        raise DataError(
            f"{told}{' and others' if len(small) > 5 else ''}: a genre needs tracks of two groups "
            "(artists) or more, so that one can be tested by the other; add tracks, or leave the "
            "genre out"
        )


def _describe(front_end: FrontEnd, n_windows: int, path: str) -> Heard:
    """What a worker does with one file."""
    described = front_end.describe_file(path, n_windows=n_windows)
    tags = read_tags(path)
    return Heard(described.features, tags.artist or "", tags.album or "")


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _shards(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("part-*.npz"))


def _kept(folder: Path) -> dict[str, tuple[tuple[int, int], Heard]]:
    """What earlier runs have described, by path, with the size and date that the file had."""
    found: dict[str, tuple[tuple[int, int], Heard]] = {}
    for shard in _shards(folder):
        try:
            with np.load(shard, allow_pickle=False) as stored:
                ends = np.cumsum(stored["windows"])
                rows = np.split(stored["rows"], ends[:-1])
                tags, stamps = stored["tags"], stored["stamps"]
                for place, path in enumerate(stored["paths"].tolist()):
                    size, date = stamps[place].tolist()
                    artist, album = tags[place].tolist()
                    found[path] = ((size, date), Heard(rows[place], artist, album))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            shard.unlink(missing_ok=True)  # damaged: its tracks are described again
    return found


def _write(folder: Path, fresh: Mapping[str, Heard], stamps: Mapping[str, tuple[int, int]]) -> None:
    if not fresh:
        return
    last = [int(shard.stem.split("-")[1]) for shard in _shards(folder)]
    path = folder / f"part-{max(last, default=0) + 1:05d}.npz"
    with atomic(path) as part, part.open("wb") as file:
        np.savez(
            file,
            paths=np.array(list(fresh), dtype=str),
            stamps=np.array([stamps[path] for path in fresh], dtype=np.int64),
            tags=np.array([(track.artist, track.album) for track in fresh.values()], dtype=str),
            windows=np.array([len(track.rows) for track in fresh.values()], dtype=np.int64),
            rows=np.concatenate([track.rows for track in fresh.values()]),
        )


def _silent(event: str, details: Mapping[str, Any]) -> None:
    """A report that nobody reads."""
