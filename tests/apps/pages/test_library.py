"""The page *Library* in a real browser: hear, look, decide, write, take back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import pytest

pytestmark = pytest.mark.data

Start = Callable[..., str]
Look = Callable[..., Any]


def genres(path: Path) -> list[str]:
    tags = mutagen.File(path).tags
    return list(tags["TCON"].text) if "TCON" in tags else []


def without_genre(path: Path) -> None:
    file = mutagen.File(path)
    del file.tags["TCON"]
    file.save()


@pytest.fixture
def music(fma_clips: list[Path], tmp_path: Path) -> Path:
    """Eight clips in two folders; two have no genre; and a file that is no music."""
    root = tmp_path / "Music"
    for k, clip in enumerate(fma_clips):
        folder = root / ("first" if k < 4 else "second")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, folder / clip.name)
    for name in ("first/000002.mp3", "first/000140.mp3"):
        without_genre(root / name)
    (root / "second" / "broken.mp3").write_bytes(b"\0" * 5000)
    evil = mutagen.File(root / "first" / "000005.mp3")
    evil.tags["TIT2"].text = ["<img src=x onerror=alert(1)><b>World</b>"]
    evil.save()
    return root


def hear(page: Any, folder: str = "") -> None:
    page.get_by_label("Folder", exact=True).fill(folder)
    page.get_by_role("button", name="Hear this folder").click()
    page.get_by_text("Heard ", exact=False).and_(page.locator(".lib-scan-text")).wait_for()


def row(page: Any, text: str) -> Any:
    return page.locator("tbody tr", has_text=text)


def test_hear_filter_write_and_take_back(server: Start, visit: Look, music: Path) -> None:
    opened = visit(server(library=music))
    page = opened.go("/library")
    page.get_by_text("No files yet").wait_for()
    opened.picture("library-empty")
    hear(page)
    assert page.locator("tbody tr").count() == 9
    opened.picture("library-light")
    food = row(page, "Food")
    assert "Hip-Hop" in food.locator(".lib-heard").inner_text()
    assert "no genre" in food.locator(".lib-now").inner_text()
    assert food.locator(".lib-target").inner_text() == "Hip-Hop"
    page.get_by_role("button", name="Write 3 files").click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading").inner_text() == "3 files will change"
    assert dialog.locator("li").count() == 3
    opened.picture("library-preview")
    assert genres(music / "first/000002.mp3") == []  # nothing before it is confirmed
    dialog.get_by_role("button", name="Write 3 files").click()
    page.get_by_text("Written: 3 files.").wait_for()
    assert genres(music / "first/000002.mp3") == ["Hip-Hop"]
    assert genres(music / "first/000140.mp3") == ["Folk"]
    food.get_by_text("written, run").wait_for()
    food.get_by_role("button", name="Undo").click()
    page.get_by_text("Taken back: 1 file.").wait_for()
    assert genres(music / "first/000002.mp3") == []
    history = page.locator(".lib-history")
    history.get_by_text("1 taken back").wait_for()
    opened.picture("library-history")
    history.get_by_role("button", name="Undo").click()
    page.get_by_role("dialog").get_by_role("button", name="Bring back").click()
    history.get_by_text("taken back", exact=True).wait_for()
    assert genres(music / "first/000140.mp3") == []
