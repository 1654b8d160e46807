"""Tracks from folders: audio files under a path, ``GENRE/track.ext`` trees, manifests."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path

from genrescope.catalog.table import TrackTable
from genrescope.errors import TableError

__all__ = ["AUDIO_SUFFIXES", "find_audio", "read_manifest", "scan_genre_folders"]

# fmt: off
AUDIO_SUFFIXES: frozenset[str] = frozenset({
    ".mp3", ".mp2", ".flac", ".wav", ".wave", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".au",
    ".snd", ".caf", ".ogg", ".oga", ".opus", ".spx", ".m4a", ".m4b", ".m4r", ".aac", ".alac",
    ".wma", ".asf", ".ape", ".wv", ".mpc", ".tta", ".ac3", ".mka", ".weba",
})
# fmt: on
"""Name endings, in lower case, of the files that are taken for audio in a folder."""

# Copies and thumbnails that systems leave beside the music, under the names of the music.
_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})

_StrPath = str | PathLike[str]
_Report = Callable[[Path, OSError], None]


def _log(path: Path, error: OSError) -> None:
    logging.getLogger(__name__).warning("%s: left out: %s", path, error.strerror or error)


def find_audio(
    paths: _StrPath | Iterable[_StrPath], *, on_error: _Report | None = None
) -> Iterator[Path]:
    """Audio files under `paths`, lazily and in a stable order.

    A file that is named is taken whatever its ending. Folders are searched recursively, each
    folder's files before its subfolders, in natural order (2 before 10); hidden entries (a
    dot in front, AppleDouble ``._`` files among them), other files and what is no regular
    file are passed over. Links are followed, each folder is entered once. A pattern with
    ``*``, ``?``, ``[...]`` or ``**`` is expanded unless a file has just that name. A path
    that does not exist is passed on, so that whoever opens it says so.

    Parameters
    ----------
    paths : path or iterable of paths
        Files, folders, patterns. A leading ``~`` is the home folder.
    on_error : callable (Path, OSError), optional
        Called for each folder that cannot be read; the search goes on. By default, a warning
        is logged.

    Yields
    ------
    Path
        Each file once, below the path that was given. Names that are not UTF-8 are kept, as
        Python represents them (surrogate escapes).
    """
    given = [paths] if isinstance(paths, str | PathLike) else paths
    report = on_error or _log
    seen_files: set[str] = set()
    seen_folders: set[tuple[int, int]] = set()
    for path in given:
        for found in _expand(Path(path)):
            if os.path.isdir(found):
                files: Iterable[Path] = _walk(found, seen_folders, report)
            else:
                files = (found,)
            for file in files:
                key = os.path.abspath(file)
                if key not in seen_files:
                    seen_files.add(key)
                    yield file


def scan_genre_folders(root: _StrPath, *, on_error: _Report | None = None) -> TrackTable:
    """The tracks of a ``GENRE/track.ext`` tree.

    Parameters
    ----------
    root : path
        A folder with one folder for each genre; folders below those belong to the same genre.
    on_error : callable (Path, OSError), optional
        As in :func:`find_audio`.

    Returns
    -------
    TrackTable
        ``path``, and ``genre_top`` as the folder is named.

    Raises
    ------
    TableError
        If `root` is no folder, holds no audio in genre folders, or holds numbered folders
        (as FMA stores its files), which are no genres.
    """
    top = Path(root)
    if not top.is_dir():
        raise TableError(f"{top}: no such folder; give one that holds a folder for each genre")
    rows = [
        (path, path.relative_to(top).parts[0])
        for path in find_audio(top, on_error=on_error)
        if len(path.relative_to(top).parts) > 1
    ]
    if not rows:
        suffixes = " ".join(sorted(AUDIO_SUFFIXES))
        raise TableError(
            f"{top}: no audio in subfolders; tracks must lie in GENRE/track.ext, with an "
            f"ending out of {suffixes}"
        )
    if all(re.fullmatch(r"\d{3}", genre) for _, genre in rows):
        raise TableError(
            f"{top}: the subfolders are numbers, as in FMA's archives; they are no genres, "
            "which are in FMA's tracks.csv"
        )
    paths, genres = zip(*rows, strict=True)
    return TrackTable({"path": [str(p) for p in paths], "genre_top": list(genres)})


def read_manifest(path: _StrPath) -> TrackTable:
    """A table of audio files, from CSV or Parquet.

    Parameters
    ----------
    path : path
        A table with the column ``path``, relative to the table's own folder or absolute.
        ``genre`` is taken for ``genre_top``; columns that are not known are kept as text.

    Returns
    -------
    TrackTable
        With full paths. Whether the files exist is not checked here.

    Raises
    ------
    TableError
        If the table breaks a rule of :class:`TrackTable`, or a row has no path.
    MissingExtraError
        If it is Parquet and pyarrow is not installed.
    """
    manifest = Path(path)
    table = TrackTable.load(manifest, required=("path",), keep_unknown=True)
    for row, name in enumerate(table["path"]):
        if not name:
            raise TableError(f"{manifest}: row {row + 1} has no path; each row names one file")
    base = manifest.absolute().parent
    columns = {**table.columns, "path": [str(base / name) for name in table["path"]]}
    if "genre" in columns and "genre_top" not in columns:
        columns["genre_top"] = columns.pop("genre")
    return TrackTable(columns, text=table.text & columns.keys())


def _expand(path: Path) -> list[Path]:
    """`path`, or what it matches if it is a pattern and nothing has that very name."""
    if str(path).startswith("~") and not os.path.lexists(path):
        path = Path(os.path.expanduser(path))
    # A NUL, as of a list that was meant for --null, is in no name and in no pattern.
    if "\0" in str(path) or os.path.lexists(path) or not glob.has_magic(str(path)):
        return [path]
    matches = [Path(m) for m in glob.glob(str(path), recursive=True)]
    if not re.search(r"\.\w+\Z", path.name):  # "*" should not fetch cover.jpg; "*.dat" may
        matches = [m for m in matches if m.is_dir() or m.suffix.casefold() in AUDIO_SUFFIXES]
    return sorted(matches, key=lambda m: [_natural(part) for part in m.parts]) or [path]


def _walk(folder: Path, seen: set[tuple[int, int]], report: _Report) -> Iterator[Path]:
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue  # a link back up, or a folder given twice
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: _natural(entry.name))
        except OSError as error:
            report(here, error)
            continue
        folders: list[Path] = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SYSTEM_FOLDERS:
                continue
            if _is_folder(entry):
                folders.append(here / entry.name)
            elif Path(entry.name).suffix.casefold() in AUDIO_SUFFIXES and _is_openable(entry):
                yield here / entry.name
        pending.extend(reversed(folders))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads in a circle, say


def _is_openable(entry: os.DirEntry[str]) -> bool:
    """A file, or a link that leads nowhere: whoever opens it will say so.

    A pipe or a device is not: reading it would never end.
    """
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key: digits by value, letters whatever their case, then the name itself."""
    parts = re.split(r"([0-9]+)", name)
    key = [
        (0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p.casefold()) for p in parts if p
    ]
    return key, name
