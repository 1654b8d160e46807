"""The page *Track* in a real browser: send, hear, see, jump; and what comes in its way."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genrescope.learn.recogniser import Recogniser
from tests.apps.pages.sounds import evil, music, noise

pytest.importorskip("nicegui", reason="the extra serve is not installed")


def _send(page: Any, path: Path) -> None:
    page.wait_for_selector("#drop")
    page.set_input_files("#file", path)
    page.wait_for_selector("#answer[aria-busy=false]", timeout=120_000)


def _time(page: Any) -> float:
    return float(page.evaluate("document.querySelector('#audio').currentTime"))


def _cursor(page: Any) -> float:
    """Where the cursor stands: a share of the width of the waveform."""
    share: float = page.evaluate(
        """() => { const line = document.querySelector('#cursor i').getBoundingClientRect();
        const box = document.querySelector('#wave').getBoundingClientRect();
        return (line.left + line.width / 2 - box.left) / box.width; }"""
    )
    return share


def _post(url: str, body: bytes, kind: str = "application/octet-stream") -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"null")


@pytest.mark.data
@pytest.mark.parametrize(("width", "theme"), [(1600, "light"), (400, "dark")])
def test_a_real_clip_is_sent_and_its_genre_seen(
    server: Callable[..., str],
    visit: Callable[..., Any],
    fma_clips: list[Path],
    width: int,
    theme: str,
) -> None:
    clip = next(path for path in fma_clips if path.name == "001039.mp3")
    told = Recogniser.load().predict(clip)
    seen = visit(server(), width=width, theme=theme)
    page = seen.go("/")
    _send(page, clip)
    assert page.text_content("#title") == told.title == "13 Monsters"
    assert "Lightning Bolt" in page.text_content("#artist")
    verdict = page.text_content("#answer .say")
    assert told.genre is not None
    assert told.genre in verdict
    assert f"{100 * told.confidence:.0f} %" in verdict
    bars = page.eval_on_selector_all(".bars .name", "all => all.map(one => one.textContent)")
    assert bars == list(told.probabilities)
    assert "Other - misc" in page.text_content("#more")  # what the tags say now
    assert page.locator("#moments button").count() == 5
    assert seen.overflow <= 0
    page.wait_for_function("document.querySelector('#audio').readyState > 0")
    seen.picture(f"track-answer-{width}-{theme}")


def test_the_cursor_moves_with_the_sound_and_jumps_where_asked(
    server: Callable[..., str], visit: Callable[..., Any], tmp_path: Path
) -> None:
    page = visit(server()).go("/")
    _send(page, music(tmp_path / "song.flac"))
    page.wait_for_selector("#play:not([disabled])")
    page.focus("#slider")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#audio').currentTime === 1")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("document.querySelector('#audio').currentTime === 6")
    assert _cursor(page) == pytest.approx(6 / 20, abs=0.01)
    assert page.get_attribute("#slider", "aria-valuetext") == "0:06.0 of 0:20.0"
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('#audio').currentTime === 0")

    box = page.locator("#mel").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    page.wait_for_function("Math.abs(document.querySelector('#audio').currentTime - 15) < 0.1")
    assert _cursor(page) == pytest.approx(0.75, abs=0.01)

    moments = page.locator("#moments button")
    assert moments.count() == 3
    page.focus("#moments button")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("0:05")
    page.keyboard.press("Enter")
    page.wait_for_function("Math.abs(document.querySelector('#audio').currentTime - 7.5) < 0.1")
    assert "here" in (moments.nth(1).get_attribute("class") or "")

    page.focus("#slider")
    page.keyboard.press(" ")
    page.wait_for_function("document.querySelector('#audio').currentTime > 7.7")
    page.wait_for_function("document.querySelector('#play-word').textContent === 'Pause'")
    assert _cursor(page) > 7.6 / 20
    page.click("#play")
    # The element is paused at once, the page hears of it in its next task.
    page.wait_for_function("document.querySelector('#play-word').textContent === 'Play'")
    assert page.evaluate("document.querySelector('#audio').paused")


def test_pictures_hold_the_sound(
    server: Callable[..., str], visit: Callable[..., Any], tmp_path: Path
) -> None:
    page = visit(server()).go("/")
    _send(page, music(tmp_path / "song.flac"))
    count = """id => { const canvas = document.querySelector(id);
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(data.buffer)).size; }"""
    page.wait_for_function(f"({count})('#mel') > 100")
    assert page.evaluate(count, "#wave") > 1


def test_what_is_not_music_is_said_to_be_not_sure(
    server: Callable[..., str], visit: Callable[..., Any], tmp_path: Path
) -> None:
    page = visit(server(), width=400).go("/")
    _send(page, noise(tmp_path / "hiss.wav"))
    said = page.text_content("#answer")
    assert "Not sure" in said
    assert "as even as noise" in said.lower()
    assert "little" in said
    assert "holds the right genre" not in said


def test_markup_in_names_and_tags_stays_text(
    server: Callable[..., str], visit: Callable[..., Any], tmp_path: Path
) -> None:
    seen = visit(server())
    seen.refusals = True  # of the broken file
    page = seen.go("/")
    path = evil(tmp_path)
    _send(page, path)
    assert page.text_content("#title") == "<img src=x onerror=window.hacked=1>"
    assert "<script>window.hacked=1</script>" in page.text_content("#artist")
    assert path.name in page.text_content("#artist")
    assert "<img src=x onerror=window.hacked=1>" in page.text_content("#more")
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.hacked") is None
    broken = tmp_path / "<img src=x onerror=window.hacked=1>.mp3"
    broken.write_text("no sound " * 50)
    page.click("#another")
    page.set_input_files("#file", broken)
    page.wait_for_selector("#trouble:not([hidden])")
    assert broken.name in page.text_content("#trouble")
    assert page.evaluate("window.hacked") is None


def test_errors_are_told_in_our_words_without_paths(
    server: Callable[..., str], visit: Callable[..., Any], tmp_path: Path
) -> None:
    seen = visit(server(max_bytes=3 << 20))
    seen.refusals = True
    page = seen.go("/")
    letter = tmp_path / "letter.mp3"
    letter.write_text("Dear reader" * 50)
    page.wait_for_selector("#drop")
    page.set_input_files("#file", letter)
    page.wait_for_selector("#trouble:not([hidden])")
    told = page.text_content("#trouble")
    assert "letter.mp3: not audio" in told
    assert "/tmp" not in told
    assert "genrescope-" not in told
    assert page.is_visible("#drop")  # and another file can be chosen
    large = music(tmp_path / "large.wav", seconds=40.0)
    page.set_input_files("#file", large)
    page.wait_for_function("document.querySelector('#trouble').textContent.includes('large.wav')")
    assert "3 MB at most" in page.text_content("#trouble")
    _send(page, music(tmp_path / "song.flac"))  # works after all that
    assert page.is_hidden("#trouble")


def test_a_sample_is_opened_by_keyboard_and_again_from_the_address(
    server: Callable[..., str], visit: Callable[..., Any]
) -> None:
    page = visit(server()).go("/")
    page.wait_for_selector("[data-sample='slow-beat']")
    assert "genrescope demo" in page.text_content("#start")  # no clip was fetched here
    page.focus("[data-sample='slow-beat']")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer[aria-busy=false]", timeout=120_000)
    assert page.text_content("#title") == "slow beat.wav"
    assert page.is_hidden("#over-time")  # ten seconds have one moment
    page.goto(page.url.split("?")[0] + "?sample=slow-beat")
    page.wait_for_selector("#answer[aria-busy=false]", timeout=120_000)
    kept = json.loads(page.evaluate("sessionStorage.getItem('genrescope-tracks')"))
    assert [one["name"] for one in kept] == ["slow beat.wav"] * 2


def test_a_file_of_the_library_is_opened_and_none_outside(
    server: Callable[..., str], tmp_path: Path
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    music(library / "inside.wav", seconds=5.0)
    music(tmp_path / "outside.wav", seconds=5.0)
    base = server(library=library) + "/pages/track"
    told = _post(f"{base}/open", b'{"path": "inside.wav"}', "application/json")
    assert told["name"] == "inside.wav"
    for path in ("../outside.wav", str(tmp_path / "outside.wav"), "nothing.wav"):
        body = json.dumps({"path": path}).encode()
        with pytest.raises(urllib.error.HTTPError) as caught:
            _post(f"{base}/open", body, "application/json")
        assert caught.value.code == 404


def test_sound_is_served_in_ranges_to_who_knows_its_id(
    server: Callable[..., str], tmp_path: Path
) -> None:
    base = server() + "/pages/track"
    data = music(tmp_path / "song.wav", seconds=5.0).read_bytes()
    told = _post(f"{base}/upload?name=..%2F..%2Fetc%2Fpasswd.wav", data)
    assert told["name"] == "passwd.wav"
    url = server() + told["url"] + "/sound"
    request = urllib.request.Request(url, headers={"Range": "bytes=1000-1999"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 206
        assert answer.headers["content-range"] == f"bytes 1000-1999/{len(data)}"
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.read() == data[1000:2000]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{base}/AAAAAAAAAAAAAAAAAAAAAA/sound")
    assert caught.value.code == 404
    assert "open the file again" in json.loads(caught.value.read())["detail"]
    aiff = music(tmp_path / "song.aiff", seconds=5.0).read_bytes()
    other = _post(f"{base}/upload?name=song.aiff", aiff)
    with urllib.request.urlopen(server() + other["url"] + "/sound") as answer:
        assert answer.headers["content-type"] in ("audio/mpeg", "audio/wav")
        assert len(answer.read()) > 10_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("open", b"{}"),
        ("open", b"[]"),
        ("open", b'{"sample": "../x"}'),
        ("open", b"{" * 5000),
        ("open", b'{"sample": 3}'),
        ("open", b"x" * 70_000),
    ],
)
def test_odd_questions_are_refused(server: Callable[..., str], path: str, body: bytes) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        _post(f"{server()}/pages/track/{path}", body, "application/json")
    assert 400 <= caught.value.code < 500
    assert json.loads(caught.value.read())["detail"]
