"""Bundles and music for the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrescope.audio import frames
from genrescope.catalog.genre_tags import write_genre_field
from tests.apps.sounds import noise
from tests.catalog.tagged import make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is sometimes sure, and never right."""
    from tests.learn.tinybundle import make_bundle  # with onnx, which not all tests here need

    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    make_bundle(folder, n_features=frames.N_FEATURES)
    return folder


@pytest.fixture(scope="session")
def sure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is always sure, and never right."""
    from tests.learn.tinybundle import make_bundle  # with onnx, which not all tests here need

    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    make_bundle(folder, n_features=frames.N_FEATURES, sharpness=20.0)
    return folder


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal of its own, and a memory of what was heard."""
    monkeypatch.setenv("GENRESCOPE_HEARD", str(tmp_path / "state" / "heard.sqlite3"))
    monkeypatch.setenv("GENRESCOPE_JOURNAL", str(tmp_path / "state" / "journal.sqlite3"))


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Four tracks: two without a genre, one with, one with a book in it."""
    folder = tmp_path / "music"
    noise(folder / "A" / "none.flac", seed=0, artist="A")
    noise(folder / "A" / "other.flac", seed=1, artist="A", genre="Other")
    noise(folder / "B" / "polka.flac", seed=2, artist="B", genre="Polka")
    noise(folder / "B" / "book.flac", seed=3, artist="B", genre="Audiobook")
    return folder


@pytest.fixture(scope="session")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two short pieces of noise, with tags, in subfolders."""
    folder = tmp_path_factory.mktemp("music")
    artist = "A Band With Quite A Long Name Indeed, Really"
    for name, title in (("a/one.flac", "One"), ("b/two.flac", "Two")):
        noise(folder / name, seed=len(title), title=title, artist=artist)
    (folder / "cover.jpg").write_bytes(b"not music")
    return folder


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """An MP3 of its own, whose genre is Rock;Pop."""
    folder = tmp_path / "music"
    folder.mkdir()
    path = make(folder, "mp3")
    write_genre_field(path, ["Rock;Pop"])
    return path
