"""The feature store is whole whenever it was killed, and whatever happened to the files."""

from __future__ import annotations

import errno
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.store import FeatureStore
from genrescope.audio.store import write as store_write
from genrescope.audio.store.extract import Job, extract_file
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.verify import verify
from genrescope.errors import DiskSpaceError
from tests.apps.command import environment
from tests.audio.deadly import extract_or_die
from tests.audio.stores import SHORT, SR, N, content, fill, write_tone
from tests.memory import peak_of

# --- killed ------------------------------------------------------------------

# Runs extractions that die at their n-th operation on the disk, for all n, and looks whether the
# next run makes the store whole. Forked, so that a run takes milliseconds; what is extracted is
# computed once.
KILLER = """
import functools, os, signal, sys
import numpy as np
from pathlib import Path
from genrescope.audio.store import write as store_write
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import find_tracks
from genrescope.audio.store.verify import verify
from genrescope.audio.workers import map_isolated
from tests.audio.stores import content

music, work = Path(sys.argv[1]), Path(sys.argv[2])
catalogue, recipe = find_tracks(music), Recipe(seconds=1.0)
jobs, _ = store_write.plan(catalogue, store_write.Journal(work), retry=False)
known = dict(map_isolated(functools.partial(store_write.extract_file, recipe=recipe), jobs,
                          workers=0))
store_write.map_isolated = lambda fn, jobs, **_: ((job, known[job]) for job in jobs)

os.fsync = lambda fd: None  # nothing here cuts the power
made, parquet = {}, store_write.descriptor_parquet

def cached(ids, values):
    if tuple(ids) not in made:
        made[tuple(ids)] = parquet(ids, values)
    return made[tuple(ids)]

store_write.descriptor_parquet = cached
for first in range(0, len(jobs), 3):
    rows = [(j.id, known[j].descriptors) for j in jobs[first : first + 3]
            if not isinstance(known[j], Exception)]
    if rows:
        cached([id_ for id_, _ in rows], np.stack([row for _, row in rows]))

def killed_at(n, out):
    "Whether a run was killed at its n-th operation; 0 never kills."
    child = os.fork()
    if not child:
        count = 0
        def counting(name):
            original = getattr(os, name)
            def call(*arguments):
                nonlocal count
                count += 1
                if count == n:
                    if name == "write":
                        original(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments)
            setattr(os, name, call)
        for name in ("write", "fsync", "replace", "unlink", "truncate", "ftruncate", "mkdir"):
            counting(name)
        try:
            store_write.extract(catalogue, out, how=store_write.Extraction(recipe, batch=3))
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0

assert not killed_at(0, work / "never")
expected = content(work / "never")
n = 1
while True:
    out = work / str(n)
    dead = killed_at(n, out)
    if dead and n % 3 == 0:
        killed_at(1 + n // 2, out)  # and once more
    if n % 5 == 0 and (out / "store.json").exists():
        assert not verify(out).problems, (n, verify(out).problems)
    assert not killed_at(0, out)
    assert content(out) == expected, n
    if not dead:
        break
    n += 1
print("killed", n - 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_operation_it_ends_with_the_same_bytes(music: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(music), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(OMP_NUM_THREADS="1"),
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 60


# --- a full disk -------------------------------------------------------------


class _Full:
    """Makes the n-th operation of one kind fail for want of space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def at(self, name: str, n: int) -> None:
        original: Callable[..., object] = getattr(os, name)
        count = 0

        def call(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count == n:
                if name == "write":  # what fits is written
                    data = arguments[1]
                    assert isinstance(data, memoryview)
                    original(arguments[0], data[: len(data) // 3])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments)

        self._monkeypatch.setattr(os, name, call)


@pytest.fixture
def quickly(music: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """What reads a file and takes no time."""
    made = functools.lru_cache(functools.partial(extract_file, recipe=SHORT))

    def quick(job: Job, *, recipe: Recipe) -> object:
        return made(job)

    parquet: dict[tuple[str, ...], memoryview] = {}

    def quick_parquet(ids: list[str], values: np.ndarray) -> memoryview:
        if tuple(ids) not in parquet:
            parquet[tuple(ids)] = store_write_parquet(ids, values)
        return parquet[tuple(ids)]

    store_write_parquet = store_write.descriptor_parquet
    monkeypatch.setattr(store_write, "descriptor_parquet", quick_parquet)
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # nothing here cuts the power
    return quick


def test_a_full_disk_leaves_the_store_whole(
    music: Path,
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quickly: Callable[..., object],
) -> None:
    expected, failures = content(filled), 0
    for name, step in (("write", 3), ("fsync", 1), ("replace", 1)):
        n = 1
        while True:
            out = tmp_path / f"{name}{n}"
            with monkeypatch.context() as patch:
                _Full(patch).at(name, n)
                try:
                    fill(music, out, read=quickly)
                except DiskSpaceError as error:
                    assert "goes on where it was" in str(error)  # noqa: PT017
                else:
                    break
            failures += 1
            assert not list((out / "parts").glob("*.part"))
            if (out / "store.json").exists():
                found = verify(out)
                assert found.whole, (name, n, found.problems)
                # No file is left that takes the room that is wanted.
                assert not [note for note in found.notes if "not committed" in note], (name, n)
            fill(music, out, read=quickly)
            assert content(out) == expected, (name, n)
            n += step
    assert failures > 25


# --- processes ---------------------------------------------------------------


def test_two_workers_give_the_bytes_of_one(music: Path, tmp_path: Path) -> None:
    one = fill(music, tmp_path / "1", workers=1)
    two = fill(music, tmp_path / "2", workers=2)
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert one.rows == two.rows == N


def test_a_decoder_that_crashes_or_hangs_costs_its_own_file(
    music: Path, filled: Path, tmp_path: Path
) -> None:
    done = fill(music, tmp_path / "s", workers=2, timeout=10.0, read=extract_or_die)
    assert (done.added, done.failed) == (N - 2, 5)
    errors = {failure.id: failure.error for failure in FeatureStore.open(tmp_path / "s").quarantine}
    assert errors["2.wav"] == "DecoderCrashError"
    assert errors["4.wav"] == "DecoderTimeoutError"
    assert verify(tmp_path / "s").whole
    assert fill(music, tmp_path / "s").waiting == 5
    assert fill(music, tmp_path / "s", retry=True).added == 2
    whole, mended = FeatureStore.open(filled), FeatureStore.open(tmp_path / "s")
    at = [mended.ids.tolist().index(id_) for id_ in whole.ids.tolist()]
    assert np.array_equal(whole.mel(), mended.mel(at))


def test_the_lock_of_a_dead_process_is_free(music: Path, copy: Path, tmp_path: Path) -> None:
    fill(copy, tmp_path / "s")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from genrescope.audio.store.disk import StoreLock\n"
        "StoreLock(Path(sys.argv[1])).__enter__(); print(os.getpid(), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    died = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    done = fill(copy, tmp_path / "s")
    assert done.left_by == int(died.stdout)
    assert fill(copy, tmp_path / "s").left_by is None


def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path: Path) -> None:
    """An hour takes what two seconds take."""
    code = (
        "import sys\n"
        "from genrescope.audio.store.extract import Job, extract_file\n"
        "from genrescope.audio.store.recipe import Recipe\n"
        "extract_file(Job('a', sys.argv[1]), recipe=Recipe(seconds=2.0))\n"
    )
    used = {}
    for name, seconds in (("short", 2), ("long", 3600)):
        path = tmp_path / f"{name}.wav"
        write_tone(path, seed=1, seconds=2)
        head = bytearray(path.read_bytes()[:44])
        size = seconds * SR * 2
        head[4:8], head[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
        with path.open("rb+") as file:
            file.write(head)
            file.truncate(44 + size)
        used[name] = peak_of(code, path, env=environment(OMP_NUM_THREADS="1"))
    assert (tmp_path / "long.wav").stat().st_size > 150e6
    assert used["long"] < used["short"] + 30e6
