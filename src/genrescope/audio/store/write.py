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
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.files import printable
from genrescope.audio.store.description import (
    DESCRIPTION,
    PARTITIONED,
    PLAIN,
    check_recipe,
    describe_new,
    read_description,
)
from genrescope.audio.store.disk import (
    StoreLock,
    open_new,
    replace_file,
    sha256_of,
    sync_folder,
    told,
    write_all,
    write_new,
)
from genrescope.audio.store.extract import Extracted, Job, extract_file, look
from genrescope.audio.store.journal import Failure, Journal, Row, Seen
from genrescope.audio.store.parts import (
    HEADER,
    PARTS,
    descriptor_parquet,
    npy_header,
    part_file,
)
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import Catalogue
from genrescope.audio.workers import DEFAULT_TIMEOUT, map_isolated
from genrescope.catalog.storage import human_bytes
from genrescope.errors import DataError, DiskSpaceError, GenrescopeError

__all__ = ["BATCH", "Extraction", "Report", "Summary", "check_place", "extract", "plan", "strays"]

BATCH = 128  # tracks a part
_SPARE = 64 << 20  # bytes that stay free on the disk

Report = Callable[[int, int, int], None]
"""Told how many tracks are done, how many there are to do, and how many failed."""


@dataclass(frozen=True)
class Extraction:
    """How tracks are brought into a store, wherever the work is done.

    Attributes
    ----------
    recipe : Recipe, optional
        What to compute; by default what the store has, or all.
    retry : bool
        Whether to try tracks in quarantine again.
    timeout : float
        Seconds that a file may take.
    batch : int > 0
        Tracks that are committed together: what is lost where the process is killed.
    read : callable
        What reads a file: takes a :class:`~genrescope.audio.store.extract.Job` and the recipe.

    Raises
    ------
    ValueError
        If `batch` is less than 1.
    """

    recipe: Recipe | None = None
    retry: bool = False
    timeout: float = DEFAULT_TIMEOUT
    batch: int = BATCH
    read: Callable[..., Extracted] = extract_file

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; at least 1 track is committed at a time")


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


def extract(
    catalogue: Catalogue,
    folder: str | PathLike[str],
    *,
    how: Extraction | None = None,
    workers: int | None = None,
    report: Report | None = None,
) -> Summary:
    """Bring the features of all tracks into a store.

    A track that is there already is not read again, unless its file changed: size, mtime and ctime
    say whether to look, and the SHA-256 of the whole file says whether it is another one. A track
    that could not be read is in the quarantine and is not tried again, unless its file changed or
    a retry is asked for.

    Parameters
    ----------
    catalogue : Catalogue
        The tracks; see :func:`genrescope.audio.store.sources.find_tracks`.
    folder : path
        The store; made if need be.
    how : Extraction, optional
        What to compute and how.
    workers : int >= 0, optional
        As in :func:`genrescope.audio.workers.map_isolated`; the same bytes come out of any number
        from 1 on.
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
    how = how or Extraction()
    store = Path(folder)
    check_place(store)
    with told(store):
        (store / PARTS).mkdir(parents=True, exist_ok=True)
    with StoreLock(store) as lock:
        recipe = _settle(store, how.recipe)
        journal = Journal.read(store)
        journal.cut()
        _discard(store, journal)
        catalogue.keep(store)
        jobs, summary = plan(catalogue, journal, retry=how.retry)
        summary.left_by = lock.left_by
        _check_room(store, len(jobs) * recipe.row_bytes)
        filling = _Filling(store, recipe, journal, summary)
        failed = 0
        with closing(
            map_isolated(
                partial(how.read, recipe=recipe), jobs, workers=workers, timeout=how.timeout
            )
        ) as results:
            for done, (job, result) in enumerate(results, start=1):
                failed += isinstance(result, GenrescopeError)
                with filling.safely():
                    filling.take(job, result)
                    if done % how.batch == 0 or done == len(jobs):
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
        said = describe_new(settled, version=PLAIN)
        replace_file(store / DESCRIPTION, (json.dumps(said, indent=2) + "\n").encode())
    return settled


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
            write_new(paths["descriptors"], data)
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
