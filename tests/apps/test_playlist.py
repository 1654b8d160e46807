"""``genrescope playlist``, as people run it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genrescope import Recogniser
from genrescope.apps.cli.main import app
from genrescope.apps.playlists import MARKER
from tests.apps.sounds import noise
from tests.learn.tinybundle import GENRES


@pytest.fixture(autouse=True)
def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRESCOPE_HEARD", str(tmp_path / "state" / "heard.sqlite3"))


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for i in range(6):
        noise(tmp_path / "music" / f"{i}.flac", seed=i, title=f"T{i}", artist="A", genre="Polka")
    return tmp_path / "music"


@pytest.fixture
def playlist(sure: Path) -> Callable[..., Result]:
    def call(*arguments: object, code: int = 0) -> Result:
        done = CliRunner().invoke(
            app, ["playlist", *map(str, arguments), "--bundle", str(sure), "-j", "0"]
        )
        assert done.exit_code == code, done.output
        return done

    return call


def tracks(folder: Path) -> dict[str, list[str]]:
    return {
        file.stem: [line for line in file.read_text("utf-8").splitlines() if line[0] != "#"]
        for file in sorted(folder.glob("*.m3u8"))
    }


def test_every_track_is_in_the_playlist_of_its_genre(
    playlist: Callable[..., Result], music: Path, sure: Path
) -> None:
    before = {path: path.read_bytes() for path in music.iterdir()}
    done = playlist(music, "--out", music / "Lists", "--unsure")
    found = tracks(music / "Lists")
    recogniser = Recogniser.load(sure)
    for path in sorted(music.glob("*.flac")):
        genre = recogniser.predict(path).genre or "Not sure"
        assert f"../{path.name}" in found[genre]
        assert f"{genre}.m3u8" in done.stdout
    assert sum(map(len, found.values())) == 6
    text = next((music / "Lists").glob("*.m3u8")).read_text("utf-8")
    assert text.startswith(f"#EXTM3U\n{MARKER}\n")
    assert re.search(r"#EXTINF:1,A - T\d", text)
    assert {path: path.read_bytes() for path in before} == before


def test_min_confidence(playlist: Callable[..., Result], music: Path) -> None:
    done = playlist(music, "--out", music / "Lists", "--min-confidence", "1")
    sure = sum(map(len, tracks(music / "Lists").values()))
    assert sure < 6
    assert f"{6 - sure} track" in done.stderr
    assert "not sure enough" in done.stderr
    playlist(music, "--out", music / "Lists", "--min-confidence", "1", "--unsure")
    assert len(tracks(music / "Lists")["Not sure"]) == 6 - sure


def test_nothing_is_heard_twice(
    playlist: Callable[..., Result], music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    playlist(music, "--out", music / "Lists")

    def refuse(*_: object) -> None:
        raise AssertionError("heard again")

    monkeypatch.setattr(Recogniser, "predict", refuse)
    playlist(music, "--out", music / "Lists", "--flow")


def test_a_playlist_of_somebody_else(playlist: Callable[..., Result], music: Path) -> None:
    for genre in GENRES:
        (music / f"{genre}.m3u8").write_text("mine")
    done = CliRunner().invoke(app, ["playlist", "--help"])
    assert "--force" in done.output
    with pytest.raises(AssertionError):
        playlist(music, "--out", music)
    assert {file.read_text() for file in music.glob("*.m3u8")} == {"mine"}
    playlist(music, "--out", music, "--force")
    assert {file.read_text() for file in music.glob("*.m3u8")} != {"mine"}


def test_what_goes_wrong(playlist: Callable[..., Result], music: Path, tmp_path: Path) -> None:
    (music / "broken.flac").write_bytes(b"no music")
    done = playlist(music, "--out", tmp_path / "Lists", code=1)
    assert "1 of 7 files could not be recognised:" in done.stderr
    assert sum(map(len, tracks(tmp_path / "Lists").values())) == 6
    (tmp_path / "empty").mkdir()
    assert "no audio files" in playlist(tmp_path / "empty", "--out", tmp_path, code=2).stderr
    assert "knows no sub-genres" in re.sub(
        r"[\s│]+", " ", playlist(music, "--out", tmp_path, "--by", "subgenre", code=2).output
    )
    for wrong in (["", "--out", "x"], ["a.mp3", "--out", "x", "--null"], ["a.mp3"]):
        assert CliRunner().invoke(app, ["playlist", *wrong]).exit_code == 2


@pytest.mark.data
def test_by_subgenre_together_and_flowing(fma_clips: list[Path], tmp_path: Path) -> None:
    for clip in fma_clips:
        shutil.copy(clip, tmp_path)
    run = ["playlist", str(tmp_path), "--out", str(tmp_path / "Lists"), "-j", "0"]
    done = CliRunner().invoke(app, [*run, "--by", "subgenre", "--flow"])
    assert done.exit_code == 0, done.output
    found = tracks(tmp_path / "Lists")
    assert found["Hip-Hop - Rap"] == ["../000002.mp3", "../000005.mp3"]
    assert found["Folk - Singer-Songwriter"] == ["../000140.mp3"]
    CliRunner().invoke(app, [*run, "--out", str(tmp_path / "alone"), "--alone"])
    assert set(tracks(tmp_path / "alone")) <= set(GENRES)
