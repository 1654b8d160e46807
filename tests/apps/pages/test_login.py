"""A service with a token: a person logs in once, and the pages work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("nicegui", reason="the extra serve is not installed")

TOKEN = "a-token-that-only-we-know"


def test_a_person_logs_in_and_the_pages_work(
    server: Callable[..., str], visit: Callable[..., Any]
) -> None:
    address = server(token=TOKEN)
    seen = visit(address, width=400)
    seen.refusals = True
    page = seen.page
    page.goto(f"{address}/model")
    assert page.url == f"{address}/login?next=/model"
    page.fill("input[type=password]", "a-token-that-is-another-one")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=not the token")
    page.fill("input[type=password]", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("main h1")
    assert page.url == f"{address}/model"
    page.wait_for_function("window.socket && window.socket.connected")
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert TOKEN not in cookie["value"]
    stranger = visit(address)
    stranger.page.goto(f"{address}/library")
    assert "/login" in stranger.page.url
