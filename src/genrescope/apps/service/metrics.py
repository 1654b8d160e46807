"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["TEXT", "Metrics"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
_GAUGES = {
    "waiting": ("genrescope_queue_length", "Files that wait for a worker"),
    "running": ("genrescope_running", "Files that are being recognised"),
    "taken": ("genrescope_places_taken", "Requests that have a place in the queue"),
    "places": ("genrescope_places", "Requests that can have a place in the queue"),
    "warm": ("genrescope_workers_ready", "Workers that are up"),
}
_COUNTERS = {
    "rejected": ("genrescope_rejected", "Requests refused because the queue was full"),
    "lost": ("genrescope_workers_lost", "Workers that died or were stopped"),
}


class Metrics:
    """The figures of one service.

    Parameters
    ----------
    state : callable
        Gives the figures of the moment, by name.
    bundle : dict of str to str
        Name, version and SHA-256 of the recogniser.
    """

    def __init__(self, state: Callable[[], Mapping[str, Any]], bundle: dict[str, str]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "genrescope_requests",
            "Requests, by route, method and status",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "genrescope_request_seconds",
            "From the first byte of a request to the last of the answer",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.recognised = Counter(
            "genrescope_recognised",
            "Files that were recognised, by whether it was sure",
            ["sure"],
            registry=self._registry,
        )
        self.hearing = Histogram(
            "genrescope_recognition_seconds",
            "From the queue to the result of a file",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.errors = Counter(
            "genrescope_errors",
            "Files and requests that failed, by class of error",
            ["error"],
            registry=self._registry,
        )
        Info("genrescope_bundle", "The recogniser", registry=self._registry).info(bundle)
        self._registry.register(_Moment(state))
        ProcessCollector(namespace="genrescope", registry=self._registry)

    def text(self) -> bytes:
        """All of them in the format of Prometheus."""
        return generate_latest(self._registry)


class _Moment(Collector):
    """What is read when it is asked for."""

    def __init__(self, state: Callable[[], Mapping[str, Any]]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        for key, (name, told) in _GAUGES.items():
            yield GaugeMetricFamily(name, told, value=state[key])
        for key, (name, told) in _COUNTERS.items():
            yield CounterMetricFamily(name, told, value=state[key])
