"""A disk that is full: a clear error, what was committed is whole, and the same command goes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.audio.scale import Threads
from genrescope.audio.scale.work import release
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.verify import verify
from genrescope.errors import DiskSpaceError
from tests.audio.scaled import MEL, audit, scaled
from tests.audio.stores import fill, write_tone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits and mounts as on Linux")

TRACKS, EACH = 24, 4
SIZE = 80 << 20  # of the small disk: more than a store wants to find free
SMALL = 20 << 10  # bytes: four tracks need more


@contextlib.contextmanager
def _on_a_small_disk(folder: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Something else fills the disk to the last byte."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mount") or not hasattr(libc, "umount2"):
        pytest.skip("no file system can be mounted here")
    options = f"size={SIZE}".encode()
    if libc.mount(b"small", os.fsencode(folder), b"tmpfs", 0, options) != 0:
        pytest.skip(f"no file system may be mounted here: {os.strerror(ctypes.get_errno())}")
    ballast = folder / "ballast"

    def full() -> None:
        with open(ballast, "ab", buffering=0) as file:
            for size in (1 << 20, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        free = os.statvfs(folder)
        assert free.f_bavail == 0

    try:
        yield full, lambda: ballast.unlink()
    finally:
        libc.umount2(os.fsencode(folder), 2)


@contextlib.contextmanager
def _under_a_limit(folder: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """No file may grow beyond some bytes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard)), room
    finally:
        room()


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i in range(TRACKS):
        write_tone(folder / f"{i:02d}.wav", seed=i)
    return folder


def _plain(source: Path, out: Path, **options: Any) -> Any:
    return fill(source, out, recipe=MEL, batch=EACH, **options)


def _partitioned(source: Path, out: Path, **options: Any) -> Any:
    return scaled(source, out, Threads(1), batch=EACH, partitions=1, **options)


@pytest.mark.parametrize("run", [_plain, _partitioned])
@pytest.mark.parametrize("disk", [_on_a_small_disk, _under_a_limit])
def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(
    music: Path, tmp_path: Path, run: Callable[..., Any], disk: Callable[..., Any]
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with disk(folder) as (full, room):

        def report(done: int, total: int, failed: int) -> None:
            if done == 2 * EACH:
                full()

        with pytest.raises(DiskSpaceError, match="committed before is whole"):
            run(music, folder / "s", report=report)
        room()
        there = FeatureStore.open(folder / "s")
        assert 2 * EACH <= len(there) < TRACKS
        assert verify(folder / "s").whole
        kept = dict(zip(there.ids.tolist(), there.mel(), strict=True))
        done = run(music, folder / "s")
        assert (done.kept, done.rows) == (len(kept), TRACKS)
        store = audit(folder / "s", TRACKS)
        for id_, mel in zip(store.ids.tolist(), store.mel(), strict=True):
            if id_ in kept:
                np.testing.assert_array_equal(mel, kept[id_])
    release()
