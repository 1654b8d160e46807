"""``genrescope explain``: the page, the summary, and what is said of what is no good."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.apps.command import here, run
from tests.explain.tracks import progression


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    sf.write(folder / "song.wav", np.resize(progression(), 22_050 * 4), 22_050)
    (folder / "text.mp3").write_text("no sound")
    return folder


def test_one_track(music: Path, tmp_path: Path) -> None:
    out = tmp_path / "page"
    done = run("explain", music / "song.wav", "--genre", "Folk", "--draws", "20", "--out", out)
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "why Folk?" in text
    assert text.splitlines()[-1] == str(out / "index.html")
    assert "\x1b" not in text
    facts = json.loads((out / "facts.json").read_text("utf-8"))
    assert facts["genre"] == "Folk"
    assert facts["occlusion"]["draws"] == 20
    assert "--genre Folk --draws 20" in (out / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.wav"], "nothing.wav"),
        (["text.mp3"], "text.mp3: not audio"),
        (["song.wav", "--genre", "Polka"], "does not know 'Polka'; it knows Electronic"),
        (["song.wav", "--at", "99"], "there is no moment 99 s"),
        (["song.wav", "--bundle", "nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_said(
    music: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    done = here("explain", music / arguments[0], *arguments[1:], "--out", tmp_path / "page")
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert says in line
    assert not (tmp_path / "page").exists()
