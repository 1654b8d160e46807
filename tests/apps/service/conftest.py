"""Servers that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

pytest.importorskip("fastapi")

from tests.apps.service.serving import Running, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A server as it is by default."""
    with serving() as found:
        yield found


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with running.client() as found:
        yield found
