"""What arrives in a folder, by a clock of the test's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from genrescope.apps import watching as module
from genrescope.apps.watching import Watcher, unfinished
from genrescope.errors import DataError

SETTLE = 5.0


class Folder:
    """A watched folder; time goes on by a second a look."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.troubles: list[tuple[Path, str]] = []
        self.watcher = Watcher(
            root, settle=SETTLE, on_trouble=lambda *told: self.troubles.append(told)
        )

    def write(self, name: str, size: int = 10) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        return path

    def look(self, seconds: int = 1) -> list[str]:
        found = []
        for _ in range(seconds):
            self.now += 1
            found += self.watcher.scan(self.now)
        return [path.relative_to(self.root).as_posix() for path in found]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "there.mp3").write_bytes(b"old")
    return Folder(tmp_path)


def test_what_is_there_has_not_arrived_and_what_comes_is_told_once(folder: Folder) -> None:
    assert folder.look(20) == []
    folder.write("a.mp3")
    folder.write("new/deep/er/b.FLAC")
    folder.write("cover.jpg")
    assert folder.look(5) == []
    assert folder.watcher.waiting == 2
    assert folder.look(1) == ["a.mp3", "new/deep/er/b.FLAC"]
    assert folder.look(30) == []
    assert folder.watcher.waiting == 0


def test_a_file_is_taken_once_it_has_stopped_growing(folder: Folder) -> None:
    for size in range(1, 12):
        folder.write("a.mp3", size)
        assert folder.look(2) == []
    assert folder.look(4) == ["a.mp3"]
    folder.write("a.mp3", 99)  # a download that had only paused
    assert folder.look(5) == []
    assert folder.look(1) == ["a.mp3"]


def test_an_empty_file_is_waited_for(folder: Folder) -> None:
    folder.write("a.mp3", 0)
    assert folder.look(100) == []
    folder.write("a.mp3", 1)
    assert folder.look(6) == ["a.mp3"]


@pytest.mark.parametrize("ending", [".part", ".crdownload", ".tmp", ".aria2", ".!qB"])
def test_unfinished_downloads(folder: Folder, ending: str) -> None:
    part = folder.write(f"a.mp3{ending}")
    assert folder.look(30) == []
    whole = folder.write("b.mp3")  # of its full size from the start, as some programs do it
    beside = folder.write(f"b.mp3{ending}", 3)
    assert folder.look(30) == []
    part.rename(folder.root / "a.mp3")
    beside.unlink()
    assert folder.look(6) == ["a.mp3", whole.name]


def test_names_of_unfinished_downloads() -> None:
    assert unfinished("a.TEMP.m4a", beside=set())
    assert not unfinished("part.mp3", beside={"other.mp3.part"})
    assert not unfinished("Vol. 1.mp3", beside=set())


def test_hidden_files_are_none(folder: Folder) -> None:
    folder.write(".genrescope-123.part")
    folder.write("._a.mp3")
    folder.write(".hidden/a.mp3")
    assert folder.look(20) == []


def test_an_album_comes_as_a_whole(folder: Folder) -> None:
    for track in range(4):
        folder.write(f"album/{track}.mp3")
        assert folder.look(4) == []
    folder.write("else.mp3")
    assert folder.look(5) == ["album/0.mp3", "album/1.mp3", "album/2.mp3", "album/3.mp3"]
    assert folder.look(1) == ["else.mp3"]


def test_one_that_grows_for_ever_holds_nobody_up_for_ever(folder: Folder) -> None:
    folder.write("album/whole.mp3")
    told = []
    for size in range(1, 100):
        folder.write("album/grows.mp3", size)
        told += folder.look(1)
    assert told == ["album/whole.mp3"]


def test_moved_and_renamed_files_do_not_arrive_again(folder: Folder) -> None:
    folder.write("in/a.mp3")
    assert folder.look(6) == ["in/a.mp3"]
    (folder.root / "in").rename(folder.root / "out")
    (folder.root / "old" / "there.mp3").rename(folder.root / "here.mp3")
    assert folder.look(20) == []


def test_a_file_that_moves_while_it_settles_is_told_of_once(folder: Folder) -> None:
    path = folder.write("a.mp3")
    assert folder.look(3) == []
    path.rename(folder.root / "b.mp3")
    assert folder.look(10) == ["b.mp3"]


def test_a_file_that_goes_while_it_settles_is_forgotten(folder: Folder) -> None:
    path = folder.write("a.mp3")
    assert folder.look(3) == []
    path.unlink()
    assert folder.look(20) == []
    assert folder.watcher.waiting == 0


def test_our_own_writes_are_no_arrival(folder: Folder) -> None:
    path = folder.write("a.mp3")
    assert folder.look(6) == ["a.mp3"]
    folder.write("new").replace(path)  # another file in its place, as the tagger leaves it
    folder.watcher.done(path)
    assert folder.look(20) == []
    folder.watcher.done(folder.root / "gone.mp3")


def test_a_drive_that_numbers_its_files_anew(folder: Folder) -> None:
    path = folder.root / "old" / "there.mp3"
    status = path.stat()
    folder.write("copy", status.st_size).replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_ino != status.st_ino
    assert folder.look(20) == []


def test_a_folder_that_goes_and_comes_back(folder: Folder, tmp_path: Path) -> None:
    """As a drive that is unplugged for a while."""
    away = tmp_path.with_name(tmp_path.name + "-away")
    tmp_path.rename(away)
    assert folder.look(10) == []
    assert [(path, bool(why)) for path, why in folder.troubles] == [(tmp_path, True)]
    away.rename(tmp_path)
    assert folder.look(10) == []
    assert folder.troubles[1:] == [(tmp_path, "")]
    folder.write("a.mp3")
    assert folder.look(6) == ["a.mp3"]


def test_a_folder_that_cannot_be_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("shut/a.mp3")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert folder.look(10) == []
    assert folder.troubles == [(folder.root / "shut", "Permission denied")]
    folder.write("b.mp3")
    assert folder.look(6) == ["b.mp3"]
    monkeypatch.setattr(os, "scandir", scandir)
    assert folder.look(6) == ["shut/a.mp3"]
    assert folder.troubles[1:] == [(folder.root / "shut", "")]


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and links")
def test_links_in_a_circle_and_what_is_no_file(folder: Folder) -> None:
    (folder.root / "loop").symlink_to(folder.root)
    (folder.root / "dead.mp3").symlink_to("nowhere")
    os.mkfifo(folder.root / "pipe.mp3")
    folder.write("a.mp3")
    assert folder.look(10) == ["a.mp3"]


def test_memory_is_bounded(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    for i in range(12):
        path = folder.write(f"{i}.mp3", i + 1)
        assert folder.look(6) == [path.name]
        path.unlink()
    folder.look()
    assert len(folder.watcher._known) <= 5
    assert len(folder.watcher._at) <= 5
    assert folder.look(5) == []


def test_what_cannot_be_watched(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, what in ((tmp_path / "file", "is a file"), (tmp_path / "no", "does not exist")):
        with pytest.raises(DataError, match=what):
            Watcher(path, settle=1, on_trouble=print)
    with pytest.raises(DataError, match="settle is 0"):
        Watcher(tmp_path, settle=0, on_trouble=print)
