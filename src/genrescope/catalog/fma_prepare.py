"""FMA's CSV files to typed Parquet, once.

The folder that results holds one Parquet file a table and ``prepared.json``, which says what
each was made from. A table is made again only when its CSV file has other content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.catalog.fma_tables import FILES, Unreadable, batches, import_pyarrow, read_header
from genrescope.catalog.storage import Report, atomic, silent
from genrescope.errors import DataError

__all__ = [
    "SIMULATED",
    "Prepared",
    "PreparedTable",
    "find_prepared",
    "is_simulated",
    "prepare",
    "read_stamp",
    "table_file",
]

SIMULATED = "SIMULATED.txt"
"""A file of this name in a folder says that what is in it was made up."""

_STAMP = "prepared.json"
_FORMAT = 1


@dataclass(frozen=True)
class PreparedTable:
    """One table.

    Attributes
    ----------
    name : str
        tracks, genres, features or echonest.
    rows, columns : int
        Its size, the index column included.
    unreadable : mapping of str to (int, tuple of str)
        Column to the number of cells that were left empty because they are not of its type,
        and examples of them.
    made : bool
        Whether this call made it; otherwise it was up to date.
    """

    name: str
    rows: int
    columns: int
    unreadable: Mapping[str, tuple[int, tuple[str, ...]]]
    made: bool


@dataclass(frozen=True)
class Prepared:
    """What :func:`prepare` left.

    Attributes
    ----------
    folder : Path
        Where the Parquet files are.
    tables : tuple of PreparedTable
    missing : tuple of str
        CSV files that are not there.
    simulated : bool
        Whether the archive was made up.
    """

    folder: Path
    tables: tuple[PreparedTable, ...]
    missing: tuple[str, ...]
    simulated: bool


def prepare(
    directory: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    report: Report | None = None,
) -> Prepared:
    """Turn the CSV files of FMA's metadata into typed Parquet.

    Parameters
    ----------
    directory : path
        The folder ``fma_metadata`` or the one it is in. tracks.csv must be there; genres.csv,
        features.csv and echonest.csv may be.
    out : path, optional
        Where to; by default the folder ``prepared`` beside the CSV files.
    force : bool
        Make all tables, whether or not they are up to date.
    report : callable, optional
        See :data:`genrescope.catalog.storage.Report`; the stages are the tables, the counts
        rows.

    Returns
    -------
    Prepared

    Raises
    ------
    DataError
        If tracks.csv is not there, or a file is damaged, cut short or in another layout.
        Tables that were there before are left as they were.
    MissingExtraError
        If pyarrow is not installed.
    """
    source = _source(Path(directory))
    folder = Path(out) if out is not None else source / "prepared"
    before = _read(folder) or {}
    simulated = (source / SIMULATED).exists()
    known = {} if force or before.get("simulated") != simulated else before.get("tables", {})
    missing = []
    entries: dict[str, Any] = {}
    made = set()
    for name, (file, _, _) in FILES.items():
        path = source / file
        if not path.exists():
            missing.append(file)
            continue
        entry = known.get(name)
        found = _unchanged(path, folder, name, entry)
        if not found:
            found = _make(path, folder, name, simulated, report or silent)
            made.add(name)
            # At once, so that a run that is stopped later need not make it again.
            before = _write(folder, {**known, **entries, name: found}, simulated)
        entries[name] = found
    if before != _stamp(entries, simulated):
        _write(folder, entries, simulated)
    tables = tuple(
        PreparedTable(
            name,
            entry["rows"],
            entry["columns"],
            {c: (n, tuple(cells)) for c, (n, cells) in entry["unreadable"].items()},
            name in made,
        )
        for name, entry in entries.items()
    )
    return Prepared(folder, tables, tuple(missing), simulated)


def is_simulated(directory: str | PathLike[str]) -> bool:
    """Whether a prepared folder was made from a simulated archive.

    Every page and figure that is made from such a folder says so.

    Raises
    ------
    DataError
        If `directory` holds no prepared folder (see :func:`find_prepared`).
    """
    return bool(read_stamp(find_prepared(directory))["simulated"])


def find_prepared(directory: str | PathLike[str]) -> Path:
    """The prepared folder that is `directory`, or in it.

    Raises
    ------
    DataError
        If there is none; the message says how to make one.
    """
    top = Path(directory)
    for folder in (top, top / "prepared", top / "fma_metadata" / "prepared"):
        if _read(folder) is not None:
            return folder
    raise DataError(
        f"{top}: holds no prepared FMA tables; run `genrescope fma prepare DIR` on the folder "
        "with FMA's tracks.csv (`genrescope fma fetch metadata` fetches it)"
    )


def read_stamp(folder: Path) -> Mapping[str, Any]:
    """What ``prepared.json`` says; see :func:`find_prepared` for errors."""
    stamp = _read(folder)
    return stamp if stamp is not None else read_stamp(find_prepared(folder))


def table_file(folder: Path, name: str) -> Path:
    """The Parquet file of a table in a prepared folder.

    Raises
    ------
    DataError
        If the table was not prepared, or its file is not the one that was written.
    """
    entry = read_stamp(folder)["tables"].get(name)
    if entry is None:
        raise DataError(
            f"{folder}: has no table {name}: {FILES[name][0]} was not there when it was "
            "prepared; put it beside tracks.csv and run `genrescope fma prepare` again"
        )
    path = folder / f"{name}.parquet"
    if not _has_size(path, entry["parquet_bytes"]):
        raise DataError(
            f"{path}: is missing or not as it was written; run `genrescope fma prepare` again"
        )
    return path


def _source(directory: Path) -> Path:
    for folder in (directory, directory / "fma_metadata"):
        if (folder / "tracks.csv").is_file():
            return folder
    raise DataError(
        f"{directory}: holds no tracks.csv; give the folder fma_metadata, which "
        "`genrescope fma fetch metadata` fetches and `genrescope fma simulate` makes up"
    )


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    right = isinstance(stamp, dict) and stamp.get("format") == _FORMAT
    return stamp if right and isinstance(stamp.get("tables"), dict) else None


def _stamp(entries: Mapping[str, Any], simulated: bool) -> dict[str, Any]:
    return {"format": _FORMAT, "simulated": simulated, "tables": dict(entries)}


def _write(folder: Path, entries: Mapping[str, Any], simulated: bool) -> dict[str, Any]:
    stamp = _stamp(entries, simulated)
    with atomic(folder / _STAMP) as fresh:
        fresh.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    return stamp


def _has_size(path: Path, size: object) -> bool:
    return path.is_file() and path.stat().st_size == size


def _unchanged(path: Path, folder: Path, name: str, entry: Any) -> dict[str, Any] | None:
    """The entry of a table that is up to date."""
    if not entry or not _has_size(folder / f"{name}.parquet", entry["parquet_bytes"]):
        return None
    status = path.stat()
    if [status.st_size, status.st_mtime_ns] == [entry["bytes"], entry["mtime_ns"]]:
        return dict(entry)
    if status.st_size != entry["bytes"] or _sha256(path)[0] != entry["sha256"]:
        return None
    return {**entry, "mtime_ns": status.st_mtime_ns}


def _make(path: Path, folder: Path, name: str, simulated: bool, report: Report) -> dict[str, Any]:
    pa = import_pyarrow()
    header = read_header(path, table=name)
    status = path.stat()
    sha256, quotes = _sha256(path)
    if quotes % 2:
        # The CSV reader takes the rest of the file for one cell, without a word.
        raise DataError(
            f"{path}: a quote is not closed; the file is damaged or cut short, fetch the "
            "metadata again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    unreadable = Unreadable()
    ids: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    rows = 0
    with atomic(folder / f"{name}.parquet") as fresh:
        writer = None
        try:
            for batch in batches(path, table=name, header=header, unreadable=unreadable):
                if writer is None:
                    marks = {"genrescope.simulated": str(simulated).lower()}
                    schema = batch.schema.with_metadata(marks)
                    # Numbers that hardly repeat gain nothing from a dictionary.
                    plain = name == "features"
                    writer = pa.parquet.ParquetWriter(
                        fresh, schema, compression="zstd", use_dictionary=not plain
                    )
                writer.write_batch(batch)
                ids.append(batch.column(0).to_numpy())
                rows += len(batch)
                report(name, rows, None)
        finally:
            if writer is not None:
                writer.close()
        if not rows:
            raise DataError(f"{path}: has a header and no rows; fetch the metadata again")
        every = np.sort(np.concatenate(ids))
        if twice := every[:-1][every[:-1] == every[1:]].tolist():
            raise DataError(
                f"{path}: {header.names[0]} {twice[0]} is there more than once "
                f"({len(twice)} ids are); every row needs its own"
            )
    return {
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": sha256,
        "parquet_bytes": (folder / f"{name}.parquet").stat().st_size,
        "rows": rows,
        "columns": len(header.names),
        "unreadable": {c: [n, unreadable.examples[c]] for c, n in unreadable.counts.items()},
    }


def _sha256(path: Path) -> tuple[str, int]:
    """Hash of a file, and how many double quotes it has."""
    digest, quotes = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                quotes += chunk.count(b'"')
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest(), quotes
