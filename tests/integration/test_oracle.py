"""Our schedules against a second opinion: exchangelib's own GetUserAvailability on the same server.

200 seeded worlds, each its own set of mailboxes and its own days. What exchangelib tells is turned into blocks here,
by other means than the adapters use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import pytest
import requests.adapters
from exchangelib import BASIC, Build, Configuration, Credentials, EWSDateTime, EWSTimeZone, FailFast, Version
from exchangelib.errors import ErrorMailRecipientNotFound, ErrorNoFreeBusyAccess, ResponseMessageError
from exchangelib.protocol import BaseProtocol, CachingProtocol, Protocol

from gateway.clock import SystemClock
from gateway.core.model import Block, Busy, Schedule
from gateway.errors import SourceDenied, SourceError
from gateway.simulator import Busy as WorldBusy
from gateway.simulator import Right, Simulator, World
from gateway.simulator.recurrence import (
    LAST,
    Daily,
    Monthly,
    MonthlyRelative,
    Pattern,
    Recurrence,
    Weekly,
    Yearly,
)
from gateway.simulator.world import CrossesNeighbour, NoSuchItem, WorkingHours
from gateway.sources import Window
from gateway.sources.ews import EwsSettings, open_calendar
from tests.calendars import OpenGuard

WORLDS: Final = 200
SITE: Final = ZoneInfo("America/New_York")
ZONES: Final = (
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Sydney",
)
CHANGES_OF_SEASON: Final = (
    date(2026, 3, 8),
    date(2026, 3, 29),
    date(2026, 4, 5),
    date(2026, 10, 4),
    date(2026, 10, 25),
    date(2026, 11, 1),
)
KINDS: Final = {
    "Tentative": Busy.TENTATIVE,
    "Busy": Busy.BUSY,
    "OOF": Busy.OUT_OF_OFFICE,
    "WorkingElsewhere": Busy.WORKING_ELSEWHERE,
}
EXCHANGELIB_UTC: Final = EWSTimeZone("UTC")


@dataclass(frozen=True)
class Generated:
    """One world: whom to ask, and for which days."""

    addresses: tuple[str, ...]
    window: Window


def generate(world: World, caller: str, number: int) -> Generated:
    """A few mailboxes around some midnight, every third one at a change of season."""
    random = Random(f"oracle {number}")
    if number % 3 == 0:
        day = random.choice(CHANGES_OF_SEASON) - timedelta(days=random.randint(0, 1))
    else:
        day = date(2026, 1, 1) + timedelta(days=random.randrange(365))
    start = datetime.combine(day, time(0), UTC)
    window = Window(start, start + timedelta(hours=48))
    addresses = []
    for place in range(random.randint(2, 4)):
        address = f"w{number}p{place}@example.com"
        hours = None if random.random() < 0.15 else WorkingHours()
        world.add_person(address, zone=random.choice(ZONES), working_hours=hours)
        for _ in range(random.choice((0, 2, 5, 10, 20))):
            _book(world, random, address, window)
        if random.random() < 0.12:
            world.grant(address, caller, Right.NONE)
        addresses.append(address)
    if random.random() < 0.2:
        addresses.insert(random.randrange(len(addresses)), f"nobody{number}@example.com")
    if random.random() < 0.1:
        address = f"moved{number}@example.com"
        world.add_person(address)
        addresses.insert(random.randrange(len(addresses)), address)
    return Generated(tuple(addresses), window)


def _book(world: World, random: Random, address: str, window: Window) -> None:
    """One appointment: single or a series, hours or days, cancelled or not, with an exception now and then."""
    zone = ZoneInfo(world.mailbox(address).zone)
    all_day = random.random() < 0.2
    begins = window.start + timedelta(minutes=15 * random.randint(-4 * 30, 4 * 50))
    lasts = random.choice((0, 15, 30, 30, 60, 60, 90, 240, 24 * 60, 26 * 60, 72 * 60))
    if random.random() < 0.1:  # midnights of the owner, whether or not the client says "all day"
        begins = datetime.combine(begins.astimezone(zone).date(), time(0), zone)
        lasts = 24 * 60
    pattern, first = None, begins
    if lasts < 24 * 60 and not all_day and random.random() < 0.4:
        first = begins.astimezone(zone) - timedelta(days=random.choice((0, 1, 7, 14, 28, 200)))
        pattern = _pattern(random, first.date())
    item = world.book(
        address,
        first,
        first + timedelta(minutes=lasts),
        busy=random.choice(list(WorldBusy)),
        subject="Secret plan",
        all_day=all_day,
        recurrence=Recurrence(pattern, number=random.choice((None, 3, 40))) if pattern else None,
        cancelled=random.random() < 0.1,
        zone=random.choice((None, None, "Europe/Berlin", "UTC")),
    )
    if pattern is not None:
        _except(world, random, address, item.item_id, window)


def _pattern(random: Random, first: date) -> Pattern:
    return random.choice(
        (
            Daily(random.randint(1, 3)),
            Weekly(frozenset(random.sample(range(7), 3)), random.randint(1, 2)),
            Monthly(first.day),
            MonthlyRelative(frozenset({first.weekday()}), random.choice((1, 2, LAST))),
            Yearly(first.month, first.day),
        )
    )


def _except(world: World, random: Random, address: str, master: str, window: Window) -> None:
    """Move or delete one occurrence inside the window."""
    mine = [
        one
        for one in world.occurrences(address, window.start, window.end)
        if one.master_id == master and random.random() < 0.3
    ]
    for one in mine[:1]:
        if random.random() < 0.5:
            world.delete(one.item_id)
            continue
        try:
            world.move(one.item_id, one.start + timedelta(hours=2), one.end + timedelta(hours=3))
        except (CrossesNeighbour, NoSuchItem):
            world.change(one.item_id, busy=WorldBusy.OOF)


class Oracle:
    """exchangelib as it comes, on one connection; it blocks, so it is asked in a thread."""

    def __init__(self, exchange: Simulator, world: World) -> None:
        configuration = Configuration(
            service_endpoint=exchange.ews_url,
            credentials=Credentials(exchange.service_account, exchange.service_password),
            auth_type=BASIC,
            version=Version(build=Build(15, 2)),
            retry_policy=FailFast(),
        )
        self._protocol = Protocol(config=configuration)
        self._world = world

    def tell(self, asked: Generated) -> list[Schedule | type[Exception]]:
        """A schedule or the class of exchangelib's error for each mailbox."""
        return [self._one(address, asked.window) for address in asked.addresses]

    def _one(self, address: str, window: Window) -> Schedule | type[Exception]:
        start, end = (
            EWSDateTime.from_datetime(edge.replace(tzinfo=EXCHANGELIB_UTC)) for edge in (window.start, window.end)
        )
        try:
            (view,) = self._protocol.get_free_busy_info(
                accounts=[(address, "Required", False)], start=start, end=end, requested_view="FreeBusy"
            )
        except ResponseMessageError as error:
            return type(error)
        if isinstance(view, ResponseMessageError):
            return type(view)
        mailbox = self._world.mailbox(address)
        zone = ZoneInfo(mailbox.zone) if mailbox.working_hours else SITE
        found: set[tuple[datetime, datetime, str]] = set()
        for event in view.calendar_events or ():
            span = (_plain(event.start), _plain(event.end))
            touches = span[1] <= window.start or span[0] >= window.end
            if event.busy_type in KINDS and span[0] < span[1] and not touches:
                found.add((*span, event.busy_type))
        blocks = [Block(start, end, KINDS[kind], whole_days(start, end, zone)) for start, end, kind in found]
        blocks.sort(key=lambda block: (block.start, block.end, block.busy))
        return Schedule(window.start, window.end, tuple(blocks))


def _plain(moment: datetime) -> datetime:
    """The same instant without exchangelib's types."""
    return datetime.fromtimestamp(moment.timestamp(), UTC)


def whole_days(start: datetime, end: datetime, zone: ZoneInfo) -> bool:
    """From one local midnight to another."""
    opens, closes = start.astimezone(zone), end.astimezone(zone)
    return opens.time() == closes.time() == time(0) and opens.date() < closes.date()


def agree(ours: Schedule | SourceError, theirs: Schedule | type[Exception]) -> bool:
    """The same schedule, or the same kind of refusal."""
    if isinstance(theirs, Schedule) or isinstance(ours, Schedule):
        return ours == theirs
    if theirs is ErrorNoFreeBusyAccess:
        return isinstance(ours, SourceDenied) and ours.code == "permission.denied"
    if theirs is ErrorMailRecipientNotFound:
        return isinstance(ours, SourceDenied) and ours.code == "mailbox.not_found"
    return not isinstance(ours, SourceDenied)


@dataclass(frozen=True)
class Court:
    """The server with all worlds, and what exchangelib says of them."""

    exchange: Simulator
    worlds: Sequence[Generated]
    verdicts: Sequence[list[Schedule | type[Exception]]]


@pytest.fixture
async def court(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Court]:
    """One server for all worlds."""
    world = World(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    async with Simulator(world) as exchange:
        worlds = [generate(world, exchange.service_account, number) for number in range(WORLDS)]

        class TrustingAdapter(requests.adapters.HTTPAdapter):
            def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
                super().cert_verify(conn=conn, url=url, verify=str(exchange.ca_file), cert=cert)  # type: ignore[no-untyped-call]

        monkeypatch.setattr(BaseProtocol, "HTTP_ADAPTER_CLS", TrustingAdapter)
        oracle = Oracle(exchange, world)
        yield Court(exchange, worlds, [await asyncio.to_thread(oracle.tell, asked) for asked in worlds])
        await asyncio.to_thread(CachingProtocol.clear_cache)


async def test_two_hundred_worlds_look_the_same_to_exchangelib(court: Court) -> None:
    """Both our clients tell of every mailbox, in the right place, exactly what exchangelib's own call tells."""
    told = [one for verdict in court.verdicts for one in verdict]
    blocks = [block for one in told if isinstance(one, Schedule) for block in one.blocks]
    assert len(blocks) > 1000
    assert {block.busy for block in blocks} == set(Busy)
    assert sum(block.all_day for block in blocks) > 50
    assert {one.__name__ for one in told if isinstance(one, type)} == {
        "ErrorNoFreeBusyAccess",
        "ErrorMailRecipientNotFound",
        "ErrorMailboxMoveInProgress",
    }
    transports: tuple[Literal["native", "exchangelib"], ...] = ("native", "exchangelib")
    for transport in transports:
        settings = EwsSettings(
            url=court.exchange.ews_url,
            username=court.exchange.service_account,
            password=court.exchange.service_password,
            auth="basic",
            ca_file=court.exchange.ca_file,
            transport=transport,
            zone=SITE,
        )
        calendar = open_calendar("hq", settings, SystemClock(), OpenGuard())
        try:
            for asked, verdict in zip(court.worlds, court.verdicts, strict=True):
                answer = await calendar.fetch(asked.addresses, asked.window)
                for address, ours, theirs in zip(asked.addresses, answer, verdict, strict=True):
                    assert agree(ours, theirs), (transport, address, asked.window, ours, theirs)
        finally:
            await calendar.close()
