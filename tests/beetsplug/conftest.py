"""A beets library in a temporary folder, with the plugin loaded as beets loads it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("beets")

from beets import config, plugins
from beets.library import Item
from beets.test import helper


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Shelf(helper.TestHelper):
    """A library, and ``beet`` in this process."""

    def __init__(self, capsys: Any, folder: Path) -> None:
        self._capsys, self._folder = capsys, folder
        self.log = _Lines(logging.INFO)

    def load(self, **options: Any) -> None:
        """Load the plugin with these options; nothing is heard in other processes."""
        config["plugins"] = ["genrescope"]
        config["genrescope"].set({"workers": 0, **options})
        plugins.load_plugins()

    def beet(self, *args: str) -> str:
        """Run a command; everything that it tells."""
        self._capsys.readouterr()
        self.log.lines.clear()
        self.run_command(*args)
        return self._capsys.readouterr().out + "\n".join(self.log.lines)

    def bring(self, *paths: Path, album: bool = False) -> None:
        """Import files as they are; beets copies them."""
        folder = self._folder / "incoming"
        folder.mkdir(exist_ok=True)
        for path in paths:
            shutil.copy(path, folder)
        self.beet("import", "-q", "-A", "--noincremental", *([] if album else ["-s"]), str(folder))
        shutil.rmtree(folder)

    def item(self, title: str) -> Item:
        """The one track with this title."""
        return self.lib.items([f"title:={title}"]).get()


@pytest.fixture
def shelf(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """An empty library, and nothing heard; the plugin is loaded by ``load``."""
    monkeypatch.setenv("GENRESCOPE_HEARD", str(tmp_path / "state" / "heard.sqlite3"))
    found, log = Shelf(capsys, tmp_path), logging.getLogger("beets")
    log.addHandler(found.log)  # beets adds one that prints where there is none
    found.setup_beets()
    try:
        yield found
    finally:
        plugins.send("cli_exit", lib=found.lib)
        plugins.BeetsPlugin.listeners.clear()
        plugins.BeetsPlugin._raw_listeners.clear()
        plugins._instances.clear()
        found.teardown_beets()
        log.removeHandler(found.log)


@pytest.fixture
def sound(tmp_path: Path) -> Callable[..., Path]:
    """Make a wav of noise that says nothing about itself but its name."""

    def make(name: str, *, seconds: float = 5.0) -> Path:
        rng = np.random.default_rng(len(name))
        path = tmp_path / name
        soundfile.write(path, rng.normal(scale=0.1, size=int(seconds * 22_050)), 22_050)
        return path

    return make
