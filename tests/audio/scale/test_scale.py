"""Work on a real cluster: nothing lost, nothing twice, whatever dies."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.scale import Cluster, Lost, Threads
from genrescope.audio.scale.batch import Batch, Done
from genrescope.audio.scale.work import Isolation, release
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.extract import Job
from genrescope.audio.store.partitions import Partition, partition_of
from genrescope.audio.store.place import Place
from genrescope.audio.store.sources import find_tracks
from genrescope.audio.store.verify import verify
from genrescope.errors import ClusterError, DiskSpaceError
from tests.apps.command import COMMAND, environment
from tests.audio.poison import extract_or_be_killed, times_read
from tests.audio.scaled import MANY, MEL, audit, scaled
from tests.audio.stores import SHORT, fill, write_tone

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.local(2) as started:
        yield started


# --- the same, wherever it runs ----------------------------------------------


def test_a_cluster_stores_the_same_as_one_process(
    music: Path, tmp_path: Path, cluster: Cluster
) -> None:
    alone = fill(music, tmp_path / "alone", recipe=SHORT)
    done = scaled(music, tmp_path / "cluster", cluster, recipe=SHORT)
    assert (done.added, done.failed, done.rows) == (alone.added, alone.failed, alone.rows)
    one, other = FeatureStore.open(tmp_path / "alone"), audit(tmp_path / "cluster", alone.rows)
    order = [other.ids.tolist().index(id_) for id_ in one.ids.tolist()]
    np.testing.assert_array_equal(one.mel(), other.mel(order))
    np.testing.assert_array_equal(one.frame_features(), other.frame_features(order))
    np.testing.assert_array_equal(one.descriptors().values, other.descriptors(order).values)
    assert [row.sha256 for row in one.rows] == [other.rows[i].sha256 for i in order]
    assert [f.reason for f in one.quarantine] == [f.reason for f in other.quarantine]
    assert sorted(other.catalogue.ids) == sorted(one.catalogue.ids)


def test_a_second_run_reads_nothing_and_a_new_file_is_added(
    music: Path, tmp_path: Path, threads: Threads
) -> None:
    copy = Path(shutil.copytree(music, tmp_path / "copy"))
    first = scaled(copy, tmp_path / "s", threads)
    again = scaled(copy, tmp_path / "s", threads)
    assert (again.kept, again.waiting, again.added) == (first.added, first.failed, 0)
    assert (again.rows, again.quarantined) == (first.rows, first.quarantined)
    write_tone(copy / "new.wav", seed=50)
    write_tone(copy / "0.wav", seed=51)
    (copy / "1.wav").write_bytes(b"no sound any more")
    third = scaled(copy, tmp_path / "s", threads)
    assert (third.added, third.replaced, third.failed) == (1, 1, 1)
    store = FeatureStore.open(tmp_path / "s")
    assert len(store) == third.rows == first.rows
    assert "1.wav" in {failure.id for failure in store.quarantine}
    table = (
        tmp_path / "s" / f"partition={partition_of('1.wav', 4)}" / "quarantine.csv"
    ).read_text()
    assert "1.wav" in table


# --- what dies ---------------------------------------------------------------


def test_workers_that_are_killed_lose_nothing_and_do_nothing_twice(
    many: Path, tmp_path: Path, cluster: Cluster
) -> None:
    killed: list[int] = []
    told: list[int] = []

    def report(done: int, total: int, failed: int) -> None:
        told.append(done)
        if len(killed) < 4 and done >= 20 * (1 + len(killed)):
            pids = list(cluster.client.run(os.getpid, on_error="ignore").values())
            if pids:
                killed.append(pids[len(killed) % len(pids)])
                os.kill(killed[-1], signal.SIGKILL)

    done = scaled(many, tmp_path / "s", cluster, batch=5, report=report)
    assert len(killed) == 4
    assert (done.added, done.failed, told[-1]) == (MANY, 0, MANY)
    audit(tmp_path / "s", MANY)


def _some(many: Path, tmp_path: Path, n: int) -> Path:
    """The first n of many files, in a folder of their own."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in sorted(many.iterdir())[:n]:
        shutil.copy(file, copy)
    return copy


def test_a_poisoned_file_is_given_up_after_two_tries_and_takes_nothing_with_it(
    many: Path, tmp_path: Path, cluster: Cluster
) -> None:
    copy = _some(many, tmp_path, 12)
    shutil.copy(copy / "003.wav", copy / "003 poison.wav")
    before = set(cluster.client.run(os.getpid).values())
    done = scaled(copy, tmp_path / "s", cluster, read=extract_or_be_killed)
    assert set(cluster.client.run(os.getpid).values()) == before
    assert times_read(copy / "003 poison.wav") == 2
    assert (done.added, done.failed) == (12, 1)
    (failure,) = audit(tmp_path / "s", 12).quarantine
    assert failure.error == "DecoderCrashError"
    assert "SIGKILL" in failure.reason
    assert "tried 2 times" in failure.reason
    again = scaled(copy, tmp_path / "s", cluster, read=extract_or_be_killed)
    assert (again.waiting, times_read(copy / "003 poison.wav")) == (1, 2)


def test_a_batch_that_ends_workers_is_taken_apart() -> None:
    jobs = tuple(Job(str(i), f"/{i}") for i in range(20))
    whole = Batch("/s", 0, "000001-000000-ab", MEL, jobs, ("",) * 20, Isolation())
    pieces = list(whole.pieces())
    assert [job for piece in pieces for job in piece.jobs] == list(jobs)
    assert len({piece.key for piece in pieces}) == len(pieces) > 4
    single = next(pieces[0].pieces())
    assert len(single.jobs) == 1
    (again,) = single.pieces()
    assert (again.key, again.lost) == (single.key, single.lost + 1)


def test_a_file_that_ends_workers_of_the_cluster_is_found_and_given_up(
    many: Path, tmp_path: Path
) -> None:
    copy = _some(many, tmp_path, 10)
    shutil.copy(copy / "003.wav", copy / "003 venom.wav")
    with Cluster.local(2) as cluster:
        # One death is enough for Dask here; it wants four of them before it says so.
        cluster.client.cluster.scheduler.allowed_failures = 0
        done = scaled(copy, tmp_path / "s", cluster, read=extract_or_be_killed, partitions=1)
    assert (done.added, done.failed, done.quarantined) == (10, 1, 1)
    (failure,) = audit(tmp_path / "s", 10).quarantine
    assert (failure.id, failure.error) == ("003 venom.wav", "DecoderCrashError")
    assert "5 workers of the cluster died while they read this file and no other" in failure.reason
    assert times_read(copy / "003 venom.wav") >= 5
    assert not Place(tmp_path / "s").names("partition=0/begun")


class Dying:
    """An engine whose workers die; those that have begun with a batch say so."""

    slots = slots_each = 1

    def __init__(self, track: str, *, begins: bool) -> None:
        self.track, self.begins = track, begins
        self.rounds = 0

    def run(self, fn, batches, *, split=None):  # type: ignore[no-untyped-def]
        waiting = list(batches)
        while waiting:
            batch = waiting.pop(0)
            if self.track not in {job.id for job in batch.jobs}:
                yield batch, fn(batch)
                continue
            self.rounds += 1
            if self.begins and batch.lost and len(batch.jobs) == 1:
                partition = Partition(Place(batch.store), batch.partition)
                partition.store.write(partition.begun_by(str(self.rounds), batch.key), b"")
            if self.rounds == 12:
                yield batch, fn(batch)  # they live on
            elif pieces := list(split(batch)):
                waiting += pieces
            else:
                yield batch, Lost("they died")


def test_workers_that_die_before_they_begin_with_a_file_do_not_speak_against_it(
    many: Path, tmp_path: Path
) -> None:
    some = find_tracks(many).taken(range(10))
    cluster = Dying("007.wav", begins=False)
    done = scaled(some, tmp_path / "s", cluster)
    assert (done.added, done.failed, cluster.rounds) == (10, 0, 12)
    cluster = Dying("007.wav", begins=True)
    done = scaled(some, tmp_path / "t", cluster)
    release()
    assert (done.added, done.failed) == (9, 1)
    assert cluster.rounds < 12


def test_workers_that_never_begin_end_the_run(many: Path, tmp_path: Path) -> None:
    cluster = Dying("007.wav", begins=False)
    cluster.rounds = 100
    with pytest.raises(ClusterError, match="before they began with it"):
        scaled(find_tracks(many).taken(range(10)), tmp_path / "s", cluster)
    release()


def test_a_worker_that_died_before_it_could_say_so_did_its_batch(
    music: Path, tmp_path: Path
) -> None:
    class Twice(Threads):
        """Does every batch twice, as when the scheduler has not heard of the first time."""

        def run(self, fn, batches, *, split=None):  # type: ignore[no-untyped-def]
            for batch, first in super().run(fn, batches):
                assert fn(batch) == first
                yield batch, first

    done = scaled(music, tmp_path / "s", Twice(1))
    release()
    audit(tmp_path / "s", done.rows)
    assert not [f for p in range(4) for f in Partition(Place(tmp_path / "s"), p).strays()]


def test_two_who_do_the_same_batch_at_once_commit_it_once(tmp_path: Path, many: Path) -> None:
    place = Place(tmp_path / "s")
    partition = Partition(place, 0)
    scaled(find_tracks(many).taken(range(3)), tmp_path / "s", Threads(1), partitions=1)
    ((key, line),) = partition.lines().items()
    partition.commit(key, line)  # by the other one, later
    assert len(partition.lines()) == 1
    partition.put_together()
    partition.commit(key, line)  # and once more, after the manifest was tidied up
    assert list(partition.lines()) == [key]
    audit(tmp_path / "s", 3)


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_full_disk_leaves_the_store_whole(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    some = find_tracks(many).taken(range(12))
    original, count = os.fsync, 0

    def full(fd: int) -> None:
        nonlocal count
        name = os.readlink(f"/proc/self/fd/{fd}") if sys.platform == "linux" else ""
        if ".npy" in name or ".line" in name:
            count += 1
            if count == fails:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskSpaceError, match="committed before is whole"):
            scaled(some, tmp_path / "s", Threads(1), batch=4, partitions=1)
    assert verify(tmp_path / "s").whole
    done = scaled(some, tmp_path / "s", Threads(1), batch=4, partitions=1)
    assert done.rows == 12
    audit(tmp_path / "s", 12)


# --- the scheduler -----------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """A scheduler and a worker as a person starts them."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = _free_port(), folder
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        scheduler = ("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        worker = ("worker", self.address, "--nworkers", "1", "--nthreads", "1", "--no-dashboard")
        for command in (scheduler, worker):
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *command],
                    env=environment(OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore"),
                    cwd=self._folder,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()


def test_a_scheduler_that_is_started_again_goes_on(many: Path, tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.start()
    command = ["features", "extract", str(many), "--out", str(tmp_path / "s"), "--what", "mel"]
    command += ["--seconds", "1", "--scheduler", site.address, "--batch", "2", "--partitions", "2"]
    asked = subprocess.Popen(
        [*COMMAND, *command],
        env=environment(OMP_NUM_THREADS="1"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "s").glob("partition=*/manifest/*")):
            assert time.monotonic() < deadline
            assert asked.poll() is None, asked.communicate()[1]
            time.sleep(0.01)
        site.end()
        site.start()
        _, errors = asked.communicate(timeout=120)
        assert asked.returncode == 0, errors
        assert "distributed" not in errors
        audit(tmp_path / "s", MANY)
    finally:
        asked.kill()
        asked.wait()
        site.end()


def test_nobody_at_the_address_is_said_soon() -> None:
    with pytest.raises(ClusterError, match=r"no scheduler of Dask answers.*dask scheduler"):
        Cluster.connect(f"tcp://127.0.0.1:{_free_port()}")


# --- flow --------------------------------------------------------------------


def _double(number: int) -> int:
    return 2 * number


def test_few_batches_are_on_their_way_at_a_time(cluster: Cluster) -> None:
    taken = 0

    def coming() -> Iterator[int]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield number

    ahead = []
    results = {}
    for done, (number, result) in enumerate(cluster.run(_double, coming()), start=1):
        ahead.append(taken - done)
        results[number] = result
    assert results == {number: 2 * number for number in range(200)}
    assert max(ahead) <= 2 * 2


def test_batches_are_of_so_many_tracks_and_so_many_bytes(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []

    class Noting(Threads):
        def run(self, fn, batches, *, split=None):  # type: ignore[no-untyped-def]
            for batch in batches:
                sizes.append([job.status[0] for job in batch.jobs])
                yield batch, Done(added=len(batch.jobs))

    some = find_tracks(many).taken(range(30))
    scaled(some, tmp_path / "a", Noting(1), partitions=1, batch=8)
    assert [len(batch) for batch in sizes] == [8, 8, 8, 6]
    each = sizes[0][0]
    sizes.clear()
    monkeypatch.setattr("genrescope.audio.scale.extract.BATCH_BYTES", int(2.5 * each))
    scaled(some, tmp_path / "b", Noting(1), partitions=1, batch=8)
    assert {len(batch) for batch in sizes} == {2}
