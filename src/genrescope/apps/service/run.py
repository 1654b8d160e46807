"""Run the service until it is told to stop."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import uvicorn

from genrescope.apps.service.observing import log_to_stderr
from genrescope.errors import ServiceError

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from genrescope.apps.service.settings import Settings

__all__ = ["make_server", "run_server"]

_SWEEP = 1.0  # s between looks at the connections
_KEEP_ALIVE = 15  # s


class _Server(uvicorn.Server):
    """Uvicorn, with an eye on connections on which no request is under way."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        settings: Settings,
        service: Any,
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._settings, self._service, self._tell = settings, service, tell
        # The last request of each connection, and since when it is known to be answered.
        self._since: WeakKeyDictionary[Any, tuple[Any, float]] = WeakKeyDictionary()
        self._swept = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.servers:
            port = self.servers[0].sockets[0].getsockname()[1]
            self._tell(f"genrescope serves at {self._settings.at(port).url} - Ctrl-C stops it")

    async def on_tick(self, counter: int) -> bool:
        now = time.monotonic()
        if now - self._swept >= _SWEEP:
            self._swept = now
            self._sweep(now)
        return await super().on_tick(counter)

    def _sweep(self, now: float) -> None:
        """Close connections that have not brought a whole head of a request for too long."""
        for connection in list(self.server_state.connections):
            http = hasattr(connection, "cycle")  # a websocket has none
            cycle: Any = getattr(connection, "cycle", None)
            if not http or (cycle is not None and not cycle.response_complete):
                self._since.pop(connection, None)
                continue
            # A connection may be idle at every look and have served a request in between.
            last, since = self._since.get(connection, (None, now))
            if connection not in self._since or (last() if last else None) is not cycle:
                self._since[connection] = (weakref.ref(cycle) if cycle is not None else None, now)
            elif now - since > self._settings.stall_seconds:
                connection.transport.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.stopping = True  # at once: load balancers look at /readyz
        super().handle_exit(sig, frame)
        # Uvicorn would send itself the signal once more, at the end of an orderly stop.
        self._captured_signals.clear()


def make_server(app: FastAPI, settings: Settings, *, tell: Callable[[str], None]) -> uvicorn.Server:
    """The server of an application; see :func:`run_server`."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="h11",  # the other parser has no limit on the size of headers
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
    )
    return _Server(config, settings=settings, service=app.state.genrescope, tell=tell)


def run_server(app: FastAPI, settings: Settings, *, tell: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is running and return.

    Parameters
    ----------
    app : FastAPI
        As of :func:`~genrescope.apps.service.app.create_app`.
    settings : Settings
        The same.
    tell : callable
        Told where it listens, once it does.

    Raises
    ------
    ServiceError
        If it cannot listen there, or does not start.
    """
    log_to_stderr(as_json=settings.log_json)
    server = make_server(app, settings, tell=tell)
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        server.run()
    if not server.started:
        raise ServiceError(
            f"it does not start at {settings.url}; see above why. If the address is in use, "
            "another service may be running there: give another --port."
        )
