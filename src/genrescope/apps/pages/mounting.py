"""How the pages come onto an application, and what a browser is told about all of them."""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from genrescope.errors import MissingExtraError

try:
    from nicegui import core, ui
    from starlette.requests import Request
    from starlette.staticfiles import StaticFiles
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the pages", extra="serve", package="nicegui") from error

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["mount"]

_RECONNECT = 30.0  # s; a laptop that slept for a moment finds its page as it was
_KEPT = "public, max-age=31536000, immutable"  # addresses carry a digest of the file

# NiceGUI compiles its templates in the browser, hence the 'unsafe' words. What counts is that
# nothing is loaded from, and nothing sent to, any other host, and that no other page frames this.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PAGES = ("track", "library", "map", "model")


def mount(app: FastAPI) -> None:
    """Do what :func:`genrescope.apps.pages.add_pages` promises."""
    service = app.state.genrescope
    modules = {name: importlib.import_module(f"genrescope.apps.pages.{name}") for name in _PAGES}
    folder = importlib.resources.files("genrescope.apps.pages") / "static"
    app.mount("/pages/static", StaticFiles(directory=str(folder)), name="pages-static")
    for name, module in modules.items():
        if hasattr(module, "add_routes"):
            module.add_routes(app)
        _add_page("/" if name == "track" else f"/{name}", module.build)
    if core.app.middleware_stack is not None:  # another application of this process had the pages
        core.app.user_middleware.clear()
        core.app.middleware_stack = None
    app.add_middleware(_Around, service=service)
    ui.run_with(
        app,
        title="genrescope",
        favicon=str(folder / "favicon.svg"),
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=_RECONNECT,
        show_welcome_message=False,
    )


def _add_page(path: str, build: Callable[[Any], None]) -> None:
    # NiceGUI keeps one table of pages a process; which application was asked is in the scope.
    def shown(request: Request) -> None:
        build(request.scope["genrescope"])

    ui.page(path, reconnect_timeout=_RECONNECT)(shown)


class _Around:
    """Tell a page which service it shows, and a browser what a page may load."""

    def __init__(self, app: ASGIApp, *, service: Any) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["genrescope"] = self._service

        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                names = {name.lower(): value for name, value in headers}
                if names.get(b"content-type", b"").startswith(b"text/html"):
                    _default(headers, names, b"content-security-policy", _POLICY)
                    _default(headers, names, b"referrer-policy", "same-origin")
                if scope["path"].startswith("/pages/static/"):
                    kept = _KEPT if scope["query_string"].startswith(b"v=") else "no-cache"
                    _default(headers, names, b"cache-control", kept)
                _default(headers, names, b"x-content-type-options", "nosniff")
            await send(message)

        await self._app(scope, receive, out)


def _default(headers: Any, names: dict[bytes, bytes], name: bytes, value: str) -> None:
    if name not in names:
        headers.append((name, value.encode("ascii")))
