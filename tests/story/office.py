"""An office: people with mailboxes on a simulated Exchange, over TLS, and a clock that all of it lives by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.simulator import Appointment, Right, Simulator, World
from tests.story.owner import Owner

DOMAIN = "example.com"
ANN, BEN, CARLA, DAN = (f"{name}@{DOMAIN}" for name in ("ann", "ben", "carla", "dan"))
STAFF = ("ann", "ben", "carla", "dan")


def address(name: str) -> str:
    """`ann` is ann@example.com; an address is itself."""
    return name if "@" in name else f"{name}@{DOMAIN}"


class Office:
    """The world, its Exchange and the clock. Times of day are UTC, on the clock's day."""

    def __init__(self, clock: Clock, world: World, exchange: Simulator, folder: Path) -> None:
        self.clock = clock
        self.world = world
        self.exchange = exchange
        self.folder = folder

    @property
    def people(self) -> list[str]:
        """Everybody's address."""
        return list(self.world.mailboxes)

    def at(self, time: str | datetime) -> datetime:
        """`"10:30"` of the clock's day, or the instant that was given."""
        if isinstance(time, datetime):
            return time
        hour, _, minute = time.partition(":")
        return self.clock.now().replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)

    def employs(self, *names: str) -> None:
        """More people, each with a mailbox whose free/busy times anybody may read."""
        for name in names:
            self.world.add_person(address(name))

    async def books(self, name: str, start: str | datetime, end: str | datetime, **fields: Any) -> Appointment:
        """Somebody has an appointment, with a subject and a place that nobody may ever see."""
        private = {"subject": "Merger talks", "location": "Room of secrets"}
        return self.world.book(address(name), self.at(start), self.at(end), **(private | fields))

    async def moves(self, appointment: Appointment, start: str | datetime, end: str | datetime) -> None:
        """It takes place at another time."""
        self.world.move(appointment.item_id, self.at(start), self.at(end))

    async def deletes(self, appointment: Appointment) -> None:
        """It does not take place."""
        self.world.delete(appointment.item_id)

    def refuses(self, name: str) -> None:
        """Somebody's calendar shows nothing to the gateway any more."""
        self.world.grant(address(name), self.exchange.service_account, Right.NONE)

    def closes(self) -> None:
        """The Exchange server is gone: connections end, and there are no new ones."""
        self.exchange.stop_listening()

    async def reopens(self) -> None:
        """It is back."""
        await self.exchange.resume_listening()

    def owner(self, name: str) -> Owner:
        """Somebody at their own mailbox, with exchangelib over TLS and NTLM."""
        return Owner(
            address(name), self.exchange.mailbox_password, self.exchange.ews_url, self.exchange.ca_file, auth="ntlm"
        )


@asynccontextmanager
async def open_office(
    clock: Clock, folder: Path, people: Iterable[str] = STAFF, **exchange: Any
) -> AsyncIterator[Office]:
    """An office open for business; the other options are the simulator's."""
    world = World(clock.now)
    options: dict[str, Any] = {"auth": frozenset({"ntlm"}), "directory": folder} | exchange
    async with Simulator(world, **options) as simulator:
        office = Office(clock, world, simulator, folder)
        office.employs(*people)
        yield office
