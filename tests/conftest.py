"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell that runs the tests in the background has them ignore SIGINT, and so would every program
# that the tests start and then interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, so that at the end no worker is left alone with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def shared_data() -> Path:
    """The folder with the real data; see CONTRIBUTING.md."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("GENRESCOPE_DATA", default))


@pytest.fixture(scope="module", autouse=True)
def _browser_ends_with_the_module() -> Iterator[None]:
    """Stop the browser that the pages of a module were opened in, if they were."""
    yield
    used = sys.modules.get("tests.explain.browser")
    if used is not None:
        used.close_browser()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The shared real data (skips where it is absent)."""
    folder = shared_data()
    if not (folder / "fma" / "small_tracks.csv").exists():
        pytest.skip("the shared FMA data is not here (set GENRESCOPE_DATA to its folder)")
    return folder


@pytest.fixture(scope="session")
def fma_clips(data_dir: Path) -> list[Path]:
    """Eight real FMA clips: 30 s, mp3, 44.1 kHz, stereo."""
    return sorted((data_dir / "audio" / "fma_clips").glob("*.mp3"))


@pytest.fixture(scope="session")
def songs(data_dir: Path) -> list[Path]:
    """Four real whole songs, mp3."""
    return sorted((data_dir / "audio" / "songs").glob("*.mp3"))
