"""``genrescope look``: the page, the summary, and what is said of files that are no good."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf

from tests.apps.command import COMMAND, environment, here, run
from tests.apps.test_imports import HEAVY, loaded
from tests.explain.tracks import clicks, noise, progression


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    sf.write(folder / "song.wav", progression(), 22_050)
    sf.write(folder / "drums.flac", clicks(120, 8), 22_050)
    (folder / "text.mp3").write_text("no sound")
    sf.write(folder / "silent.wav", noise(3, level=0.0), 22_050)
    return folder


def test_one_track(music: Path, tmp_path: Path) -> None:
    out = tmp_path / "page"
    done = run("look", music / "song.wav", "--out", out, "--at", "2.5", "--seconds", "4")
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "song.wav" in text
    assert "around the moment asked for" in text
    assert text.splitlines()[-1] == str(out / "index.html")
    assert "\x1b" not in text
    facts = json.loads((out / "facts.json").read_text("utf-8"))
    (track,) = facts["tracks"]
    assert track["frame"]["at"] == 2.5
    assert (track["start"], track["seconds"]) == (0.5, 4.0)
    assert track["recognised"]["best"]
    page = (out / "index.html").read_text("utf-8")
    assert "--at 2.5 --seconds 4" in page
    assert page.count("<audio") == 1


def test_two_tracks(music: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "look", str(music / "drums.flac"), str(music / "song.wav"), "--no-sound"],
        cwd=tmp_path,
        capture_output=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "about 120\u00a0BPM, steady" in text
    assert "C major fits best" in text
    assert "Held notes have" in text
    assert text.splitlines()[-1] == str(Path("look-drums-song") / "index.html")
    assert "<audio" not in (tmp_path / "look-drums-song" / "index.html").read_text("utf-8")
    facts = json.loads((tmp_path / "look-drums-song" / "facts.json").read_text("utf-8"))
    assert [round(track["seconds"], 1) for track in facts["tracks"]] == [6.0, 6.0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.wav"], "nothing.wav: there is no such file"),
        (["text.mp3"], "text.mp3: not audio"),
        (["silent.wav"], "louder than -80 dB"),
        (["song.wav", "--at", "99"], "there is no moment 99 s; the track has 6.0 s"),
        (["song.wav", "--seconds", "0"], "an excerpt has 0.5 to 300 seconds"),
        (["song.wav", "--at", "1", "--at", "2"], "--at: is given 2 times for 1"),
        (["song.wav", "--out", "text.mp3"], "is a file; give a folder"),
        (["song.wav", "--bundle", "nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_said(
    music: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(music)
    done = here("look", *arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    assert says in " ".join(done.stderr.decode().replace("│", " ").split())
    assert "Traceback" not in done.stderr.decode()
    assert not list(music.glob("look-*"))


def test_help_loads_nothing_heavy() -> None:
    found = loaded(
        "from genrescope.apps.cli.main import app\n"
        "try: app(['look', '--help'])\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert not found & (HEAVY | {"jinja2", "PIL"})


def test_a_missing_extra_names_its_install_line(music: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['librosa'] = None\n"
            "from genrescope.apps.cli.main import main\n"
            f"sys.argv = ['genrescope', 'look', {str(music / 'song.wav')!r}]\nmain()",
        ],
        capture_output=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert b'pip install "genrescope[lab]"' in done.stderr
