"""How fast the page *Library* answers with 20,000 files; medians.

The files are made up; rows, filters, pages and the browser are real.

    python -m benchmarks.bench_library_page [--rows 20000] [--browser]
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from genrescope import Recogniser
from genrescope.apps.pages.library_finding import Scan
from genrescope.apps.pages.library_routes import shelf_of
from genrescope.apps.pages.library_rows import Query
from genrescope.apps.pages.library_shelf import Shelf
from genrescope.learn.prediction import Branch, Prediction

_REPEATS = 7
_WORDS = (
    "night",
    "river",
    "glass",
    "paper",
    "house",
    "sea",
    "road",
    "ash",
    "ivy",
    "oak",
    "sun",
    "dew",
)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--browser", action="store_true", help="measure Chromium, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), Recogniser.load(), workers=1)
        fill(shelf, args.rows)
        for name, took in measure(shelf).items():
            print(f"{name:46} {took * 1000:8.1f} ms")
        if args.browser:
            for name, took in in_browser(Path(folder), args.rows).items():
                print(f"{name:46} {took * 1000:8.1f} ms")


def fill(shelf: Shelf, n: int) -> None:
    """Put made-up rows on a shelf, as a scan does."""
    rng = np.random.default_rng(0)
    genres = shelf.recogniser.genres
    found = [(shelf.root / f"{k:05}.mp3", f"{k // 12:04}/{k:05}.mp3") for k in range(n)]
    shelf._lay_out(found)
    shares = rng.dirichlet(np.full(len(genres), 0.25), size=n)
    for k, (path, _) in enumerate(found):
        row = shelf.at(path)
        assert row is not None
        artist = f"{_WORDS[k // 40 % 12]} {_WORDS[k // 480 % 12]} {k // 40}".title()
        heard = Prediction.from_probabilities(
            dict(zip(genres, shares[k].tolist(), strict=True)),
            threshold=0.58,
            path=path,
            artist=artist,
            branches=(Branch((genres[k % 8], "Sub"), 0.3),),
        )
        now = () if k % 3 == 0 else (genres[int(rng.integers(len(genres)))],)
        title = f"{_WORDS[k % 12]} {_WORDS[k // 12 % 12]}".title()
        row = replace(row, title=title, artist=artist, now=now, solo=heard, heard=heard, done=True)
        shelf.put(row)
    shelf.scan = Scan("", time.monotonic(), n, n, running=False, looking=False)
    shelf.scan.ended = time.monotonic()


def measure(shelf: Shelf) -> dict[str, float]:
    """Seconds, medians; the rows are counted as changed before each."""

    def rows(query: Query) -> list[dict[str, object]]:
        return [row.to_dict() for row in shelf.pick(query)[:100]]

    def timed(work: Callable[[], object]) -> float:
        took = []
        for _ in range(_REPEATS):
            shelf.changed()
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    policies = iter(("replace", "add", "keep") * _REPEATS)
    return {
        "state with all counts": timed(shelf.state),
        "the first 100 by file": timed(lambda: rows(Query())),
        "the first 100 by confidence": timed(lambda: rows(Query(sort="confidence", down=True))),
        "the first 100 that disagree": timed(lambda: rows(Query(state="disagrees"))),
        "the first 100 of a search": timed(lambda: rows(Query(search="glass sea"))),
        "a preview of all that change": timed(
            lambda: shelf.writing.plan(shelf.pick(Query(state="change")))
        ),
        "another policy for all": timed(
            lambda: shelf.set_policy({"existing": next(policies), "together": False})
        ),
    }


def in_browser(root: Path, n: int) -> dict[str, float]:
    """Seconds until Chromium shows the rows, from the click to the last row drawn."""
    import uvicorn
    from playwright.sync_api import sync_playwright

    from genrescope.apps.service import Settings, create_app

    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    app = create_app(Settings(library=root, workers=1, port=port))
    shelf = shelf_of(app.state.genrescope)
    assert shelf is not None
    fill(shelf, n)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page()

            def until(first: str, act: Callable[[], object]) -> float:
                began = time.perf_counter()
                act()
                page.wait_for_function(
                    "t => document.querySelector('tbody tr small')?.textContent.includes(t)",
                    arg=first,
                )
                return time.perf_counter() - began

            url = f"http://127.0.0.1:{port}/library"

            def click(which: str) -> Callable[[], object]:  # without playwright's own scrolling
                return lambda: page.evaluate(
                    f"document.querySelector('.lib-pager {which}').click()"
                )

            next_page, back = click("button:last-child"), click("button:first-child")
            opened = until("00000.mp3", lambda: page.goto(url))
            turned = [until(f"{100 * k:05}.mp3", next_page) for k in range(1, 6)]
            for k in range(4, -1, -1):
                until(f"{100 * k:05}.mp3", back)
            typed = until("00019.mp3", lambda: page.get_by_label("Search").fill("00019"))
            browser.close()
    finally:
        server.should_exit = True
        thread.join()
    return {
        "Chromium: page opened, 100 rows shown": opened,
        "Chromium: next page": statistics.median(turned),
        "Chromium: search typed (200 ms of it waited)": typed,
    }


if __name__ == "__main__":
    main()
