"""Music for the stores."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from genrescope.audio.scale import Threads
from tests.audio.scaled import make_many
from tests.audio.stores import fill, make_music


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_music(tmp_path_factory.mktemp("music"))


@pytest.fixture
def copy(music: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(music, tmp_path / "copy"))


@pytest.fixture(scope="module")
def filled(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stores") / "filled"
    fill(music, out)
    return out


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_many(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def threads() -> Threads:
    return Threads(1)
