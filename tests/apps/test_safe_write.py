"""A file is replaced whole or not at all, and keeps what it had beside its content."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from genrescope.apps import safe_write
from genrescope.apps.safe_write import (
    FileIdentity,
    Replacement,
    remove_leftovers,
    temporary_beside,
    try_lock,
)
from genrescope.errors import TagError

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"old content")
    return path


def put(
    path: Path,
    data: bytes = b"new",
    *,
    change: Callable[[], None] = lambda: None,
    **options: bool,
) -> None:
    with Replacement(path, **options) as work:
        work.create().write(data)
        work.settle()
        change()
        work.replace()


def stopped_halfway(path: Path) -> None:
    with Replacement(path) as work:
        work.create().write(b"half")
        raise ZeroDivisionError


def test_the_new_takes_the_place_of_the_old(song: Path) -> None:
    before = os.stat(song)
    with Replacement(song) as work:
        assert work.source.read() == b"old content"
        assert work.before == FileIdentity.of(before)
        part = work.create()
        part.write(b"new")
        assert stat.S_IMODE(os.fstat(part.fileno()).st_mode) == 0o600
        after = work.settle()
        assert song.read_bytes() == b"old content"
        work.replace()
    assert song.read_bytes() == b"new"
    assert FileIdentity.of(os.stat(song)) == after
    assert os.listdir(song.parent) == ["song.mp3"]


def test_without_replace_nothing_changes(song: Path) -> None:
    with Replacement(song) as work:
        work.create().write(b"half")
    with pytest.raises(ZeroDivisionError):
        stopped_halfway(song)
    assert song.read_bytes() == b"old content"
    assert os.listdir(song.parent) == ["song.mp3"]


def test_mode_times_and_attributes_are_kept(song: Path) -> None:
    os.chmod(song, 0o640)
    os.utime(song, ns=(10**18 + 1, 10**18 + 3))
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(song, "user.mood", b"calm")
        except OSError:
            pytest.skip("this file system has no extended attributes")
    put(song, keep_times=True)
    found = os.stat(song)
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert found.st_mtime_ns == 10**18 + 3
    if hasattr(os, "getxattr"):
        assert os.getxattr(song, "user.mood") == b"calm"
    put(song)
    assert os.stat(song).st_mtime_ns > 10**18 + 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_the_owner_is_kept_where_that_is_allowed(song: Path) -> None:
    os.chown(song, 12345, 23456)
    put(song)
    assert (os.stat(song).st_uid, os.stat(song).st_gid) == (12345, 23456)


def test_a_link_stays_a_link(song: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.mp3"
    link.symlink_to("song.mp3")
    put(link)
    assert link.is_symlink()
    assert song.read_bytes() == link.read_bytes() == b"new"


def test_hard_links_are_refused_or_parted(song: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp3"
    os.link(song, other)
    with pytest.raises(TagError, match=r"2 hard links.*--split-links"):
        put(song)
    assert song.read_bytes() == b"old content"
    put(song, split_links=True)
    assert (song.read_bytes(), other.read_bytes()) == (b"new", b"old content")


def test_write_protected_files_are_left_alone(song: Path) -> None:
    """For root as well, whom the system lets do anything."""
    os.chmod(song, 0o444)
    with pytest.raises(TagError, match=r"write-protected.*chmod u\+w"):
        put(song)
    assert song.read_bytes() == b"old content"


def as_nobody(path: Path) -> str:
    """What a user without rights is told who writes to a file."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            put(path)
            os.write(writer, b"written")
        except TagError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as said:
        return said.read().decode()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "says"),
    [
        (0o777, 0o644, "you may not write to it"),
        (0o755, 0o666, "the folder takes no new file"),
        (0o777, 0o666, "written"),
    ],
)
def test_permissions_of_others(folder_mode: int, file_mode: int, says: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        song = Path(name) / "song.mp3"
        song.write_bytes(b"old content")
        os.chmod(song, file_mode)
        os.chmod(name, folder_mode)
        assert says in as_nobody(song)
        expected = b"new" if says == "written" else b"old content"
        assert song.read_bytes() == expected
        assert os.listdir(name) == ["song.mp3"]


def test_special_files_and_folders_are_refused_unopened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp3"
    os.mkfifo(pipe)  # opening it would wait for ever
    with pytest.raises(TagError, match="special file"):
        put(pipe)
    with pytest.raises(TagError, match="is a folder"):
        put(tmp_path)
    with pytest.raises(TagError, match="cannot be opened"):
        put(tmp_path / "none.mp3")
    loop = tmp_path / "loop.mp3"
    loop.symlink_to(loop)
    with pytest.raises(TagError, match="cannot be opened"):
        put(loop)


@pytest.mark.parametrize("how", ["written", "replaced", "removed", "touched"])
def test_changed_in_between_is_seen(how: str, song: Path) -> None:
    def change() -> None:
        if how == "written":
            song.write_bytes(b"by another")
        elif how == "replaced":
            (song.parent / "new").write_bytes(b"old content")
            os.replace(song.parent / "new", song)
        elif how == "removed":
            song.unlink()
        else:
            os.utime(song, ns=(1, 1))

    with pytest.raises(TagError, match=r"moved or removed|changed by something else"):
        put(song, change=change)
    assert os.listdir(song.parent) == ([] if how == "removed" else ["song.mp3"])
    if how == "written":
        assert song.read_bytes() == b"by another"


def test_a_full_disk_leaves_the_file(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TagError, match=r"No space left.*free some space"):
        put(song)
    assert song.read_bytes() == b"old content"
    assert os.listdir(song.parent) == ["song.mp3"]


def test_folders_that_cannot_be_synced_are_not(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def no_folders(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(fd)

    monkeypatch.setattr(os, "fsync", no_folders)
    put(song)
    assert song.read_bytes() == b"new"


def test_a_file_system_without_locks(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(fd: int) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(safe_write, "try_lock", none)
    put(song)
    assert song.read_bytes() == b"new"


def test_another_writer_is_waited_for_and_then_given_up(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_write, "_PATIENCE", 0.1)
    with Replacement(song), pytest.raises(TagError, match="another program has held it"):
        put(song)
    put(song)
    assert song.read_bytes() == b"new"


def test_the_longest_names_and_odd_bytes(tmp_path: Path) -> None:
    for name in (b"n" * 251 + b".mp3", b"caf\xe9 \xff\n.mp3"):
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(b"old content")
        put(path)
        assert path.read_bytes() == b"new"


@linux
def test_a_path_at_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hidden name beside it would be beyond the limit, although the file itself is not."""
    monkeypatch.chdir(tmp_path)
    depth = 0
    while len(os.getcwd()) < 4096 - 230:
        os.mkdir("d" * 199)
        os.chdir("d" * 199)
        depth += 1
    rest = 4094 - len(os.getcwd()) - 1 - 6
    os.mkdir("e" * rest)
    whole = Path(os.getcwd(), "e" * rest, "a.mp3")
    try:
        whole.write_bytes(b"old content")
        with pytest.raises(TagError, match=r"File name too long.*shorter path"):
            put(whole)
        assert whole.read_bytes() == b"old content"
    finally:
        whole.unlink(missing_ok=True)
        for _ in range(depth):
            os.chdir("..")


def test_leftovers_are_removed_unless_in_use(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, used = temporary_beside(song), temporary_beside(song)
    left.write_bytes(b"half")
    used.write_bytes(b"half")
    assert remove_leftovers(song.parent) == []  # too young to tell
    monkeypatch.setattr(safe_write, "_YOUNG", -1.0)
    with used.open("rb") as file:
        assert try_lock(file.fileno())
        assert remove_leftovers(song.parent) == [left]
    assert remove_leftovers(song.parent) == [used]
    assert os.listdir(song.parent) == ["song.mp3"]
    assert remove_leftovers(song.parent / "none") == []


@linux
def test_the_steps_are_in_order(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All bytes on the disk, then the rename, then the folder."""
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def fsync(fd: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        done.append(f"sync {kind} {os.fstat(fd).st_size if kind == 'file' else ''}".strip())
        sync(fd)

    def replace(old: Path, new: Path) -> None:
        done.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    put(song)
    assert done == ["sync file 3", "rename", "sync folder"]
