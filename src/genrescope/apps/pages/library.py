"""The page *Library*: a folder of music, what is heard in it, and what is written.

The rows are drawn by ``static/library.js`` from JSON, a hundred at a time: twenty thousand of them
as elements of NiceGUI would take its server minutes.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

from nicegui import ui

from genrescope.apps.pages.library_routes import add_routes, shelf_of
from genrescope.apps.pages.shell import page_frame
from genrescope.apps.pages.theme import mark

__all__ = ["add_routes", "build"]

_LEAD = (
    "Hear a folder of your music, see which genres it has and which it would get, and write those "
    "that you approve of. Nothing is written before you have seen what, and all of it can be taken "
    "back."
)


def build(service: Any) -> None:
    """Build the page."""
    shelf = shelf_of(service)
    styles, scripts = (("library.css",), ("library.js",)) if shelf else ((), ())
    with page_frame(active="library", service=service, styles=styles, scripts=scripts):
        ui.html(_page(service, shelf), sanitize=False)


def _page(service: Any, shelf: Any) -> str:
    if shelf is None:
        return (
            f'<h1>Library</h1><p class="gs-lead">{_LEAD}</p>'
            '<div class="gs-note"><p>This server was started without a library. Start it with the '
            "folder that your music is in:</p><p><code>genrescope serve --library "
            "~/Music</code></p><p>Single files can be heard on the page "
            '<a href="/">Track</a>.</p></div>'
        )
    genres = service.recogniser.genres
    settings = {
        "root": shelf.root.name or str(shelf.root),
        "genres": list(genres),
        "marks": {genre: mark(genre, genres) for genre in genres},
        "together": shelf.can_together,
        "subgenres": service.recogniser.knows_subgenres,
    }
    return (
        f'<h1>Library</h1><p class="gs-lead">{_LEAD}</p>'
        f'<gs-library data-settings="{escape(json.dumps(settings))}"></gs-library>'
    )
