"""Run the service until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from fastapi import FastAPI

    from genrescope.apps.service.settings import Settings

__all__ = ["run_server"]


def run_server(app: FastAPI, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace),
    )
    uvicorn.Server(config).run()
