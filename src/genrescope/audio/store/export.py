"""A feature store in the forms that the other commands read."""

from __future__ import annotations

import csv
import io
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio import frames
from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.files import printable
from genrescope.audio.statistics import N_MFCC
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.disk import replace_file, told
from genrescope.catalog.fma_prepare import SIMULATED
from genrescope.catalog.fma_tables import import_pyarrow
from genrescope.catalog.storage import atomic
from genrescope.errors import DataError

__all__ = ["export_prepared", "export_table"]

_BATCH = 256  # tracks
_TRACKS, _FRAMES, _MFCC = "small_tracks.csv", "small_mel_frames.npz", "small_mfcc.npz"


def export_prepared(store: FeatureStore, folder: str | PathLike[str]) -> list[Path]:
    """Write the frames as a prepared folder; see :mod:`genrescope.catalog.prepared`.

    ``genrescope evaluate --data`` and ``genrescope train --data`` read it.

    Parameters
    ----------
    store : FeatureStore
        With frames.
    folder : path
        Made if need be.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    DataError
        If the store has no frames or no track has a genre, or the disk refuses.
    """
    out = Path(folder)
    labelled = np.flatnonzero(store.texts("genre_top") != "")
    if not len(labelled):
        raise DataError(
            f"{store.path}: no track has a genre, without which nothing can be learnt or scored; "
            "extract from GENRE/track folders, or a manifest with the column genre"
        )
    store.prepared(labelled[:0])  # fails where there are no frames
    n = len(labelled)
    mel = np.empty((n, frames.N_BANDS, frames.N_FRAMES), np.uint8)
    mfcc = np.empty((n, frames.DENSE_FRAMES, N_MFCC), np.float16)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("track_id", "title", "genre_top", "artist_id", "artist_name", "path"))
    names, ids = store.texts("artist_name").tolist(), np.empty(len(labelled), np.int64)
    for first in range(0, len(labelled), _BATCH):
        rows = labelled[first : first + _BATCH]
        part = store.prepared(rows)
        at = slice(first, first + len(rows))
        ids[at], mel[at], mfcc[at] = part.track_id, part.mel, part.mfcc_3s
        for i, row in enumerate(rows.tolist()):
            told_name = names[row] or store.rows[row].artist
            cells = (part.title[i], part.genre_top[i], part.artist_id[i], told_name)
            texts = [printable(str(cell)) for cell in (*cells, store.rows[row].path)]
            writer.writerow([int(part.track_id[i]), *texts])
    with told(out):
        out.mkdir(parents=True, exist_ok=True)
    replace_file(out / _TRACKS, table.getvalue().encode())
    written = [out / _TRACKS]
    with atomic(out / _FRAMES) as path, path.open("wb") as stream:
        np.savez(stream, track_id=ids, mel=mel)
    with atomic(out / _MFCC) as path, path.open("wb") as stream:
        np.savez(stream, track_id=ids, mfcc_3s=mfcc)
    written += [out / _FRAMES, out / _MFCC]
    return written + _say_simulated(store, out)


def export_table(store: FeatureStore, path: str | PathLike[str]) -> Path:
    """Write the descriptors as one Parquet table, with what the source says of the tracks.

    ``genrescope lab`` reads it, and so does any other program.

    Parameters
    ----------
    store : FeatureStore
        With descriptors.
    path : path
        A file ending in ``.parquet``.

    Returns
    -------
    Path
        The file: ``id``, ``path``, the columns of the source, the 518 descriptors.

    Raises
    ------
    DataError
        If the store has no descriptors, or the disk refuses.
    MissingExtraError
        If pyarrow is not installed.
    """
    pa = import_pyarrow()
    file = Path(path)
    table = store.descriptors()
    names = ["track_id", "path"]
    columns = [
        pa.array([printable(row.id) for row in store.rows]),
        pa.array([printable(row.path) for row in store.rows]),
    ]
    for name in store.columns:
        if name not in ("id", *names, *DESCRIPTOR_NAMES):
            names.append(name)
            columns.append(pa.array([_cell(cell) for cell in store.column(name)]))
    for name, cells in (("artist", "artist"), ("title", "title")):
        known = {"artist_id", "artist_name", "artist"} if name == "artist" else {"title"}
        if not known & set(store.columns):
            names.append(name)
            columns.append(pa.array([printable(getattr(row, cells)) for row in store.rows]))
    columns += [pa.array(column) for column in np.ascontiguousarray(table.values.T)]
    with atomic(file) as part:
        pa.parquet.write_table(
            pa.Table.from_arrays(columns, names=[*names, *DESCRIPTOR_NAMES]), part
        )
    _say_simulated(store, file.parent)
    return file


def _cell(cell: Any) -> Any:
    if isinstance(cell, list):
        return "; ".join(printable(str(one)) for one in cell)
    return printable(cell) if isinstance(cell, str) else cell


def _say_simulated(store: FeatureStore, folder: Path) -> list[Path]:
    if not store.catalogue.simulated:
        return []
    path = folder / SIMULATED
    replace_file(path, b"The features in this folder are of made-up tracks.\n")
    return [path]
