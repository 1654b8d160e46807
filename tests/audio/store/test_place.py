"""A folder on a disk or at a URL: the same files by the same names."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from genrescope.audio.store.place import Place, is_url
from genrescope.errors import DataError, DiskSpaceError, MissingExtraError


@pytest.fixture(params=["disk", "URL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path / "s" if request.param == "disk" else f"memory://{tmp_path}/s/")


def test_files_are_written_read_listed_and_removed(place: Place) -> None:
    assert place.names("a") == {}
    assert not place.exists("a/b/f")
    place.write("a/b/f", b"0123456789")
    place.write("a/g", memoryview(b"xyz"))
    assert place.exists("a/b/f")
    assert place.read("a/b/f") == b"0123456789"
    assert place.read_range("a/b/f", 3, 5) == b"34"
    assert place.read_range("a/b/f", 8, None) == b"89"
    assert place.names("a/b") == {"f": 10}
    assert place.names("a") == {"g": 3}  # folders are no files
    place.write("a/g", b"four")
    assert place.names("a") == {"g": 4}
    assert place.below("a").read("g") == b"four"
    assert str(place.below("a")) == f"{place.url}/a"
    place.remove(["a/g", "a/never", "a/b/f"])
    assert (place.names("a"), place.names("a/b")) == ({}, {})
    with pytest.raises(FileNotFoundError):
        place.read("a/g")


def test_what_others_write_is_seen(place: Place) -> None:
    place.write("f", b"1")
    assert place.names("") == {"f": 1}
    Place(place.url).write("g", b"22")
    assert place.names("") == {"f": 1, "g": 2}


def test_names_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Place("s").local == tmp_path / "s"
    assert Place("~/s").url == str(tmp_path / "s")
    assert Place(f"file://{tmp_path}/a%20b").local == tmp_path / "a b"
    assert Place(tmp_path / "x" / ".." / "s").local == tmp_path / "s"
    assert str(Place("memory://a/b//")) == "memory://a/b"
    assert Place("memory://a/b").local is None
    assert is_url(Path("a")) is False
    system, root = Place("memory://a/b/").filesystem()
    assert system.protocol == "memory"
    assert root == "/a/b"
    assert Place(tmp_path).filesystem() == (None, str(tmp_path))


def test_nothing_is_left_beside_a_file(tmp_path: Path) -> None:
    Place(tmp_path).write("d/f", b"1")
    assert os.listdir(tmp_path / "d") == ["f"]


def test_two_who_write_one_file_do_not_write_into_each_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, real = [], os.replace

    def note(old: Path, new: Path) -> None:
        parts.append(old.name)
        real(old, new)

    monkeypatch.setattr(os, "replace", note)
    for _ in range(2):
        Place(tmp_path).write("f", b"1")
    assert parts[0] != parts[1]
    assert all(name.startswith(".f.") and name.endswith(".part") for name in parts)


# --- errors ------------------------------------------------------------------


def test_what_a_disk_refuses_is_said(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=f"^{tmp_path}/folder: cannot be read: Is a directory$"):
        place.read("folder")
    with pytest.raises(DataError, match=r"file/f: cannot be written: (File exists|Not a dir)"):
        place.write("file/f", b"1")
    with pytest.raises(DataError, match="folder: cannot be written: "):
        place.remove(["folder"])
    with pytest.raises(DataError, match="file: cannot be read: Not a directory"):
        place.names("file")


def test_what_a_url_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(f"memory://{tmp_path}")
    system, _ = place.filesystem()
    raised: list[Exception] = [
        OSError(errno.ENOSPC, "No space left"), RuntimeError("no credentials"), OSError("odd"),
        DataError("ours"),
    ]  # fmt: skip

    def fail(*_: Any, **__: Any) -> None:
        raise raised[0]

    for name in ("pipe_file", "cat_file", "ls", "exists", "rm_file"):
        monkeypatch.setattr(system, name, fail)
    with pytest.raises(DiskSpaceError) as caught:
        place.write("f", b"1")
    assert str(caught.value) == (
        f"{place.url}/f: No space left; all that was committed before is whole"
    )
    with pytest.raises(DataError, match="f: cannot be read: No space left") as told:
        place.read("f")
    assert not isinstance(told.value, DiskSpaceError)
    raised.pop(0)
    for work, says in (
        (lambda: place.write("f", b"1"), "written"),
        (lambda: place.remove(["f"]), "written"),
        (lambda: place.read("f"), "read"),
        (lambda: place.names("f"), "read"),
        (lambda: place.exists("f"), "read"),
    ):
        with pytest.raises(DataError) as caught_too:
            work()
        assert str(caught_too.value) == (
            f"{place.url}/f: cannot be {says}: RuntimeError: no credentials"
        )
    raised.pop(0)
    with pytest.raises(DataError, match="cannot be written: OSError: odd"):
        place.write("f", b"1")
    raised.pop(0)
    with pytest.raises(DataError, match=r"^ours$"):
        place.write("f", b"1")


def test_urls_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"^xyzzy://a: there is no protocol 'xyzzy' \("):
        Place("xyzzy://a")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fsspec.core", None)
        with pytest.raises(MissingExtraError, match=r"A store at a URL.*fsspec.*scale"):
            Place("memory://a")

    def wanting(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", wanting)
    with pytest.raises(DataError, match=r"^s3://a: Install s3fs to access S3$"):
        Place("s3://a/")
