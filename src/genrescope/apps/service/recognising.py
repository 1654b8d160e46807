"""What is done with the files of a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request

from genrescope.apps.service.library import opened
from genrescope.apps.service.models import PathRequest
from genrescope.apps.service.problems import in_names_of, problem_of
from genrescope.apps.service.refusals import RequestError
from genrescope.apps.service.uploads import Upload, pump, receive
from genrescope.errors import GenrescopeError

if TYPE_CHECKING:
    from pathlib import Path

    from genrescope.apps.service.service import Service
    from genrescope.learn.prediction import Prediction

__all__ = [
    "API",
    "answer",
    "recognise_paths",
    "recognise_uploads",
    "unless_gone",
]

API = "v1"

_LARGEST_LIST = 1 << 20  # bytes of a list of paths

T = TypeVar("T")


async def recognise_uploads(
    service: Service, request: Request, *, name: str, windows: int | None, timeline: bool
) -> list[dict[str, Any]]:
    """Take the files of a request to disk, recognise them, and remove them.

    Returns
    -------
    list of dict
        One for each file, in order.

    Raises
    ------
    GenrescopeError
        If the request cannot be answered as a whole.
    ClientDisconnect
        If the client has gone.
    """
    uploads: list[Upload] = []
    try:
        await receive(
            request,
            settings=service.settings,
            workshop=service.workshop,
            into=uploads,
            name=name,
        )
        hear = partial(_hear, service, windows=windows, timeline=timeline)
        files = [(one.name, partial(hear, one.path, called=one.name)) for one in uploads]
        return await unless_gone(request, _all(service, request, files, timeline))
    finally:
        for upload in uploads:
            service.workshop.remove(upload.path)


async def _hear(
    service: Service, path: Path, *, called: str, windows: int | None, timeline: bool
) -> Prediction:
    try:
        return await service.recognise_here(path, windows=windows, timeline=timeline)
    except GenrescopeError as error:
        raise in_names_of(error, {str(path): called}) from error


async def recognise_paths(
    service: Service, request: Request, *, windows: int | None, timeline: bool
) -> list[dict[str, Any]]:
    """Recognise files of the library, which a request names.

    Returns
    -------
    list of dict
        As :func:`recognise_uploads`.

    Raises
    ------
    RequestError
        If the request does not name files as it should.
    ClientDisconnect
        If the client has gone.
    """
    settings = service.settings
    body = bytearray()
    await pump(request, replace(settings, max_bytes=_LARGEST_LIST), body.extend)
    try:
        paths = PathRequest.model_validate_json(bytes(body)).paths
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the body'}: {e['msg']}" for e in error.errors()
        )
        raise RequestError(422, f'{told}; send JSON such as {{"paths": ["song.mp3"]}}') from error
    if len(paths) > settings.max_files:
        raise RequestError(
            413, f"{len(paths)} paths; {settings.max_files} are the most that are taken at once"
        )
    root = settings.library
    if root is None:
        raise RequestError(404, "this service has no library")

    async def one(path: str) -> Prediction:
        async with _opened(root, path, service) as readable:
            return await _hear(service, readable, called=path, windows=windows, timeline=timeline)

    files = [(path, partial(one, path)) for path in paths]
    return await unless_gone(request, _all(service, request, files, timeline))


@asynccontextmanager
async def _opened(root: Path, path: str, service: Service) -> AsyncIterator[Path]:
    """As :func:`opened`, while the event loop does other things: the folder may be far away."""
    context = opened(root, path, service.workshop)
    readable = await asyncio.to_thread(context.__enter__)
    try:
        yield readable
    except BaseException as error:
        if not await asyncio.to_thread(context.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def _all(
    service: Service,
    request: Request,
    files: Sequence[tuple[str, Callable[[], Awaitable[Prediction]]]],
    timeline: bool,
) -> list[dict[str, Any]]:
    """One result for each file, in order: what was recognised, or what was wrong."""
    # No more at once than there are workers, so that others get their turn between.
    turn = asyncio.Semaphore(service.state["workers"])
    instance = request.scope["instance"]

    async def one(index: int, name: str, work: Callable[[], Awaitable[Prediction]]) -> Any:
        try:
            async with turn:
                found = await work()
        except GenrescopeError as error:
            service.count_error(error)
            called = instance if len(files) == 1 else f"{instance}#{index}"
            return {
                "file": name,
                "prediction": None,
                "problem": problem_of(error, instance=called),
            }
        if not timeline:
            found = replace(found, timeline=())
        return {"file": name, "prediction": {**found.to_dict(), "path": name}, "problem": None}

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(one(index, name, work)) for index, (name, work) in enumerate(files)
        ]
    return [task.result() for task in tasks]


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of some work, which ends early where the client goes away.

    Raises
    ------
    ClientDisconnect
        If the client has gone.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.wait({working, watching})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer(service: Service, results: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer."""
    return {"api": API, "bundle": service.about, "results": results}
