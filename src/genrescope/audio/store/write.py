"""Filling a feature store: many files in parallel, to be stopped and continued at any moment.

Tracks are taken in the catalogue's order, in batches. A batch becomes the files of one part, which
are written under their own numbers, brought to the disk, and then named by one line of the journal.
A process that dies before that line leaves files that nobody counts. So a store that was killed ten
times holds the same bytes as one that never was.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.files import printable
from genrescope.audio.store.disk import (
    StoreLock,
    open_new,
    replace_file,
    sha256_of,
    sync_folder,
    told,
    write_all,
)
from genrescope.audio.store.extract import Extracted, Job, extract_file, look
from genrescope.audio.store.journal import Failure, Journal, Row, Seen
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import Catalogue
from genrescope.audio.workers import DEFAULT_TIMEOUT, map_isolated
from genrescope.catalog.fma_tables import import_pyarrow
from genrescope.catalog.storage import human_bytes
from genrescope.errors import DataError, DiskSpaceError, GenrescopeError, MissingExtraError

__all__ = ["BATCH", "DESCRIPTION", "PARTS", "Summary", "extract", "read_description"]

BATCH = 128  # tracks a part
DESCRIPTION = "store.json"
PARTS = "parts"

FORMAT = "genrescope feature store"
_VERSION = 1
PARTITIONED = 2  # the version of a store that many machines fill; see partitions
HEADER = 128  # bytes of the head of an .npy file, whatever its number of rows
_SPARE = 64 << 20  # bytes that stay free on the disk

Report = Callable[[int, int, int], None]
"""Told how many tracks are done, how many there are to do, and how many failed."""


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    asked : int
        Tracks of the source.
    added : int
        Tracks that are in the store now and were not before.
    replaced : int
        Tracks whose file holds something else than before.
    kept : int
        Tracks that were there already.
    missing : int
        Tracks that were there already and whose file is gone; their features stay.
    waiting : int
        Tracks in quarantine that were not tried again.
    failed : int
        Tracks that went into quarantine.
    rows, quarantined : int
        Of the whole store, at the end.
    left_by : int or None
        The process that was killed while it filled the store, if one was.
    """

    asked: int = 0
    added: int = 0
    replaced: int = 0
    kept: int = 0
    missing: int = 0
    waiting: int = 0
    failed: int = 0
    rows: int = 0
    quarantined: int = 0
    left_by: int | None = None


def read_description(folder: Path) -> dict[str, Any]:
    """What a store says of itself.

    Raises
    ------
    DataError
        If there is no store, or one of a later version.
    """
    path = folder / DESCRIPTION
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: no feature store; `genrescope features extract SOURCE --out {folder}` "
            "makes one"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); copy the store again") from error
    return check_description(said, where=str(path))


def check_description(said: Any, *, where: str) -> dict[str, Any]:
    """What a store says of itself, if it is a store that can be read here; else DataError."""
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise DataError(f"{where}: not the description of a feature store; give another folder")
    if said.get("version") not in (_VERSION, PARTITIONED):
        raise DataError(
            f"{where}: format {said.get('version')}; this version of genrescope reads {_VERSION} "
            f"and {PARTITIONED}. Extract into another folder"
        )
    return said


def extract(
    catalogue: Catalogue,
    folder: str | PathLike[str],
    *,
    recipe: Recipe | None = None,
    workers: int | None = None,
    retry: bool = False,
    timeout: float | None = DEFAULT_TIMEOUT,
    batch: int = BATCH,
    report: Report | None = None,
) -> Summary:
    """Bring the features of all tracks into a store.

    A track that is there already is not read again, unless its file changed: size, mtime and ctime
    say whether to look, and the SHA-256 of the whole file says whether it is another one. A track
    that could not be read is in the quarantine and is not tried again, unless its file changed or
    `retry` is set.

    Parameters
    ----------
    catalogue : Catalogue
        The tracks; see :func:`genrescope.audio.store.sources.find_tracks`.
    folder : path
        The store; made if need be.
    recipe : Recipe, optional
        What to compute; by default what the store has, or all.
    workers : int >= 0, optional
        As in :func:`genrescope.audio.workers.map_isolated`; the same bytes come out of any number
        from 1 on.
    retry : bool
        Whether to try tracks in quarantine again.
    timeout : float, optional
        Seconds that a file may take.
    batch : int > 0
        Tracks that are committed together: what is lost where the process is killed.
    report : callable, optional
        Told how many tracks are done, how many there are to do, and how many failed.

    Returns
    -------
    Summary

    Raises
    ------
    DataError
        If the folder is something else, the recipe is not the store's, another process writes to
        the store, or an id names two files.
    DiskSpaceError
        If the disk is full, or too small; what was committed is whole.
    MissingExtraError
        If descriptors are asked for and pyarrow is not installed.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}; at least 1 track is committed at a time")
    store = Path(folder)
    check_place(store)
    with told(store):
        (store / PARTS).mkdir(parents=True, exist_ok=True)
    with StoreLock(store) as lock:
        recipe = _settle(store, recipe)
        journal = Journal.read(store)
        journal.cut()
        _discard(store, journal)
        catalogue.keep(store)
        jobs, summary = plan(catalogue, journal, retry=retry)
        summary.left_by = lock.left_by
        _check_room(store, len(jobs) * recipe.row_bytes)
        filling = _Filling(store, recipe, journal, summary)
        failed = 0
        with closing(
            map_isolated(
                partial(extract_file, recipe=recipe), jobs, workers=workers, timeout=timeout
            )
        ) as results:
            for done, (job, result) in enumerate(results, start=1):
                failed += isinstance(result, GenrescopeError)
                with filling.safely():
                    filling.take(job, result)
                    if done % batch == 0 or done == len(jobs):
                        filling.commit()
                if report is not None:
                    report(done, len(jobs), failed)
        journal.write_quarantine()
        summary.rows, summary.quarantined = len(journal.rows), len(journal.failures)
        return summary


# --- before ------------------------------------------------------------------


def check_place(store: Path) -> None:
    if store.exists() and not store.is_dir():
        raise DataError(f"{store}: a file; a feature store is a folder, give another --out")
    if not store.is_dir() or (store / DESCRIPTION).exists():
        return
    others = [p.name for p in store.iterdir() if p.name not in ("lock", PARTS) and p.name[0] != "."]
    if others:
        raise DataError(
            f"{store}: not empty and no feature store (it holds {printable(sorted(others)[0])}); "
            "give a new folder with --out"
        )


def _settle(store: Path, recipe: Recipe | None) -> Recipe:
    """The store's recipe, from now on."""
    if (store / DESCRIPTION).exists():
        said = read_description(store)
        if said["version"] == PARTITIONED:
            raise DataError(
                f"{store}: a store of partitions, which --cluster, --scheduler or --partitions "
                "fill; give one of them"
            )
        settled = recipe or Recipe.from_dict(said)
        settled.require_same(said, store=str(store))
    else:
        settled = recipe or Recipe()
    check_recipe(settled)
    if not (store / DESCRIPTION).exists():
        said = describe_new(settled, version=_VERSION)
        replace_file(store / DESCRIPTION, (json.dumps(said, indent=2) + "\n").encode())
    return settled


def check_recipe(recipe: Recipe) -> None:
    """Find out before the work whether it can be stored; MissingExtraError if not."""
    if "descriptors" in recipe.what:
        try:
            import_pyarrow()
        except MissingExtraError as error:
            raise MissingExtraError(
                "Storing descriptors (all but --what mel,frames)", extra="lab", package="pyarrow"
            ) from error


def describe_new(recipe: Recipe, *, version: int) -> dict[str, Any]:
    """What a new store says of itself."""
    return {
        "format": FORMAT,
        "version": version,
        **recipe.to_dict(),
        "made_with": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in ("genrescope", "numpy", "soxr", "soundfile", "av"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # run from its source
            found[name] = metadata.version(name)
    return found


def strays(store: Path, journal: Journal) -> list[Path]:
    """Files of a run that was killed, which nobody counts."""
    named = {name for part in journal.parts for name in part.files}
    found = [path for path in (store / PARTS).iterdir() if path.name not in named]
    return found + [path for path in store.iterdir() if path.name.endswith(".part")]


def _discard(store: Path, journal: Journal) -> None:
    with told(store):
        for path in strays(store, journal):
            path.unlink()


def plan(catalogue: Catalogue, journal: Journal, *, retry: bool) -> tuple[list[Job], Summary]:
    """The files to be read, in the catalogue's order."""
    summary, jobs = Summary(asked=len(catalogue)), []
    for id_, path in zip(catalogue.ids, catalogue.paths, strict=True):
        now = look(path)
        row, failure = journal.rows.get(id_), journal.failures.get(id_)
        if row is not None:
            if now is None:
                summary.missing += 1
                continue
            if path == row.path and now == (row.size, row.mtime_ns, row.ctime_ns):
                summary.kept += 1
                continue
            jobs.append(Job(id_, path, row.sha256, now))
        elif failure is not None and not retry and path == failure.path and now == _status(failure):
            summary.waiting += 1
        else:
            jobs.append(Job(id_, path, "", now or (-1, -1, -1)))
    return jobs, summary


def _status(failure: Failure) -> tuple[int, int, int] | None:
    if failure.size < 0:
        return None
    return failure.size, failure.mtime_ns, failure.ctime_ns


def _check_room(store: Path, needed: int) -> None:
    free = shutil.disk_usage(store).free
    if needed and free < needed + _SPARE:
        raise DiskSpaceError(
            f"{store}: up to {human_bytes(needed + _SPARE)} will be needed, and "
            f"{human_bytes(free)} are free; free some space, take fewer features with --what, or "
            "give another disk with --out"
        )


# --- parts -------------------------------------------------------------------


@dataclass(eq=False)
class _Filling:
    """The batch in work."""

    store: Path
    recipe: Recipe
    journal: Journal
    summary: Summary
    _rows: list[Row] = field(default_factory=list)
    _failures: list[Failure] = field(default_factory=list)
    _seen: list[Seen] = field(default_factory=list)
    _descriptors: list[Any] = field(default_factory=list)
    _open: dict[str, int] = field(default_factory=dict)  # array -> descriptor of its file

    @contextlib.contextmanager
    def safely(self) -> Iterator[None]:
        """Remove the files of the batch in work where something goes wrong."""
        try:
            with told(self.store):
                yield
        except BaseException:
            for fd in self._open.values():
                with contextlib.suppress(OSError):
                    os.close(fd)
            with contextlib.suppress(OSError):
                # After an interrupt they may be committed already.
                for path in self._files().values() if self.journal.settled else ():
                    path.unlink(missing_ok=True)
            raise

    def take(self, job: Job, result: Extracted | GenrescopeError) -> None:
        """Note what came out of one file."""
        before = self.journal.rows.get(job.id)
        if isinstance(result, GenrescopeError):
            kind, reason = type(result).__name__, str(result)
            self._failures.append(Failure(job.id, job.path, *job.status, kind, reason))
            self.summary.failed += 1
            return
        if result.sha256 == job.known:
            self._seen.append(Seen(job.id, job.path, *result.status))
            self.summary.kept += 1
            return
        if before is not None and before.path != job.path and os.path.exists(before.path):
            raise DataError(
                f"{printable(job.id)} is {printable(before.path)} in the store and "
                f"{printable(job.path)} now, which holds something else; an id names one file: "
                "give the sources stores of their own with --out"
            )
        row = Row(job.id, job.path, *result.status, sha256=result.sha256, **result.facts)
        for name, cells in result.arrays.items():
            self._append(name, cells)
        if result.descriptors is not None:
            self._descriptors.append(result.descriptors)
        self._rows.append(row)
        if before is None:
            self.summary.added += 1
        else:
            self.summary.replaced += 1

    def commit(self) -> None:
        """Bring the batch to the disk, and then into the journal."""
        paths, files = self._files(), {}
        for name, (shape, kind) in self.recipe.arrays.items() if self._rows else ():
            fd = self._open[name]
            os.lseek(fd, 0, os.SEEK_SET)
            write_all(fd, npy_header((len(self._rows), *shape), kind))
            os.fsync(fd)
            os.close(self._open.pop(name))
        if self._descriptors:
            data = descriptor_parquet([row.id for row in self._rows], np.stack(self._descriptors))
            fd = open_new(paths["descriptors"])
            try:
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
        if self._rows:
            sync_folder(self.store / PARTS)
            for name in (*self.recipe.arrays, *(("descriptors",) if self._descriptors else ())):
                path = paths[name]
                files[path.name] = (path.stat().st_size, sha256_of(path))
        self.journal.commit(files=files, rows=self._rows, failures=self._failures, seen=self._seen)
        failed = bool(self._failures)
        self._rows, self._failures, self._seen, self._descriptors = [], [], [], []
        if failed:
            self.journal.write_quarantine()

    def _append(self, name: str, cells: Any) -> None:
        shape, kind = self.recipe.arrays[name]
        if cells.shape != shape or cells.dtype != kind:
            raise DataError(
                f"{name} is {cells.dtype} {cells.shape}, and the recipe says {kind} {shape}; "
                "please report it"
            )
        if name not in self._open:
            self._open[name] = open_new(self._files()[name])
            write_all(self._open[name], bytes(HEADER))  # its number of rows is not known yet
        write_all(self._open[name], np.ascontiguousarray(cells).data)

    def _files(self) -> dict[str, Path]:
        """Where the batch's files go, by name of the feature."""
        number = len(self.journal.parts)
        names = {name: part_file(number, name) for name in (*self.recipe.arrays, "descriptors")}
        return {name: self.store / PARTS / file for name, file in names.items()}


def part_file(number: int, name: str) -> str:
    """Name of a file of a part.

    >>> part_file(3, "mel"), part_file(3, "descriptors")
    ('000003.mel.npy', '000003.descriptors.parquet')
    """
    return f"{number:06d}.{name}.{'parquet' if name == 'descriptors' else 'npy'}"


def npy_header(shape: Sequence[int], kind: np.dtype[Any]) -> bytes:
    """The head of an .npy file, always of the same length.

    >>> len(npy_header((128, 128, 1292), np.dtype("uint8")))
    128
    """
    said = {"descr": kind.str, "fortran_order": False, "shape": tuple(shape)}
    start = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little")
    return start + repr(said).encode("ascii").ljust(HEADER - 11) + b"\n"


def descriptor_parquet(ids: list[str], values: Any) -> memoryview:
    pa = import_pyarrow()
    shown = [printable(id_) for id_ in ids]  # Parquet's text is UTF-8, and names of files need not
    columns = [pa.array(shown, pa.string())]
    columns += [pa.array(column) for column in np.ascontiguousarray(values.T)]
    table = pa.Table.from_arrays(columns, names=["id", *DESCRIPTOR_NAMES])
    sink = pa.BufferOutputStream()
    # Without what helps to search: it would be as large as the numbers.
    pa.parquet.write_table(
        table, sink, compression="zstd", use_dictionary=False, write_statistics=False
    )
    return memoryview(sink.getvalue())
