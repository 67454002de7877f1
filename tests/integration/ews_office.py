"""An office with an Exchange: the simulator, a client of ours, and a guard that remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from gateway.clock import SystemClock
from gateway.core.model import Block, Busy, Schedule
from gateway.errors import SourceError
from gateway.simulator import Simulator, World
from gateway.sources import Calendar, Window
from gateway.sources.ews import EwsSettings, open_calendar

DAY = datetime(2026, 11, 20, tzinfo=UTC)
WINDOW = Window(DAY - timedelta(days=1), DAY + timedelta(days=2))
ANN, BOB = "ann@example.com", "bob@example.com"
Auth = Literal["basic", "ntlm", "negotiate"]


def at(hour: int, minute: int = 0) -> datetime:
    """An instant of the day."""
    return DAY + timedelta(hours=hour, minutes=minute)


def busy(start: int, end: int) -> Block:
    """A meeting from one full hour to another."""
    return Block(at(start), at(end), Busy.BUSY)


@dataclass
class MemoryGuard:
    """The lock-out guard, in memory: two failed logons and no more."""

    clock: SystemClock = field(default_factory=SystemClock)
    failures: int = 0
    successes: int = 0
    asked: int = 0

    async def allowed(self, account: str) -> datetime | None:
        """None while there were fewer than two failures."""
        self.asked += 1
        return None if self.failures < 2 else self.clock.now() + timedelta(minutes=15)

    async def failed(self, account: str) -> None:
        """Count."""
        self.failures += 1

    async def succeeded(self, account: str) -> None:
        """Forget the failures."""
        self.successes += 1
        self.failures = 0


@dataclass
class Office:
    """The simulator with a client connected to it."""

    exchange: Simulator
    world: World
    calendar: Calendar
    guard: MemoryGuard
    settings: EwsSettings

    async def read(self, *mailboxes: str) -> list[Schedule | SourceError]:
        """One fetch over the window."""
        return list(await self.calendar.fetch(mailboxes or (ANN,), WINDOW))

    async def failure(self, *mailboxes: str) -> SourceError:
        """The error of a call that must fail as a whole."""
        try:
            answer = await self.calendar.fetch(mailboxes or (ANN,), WINDOW)
        except SourceError as error:
            return error
        raise AssertionError(f"the call succeeded: {answer}")


@asynccontextmanager
async def office(
    auth: Auth = "ntlm", *, exchange: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Office]:
    """An office open for business: Ann is in a meeting from 9 to 10, Bob has no appointments."""
    world = World(lambda: DAY, zone="Europe/Berlin")
    for address in (ANN, BOB):
        world.add_person(address)
    world.book(ANN, at(9), at(10), subject="secret plans")
    options: dict[str, Any] = {"auth": frozenset({auth})} | (exchange or {})
    async with Simulator(world, **options) as simulator:
        chosen: dict[str, Any] = {
            "url": simulator.ews_url,
            "username": simulator.service_account,
            "password": simulator.service_password,
            "auth": auth,
            "ca_file": simulator.ca_file,
        }
        ready = EwsSettings(**(chosen | settings))
        guard = MemoryGuard()
        calendar = open_calendar("hq", ready, SystemClock(), guard)
        try:
            yield Office(simulator, world, calendar, guard, ready)
        finally:
            await calendar.close()
