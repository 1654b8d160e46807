"""A real server in a process of its own, and a real browser in front of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
)
_PATIENCE = 60.0  # s

_PROGRAM = """
import json, socket, sys
from pathlib import Path
import uvicorn
from genrescope.apps.service import Settings, create_app
told = json.loads(sys.argv[1])
if told.get("library"):
    told["library"] = Path(told["library"])
door = socket.socket(fileno=int(sys.argv[2]))
app = create_app(Settings(host="127.0.0.1", port=door.getsockname()[1], **told), pages=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[door])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Start servers: ``server(library=folder, workers=1, ...)`` gives the address of one.

    The same settings give the same server for the tests of a module.
    """
    pytest.importorskip("nicegui", reason="the extra serve is not installed")
    running: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}
    home = tmp_path_factory.mktemp("home")

    def start(
        *, library: Path | None = None, env: dict[str, str] | None = None, **more: Any
    ) -> str:
        told = {"workers": 1, **more, "library": None if library is None else str(library)}
        key = json.dumps([told, env], sort_keys=True)
        if key not in running:
            running[key] = _start(told, home, env or {})
        return running[key][0]

    yield start
    for _, process in running.values():
        process.terminate()
    for _, process in running.values():
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start(
    told: dict[str, Any], home: Path, env: dict[str, str]
) -> tuple[str, subprocess.Popen[bytes]]:
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(128)
    address = f"http://127.0.0.1:{door.getsockname()[1]}"
    state = {name: str(home / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME")}
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(told), str(door.fileno())],
        pass_fds=[door.fileno()],
        env={**os.environ, "OMP_NUM_THREADS": "1", **state, **env},
        cwd=home,
    )
    door.close()
    until = time.monotonic() + _PATIENCE
    while True:
        if process.poll() is not None:
            pytest.fail(f"the server ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5) as answer:
                if answer.status == 200:
                    return address, process
        except OSError:
            pass
        if time.monotonic() > until:
            process.kill()
            pytest.fail("the server did not answer")
        time.sleep(0.05)


@dataclass
class Visit:
    """An open page, and what it complained of or asked other hosts for."""

    page: Any
    address: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    refusals: bool = False  # whether the server is expected to refuse; browsers note every 4xx

    @property
    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return width

    def go(self, path: str) -> Any:
        """Open a page of the server, and wait until its frame is there."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector("main", state="attached")
        return self.page

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page, where GENRESCOPE_SCREENSHOTS says so."""
        folder = os.environ.get("GENRESCOPE_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser, started once a module; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium here")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Visit]]:
    """Open pages: ``visit(address, width=400, theme="dark")`` gives a :class:`Visit`.

    At the end of the test, no page may have written an error to its console or asked another host
    for anything; where a test expects the server to refuse something, it sets ``refusals``.
    """
    visits: list[Visit] = []
    contexts: list[Any] = []

    def open_page(address: str, *, width: int = 1600, theme: str = "light", **more: Any) -> Visit:
        height = 800 if width < 700 else 1000
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, **more
        )
        contexts.append(context)
        seen = Visit(context.new_page(), address)
        seen.page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("request", lambda request: _note(seen, request.url))
        visits.append(seen)
        return seen

    yield open_page
    errors = [
        error
        for one in visits
        for error in one.errors
        if not (one.refusals and re.search(r"responded with a status of 4\d\d", error))
    ]
    elsewhere = [url for one in visits for url in one.elsewhere]
    for context in contexts:
        context.close()
    assert errors == []
    assert elsewhere == []


def _note(seen: Visit, url: str) -> None:
    if (
        not url.startswith(("data:", "blob:"))
        and urlsplit(url).netloc != urlsplit(seen.address).netloc
    ):
        seen.elsewhere.append(url)


@pytest.fixture
def page(visit: Callable[..., Visit]) -> Any:
    """A page that nothing is open in, 1600 pixels wide; guarded as those of :func:`visit`."""
    return visit("http://127.0.0.1").page
