"""Measuring at the ports: a store, a calendar and the hub, each as it is, with its numbers in the metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from gateway.clock import Clock
from gateway.core.model import Schedule
from gateway.errors import SourceError
from gateway.metrics import Metrics
from gateway.sources import Calendar, Finding, Hint, Roster, Window
from gateway.sources.calendar import CalendarSource
from gateway.stores import Batch, Lease, Put, Revision, Store
from gateway.web.hub import Stats


class MeteredStore:
    """A `gateway.stores.Store` that counts its writes and times their way to the disk."""

    def __init__(self, store: Store, metrics: Metrics, clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock

    @property
    def identity(self) -> str:
        """The store's own."""
        return self._store.identity

    async def put(self, puts: Sequence[Put]) -> Revision:
        """As the store does."""
        started = self._clock.monotonic()
        revision = await self._store.put(puts)
        self._metrics.store_commit.observe(self._clock.monotonic() - started)
        self._metrics.store_puts.inc(len(puts))
        return revision

    def watch(self) -> AsyncIterator[Batch]:
        """As the store does."""
        return self._store.watch()

    async def lease(self, name: str, ttl: float) -> Lease | None:
        """As the store does."""
        return await self._store.lease(name, ttl)

    async def close(self) -> None:
        """As the store does."""
        await self._store.close()


class MeteredCalendar:
    """A `gateway.sources.Calendar` that times its reads and counts their failures by reason."""

    def __init__(self, name: str, calendar: Calendar, metrics: Metrics, clock: Clock) -> None:
        self._calendar = calendar
        self._clock = clock
        self._seconds = metrics.fetch.labels(name)
        self._failed: Callable[[str], None] = lambda code: metrics.fetch_errors.labels(name, code).inc()
        self.batch = calendar.batch

    async def fetch(self, mailboxes: Sequence[str], window: Window) -> Sequence[Schedule | SourceError]:
        """As the calendar does."""
        started = self._clock.monotonic()
        try:
            answers = await self._calendar.fetch(mailboxes, window)
        except SourceError as error:
            self._failed(error.code)
            raise
        self._seconds.observe(self._clock.monotonic() - started)
        for answer in answers:
            if isinstance(answer, SourceError):
                self._failed(answer.code)
        return answers

    def follow(self, roster: Roster) -> AsyncIterator[Hint]:
        """As the calendar does."""
        return self._calendar.follow(roster)

    async def check(self, mailboxes: Sequence[str]) -> Sequence[Finding]:
        """As the calendar does."""
        return await self._calendar.check(mailboxes)

    async def close(self) -> None:
        """As the calendar does."""
        await self._calendar.close()


class Census:
    """A prometheus collector of what is counted elsewhere: the hub's frames, and the mailboxes by reason code."""

    def __init__(self, stats: Callable[[], Stats], sources: Mapping[str, CalendarSource], clock: Clock) -> None:
        self._stats = stats
        self._sources = sources
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        stats = self._stats()
        for name, text, value in (
            ("frames", "Frames handed to subscribers.", stats.frames),
            ("frame_bytes", "Bytes handed to subscribers.", stats.bytes),
            ("flushes", "Writes to subscribers; one may carry many frames.", stats.flushes),
            ("superseded_frames", "Frames never sent because a newer state replaced them.", stats.superseded),
            ("resets", "Streams that began anew because their last id was of no use.", stats.resets),
            ("cut_subscribers", "Subscribers cut because they took nothing for too long.", stats.cut),
        ):
            yield CounterMetricFamily(f"presence_gateway_{name}", text, value=value)
        mailboxes = GaugeMetricFamily(
            "presence_gateway_mailboxes", "Mailboxes, by reason code (ok: all is well).", labels=("source", "code")
        )
        staleness = GaugeMetricFamily(
            "presence_gateway_staleness_seconds",
            "Age of the oldest successful read among the mailboxes that were ever read.",
            labels=("source",),
        )
        now = self._clock.now()
        for name, source in self._sources.items():
            oldest = 0.0
            counts: dict[str, int] = {}
            for health in source.mailbox_health():
                counts[health.code] = counts.get(health.code, 0) + 1
                if health.last_success is not None:
                    oldest = max(oldest, (now - health.last_success).total_seconds())
            for code, count in counts.items():
                mailboxes.add_metric((name, code), count)
            staleness.add_metric((name,), oldest)
        yield mailboxes
        yield staleness
