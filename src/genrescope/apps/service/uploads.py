"""Files that come with a request: to disk as they arrive, under limits."""

from __future__ import annotations

import asyncio
import errno
import re
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from starlette.requests import ClientDisconnect, Request

from genrescope.apps.service.guards import too_large
from genrescope.apps.service.refusals import RequestError
from genrescope.errors import DiskSpaceError

if TYPE_CHECKING:
    from genrescope.apps.service.settings import Settings
    from genrescope.apps.service.temporary import Workshop

__all__ = ["Upload", "clean_name", "pump", "receive"]

_UNNAMED = "upload"
_LONGEST_NAME = 200  # characters
_SPARE_FIELDS = 16  # parts of a form that are no files
_LEAST_RATE = 16 << 10  # bytes a second, on the whole, after the first _WARM_UP seconds
_WARM_UP = 30.0  # s
_RAW = ("audio/", "application/octet-stream", "application/ogg", "video/")


@dataclass(frozen=True)
class Upload:
    """A file that has come.

    Attributes
    ----------
    path : Path
        Where it is now.
    name : str
        What the client calls it; fit to be shown, and for nothing else.
    """

    path: Path
    name: str


def clean_name(told: str) -> str:
    """The last part of a file name that a client told, without what cannot be shown."""
    name = re.split(r"[/\\]", told)[-1]
    shown = (c for c in name if unicodedata.category(c)[0] != "C")  # controls, marks of direction
    return " ".join("".join(shown).split())[:_LONGEST_NAME] or _UNNAMED


async def pump(request: Request, settings: Settings, write: Callable[[bytes], object]) -> None:
    """Hand on the body of a request as it arrives, for as long as it keeps to the limits.

    Raises
    ------
    RequestError
        408 where it comes too slowly, 413 where it is too large, 415 where it is compressed.
    ClientDisconnect
        If the client has gone.
    """
    limit = settings.max_bytes
    refusal = RequestError(413, too_large(limit))
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise RequestError(
            415,
            "the body is compressed; nothing is unpacked here: send it as it is",
            headers={"Accept-Encoding": "identity"},
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise refusal
    started, total = time.monotonic(), 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.stall_seconds) as patience:
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                piece = message.get("body", b"")
                total += len(piece)
                if total > limit:
                    raise refusal
                late = time.monotonic() - started - _WARM_UP
                if late > 0 and total < late * _LEAST_RATE:
                    raise TimeoutError
                if piece:
                    write(piece)
                    patience.reschedule(loop.time() + settings.stall_seconds)
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        raise RequestError(
            408, "the request came too slowly and was given up; send it again"
        ) from None


async def receive(
    request: Request, *, settings: Settings, workshop: Workshop, into: list[Upload], name: str
) -> None:
    """Write the files of a request to disk.

    Parameters
    ----------
    request : Request
        A form (multipart/form-data), or one file as the whole body.
    settings : Settings
        The limits.
    workshop : Workshop
        Where to put them.
    into : list of Upload
        Where to note them; also those that are there when an error is raised. The caller
        removes them.
    name : str
        Of a file that is the whole body.

    Raises
    ------
    RequestError
        If the request is not as it has to be.
    DiskSpaceError
        If there is no room.
    ClientDisconnect
        If the client has gone.
    """
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    try:
        if kind == "multipart/form-data":
            await _form(request, settings, workshop, into)
        elif kind.startswith(_RAW):
            await _whole(request, settings, workshop, into, name)
        else:
            raise RequestError(
                415,
                f"the content type is {kind or 'not given'}; send a form (multipart/form-data), "
                "or one file as the body with a type such as audio/mpeg or "
                "application/octet-stream",
            )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskSpaceError("there is no room for the upload; try again later") from error
        raise


async def _whole(
    request: Request, settings: Settings, workshop: Workshop, into: list[Upload], name: str
) -> None:
    name = clean_name(name)
    upload = Upload(workshop.new(name), name)
    into.append(upload)
    with _create(upload.path) as file:
        await pump(request, settings, partial(_put, file))


class _Form:
    """What the parser of a form calls."""

    def __init__(self, settings: Settings, workshop: Workshop, into: list[Upload]) -> None:
        self._settings, self._workshop, self._into = settings, workshop, into
        self._file: BinaryIO | None = None
        self._size = self._fields = 0
        self._header = self._value = b""
        self._disposition = ""
        self.ended = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _part_begin(self) -> None:
        self._disposition, self._size = "", 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value.decode("latin-1")
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        told = _told_name(self._disposition)
        if told is None:
            self._fields += 1
            if self._fields > _SPARE_FIELDS:
                raise RequestError(422, f"the form has more than {_SPARE_FIELDS} fields")
            return
        if len(self._into) >= self._settings.max_files:
            raise RequestError(
                413,
                f"the form has more than {self._settings.max_files} files, the most that are "
                "taken; send fewer at once",
            )
        name = clean_name(told)
        upload = Upload(self._workshop.new(name), name)
        self._into.append(upload)
        self._file = _create(upload.path)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._size += end - start
            _put(self._file, memoryview(data)[start:end])

    def _part_end(self) -> None:
        if self._file is not None:
            self.close()
            # What a browser sends of a field in which no file was chosen.
            if not self._size and not _told_name(self._disposition):
                self._workshop.remove(self._into.pop().path)

    def _end(self) -> None:
        self.ended = True


async def _form(
    request: Request, settings: Settings, workshop: Workshop, into: list[Upload]
) -> None:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    _, options = parse_options_header(request.headers["content-type"])
    form = _Form(settings, workshop, into)
    try:
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise FormParserError("no boundary")
        parser = MultipartParser(boundary, form.callbacks())
        await pump(request, settings, parser.write)
        parser.finalize()
        if not form.ended:
            raise FormParserError("it ends too early")
    except FormParserError as error:
        raise RequestError(
            400, f"the form cannot be read ({error}); send multipart/form-data as browsers do"
        ) from error
    finally:
        form.close()
    if not into:
        raise RequestError(422, "there is no file in the form; add one, such as file=@song.mp3")


def _create(path: Path) -> BinaryIO:
    return path.open("xb", buffering=0)


def _put(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of it: where a disk runs full, the last write takes less, and raises nothing."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _told_name(disposition: str) -> str | None:
    """The file name of a part of a form; None where it is no file."""
    from python_multipart.multipart import parse_options_header

    _, options = parse_options_header(disposition)
    told = options.get(b"filename")
    return None if told is None else told.decode("utf-8", "replace")
