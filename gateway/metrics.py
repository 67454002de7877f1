"""The numbers operators watch, in Prometheus' terms (all of them: docs/metrics.md).

One registry per process, made by `Metrics()`; nothing registers itself globally. No label names a person or a mailbox:
series stay as few as there are sources and reason codes.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from gateway import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_COMMIT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_FETCH: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 70)
_LATE: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Every metric as an attribute, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, namespace="presence_gateway", registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace="presence_gateway", registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, namespace="presence_gateway", registry=registry, buckets=buckets)

        self.build = gauge("build_info", "Always 1; the version is in the label.", "version")
        self.build.labels(__version__).set(1)
        self.reloads = counter("reloads", "Readings of the configuration, by result (applied, refused).", "result")

        self.people = gauge("people", "People in the directory.")
        self.composed = counter("composed", "Presences composed.")
        self.edge_lateness = histogram(
            "edge_lateness_seconds", "How long after a meeting's edge the change was published.", _LATE
        )

        self.store_puts = counter("store_puts", "Records written to the store.")
        self.store_commit = histogram("store_commit_seconds", "Time from a write to its durability.", _COMMIT)

        self.fetch = histogram("fetch_seconds", "Time of one read of a batch of calendars.", _FETCH, "source")
        self.fetch_errors = counter("fetch_errors", "Failed reads, by reason code.", "source", "code")

    def render(self) -> bytes:
        """What GET /metrics answers, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)
