"""Files that are whole or not there, and one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import stat
from pathlib import Path

import numpy as np
import pytest

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
from genrescope.errors import DataError, DiskSpaceError, SplitError


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Descriptors:
    """What `os.open` gave out, and what was synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[int] = []
        self.steps: list[str] = []
        self._open, self._fsync, self._replace = os.open, os.fsync, os.replace
        monkeypatch.setattr(os, "open", self.open)
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def open(self, *arguments: object) -> int:
        self.opened.append(self._open(*arguments))  # type: ignore[arg-type]
        return self.opened[-1]

    def fsync(self, fd: int) -> None:
        found = os.fstat(fd)
        self.steps.append("folder" if stat.S_ISDIR(found.st_mode) else f"file {found.st_size}")
        self._fsync(fd)

    def replace(self, old: Path, new: Path) -> None:
        self.steps.append(f"{old.name} -> {new.name}")
        self._replace(old, new)

    def all_closed(self) -> bool:
        def closed(fd: int) -> bool:
            try:
                os.fstat(fd)
            except OSError:
                return True
            return False

        return bool(self.opened) and all(closed(fd) for fd in self.opened)


@pytest.fixture
def descriptors(monkeypatch: pytest.MonkeyPatch) -> Descriptors:
    return Descriptors(monkeypatch)


# --- errors ------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_said_with_the_way_on(number: int) -> None:
    with pytest.raises(DiskSpaceError) as caught, told(Path("a/b")):
        raise refuse(number)
    assert str(caught.value) == (
        f"a/b: {os.strerror(number)}; all that was committed before is whole. Free some space, "
        "and the same command goes on where it was"
    )


def test_what_else_the_system_refuses_is_said() -> None:
    says = r"^b: cannot be written: Permission denied$"
    with pytest.raises(DataError, match=says) as caught, told(Path("b")):
        raise refuse(errno.EACCES)
    assert not isinstance(caught.value, DiskSpaceError)
    with pytest.raises(DataError, match=r"^b: cannot be written: strange$"), told(Path("b")):
        raise OSError("strange")
    with pytest.raises(DiskSpaceError, match=r"^as it was$"), told(Path("b")):
        raise DiskSpaceError("as it was")  # an OSError as well, and ours
    with pytest.raises(SplitError, match=r"^ours$"), told(Path("b")):
        raise SplitError("ours")


# --- files -------------------------------------------------------------------


def test_a_new_file_is_empty_and_open_to_reading_and_writing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"before")
    fd = open_new(path)
    os.write(fd, b"now")
    assert os.pread(fd, 9, 0) == b"now"
    os.close(fd)
    assert path.read_bytes() == b"now"
    before = os.umask(0)
    os.umask(before)
    os.close(open_new(tmp_path / "g"))
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o666 & ~before


def test_all_is_written_however_little_the_system_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    cells = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_new(tmp_path / "f", cells.data)
    assert (tmp_path / "f").read_bytes() == cells.tobytes()


def test_a_new_file_is_on_the_disk_and_closed(tmp_path: Path, descriptors: Descriptors) -> None:
    write_new(tmp_path / "f", b"12345")
    sync_folder(tmp_path)
    assert descriptors.steps == ["file 5", "folder"]
    assert descriptors.all_closed()


def test_what_cannot_be_synced_is_closed_all_the_same(
    tmp_path: Path, descriptors: Descriptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise refuse(errno.EIO)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_new(tmp_path / "f", b"12345")
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
    assert len(descriptors.opened) == 2
    assert descriptors.all_closed()


def test_a_file_is_replaced_at_once(tmp_path: Path, descriptors: Descriptors) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(b"old")
    replace_file(path, b"newer")
    assert path.read_bytes() == b"newer"
    replace_file(path, b"x", ending="mine.part")
    assert descriptors.steps == [
        "file 5", ".f.json.part -> f.json", "folder",
        "file 1", ".f.json.mine.part -> f.json", "folder",
    ]  # fmt: skip
    assert os.listdir(tmp_path) == ["f.json"]


def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(old: Path, new: Path) -> None:
        assert old.read_bytes() == b"new"
        raise refuse(errno.ENOSPC)

    path = tmp_path / "f"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DiskSpaceError, match=f"^{path}: No space left"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]
    with pytest.raises(DataError, match="nowhere/f: cannot be written: No such file"):
        replace_file(tmp_path / "nowhere" / "f", b"new")


def test_checksums(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


# --- the lock ----------------------------------------------------------------


def test_one_writer_at_a_time_by_name(tmp_path: Path, descriptors: Descriptors) -> None:
    with StoreLock(tmp_path) as lock:
        assert lock.left_by is None
        assert json.loads((tmp_path / "lock").read_bytes()) == {
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        with pytest.raises(DataError) as caught:
            StoreLock(tmp_path).__enter__()
        assert str(caught.value) == (
            f"{tmp_path}: process {os.getpid()} on {socket.gethostname()} is writing to this "
            "store, and one at a time may. Wait until it is done, or stop it"
        )
        for odd in (b"", b"[1, 2]", b'{"pid": 1}', b"no JSON"):
            (tmp_path / "lock").write_bytes(odd)
            with pytest.raises(DataError, match="another process is writing"):
                StoreLock(tmp_path).__enter__()
    assert (tmp_path / "lock").read_bytes() == b""
    assert descriptors.all_closed()
    with StoreLock(tmp_path) as lock:
        assert lock.left_by is None


def test_who_left_the_lock_is_known(tmp_path: Path) -> None:
    said = json.dumps({"pid": 4321, "host": "a host with quite a long name " * 9})
    (tmp_path / "lock").write_text(said)
    with StoreLock(tmp_path) as lock:
        assert lock.left_by == 4321
        assert json.loads((tmp_path / "lock").read_bytes())["pid"] == os.getpid()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN, errno.EDEADLK])
def test_however_the_system_says_that_it_is_held(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptors: Descriptors
) -> None:
    def held(fd: int, how: int) -> None:
        assert how == fcntl.LOCK_EX | fcntl.LOCK_NB
        raise refuse(number)

    monkeypatch.setattr(fcntl, "flock", held)
    with pytest.raises(DataError, match="another process is writing to this store"):
        StoreLock(tmp_path).__enter__()
    assert descriptors.all_closed()


def test_a_file_system_that_cannot_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(fd: int, how: int) -> None:
        raise refuse(errno.ENOLCK)

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(
        DataError, match=r"lock: this file system cannot lock \(No locks .*\); put the store on a"
    ):
        StoreLock(tmp_path).__enter__()
    with pytest.raises(DataError, match="nowhere/lock: cannot be written: No such file"):
        StoreLock(tmp_path / "nowhere").__enter__()


def test_writing_nothing_is_nothing(tmp_path: Path) -> None:
    fd = open_new(tmp_path / "f")
    write_all(fd, b"")
    os.close(fd)
    assert (tmp_path / "f").read_bytes() == b""
