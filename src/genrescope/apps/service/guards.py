"""What stands before every route, page and websocket: host, origin, token, size."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import Response

from genrescope.apps.service.problems import http_problem, respond
from genrescope.apps.service.settings import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from genrescope.apps.service.settings import Settings

__all__ = ["COOKIE", "Guards", "Sessions"]

COOKIE = "genrescope_session"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Told to anybody: whether it lives, and the form to log in.
_OPEN = frozenset({"/healthz", "/readyz", "/login"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


class Sessions:
    """Who has logged in: names for the cookie that say nothing about the token."""

    LIFETIME = 7 * 24 * 3600.0  # s
    MOST = 1000  # the oldest has to go

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def new(self) -> str:
        """A new one."""
        while len(self._ends) >= self.MOST:
            del self._ends[next(iter(self._ends))]
        name = secrets.token_urlsafe(32)
        self._ends[name] = time.monotonic() + self.LIFETIME
        return name

    def knows(self, name: str) -> bool:
        """Whether it is one that has not ended."""
        return self._ends.get(name, 0.0) > time.monotonic()

    def end(self, name: str) -> None:
        """Forget it."""
        self._ends.pop(name, None)


class Guards:
    """ASGI middleware that lets nothing through that it should not.

    Parameters
    ----------
    app : ASGI application
        What it guards.
    settings : Settings
        Token, names, limits.
    sessions : Sessions
        Who has logged in.
    routes : mapping of str to set of str
        The methods of each path of the service. All other paths belong to the pages, but for
        those below ``/v1/``, which do not exist.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        sessions: Sessions,
        routes: Mapping[str, set[str]],
    ) -> None:
        self._app, self._settings, self._sessions = app, settings, sessions
        self._routes = routes
        self._names = {"localhost", "127.0.0.1", "[::1]", *map(str.lower, settings.hosts)}
        self._wide = not is_loopback(settings.host)
        if self._wide:
            self._names.add(socket.gethostname().lower())
            self._names.add(settings.host.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            if self._settings.token is not None and scope["path"] not in _OPEN:
                self._check_token(scope, headers)
            if scope["type"] == "http":
                self._check_route(scope)
                self._check_size(headers)
        except HTTPException as refusal:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})  # HTTP 403
            else:
                await _told(scope, refusal)(scope, receive, send)
            return
        if scope["type"] == "http":
            receive = self._counted(receive)
            if scope["method"] == "HEAD":
                scope = {**scope, "method": "GET"}  # the server leaves the body away
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """A name that somebody else gave this machine may lead a browser here, too."""
        told = headers.getlist("host")
        match = _HOST.fullmatch(told[0]) if len(told) == 1 else None
        if match is None:
            raise HTTPException(400, "the request needs one Host header, with a name in it")
        name = match[1].lower()
        if name.rstrip(".") in self._names or (self._wide and _is_address(name)):
            return
        raise HTTPException(
            421,
            f"this service is not called {name}; call it by its address, or start it with "
            f"--allow-host {name}",
        )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Whatever another site has a browser ask is refused; so nothing is shared by CORS."""
        origin = headers.get("origin")
        if origin is not None:
            host = headers["host"].lower()
            ours = origin.lower() in (f"http://{host}", f"https://{host}")
        else:
            # Not every request has an Origin; browsers say where it comes from all the same.
            site = headers.get("sec-fetch-site", "none")
            unsafe = scope["type"] == "websocket" or scope["method"] not in _SAFE
            ours = not unsafe or site in ("none", "same-origin")
        if not ours:
            raise HTTPException(
                403, "requests that another site makes a browser send are not answered"
            )

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        scheme, _, told = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(told.strip(), self._settings.token or ""):
            return
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if self._sessions.knows(cookie):
            return
        path = scope["path"]
        if (
            scope["type"] == "http"
            and scope["method"] in ("GET", "HEAD")
            and path not in self._routes
            and "text/html" in headers.get("accept", "")
        ):
            raise HTTPException(
                303, "log in first", headers={"Location": f"/login?next={quote(path)}"}
            )
        raise HTTPException(
            401,
            "this service needs its token: send the header Authorization: Bearer TOKEN, or log "
            "in at /login",
            headers={"WWW-Authenticate": 'Bearer realm="genrescope"'},
        )

    def _check_route(self, scope: Scope) -> None:
        """The pages take every path that nobody else has, and answer with a page."""
        path, method = scope["path"], scope["method"]
        methods = self._routes.get(path)
        if methods is None:
            if path == "/v1" or path.startswith("/v1/"):
                raise HTTPException(404, "there is nothing at this path; see /openapi.json")
            return
        if method in methods or (method == "HEAD" and "GET" in methods):
            return
        allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        raise HTTPException(
            405, f"{path} takes {allowed}, not {method[:20]}", headers={"Allow": allowed}
        )

    def _check_size(self, headers: Headers) -> None:
        declared, limit = headers.get("content-length", ""), self._settings.max_bytes
        if declared.isdecimal() and int(declared) > limit:
            raise HTTPException(413, too_large(limit))

    def _counted(self, receive: Receive) -> Receive:
        limit, total = self._settings.max_bytes, 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > limit:
                raise HTTPException(413, too_large(limit))
            return message

        return counted


def _told(scope: Scope, refusal: HTTPException) -> Response:
    if refusal.status_code < 400:
        return Response(status_code=refusal.status_code, headers=refusal.headers)
    problem = http_problem(refusal.status_code, refusal.detail, instance=scope.get("instance"))
    return respond(problem, refusal.headers)


def too_large(limit: int) -> str:
    """The words for a request that is."""
    return f"the request has more than {limit} bytes, the most that is taken; send less at once"


def same(told: str, token: str) -> bool:
    """Whether they are the same, in a time that tells nothing about how far they are."""
    return hmac.compare_digest(told.encode(), token.encode())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
