"""A web server on this machine that misbehaves as it is told to."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Way:
    """How one request is answered; by default, as it should be.

    Attributes
    ----------
    body : bytes or None
        Served instead of the file.
    status : int
        Other than 200: that status, without a body.
    drop_after : int or None
        Bytes of the body after which the connection is reset.
    length : int or None
        Said in Content-Length instead of the truth.
    ranges : bool
        Whether Range is known.
    etag : str or None
        None: computed from the body; empty: none.
    shift : int
        Added to the first byte of a range that was asked for.
    redirect : str
        Where to.
    chunked : bool
        Whether to send chunks and no length.
    silent : bool
        Whether to say nothing at all.
    pause : float
        s before every 64 KiB.
    """

    body: bytes | None = None
    status: int = 200
    drop_after: int | None = None
    length: int | None = None
    ranges: bool = True
    etag: str | None = None
    shift: int = 0
    redirect: str = ""
    chunked: bool = False
    silent: bool = False
    pause: float = 0.0
    headers: Sequence[tuple[str, str]] = ()


@dataclass
class Web:
    """The server: what it serves, how, and what it was asked."""

    body: bytes
    ways: list[Way] = field(default_factory=list)  # one a request; the last one stays
    asked: list[dict[str, str]] = field(default_factory=list)  # headers of each request
    sent: int = 0  # bytes of bodies
    url: str = ""

    def way(self) -> Way:
        if not self.ways:
            return Way()
        return self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]

    def ranges(self) -> list[str]:
        return [headers.get("Range", "") for headers in self.asked]


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            web.asked.append(dict(self.headers))
            way = web.way()
            if way.silent:
                time.sleep(3)
                return
            if way.redirect and not self.path.endswith("/moved.zip"):
                self.send_response(302)
                self.send_header("Location", way.redirect)
                self.end_headers()
                return
            if way.status != 200:
                self.send_response(way.status)
                for header in way.headers:
                    self.send_header(*header)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._body(way)

        def _body(self, way: Way) -> None:
            body = web.body if way.body is None else way.body
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"' if way.etag is None else way.etag
            start, wanted = 0, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            since = self.headers.get("If-Range")
            if wanted and way.ranges and (since is None or since == tag):
                start = int(wanted[1])
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start += way.shift
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            part = body[start:]
            if tag:
                self.send_header("ETag", tag)
            for header in way.headers:
                self.send_header(*header)
            if way.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(way.length or len(part)))
            self.end_headers()
            end = len(part) if way.drop_after is None else way.drop_after
            for at in range(0, min(end, len(part)), 1 << 16):
                time.sleep(way.pause)
                piece = part[at : min(at + (1 << 16), end)]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if way.chunked else piece)
                web.sent += len(piece)
            if way.drop_after is not None:
                self.wfile.flush()
                if way.drop_after % 2:  # odd numbers: as a crash does; even ones: in order
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
            elif way.chunked:
                self.wfile.write(b"0\r\n\r\n")

    return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients are killed on purpose


@contextlib.contextmanager
def serving(body: bytes, *ways: Way) -> Iterator[Web]:
    """Serve `body` in those ways, one a request."""
    web = Web(body, list(ways))
    server = _Quiet(("127.0.0.1", 0), _handler(web))
    web.url = f"http://127.0.0.1:{server.server_address[1]}/file.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
