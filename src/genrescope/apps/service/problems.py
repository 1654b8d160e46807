"""Errors as HTTP tells them: problem details (RFC 9457)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from genrescope.apps.service.refusals import QueueFullError, RequestError
from genrescope.errors import (
    AudioError,
    AudioIsDirectoryError,
    AudioNotFoundError,
    AudioPermissionError,
    AudioUnsupportedError,
    DataError,
    DiskSpaceError,
    GenrescopeError,
    ServiceError,
)

__all__ = [
    "PROBLEM_JSON",
    "http_problem",
    "in_names_of",
    "new_instance",
    "problem_of",
    "respond",
    "status_of",
]

PROBLEM_JSON = "application/problem+json"

# The first that fits.
_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (QueueFullError, 429),
    (ServiceError, 503),
    (AudioNotFoundError, 404),
    (AudioPermissionError, 403),
    (AudioIsDirectoryError, 422),
    (AudioUnsupportedError, 415),
    (AudioError, 422),  # also those that cost a worker: it is the file that does it
    (DiskSpaceError, 507),
    (DataError, 422),
)


def status_of(error: BaseException) -> int:
    """The HTTP status that says what kind of error it is."""
    if isinstance(error, RequestError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem_of(error: GenrescopeError, *, instance: str | None = None) -> dict[str, Any]:
    """Problem details of one of our errors.

    Parameters
    ----------
    error : GenrescopeError
        What went wrong.
    instance : str, optional
        What this occurrence is called; in the log, too.

    Returns
    -------
    dict
        The members type, title, status, detail, instance, and error, the name of the class.
    """
    if isinstance(error, RequestError):
        return http_problem(error.status, str(error), instance=instance)
    name = type(error).__name__
    words = re.findall(r"[A-Z][a-z]*", name.removesuffix("Error"))
    return {
        "type": f"urn:genrescope:problem:{'-'.join(words).lower()}",
        "title": _TITLES.get(name, " ".join(words).capitalize()),
        "status": status_of(error),
        "detail": str(error),
        "instance": instance or new_instance(),
        "error": name,
    }


_TITLES = {
    "AudioCorruptError": "The file is damaged",
    "AudioEmptyError": "There is no sound in the file",
    "AudioIsDirectoryError": "Not a file",
    "AudioNotFiniteError": "The samples are no numbers",
    "AudioNotFoundError": "No such file",
    "AudioPermissionError": "The file may not be read",
    "AudioSilentError": "The file is silent",
    "AudioTooShortError": "Too little sound",
    "AudioUnsupportedError": "Not audio, or of no known kind",
    "DecoderCrashError": "The file ended its decoder",
    "DecoderMemoryError": "The file needs too much memory",
    "DecoderTimeoutError": "The file takes too long",
    "DataError": "A value out of range",
    "QueueFullError": "The queue is full",
    "ServiceError": "The service cannot do this now",
    "DiskSpaceError": "The disk is full",
}


def http_problem(status: int, detail: str, *, instance: str | None = None) -> dict[str, Any]:
    """Problem details that say no more than the status does, and why."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance or new_instance(),
    }


def new_instance() -> str:
    """A name for one occurrence of a problem."""
    return uuid.uuid4().urn


def respond(problem: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Problem details as a response."""
    return JSONResponse(
        dict(problem), problem["status"], headers=dict(headers or {}), media_type=PROBLEM_JSON
    )


def in_names_of(error: GenrescopeError, names: Mapping[str, str]) -> GenrescopeError:
    """The same error in words that call paths of the server what the client calls them."""
    text = str(error)
    for path in sorted(names, key=len, reverse=True):
        text = text.replace(path, names[path])
    if text == str(error):
        return error
    # Not by copy(): what makes tracebacks picklable, as Dask does, breaks it for MemoryError. Those
    # that are made from more than their words name no path.
    try:
        return type(error)(text)
    except TypeError:
        return GenrescopeError(text)
