"""CalendarSource when something fails: isolation, back-off, holds, withdrawal, hints in a storm."""

import asyncio
from datetime import timedelta
from itertools import pairwise

from gateway.errors import SourceProtocolError, StoreUnavailable
from gateway.sources import Hint, HintKind
from gateway.sources.calendar import CalendarSettings
from tests.calendars import at, denied, unavailable
from tests.unit.sources.office import names, running


async def test_a_failing_mailbox_does_not_hurt_its_neighbours() -> None:
    """Ten bad mailboxes among 200: the others keep their rhythm and their health, and are soon read apart."""
    people = names(200)
    bad = people[::20]
    async with running(people, watched=people) as office:
        for person in bad:
            office.calendar.failing[f"box-{person}"] = unavailable("server.error")
        await office.clock.advance(1800)
        healthy = [person for person in people if person not in bad]
        assert all(len(office.reads(person)) >= 28 for person in healthy)
        assert all(office.health(person) == "ok" for person in healthy)
        assert {office.health(person) for person in bad} == {"server.error"}
        assert all(8 <= len(office.reads(person)) <= 11 for person in bad)
        together = [
            call
            for call in office.calendar.calls
            if call.at > 300 and len({mailbox[4:] in bad for mailbox in call.mailboxes}) == 2
        ]
        assert together == []
        assert office.source.server_health().mailboxes == {"ok": 190, "server.error": 10}


async def test_a_mailbox_that_fails_backs_off_to_an_hour_and_recovers() -> None:
    """A few quick tries, then 1, 2, 4 … 60 minutes; the first success ends it, the log says both once."""
    async with running(["ann", "bob"]) as office:
        office.calendar.failing["box-ann"] = SourceProtocolError(
            "answer for the mailbox is not understood", code="protocol.unexpected_shape", mailbox="box-ann"
        )
        await office.clock.advance(6 * 3600)
        gaps = [round((later - earlier) / 60, 1) for earlier, later in pairwise(office.reads("ann"))]
        assert max(gaps[:3]) <= 0.2
        assert all(0.9 * 2**n <= gap <= 2**n + 0.1 for n, gap in enumerate(gaps[3:9])), gaps
        assert all(54 <= gap <= 60 for gap in gaps[9:]), gaps
        assert office.report.withdrawn == []
        health = office.source.mailbox_health()[0]
        assert health.retry_at is not None
        assert office.clock.now() < health.retry_at <= office.clock.now() + timedelta(hours=1)
        office.calendar.failing.clear()
        await office.clock.advance(3600)
        assert office.health("ann") == "ok"
        assert len(office.events("source.mailbox.failed")) == 1
        assert len(office.events("source.mailbox.recovered")) == 1


async def test_a_refused_calendar_is_withdrawn_at_once_and_asked_again_every_quarter_of_an_hour() -> None:
    """A lost right makes the calendar unknown in the very read that finds it, once, until it is granted again."""
    async with running(["ann"], watched=["ann"]) as office:
        await office.clock.advance(30)
        office.calendar.failing["box-ann"] = denied("box-ann")
        await office.clock.advance(60)
        assert office.report.withdrawn == ["ann"]
        await office.clock.advance(2 * 3600)
        assert office.report.withdrawn == ["ann"]
        gaps = [later - earlier for earlier, later in pairwise(office.reads("ann")[-5:])]
        assert all(800 <= gap <= 901 for gap in gaps), gaps
        office.calendar.failing.clear()
        await office.clock.advance(901)
        assert "ann" in office.report.newest
        office.calendar.failing["box-ann"] = denied("box-ann")
        await office.clock.advance(66)
        assert office.report.withdrawn == ["ann", "ann"]


async def test_an_outage_keeps_everything_and_costs_few_calls() -> None:
    """While the server is away nothing is reported or withdrawn, and no more than a probe a minute goes out."""
    async with running(names(3000), watched=names(500)) as office:
        await office.clock.advance(600)
        reports = len(office.report.reports)
        office.calendar.failure = unavailable("net.refused")
        await office.clock.advance(60)
        calls = len(office.calendar.calls)
        await office.clock.advance(1800)
        assert len(office.calendar.calls) - calls <= 45
        assert (len(office.report.reports), office.report.withdrawn) == (reports, [])
        health = office.source.server_health()
        assert health.code == "net.refused"
        assert health.since is not None
        assert at(9, 10) <= health.since <= at(9, 11)
        assert health.retry_at is not None
        assert len(office.events("source.fetch.failed")) <= 32
        office.calendar.failure = None
        await office.clock.advance(120)
        assert len(office.report.newest) == 3000
        assert min(office.report.read_at.values()) >= at(9, 41)
        assert office.source.server_health().code == "ok"
        assert len(office.events("source.server.recovered")) == 1


async def test_recovery_is_no_storm() -> None:
    """After an outage the first calls go one at a time, and the lanes open slowly."""
    async with running(names(3000)) as office:
        office.calendar.failure = unavailable("net.refused")
        await office.clock.advance(600)
        office.calendar.failure = None
        office.calendar.latency, office.calendar.most_under_way = 1.0, 0
        while not office.report.reports:
            await office.clock.advance(1)
        await office.clock.advance(4)
        assert office.calendar.most_under_way == 1
        await office.clock.advance(6)
        assert office.calendar.most_under_way == 2
        await office.clock.advance(20)
        assert office.calendar.most_under_way == 4


async def test_a_refused_logon_is_tried_once_and_then_once_an_hour() -> None:
    """Wrong password: one call, not one per lane; nothing more until an hour passed or the operator says so."""
    async with running(names(1000)) as office:
        office.calendar.failure = denied(code="auth.rejected")
        office.calendar.latency = 1.0
        await office.clock.advance(3500)
        assert len(office.calendar.calls) == 1
        assert office.source.server_health().code == "auth.rejected"
        assert len(office.events("source.server.held")) == 1
        await office.clock.advance(3600)
        assert len(office.calendar.calls) == 2
        await office.source.retry()
        await office.clock.advance(5)
        assert len(office.calendar.calls) == 3
        office.calendar.failure = None
        await office.source.retry()
        await office.clock.advance(60)
        assert len(office.report.newest) == 1000
        assert office.report.withdrawn == []


async def test_the_servers_own_wish_for_a_pause_is_granted() -> None:
    """A busy server is left alone for at least as long as it asked, and then gets half as many calls at once."""
    async with running(names(3000), CalendarSettings(lanes=8, refresh=10), watched=names(3000)) as office:
        office.calendar.latency = 3.0
        await office.clock.advance(120)
        assert office.calendar.most_under_way == 8
        office.calendar.failure = unavailable("server.throttled", retry_after=60.0)
        before = len(office.calendar.calls)
        await office.clock.advance(6)
        office.calendar.failure, paused = None, office.clock.monotonic()
        during = len(office.calendar.calls)
        assert during - before <= 16
        office.calendar.most_under_way = office.calendar.under_way
        await office.clock.advance(50)
        assert len(office.calendar.calls) == during
        await office.clock.advance(30)
        assert office.calendar.calls[during].at >= paused + 54
        assert office.calendar.most_under_way <= 4
        office.calendar.most_under_way = 0
        await office.clock.advance(600)
        assert office.calendar.most_under_way == 8


async def test_an_operators_retry_ends_a_mailboxs_back_off() -> None:
    """ "Retry now" for one person reads that mailbox at once and no other."""
    async with running(["ann", "bob"]) as office:
        office.calendar.failing.update({f"box-{person}": denied() for person in ("ann", "bob")})
        await office.clock.advance(2 * 3600)
        office.calendar.failing.clear()
        await office.clock.advance(20)
        before = len(office.reads("bob"))
        await office.source.retry("ann")
        await office.clock.advance(1)
        assert (office.health("ann"), office.health("bob")) == ("ok", "permission.denied")
        assert len(office.reads("bob")) == before
        await office.source.retry()
        await office.clock.advance(1)
        assert office.health("bob") == "ok"


async def test_one_poisonous_mailbox_does_not_cost_its_batch() -> None:
    """A mailbox that spoils every answer it is in ends up alone and backs off; everybody else is read."""
    people = names(250)
    async with running(people) as office:
        office.calendar.poison["box-p00042"] = unavailable("server.error")
        await office.clock.advance(900)
        others = [person for person in people if person != "p00042"]
        assert all(office.health(person) == "ok" for person in others)
        assert office.health("p00042") == "server.error"
        await office.clock.advance(3600)
        office.calendar.calls.clear()
        await office.clock.advance(300)
        assert office.calendar.reads["box-p00042"] <= 1
        assert len(office.calendar.calls) <= 35


async def test_a_call_that_never_ends_is_given_up() -> None:
    """A backend that forgets its own time-out costs one lane for a while, not for ever."""
    async with running(["ann"], CalendarSettings(call_timeout=90)) as office:
        office.calendar.latency = 10_000.0
        await office.clock.advance(91)
        assert office.source.server_health().code == "net.read_timeout"
        office.calendar.latency = 0.0
        await office.clock.advance(120)
        assert office.health("ann") == "ok"


async def test_an_answer_of_the_wrong_length_tells_nothing() -> None:
    """Results are matched by position, so a missing one discards the whole answer."""
    async with running(["ann", "bob"]) as office:
        fetch = office.calendar.fetch

        async def short(*arguments):  # type: ignore[no-untyped-def]
            return (await fetch(*arguments))[1:]

        office.calendar.fetch = short  # type: ignore[method-assign]
        await office.clock.advance(5)
        assert office.report.newest == {}
        assert office.source.server_health().code == "protocol.unexpected_shape"


async def test_a_mailbox_that_changes_a_thousand_times_in_ten_seconds_costs_four_reads() -> None:
    """The first hint is answered at once, the rest coalesce, and a read follows the last hint."""
    async with running(["ann"]) as office:
        await office.clock.advance(30)
        office.calendar.calls.clear()
        for _ in range(1000):
            office.calendar.hints.put_nowait(Hint(HintKind.CHANGED, "BOX-ann"))
            await office.clock.advance(0.01)
        last = office.clock.monotonic()
        assert office.reads("ann")[0] <= 30.1
        await office.clock.advance(10)
        reads = office.reads("ann")
        assert len(reads) <= 4, reads
        assert reads[-1] >= last - 0.01


async def test_the_log_does_not_flood() -> None:
    """A thousand refused calendars make one line at once and one a minute, which says how many it stands for."""
    people = names(1000)
    async with running(people) as office:
        office.calendar.failing.update({f"box-{person}": denied() for person in people})
        await office.clock.advance(300)
        lines = office.events("source.mailbox.failed")
        assert len(lines) <= 3
        assert sum(int(str(line["count"])) for line in lines) == 1000


async def test_a_failing_guard_is_a_failed_call() -> None:
    """An error of the gateway's own store inside a read counts against nobody's calendar and is tried again."""
    async with running(["ann"]) as office:
        office.calendar.failure = StoreUnavailable("disk is full", code="store.disk_full")
        await office.clock.advance(10)
        assert office.source.server_health().code == "store.disk_full"
        office.calendar.failure = None
        await office.clock.advance(60)
        assert office.health("ann") == "ok"


async def test_a_backend_that_cannot_close_is_left_behind() -> None:
    """Closing gives up after a while and says so; it never holds up the end of the process."""
    async with running() as office:
        await office.clock.advance(1)

        async def stuck() -> None:
            await office.clock.sleep(1000)

        office.calendar.close = stuck  # type: ignore[method-assign]
        closing = asyncio.create_task(office.source.close())
        await office.clock.advance(16)
        assert closing.done()
        assert len(office.events("source.close.failed")) == 1
