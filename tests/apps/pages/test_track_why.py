"""What spoke for a genre, on the page *Track*: asked for, drawn over the spectrogram, heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.apps.pages.sounds import music

pytest.importorskip("nicegui", reason="the extra serve is not installed")

_PIXELS = """() => { const canvas = document.querySelector('#mel');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let blue = 0, orange = 0;
    for (let n = 0; n < data.length; n += 4) {
        if (data[n + 2] > data[n] + 40 && data[n + 1] > data[n]) blue++;
        if (data[n] > data[n + 2] + 40 && data[n + 1] > data[n + 2]) orange++;
    }
    return [blue, orange]; }"""


def test_what_spoke_for_a_genre_is_drawn_told_and_heard(
    server: Callable[..., str], visit: Callable[..., Any], tmp_path: Path
) -> None:
    seen = visit(server())
    page = seen.go("/")
    page.wait_for_selector("#drop")
    page.set_input_files("#file", music(tmp_path / "song.flac"))
    page.wait_for_selector("#answer[aria-busy=false]", timeout=120_000)
    page.wait_for_selector("#ask:not([disabled])")
    page.select_option("#why-genre", "Rock")
    assert page.text_content("#ask") == "Show what spoke for Rock"
    page.focus("#ask")
    page.keyboard.press("Enter")
    page.wait_for_selector("#why-coming:not([hidden])")  # progress is seen
    assert "s so far" in page.text_content("#why-text")
    page.wait_for_selector("#why-told:not([hidden])", timeout=240_000)
    told = page.text_content("#why-told")
    assert "spoke for Rock" in told
    assert "The recogniser gives this window" in told
    assert page.is_hidden("#why-coming")
    blue, orange = page.evaluate(_PIXELS)
    assert blue > 500
    assert orange > 500
    seen.picture("track-why-1600-light")
    page.click("#why-told button:has-text('Over the spectrogram')")
    assert page.evaluate(_PIXELS)[0] < blue / 2
    page.click("#why-told button:has-text('Hear only')")
    page.wait_for_function("document.querySelector('#audio').src.includes('/spoke?of=')")
    page.wait_for_function("document.querySelector('#audio').readyState > 0")
    assert page.evaluate("document.querySelector('#audio').duration") == pytest.approx(20, abs=0.2)
