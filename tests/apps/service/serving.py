"""A real server for tests, in a thread of the test or as the command."""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile as sf
import uvicorn

from genrescope.apps.service import Service, Settings, create_app
from genrescope.apps.service import service as module
from genrescope.apps.service.run import make_server
from genrescope.learn.recogniser import Recogniser
from tests.apps.command import COMMAND, environment

_hear = module._hear  # as it is, whatever stands in for it later

TOKEN = "a-token-of-these-tests-1234"
PATIENCE = 60.0  # s


def until(true: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


def sound(seconds: float = 2.0, *, seed: int = 0, form: str = "WAV") -> bytes:
    """A file of noise with a beat."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 22_050)) / 22_050
    y = 0.3 * np.sin(2 * np.pi * (200 + 50 * seed) * t) + 0.1 * rng.normal(size=len(t))
    file = io.BytesIO()
    sf.write(file, y.astype(np.float32), 22_050, format=form)
    return file.getvalue()


@dataclass
class Running:
    """A server that runs in this process."""

    url: str
    port: int
    service: Service
    app: Any
    server: uvicorn.Server

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, **options)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def left(self) -> list[str]:
        """What lies in the folder for uploads."""
        return sorted(set(os.listdir(self.service.workshop.folder)) - {".lock"})


@contextmanager
def serving(**changes: Any) -> Iterator[Running]:
    """Serve in a thread, with one worker unless told otherwise; ready when given."""
    settings = Settings(**{"port": 0, "workers": 1, "grace": 5.0, **changes})
    app = create_app(settings, pages=False)
    service = app.state.genrescope
    lines: list[str] = []
    server = make_server(app, settings, tell=lines.append)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: lines or not thread.is_alive())
        until(lambda: service.ready)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(f"http://127.0.0.1:{port}", port, service, app, server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def get(url: str) -> tuple[int, str]:
    """Status and text of a page (httpx would read its certificates anew each time)."""
    _, _, where, path = url.split("/", 3)
    connection = http.client.HTTPConnection(where, timeout=PATIENCE)
    try:
        connection.request("GET", f"/{path}")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextmanager
def command(*arguments: str | Path, **env: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``genrescope serve`` without pages on a free port; gives its URL and the process."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--no-pages", "--port", "0", *map(os.fspath, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(OMP_NUM_THREADS="1", **env),
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"serves at (http://\S+)", line)
        assert found, line + process.stderr.read()
        until(lambda: get(f"{found[1]}/readyz")[0] == 200)
        yield found[1], process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


# --- what a worker may be made to do, by what is in a file -----------------------------------


def hear_or_do(recogniser: Recogniser, hearing: Any) -> Any:
    """As the worker of the service, but for files that begin with a word it knows."""
    if hearing.path:
        word, _, rest = Path(hearing.path).read_bytes()[:200].partition(b"\n")
        if word == b"CRASH":
            os.abort()
        if word == b"MEMORY":
            np.ones(1 << 29, np.uint8).sum()
        if word == b"BUG":
            raise KeyError(hearing.path)
        if word == b"WAIT":  # until the file named in it is there
            flag = Path(os.fsdecode(rest))
            while not flag.exists():
                time.sleep(0.01)
            return recogniser.predict(np.random.default_rng(0).normal(size=44_100), sr=22_050)
    return _hear(recogniser, hearing)
