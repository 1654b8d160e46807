"""What genrescope keeps on disk: where it is, how large, and what of it can be made again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genrescope.apps.configuration import short_path

__all__ = ["Place", "places", "remove"]

_STALE = 3600.0  # s after which a part of a file was left by a process that died


@dataclass(frozen=True)
class Place:
    """A file or a folder that genrescope keeps.

    Attributes
    ----------
    name : str
        What it is.
    path : Path
        Where it is.
    paths : tuple of Path
        What is there of it.
    size : int
        Bytes.
    again : bool
        Whether it can be made again by itself, so that `--clean` may take it.
    about : str
        What it is for, or what removes it.
    """

    name: str
    path: Path
    paths: tuple[Path, ...]
    size: int
    again: bool
    about: str


def places() -> list[Place]:
    """Everything that genrescope keeps on disk, whether or not it is there."""
    from genrescope.apps.clips import cache_folder
    from genrescope.apps.heard import heard_file
    from genrescope.apps.journal import journal_path
    from genrescope.audio.encoders.cache import encoders_folder
    from genrescope.learn.hub.pulled import bundles_folder

    heard, journal = heard_file(), journal_path()
    clips = Path(os.environ.get("GENRESCOPE_DEMO_CACHE") or cache_folder())
    encoders, bundles = encoders_folder(), bundles_folder()
    parts = tuple(_left({one.parent for one in (heard, journal, clips, encoders, bundles)}))
    return [
        _place("heard", heard, "what was heard before", database=True),
        _place("demo clips", clips, "the sound of `genrescope demo`"),
        Place("leftovers", heard.parent, parts, _size(parts), True, "of writers that were killed"),
        _place("encoders", encoders, "`genrescope encoders remove` removes them", again=False),
        _place("bundles", bundles, "`genrescope bundles remove` removes them", again=False),
        _place(
            "journal", journal, "old genres, for `genrescope undo`; never removed from here",
            again=False, database=True,
        ),
    ]  # fmt: skip


def _place(
    name: str, path: Path, about: str, *, again: bool = True, database: bool = False
) -> Place:
    beside = [Path(f"{path}{end}") for end in ("-wal", "-shm", "-journal")] if database else []
    there = tuple(one for one in (path, *beside) if one.exists())
    return Place(name, path, there, _size(there), again, about)


def _left(folders: set[Path]) -> Iterator[Path]:
    """Parts of files that nobody writes any more."""
    for folder in sorted(folders):
        if not folder.is_dir():
            continue
        for path in (*folder.glob(".*.part"), *folder.glob("*/.*.part")):
            if time.time() - path.lstat().st_mtime > _STALE:
                yield path


def _size(paths: tuple[Path, ...]) -> int:
    size = 0
    for path in paths:
        inner = path.rglob("*") if path.is_dir() and not path.is_symlink() else (path,)
        size += sum(one.lstat().st_size for one in inner if not one.is_dir())
    return size


def remove(chosen: list[Place]) -> list[tuple[Place, str | None]]:
    """Remove places that can be made again.

    Parameters
    ----------
    chosen : list of Place
        Of :func:`places`.

    Returns
    -------
    list of (Place, str or None)
        Each with why it is still there, or None.

    Raises
    ------
    ValueError
        If one cannot be made again; then nothing is removed.
    """
    for place in chosen:
        if not place.again:
            raise ValueError(f"{place.name}: it cannot be made again, so it is not removed")
    return [(place, _removed(place)) for place in chosen]


def _removed(place: Place) -> str | None:
    import shutil

    try:
        for path in place.paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        return f"{short_path(error.filename or place.path)}: {error.strerror or error}"
    return None
