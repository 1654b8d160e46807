"""The data of the page *Library*: rows, scans, decisions and writing, as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, JSONResponse, Response

from genrescope.apps.pages.library_rows import MOST_ROWS, Query, Row
from genrescope.apps.pages.library_shelf import Shelf
from genrescope.apps.service.problems import problem_of, respond
from genrescope.apps.service.refusals import RequestError
from genrescope.errors import DataError, GenrescopeError

__all__ = ["add_routes", "shelf_of"]

_AT = "/pages/library"
_SHOWN = 200  # rows of a preview
_MEDIA = {
    ".mp3": "audio/mpeg",
    ".mp2": "audio/mpeg",
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".aif": "audio/aiff",
    ".aiff": "audio/aiff",
    ".wma": "audio/x-ms-wma",
}

Answer = Callable[[Shelf, Request], Coroutine[Any, Any, Response]]


def shelf_of(service: Any) -> Shelf | None:
    """The one shelf of a service; None where it has no library."""
    shelf: Shelf | None = getattr(service, "library_shelf", None)
    if shelf is None and service.settings.library is not None:
        shelf = Shelf(
            service.settings.library, service.recogniser, workers=service.settings.workers
        )
        service.library_shelf = shelf
    return shelf


def add_routes(app: FastAPI) -> None:
    """Put the data of the page on an application."""
    service = app.state.genrescope
    shelf = shelf_of(service)
    ways: tuple[tuple[str, str, Answer], ...] = (
        ("GET", "/state", _state),
        ("GET", "/rows", _rows),
        ("GET", "/folders", _folders),
        ("GET", "/history", _history),
        ("GET", "/sound/{row:int}", _sound),
        ("POST", "/scan", _scan),
        ("POST", "/stop", _stop),
        ("POST", "/policy", _policy),
        ("POST", "/choose", _choose),
        ("POST", "/preview", _preview),
        ("POST", "/write", _write),
        ("POST", "/undo", _undo),
    )
    for method, path, answer in ways:
        app.add_api_route(
            _AT + path, _told(answer, shelf), methods=[method], include_in_schema=False
        )
    if shelf is None:
        return
    before = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncIterator[Any]:
        async with before(running) as state:
            try:
                yield state
            finally:
                await asyncio.to_thread(shelf.close)

    app.router.lifespan_context = lifespan


def _told(answer: Answer, shelf: Shelf | None) -> Callable[[Request], Any]:
    """An answer whose errors are problem details, with paths as they are inside the library."""

    @wraps(answer)
    async def responding(request: Request) -> Response:
        try:
            if shelf is None:
                raise RequestError(
                    404, "this server has no library; start it with --library FOLDER"
                )
            return await answer(shelf, request)
        except GenrescopeError as error:
            problem = problem_of(error)
            if shelf is not None:
                problem["detail"] = shelf.words(error)
            return respond(problem)

    # Not those of the wrapped function: FastAPI would look for them in the wrong module.
    responding.__annotations__ = {"request": Request, "return": Response}
    del responding.__wrapped__
    return responding


async def _state(shelf: Shelf, request: Request) -> Response:
    return _fresh(await asyncio.to_thread(shelf.state))


async def _rows(shelf: Shelf, request: Request) -> Response:
    """Some rows of those that are asked for."""
    query = Query.of(request.query_params)
    first = _count(request.query_params.get("first", "0"), "first")
    limit = min(_count(request.query_params.get("limit", "100"), "limit"), MOST_ROWS)

    def answer() -> dict[str, Any]:
        found = shelf.pick(query)
        return {
            "version": shelf.version,
            "total": len(found),
            "changing": sum(row.target is not None for row in found),
            "rows": [row.to_dict() for row in found[first : first + limit]],
        }

    return _fresh(await asyncio.to_thread(answer))


async def _folders(shelf: Shelf, request: Request) -> Response:
    return _fresh({"folders": await asyncio.to_thread(shelf.folders)})


async def _history(shelf: Shelf, request: Request) -> Response:
    return _fresh({"runs": await asyncio.to_thread(shelf.writing.history)})


async def _sound(shelf: Shelf, request: Request) -> Response:
    """The sound of a row; ranges are answered, so seeking works."""
    path = await asyncio.to_thread(shelf.file, request.path_params["row"])
    media = _MEDIA.get(path.suffix.casefold(), "application/octet-stream")
    headers = {"Cache-Control": "private, no-store", "Content-Disposition": "inline"}
    return FileResponse(path, media_type=media, headers=headers)


async def _scan(shelf: Shelf, request: Request) -> Response:
    told = await _json(request)
    folder = told.get("folder", "")
    if not isinstance(folder, str):
        raise DataError("folder has to be text")
    await asyncio.to_thread(shelf.begin_scan, folder)
    return await _state(shelf, request)


async def _stop(shelf: Shelf, request: Request) -> Response:
    shelf.cancel_scan()
    return await _state(shelf, request)


async def _policy(shelf: Shelf, request: Request) -> Response:
    await asyncio.to_thread(shelf.set_policy, await _json(request))
    return await _state(shelf, request)


async def _choose(shelf: Shelf, request: Request) -> Response:
    """Genres by hand: a list; null takes them back; "as it is" keeps those of the file."""
    told = await _json(request)
    numbers = [row.id for row in await asyncio.to_thread(_meant, shelf, told)]
    genres = told.get("genres")
    if genres == "as it is":
        changed = await asyncio.to_thread(shelf.leave, numbers)
    elif genres is None or isinstance(genres, list):
        changed = await asyncio.to_thread(shelf.choose, numbers, genres)
    else:
        raise DataError('genres has to be a list, null, or "as it is"')
    return _fresh({"changed": changed})


async def _preview(shelf: Shelf, request: Request) -> Response:
    """What would be written, and a key to have just that written."""
    told = await _json(request)

    def answer() -> dict[str, Any]:
        rows = _meant(shelf, told)
        key, changing = shelf.writing.plan(rows)
        return {
            "key": key,
            "rows": len(rows),
            "changes": len(changing),
            "by_hand": sum(row.chosen is not None for row in changing),
            "replaced": sum(not row.empty for row in changing),
            "shown": [row.to_dict() for row in changing[:_SHOWN]],
        }

    return _fresh(await asyncio.to_thread(answer))


async def _write(shelf: Shelf, request: Request) -> Response:
    told = await _json(request)
    await asyncio.to_thread(shelf.writing.begin_write, str(told.get("key", "")))
    return await _state(shelf, request)


async def _undo(shelf: Shelf, request: Request) -> Response:
    told = await _json(request)
    run = told.get("run")
    if run is not None:
        if not isinstance(run, int) or isinstance(run, bool):
            raise DataError("run has to be a number")
        await asyncio.to_thread(shelf.writing.begin_undo, run=run)
    else:
        rows = await asyncio.to_thread(_meant, shelf, told)
        await asyncio.to_thread(shelf.writing.begin_undo, [row.id for row in rows])
    return await _state(shelf, request)


def _meant(shelf: Shelf, told: Mapping[str, Any]) -> list[Row]:
    """The rows that a request means: numbers, or all that fit a query."""
    if isinstance(told.get("where"), dict):
        return shelf.pick(Query.of(told["where"]))
    numbers = told.get("ids")
    if not isinstance(numbers, list) or not all(
        isinstance(n, int) and not isinstance(n, bool) for n in numbers
    ):
        raise DataError("say which rows: {ids: [numbers]} or {where: {state: ...}}")
    return [shelf.row(number) for number in dict.fromkeys(numbers)]


def _count(text: str, name: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**31:
        raise DataError(f"{name} is {text!r}, expected 0 or more")
    return value


def _fresh(told: dict[str, Any]) -> Response:
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


async def _json(request: Request) -> dict[str, Any]:
    if "application/json" not in request.headers.get("content-type", ""):
        raise DataError("the request has to be JSON (content type application/json)")
    try:
        told = await request.json()
    except ValueError as error:
        raise DataError(f"the request is not JSON ({error})") from error
    if not isinstance(told, dict):
        raise DataError("the request has to be a JSON object")
    return told
