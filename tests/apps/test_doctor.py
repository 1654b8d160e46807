"""What `genrescope doctor` finds, what it calls wrong, and what it removes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from genrescope.apps import diagnosis, kept
from genrescope.apps.diagnosis import EXTRAS, Diagnosis
from genrescope.apps.settings import short_path
from tests.apps.command import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder of somebody called margarete, with caches."""
    home = tmp_path_factory.mktemp("home") / "margarete"
    cache = home / ".cache" / "genrescope"
    (cache / "demo").mkdir(parents=True)
    (cache / "demo" / "10.mp3").write_bytes(bytes(5000))
    (cache / "encoders" / "musicnn").mkdir(parents=True)
    (cache / "encoders" / "musicnn" / "model.onnx").write_bytes(bytes(700))
    (cache / "heard.sqlite3").write_bytes(bytes(3000))
    (cache / "heard.sqlite3-wal").write_bytes(bytes(300))
    state = home / ".local" / "state" / "genrescope"
    state.mkdir(parents=True)
    (state / "journal.sqlite3").write_bytes(bytes(900))
    return home


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_CONFIG_HOME": str(home / ".config"),
    }


def left_part(home: Path, *, age: float) -> Path:
    part = home / ".cache" / "genrescope" / ".heard.sqlite3.77.part"
    part.write_bytes(bytes(40))
    then = time.time() - age
    os.utime(part, (then, then))
    return part


@pytest.fixture(scope="module")
def told(home: Path) -> subprocess.CompletedProcess[bytes]:
    return run("doctor", "--json", **environment(home))


def test_everything_is_told_and_nothing_about_who_asks(
    told: subprocess.CompletedProcess[bytes],
) -> None:
    done = told
    found = json.loads(done.stdout)
    assert done.returncode == (1 if found["problems"] else 0), found["problems"]
    assert "margarete" not in done.stdout.decode()
    assert set(found["packages"]["core"]) >= {"numpy", "onnxruntime", "soundfile", "typer"}
    assert set(found["packages"]["extras"]) <= set(EXTRAS)
    lab = found["packages"]["extras"]["lab"]
    assert bool(lab["versions"]["scikit-learn"]) == bool(importlib.util.find_spec("sklearn"))
    formats = found["formats"]["formats"]
    for name in ("WAV", "FLAC", "MP3", "Ogg Vorbis"):
        assert formats[name] == {"decoder": "libsndfile", "error": None}
    assert formats["AAC (m4a)"] == {"decoder": "ffmpeg", "error": None}
    assert found["recogniser"]["checksums"] == "right"
    assert found["recogniser"]["genres"] == 8
    assert 0 < found["recogniser"]["predict ms"] < 60_000
    assert "CPUExecutionProvider" in found["computing"]["onnxruntime"]
    places = found["places"]
    assert places["heard"]["bytes"] == 3300
    assert places["heard"]["path"] == "~/.cache/genrescope/heard.sqlite3"
    assert places["demo clips"]["bytes"] == 5000
    assert places["encoders"]["bytes"] == 700
    assert places["journal"] == {
        "path": "~/.local/state/genrescope/journal.sqlite3",
        "bytes": 900,
        "about": "old genres, for `genrescope undo`; never removed from here",
        "clean": False,
    }
    assert found["configuration"]["exists"] is False


def test_what_is_wrong_is_said_with_the_way_out(home: Path) -> None:
    config = home / "broken.toml"
    config.write_text("[predict]\ntpo = 3\n[teach]\nworkers = 'many'\n")
    config.chmod(0o666)
    part = left_part(home, age=7200)
    try:
        done = run(
            "doctor",
            GENRESCOPE_CONFIG=str(config),
            GENRESCOPE_TOKEN="hushhush",
            GENRESCOPE_JUORNAL="x",
            PYTHONUTF8="0",
            PYTHONIOENCODING="ascii",
            **environment(home),
        )
    finally:
        part.unlink()
    text = done.stdout.decode()
    assert done.returncode == 1
    assert "All is well" not in text
    for words in (
        "~/broken.toml:2: tpo",
        "did you mean top?",
        "~/broken.toml:4: workers",
        "chmod go-w ~/broken.toml",
        "GENRESCOPE_JUORNAL",
        "did you mean GENRESCOPE_JOURNAL?",
        "genrescope doctor --clean",
        "PYTHONUTF8=1",
    ):
        assert words in text, (words, text)
    assert "hushhush" not in text
    assert "margarete" not in text


@pytest.mark.parametrize("width", [60, 80, 160])
def test_it_fits_the_terminal(
    told: subprocess.CompletedProcess[bytes], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genrescope.apps.cli import terminal
    from genrescope.apps.cli.doctor import _report

    sections = json.loads(told.stdout)
    problems = [f"{'a rule that is broken ' * 8}; run: something", *sections.pop("problems")]
    monkeypatch.setattr(terminal, "width_of", lambda _: width)
    lines = list(_report(Diagnosis(sections, problems)))
    assert "Recogniser" in lines
    assert "Wrong:" in lines
    # What has no space in it, such as a path, is not broken.
    assert all(len(line) <= width or " " not in line.strip() for line in lines), lines


# --- faults, each for itself ---------------------------------------------------


def problems_of(section: str, find: Any) -> list[str]:
    found = Diagnosis()
    found.section(section, find)
    return found.problems


def test_a_changed_bundle_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from genrescope.learn import bundle

    copy = tmp_path / "default"
    shutil.copytree(bundle._folder_of("default"), copy)
    graph = copy / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(bundle, "_folder_of", lambda _: copy)
    (problem,) = problems_of("recogniser", diagnosis._recogniser)
    assert problem.startswith("recogniser: ")
    assert "SHA-256" in problem or "checksum" in problem


def test_a_decoder_that_fails_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from genrescope.audio import workers
    from genrescope.errors import DecoderCrashError

    def crash(_: Any, items: list[str], **__: Any) -> Any:
        return [(item, DecoderCrashError(f"{item}: died of SIGSEGV")) for item in items]

    monkeypatch.setattr(workers, "map_isolated", crash)
    problems = problems_of("formats", diagnosis._formats)
    assert len(problems) >= 10
    assert problems[0].startswith("WAV: cannot be decoded here (DecoderCrashError); run: pip")


def test_packages_that_are_old_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    lines = [
        "numpy>=99.0",
        "soundfile>=0.1",
        "nosuchpackage>=1.2",
        "soxr>=0.1; extra == 'deep'",
        "nosuchthing>=3; extra == 'deep'",
        "onlythere>=1; (platform_machine == 'pdp11') and extra == 'lab'",
        "numpy>=1; extra == 'lab'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    found = Diagnosis()
    packages = diagnosis._packages(found)
    assert packages["extras"]["deep"]["missing"] == ["nosuchthing"]
    assert packages["extras"]["deep"]["install"] == 'pip install "genrescope[deep]"'
    assert packages["extras"]["lab"]["missing"] == []
    assert set(packages["extras"]) == {"deep", "lab"}
    old, missing = found.problems
    assert "99.0 or later is needed; run: pip install" in old
    assert missing.startswith("nosuchpackage: is not installed; run: pip install genrescope")


def test_every_extra_is_explained() -> None:
    import tomllib

    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"dev", "docs"}


def test_a_disk_without_room_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    problems = problems_of("disk", diagnosis._disk)
    assert "are free" in problems[0]
    assert "--clean" in problems[0]


def test_one_section_that_fails_leaves_the_others() -> None:
    found = Diagnosis()
    found.section("one", lambda _: 1 / 0)
    found.section("two", lambda _: {"a": 1})
    assert found.sections == {"one": {}, "two": {"a": 1}}
    assert found.problems == ["one: ZeroDivisionError: division by zero"]


def test_home_is_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/margarete")
    assert short_path("/home/margarete/x") == f"~{os.sep}x"
    assert short_path("/home/margarete2/x") == "/home/margarete2/x"
    monkeypatch.setenv("HOME", "/")
    assert short_path("/x") == "/x"


# --- --clean -------------------------------------------------------------------


def test_clean_in_a_pipe_shows_and_removes_nothing(home: Path) -> None:
    before = sorted(home.rglob("*"))
    done = run("doctor", "--clean", **environment(home))
    text = done.stdout.decode()
    assert done.returncode == 0
    assert "Nothing was removed" in text
    assert "--yes" in text
    for name in ("heard", "demo clips", "journal", "never removed"):
        assert name in text
    assert sorted(home.rglob("*")) == before


def test_clean_asks_on_a_terminal(home: Path) -> None:
    before = sorted(home.rglob("*"))
    import pty

    leader, follower = pty.openpty()
    from tests.apps.command import COMMAND
    from tests.apps.command import environment as plain

    process = subprocess.Popen(
        [*COMMAND, "doctor", "--clean"],
        stdin=follower, stdout=follower, stderr=follower,
        env=plain(TERM="xterm", **environment(home)), start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(leader, 1 << 16)
    os.write(leader, b"n\n")
    assert process.wait(timeout=60) == 0
    os.close(leader)
    assert b"8.3 kB" in said
    assert sorted(home.rglob("*")) == before


def test_clean_removes_what_can_be_made_again(home: Path) -> None:
    old, young = left_part(home, age=7200), home / ".cache/genrescope/.x.5.part"
    young.write_bytes(b"being written")
    done = run("doctor", "--clean", "--yes", "--json", **environment(home))
    record = json.loads(done.stdout)
    assert done.returncode == 0
    assert {one["name"] for one in record["removed"]} == {"heard", "demo clips", "leftovers"}
    assert record["errors"] == []
    cache = home / ".cache" / "genrescope"
    assert not old.exists()
    assert young.exists()
    assert sorted(p.name for p in cache.iterdir()) == [".x.5.part", "encoders"]
    assert (home / ".local/state/genrescope/journal.sqlite3").stat().st_size == 900
    again = run("doctor", "--clean", "--yes", **environment(home))
    assert "nothing to remove" in again.stdout.decode()


def test_the_journal_cannot_be_removed(home: Path) -> None:
    journal = kept.Place("journal", home, (home,), 1, False, "")
    with pytest.raises(ValueError, match="cannot be made again"):
        kept.remove([journal])
    assert home.exists()


def test_yes_without_clean_is_wrong_usage() -> None:
    done = run("doctor", "--yes")
    assert done.returncode == 2
    assert b"--clean" in done.stderr
