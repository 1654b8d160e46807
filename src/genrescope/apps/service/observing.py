"""Around every request: a line in the log, figures, headers, an answer to what nobody foresaw."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from genrescope.apps.service.problems import PROBLEM_JSON, http_problem, new_instance, respond

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from genrescope.apps.service.metrics import Metrics

__all__ = ["GONE", "Observer", "log", "log_to_stderr"]

GONE = 499  # the client went away before there was an answer

log = logging.getLogger("genrescope.service")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_SNIFF = (
    (b"x-content-type-options", b"nosniff"),
    # Without any referrer browsers do not say which site a form is of: nobody could log in.
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_DATA = (b"application/json", b"application/problem+json", b"text/plain")
_DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_LONGEST = 200  # characters of a path in the log


class Observer:
    """ASGI middleware that sees every request begin and end.

    Parameters
    ----------
    app : ASGI application
        What it watches.
    metrics : Metrics
        Where to count.
    routes : collection of str
        The paths that are counted by their own name; others are "other".
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Collection[str]) -> None:
        self._app, self._metrics, self._routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, received, replaced = time.monotonic(), 0, 0, False
        scope["instance"] = new_instance()

        async def hear() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def say(message: Message) -> None:
            nonlocal status, replaced
            if message["type"] == "http.response.start":
                status = message["status"]
                if _is_foreign_error(scope, message):
                    replaced = True
                    await _in_our_words(scope, status)(scope, hear, pass_on)
                else:
                    await pass_on(message)
            elif not replaced and status != GONE:  # there is nobody to tell
                await send(message)

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _safer(message.get("headers", ()))}
            if status != GONE:
                await send(message)

        try:
            await self._app(scope, hear, say)
        except HTTPException as error:  # raised below the handlers: by a page
            problem = http_problem(error.status_code, error.detail, instance=scope["instance"])
            if not status:
                await respond(problem)(scope, hear, say)
        except Exception as error:
            self._metrics.errors.labels(type(error).__name__).inc()
            log.exception("%s", scope["instance"])
            if not status:
                problem = http_problem(
                    500,
                    "something went wrong that nobody foresaw; the log of the service has it "
                    "under the name of this instance",
                    instance=scope["instance"],
                )
                await respond(problem)(scope, hear, say)
        finally:
            self._note(scope, status, received, time.monotonic() - started)

    def _note(self, scope: Scope, status: int, received: int, seconds: float) -> None:
        path, method = scope["path"], scope["method"]
        route = path if path in self._routes else "other"
        known = method if method in _METHODS else "other"
        self._metrics.requests.labels(route, known, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        client = scope.get("client") or ("-", 0)
        level = logging.DEBUG if route == "other" and status < 400 else logging.INFO
        log.log(
            level,
            "request",
            extra={
                "request": {
                    "client": client[0],
                    "method": known,
                    "path": path[:_LONGEST],
                    "status": status,
                    "received": received,
                    "seconds": round(seconds, 4),
                    "instance": scope["instance"],
                }
            },
        )


def _is_foreign_error(scope: Scope, start: Message) -> bool:
    """Whether it is an error in the words of a library, told to a program."""
    if start["status"] < 400 or start["status"] == GONE:
        return False
    kind = next((v for k, v in start.get("headers", ()) if k.lower() == b"content-type"), b"")
    if kind.startswith(PROBLEM_JSON.encode()):
        return False
    accepted = next((v for k, v in scope["headers"] if k == b"accept"), b"")
    return b"text/html" not in accepted


def _in_our_words(scope: Scope, status: int) -> Response:
    detail = f"there is no such page: {scope['path'][:_LONGEST]}" if status == 404 else ""
    detail = detail or "the request was refused by the pages"
    return respond(http_problem(status, detail, instance=scope["instance"]))


def _safer(headers: Any) -> list[tuple[bytes, bytes]]:
    # What a library below may say to other sites is not said.
    kept = [(k, v) for k, v in headers if not k.lower().startswith(b"access-control-")]
    names = {name.lower(): value for name, value in kept}
    kept += [(name, value) for name, value in _NO_SNIFF if name not in names]
    if names.get(b"content-type", b"").startswith(_DATA):
        if b"content-security-policy" not in names:
            kept.append((b"content-security-policy", _DATA_POLICY))
        if b"cache-control" not in names:
            kept.append((b"cache-control", b"no-store"))
    return kept


class _Lines(logging.Formatter):
    """One line a request; whatever a client sends stays on that line."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._json = as_json

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        found: dict[str, Any] | None = getattr(record, "request", None)
        if self._json:
            told = found or {"message": record.getMessage()}
            if record.exc_info:
                told = {**told, "error": self.formatException(record.exc_info)}
            return json.dumps({"time": when, "level": record.levelname.lower(), **told})
        if found is None:
            text = f"{when} {_plain(record.getMessage())}"
            if record.exc_info:
                text += "\n" + self.formatException(record.exc_info)
            return text
        line = (
            f"{when} {found['client']} {found['method']} {_plain(found['path'])} "
            f"{found['status']} {found['received']} B {found['seconds']:.3f} s"
        )
        return line if found["status"] < 400 else f"{line} {found['instance']}"


def _plain(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def log_to_stderr(*, as_json: bool) -> None:
    """Have the log of the service, and what its server has to say, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(as_json=as_json))
    for name, level in (("genrescope.service", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
