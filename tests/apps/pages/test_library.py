"""The page *Library* in a real browser: hear, look, decide, write, take back."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass
class Music:
    """A folder of the one library that the tests of this module share, and its server."""

    folder: Path
    address: str

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("Music")


@pytest.fixture
def music(
    fma_clips: list[Path], library: Path, server: Start, request: pytest.FixtureRequest
) -> Music:
    """Eight clips in two folders; two have no genre; and a file that is no music."""
    root = library / request.node.name
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
    return Music(root, server(library=library))


def open_page(visit: Look, music: Music, **more: Any) -> tuple[Any, Any]:
    opened = visit(music.address, **more)
    return opened, opened.go("/library")


def hear(page: Any, music: Music, below: str = "") -> None:
    folder = f"{music.folder.name}/{below}".rstrip("/")
    page.get_by_label("Folder", exact=True).fill(folder)
    page.get_by_role("button", name="Hear this folder").click()
    heard = re.compile(rf"^Heard (\d+) of \1 files in {re.escape(folder)} ")
    page.locator(".lib-scan-text", has_text=heard).wait_for()


def row(page: Any, text: str) -> Any:
    return page.locator(".lib-table tbody tr", has_text=text)


def test_hear_write_and_take_back(visit: Look, music: Music) -> None:
    opened, page = open_page(visit, music)
    opened.picture("library-empty")
    hear(page, music)
    assert page.locator(".lib-table tbody tr").count() == 9
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
    run = history.locator("tbody tr", has_text="1 taken back")
    run.wait_for()
    opened.picture("library-history")
    run.get_by_role("button", name="Undo").click()
    page.get_by_role("dialog").get_by_role("button", name="Bring back").click()
    run.wait_for(state="detached")
    page.get_by_text("Taken back: 2 files.").wait_for()
    assert genres(music / "first/000140.mp3") == []


def test_without_a_library_it_says_how(server: Start, visit: Look) -> None:
    opened = visit(server())
    page = opened.go("/library")
    page.get_by_text("genrescope serve --library").wait_for()
    assert page.locator("gs-library").count() == 0


def test_tags_are_text_and_errors_are_told(visit: Look, music: Music) -> None:
    opened, page = open_page(visit, music)
    hear(page, music, "first")
    assert page.locator(".lib-table tbody tr").count() == 4
    assert row(page, "<img src=x onerror=alert(1)><b>World</b>").count() == 1
    assert page.locator(".lib-table tbody img, .lib-table tbody b").count() == 0
    hear(page, music, "second")
    assert "not audio" in row(page, "broken.mp3").locator(".lib-error").inner_text()
    page.get_by_label("Folder", exact=True).fill("../elsewhere")
    page.get_by_role("button", name="Hear this folder").click()
    alert = page.get_by_role("alert")
    alert.get_by_text("no such file in the library").wait_for()
    assert any("404" in error for error in opened.errors)
    opened.errors.clear()  # the browser notes every answer of that kind


def test_correct_several_by_hand_in_two_windows(visit: Look, music: Music) -> None:
    one, page = open_page(visit, music)
    two, other = open_page(visit, music, width=400, theme="dark")
    hear(page, music)
    other.locator(".lib-table tbody tr").nth(8).wait_for()  # both see the same scan
    page.get_by_label("Search").fill("lightning")
    page.locator(".lib-table tbody tr").nth(2).wait_for(state="detached")
    page.get_by_label("Select all files on this page").check()
    page.get_by_text("2 files selected").wait_for()
    page.get_by_role("button", name="Set genre…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Experimental").check()
    dialog.get_by_label("Others").fill("Noise Rock;  <i>Duo</i>")
    one.picture("library-genre")
    dialog.get_by_role("button", name="Use these").click()
    chosen = "Experimental; Noise Rock; <i>Duo</i>"
    row(page, "Dracula").get_by_text(chosen).wait_for()
    row(other, "Dracula").get_by_text(chosen).wait_for()  # without being asked to look
    assert two.overflow <= 0
    two.picture("library-400-dark")
    # One window has a preview open while the other takes the choice back.
    page.get_by_role("button", name="Write the 2 selected…").click()
    page.get_by_role("dialog").get_by_text("2 chosen by hand").wait_for()
    row(other, "Dracula").get_by_role("button", name="Change…").click()
    other.get_by_role("dialog").get_by_role("button", name="Back to what was heard").click()
    row(other, "Dracula").get_by_text(chosen).wait_for(state="detached")
    page.get_by_role("dialog").get_by_role("button", name="Write 2 files").click()
    page.get_by_text("Written: 1 file; 1 left as they were").wait_for()
    assert "another window" in row(page, "Dracula").locator(".lib-error").inner_text()
    assert genres(music / "second/001039.mp3") == ["Experimental", "Noise Rock", "<i>Duo</i>"]
    assert genres(music / "second/001040.mp3") == ["Rock"]


def test_filter_sort_policy_and_keyboard(visit: Look, music: Music) -> None:
    opened, page = open_page(visit, music, theme="dark")
    hear(page, music)
    page.get_by_label("Show").select_option("unsure")
    page.locator(".lib-table tbody tr").nth(1).wait_for(state="detached")
    assert "Feasting on Energy" in page.locator(".lib-table tbody tr").inner_text()
    page.get_by_label("Show").select_option("all")
    page.get_by_label("Heard as").select_option("Hip-Hop")
    page.locator(".lib-table tbody tr").nth(2).wait_for(state="detached")
    page.get_by_label("Heard as").select_option("")
    page.get_by_role("button", name="Heard", exact=True).click()
    page.locator("th[aria-sort=descending]", has_text="Heard").wait_for()
    first = page.locator(".lib-table tbody tr").first.locator(".lib-heard")
    assert ">99 %" in first.inner_text()
    page.get_by_text("What is written").click()
    page.get_by_label("get ours instead of it").check()
    page.get_by_text("our genre instead of the old ones").wait_for()
    page.get_by_label("also sub-genres").check()
    page.locator(".lib-target", has_text="Hip-Hop; Rap").first.wait_for()
    opened.picture("library-dark")
    page.get_by_label("also sub-genres").uncheck()
    page.get_by_label("keep it").check()
    page.get_by_text("only where there is no genre").wait_for()
    # Without a mouse: tick two rows, open the dialog, leave it.
    page.locator('tbody [data-role="tick"]').first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.get_by_text("2 files selected").wait_for()
    page.get_by_role("button", name="Set genre…").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent") == "Set genre…"


def test_listen_in_place(visit: Look, music: Music) -> None:
    opened, page = open_page(visit, music, width=400)
    hear(page, music)
    row(page, "Freeway").get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('audio').currentTime > 0.2")
    page.evaluate("document.querySelector('audio').currentTime = 20")
    page.wait_for_function("document.querySelector('audio').currentTime > 20.1")
    opened.picture("library-400-light")
    assert opened.overflow <= 0
    number = row(page, "Freeway").get_attribute("data-row")
    asked = urllib.request.Request(
        f"{music.address}/pages/library/sound/{number}", headers={"Range": "bytes=10-19"}
    )
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 206
        assert answer.read() == (music / "first/000010.mp3").read_bytes()[10:20]


def test_a_scan_goes_on_when_the_page_is_loaded_again(visit: Look, music: Music) -> None:
    opened, page = open_page(visit, music)
    page.get_by_label("Folder", exact=True).fill(music.folder.name)
    page.get_by_role("button", name="Hear this folder").click()
    page.get_by_role("button", name="Stop").wait_for()
    opened.go("/library")
    page.get_by_text(f"Heard 9 of 9 files in {music.folder.name}").wait_for()
    assert page.locator(".lib-table tbody tr").count() == 9
    state = json.load(urllib.request.urlopen(f"{opened.address}/pages/library/state"))
    assert state["states"]["waiting"] == 0
