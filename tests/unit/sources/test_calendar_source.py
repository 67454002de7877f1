"""CalendarSource: who is read when, what is reported, and what is dropped."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from gateway.core.model import Schedule
from gateway.errors import StoreUnavailable
from gateway.sources import Hint, HintKind
from gateway.sources.calendar import CalendarSettings
from tests.calendars import at, denied, unavailable
from tests.unit.sources.office import Office, names, running


async def test_a_read_is_reported_with_the_instant_before_it_was_sent() -> None:
    """What the calendar holds reaches the report once per batch, dated before the request left."""
    async with running(["ann", "bob"]) as office:
        office.calendar.book("box-ann", at(10), at(11))
        office.calendar.latency = 3.0
        await office.clock.advance(4)
        assert [(when, sorted(read)) for when, read in office.report.reports] == [(at(9), ["ann", "bob"])]
        assert office.report.newest["ann"].blocks[0].start == at(10)
        assert office.health("ann") == "ok"
        health = office.source.server_health()
        assert (health.code, health.last_success, health.mailboxes) == ("ok", at(9) + timedelta(seconds=3), {"ok": 2})


async def test_watched_people_are_read_every_minute_and_the_rest_every_five() -> None:
    """Reads of one mailbox lie one interval apart, give or take the small jitter and an early companion."""
    async with running(["ann", "bob"], watched=["ann"]) as office:
        await office.clock.advance(3600)
        gaps = [later - earlier for earlier, later in pairwise(office.reads("ann")[2:])]
        assert all(52 <= gap <= 68 for gap in gaps), gaps
        assert len(gaps) >= 55
        gaps = [later - earlier for earlier, later in pairwise(office.reads("bob")[2:])]
        assert all(250 <= gap <= 330 for gap in gaps), gaps


async def test_fifteen_thousand_mailboxes_make_no_burst() -> None:
    """The first sweep is quick but bounded; then 100 mailboxes go out every 2 s, and each once per 5 minutes."""
    async with running(names(15_000)) as office:
        await office.clock.advance(60)
        first = office.calendar.calls[:]
        assert len(office.report.newest) == 15_000
        assert min(later.at - earlier.at for earlier, later in pairwise(first)) >= 0.05
        assert all(sum(second <= call.at < second + 1 for call in first) <= 6 for second in range(60))
        await office.clock.advance(360)
        office.calendar.calls.clear()
        start = office.clock.monotonic()
        await office.clock.advance(300)
        calls = office.calendar.calls
        per_ten_seconds = [sum(start + n <= call.at < start + n + 10 for call in calls) for n in range(0, 300, 10)]
        assert max(per_ten_seconds) <= 7, per_ten_seconds
        assert min(per_ten_seconds) >= 4, per_ten_seconds
        assert len(calls) <= 160
        assert set(office.calendar.reads.values()) <= {1, 2}
        assert sum(office.calendar.reads.values()) == pytest.approx(15_000, rel=0.05)


async def test_watched_people_come_first_in_the_first_sweep() -> None:
    """Whoever is looked at is in the very first call."""
    people = names(1000)
    async with running(people, watched=people[-50:]) as office:
        await office.clock.advance(0)
        assert {f"box-{person}" for person in people[-50:]} <= set(office.calendar.calls[0].mailboxes)


async def test_who_begins_to_be_watched_is_read_when_the_quick_interval_is_over() -> None:
    """At once if the last read is older than that; else exactly then, however often somebody begins to look."""
    async with running(["ann", "bob"]) as office:
        await office.clock.advance(20)
        office.watched.add("ann")
        for _ in range(100):
            office.source.watch(["ann"])
        await office.clock.advance(30)
        assert len(office.reads("ann")) == 1
        await office.clock.advance(12)
        assert len(office.reads("ann")) == 2
        await office.clock.advance(600)
        assert len(office.reads("ann")) >= 11
        office.watched.add("bob")
        last = office.reads("bob")[-1]
        await office.clock.advance(max(0.0, last + 100 - office.clock.monotonic()))
        before, now = len(office.reads("bob")), office.clock.monotonic()
        office.source.watch(["bob", "nobody"])
        await office.clock.advance(0.1)
        assert len(office.reads("bob")) == before + (1 if now - last > 60 else 0)


async def test_thousands_who_begin_to_be_watched_are_read_evenly_and_nobody_twice() -> None:
    """Whoever was read within the minute waits for its end; the others go out five calls a second."""
    people = names(5000)
    async with running(people) as office:
        await office.clock.advance(900)
        office.calendar.calls.clear()
        before = dict(office.report.read_at)
        wall, now = office.clock.now(), office.clock.monotonic()
        office.watched.update(people)
        office.source.watch(people)
        await office.clock.advance(62)
        calls = office.calendar.calls
        assert all(sum(now + n <= call.at < now + n + 1 for call in calls) <= 7 for n in range(60))
        first: dict[str, float] = {}
        for call in calls:
            for mailbox in call.mailboxes:
                first.setdefault(mailbox, call.at - now)
        for person in people:
            age = (wall - before[person]).total_seconds()
            assert 60 - age - 6.1 <= first[f"box-{person}"] <= max(12.0, 60 - age + 1)


async def test_watching_changes_nothing_for_whom_notifications_come() -> None:
    """They are read when something changes anyway."""
    async with running(["ann"]) as office:
        office.calendar.hints.put_nowait(Hint(HintKind.STREAM, "box-ann"))
        await office.clock.advance(100)
        reads = len(office.reads("ann"))
        office.watched.add("ann")
        office.source.watch(["ann"])
        await office.clock.advance(60)
        assert len(office.reads("ann")) == reads


async def test_near_boundaries_go_before_the_rest_when_capacity_returns() -> None:
    """After an outage: the watched, then those with a boundary within a quarter of an hour, then the rest."""
    people = names(30)
    watched, meeting = people[25:], people[20:25]
    async with running(people, batch=5, watched=watched) as office:
        for person in meeting:
            office.calendar.book(f"box-{person}", at(9, 40), at(9, 50))
        await office.clock.advance(300)
        office.calendar.failure = unavailable()
        await office.clock.advance(1800)
        office.calendar.failure = None
        before = len(office.calendar.calls)
        await office.clock.advance(120)
        order = [mailbox for call in office.calendar.calls[before:] for mailbox in call.mailboxes]
        position = {person: order.index(f"box-{person}") for person in people}
        rest = people[:20]
        assert max(position[p] for p in watched) < min(position[p] for p in rest)
        assert max(position[p] for p in meeting) < min(position[p] for p in rest)


async def test_the_window_rolls_over_at_midnight() -> None:
    """The window is yesterday's midnight to 48 h later, and everybody has the new one minutes after UTC midnight."""
    people = names(500)
    settings = CalendarSettings(background=7200)
    async with running(people, settings, start=at(21)) as office:
        await office.clock.advance(3 * 3600 - 1)
        assert {call.window.start for call in office.calendar.calls} == {at(0)}
        assert {call.window.end for call in office.calendar.calls} == {at(0, day=22)}
        office.calendar.calls.clear()
        await office.clock.advance(301)
        assert {call.window.start for call in office.calendar.calls} == {at(0, day=21)}
        assert len(office.calendar.reads) == 500
        assert len({call.at for call in office.calendar.calls}) > 4
        assert all(schedule.window_end == at(0, day=23) for schedule in office.report.newest.values())


async def test_the_answer_for_somebody_who_opted_out_meanwhile_is_dropped() -> None:
    """Neither a schedule nor a failure of a forgotten person leaves the source; the others' do."""
    async with running(["ann", "bob", "eve"]) as office:
        office.calendar.latency = 5.0
        office.calendar.failing["box-eve"] = denied()
        await office.clock.advance(2)
        office.employs(["bob"])
        await office.clock.advance(10)
        assert set(office.report.newest) == {"bob"}
        assert office.report.withdrawn == []
        assert [health.person for health in office.source.mailbox_health()] == ["bob"]
        await office.clock.advance(600)
        assert set(office.calendar.reads) == {"box-ann", "box-bob", "box-eve"}
        assert office.calendar.reads["box-ann"] == 1


async def test_a_person_whose_mailbox_changes_gets_the_new_one_only() -> None:
    """The old mailbox's answer under way is dropped and the new mailbox is read at once."""
    async with running(["ann"]) as office:
        office.calendar.book("box-ann", at(10), at(11))
        office.calendar.latency = 5.0
        await office.clock.advance(2)
        office.source.assign({"ann": "elsewhere"})
        await office.clock.advance(20)
        assert office.report.newest == {"ann": Schedule(at(0), at(0, day=22))}
        assert office.calendar.reads["elsewhere"] == 1


async def test_a_slow_batch_delays_nobody_else() -> None:
    """While one call hangs for a minute the others go on, and the slow mailbox ends up in a call of its own."""
    people = names(400)
    async with running(people) as office:
        await office.clock.advance(60)
        office.calendar.slow["box-p00007"] = 65.0
        await office.clock.advance(3600)
        office.calendar.calls.clear()
        await office.clock.advance(900)
        beside = {m for call in office.calendar.calls if "box-p00007" in call.mailboxes for m in call.mailboxes}
        assert beside == {"box-p00007"}
        others = office.calendar.reads
        assert all(others[f"box-{person}"] >= 2 for person in people if person != "p00007")


async def test_what_cannot_be_stored_is_read_again() -> None:
    """A report that fails is repeated with a fresh read, and nobody counts as read before it succeeded."""
    async with running(["ann"]) as office:
        office.report.failure = StoreUnavailable("disk is full", code="store.disk_full")
        await office.clock.advance(10)
        assert office.health("ann") == "pending"
        assert office.events("source.report.failed")
        office.report.failure = None
        await office.clock.advance(60)
        assert office.health("ann") == "ok"
        assert "ann" in office.report.newest


async def test_a_bug_in_a_backend_is_not_swallowed() -> None:
    """Whatever is no GatewayError ends `run` with that very exception."""
    office = Office(CalendarSettings(), 100, at(9))
    office.calendar.failure = ZeroDivisionError("bug")
    office.employs(["ann"])
    task = asyncio.create_task(office.source.run())
    await office.clock.advance(1)
    assert task.done()
    with pytest.raises(ExceptionGroup) as caught:
        task.result()
    assert caught.group_contains(ZeroDivisionError)


async def test_closing_twice_closes_once() -> None:
    """`close` gives back what the backend holds, exactly once."""
    async with running(["ann"]) as office:
        await office.clock.advance(1)
    await office.source.close()
    assert office.calendar.closed == 1


async def test_cancelling_run_ends_everything_at_once() -> None:
    """A cancelled source leaves no task behind, even in the middle of a call."""
    before = asyncio.all_tasks()
    async with running(["ann"]) as office:
        office.calendar.latency = 30.0
        await office.clock.advance(1)
        assert office.calendar.under_way == 1
    assert office.calendar.under_way == 0
    assert asyncio.all_tasks() == before
