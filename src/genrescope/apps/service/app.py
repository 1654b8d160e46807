"""The application: routes, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from genrescope.errors import GenrescopeError, MissingExtraError

try:
    from fastapi import FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.responses import JSONResponse, Response
except ImportError as error:
    raise MissingExtraError("The service", extra="serve", package="fastapi") from error

from genrescope import __version__
from genrescope.apps.service.problems import RequestError, http_problem, problem_of, respond
from genrescope.apps.service.recognising import answer, recognise_uploads
from genrescope.apps.service.service import MAX_WINDOWS, QueueFullError, Service

if TYPE_CHECKING:
    from genrescope.apps.service.settings import Settings

__all__ = ["create_app"]

Windows = Annotated[int | None, Query(ge=1, le=MAX_WINDOWS)]


def create_app(settings: Settings, *, pages: bool = True) -> FastAPI:
    """The service as an ASGI application.

    Parameters
    ----------
    settings : Settings
        What it is to be.
    pages : bool
        Whether it has pages for people, too.

    Returns
    -------
    FastAPI
        Its ``state.genrescope`` is the :class:`Service`.

    Raises
    ------
    BundleError
        If there is no such recogniser.
    MissingExtraError
        If the pages need a package that is not installed.
    """
    service = Service(settings)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="genrescope",
        version=__version__,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.genrescope = service

    @app.exception_handler(GenrescopeError)
    async def ours(request: Request, error: GenrescopeError) -> Response:
        headers = dict(error.headers) if isinstance(error, RequestError) else {}
        if isinstance(error, QueueFullError):
            headers["Retry-After"] = str(error.retry_after)
        return respond(problem_of(error), headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return respond(http_problem(error.status_code, str(error.detail)), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return respond(http_problem(422, told))

    @app.post("/v1/recognise")
    async def recognise(
        request: Request, windows: Windows = None, timeline: bool = False, name: str = ""
    ) -> JSONResponse:
        with service.place():
            results = await recognise_uploads(
                service, request, name=name, windows=windows, timeline=timeline
            )
        return JSONResponse(answer(service, results))

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> Response:
        if service.ready:
            return JSONResponse({"status": "ready"})
        return respond(http_problem(503, "the workers are still starting"))

    if pages:
        from genrescope.apps.pages import add_pages

        add_pages(app)
    return app
