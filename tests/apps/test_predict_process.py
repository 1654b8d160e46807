"""``genrescope predict`` as a process of its own: workers, lists, terminals."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from rich.cells import cell_len

from genrescope.apps.cli.text import printable
from tests.apps.command import COMMAND, environment, on_terminal, posix, run
from tests.apps.sounds import sound
from tests.audio.broken import make_broken_folder
from tests.learn.tinybundle import GENRES
from tests.same import same


def test_json_of_real_music(tiny: Path, data_dir: Path) -> None:
    audio = data_dir / "audio"
    done = run("predict", audio / "fma_clips", audio / "songs", "--json", "--bundle", tiny)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    whole = json.loads(done.stdout)
    assert set(whole) == {"predictions", "errors"}
    assert whole["errors"] == []
    assert len(whole["predictions"]) == 12
    for entry in whole["predictions"]:
        assert set(entry["probabilities"]) == set(GENRES)
        assert abs(sum(entry["probabilities"].values()) - 1) < 1e-6
        assert entry["best"] == next(iter(entry["probabilities"]))
        assert entry["genre"] == (entry["best"] if entry["confidence"] >= 0.5 else None)
        assert Path(entry["path"]).exists()
        assert entry["title"]
        assert [top["genre"] for top in entry["top"]] == list(entry["probabilities"])[:3]
        assert "timeline" not in entry
    assert any(entry["genre"] is None for entry in whole["predictions"])


def test_json_lines_are_the_same_objects(tiny: Path, noises: Path) -> None:
    paths = [noises / "a", "nowhere.mp3", noises / "b" / "two.flac"]
    as_one = json.loads(run("predict", *paths, "--json", "--bundle", tiny).stdout)
    done = run("predict", *paths, "--jsonl", "--bundle", tiny, "--workers", "0")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert same(lines, [as_one["predictions"][0], as_one["errors"][0], as_one["predictions"][1]])
    assert set(lines[1]) == {"path", "error", "message"}
    assert lines[1]["error"] == "AudioNotFoundError"


@posix
def test_json_lines_come_while_the_rest_is_at_work(tiny: Path, tmp_path: Path) -> None:
    for i in range(60):
        shutil.copyfile(sound(tmp_path / "in" / "0.wav"), tmp_path / f"{i}.wav")
    with subprocess.Popen(
        [*COMMAND, "predict", str(tmp_path), "--jsonl", "--bundle", str(tiny), "-j", "1"],
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert process.poll() is None  # not at the end, all at once
        assert json.loads(first)["best"] in GENRES
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(timeout=60) == 130


@posix
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_table_fits_the_terminal(tiny: Path, data_dir: Path, width: int) -> None:
    audio = data_dir / "audio"
    code, output = on_terminal(
        *("predict", audio / "fma_clips", "nowhere.mp3", "--bundle", tiny, "-j", "0"),
        width=width,
        NO_COLOR="1",
    )
    assert code == 1
    shown = output.split("\x1b[2K")[-1]  # what is left when the progress bar has gone
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output if "Track" not in shown else shown)
    lines = [line.split("\r")[-1] for line in shown.replace("\r\n", "\n").split("\n")]
    assert all(cell_len(line) <= width for line in lines)
    text = "\n".join(lines)
    for title in ("Food", "This World", "Freeway", "13 Monsters", "Feasting on Ener"):
        assert title in text
    assert "1 of 9 files could not be recognised" in text
    assert "8 tracks in" in text


@posix
def test_colours_on_a_terminal_only_where_wanted(tiny: Path, noises: Path) -> None:
    _, coloured = on_terminal("predict", noises, "--bundle", tiny, "-j", "0", width=100)
    assert re.search(r"\x1b\[[0-9;]*38;", coloured)
    _, plain = on_terminal("predict", noises, "--bundle", tiny, "-j", "0", width=100, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*[34]8?;", plain)


@posix
def test_lines_on_a_terminal_are_not_mixed_with_a_progress_bar(tiny: Path, noises: Path) -> None:
    code, output = on_terminal("predict", noises, "--jsonl", "--bundle", tiny, "-j", "0", width=80)
    assert code == 0
    assert [json.loads(line)["title"] for line in output.splitlines()] == ["One", "Two"]


@posix
def test_a_list_may_grow_by_and_by(tiny: Path, noises: Path) -> None:
    """A program can write one name, read its answer, and go on to the next."""
    with subprocess.Popen(
        [*COMMAND, "predict", "-", "--jsonl", "--bundle", str(tiny), "-j", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name, title in (("a/one.flac", "One"), ("b/two.flac", "Two")):
            process.stdin.write(f"{noises / name}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["title"] == title
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(timeout=60) == 0


def test_a_folder_full_of_broken_files(tiny: Path, fma_clips: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    expected = make_broken_folder(folder, fma_clips[0])
    try:
        done = run("predict", folder, "--json", "--bundle", tiny, timeout=280)
    finally:
        for path in folder.iterdir():
            if not path.is_symlink():
                path.chmod(0o600)
    assert done.returncode == 1
    whole = json.loads(done.stdout)
    errors = {Path(entry["path"]).name: entry for entry in whole["errors"]}
    recognised = {Path(entry["path"]).name for entry in whole["predictions"]}
    assert len(errors) >= 30
    assert {name: entry["error"] for name, entry in errors.items()} == {
        name: error.__name__ for name, error in expected.items() if error is not None
    }
    assert recognised == {name for name, error in expected.items() if error is None}
    # Each says which file, and its own reason.
    for name, entry in errors.items():
        assert printable(name).encode("utf-8", "replace").decode() in printable(entry["message"])
    assert b"Traceback" not in done.stderr
    assert b"could not be recognised" in done.stderr
