"""The application: routes, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from genrescope.errors import GenrescopeError, MissingExtraError

try:
    import prometheus_client  # noqa: F401 (so that all that is missing is told at once)
    import python_multipart  # noqa: F401
    from fastapi import FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.routing import APIRoute
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.responses import JSONResponse, Response
except ImportError as error:
    raise MissingExtraError(
        "the service", extra="serve", package=error.name or "fastapi"
    ) from error

from genrescope import __version__
from genrescope.apps.service.guards import Guards, Sessions
from genrescope.apps.service.login import login_routes
from genrescope.apps.service.metrics import TEXT
from genrescope.apps.service.models import PROBLEMS, Answer, Bundles, Health, PathRequest, Problem
from genrescope.apps.service.observing import GONE, Observer
from genrescope.apps.service.problems import http_problem, problem_of, respond
from genrescope.apps.service.recognising import (
    API,
    answer,
    recognise_paths,
    recognise_uploads,
)
from genrescope.apps.service.refusals import QueueFullError, RequestError
from genrescope.apps.service.service import MAX_WINDOWS, Service

if TYPE_CHECKING:
    from genrescope.apps.service.settings import Settings

__all__ = ["create_app"]

Windows = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_WINDOWS,
        description="Windows of 30 s to hear of a long track, spread evenly over it "
        "(default: 5; with timeline 20).",
    ),
]
Timeline = Annotated[bool, Query(description="Whether to tell how the genre changes over time.")]
Name = Annotated[str, Query(max_length=1000, description="Of a file that is the whole body.")]

_FILE = {"type": "string", "format": "binary"}
_UPLOAD = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "array", "items": _FILE, "minItems": 1}},
            }
        },
        "application/octet-stream": {"schema": _FILE},
        "audio/*": {"schema": _FILE},
    },
}
_PATHS = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PathRequest"}}},
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    # What the guards say may come from every route.
    return {status: PROBLEMS[status] for status in (400, 401, 403, 413, 421, 500, *statuses)}


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
        If a package of the extra ``serve`` is not installed.
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
        description="Recognises the genre of music, says how sure it is, and why.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.genrescope = service
    _handle_errors(app, service)
    _add_routes(app, service)
    sessions = Sessions()
    app.include_router(login_routes(settings, sessions))
    _describe(app, settings)

    routes: dict[str, set[str]] = {"/openapi.json": {"GET"}, "/login": {"GET", "POST"}}
    routes["/logout"] = {"POST"}
    for route in app.routes:
        if isinstance(route, APIRoute):
            routes.setdefault(route.path, set()).update(route.methods or ())
    app.add_middleware(Guards, settings=settings, sessions=sessions, routes=routes)
    app.add_middleware(Observer, metrics=service.metrics, routes=frozenset(routes))
    if pages:
        from genrescope.apps.pages import add_pages

        add_pages(app)
    return app


def _handle_errors(app: FastAPI, service: Service) -> None:
    """Every error becomes problem details."""

    @app.exception_handler(GenrescopeError)
    async def ours(request: Request, error: GenrescopeError) -> Response:
        service.count_error(error)
        headers = dict(error.headers) if isinstance(error, RequestError) else {}
        if isinstance(error, QueueFullError):
            headers["Retry-After"] = str(error.retry_after)
        return respond(problem_of(error, instance=request.scope["instance"]), headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        problem = http_problem(
            error.status_code, str(error.detail), instance=request.scope["instance"]
        )
        return respond(problem, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return respond(http_problem(422, told, instance=request.scope["instance"]))


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/recognise",
        summary="Recognise files that are sent",
        response_model=Answer,
        responses=_problems(408, 415, 422, 429, 503, 507),
        openapi_extra={"requestBody": _UPLOAD},
        tags=["recognise"],
    )
    async def recognise(
        request: Request, windows: Windows = None, timeline: Timeline = False, name: Name = ""
    ) -> Response:
        """Send a form with one file or several, or one file as the whole body.

        Where a single file cannot be recognised, the answer is its problem; of several, each has
        a result or a problem of its own.
        """
        with service.place():
            results = await recognise_uploads(
                service, request, name=name, windows=windows, timeline=timeline
            )
        return _answered(service, results)

    if service.settings.library is not None:

        @app.post(
            "/v1/recognise/path",
            summary="Recognise files of the library",
            response_model=Answer,
            responses=_problems(404, 408, 415, 422, 429, 503),
            openapi_extra={"requestBody": _PATHS},
            tags=["recognise"],
        )
        async def recognise_path(
            request: Request, windows: Windows = None, timeline: Timeline = False
        ) -> Response:
            """Name files by their paths inside the library, which nothing else is read from."""
            with service.place():
                results = await recognise_paths(
                    service, request, windows=windows, timeline=timeline
                )
            return _answered(service, results)

    @app.get(
        "/v1/bundles",
        summary="The recogniser that answers",
        response_model=Bundles,
        responses=_problems(),
        tags=["recognise"],
    )
    async def bundles() -> Response:
        recogniser = service.recogniser
        card = recogniser.card
        found = {
            **service.about,
            "description": card["description"],
            "genres": list(recogniser.genres),
            "subgenres": recogniser.knows_subgenres,
            "threshold": card["abstention"]["threshold"],
            "accuracy": card["metrics"]["scores"]["accuracy"],
            "licence": card["licence"],
        }
        return JSONResponse({"api": API, "bundles": [found]})

    @app.get(
        "/healthz",
        summary="Whether it lives",
        response_model=Health,
        responses=_problems(),
        tags=["running it"],
    )
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get(
        "/readyz",
        summary="Whether its workers are up",
        response_model=Health,
        responses=_problems(503),
        tags=["running it"],
    )
    async def readyz(request: Request) -> Response:
        if service.ready:
            return JSONResponse({"status": "ready"})
        return respond(http_problem(503, service.unready, instance=request.scope["instance"]))

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={**_problems(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        tags=["running it"],
    )
    async def figures() -> Response:
        return Response(service.metrics.text(), media_type=TEXT)


def _answered(service: Service, results: list[dict[str, Any]]) -> Response:
    if len(results) == 1 and results[0]["problem"] is not None:
        return respond(results[0]["problem"])
    return JSONResponse(answer(service, results))


def _describe(app: FastAPI, settings: Settings) -> None:
    """The OpenAPI document, with what FastAPI does not find by itself."""
    document: dict[str, Any] = {}
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(made())
            parts = document.setdefault("components", {})
            schemas = parts.setdefault("schemas", {})
            for model in (Problem, PathRequest):
                schemas[model.__name__] = model.model_json_schema(
                    ref_template="#/components/schemas/{model}"
                )
            if settings.token is not None:
                parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"token": []}]
                for path in ("/healthz", "/readyz"):
                    document["paths"][path]["get"]["security"] = []
        return document

    app.openapi = openapi  # type: ignore[method-assign]
