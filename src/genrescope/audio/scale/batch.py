"""A batch of tracks on a worker: read the files, write the parts, commit.

What runs on a cluster is :func:`extract_batch`. The one who planned the batch hears only how many
tracks there were. So a batch counts although nobody waits for it any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from genrescope.audio.files import printable
from genrescope.audio.scale.work import Isolation, each_isolated
from genrescope.audio.store.extract import Extracted, Job, extract_file
from genrescope.audio.store.journal import Failure, Row, Seen, read_line, write_line
from genrescope.audio.store.partitions import (
    Partition,
)
from genrescope.audio.store.parts import PARTS, descriptor_parquet, npy_header
from genrescope.audio.store.place import Place
from genrescope.audio.store.recipe import Recipe
from genrescope.errors import DataError, GenrescopeError

__all__ = ["Batch", "Done", "extract_batch", "write_parts"]

_SPLIT = 8  # pieces of a batch that ended workers


@dataclass(frozen=True)
class Batch:
    """Tracks of one partition that are done and committed together.

    Attributes
    ----------
    store : str
        Where the store is, as a path or URL that all workers understand.
    partition : int
    key : str
        Its name, by which it is committed once however often it is done.
    recipe : Recipe
    jobs : tuple of Job
        The files.
    before : tuple of str
        For each of them, the path that the store has for its id, if that is another one.
    isolation : Isolation
        The processes that read the files.
    lost : int
        How often it, or what it is a piece of, was lost with the workers that did it.
    """

    store: str
    partition: int
    key: str
    recipe: Recipe
    jobs: tuple[Job, ...]
    before: tuple[str, ...]
    isolation: Isolation
    lost: int = 0

    def pieces(self) -> Iterator[Batch]:
        """The same in smaller batches, to find the track that ends workers."""
        if len(self.jobs) == 1:
            yield replace(self, lost=self.lost + 1)
            return
        size = -(-len(self.jobs) // _SPLIT)
        for number, first in enumerate(range(0, len(self.jobs), size)):
            some = slice(first, first + size)
            key = f"{self.key}-{number}"
            jobs, before = self.jobs[some], self.before[some]
            yield replace(self, key=key, jobs=jobs, before=before, lost=self.lost + 1)


@dataclass(frozen=True)
class _Suspect(Job):
    """A track that was alone in a batch when it was lost; a file says each time it is begun.

    Workers die for many reasons. Those count that died while a process of theirs read the track.
    """

    store: str = ""
    note: str = ""


def _read(fn: Callable[..., Extracted], recipe: Recipe, job: Job) -> Extracted:
    """Read a file; this runs in the process that can be lost."""
    if isinstance(job, _Suspect):
        Place(job.store).write(job.note, b"")
    return fn(job, recipe=recipe)


@dataclass(frozen=True)
class Done:
    """What a batch came to, in tracks; see :class:`genrescope.audio.store.write.Summary`."""

    added: int = 0
    replaced: int = 0
    kept: int = 0
    failed: int = 0

    @property
    def tracks(self) -> int:
        """All of them."""
        return self.added + self.replaced + self.kept + self.failed


def extract_batch(batch: Batch, *, fn: Callable[..., Extracted] = extract_file) -> Done:
    """Do a batch: read its files, write the parts, commit. What workers of a cluster run.

    Parameters
    ----------
    batch : Batch
        What to do.
    fn : callable
        Takes a job and a recipe, and gives what came out of the file.

    Returns
    -------
    Done

    Raises
    ------
    DataError
        If the store cannot be written, or an id names two files.
    DiskSpaceError
        If there is no room for it; nothing of the batch is left.
    ServiceError
        If no process can be started to read files in.
    """
    partition = Partition(Place(batch.store), batch.partition)
    committed = partition.line(batch.key)
    if committed is not None:  # by a worker that died before it could say so
        return _count(committed, batch.jobs)
    jobs: Sequence[Job] = batch.jobs
    if batch.lost and len(jobs) == 1:
        about = (jobs[0].id, jobs[0].path, jobs[0].known, jobs[0].status)
        jobs = [_Suspect(*about, batch.store, partition.begun_by(secrets.token_hex(4), batch.key))]
    rows: list[Row] = []
    failures: list[Failure] = []
    seen: list[Seen] = []
    found: list[Extracted] = []
    results = each_isolated(partial(_read, fn, batch.recipe), jobs, batch.isolation)
    for job, before, result in zip(batch.jobs, batch.before, results, strict=True):
        if isinstance(result, GenrescopeError):
            kind, reason = type(result).__name__, str(result)
            failures.append(Failure(job.id, job.path, *job.status, kind, reason))
        elif result.sha256 == job.known:
            seen.append(Seen(job.id, job.path, *result.status))
        else:
            if before and os.path.exists(before):
                raise DataError(
                    f"{printable(job.id)} is {printable(before)} in the store and "
                    f"{printable(job.path)} now, which holds something else; an id names one "
                    "file: give the sources stores of their own with --out"
                )
            facts = {"sha256": result.sha256, **result.facts}
            rows.append(Row(job.id, job.path, *result.status, **facts))
            found.append(result)
    files = write_parts(partition, batch.key, batch.recipe, rows, found)
    line = write_line(batch.key, files=files, rows=rows, failures=failures, seen=seen)
    partition.commit(batch.key, line)
    return _count(line, batch.jobs)


def write_parts(
    partition: Partition,
    key: str,
    recipe: Recipe,
    rows: Sequence[Row],
    found: Sequence[Extracted],
) -> dict[str, tuple[int, str]]:
    """Put the rows of a batch into files; their names, bytes and checksums."""
    if not rows:
        return {}
    # Of this attempt: another worker may be doing the same.
    stem, files = f"{key}.{secrets.token_hex(4)}", {}
    try:
        for name, data in _contents(recipe, rows, found):
            files[f"{stem}.{name}"] = (len(data), hashlib.sha256(data).hexdigest())
            partition.store.write(f"{partition.folder}/{PARTS}/{stem}.{name}", data)
    except BaseException:
        with contextlib.suppress(GenrescopeError):
            partition.store.remove([f"{partition.folder}/{PARTS}/{name}" for name in files])
        raise
    return files


def _contents(
    recipe: Recipe, rows: Sequence[Row], found: Sequence[Extracted]
) -> Iterator[tuple[str, bytes | memoryview]]:
    for name, (shape, kind) in recipe.arrays.items():
        cells = np.stack([one.arrays[name] for one in found])
        if cells.shape[1:] != shape or cells.dtype != kind:
            raise DataError(
                f"{name} is {cells.dtype} {cells.shape[1:]}, and the recipe says {kind} {shape}; "
                "please report it"
            )
        yield f"{name}.npy", npy_header(cells.shape, kind) + cells.tobytes()
    if "descriptors" in recipe.what:
        values = np.stack([one.descriptors for one in found if one.descriptors is not None])
        yield "descriptors.parquet", descriptor_parquet([row.id for row in rows], values)


def _count(line: bytes, jobs: Sequence[Job]) -> Done:
    entry = read_line(line)
    ids = set(entry["rows"].get("id", ())) if entry else set()
    failed = set(entry["failures"].get("id", ())) if entry else set()
    added = sum(not job.known for job in jobs if job.id in ids)
    return Done(
        added=added,
        replaced=len(ids) - added,
        kept=len(jobs) - len(ids) - len(failed),
        failed=len(failed),
    )
