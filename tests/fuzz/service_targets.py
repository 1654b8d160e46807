"""Requests to the service."""

from __future__ import annotations

import atexit
import functools
from typing import Any

from tests.fuzz.common import Target


@functools.cache
def _workshop() -> Any:
    from genrescope.apps.service.temporary import Workshop

    workshop = Workshop()
    workshop.open()
    atexit.register(workshop.close)
    return workshop


def _upload(data: bytes) -> None:
    """A request: its content type on the first line, then the body."""
    import asyncio
    import logging

    from starlette.requests import Request

    from genrescope.apps.service.settings import Settings
    from genrescope.apps.service.uploads import receive

    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    kind, _, body = data.partition(b"\n")
    pieces = [body[i : i + 100] for i in range(0, len(body), 100)] or [b""]

    async def told() -> dict[str, Any]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", kind)]}
    settings, workshop = Settings(max_bytes=8000, max_files=4), _workshop()
    into: list[Any] = []
    try:
        asyncio.run(
            receive(
                Request(scope, told), settings=settings, workshop=workshop, into=into, name="a\0/b"
            )
        )
    finally:
        assert len(into) <= 4
        for upload in into:
            assert upload.path.parent == workshop.folder
            assert "/" not in upload.name
            assert "\\" not in upload.name
            assert upload.name.isprintable()
            assert len(upload.name) <= 200
            workshop.remove(upload.path)
        assert [entry.name for entry in workshop.folder.iterdir()] in ([], [".lock"])


def _upload_seeds() -> list[bytes]:
    def part(about: str, body: bytes) -> bytes:
        head = f'--b\r\nContent-Disposition: form-data; name="file"{about}\r\n'
        return head.encode() + b"Content-Type: audio/mpeg\r\n\r\n" + body + b"\r\n"

    form = b"multipart/form-data; boundary=b\n"
    one = part('; filename="a.mp3"', b"sound" * 9)
    return [
        form + one + b"--b--\r\n",
        form + one + part("; filename*=UTF-8''%2e%2e%2fx.wav", b"") + part("", b"1") + b"--b--",
        form + part('; filename="../../etc/passwd\\0"', b"x") + b"--b--\r\n",
        b'multipart/form-data; boundary="b"; charset=x\n' + one,
        b"audio/mpeg\nsound",
        b"text/plain\nnone",
    ]


_UPLOAD_WORDS = (
    b"--b\r\n", b"--b--", b"\r\n", b"\r\n\r\n", b"Content-Disposition: form-data; ",
    b"filename=", b"filename*=UTF-8''", b"%2f", b"../", b'"', b"\\", b";", b"boundary=", b"\0",
)  # fmt: skip


TARGETS = (Target("upload", "requests to the service", _upload, _upload_seeds, _UPLOAD_WORDS),)
