"""The frame of the pages: in a real browser, at two widths, light and dark, by keyboard."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from genrescope.catalog.genres import GENRE_COLOURS

pytest.importorskip("nicegui", reason="the extra serve is not installed")

from genrescope.apps.pages.shell import PAGES
from genrescope.apps.pages.theme import genre_marks, genre_styles, mark, slug


@pytest.mark.parametrize(("width", "theme"), [(400, "light"), (400, "dark"), (1600, "light")])
def test_every_page_fits_and_asks_nobody_else(
    server: Callable[..., str], visit: Callable[..., Any], width: int, theme: str
) -> None:
    seen = visit(server(), width=width, theme=theme)
    for key, path, name in PAGES:
        page = seen.go(path)
        page.wait_for_selector("main h1, main h2")
        assert page.text_content("nav [aria-current=page]") == name
        assert name in page.title()
        assert seen.overflow <= 0
        assert page.get_attribute("html", "data-theme") == theme
        assert page.get_attribute("html", "lang") == "en-US"
        seen.picture(f"{key}-{width}-{theme}")


def test_the_theme_is_switched_by_keyboard_and_remembered(
    server: Callable[..., str], visit: Callable[..., Any]
) -> None:
    seen = visit(server(), width=1600, theme="light")
    page = seen.go("/model")
    page.wait_for_selector("gs-theme button")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.focus("gs-theme button")
    page.keyboard.press("Enter")
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.wait_for_function("document.body.classList.contains('body--dark')")  # NiceGUI's widgets
    seen.go("/")
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.get_attribute("gs-theme button", "aria-label") == "Switch to light colours"


def test_the_first_stop_of_the_keyboard_leads_past_the_header(
    server: Callable[..., str], visit: Callable[..., Any]
) -> None:
    page = visit(server()).go("/model")
    page.wait_for_selector(".gs-skip", state="attached")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "gs-skip"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'main'")


def test_reduced_motion_is_respected(server: Callable[..., str], visit: Callable[..., Any]) -> None:
    page = visit(server(), reduced_motion="reduce").go("/")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page = visit(server()).go("/")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"


def test_nothing_can_be_loaded_from_elsewhere(
    server: Callable[..., str], visit: Callable[..., Any]
) -> None:
    seen = visit(server())
    page = seen.go("/")
    script = "fetch('http://127.0.0.2:9/').then(() => 'sent', (error) => String(error))"
    assert "Failed to fetch" in page.evaluate(script)
    assert any("Content Security Policy" in error for error in seen.errors)
    seen.errors.clear()
    seen.elsewhere.clear()


def test_files_are_kept_for_ever_under_an_address_that_changes(server: Callable[..., str]) -> None:
    base = server()
    with urllib.request.urlopen(base + "/") as answer:
        policy = answer.headers["content-security-policy"]
        found = re.search(r"/pages/static/pages\.css\?v=[0-9a-f]{12}", answer.read().decode())
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http:" not in policy
    assert "https:" not in policy
    assert found is not None
    with urllib.request.urlopen(base + found[0]) as answer:
        assert "immutable" in answer.headers["cache-control"]
    with urllib.request.urlopen(base + "/pages/static/plots.js") as answer:
        assert answer.headers["cache-control"] == "no-cache"


def test_two_applications_of_one_process_show_their_own_recogniser() -> None:
    from starlette.testclient import TestClient

    from genrescope.apps.service import Settings, create_app

    names = []
    for name in ("the first", "the second"):
        app = create_app(Settings(workers=1), pages=True)
        app.state.genrescope.recogniser.bundle.card["name"] = name
        names.append((name, app))
    for name, app in reversed(names):
        client = TestClient(app, base_url="http://127.0.0.1:8000")  # its workers are not started
        page = client.get("/model").text
        other = "the second" if name == "the first" else "the first"
        assert f"{name}, version" in page
        assert f"{other}, version" not in page


def test_colours_are_those_of_the_project() -> None:
    genres = ("Rock", "Folk", "Sea shanty")
    styles = genre_styles(genres)
    for genre, colour in GENRE_COLOURS.items():
        assert f"--genre-{slug(genre)}:{colour};" in styles
    assert "--genre-sea-shanty:#" in styles
    assert genre_marks(genres)["Rock"] == (GENRE_COLOURS["Rock"], "circle")
    many = list(GENRE_COLOURS)
    assert len({shape for _, shape in genre_marks(many[:8]).values()}) == 8
    assert len(set(genre_marks(many).values())) == len(many)


def test_a_mark_has_colour_and_shape_and_escapes_its_name() -> None:
    made = mark('"><script>', ["Rock"])
    assert "<script>" not in made
    assert GENRE_COLOURS["Rock"] in mark("Rock", ["Rock"])
