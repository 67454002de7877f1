"""The promises of the port Calendar, the same for every implementation.

A new backend joins with one line in STAGES.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Final, Literal, Protocol
from zoneinfo import ZoneInfo

import pytest

from gateway.clock import SystemClock
from gateway.core.model import Block, Busy, Schedule
from gateway.errors import SourceDenied, SourceError
from gateway.reasons import REASONS
from gateway.simulator import Busy as WorldBusy
from gateway.simulator import Right, Simulator, World
from gateway.sources import Calendar, Severity, Window
from gateway.sources.ews import EwsSettings, open_calendar
from gateway.sources.pacing import window_at
from tests.calendars import FakeCalendar, OpenGuard, at, denied, unavailable

Said = Literal["Free", "Tentative", "Busy", "OOF", "WorkingElsewhere"]
TODAY: Final = window_at(at(9))


class Stage(Protocol):
    """One implementation and its world, with Berlin as everybody's zone."""

    @property
    def calendar(self) -> Calendar:
        """What is tested."""

    def employ(self, address: str) -> None:
        """Give somebody a mailbox."""

    def book(self, address: str, start: datetime, end: datetime, busy: Said = "Busy") -> str:
        """Put an appointment into a calendar; gives its id."""

    def call_off(self, appointment: str) -> None:
        """Cancel an appointment."""

    def refuse(self, address: str) -> None:
        """Take away the right to read a calendar."""

    async def leave(self) -> None:
        """The server is gone."""


class FakeStage:
    """FakeCalendar."""

    def __init__(self) -> None:
        self._fake = FakeCalendar(SystemClock(), zone="Europe/Berlin")
        self._booked: list[tuple[str, Block]] = []

    @property
    def calendar(self) -> FakeCalendar:
        return self._fake

    def employ(self, address: str) -> None:
        self._fake.blocks[address] = []

    def book(self, address: str, start: datetime, end: datetime, busy: Said = "Busy") -> str:
        if busy == "Free":
            return ""
        self._fake.book(address, start, end, OURS[busy])
        self._booked.append((address, self._fake.blocks[address][-1]))
        return str(len(self._booked) - 1)

    def call_off(self, appointment: str) -> None:
        address, block = self._booked[int(appointment)]
        self._fake.blocks[address].remove(block)

    def refuse(self, address: str) -> None:
        self._fake.failing[address] = denied(address)

    async def leave(self) -> None:
        self._fake.failure = unavailable("net.refused")


class ExchangeStage:
    """An Exchange adapter against the simulator."""

    def __init__(self, world: World, exchange: Simulator, calendar: Calendar, right: Right) -> None:
        self._world, self._exchange, self._calendar, self._right = world, exchange, calendar, right

    @property
    def calendar(self) -> Calendar:
        return self._calendar

    def employ(self, address: str) -> None:
        self._world.add_person(address, default_right=self._right)

    def book(self, address: str, start: datetime, end: datetime, busy: Said = "Busy") -> str:
        return self._world.book(address, start, end, busy=WorldBusy(busy), subject="Secret plan").item_id

    def call_off(self, appointment: str) -> None:
        self._world.change(appointment, cancelled=True)

    def refuse(self, address: str) -> None:
        self._world.grant(address, self._exchange.service_account, Right.NONE)
        self._world.exempt(address)

    async def leave(self) -> None:
        await self._exchange.stop()


@asynccontextmanager
async def fake() -> AsyncIterator[Stage]:
    """The double that unit tests use."""
    stage = FakeStage()
    yield stage
    await stage.calendar.close()


def ews(
    transport: Literal["native", "exchangelib"],
    access: Literal["free_busy", "impersonation"] = "free_busy",
    right: Right = Right.AVAILABILITY_ONLY,
) -> Callable[[], AbstractAsyncContextManager[Stage]]:
    """Exchange Web Services, with one of its two clients; `right` is what everybody's calendar shows to everybody."""

    @asynccontextmanager
    async def stage() -> AsyncIterator[Stage]:
        world = World(lambda: at(9))
        async with Simulator(world) as exchange:
            settings = EwsSettings(
                url=exchange.ews_url,
                username=exchange.service_account,
                password=exchange.service_password,
                auth="basic",
                ca_file=exchange.ca_file,
                transport=transport,
                access=access,
                zone=ZoneInfo("Europe/Berlin" if right is Right.NONE else "UTC"),  # that way tells no zone
            )
            if access == "impersonation":
                world.allow_impersonation(exchange.service_account)
            calendar = open_calendar("hq", settings, SystemClock(), OpenGuard())
            try:
                yield ExchangeStage(world, exchange, calendar, right)
            finally:
                await calendar.close()

    return stage


OURS: Final[dict[Said, Busy]] = {
    "Tentative": Busy.TENTATIVE,
    "Busy": Busy.BUSY,
    "OOF": Busy.OUT_OF_OFFICE,
    "WorkingElsewhere": Busy.WORKING_ELSEWHERE,
}
STAGES: Final[dict[str, Callable[[], AbstractAsyncContextManager[Stage]]]] = {
    "fake": fake,
    "ews": ews("native"),
    "ews-exchangelib": ews("exchangelib"),
    "ews-impersonation": ews("native", "impersonation"),
    "ews-as-the-owner": ews("native", "impersonation", Right.NONE),
}


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Every implementation in turn, on an empty world."""
    async with STAGES[request.param]() as prepared:
        yield prepared


async def blocks(stage: Stage, address: str, window: Window = TODAY) -> list[tuple[datetime, datetime, Busy]]:
    """What one mailbox's schedule holds."""
    (schedule,) = await stage.calendar.fetch([address], window)
    assert isinstance(schedule, Schedule), schedule
    return [(block.start, block.end, block.busy) for block in schedule.blocks]


async def test_schedules_come_in_the_order_of_the_question(stage: Stage) -> None:
    """Results are matched by position, whatever the order of the question."""
    people = [f"p{n}@example.com" for n in range(30)]
    for n, address in enumerate(people):
        stage.employ(address)
        stage.book(address, at(10, n), at(11))
    for question in (people, people[::-1], people[3:17]):
        answer = await stage.calendar.fetch(question, TODAY)
        starts = [schedule.blocks[0].start for schedule in answer if isinstance(schedule, Schedule)]
        assert starts == [at(10, people.index(address)) for address in question]


async def test_a_mailbox_that_fails_stands_in_its_place(stage: Stage) -> None:
    """One refused calendar in the middle leaves the others' schedules whole, and names itself by code."""
    people = [f"p{n}@example.com" for n in range(5)]
    for address in people:
        stage.employ(address)
        stage.book(address, at(10), at(11))
    stage.refuse(people[2])
    answer = await stage.calendar.fetch(people, TODAY)
    assert [isinstance(entry, Schedule) for entry in answer] == [True, True, False, True, True]
    refused = answer[2]
    assert isinstance(refused, SourceDenied)
    assert (refused.code, refused.mailbox) == ("permission.denied", people[2])


async def test_a_schedule_tells_its_window(stage: Stage) -> None:
    """The window of the question is the window of the schedule, also of an empty one."""
    stage.employ("ann@example.com")
    answer = await stage.calendar.fetch(["ann@example.com"], TODAY)
    assert list(answer) == [Schedule(at(0), at(0, day=22))]


async def test_the_window_is_half_open(stage: Stage) -> None:
    """Blocks that overlap it come whole, even by a minute; those that only touch an edge do not come."""
    stage.employ("ann@example.com")
    inside = [
        (at(22, day=19), at(0, 1)),
        (at(12), at(13)),
        (at(23, 59, day=21), at(2, day=22)),
    ]
    for start, end in [(at(22, day=19), at(0)), (at(0, day=22), at(1, day=22)), *inside]:
        stage.book("ann@example.com", start, end)
    assert [block[:2] for block in await blocks(stage, "ann@example.com")] == inside


@pytest.mark.parametrize("said", OURS)
async def test_busy_types_keep_their_meaning(stage: Stage, said: Said) -> None:
    """Tentative, busy, out of office and working elsewhere are told apart."""
    stage.employ("ann@example.com")
    stage.book("ann@example.com", at(10), at(11), said)
    assert await blocks(stage, "ann@example.com") == [(at(10), at(11), OURS[said])]


async def test_free_time_is_the_absence_of_blocks(stage: Stage) -> None:
    """An appointment marked free makes no block."""
    stage.employ("ann@example.com")
    stage.book("ann@example.com", at(10), at(11), "Free")
    assert await blocks(stage, "ann@example.com") == []


async def test_a_cancelled_meeting_is_absent(stage: Stage) -> None:
    """What was called off is gone with the next read."""
    stage.employ("ann@example.com")
    appointment = stage.book("ann@example.com", at(10), at(11))
    assert len(await blocks(stage, "ann@example.com")) == 1
    stage.call_off(appointment)
    assert await blocks(stage, "ann@example.com") == []


async def test_back_to_back_meetings_stay_two(stage: Stage) -> None:
    """The edge between them is kept, for there the person may change rooms."""
    stage.employ("ann@example.com")
    stage.book("ann@example.com", at(10), at(11))
    stage.book("ann@example.com", at(11), at(12))
    expected = [(at(10), at(11), Busy.BUSY), (at(11), at(12), Busy.BUSY)]
    assert await blocks(stage, "ann@example.com") == expected


async def test_blocks_are_sorted_and_overlaps_kept(stage: Stage) -> None:
    """By start, end and kind, in whatever order they were booked; nothing is merged."""
    stage.employ("ann@example.com")
    expected = [
        (at(9), at(12), Busy.TENTATIVE),
        (at(10), at(11), Busy.BUSY),
        (at(10), at(11), Busy.OUT_OF_OFFICE),
        (at(10), at(11, 30), Busy.BUSY),
    ]
    words = {busy: said for said, busy in OURS.items()}
    for start, end, busy in reversed(expected):
        stage.book("ann@example.com", start, end, words[busy])
    assert await blocks(stage, "ann@example.com") == expected


async def test_a_whole_day_is_one_in_the_owners_zone(stage: Stage) -> None:
    """Midnight to midnight in Berlin is a whole day although it is 23:00 to 23:00 in UTC; 24 other hours are not."""
    stage.employ("ann@example.com")
    stage.book("ann@example.com", at(23, day=19), at(23))
    stage.book("ann@example.com", at(0), at(0, day=21))
    (schedule,) = await stage.calendar.fetch(["ann@example.com"], TODAY)
    assert isinstance(schedule, Schedule)
    assert [(block.start, block.all_day) for block in schedule.blocks] == [(at(23, day=19), True), (at(0), False)]


async def test_a_server_that_is_gone_says_so_for_the_whole_call(stage: Stage) -> None:
    """Then nothing is known about anybody: a SourceError with a code that has a remedy is raised."""
    stage.employ("ann@example.com")
    await stage.leave()
    with pytest.raises(SourceError) as caught:
        await stage.calendar.fetch(["ann@example.com"], TODAY)
    assert caught.value.code in REASONS
    assert "Secret plan" not in str(caught.value)


async def test_a_read_may_be_cancelled_at_any_moment(stage: Stage) -> None:
    """However far it has come, the next reads are answered correctly."""
    stage.employ("ann@example.com")
    stage.employ("bob@example.com")
    stage.book("ann@example.com", at(10), at(11))
    for steps in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144):
        task = asyncio.create_task(_fetch(stage, "bob@example.com"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await blocks(stage, "ann@example.com") == [(at(10), at(11), Busy.BUSY)]


async def test_reads_may_run_side_by_side(stage: Stage) -> None:
    """Several calls at once give everybody the own schedule."""
    people = [f"p{n}@example.com" for n in range(12)]
    for n, address in enumerate(people):
        stage.employ(address)
        stage.book(address, at(10, n), at(11))
    found = await asyncio.gather(*(blocks(stage, address) for address in people))
    assert [one[0][0] for one in found] == [at(10, n) for n in range(12)]


async def test_following_may_be_cancelled(stage: Stage) -> None:
    """A stream of hints either ends at once, for a server that only polls, or ends promptly when it is cancelled."""
    roster = Nobody()
    task = asyncio.create_task(_follow(stage, roster))
    await asyncio.sleep(0.01)
    task.cancel()
    (ended,) = await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), timeout=5)
    assert ended is None or isinstance(ended, asyncio.CancelledError)


async def test_a_diagnosis_finds_the_refused_mailbox(stage: Stage) -> None:
    """`check` never raises for a mailbox; it reports an error for the bad one and none for the good one."""
    stage.employ("ann@example.com")
    stage.employ("bob@example.com")
    stage.refuse("bob@example.com")
    findings = await stage.calendar.check(["ann@example.com", "bob@example.com"])
    bad = [finding for finding in findings if finding.severity is Severity.ERROR]
    assert bad
    assert all("bob@example.com" in f"{finding.asked} {finding.answered}" for finding in bad)


async def test_closing_twice_is_harmless(stage: Stage) -> None:
    """`close` gives everything back and may be called again, also without any read before."""
    await stage.calendar.close()
    await stage.calendar.close()


async def test_a_batch_has_room(stage: Stage) -> None:
    """The backend says how many mailboxes one call may ask for, and answers that many."""
    people = [f"p{n}@example.com" for n in range(stage.calendar.batch)]
    for address in people:
        stage.employ(address)
    answer = await stage.calendar.fetch(people, TODAY)
    assert len(answer) == len(people) >= 1
    assert all(isinstance(schedule, Schedule) for schedule in answer)


class Nobody:
    """A roster that stays empty."""

    mailboxes: frozenset[str] = frozenset()

    async def changed(self) -> None:
        await asyncio.Event().wait()


async def _fetch(stage: Stage, address: str) -> None:
    await stage.calendar.fetch([address], TODAY)


async def _follow(stage: Stage, roster: Nobody) -> None:
    async for _ in stage.calendar.follow(roster):
        pass
