"""Filling a store of partitions: planning batches, handing them out, tidying up.

Each batch is done and committed by one worker (:mod:`genrescope.audio.scale.batch`). A run that is
started again plans what no line names.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from functools import partial

from genrescope.audio.files import printable
from genrescope.audio.scale.batch import Batch, Done, extract_batch
from genrescope.audio.scale.engine import Engine, Lost
from genrescope.audio.scale.work import Isolation
from genrescope.audio.store.description import (
    DESCRIPTION,
    PARTITIONED,
    check_description,
    check_recipe,
    describe_new,
)
from genrescope.audio.store.disk import StoreLock, told
from genrescope.audio.store.extract import Job
from genrescope.audio.store.journal import Failure, Journal, write_line
from genrescope.audio.store.partitions import (
    RUNS,
    Partition,
    describe,
    journal_of,
    partitions_for,
    shares,
)
from genrescope.audio.store.place import Place
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import Catalogue
from genrescope.audio.store.write import Extraction, Report, Summary, check_place, plan
from genrescope.errors import ClusterError, DataError, DecoderCrashError

__all__ = ["BATCH_BYTES", "extract_scaled"]

BATCH_BYTES = 256 << 20  # of files that a batch reads

_LEAST = 8  # tracks a batch, however many workers there are
_ROUNDS = 6  # batches for each that is done at a time, so that all end at about the same time
_BELIEVED = 5  # workers that died while they read a lone track, until it is held to be the cause
_PATIENCE = 20  # times that it is handed out again because they died before they began


def extract_scaled(
    catalogue: Catalogue,
    store: str | os.PathLike[str],
    *,
    engine: Engine,
    how: Extraction | None = None,
    partitions: int | None = None,
    report: Report | None = None,
) -> Summary:
    """Bring the features of all tracks into a store of partitions.

    What is read again and what not is as for :func:`genrescope.audio.store.write.extract`.

    Parameters
    ----------
    catalogue : Catalogue
        The tracks; all workers must see the files under the same paths.
    store : str or path
        A folder that all workers see, or a URL; made if need be.
    engine : Engine
        Where the work is done: :class:`genrescope.audio.scale.Cluster` or ``Threads``.
    how : Extraction, optional
        What to compute and how. The files of a batch have 256 MiB at most, if they are more than
        one; what reads them is told of at :func:`extract_batch`.
    partitions : int > 0, optional
        Of a new store; by default one for each 10,000 tracks. A store has its number for good.
    report : callable, optional
        Told how many tracks are done, how many there are to do, and how many failed.

    Returns
    -------
    Summary

    Raises
    ------
    DataError
        If the place holds something else, the store has another recipe or number of partitions,
        or an id names two files.
    DiskSpaceError
        If there is no room; what was committed is whole.
    ClusterError
        If the cluster is lost.
    """
    how = how or Extraction()
    place = Place(store)
    with _locked(place) as left_by:
        recipe, count = _settle(place, how.recipe, partitions, len(catalogue))
        run = _Run(place, recipe, Isolation(engine.slots_each, how.timeout), how.batch)
        run.summary.left_by = left_by
        run.plan(catalogue, count, retry=how.retry, slots=engine.slots)
        total, done, failed = run.planned, 0, 0
        work = partial(extract_batch, fn=how.read)
        results = engine.run(work, run.batches(), split=run.pieces)
        with contextlib.closing(results):
            for one, result in results:
                told = run.give_up(one, result) if isinstance(result, Lost) else result
                run.note(one, told)
                done, failed = done + told.tracks, failed + told.failed
                if report is not None:
                    report(done, total, failed)
        return run.summary


@contextlib.contextmanager
def _locked(place: Place) -> Iterator[int | None]:
    """Keep others from planning the same, where that can be; who was killed at it, if one was."""
    if place.local is None:
        yield None
        return
    check_place(place.local)
    with told(place.local):
        place.local.mkdir(parents=True, exist_ok=True)
    with StoreLock(place.local) as lock:
        yield lock.left_by


def _settle(
    place: Place, recipe: Recipe | None, partitions: int | None, tracks: int
) -> tuple[Recipe, int]:
    """The store's recipe and its number of partitions, from now on."""
    try:
        said = check_description(describe(place), where=place.url)
    except FileNotFoundError:
        settled = recipe or Recipe()
        check_recipe(settled)
        count = partitions_for(tracks) if partitions is None else partitions
        if count < 1:
            raise DataError(f"partitions is {count}; a store has 1 or more") from None
        new = describe_new(settled, version=PARTITIONED) | {"partitions": count}
        place.write(DESCRIPTION, (json.dumps(new, indent=2) + "\n").encode())
        return settled, count
    if said["version"] != PARTITIONED:
        raise DataError(
            f"{place}: a store without partitions, which one process fills; leave --scheduler and "
            "--cluster out, or give another --out"
        )
    settled = recipe or Recipe.from_dict(said)
    settled.require_same(said, store=str(place))
    check_recipe(settled)
    count = int(said["partitions"])
    if partitions not in (None, count):
        raise DataError(
            f"{place}: has {count} partitions, for good; leave --partitions out, or give another "
            "--out"
        )
    return settled, count


class _Run:
    """One run of filling a store."""

    def __init__(self, place: Place, recipe: Recipe, isolation: Isolation, batch: int) -> None:
        self._place, self._recipe, self._isolation = place, recipe, isolation
        self._batch = batch
        self.summary = Summary()
        self._work: dict[int, list[tuple[Job, str]]] = {}
        self._left: dict[int, int] = {}  # tracks of a partition that are not done yet
        self._stamp, self._name, self._size = "", secrets.token_hex(2), batch

    @property
    def planned(self) -> int:
        """Tracks to do."""
        return sum(len(jobs) for jobs in self._work.values())

    # --- before ------------------------------------------------------------

    def plan(self, catalogue: Catalogue, partitions: int, *, retry: bool, slots: int) -> None:
        """Find out what is to be done."""
        here = shares(catalogue.ids, partitions)
        last = max([0, *(int(name.partition("-")[0]) for name in self._place.names(RUNS))])
        summary = self.summary
        summary.asked = len(catalogue)
        for number in range(partitions):
            partition = Partition(self._place, number)
            if self._place.local is not None:
                # Elsewhere they may be of one who is writing now.
                self._place.remove(partition.strays())
            lines = partition.lines()
            journal = journal_of(lines, partition.folder)
            last = max([last, *(int(key.partition("-")[0]) for key in lines)])
            summary.rows += len(journal.rows)
            summary.quarantined += len(journal.failures)
            if number not in here:
                continue
            mine = catalogue.taken(here[number])
            partition.keep_catalogue(mine)
            jobs, part = plan(mine, journal, retry=retry)
            summary.kept += part.kept
            summary.missing += part.missing
            summary.waiting += part.waiting
            if jobs:
                self._work[number] = [(job, _before(job, journal)) for job in jobs]
                summary.rows -= len(journal.rows)
                summary.quarantined -= len(journal.failures)
        if self._work:
            # Whoever still works for an earlier run commits under an earlier number.
            said = {"host": socket.gethostname(), "pid": os.getpid(), "tracks": self.planned}
            name = f"{RUNS}/{last + 1:06d}-{self._name}.json"
            self._place.write(name, json.dumps(said).encode())
        self._left = {number: len(jobs) for number, jobs in self._work.items()}
        self._stamp = f"{last + 1:06d}"
        self._size = min(self._batch, max(_LEAST, -(-self.planned // (slots * _ROUNDS))))

    def batches(self) -> Iterator[Batch]:
        """What is to be done, partition by partition."""
        number = 0
        for partition, work in self._work.items():
            for some in _cut(work, self._size):
                yield Batch(
                    self._place.url,
                    partition,
                    f"{self._stamp}-{number:06d}-{self._name}",
                    self._recipe,
                    tuple(job for job, _ in some),
                    tuple(before for _, before in some),
                    self._isolation,
                )
                number += 1

    # --- after -------------------------------------------------------------

    def pieces(self, batch: Batch) -> list[Batch]:
        """What to do in place of a batch that was lost; nothing: its one track is the cause.

        Raises
        ------
        ClusterError
            If the workers keep dying before they begin with it.
        """
        alone = len(batch.jobs) == 1
        if alone and Partition(self._place, batch.partition).begun(batch.key) >= _BELIEVED:
            return []
        if alone and batch.lost >= _PATIENCE:
            raise ClusterError(
                f"the workers of the cluster die one after the other, {batch.lost} times by now "
                "with the same track to read and before they began with it; look at their memory "
                "and their logs. What was committed stays, and the same command goes on"
            )
        return list(batch.pieces())

    def give_up(self, batch: Batch, lost: Lost) -> Done:
        """Put a track that ends whole workers of the cluster into quarantine."""
        (job,) = batch.jobs
        count = Partition(self._place, batch.partition).begun(batch.key)
        reason = (
            f"{printable(job.path)}: {count} workers of the cluster died while they read this file "
            f"and no other ({lost.reason}). Try it again with --retry if they died for another "
            "reason."
        )
        failure = Failure(job.id, job.path, *job.status, DecoderCrashError.__name__, reason)
        line = write_line(batch.key, files={}, rows=(), failures=[failure])
        Partition(self._place, batch.partition).commit(batch.key, line)
        return Done(failed=1)

    def note(self, batch: Batch, done: Done) -> None:
        """A batch is committed; with the last of a partition, that is tidied up."""
        summary, number = self.summary, batch.partition
        summary.added += done.added
        summary.replaced += done.replaced
        summary.kept += done.kept
        summary.failed += done.failed
        if batch.lost:
            Partition(self._place, number).forget(batch.key)
        self._left[number] -= len(batch.jobs)
        if self._left[number]:
            return
        partition = Partition(self._place, number)
        partition.put_together()
        journal = partition.journal()
        partition.write_quarantine(journal)
        summary.rows += len(journal.rows)
        summary.quarantined += len(journal.failures)


def _before(job: Job, journal: Journal) -> str:
    """The file that an id stood for, if it was another one."""
    row = journal.rows.get(job.id)
    return row.path if row is not None and row.path != job.path else ""


def _cut(work: list[tuple[Job, str]], size: int) -> Iterator[list[tuple[Job, str]]]:
    """Batches of so many tracks, or of so many bytes of files."""
    some: list[tuple[Job, str]] = []
    room = BATCH_BYTES
    for one in work:
        n = max(one[0].status[0], 0)
        if some and (len(some) == size or n > room):
            yield some
            some, room = [], BATCH_BYTES
        some.append(one)
        room -= n
    if some:
        yield some
