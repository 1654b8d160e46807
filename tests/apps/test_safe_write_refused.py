"""What a refused file is told, and what a system without this or that still does."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from genrescope.apps import safe_write
from genrescope.apps.safe_write import (
    FileIdentity,
    Replacement,
    remove_leftovers,
    sync_folder,
    temporary_beside,
    told,
    try_lock,
)
from genrescope.errors import TagError


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"old content")
    return path


def put(path: Path, **options: bool) -> None:
    with Replacement(path, **options) as work:
        work.create().write(b"new")
        work.settle()
        work.replace()


def refused(path: Path) -> str:
    with pytest.raises(TagError) as caught:
        put(path)
    return str(caught.value)


# --- words -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.ENOSPC, "; free some space"),
        (errno.EFBIG, "; free some space"),
        (errno.EDQUOT, "; free some space"),
        (errno.ENAMETOOLONG, "; a shorter path would do"),
        (errno.EROFS, "; the disk is read-only"),
        (errno.EIO, ""),
    ],
)
def test_what_the_system_says_comes_with_a_way_out(number: int, way: str) -> None:
    with pytest.raises(TagError) as caught, told(Path("a"), "cannot be opened"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == (
        f"a: cannot be opened ({os.strerror(number)}){way}. It is as it was"
    )
    with pytest.raises(TagError, match=r"^a: b \(odd\)\. It is as it was$"), told(Path("a"), "b"):
        raise OSError("odd")


def test_a_file_that_may_not_be_written_is_told_by_the_name_it_was_given(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link.mp3"
    link.symlink_to(song)
    song.chmod(0o444)
    assert refused(link) == (
        f"{link}: is write-protected; nothing was changed. To have it tagged: chmod u+w"
    )
    for mode in (0o200, 0o020, 0o002):
        song.chmod(0o444 | mode)
        put(link)
    asked: list[tuple[Path, int]] = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)) or False)
    assert refused(link) == f"{link}: you may not write to it; nothing was changed"
    assert asked == [(song, os.W_OK)]


def test_hard_links_are_counted(song: Path, tmp_path: Path) -> None:
    for name in ("b.mp3", "c.mp3"):
        os.link(song, tmp_path / name)
    assert refused(song) == (
        f"{song}: has 3 hard links, and the others would keep the old tags; nothing was changed. "
        "To part this name from the others: --split-links"
    )
    (tmp_path / "d").mkdir()
    assert refused(tmp_path / "d") == f"{tmp_path / 'd'}: is a folder; tags are written into files"
    os.mkfifo(tmp_path / "p")
    assert refused(tmp_path / "p") == (
        f"{tmp_path / 'p'}: is a special file; tags are written into files"
    )
    assert refused(tmp_path / "none") == (
        f"{tmp_path / 'none'}: cannot be opened (No such file or directory). It is as it was"
    )


def test_what_happened_meanwhile_is_told(song: Path) -> None:
    with Replacement(song) as work:
        work.create()
        song.write_bytes(b"by another")
        with pytest.raises(TagError) as caught:
            work.replace()
    assert str(caught.value) == (
        f"{song}: was changed by something else while it was being written; it is as the other "
        "left it. Try again"
    )
    with Replacement(song) as work:
        work.create()
        song.unlink()
        with pytest.raises(TagError) as caught:
            work.replace()
    assert str(caught.value) == (
        f"{song}: was moved or removed while it was being written; nothing was changed"
    )
    assert not work.replaced


def test_each_step_says_what_it_could_not_do(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for name, says in (
        ("fsync", "the new file cannot be completed"),
        ("replace", "cannot be replaced"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            assert refused(song) == f"{song}: {says} (Input/output error). It is as it was"
    real = os.open

    def no_new(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            fail()
        return real(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_new)
        assert refused(song) == (
            f"{song}: the folder takes no new file, which safe writing needs (Input/output error). "
            "It is as it was"
        )
    assert os.listdir(song.parent) == ["song.mp3"]
    assert song.read_bytes() == b"old content"


def test_steps_out_of_order_are_a_mistake_of_the_caller(song: Path) -> None:
    with Replacement(song) as work:
        for step in (work.settle, work.replace):
            with pytest.raises(RuntimeError, match=r"^create\(\) comes first$"):
                step()
        assert not work.replaced
        work.discard()


def test_another_writer_is_waited_for_so_long(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += 15

    monkeypatch.setattr(time, "sleep", sleep)
    with Replacement(song):
        assert refused(song) == (
            f"{song}: another program has held it for 60 s; try again when that is done"
        )
    assert slept == [0.02] * 5  # at 60 s it still waits


# --- locks and leftovers -----------------------------------------------------


def test_nothing_stays_open_whatever_is_refused(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = list[int](), os.open

    def note(*arguments: object) -> int:
        opened.append(real(*arguments))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(os, "open", note)
    put(song)
    song.chmod(0o444)
    refused(song)
    song.chmod(0o644)
    with Replacement(song) as work:
        work.create()
    assert len(opened) >= 5
    for fd in opened:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)


def test_the_new_file_is_locked_while_it_is_made(song: Path) -> None:
    with Replacement(song) as work:
        work.create()
        assert work.temporary.parent == song.parent
        assert work.temporary.name.startswith(".genrescope-")
        assert work.temporary.suffix == ".part"
        assert len(work.temporary.name) == len(".genrescope-.part") + 16
        with work.temporary.open("rb") as file:
            assert not try_lock(file.fileno())
        with song.open("rb") as file:
            assert not try_lock(file.fileno())
    with song.open("rb") as file:
        assert try_lock(file.fileno())


def test_who_had_the_lock_may_have_put_another_file_there(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is locked by then is a file that has no name any more: the new one is taken."""
    done, real = [], safe_write.try_lock

    def late(fd: int) -> bool:
        if not done:
            done.append(1)
            other = song.with_name("other")
            other.write_bytes(b"of the other writer")
            other.replace(song)
        return real(fd)

    monkeypatch.setattr(safe_write, "try_lock", late)
    with Replacement(song) as work:
        assert work.source.read() == b"of the other writer"
        assert work.before == FileIdentity.of(song.stat())


def test_a_system_that_cannot_lock_says_so(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []

    def none(fd: int, how: int) -> None:
        said.append(how)
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with song.open("rb") as file, pytest.raises(OSError, match="No locks"):
        try_lock(file.fileno())
    assert said == [fcntl.LOCK_EX | fcntl.LOCK_NB]
    put(song)
    assert song.read_bytes() == b"new"


def test_only_old_files_of_ours_are_swept(song: Path) -> None:
    young, names = temporary_beside(song), (".genrescope-x.txt", "x.part", "genrescope-.part")
    young.write_bytes(b"half")
    for name in names:
        (song.parent / name).write_bytes(b"")
    now = time.time()
    assert remove_leftovers(song.parent) == []
    clock = [now + 50]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: clock[0])
        assert remove_leftovers(song.parent) == []
        clock[0] = now + 70
        assert remove_leftovers(song.parent) == [young]
    assert sorted(os.listdir(song.parent)) == sorted(("song.mp3", *names))


# --- what is kept ------------------------------------------------------------


def test_the_group_is_kept_where_the_owner_cannot_be(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def only_root(fd: int, uid: int, gid: int) -> None:
        asked.append((uid, gid))
        if uid != -1:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", only_root)
    found = song.stat()
    put(song)
    assert asked == [(found.st_uid, found.st_gid), (-1, found.st_gid)]
    asked.clear()
    monkeypatch.setattr(os, "fchown", lambda *ids: asked.append(ids[1:]))
    put(song)
    assert asked == [(found.st_uid, found.st_gid)]


def test_one_attribute_that_cannot_be_set_takes_no_other_with_it(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, bytes] = {}

    def setting(fd: int, name: str, value: bytes) -> None:
        if name == "security.no":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        kept[name] = value

    monkeypatch.setattr(os, "listxattr", lambda _: ["security.no", "user.a", "user.b"])
    monkeypatch.setattr(os, "getxattr", lambda _, name: name.encode())
    monkeypatch.setattr(os, "setxattr", setting)
    put(song)
    assert kept == {"user.a": b"user.a", "user.b": b"user.b"}

    def none(fd: int) -> list[str]:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", none)
    put(song)
    assert song.read_bytes() == b"new"


def test_a_system_without_attributes_keeps_mode_and_times_on_request(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "listxattr")
    monkeypatch.setattr(shutil, "_copyxattr", lambda *_, **__: None)  # as it is there
    song.chmod(0o640)
    os.utime(song, ns=(10**18, 10**18 + 3))
    put(song, keep_times=True)
    found = song.stat()
    assert (found.st_mtime_ns, stat.S_IMODE(found.st_mode)) == (10**18 + 3, 0o640)
    put(song)
    assert song.stat().st_mtime_ns > 10**18 + 10**9
    monkeypatch.delattr(os, "fchmod")
    monkeypatch.delattr(os, "fchown")
    song.chmod(0o604)
    put(song)
    assert stat.S_IMODE(song.stat().st_mode) == 0o604


def test_both_times_are_kept(song: Path) -> None:
    os.utime(song, ns=(10**18 + 5, 10**18 + 3))
    with Replacement(song, keep_times=True) as work:
        work.create()
        settled = work.settle()
        found = work.temporary.stat()
        assert (found.st_atime_ns, found.st_mtime_ns) == (10**18 + 5, 10**18 + 3)
        assert settled.mtime_ns == 10**18 + 3


def test_a_folder_that_cannot_be_opened_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_folder(tmp_path / "none")
    opened, real = list[int](), os.open

    def note(path: Path, flags: int) -> int:
        opened.append(real(path, flags))
        return opened[-1]

    def fail(fd: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "open", note)
    monkeypatch.setattr(os, "fsync", fail)
    sync_folder(tmp_path)
    with contextlib.suppress(OSError):
        os.fstat(opened[0])
        pytest.fail("it is open still")
