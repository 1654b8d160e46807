"""The frame of every page: header, navigation, light and dark, and a line that says what answers.

A page is built on the server by NiceGUI inside :func:`page_frame`. Everything that it loads comes
from this server: nothing is fetched from elsewhere, so the pages work without a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from genrescope import __version__
from genrescope.apps.pages.theme import asset, genre_styles
from genrescope.errors import MissingExtraError

try:
    from nicegui import ui
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the pages", extra="serve", package="nicegui") from error

__all__ = ["PAGES", "page_frame"]

#: Key, address and name of each page, in the order of the navigation.
PAGES = (
    ("track", "/", "Track"),
    ("library", "/library", "Library"),
    ("map", "/map", "Map"),
    ("model", "/model", "Model"),
)

_LOGO = (
    '<svg viewBox="0 0 28 20" aria-hidden="true"><g fill="currentColor">'
    '<path d="M0 8h4v4H0zM6 4h4v12H6zM12 0h4v20h-4zM18 5h4v10h-4zM24 8h4v4h-4z"/></g></svg>'
)


@contextmanager
def page_frame(
    *,
    active: str,
    service: Any,
    title: str | None = None,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> Iterator[None]:
    """Everything around the content of a page; the content is built inside.

    Parameters
    ----------
    active : str
        Key of the page in :data:`PAGES`.
    service : Service
        Whose recogniser answers; named at the foot of the page.
    title : str, optional
        Of the browser's tab. Default: the name of the page.
    styles, scripts : sequence of str
        Names of more files in ``static``: style sheets, and modules of JavaScript. A script runs
        before the content is there, so it best defines a custom element.

    Yields
    ------
    None
        With the main part of the page as the place where NiceGUI puts what is made.

    Examples
    --------
    >>> def build(service):
    ...     with page_frame(active="library", service=service):
    ...         ui.label("Your files")
    """
    bundle = service.recogniser.bundle
    name = {key: label for key, _, label in PAGES}[active]
    ui.page_title(f"{title or name} · genrescope")
    sheets = "".join(f'<link rel="stylesheet" href="{asset(one)}">' for one in styles)
    ui.add_head_html(
        '<meta name="color-scheme" content="light dark">'
        f'<script src="{asset("theme.js")}"></script>'
        f'<link rel="stylesheet" href="{asset("pages.css")}">{sheets}'
        f"<style>{genre_styles(bundle.genres)}</style>"
    )
    ui.add_body_html(
        "".join(f'<script type="module" src="{asset(one)}"></script>' for one in scripts)
    )
    ui.html(_header(active), sanitize=False, tag="header").classes("gs-header")
    with ui.element("main").classes("gs-main").props("id=main tabindex=-1"):
        yield
    ui.html(_footer(bundle), sanitize=False, tag="footer").classes("gs-footer")


def _header(active: str) -> str:
    links = "".join(
        f'<li><a href="{address}"{" aria-current=page" if key == active else ""}>{label}</a></li>'
        for key, address, label in PAGES
    )
    return (
        '<a class="gs-skip" href="#main">Skip to the content</a>'
        f'<div class="gs-bar"><a class="gs-brand" href="/">{_LOGO}<span>genrescope</span></a>'
        f'<nav aria-label="Pages"><ul>{links}</ul></nav>'
        "<gs-theme></gs-theme></div>"
    )


def _footer(bundle: Any) -> str:
    card = bundle.card
    return (
        f'<p><span id="gs-status" role="status">Ready.</span> '
        f'<span>Recogniser <a href="/model">{escape(str(card["name"]))}, version '
        f"{escape(str(card['version']))}</a>; genrescope {escape(__version__)}. "
        "Nothing leaves this server.</span></p>"
    )
