"""What is done with the files of a request."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from genrescope.apps.service.problems import hide, problem_of
from genrescope.apps.service.uploads import Upload, receive
from genrescope.errors import GenrescopeError

if TYPE_CHECKING:
    from genrescope.apps.service.service import Service

__all__ = ["API", "answer", "describe_bundle", "recognise_uploads", "unless_gone"]

API = "v1"

T = TypeVar("T")


async def recognise_uploads(
    service: Service, request: Request, *, name: str, windows: int | None, timeline: bool
) -> list[dict[str, Any]]:
    """Take the files of a request to disk, recognise them, and remove them.

    Returns
    -------
    list of dict
        One for each file, in order; see :func:`recognise_all`.

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
        work = recognise_all(service, uploads, windows=windows, timeline=timeline)
        return await unless_gone(request, work)
    finally:
        for upload in uploads:
            service.workshop.remove(upload.path)


async def recognise_all(
    service: Service, uploads: Sequence[Upload], *, windows: int | None, timeline: bool
) -> list[dict[str, Any]]:
    """One result for each file, in order: what was recognised, or what was wrong."""
    # No more at once than there are workers, so that others get their turn between.
    turn = asyncio.Semaphore(service.state["workers"])

    async def one(upload: Upload) -> dict[str, Any]:
        async with turn:
            try:
                found = await service.recognise_here(
                    upload.path, windows=windows, timeline=timeline
                )
            except GenrescopeError as error:
                detail = hide(str(error), {str(upload.path): upload.name})
                service.count_error(error)
                return {
                    "file": upload.name,
                    "prediction": None,
                    "problem": problem_of(error, detail=detail),
                }
        told = dataclasses.replace(
            found, path=Path(upload.name), timeline=found.timeline if timeline else ()
        ).to_dict()
        return {"file": upload.name, "prediction": told | {"path": upload.name}, "problem": None}

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(upload)) for upload in uploads]
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


def describe_bundle(service: Service) -> dict[str, str]:
    """Which recogniser it is."""
    card = service.recogniser.card
    return {
        "name": card["name"],
        "version": str(card["version"]),
        "sha256": card["graph"]["sha256"],
    }


def answer(service: Service, results: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer."""
    return {"api": API, "bundle": describe_bundle(service), "results": results}
