"""The page *Map*: known tracks and one's own in three dimensions, near where they sound alike."""

from __future__ import annotations

from html import escape
from typing import Any

from genrescope.apps.pages.map_routes import add_routes, knows_tracks
from genrescope.apps.pages.shell import page_frame
from genrescope.errors import MissingExtraError

try:
    from nicegui import ui
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the pages", extra="serve", package="nicegui") from error

__all__ = ["add_routes", "build"]


def build(service: Any) -> None:
    """Build the page."""
    with page_frame(active="map", service=service, styles=("map.css",), scripts=("map.js",)):
        ui.html(_content(service), sanitize=False).classes("map-page")


def _content(service: Any) -> str:
    if not knows_tracks(service):
        name = escape(str(service.recogniser.card["name"]))
        return (
            f"<h1>Map</h1><div class='gs-note'><p>The recogniser {name} has no map: it was made "
            "without one. The one that comes with genrescope has.</p></div>"
        )
    return (
        "<h1>Map</h1><p class='gs-lead'>Tracks that sound alike lie close together. The small "
        "marks are the tracks that the recogniser learnt from, the large ones with a name are "
        "yours. Directions mean nothing, nearness does.</p><gs-map></gs-map>"
    )
