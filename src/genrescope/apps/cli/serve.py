"""``genrescope serve``: the recogniser as an HTTP service, with pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["serve"]

_LIMITS = "Limits"
_MB = 1 << 20


def serve(
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Where to listen. Others than this machine need a token.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", "-p", min=0, max=65_535, help="The port; 0 takes a free one."),
    ] = 8000,
    library: Annotated[
        Path | None,
        typer.Option(
            "--library",
            metavar="FOLDER",
            show_default=False,
            help="A folder of music: its files can be named instead of sent, and its page opens.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            show_default=False,
            help="Holds the token that clients have to know (default: GENRESCOPE_TOKEN).",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            show_default=False,
            help="A name that clients call this machine by (repeatable).",
        ),
    ] = None,
    bundle: Annotated[
        str, typer.Option("--bundle", metavar="DIR", help="The recogniser to use.")
    ] = "default",
    pages: Annotated[
        bool, typer.Option("--pages/--no-pages", help="Whether there are pages for people, too.")
    ] = True,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log one JSON object a request.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-j",
            min=1,
            metavar="N",
            show_default=False,
            help="Processes that recognise (default: one a core).",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    queue: Annotated[
        int,
        typer.Option(
            "--queue",
            min=0,
            metavar="N",
            help="Requests that may wait; more are told to come again.",
            rich_help_panel=_LIMITS,
        ),
    ] = 64,
    max_mb: Annotated[
        int,
        typer.Option(
            "--max-mb", min=1, metavar="MB", help="Size of a request.", rich_help_panel=_LIMITS
        ),
    ] = 256,
    max_files: Annotated[
        int,
        typer.Option(
            "--max-files", min=1, metavar="N", help="Files a request.", rich_help_panel=_LIMITS
        ),
    ] = 32,
    max_seconds: Annotated[
        float,
        typer.Option(
            "--max-seconds",
            min=0.1,
            metavar="S",
            help="Time that a file may take to be recognised.",
            rich_help_panel=_LIMITS,
        ),
    ] = 120.0,
    max_memory: Annotated[
        int,
        typer.Option(
            "--max-memory",
            min=64,
            metavar="MB",
            help="Memory that a worker may take (Linux).",
            rich_help_panel=_LIMITS,
        ),
    ] = 4096,
    grace: Annotated[
        float,
        typer.Option(
            "--grace",
            min=0,
            metavar="S",
            help="Time that what is running has when the service is stopped.",
            rich_help_panel=_LIMITS,
        ),
    ] = 30.0,
) -> None:
    """Recognise over HTTP, and show pages in the browser.

    Ctrl-C or SIGTERM stops it: what is running is finished first.

    Exit codes: 0 stopped, 2 it could not be started.

    Examples:

      genrescope serve
      genrescope serve --library ~/Music
      curl -F file=@song.mp3 http://127.0.0.1:8000/v1/recognise
    """
    from genrescope.apps.service import Settings, create_app
    from genrescope.apps.service.run import run_server
    from genrescope.apps.service.settings import read_token

    settings = Settings(
        bundle=bundle,
        host=host,
        port=port,
        workers=workers,
        queue=queue,
        token=read_token(token_file),
        library=library,
        hosts=tuple(allow_host or ()),
        max_bytes=max_mb * _MB,
        max_files=max_files,
        max_seconds=max_seconds,
        max_memory=max_memory * _MB,
        grace=grace,
        log_json=log_json,
    )
    app = create_app(settings, pages=pages)
    run_server(app, settings, tell=lambda text: typer.echo(text, err=True))
