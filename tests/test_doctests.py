"""The examples in the docstrings run, in a folder with a song and a mix."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import genrescope

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(genrescope.__path__, "genrescope.")
    if not info.name.endswith("__main__")
)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    t = np.arange(45 * 22_050) / 22_050
    y = 0.3 * np.sin(2 * np.pi * 220 * t) + 0.1 * rng.normal(size=len(t)) * np.exp(-(t * 2 % 1) * 9)
    for name in ("song.mp3", "mix.mp3"):
        sf.write(folder / name, y, 22_050, format="MP3")
    return folder


@pytest.mark.parametrize("name", ["genrescope", *MODULES])
def test_examples_run(name: str, music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(music)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    count = sum(
        bool(found.examples)
        for name in ["genrescope", *MODULES]
        for found in finder.find(importlib.import_module(name))
    )
    assert count >= 15
