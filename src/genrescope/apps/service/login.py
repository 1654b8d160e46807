"""The form to log in with, for browsers: they cannot send the token as a header."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from genrescope.apps.service.guards import COOKIE, Sessions, same
from genrescope.apps.service.refusals import RequestError

if TYPE_CHECKING:
    from genrescope.apps.service.settings import Settings

__all__ = ["login_routes"]

_LARGEST = 8 << 10  # bytes of the form

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { display: grid; place-items: center; min-height: 90vh; margin: 1rem }
form { display: grid; gap: .75rem; width: min(22rem, 100%) }
h1 { font-size: 1.4rem; margin: 0 }
p { margin: 0 }
input, button { font: inherit; padding: .6rem .75rem; border: 1px solid #777; border-radius: .4rem }
button { background: #1f5fbf; color: #fff; border-color: #1f5fbf; cursor: pointer }
:focus-visible { outline: 3px solid #f0a020; outline-offset: 2px }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in - genrescope</title><style>{style}</style></head>
<body><form method="post" action="/login">
<h1>genrescope</h1>
{message}<label for="token">The token of this service</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="{next}">
<button>Log in</button>
</form></body></html>
"""


def login_routes(settings: Settings, sessions: Sessions) -> APIRouter:
    """GET and POST ``/login``, and POST ``/logout``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    async def form(next: str = "/") -> Response:
        if settings.token is None:
            return RedirectResponse("/", 303)
        return _page(next)

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _LARGEST:
                raise RequestError(413, "that is no token; it is too long")
        told = parse_qs(body.decode("utf-8", "replace"))
        after = told.get("next", ["/"])[0]
        if settings.token is None:
            return RedirectResponse("/", 303)
        if not same(told.get("token", [""])[0].strip(), settings.token):
            return _page(after, wrong=True)
        response = RedirectResponse(_local(after), 303)
        response.set_cookie(
            COOKIE,
            sessions.new(),
            max_age=int(sessions.LIFETIME),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        sessions.end(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    return router


def _page(after: str, *, wrong: bool = False) -> Response:
    message = '<p role="alert"><strong>That is not the token.</strong></p>\n' if wrong else ""
    text = _PAGE.format(style=_STYLE, message=message, next=html.escape(_local(after), quote=True))
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        text,
        status_code=401 if wrong else 200,
        headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"},
    )


def _local(path: str) -> str:
    """The path where it is one of this service, else the first page."""
    plain = path.startswith("/") and path.isprintable() and "\\" not in path
    return path if plain and not path.startswith("//") else "/"
