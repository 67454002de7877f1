"""A calendar server in memory and a report that remembers: the hand-written doubles of the Calendar and Report ports.

`tests/contract/test_calendar.py` holds FakeCalendar to the same promises as the real adapters.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.clock import Clock
from gateway.core.model import Block, Busy, Schedule
from gateway.errors import GatewayError, SourceDenied, SourceError, SourceUnavailable
from gateway.sources import Finding, Hint, Roster, Severity, Window


@dataclass(frozen=True, slots=True)
class Call:
    """One fetch: when (monotonic), who, which window."""

    at: float
    mailboxes: tuple[str, ...]
    window: Window


class FakeCalendar:
    """A Calendar whose world is set by its attributes.

    `blocks[mailbox]` is what it holds; `failing[mailbox]` an error that stands in its place; `poison[mailbox]` an error
    that spoils every call in which the mailbox appears; `slow[mailbox]` the seconds a call with it takes; `failure` an
    error for every call; `latency` the seconds of any call. `hints.put_nowait` sends a hint, an error in its place ends
    the iteration with it; `follows = False` makes it a server that only polls. `calls` and `reads` tell what was asked.
    """

    def __init__(self, clock: Clock, *, batch: int = 100, zone: str = "UTC") -> None:
        self.batch = batch
        self.clock = clock
        self.zone = ZoneInfo(zone)
        self.blocks: defaultdict[str, list[Block]] = defaultdict(list)
        self.failing: dict[str, SourceError] = {}
        self.poison: dict[str, SourceError] = {}
        self.slow: dict[str, float] = {}
        self.failure: Exception | None = None
        self.latency = 0.0
        self.follows = True
        self.hints: asyncio.Queue[Hint | GatewayError] = asyncio.Queue()
        self.followed: list[frozenset[str]] = []
        self.calls: list[Call] = []
        self.under_way = 0
        self.most_under_way = 0
        self.closed = 0

    @property
    def reads(self) -> Counter[str]:
        """How often every mailbox was asked for."""
        return Counter(mailbox for call in self.calls for mailbox in call.mailboxes)

    def book(self, mailbox: str, start: datetime, end: datetime, busy: Busy = Busy.BUSY) -> None:
        """Put a block into a calendar."""
        self.blocks[mailbox].append(Block(start, end, busy, all_day=self._whole_days(start, end)))

    async def fetch(self, mailboxes: Sequence[str], window: Window) -> Sequence[Schedule | SourceError]:
        self.calls.append(Call(self.clock.monotonic(), tuple(mailboxes), window))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            latency = max([self.latency, *(self.slow[mailbox] for mailbox in mailboxes if mailbox in self.slow)])
            if latency:
                await self.clock.sleep(latency)
            spoilt = [self.poison[mailbox] for mailbox in mailboxes if mailbox in self.poison]
            if self.failure or spoilt:
                raise self.failure or spoilt[0]
            return [self.failing.get(mailbox) or self._schedule(mailbox, window) for mailbox in mailboxes]
        finally:
            self.under_way -= 1

    async def follow(self, roster: Roster) -> AsyncIterator[Hint]:
        self.followed.append(roster.mailboxes)
        while self.follows:
            hint = await self.hints.get()
            if isinstance(hint, GatewayError):
                raise hint
            yield hint

    async def check(self, mailboxes: Sequence[str]) -> Sequence[Finding]:
        return [
            Finding("read", Severity.ERROR if mailbox in self.failing else Severity.OK, "ok", mailbox, "")
            for mailbox in mailboxes
        ]

    async def close(self) -> None:
        self.closed += 1

    def _schedule(self, mailbox: str, window: Window) -> Schedule:
        found = {block for block in self.blocks[mailbox] if block.start < window.end and block.end > window.start}
        order = sorted(found, key=lambda block: (block.start, block.end, block.busy))
        return Schedule(window.start, window.end, tuple(order))

    def _whole_days(self, start: datetime, end: datetime) -> bool:
        ends = (start.astimezone(self.zone), end.astimezone(self.zone))
        return all(end.time() == time(0) for end in ends)


class OpenGuard:
    """A lock-out Guard that always lets a logon through."""

    async def allowed(self, account: str) -> datetime | None:
        return None

    async def failed(self, account: str) -> None:
        pass

    async def succeeded(self, account: str) -> None:
        pass


class Delivered:
    """A Report that keeps what it was told; `failure`, if set, is raised instead."""

    def __init__(self) -> None:
        self.reports: list[tuple[datetime, Mapping[str, Schedule]]] = []
        self.newest: dict[str, Schedule] = {}
        self.read_at: dict[str, datetime] = {}
        self.withdrawn: list[str] = []
        self.failure: GatewayError | None = None

    async def schedules(self, source: str, read: Mapping[str, Schedule], at: datetime) -> None:
        if self.failure is not None:
            raise self.failure
        self.reports.append((at, dict(read)))
        self.newest.update(read)
        self.read_at.update(dict.fromkeys(read, at))

    async def withdraw(self, source: str, person: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.withdrawn.append(person)
        self.newest.pop(person, None)


def denied(mailbox: str | None = None, code: str = "permission.denied") -> SourceDenied:
    """What a backend says of a calendar it may not read."""
    return SourceDenied("may not read the calendar", code=code, mailbox=mailbox)


def unavailable(code: str = "net.refused", retry_after: float | None = None) -> SourceUnavailable:
    """What a backend says of a server that does not answer."""
    return SourceUnavailable("server does not answer", code=code, retry_after=retry_after)


def at(hour: int, minute: int = 0, *, day: int = 20) -> datetime:
    """That UTC time of a day in November 2026."""
    return datetime(2026, 11, day, tzinfo=UTC) + timedelta(hours=hour, minutes=minute)
