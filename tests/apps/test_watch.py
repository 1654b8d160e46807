"""``genrescope watch``, as a process that files arrive for."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from genrescope.apps.cli.main import app
from genrescope.apps.journal import Journal
from genrescope.catalog.genre_tags import read_genre_field, write_genre_field
from tests.apps.command import COMMAND, environment
from tests.apps.sounds import noise
from tests.learn.tinybundle import GENRES

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

PATIENCE = 60.0  # s


class Watch:
    """A running watch of a folder; what it prints is read as it comes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [*COMMAND, "watch", str(folder), "-j", "0", "--settle", "0.4", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**{k: v for k, v in os.environ.items() if "GENRESCOPE_" in k}),
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: queue.Queue[str] = queue.Queue()
        for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.said)):
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()
        assert "watching" in self.said.get(timeout=PATIENCE)

    @staticmethod
    def _read(stream: Any, lines: queue.Queue[str]) -> None:
        for line in stream:
            lines.put(line.decode())

    def put(self, name: str, *, seed: int = 0, **tags: Any) -> Path:
        """Let a file arrive, whole."""
        made = noise(self.folder.parent / "made" / Path(name).name, seed=seed, **tags)
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        made.rename(target)
        return target

    def next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lines.get(timeout=PATIENCE))
        return found

    def end(self) -> str:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=PATIENCE) == 130
        said = []
        while not said or "stopped" not in said[-1]:
            said.append(self.said.get(timeout=PATIENCE))
        return "".join(said)


@pytest.fixture
def watch(
    sure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Watch]]:
    monkeypatch.setenv("GENRESCOPE_HEARD", str(tmp_path / "state" / "heard.sqlite3"))
    monkeypatch.setenv("GENRESCOPE_JOURNAL", str(tmp_path / "state" / "journal.sqlite3"))
    started: list[Watch] = []

    def start(*arguments: str) -> Watch:
        started.append(Watch(tmp_path / "in", "--bundle", str(sure), *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait(timeout=PATIENCE)


def test_what_arrives_is_tagged_once(watch: Callable[..., Watch], tmp_path: Path) -> None:
    noise(tmp_path / "in" / "there.flac")
    running = watch("--write", "--jsonl", "--never", "Audiobook")
    one = running.put("a/b/one.flac", seed=1)
    found = running.next()
    assert (found["path"], found["action"], found["written"]) == (str(one), "write", True)
    assert set(read_genre_field(one).values) <= set(GENRES)
    one.rename(running.folder / "renamed.flac")
    (running.folder / "broken.flac").write_bytes(b"no music")
    assert running.next()["error"]
    book = running.put("book.flac", seed=2, genre="Audiobook")
    # Nothing in between: neither our own write, nor the rename, nor what was there.
    found = running.next()
    assert (found["path"], found["action"]) == (str(book), "protected")
    said = running.end()
    assert "2 files recognised or left as they are, 1 written, 1 failed" in said
    assert read_genre_field(tmp_path / "in" / "there.flac").values == ()
    with Journal.open() as journal:
        (run,) = journal.runs()
        assert (run.files, run.command.split()[:2]) == (1, ["genrescope", "watch"])


def test_without_write_nothing_is_changed(watch: Callable[..., Watch], tmp_path: Path) -> None:
    running = watch()
    one = running.put("one.flac", seed=1)
    before = one.read_bytes()
    line = running.lines.get(timeout=PATIENCE)
    assert "  one.flac: " in line
    assert any(f" {genre} " in line for genre in GENRES)
    assert "written" not in line
    assert one.read_bytes() == before
    running.end()
    assert not (tmp_path / "state" / "journal.sqlite3").exists()


def test_what_was_taken_back_is_not_written_again(watch: Callable[..., Watch]) -> None:
    running = watch("--write", "--jsonl")
    one = running.put("one.flac", seed=1)
    assert running.next()["written"]
    undone = CliRunner().invoke(app, ["undo", str(one)])
    assert undone.exit_code == 0, undone.output
    other = running.put("other.flac", seed=2)
    # As old as the undo, so that both have settled when the other is told of.
    assert running.next()["path"] == str(other)
    third = running.put("third.flac", seed=3)
    assert running.next()["path"] == str(third)
    running.end()
    assert read_genre_field(one).values == ()


def test_many_at_once_and_some_that_go_again(watch: Callable[..., Watch], tmp_path: Path) -> None:
    running = watch("--jsonl")
    made = noise(tmp_path / "made.flac")
    for i in range(40):
        target = running.folder / f"album {i % 4}" / f"{i}.flac"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(made.read_bytes())
    for i in range(0, 40, 4):
        (running.folder / "album 0" / f"{i}.flac").unlink()
    names = {Path(running.next()["path"]).name for _ in range(30)}
    assert names == {f"{i}.flac" for i in range(40) if i % 4}
    assert "30 files" in running.end()


def test_a_slow_copy_is_waited_for(watch: Callable[..., Watch], tmp_path: Path) -> None:
    running = watch("--jsonl")
    data = noise(tmp_path / "made.flac").read_bytes()
    with (running.folder / "slow.flac").open("wb") as file:
        for start in range(0, len(data), len(data) // 8 + 1):
            file.write(data[start : start + len(data) // 8 + 1])
            file.flush()
            deadline = time.monotonic() + 0.2
            while time.monotonic() < deadline:
                assert running.lines.empty()
                time.sleep(0.02)
    found = running.next()
    assert found["action"] == "write"
    assert found["best"] in GENRES
    assert "1 file recognised" in running.end()


def test_changed_tags_are_looked_at_again_from_memory(watch: Callable[..., Watch]) -> None:
    running = watch("--jsonl", "--existing", "replace")
    one = running.put("one.flac", seed=1)
    first = running.next()
    write_genre_field(one, ["Polka"])
    again = running.next()
    assert again["now"] == ["Polka"]
    assert again["confidence"] == first["confidence"]
    running.end()


def test_wrong_usage(tmp_path: Path, sure: Path) -> None:
    for arguments, words in (
        ([str(tmp_path / "nowhere")], "does not exist"),
        ([str(tmp_path), "--settle", "0"], "--settle"),
        ([], "FOLDER"),
    ):
        done = CliRunner().invoke(app, ["watch", *arguments, "--bundle", str(sure)])
        assert done.exit_code != 0
        assert words in done.output + str(done.exception)
