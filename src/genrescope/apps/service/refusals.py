"""Errors that only the service has: requests that are not taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genrescope.errors import GenrescopeError, ServiceError

__all__ = ["QueueFullError", "RequestError"]


class QueueFullError(ServiceError):
    """Every place in the queue is taken.

    Attributes
    ----------
    retry_after : int
        Seconds after which there is likely to be one.
    """

    def __init__(self, places: int, retry_after: int) -> None:
        super().__init__(
            f"all {places} places in the queue are taken; try again in {retry_after} s"
        )
        self.places, self.retry_after = places, retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return QueueFullError, (self.places, self.retry_after)


class RequestError(GenrescopeError, ValueError):
    """A request that cannot be answered as it is.

    Parameters
    ----------
    status : int
        Of the answer.
    detail : str
        What is wrong, and the way out.
    headers : mapping, optional
        For the answer.
    """

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.headers = status, dict(headers or {})
