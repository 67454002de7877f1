"""An Exchange that notifies, and a calendar source that follows it, both in a time of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from gateway.core.model import Schedule
from gateway.simulator import Simulator, World
from gateway.simulator.ews import StreamOptions
from gateway.sources import Guard
from gateway.sources.calendar import CalendarSettings, CalendarSource
from gateway.sources.ews.native import EwsCalendar
from gateway.sources.ews.settings import EwsSettings
from tests.calendars import Delivered, OpenGuard
from tests.clock import FakeClock

ANN, BEN, CARLA, ZOE = (f"{name}@example.com" for name in ("ann", "ben", "carla", "zoe"))
STAFF: Final = (ANN, BEN, CARLA, ZOE)
STEP, STRIDE = 0.25, 1.0
"""Simulated seconds between two looks at the sockets, when something is about to happen and when not."""


def apart(mailbox: str) -> str:
    """Zoe is on another server than the others, and so in a stream of her own."""
    return "other" if mailbox.startswith("zoe") else "one"


class StreamOffice:
    """The simulator, our source, and what it has delivered; each person's id is the mailbox."""

    def __init__(self, clock: FakeClock, world: World, exchange: Simulator, calendar: EwsCalendar) -> None:
        self.clock = clock
        self.world = world
        self.exchange = exchange
        self.calendar = calendar
        self.report = Delivered()
        self.lines: list[tuple[str, dict[str, object]]] = []
        self._hour = 0
        self.source = CalendarSource(
            "hq",
            "ews",
            calendar,
            clock=clock,
            report=self.report,
            settings=CalendarSettings(),
            watched=lambda person: False,
            random=Random(3),
            log=lambda level, event, **fields: self.lines.append((event, fields)),
        )

    @property
    def streams(self) -> StreamOptions:
        """The switches of the server's streaming side."""
        return self.exchange.ews.options.streams

    def follows(self, people: Iterable[str]) -> None:
        """Read these people from now on."""
        self.source.assign({person: person for person in people})

    def modes(self) -> dict[str, str]:
        """How everybody is followed now, and if not, why."""
        return {each.mailbox: f"{each.mode} {each.mode_code}".strip() for each in self.source.mailbox_health()}

    def streaming(self, *people: str) -> bool:
        """Whether all of these (or everybody) have a stream."""
        modes = self.modes()
        return all(modes[person] == "stream" for person in people or modes)

    async def passes(self, seconds: float, *, stride: float = STRIDE) -> None:
        """Let that much time pass, with room for the sockets in every stride of it."""
        end = self.clock.monotonic() + seconds
        while (rest := end - self.clock.monotonic()) > 1e-6:
            await self.clock.advance(min(stride, rest))
            await settle()

    async def until(self, happened: Callable[[], bool], *, within: float, stride: float = STRIDE) -> float:
        """Let time pass until something is so; the simulated seconds that took. Fails after so many."""
        begun = self.clock.monotonic()
        while not happened():
            passed = self.clock.monotonic() - begun
            assert passed <= within, f"not within {within:g} s; {self.modes()}"
            await self.passes(STEP if passed < 20 else stride, stride=stride)
        return self.clock.monotonic() - begun

    def edits(self, person: str) -> Callable[[], bool]:
        """Somebody books another meeting; tells whether it has been delivered."""
        self._hour += 1
        start = datetime.combine(self.clock.now().date(), datetime.min.time(), self.clock.now().tzinfo)
        start += timedelta(minutes=5 * self._hour)
        self.world.book(person, start, start + timedelta(minutes=4), subject="secret plans")
        return lambda: any(block.start == start for block in self.schedule(person).blocks)

    def schedule(self, person: str) -> Schedule:
        """What was delivered last of somebody."""
        return self.report.newest[person]

    async def sees(self, person: str, *, within: float) -> float:
        """Somebody's calendar is edited; the simulated seconds until that is delivered."""
        return await self.until(self.edits(person), within=within)


async def settle() -> None:
    """Give the sockets a moment."""
    for _ in range(4):
        await asyncio.sleep(0.0005)


@asynccontextmanager
async def stream_office(
    people: Iterable[str] = STAFF,
    *,
    server_of: Callable[[str], str] = apart,
    follow: bool = True,
    auth: Any = "basic",
    streams: dict[str, Any] | None = None,
    exchange: dict[str, Any] | None = None,
    guard: Guard | None = None,
    **settings: Any,
) -> AsyncIterator[StreamOffice]:
    """An office where everybody is followed; `streams` are switches of the server, the rest are our settings."""
    clock = FakeClock()
    world = World(clock.now, zone="Europe/Berlin")
    people = list(people)
    for person in people:
        world.add_person(person)
    options: dict[str, Any] = {"auth": frozenset({auth}), "sleep": clock.sleep, "monotonic": clock.monotonic}
    async with Simulator(world, **(options | (exchange or {}))) as simulator:
        world.allow_impersonation(simulator.service_account)
        for name, value in (streams or {}).items():
            setattr(simulator.ews.options.streams, name, value)
        chosen = EwsSettings(
            url=simulator.ews_url,
            username=simulator.service_account,
            password=simulator.service_password,
            auth=auth,
            ca_file=simulator.ca_file,
            access="impersonation",
            **settings,
        )
        calendar = EwsCalendar("hq", chosen, clock, guard or OpenGuard(), server_of=server_of)
        office = StreamOffice(clock, world, simulator, calendar)
        office.follows(people)
        running = asyncio.create_task(office.source.run(), name="source")
        try:
            if follow:
                await office.until(lambda: office.streaming() and len(office.report.newest) == len(people), within=60)
                await office.passes(2)
            yield office
            if running.done():
                running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            closing = asyncio.create_task(office.source.close())
            while not closing.done():
                await clock.advance(0.1)
                await settle()
            await closing
