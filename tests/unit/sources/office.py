"""A CalendarSource between a fake calendar, a fake clock and a report that remembers, ready to run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from random import Random

from gateway.sources.calendar import CalendarSettings, CalendarSource
from tests.calendars import Delivered, FakeCalendar, at
from tests.clock import FakeClock

NINE = at(9)


class Office:
    """The stage of one test; `watched` may be changed at any time."""

    def __init__(self, settings: CalendarSettings, batch: int, start: datetime) -> None:
        self.clock = FakeClock(start)
        self.calendar = FakeCalendar(self.clock, batch=batch)
        self.report = Delivered()
        self.watched: set[str] = set()
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.source = CalendarSource(
            "hq",
            "fake",
            self.calendar,
            clock=self.clock,
            report=self.report,
            settings=settings,
            watched=self.watched.__contains__,
            random=Random(7),
            log=lambda level, event, **fields: self.lines.append((event, fields)),
        )

    def employs(self, people: Iterable[str]) -> None:
        """These people share their calendars from now on; everybody's mailbox is `box-` and the name."""
        self.source.assign({person: f"box-{person}" for person in people})

    def reads(self, person: str) -> list[float]:
        """When (monotonic) that person's mailbox was asked for."""
        return [call.at for call in self.calendar.calls if f"box-{person}" in call.mailboxes]

    def health(self, person: str) -> str:
        """The health code of that person's mailbox."""
        return next(health.code for health in self.source.mailbox_health() if health.person == person)

    def events(self, name: str) -> list[dict[str, object]]:
        """The log lines of that name."""
        return [fields for event, fields in self.lines if event == name]


def names(count: int) -> list[str]:
    """So many people."""
    return [f"p{number:05d}" for number in range(count)]


@asynccontextmanager
async def running(
    people: Iterable[str] = (),
    settings: CalendarSettings | None = None,
    *,
    batch: int = 100,
    watched: Iterable[str] = (),
    start: datetime = NINE,
) -> AsyncIterator[Office]:
    """An office whose source runs until the block ends; nothing was read yet."""
    office = Office(settings or CalendarSettings(), batch, start)
    office.watched.update(watched)
    office.employs(people)
    task = asyncio.create_task(office.source.run())
    try:
        yield office
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await office.source.close()
