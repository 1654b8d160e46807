"""Prepared FMA tables: tracks, features, genres, and what is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.fma_prepare import find_prepared, read_stamp, table_file
from genrescope.catalog.fma_tables import import_pyarrow
from genrescope.catalog.genres import Genre, GenreTree
from genrescope.catalog.table import Split, Subset, TrackTable
from genrescope.errors import DataError, TableError

__all__ = [
    "KNOWN_BAD",
    "FeatureTable",
    "FmaInfo",
    "audio_path",
    "describe",
    "load_echonest",
    "load_features",
    "load_genres",
    "load_tracks",
]

_NO_SOUND = (99134, 108925, 133297)
_SHORT = (98565, 98567, 98569)
# fmt: off
_WRONG_DURATION = (
    1486, 5574, 65753, 80391, 98558, 98559, 98560, 98565, 98566, 98567, 98568, 98569, 98571,
    99134, 105247, 108924, 108925, 126981, 127336, 133297, 143992,
)
# fmt: on
_WRONG = "the duration in the metadata is wrong"


def _known_bad() -> dict[int, str]:
    reasons: dict[int, list[str]] = {}
    for ids, reason in (
        (_NO_SOUND, "almost no audio"),
        (_SHORT, "shorter than 30 s"),
        (_WRONG_DURATION, _WRONG),
    ):
        for track in ids:
            reasons.setdefault(track, []).append(reason)
    return {track: "; ".join(reasons[track]) for track in sorted(reasons)}


KNOWN_BAD: Mapping[int, str] = MappingProxyType(_known_bad())
"""Tracks of FMA that are not what the metadata says, and why."""

_TEXT = ("title", "artist_id", "artist_name", "album_id", "genre_top")


def audio_path(track_id: int) -> str:
    """Where a track is in FMA's archives: in the folder of the first three of six digits.

    >>> audio_path(2), audio_path(155320)
    ('000/000002.mp3', '155/155320.mp3')
    """
    if not 0 <= track_id <= 999_999:
        raise DataError(f"{track_id} is no FMA track id; those have at most six digits")
    name = f"{track_id:06d}"
    return f"{name[:3]}/{name}.mp3"


def load_tracks(
    directory: str | PathLike[str],
    *,
    subset: Subset | str | None = None,
    split: Split | str | None = None,
    audio: str | PathLike[str] | None = None,
) -> TrackTable:
    """The tracks of prepared FMA tables.

    Parameters
    ----------
    directory : path
        A prepared folder, or one that holds it.
    subset : Subset or str, optional
        Tracks of this subset and of those inside it: ``medium`` holds all of ``small``.
    split : Split or str, optional
        Tracks of this official split.
    audio : path, optional
        The folder of an unpacked audio archive (``fma_small``, ...); paths are then below it.
        Whether the files exist is not checked.

    Returns
    -------
    TrackTable
        ``track_id``, ``path`` (``000/000002.mp3``), ``title``, ``artist_id``,
        ``artist_name``, ``album_id``, ``genre_top`` (empty for about half of FMA),
        ``genres`` (titles), ``split``, ``subset``, ``duration`` in s of the whole track
        (the clips have 30 s; NaN where it is known to be wrong), and the text ``problem``:
        why a track is known to be bad, or empty. Columns that FMA's table lacks are left out.

    Raises
    ------
    DataError
        If the folder is not prepared, or the table has no subset or split to choose from.
    TableError
        If `subset` or `split` names none.
    MissingExtraError
        If pyarrow is not installed.
    """
    folder = find_prepared(directory)
    wanted = [*_TEXT, "genres", "split", "subset", "duration"]
    table = _read(folder, "tracks", ["track_id", *wanted])
    simulated = bool(read_stamp(folder)["simulated"])
    table = _chosen(folder, table, subset, split)
    ids: NDArray[np.int64] = table["track_id"].to_numpy()
    # The list is of the real tracks; made-up ones have ids of their own.
    bad = {} if simulated else KNOWN_BAD
    columns: dict[str, Any] = {"track_id": ids, "path": _paths(ids, audio)}
    for name in _TEXT:
        if name in table.column_names:
            columns[name] = _objects(table[name])
    if "genres" in table.column_names:
        columns["genres"] = _titles(folder, table["genres"])
    for name, kind in (("split", Split), ("subset", Subset)):
        if name in table.column_names:
            members = {member.value: member for member in kind}
            columns[name] = [members.get(value) for value in table[name].to_pylist()]
    if "duration" in table.column_names:
        duration = table["duration"].cast("float64").to_numpy().copy()
        duration[[_WRONG in bad.get(track, "") for track in ids.tolist()]] = np.nan
        columns["duration"] = duration
    columns["problem"] = [bad.get(track, "") for track in ids.tolist()]
    return TrackTable(columns, text=frozenset({"problem"}))


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of tracks.

    Attributes
    ----------
    track_id : np.ndarray [shape=(n,), int64]
    names : tuple of str
        One a column, such as ``mfcc_mean_01``.
    values : np.ndarray [shape=(n, len(names)), float32]
        NaN where there is none.
    """

    track_id: NDArray[np.int64]
    names: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.track_id)


def load_features(
    directory: str | PathLike[str],
    *,
    groups: Collection[str] | None = None,
    track_id: NDArray[np.int64] | None = None,
) -> FeatureTable:
    """The 518 descriptors of features.csv, or some groups of them.

    Parameters
    ----------
    directory : path
        A prepared folder, or one that holds it.
    groups : collection of str, optional
        Heads of names: ``mfcc``, ``chroma_cens``, or ``mfcc_mean``; by default all.
    track_id : np.ndarray [shape=(n,), int64], optional
        The tracks, in the order that is wanted; by default all, in the file's order.

    Raises
    ------
    DataError
        If the folder is not prepared or has no features, a group has no column, or tracks
        have no features (the message says how many).
    """
    return _features(directory, "features", groups, track_id)


def load_echonest(
    directory: str | PathLike[str],
    *,
    groups: Collection[str] | None = None,
    track_id: NDArray[np.int64] | None = None,
) -> FeatureTable:
    """The numbers of echonest.csv; parameters and errors as in :func:`load_features`."""
    return _features(directory, "echonest", groups, track_id)


def load_genres(directory: str | PathLike[str]) -> GenreTree:
    """The genre tree of a prepared folder, or the one that ships where it has none.

    Raises
    ------
    DataError
        If the folder is not prepared, or its genres are no tree.
    """
    folder = find_prepared(directory)
    if "genres" not in read_stamp(folder)["tables"]:
        return GenreTree.fma()
    rows = _read(folder, "genres", ["genre_id", "parent", "title"]).to_pylist()
    try:
        return GenreTree(Genre(r["genre_id"], r["parent"], r["title"] or "") for r in rows)
    except TableError as error:
        raise DataError(f"{folder}: genres.csv: {error}; fetch the metadata again") from error


@dataclass(frozen=True)
class FmaInfo:
    """What is in prepared tables.

    Attributes
    ----------
    folder : str
    simulated : bool
    tables : dict of str to (int, int)
        Name to rows and columns.
    tracks, artists : int
    subsets : dict of str to dict of str to int
        Subset, with the smaller ones inside it, to tracks by split.
    genres : dict of str to dict of str to int
        Top-level genre to tracks by subset, as in `subsets`; "" for none.
    no_top_genre, no_genre : dict of str to int
        Split to tracks without a top-level genre, and without any.
    known_bad : dict of int to str
        Tracks that are known to be bad, and why.
    unreadable : dict of str to int
        "table.column" to cells that were left empty because they could not be read.
    """

    folder: str
    simulated: bool
    tables: dict[str, tuple[int, int]]
    tracks: int
    artists: int
    subsets: dict[str, dict[str, int]]
    genres: dict[str, dict[str, int]]
    no_top_genre: dict[str, int]
    no_genre: dict[str, int]
    known_bad: dict[int, str]
    unreadable: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def describe(directory: str | PathLike[str]) -> FmaInfo:
    """Count what is in prepared FMA tables; errors as in :func:`load_tracks`."""
    folder = find_prepared(directory)
    stamp = read_stamp(folder)
    tracks = load_tracks(folder)
    split = _values(_column(tracks, "split", None))
    top = _column(tracks, "genre_top", "")
    genres = _column(tracks, "genres", None)
    none = np.fromiter((not names for names in genres), dtype=bool, count=len(tracks))
    subsets: dict[str, dict[str, int]] = {}
    by_genre: dict[str, dict[str, int]] = {name: {} for name in sorted(set(top))}
    for subset in Subset if "subset" in tracks else ():
        inside = np.asarray(tracks["subset"] <= subset, dtype=bool)
        subsets[subset.value] = _counted(split[inside])
        for name, count in _counted(top[inside]).items():
            by_genre[name][subset.value] = count
    artists = set(_column(tracks, "artist_id", "")) - {""}
    return FmaInfo(
        folder=str(folder),
        simulated=bool(stamp["simulated"]),
        tables={name: (e["rows"], e["columns"]) for name, e in stamp["tables"].items()},
        tracks=len(tracks),
        artists=len(artists),
        subsets=subsets,
        genres=by_genre,
        no_top_genre=_counted(split[top == ""]),
        no_genre=_counted(split[none]),
        known_bad={
            int(track): str(why)
            for track, why in zip(tracks["track_id"], tracks["problem"], strict=True)
            if why
        },
        unreadable={
            f"{name}.{column}": n
            for name, e in stamp["tables"].items()
            for column, (n, _) in e["unreadable"].items()
        },
    )


def _column(tracks: TrackTable, name: str, nothing: object) -> NDArray[Any]:
    if name not in tracks:
        return np.full(len(tracks), nothing, dtype=object)
    return tracks[name]


def _values(members: NDArray[Any]) -> NDArray[Any]:
    names = (member.value if member is not None else "" for member in members)
    return np.fromiter(names, dtype=object, count=len(members))


def _counted(cells: NDArray[Any]) -> dict[str, int]:
    order = {split.value: place for place, split in enumerate(Split)}
    counts = Counter(cells.tolist())
    return dict(sorted(counts.items(), key=lambda item: (order.get(item[0], 9), item[0])))


def _read(folder: Path, table: str, columns: list[str] | None = None) -> Any:
    pa = import_pyarrow()
    path = table_file(folder, table)
    try:
        file = pa.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        kept = None if columns is None else [name for name in columns if name in names]
        return file.read(columns=kept, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); run `genrescope fma prepare` again"
        ) from error


def _chosen(
    folder: Path, table: Any, subset: Subset | str | None, split: Split | str | None
) -> Any:
    """The rows of a subset, with those inside it, and of a split."""
    pa = import_pyarrow()
    for name, values in (
        ("subset", None if subset is None else [s for s in Subset if s <= Subset.parse(subset)]),
        ("split", None if split is None else [Split.parse(split)]),
    ):
        if values is None:
            continue
        if name not in table.column_names:
            raise DataError(
                f"{folder}: its tracks have no column {name} to choose by; prepare FMA's own "
                "tracks.csv"
            )
        wanted = pa.array([value.value for value in values])
        table = table.filter(pa.compute.is_in(table[name].cast("string"), value_set=wanted))
    return table


def _paths(ids: NDArray[np.int64], audio: str | PathLike[str] | None) -> list[str]:
    paths = [audio_path(track) for track in ids.tolist()]
    return paths if audio is None else [str(Path(audio) / path) for path in paths]


def _objects(column: Any) -> list[object]:
    cells: list[object] = column.to_pylist()
    return ["" if cell is None else str(cell) for cell in cells]


def _titles(folder: Path, column: Any) -> list[tuple[str, ...]]:
    tree, shipped = load_genres(folder), GenreTree.fma()
    names: dict[int, str] = {}
    out = []
    for ids in column.to_pylist():
        for id_ in ids or ():
            if id_ not in names:
                known = tree if id_ in tree else shipped
                names[id_] = known.canonical(id_) if id_ in known else str(id_)
        out.append(tuple(names[id_] for id_ in ids or ()))
    return out


def _features(
    directory: str | PathLike[str],
    table: str,
    groups: Collection[str] | None,
    track_id: NDArray[np.int64] | None,
) -> FeatureTable:
    pa = import_pyarrow()
    folder = find_prepared(directory)
    schema = pa.parquet.read_schema(table_file(folder, table))
    numeric = [f.name for f in schema if pa.types.is_floating(f.type)]
    if groups is not None:
        for group in groups:
            if not any(name == group or name.startswith(f"{group}_") for name in numeric):
                there = ", ".join(sorted({name.rsplit("_", 2)[0] for name in numeric}))
                raise DataError(
                    f"{group!r} is the head of no column of {table}; there are: {there}"
                )
        heads = tuple(f"{group}_" for group in groups)
        numeric = [n for n in numeric if n in groups or n.startswith(heads)]
    read = _read(folder, table, ["track_id", *numeric])
    ids: NDArray[np.int64] = read["track_id"].to_numpy()
    values = np.empty((len(ids), len(numeric)), dtype=np.float32)
    for at, name in enumerate(numeric):
        values[:, at] = read[name].to_numpy()
    if track_id is not None:
        rows = _rows(folder, table, ids, np.asarray(track_id, dtype=np.int64))
        ids, values = ids[rows], values[rows]
    return FeatureTable(ids, tuple(numeric), values)


def _rows(
    folder: Path, table: str, ids: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Where the wanted ids are; joined by id, never by position."""
    order = np.argsort(ids)
    at = np.searchsorted(ids, wanted, sorter=order)
    found = order[np.minimum(at, len(ids) - 1)]
    missing = wanted[ids[found] != wanted]
    if len(missing):
        raise DataError(
            f"{folder}: {len(missing)} of {len(wanted)} tracks have no {table} (track "
            f"{missing[0]} is the first); choose among the ids that the table has"
        )
    return found
