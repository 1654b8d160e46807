"""The tracks that a feature store is made from: folders, manifests, FMA."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.files import printable
from genrescope.audio.store.disk import replace_file
from genrescope.catalog.fma_load import load_tracks
from genrescope.catalog.fma_prepare import find_prepared, is_simulated
from genrescope.catalog.folders import find_audio, read_manifest, scan_genre_folders
from genrescope.catalog.genres import GenreTree
from genrescope.catalog.table import TrackTable
from genrescope.errors import DataError, UnknownGenreError

__all__ = ["Catalogue", "find_tracks"]

_MANIFESTS = (".csv", ".tsv", ".parquet", ".pq")
CATALOGUE = "catalogue.json"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Tracks by name.

    Attributes
    ----------
    ids : tuple of str
        Unique: the track id where the source has one, else the path below the source's folder.
    paths : tuple of str
        The files, absolute.
    columns : dict of str to list
        What the source says of the tracks, as plain values (None: not known): genre_top,
        artist_id, split, ...
    kind : str
        "folder", "genre folders", "manifest" or "FMA".
    simulated : bool
        Whether the tracks are made up.
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    columns: dict[str, list[Any]]
    kind: str
    simulated: bool = False

    def __post_init__(self) -> None:
        first: dict[str, str] = {}
        for id_, path in zip(self.ids, self.paths, strict=True):
            if id_ in first:
                raise DataError(
                    f"{printable(id_)} is the id of two tracks, {printable(first[id_])} and "
                    f"{printable(path)}; each needs its own: name each file once, or give the "
                    "manifest a column track_id"
                )
            first[id_] = path

    def __len__(self) -> int:
        return len(self.ids)

    def merged(self, new: Catalogue) -> Catalogue:
        """These tracks with those of another run, which says what is so now."""
        place = {id_: at for at, id_ in enumerate(self.ids)}
        ids, paths = list(self.ids), list(self.paths)
        for id_, path in zip(new.ids, new.paths, strict=True):
            if id_ in place:
                paths[place[id_]] = path
            else:
                place[id_] = len(ids)
                ids.append(id_)
                paths.append(path)
        columns: dict[str, list[Any]] = {}
        for name in dict.fromkeys((*self.columns, *new.columns)):
            cells = self.columns.get(name, [None] * len(self))
            columns[name] = cells + [None] * (len(ids) - len(cells))
        for name, cells in new.columns.items():
            for id_, cell in zip(new.ids, cells, strict=True):
                columns[name][place[id_]] = cell
        simulated = self.simulated or new.simulated
        return Catalogue(tuple(ids), tuple(paths), columns, new.kind, simulated)

    def to_json(self) -> bytes:
        """As it is kept in a store; names that are no UTF-8 survive."""
        return json.dumps(
            {
                "kind": self.kind,
                "simulated": self.simulated,
                "id": self.ids,
                "path": self.paths,
                "columns": self.columns,
            },
            separators=(",", ":"),
            allow_nan=False,
        ).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> Catalogue:
        """What :meth:`to_json` wrote; ValueError, KeyError or TypeError if it is anything else."""
        said = json.loads(data)
        return cls(
            tuple(said["id"]),
            tuple(said["path"]),
            dict(said["columns"]),
            str(said["kind"]),
            bool(said["simulated"]),
        )

    def taken(self, rows: Sequence[int]) -> Catalogue:
        """Some of the tracks, by position."""
        return Catalogue(
            tuple(self.ids[i] for i in rows),
            tuple(self.paths[i] for i in rows),
            {name: [cells[i] for i in rows] for name, cells in self.columns.items()},
            self.kind,
            self.simulated,
        )

    @classmethod
    def read(cls, store: Path) -> Catalogue | None:
        """What a store keeps; None before the first run.

        Raises
        ------
        DataError
            If it is damaged.
        """
        path = store / CATALOGUE
        try:
            return cls.from_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); `genrescope features extract` with the same "
                "source makes it again once this file is removed"
            ) from error

    def keep(self, store: Path) -> None:
        """Put it into a store, with what that has; errors as of a full disk."""
        before = Catalogue.read(store)
        merged = self if before is None else before.merged(self)
        data = merged.to_json()
        if before is None or data != before.to_json():
            replace_file(store / CATALOGUE, data)


def find_tracks(
    source: str | PathLike[str],
    *,
    audio: str | PathLike[str] | None = None,
    subset: str | None = None,
    genre_folders: bool | None = None,
    on_error: Callable[[Path, OSError], None] | None = None,
) -> Catalogue:
    """The tracks of any source.

    Parameters
    ----------
    source : path
        A folder of audio files; a folder with one folder for each genre; a manifest, CSV or
        Parquet (:func:`genrescope.catalog.folders.read_manifest`); a folder with prepared FMA
        tables; or one audio file.
    audio : path, optional
        FMA's audio, the unpacked ``fma_small`` or the like; only with prepared FMA tables.
    subset : str, optional
        Of FMA: small, medium, large or full.
    genre_folders : bool, optional
        Whether the folders inside `source` are genres. By default they are where all of them have
        the name of a known genre.
    on_error : callable (Path, OSError), optional
        See :func:`genrescope.catalog.folders.find_audio`.

    Returns
    -------
    Catalogue

    Raises
    ------
    DataError
        If there is nothing at `source`, or no audio, or an option does not fit it.
    TableError
        If a manifest is not as it should be.
    MissingExtraError
        If it is Parquet and pyarrow is not installed.
    """
    here = Path(os.path.expanduser(source))
    prepared = _prepared(here) if here.is_dir() else None
    if prepared is None and (audio is not None or subset is not None):
        raise DataError(
            f"{here}: holds no prepared FMA tables, and audio and subset belong to those; run "
            "`genrescope fma prepare` first, or leave the options out"
        )
    if prepared is not None:
        if audio is None:
            raise DataError(
                f"{here}: prepared FMA tables, which hold no sound; give the folder of the "
                "unpacked archive (fma_small, ...) with --audio"
            )
        if not Path(audio).is_dir():
            raise DataError(f"{audio}: no such folder; give the unpacked fma_small or the like")
        table = load_tracks(prepared, subset=subset, audio=audio)
        return _of_table(table, None, "FMA", simulated=is_simulated(prepared))
    if here.is_dir():
        return _of_folder(here, genre_folders, on_error)
    if not here.exists():
        raise DataError(f"{printable(str(here))}: no such file or folder")
    if here.suffix.casefold() in _MANIFESTS:
        return _of_table(read_manifest(here), here.absolute().parent, "manifest")
    return Catalogue((here.name,), (os.path.abspath(here),), {}, "folder")


def _prepared(folder: Path) -> Path | None:
    try:
        return find_prepared(folder)
    except DataError:
        return None


def _of_folder(
    root: Path, genre_folders: bool | None, on_error: Callable[[Path, OSError], None] | None
) -> Catalogue:
    if genre_folders:
        table = scan_genre_folders(root, on_error=on_error)
        return _of_table(table, root, "genre folders")
    files = list(find_audio(root, on_error=on_error))
    if not files:
        raise DataError(f"{printable(str(root))}: no audio files in this folder or below it")
    parts = [file.relative_to(root).parts for file in files]
    if genre_folders is None and all(len(p) > 1 for p in parts) and _genres(p[0] for p in parts):
        columns = {"genre_top": [p[0] for p in parts]}
        kind = "genre folders"
    else:
        columns, kind = {}, "folder"
    ids = tuple("/".join(p) for p in parts)
    return Catalogue(ids, tuple(os.path.abspath(file) for file in files), columns, kind)


def _genres(names: Iterable[str]) -> bool:
    """Whether these are all names of genres that are known."""
    tree = GenreTree.fma()
    try:
        for name in set(names):
            tree.canonical(name)
    except UnknownGenreError:
        return False
    return True


def _of_table(
    table: TrackTable, root: Path | None, kind: str, *, simulated: bool = False
) -> Catalogue:
    paths = [os.path.abspath(path) for path in table["path"]]
    if "track_id" in table:
        ids: Sequence[str] = [str(track) for track in table["track_id"].tolist()]
    else:
        ids = [_below(root, path) for path in paths]
    columns = {
        name: [_plain(cell) for cell in table[name].tolist()]
        for name in table.columns
        if name not in ("path", "track_id")
    }
    return Catalogue(tuple(ids), tuple(paths), columns, kind, simulated)


def _below(root: Path | None, path: str) -> str:
    """A path below a folder, with / between; the whole path if it lies elsewhere."""
    if root is None:
        return path
    try:
        return Path(path).relative_to(os.path.abspath(root)).as_posix()
    except ValueError:
        return path


def _plain(cell: Any) -> Any:
    """A cell as JSON has it."""
    if isinstance(cell, Enum):
        return cell.value
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    if isinstance(cell, tuple | list):
        return [_plain(one) for one in cell]
    return cell
