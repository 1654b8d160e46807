"""A page in a real browser, if there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking")  # fmt: skip
WITHOUT_WEBGL = """
const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return String(kind).includes("webgl") ? null : real.call(this, kind, ...rest);
};
"""


@dataclass
class Seen:
    """A page that is open, and what it complained of or asked for."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def state(self) -> dict[str, Any]:
        """What the page says of its figures."""
        state: dict[str, Any] = self.page.evaluate("window.genrescope")
        return state

    @property
    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return width

    def look_at_everything(self) -> None:
        """Scroll to each figure and open each tab, and wait until it has drawn."""
        for figure in self.page.query_selector_all("figure"):
            name = figure.get_attribute("id")
            if not figure.is_visible():
                self.page.click(f"#tab-of-{name.removeprefix('fig-')}")
            figure.scroll_into_view_if_needed()
            self.page.wait_for_selector(f"#{name}[data-drawn=true]", timeout=30_000)


class _Browser:
    """Chromium and what steers it, started when a page is first opened."""

    def __init__(self) -> None:
        self._driver: Any = None
        self._chromium: Any = None

    def get(self) -> Any:
        """The browser; skips the test where there is none."""
        if self._chromium is not None and self._chromium.is_connected():
            return self._chromium
        self.close()
        sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("there is no Chromium here")
        self._driver = sync_api.sync_playwright().start()
        launch = self._driver.chromium.launch
        self._chromium = launch(executable_path=program, args=list(FLAGS))
        return self._chromium

    def close(self) -> None:
        """Stop both, if they run."""
        if self._driver is not None:
            if self._chromium is not None and self._chromium.is_connected():
                self._chromium.close()
            self._driver.stop()
        self._driver = self._chromium = None


_browser = _Browser()


def close_browser() -> None:
    """Stop the browser. While it runs, no other event loop can run in this thread."""
    _browser.close()


@contextmanager
def opened(
    index: Path, *, width: int = 1280, theme: str = "light", script: str = ""
) -> Iterator[Seen]:
    """Open a file in Chromium; skip the test where there is none.

    The browser is started once a module; each page has a profile of its own in it.
    """
    context = _browser.get().new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, offline=True
    )
    try:
        page = context.new_page()
        seen = Seen(page)
        page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("data:", "blob:"))
                else seen.requests.append(request.url)
            ),
        )
        if script:
            page.add_init_script(script)
        page.goto(index.as_uri())
        yield seen
    finally:
        context.close()
