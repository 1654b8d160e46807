"""The page *Track*."""

from __future__ import annotations

from typing import Any

from genrescope.apps.pages.shell import page_frame


def build(service: Any) -> None:
    """Build the page."""
    with page_frame(active="track", service=service):
        pass
