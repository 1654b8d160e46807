"""``genrescope serve``: the recogniser as an HTTP service, with pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["serve"]


def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65_535, help="0 takes a free one.")
    ] = 8000,
    library: Annotated[
        Path | None,
        typer.Option("--library", metavar="FOLDER", show_default=False, help="Your music."),
    ] = None,
    bundle: Annotated[
        str, typer.Option("--bundle", metavar="DIR", help="The recogniser to use.")
    ] = "default",
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-j", min=1, metavar="N", show_default=False),
    ] = None,
    pages: Annotated[
        bool, typer.Option("--pages/--no-pages", help="Whether to serve pages for people, too.")
    ] = True,
) -> None:
    """Recognise over HTTP."""
    from genrescope.apps.service import Settings, create_app
    from genrescope.apps.service.run import run_server

    settings = Settings(bundle=bundle, host=host, port=port, workers=workers, library=library)
    run_server(create_app(settings, pages=pages), settings)
