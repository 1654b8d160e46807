"""``genrescope serve``: the recogniser as an HTTP service, with pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genrescope.apps.cli import options

__all__ = ["serve"]

_MB = 1 << 20


def serve(
    host: Annotated[
        str,
        options.text(
            "--host",
            "Where to listen. Others than this machine need a token.",
            metavar="ADDRESS",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, options.number("--port", "The port; 0 takes a free one.", "-p", min=0, max=65_535)
    ] = 8000,
    library: Annotated[
        Path | None,
        options.text(
            "--library",
            "A folder of music: its files can be named instead of sent, and its page opens.",
            metavar="FOLDER",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        options.text(
            "--token-file",
            "Holds the token that clients have to know.",
            metavar="FILE",
            default="GENRESCOPE_TOKEN",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        options.text(
            "--allow-host", "A name that clients call this machine by; repeat it for more."
        ),
    ] = None,
    pages: Annotated[
        bool, typer.Option("--pages/--no-pages", help="Whether there are pages for people, too.")
    ] = True,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log one JSON object a request.")
    ] = False,
    workers: Annotated[
        int | None,
        options.number(
            "--workers",
            "Processes side by side.",
            "-j",
            min=1,
            default="one a core",
            rich_help_panel=options.HEARING,
        ),
    ] = None,
    bundle: options.Bundle = "default",
    queue: Annotated[
        int,
        options.number(
            "--queue",
            "Requests that may wait; more are told to come again.",
            min=0,
            rich_help_panel=options.LIMITS,
        ),
    ] = 64,
    max_mb: Annotated[
        int,
        options.number(
            "--max-mb", "Size of a request.", metavar="MB", min=1, rich_help_panel=options.LIMITS
        ),
    ] = 256,
    max_files: Annotated[
        int,
        options.number("--max-files", "Files a request.", min=1, rich_help_panel=options.LIMITS),
    ] = 32,
    timeout: options.Timeout = 120.0,
    max_memory: Annotated[
        int,
        options.number(
            "--max-memory",
            "Memory that a worker may take (Linux).",
            metavar="MB",
            min=64,
            rich_help_panel=options.LIMITS,
        ),
    ] = 4096,
    grace: Annotated[
        float,
        options.number(
            "--grace",
            "How long what is running may go on when the service is stopped.",
            metavar="SECONDS",
            min=0,
            rich_help_panel=options.LIMITS,
        ),
    ] = 30.0,
) -> None:
    """Recognise over HTTP, and show pages in the browser.

    Ctrl-C or SIGTERM stops it: what is running is finished first. Files are changed where a
    person asks for it on the page of the library, and nowhere else. Needs the extra serve.

    Exit codes: 0 stopped, 2 wrong usage or nothing to do.

    Examples:

      genrescope serve
      genrescope serve --library ~/Music --port 8080
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
        max_seconds=timeout,
        max_memory=max_memory * _MB,
        grace=grace,
        log_json=log_json,
    )
    app = create_app(settings, pages=pages)
    run_server(app, settings, tell=lambda text: typer.echo(text, err=True))
