"""The web pages: *Track*, *Library*, *Map* and *Model*, on the same server as the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["add_pages"]


def add_pages(app: FastAPI) -> None:
    """Put the pages on an application, as the last of its routes.

    Parameters
    ----------
    app : FastAPI
        With a ``Service`` as ``app.state.genrescope``. Its guards (hosts, origins, token) guard the
        pages, their data and their websocket as they do everything else.

    Raises
    ------
    MissingExtraError
        If NiceGUI is not installed.
    """
    from genrescope.apps.pages.mounting import mount

    mount(app)
