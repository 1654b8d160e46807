"""The page about a track: its files, and what it does in a real browser."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genrescope.errors import DataError
from genrescope.explain.ink import style
from genrescope.explain.page_files import PagePaths
from genrescope.explain.signal import page as signal_page
from genrescope.explain.signal.canvas import image, lighter
from genrescope.explain.signal.figures import scales_of, stft_log, waveform
from genrescope.explain.signal.measures import TrackSignal, analyse_excerpt
from genrescope.explain.signal.page import write_look
from genrescope.explain.signal.words import READING
from genrescope.learn.prediction import Prediction
from tests.explain.browser import opened
from tests.explain.tracks import clicks, excerpt_of, progression, tone

TIMED = set(READING) - {"spectrum", "mel-filters"}
HOSTILE = '<script>alert("$x$")</script> & "Co"'


@pytest.fixture(scope="module")
def song() -> TrackSignal:
    return analyse_excerpt(excerpt_of(progression(), title=HOSTILE, artist="A & B", start=5.0))


@pytest.fixture(scope="module")
def drums() -> TrackSignal:
    return analyse_excerpt(excerpt_of(clicks(120, 8), title="Drums"))


@pytest.fixture(scope="module")
def single(song: TrackSignal, tmp_path_factory: pytest.TempPathFactory) -> PagePaths:
    verdict = Prediction.from_probabilities({"Folk": 0.7, "Rock": 0.2, "Pop": 0.1}, threshold=0.5)
    return write_look(
        [song], tmp_path_factory.mktemp("one"), verdicts=[verdict], command="genrescope look x.wav"
    )


@pytest.fixture(scope="module")
def pair(
    drums: TrackSignal, song: TrackSignal, tmp_path_factory: pytest.TempPathFactory
) -> PagePaths:
    unsure = Prediction.from_probabilities({"Folk": 0.4, "Rock": 0.3, "Pop": 0.3}, threshold=0.5)
    return write_look([drums, song], tmp_path_factory.mktemp("two"), verdicts=[unsure, None])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Only some figures, where it does not matter which."""
    keys = ("waveform", "chroma")
    monkeypatch.setattr(signal_page, "_SECTIONS", (("sound", "The sound", keys),))
    return keys


# --- files ------------------------------------------------------------------------------------


def test_each_figure_is_an_svg_and_a_png(single: PagePaths, pair: PagePaths) -> None:
    names = {path.name for path in single.figures}
    assert names == {f"{key}.{end}" for key in READING for end in ("svg", "png")}
    letters = {path.name for path in pair.figures}
    assert letters == {"mel-filters.svg", "mel-filters.png"} | {
        f"{key}-{letter}.{end}"
        for key in READING
        if key != "mel-filters"
        for letter in "ab"
        for end in ("svg", "png")
    }
    for path in (*single.figures, *pair.figures):
        if path.suffix == ".svg":
            ET.fromstring(path.read_text("utf-8"))
            assert path.stat().st_size < 500_000
        else:
            with Image.open(path) as picture:
                assert picture.width > 900


def test_the_page_is_of_a_size_to_be_sent(single: PagePaths) -> None:
    assert single.index.stat().st_size < 2_500_000


def test_the_numbers_are_beside_it(single: PagePaths) -> None:
    facts = json.loads(single.facts.read_text("utf-8"))
    (track,) = facts["tracks"]
    assert track["start"] == 5.0
    assert track["pitch"]["key"] == "C major"
    assert track["recognised"]["genre"] == "Folk"
    assert set(facts["files"]) == {
        path.relative_to(single.index.parent).as_posix() for path in (single.index, *single.figures)
    }


def test_names_are_text(single: PagePaths) -> None:
    page = single.index.read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_every_figure_says_what_to_see(single: PagePaths, pair: PagePaths) -> None:
    for paths, says in ((single, 1), (pair, 2)):
        page = paths.index.read_text("utf-8")
        for key in READING:
            figure = page[page.index(f'id="fig-{key}"') :]
            figure = figure[: figure.index("</figure>")]
            caption = figure[figure.index("<figcaption>") :]
            told = re.findall(r'<p class="seen">.*?</p>', caption, re.DOTALL)
            assert len(told) == says
            assert all(re.search(r"\d|pulse", line) for line in told)
    assert "Side by side:" in page


def test_what_was_recognised_is_at_the_head(single: PagePaths, pair: PagePaths) -> None:
    assert "Recognised as <b>Folk</b>, 70\u00a0%" in single.index.read_text("utf-8")
    page = pair.index.read_text("utf-8")
    assert "Recognised as: <b>not sure</b>; at best Folk, 40\u00a0%" in page
    assert page.count('class="verdict"') == 1


@pytest.mark.usefixtures("few")
def test_it_is_the_same_again(song: TrackSignal, single: PagePaths, tmp_path: Path) -> None:
    again = write_look([song], tmp_path, command="genrescope look x.wav")
    assert len(again.figures) == 4
    for path in again.figures:
        assert path.read_bytes() == (single.index.parent / "figures" / path.name).read_bytes()


def test_figures_of_an_earlier_page_go(
    song: TrackSignal, drums: TrackSignal, few: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "page"
    write_look([song, drums], out, sound=False)
    (out / "figures" / "mine.svg").write_text("kept")
    write_look([song], out, sound=False)
    left = {path.stem for path in (out / "figures").iterdir()}
    assert left == {*few, "mine"}


@pytest.mark.usefixtures("few")
def test_nobody_elses_page_is_written_over(song: TrackSignal, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(DataError, match="not a page of this command"):
        write_look([song], tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"
    with pytest.raises(DataError, match="is a file; give a folder"):
        write_look([song], tmp_path / "index.html")
    with pytest.raises(DataError, match="3 tracks are given"):
        write_look([song] * 3, tmp_path / "new")


@pytest.mark.usefixtures("few")
def test_facts_of_another_program_are_no_licence(song: TrackSignal, tmp_path: Path) -> None:
    keep = tmp_path / "keep.txt"
    keep.write_text("mine")
    out = tmp_path / "page"
    write_look([song], out, sound=False)
    facts = json.loads((out / "facts.json").read_text())
    facts["files"] += ["../keep.txt", str(keep), "figures/../../keep.txt"]
    (out / "facts.json").write_text(json.dumps(facts))
    write_look([song], out, sound=False)
    assert keep.read_text() == "mine"


# --- figures ----------------------------------------------------------------------------------


def test_two_tracks_share_their_scales(song: TrackSignal, drums: TrackSignal) -> None:
    scales = scales_of([song, drums])
    assert scales == scales_of([drums, song])
    assert scales.seconds == max(song.excerpt.seconds, drums.excerpt.seconds)
    with style():
        one = waveform(song, scales, key="a", track=0).panes[0]
        other = waveform(drums, scales, key="b", track=1).panes[0]
    assert (one.left, one.width) == (other.left, other.width)
    assert one.stop - one.start == pytest.approx(other.stop - other.start)
    assert (one.start, other.start, other.track) == (5.0, 0.0, 1)


def test_a_tone_is_drawn_where_it_sounds() -> None:
    """The brightest row of the log spectrogram lies at 440 Hz, as high as the axis says."""
    signal = analyse_excerpt(excerpt_of(tone(440, 3)))
    with style():
        picture = stft_log(signal, scales_of([signal]), key="tone")
    with Image.open(io.BytesIO(picture.drawing.png)) as png:
        pixels = np.asarray(png.convert("L"), float)
    pane = picture.panes[0]
    height, width = pixels.shape
    part = pixels[
        round(height * pane.top / 100) + 3 : round(height * (pane.top + pane.height) / 100) - 3,
        round(width * (pane.left + pane.width / 2) / 100),
    ]
    up = 1 - (part.argmax() + 0.5) / len(part)
    expected = np.log2(440 / 30) / np.log2(11025 / 30)
    assert up == pytest.approx(expected, abs=0.015)


def test_pictures_lose_nothing_but_weight() -> None:
    import base64

    with style():
        from genrescope.explain.signal.canvas import Canvas

        canvas = Canvas(4.0, [1.0])
        rng = np.random.default_rng(0)
        values = rng.random((20, 300))
        image(canvas.axes[0], values, extent=(0, 1, 0, 1), limits=(0, 1))
        small = canvas.done("x").drawing.svg
    found = re.findall(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", small)
    pictures = [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]
    assert any(p.mode == "P" and p.size == (300, 200) for p in pictures)
    assert lighter(small) == small


# --- in a browser -----------------------------------------------------------------------------


def wait(page: Any, condition: str) -> None:
    """Ask until it is so; the page's own policy forbids playwright to."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {condition}")


def ready(page: Any) -> None:
    page.wait_for_selector("body[data-ready=true]")
    wait(
        page,
        "[...document.querySelectorAll('audio')].every(a => a.readyState >= 1 && a.duration > 0)",
    )


def state(page: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(
        "[...document.querySelectorAll('audio')].map("
        "a => ({at: a.currentTime, paused: a.paused, duration: a.duration}))"
    )
    return found


@pytest.mark.parametrize(("width", "theme"), [(1360, "light"), (800, "dark"), (390, "light")])
def test_all_is_drawn_and_nothing_is_asked_for(
    single: PagePaths, pair: PagePaths, width: int, theme: str
) -> None:
    for paths, n in ((single, 1), (pair, 2)):
        with opened(paths.index, width=width, theme=theme) as seen:
            page = seen.page
            ready(page)
            assert seen.errors == []
            assert seen.requests == [paths.index.as_uri()]
            assert seen.overflow <= 0
            boxes = page.evaluate(
                "[...document.querySelectorAll('figure svg')].map(s => {"
                "const b = s.getBoundingClientRect(); return [b.width, b.height]})"
            )
            assert len(boxes) == (len(READING) - 1) * n + 1
            assert all(wide > 250 and high > 80 for wide, high in boxes)
            found = state(page)
            assert len(found) == n
            assert all(one["duration"] > 5.9 for one in found)


def test_a_click_on_a_picture_seeks(single: PagePaths, song: TrackSignal) -> None:
    with opened(single.index) as seen:
        page = seen.page
        ready(page)
        for key in sorted(TIMED):
            for pane in page.query_selector_all(f"#fig-{key} .pane"):
                pane.scroll_into_view_if_needed()
                box = pane.bounding_box()
                page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
                assert state(page)[0]["at"] == pytest.approx(song.excerpt.seconds / 2, abs=0.1)
                page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
                assert state(page)[0]["at"] == pytest.approx(song.excerpt.seconds / 4, abs=0.1)
        places = page.evaluate(
            "[...document.querySelectorAll('.cursor')].map(c => parseFloat(c.style.left))"
        )
        assert np.ptp(places) < 0.01
        assert places[0] == pytest.approx(25, abs=1)
        clock = page.text_content(".clock")
        assert clock == f"{5.0 + state(page)[0]['at']:.1f} s"
        assert page.query_selector("#fig-spectrum .pane") is None
        assert seen.errors == []


def test_the_line_moves_with_the_sound(single: PagePaths) -> None:
    with opened(single.index) as seen:
        page = seen.page
        ready(page)
        pane = page.query_selector("#fig-waveform .pane")
        pane.scroll_into_view_if_needed()
        pane.focus()
        page.keyboard.press(" ")
        wait(page, "document.querySelector('audio').currentTime > 0.4")
        assert page.evaluate(
            "parseFloat(document.querySelector('#fig-chroma .cursor').style.left) > 1"
        )
        page.keyboard.press(" ")
        assert state(page)[0]["paused"]


def test_the_keyboard_is_enough(single: PagePaths) -> None:
    with opened(single.index) as seen:
        page = seen.page
        ready(page)
        pane = page.query_selector("#fig-mel-spectrogram .pane")
        pane.focus()
        for key, at in (
            ("ArrowRight", 1),
            ("ArrowRight", 2),
            ("ArrowLeft", 1),
            ("End", 6),
            ("Home", 0),
            ("Shift+ArrowRight", 5),
        ):
            page.keyboard.press(key)
            assert state(page)[0]["at"] == pytest.approx(at, abs=0.06)
        assert pane.get_attribute("role") == "slider"
        assert float(pane.get_attribute("aria-valuenow")) == pytest.approx(10, abs=0.1)
        assert pane.get_attribute("aria-label") == "Time in: Mel spectrogram"


def test_one_track_plays_at_a_time(pair: PagePaths) -> None:
    with opened(pair.index) as seen:
        page = seen.page
        ready(page)
        first = page.query_selector("#fig-onsets .plate:first-child .pane")
        first.focus()
        page.keyboard.press("Enter")
        wait(page, "!document.querySelectorAll('audio')[0].paused")
        other = page.query_selector("#fig-onsets .plate:last-child .pane")
        other.scroll_into_view_if_needed()
        box = other.bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
        wait(page, "!document.querySelectorAll('audio')[1].paused")
        a, b = state(page)
        assert a["paused"]
        assert b["at"] >= 3.9


def test_light_and_dark(single: PagePaths) -> None:
    with opened(single.index, theme="light") as seen:
        page = seen.page
        ready(page)
        paper = "getComputedStyle(document.body).backgroundColor"
        ink = "getComputedStyle(document.querySelector('#fig-waveform svg text')).fill"
        before = page.evaluate(paper), page.evaluate(ink)
        page.click("#theme")
        after = page.evaluate(paper), page.evaluate(ink)
        assert before[0] != after[0]
        assert before[1] != after[1]


@pytest.mark.usefixtures("few")
def test_without_sound_the_line_still_moves(song: TrackSignal, tmp_path: Path) -> None:
    paths = write_look([song], tmp_path / "mute", sound=False)
    text = paths.index.read_text("utf-8")
    assert "<audio" not in text
    assert "audio/mpeg" not in text
    with opened(paths.index) as seen:
        page = seen.page
        page.wait_for_selector("body[data-ready=true]")
        pane = page.query_selector("#fig-chroma .pane")
        pane.focus()
        page.keyboard.press("End")
        assert page.text_content(".clock") == "11.0 s"
        assert seen.errors == []
