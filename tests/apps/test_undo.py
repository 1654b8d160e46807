"""``genrescope undo``, as a user runs it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from genrescope.apps.journal import Journal
from genrescope.apps.tagger import Tagger
from genrescope.catalog.genre_tags import read_genre_field, write_genre_field
from tests.apps.command import here, on_terminal
from tests.catalog.tagged import make


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    for kind in ("mp3", "flac"):
        write_genre_field(make(folder, kind), ["Rock;Pop"])
    return folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"GENRESCOPE_JOURNAL": str(tmp_path / "j.sqlite3")}


def write(env: dict[str, str], folder: Path, *genres: str) -> int:
    with Journal.open(Path(env["GENRESCOPE_JOURNAL"])) as journal:
        tagger = Tagger(journal, command="genrescope tag music --write", bundle="default")
        for path in sorted(folder.iterdir()):
            tagger.write(path, genres)
        return tagger.run


def test_the_last_run_is_taken_back(music: Path, env: dict[str, str]) -> None:
    originals = {path: path.read_bytes() for path in music.iterdir()}
    write(env, music, "Folk", "Blues")
    done = here("undo", "--last", **env)
    assert done.returncode == 0
    assert f"{music / 'mp3.mp3'}: Folk, Blues -> Rock;Pop\n" in done.stdout.decode()
    assert done.stderr.decode() == "2 files: 2 restored\n"
    assert {path: path.read_bytes() for path in music.iterdir()} == originals
    again = here("undo", "--last", **env)
    assert again.returncode == 2
    assert "there is nothing to take back" in again.stderr.decode()


def test_runs_files_and_folders(music: Path, env: dict[str, str]) -> None:
    first, _ = write(env, music, "Folk"), write(env, music, "Blues")
    done = here("undo", str(first), **env)
    assert done.returncode == 1
    assert "by run 2, which can be taken back first" in done.stdout.decode()
    assert here("undo", music / "mp3.mp3", **env).returncode == 0
    assert read_genre_field(music / "mp3.mp3").values == ("Folk",)
    assert read_genre_field(music / "flac.flac").values == ("Blues",)
    assert here("undo", music, **env).returncode == 0
    assert read_genre_field(music / "mp3.mp3").values == ("Rock;Pop",)
    assert read_genre_field(music / "flac.flac").values == ("Folk",)
    missing = here("undo", "99", music / "none.mp3", **env)
    assert missing.returncode == 2
    assert "99: no such run" in missing.stderr.decode()
    assert "none.mp3: nothing was written there" in missing.stderr.decode()


def test_all_that_was_ever_written(music: Path, env: dict[str, str]) -> None:
    originals = {path: path.read_bytes() for path in music.iterdir()}
    first, second = write(env, music, "Folk"), write(env, music, "Blues")
    assert here("undo", "--force", str(first), **env).returncode == 0
    assert here("undo", "--force", str(second), **env).returncode == 0
    assert read_genre_field(music / "mp3.mp3").values == ("Folk",)
    done = here("undo", "--all", music, **env)
    assert done.returncode == 0
    assert f"{music / 'mp3.mp3'}: Folk -> Rock;Pop\n" in done.stdout.decode()
    assert done.stderr.decode() == "2 files: 2 restored\n"
    assert {path: path.read_bytes() for path in music.iterdir()} == originals
    again = here("undo", "--all", music, "--json", **env)
    assert [json.loads(line)["state"] for line in again.stdout.splitlines()] == ["as before"] * 2


def test_what_changed_since_needs_force(music: Path, env: dict[str, str]) -> None:
    write(env, music, "Folk")
    write_genre_field(music / "mp3.mp3", ["Mine"])
    (music / "flac.flac").unlink()
    done = here("undo", "--last", "--json", **env)
    assert done.returncode == 1
    states = {
        Path(row["path"]).name: (row["state"], row["old"], row["now"])
        for row in map(json.loads, done.stdout.splitlines())
    }
    assert states == {
        "flac.flac": ("gone", ["Rock;Pop"], []),
        "mp3.mp3": ("changed since", ["Rock;Pop"], ["Mine"]),
    }
    assert read_genre_field(music / "mp3.mp3").values == ("Mine",)
    assert here("undo", "--force", music / "mp3.mp3", **env).returncode == 0
    assert read_genre_field(music / "mp3.mp3").values == ("Rock;Pop",)


def test_hard_links_can_be_parted(music: Path, env: dict[str, str]) -> None:
    write(env, music, "Folk")
    os.link(music / "mp3.mp3", music / "second.mp3")
    done = here("undo", "--last", **env)
    assert done.returncode == 1
    assert "2 hard links" in done.stdout.decode()
    assert here("undo", "--last", "--split-links", **env).returncode == 0
    assert read_genre_field(music / "second.mp3").values == ("Folk",)


def test_the_list_of_runs(music: Path, env: dict[str, str]) -> None:
    empty = here("undo", "--list", **env)
    assert (empty.returncode, b"nothing was written" in empty.stdout) == (0, True)
    write(env, music, "Folk")
    write(env, music, "Blues")
    here("undo", music / "mp3.mp3", **env)
    code, shown = on_terminal("undo", "--list", width=100, **env)
    assert code == 0
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).split() for line in shown.splitlines()]
    assert lines[0] == ["Run", "Files", "When", "Command", "Bundle", "Now"]
    found = {line[0]: line for line in lines[2:] if line}
    assert found["3"][:2] == ["3", "1"]
    assert "undo" in found["3"]
    assert found["2"][-3:] == ["1", "taken", "back"]
    assert found["1"][-2:] == ["default", "stands"]
    rows = [json.loads(row) for row in here("undo", "--list", "--json", **env).stdout.splitlines()]
    assert [(row["run"], row["files"], row["undone"]) for row in rows] == [
        (3, 1, 0), (2, 2, 1), (1, 2, 0),
    ]  # fmt: skip
    of_file = here("undo", "--list", "--json", music / "flac.flac", **env).stdout.splitlines()
    assert [json.loads(row)["run"] for row in of_file] == [2, 1]
    of_run = here("undo", "--list", "--json", "1", **env).stdout.splitlines()
    assert [json.loads(row)["run"] for row in of_run] == [1]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--last", "1"),
        ("--list", "--last"),
        ("",),
        ("--all",),
        ("--all", "1"),
        ("--all", "--last"),
        ("--all", "--list", "music"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], env: dict[str, str]) -> None:
    assert here("undo", *arguments, **env).returncode == 2
    assert not Path(env["GENRESCOPE_JOURNAL"]).exists()


def test_a_journal_that_cannot_be_used(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("no database" * 100)
    done = here("undo", "--last", GENRESCOPE_JOURNAL=str(broken))
    assert done.returncode == 2
    assert done.stderr.decode().startswith("genrescope: ")
    assert len(done.stderr.splitlines()) == 1
