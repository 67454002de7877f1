"""Following an Exchange by streaming notifications, when all is well; times are simulated seconds.

Ann, Ben and Carla share a stream, Zoe has one of her own.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from gateway.errors import StoreUnavailable
from gateway.simulator import Right
from gateway.simulator.world import DELETED_ITEMS
from gateway.sources.ews.owner_requests import VIEW_FIELDS
from tests.calendars import OpenGuard
from tests.integration.streams import ANN, BEN, CARLA, STAFF, ZOE, stream_office

QUICK = 2.0
DIALECTS: dict[str, dict[str, Any]] = {
    "as recorded": {},
    "prefixed": {"prefixes": "prefixed"},
    "unprefixed": {"prefixes": "unprefixed"},
    "soap11": {"prefixes": "soap11"},
    "declared once": {"declaration": "once"},
    "declared always": {"declaration": "always", "prefixes": "prefixed"},
    "heartbeats with status events": {"heartbeat": "status"},
    "with a content type": {"content_type": True},
    "status beside news": {"notification_status": True, "heartbeat": "status", "declaration": "once"},
    "an envelope per subscription": {"one_notification": True},
    "one event per envelope": {"events_per_envelope": 1},
    "no free/busy event, no folder event": {"free_busy_changed": False, "folder_events": False},
    "all in one chunk": {"glued": True, "saves": 3},
    "one byte per chunk": {"chunk_size": 1},
    "slow chunks": {"chunk_size": 400, "chunk_pause_s": 0.05},
    "split one byte later each time": {"walking_split": True, "events_per_envelope": 1, "declaration": "always"},
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_of_a_stream_says_the_same(dialect: str) -> None:
    """A change is there at once, also after heartbeats, and the stream is never opened again because of its form."""
    async with stream_office(streams=DIALECTS[dialect]) as office:
        for _ in range(3):
            for person in (ANN, ZOE):
                await office.sees(person, within=QUICK)
            await office.passes(60)
        assert office.exchange.journal.streams.opened == 2
        assert office.exchange.journal.count("Subscribe") == 4


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
async def test_streams_log_on_as_the_calls_do(auth: str) -> None:
    """Each on a connection of its own, and no logon fails."""
    async with stream_office(auth=auth) as office:
        await office.sees(ANN, within=QUICK)
        journal = office.exchange.journal
        assert journal.logon_failures() == 0
        streams = {record.connection for record in journal.streams}
        calls = {entry.connection for entry in journal if entry.operation not in ("", "GetStreamingEvents")}
        assert len(streams) == 2
        assert not streams & calls


async def test_every_way_to_change_a_calendar_is_seen_at_once() -> None:
    """Booked, moved in time, moved to the bin, deleted."""
    async with stream_office() as office:
        start = office.clock.now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        appointment = office.world.book(ANN, start, start + timedelta(hours=1))

        def shows(*hours: float) -> bool:
            blocks = office.schedule(ANN).blocks
            return [block.start for block in blocks] == [start + timedelta(hours=each) for each in hours]

        await office.until(lambda: shows(0), within=QUICK)
        await office.passes(10)
        office.world.move(appointment.item_id, start + timedelta(hours=1), start + timedelta(hours=2))
        await office.until(lambda: shows(1), within=QUICK)
        await office.passes(10)
        office.world.file(appointment.item_id, DELETED_ITEMS)
        await office.until(lambda: shows(), within=QUICK)
        await office.passes(10)
        other = office.world.book(ANN, start, start + timedelta(hours=1))
        await office.until(lambda: shows(0), within=QUICK)
        await office.passes(10)
        office.world.delete(other.item_id)
        await office.until(lambda: shows(), within=QUICK)


async def test_a_quiet_hour_costs_a_reconciling_read_every_five_minutes_and_a_reopening_every_thirty() -> None:
    """300 s ± 30 s for each mailbox, so that the truth is confirmed long before it counts as stale."""
    async with stream_office() as office:
        office.exchange.journal.clear()
        begun = office.clock.now()
        await office.passes(3700, stride=2.0)
        journal = office.exchange.journal
        reads = [when for when, read in office.report.reports if ANN in read and when > begun]
        gaps = [later - earlier for earlier, later in pairwise([begun, *reads, office.clock.now()])]
        assert max(gaps) <= timedelta(seconds=330 + 2)
        assert len(reads) <= 18
        assert journal.count("Subscribe") == 0
        assert 2 <= journal.streams.opened - 2 <= 6
        assert all(each.mode == "stream" for each in office.source.mailbox_health())


async def test_health_says_how_everybody_is_followed_since_when_and_why_not() -> None:
    """With the reason code of the fallback; a right that was granted meanwhile shows within an hour or so."""
    async with stream_office(follow=False) as office:
        office.world.exempt(BEN)
        await office.until(lambda: office.streaming(ANN, CARLA, ZOE), within=30)
        since = office.clock.now()
        await office.passes(600, stride=5.0)
        health = {each.mailbox: each for each in office.source.mailbox_health()}
        assert (health[ANN].mode, health[ANN].mode_code, health[ANN].code) == ("stream", "", "ok")
        known = health[ANN].mode_since
        assert known is not None
        assert abs(known - since) <= timedelta(seconds=5)
        assert (health[BEN].mode, health[BEN].mode_code, health[BEN].code) == ("poll", "permission.denied", "ok")
        tried = [entry for entry in office.exchange.journal if entry.impersonated == BEN]
        assert len(tried) == 1
        office.world.exempt(BEN, exempt=False)
        await office.until(office.streaming, within=4200, stride=5.0)
        await office.passes(12)
        await office.sees(BEN, within=QUICK)


async def test_an_account_without_the_role_polls_everybody_and_says_so() -> None:
    """`access = "impersonation"` promises no more than the server allows."""
    async with stream_office(follow=False) as office:
        for person in STAFF:
            office.world.exempt(person)
        await office.passes(20)
        assert set(office.modes().values()) == {"poll permission.denied"}
        await office.sees(ANN, within=331)


async def test_retry_now_does_not_wait_for_the_hour() -> None:
    """An operator who has just granted the right sees the effect."""
    async with stream_office(follow=False) as office:
        office.world.exempt(BEN)
        await office.until(lambda: office.streaming(ANN, CARLA, ZOE), within=30)
        office.world.exempt(BEN, exempt=False)
        await office.source.retry()
        await office.until(office.streaming, within=10)


async def test_who_joins_and_leaves_does_not_touch_other_groups() -> None:
    """Dan joins Ann's stream, Ben leaves it and is unsubscribed; Zoe's goes on, and nothing is asked about her."""
    dan = "dan@example.com"
    async with stream_office() as office:
        (hers,) = (record for record in office.exchange.journal.streams.open if ZOE in record.mailboxes)
        office.exchange.journal.clear()
        office.world.add_person(dan)
        office.follows([ANN, CARLA, ZOE, dan])
        await office.until(lambda: office.streaming(ANN, CARLA, ZOE, dan), within=20)
        await office.passes(15)
        assert hers.ended_s is None
        assert {each.address for each in office.exchange.ews.subscriptions.live} == {ANN, CARLA, ZOE, dan}
        asked = [entry.impersonated for entry in office.exchange.journal if entry.operation == "Subscribe"]
        assert asked == [dan]
        assert office.exchange.journal.streams.opened <= 2 + 2
        await office.sees(dan, within=QUICK)
        office.edits(BEN)
        await office.passes(20)
        assert BEN not in office.modes()
        assert ZOE not in [each for entry in office.exchange.journal for each in entry.mailboxes]


async def test_stopping_leaves_no_subscription_behind() -> None:
    """Every one is ended, within five seconds."""
    async with stream_office() as office:
        assert len(office.exchange.ews.subscriptions.live) == 4
        exchange, clock = office.exchange, office.clock
        begun = clock.monotonic()
    assert exchange.journal.count("Unsubscribe") == 4
    assert exchange.ews.subscriptions.live == ()
    assert clock.monotonic() - begun <= 5


@pytest.mark.parametrize("server", ["2007", "2010", "2013", "2016", "2019", "SE", "Online"])
async def test_every_release_is_followed_as_far_as_it_can(server: str) -> None:
    """Streams came with 2010 SP1; an older server is polled, and health says why."""
    async with stream_office(follow=False) as office:
        office.exchange.ews.options.server = server
        if server == "2007":
            await office.until(lambda: office.modes()[ANN] == "poll server.version_unsupported", within=30)
            await office.sees(ANN, within=331)
        else:
            await office.until(office.streaming, within=30)
            await office.passes(12)
            await office.sees(ANN, within=QUICK)


@pytest.mark.parametrize(
    "code", ["ErrorInvalidSchemaVersionForMailboxVersion", "ErrorAccountDisabled", "ErrorInternalServerError"]
)
async def test_what_is_wrong_with_one_mailbox_is_not_taken_for_the_servers(code: str) -> None:
    """An old mailbox server behind a new one, a disabled account: that mailbox is polled, the others are followed."""
    async with stream_office(follow=False) as office:
        rule = office.exchange.faults.add("message_error", code=code, operation="Subscribe", mailbox=BEN)
        await office.until(lambda: office.streaming(ANN, CARLA, ZOE), within=30)
        assert office.modes()[BEN].startswith("poll ")
        office.exchange.faults.clear(rule.number)
        await office.source.retry()
        await office.until(office.streaming, within=30)


async def test_a_guard_whose_store_fails_is_waited_for() -> None:
    """The gateway's own disk is no reason to give up following."""

    class Failing(OpenGuard):
        broken = True

        async def allowed(self, account: str) -> datetime | None:
            if self.broken:
                raise StoreUnavailable("disk is full", code="store.disk_full")
            return None

    guard = Failing()
    async with stream_office(auth="ntlm", guard=guard, follow=False) as office:
        await office.passes(10)
        assert not office.streaming(ANN)
        guard.broken = False
        await office.until(office.streaming, within=200)


async def test_a_calendar_that_refuses_free_busy_is_read_as_its_owner() -> None:
    """It is followed like the others; its owner's view is asked for times and kinds only, and remembered as the way."""
    async with stream_office() as office:
        office.world.grant(BEN, office.exchange.service_account, Right.NONE)
        await office.sees(BEN, within=QUICK)
        await office.passes(12)
        office.exchange.journal.clear()
        await office.sees(BEN, within=QUICK)
        await office.passes(12)
        await office.sees(BEN, within=QUICK)
        asked = [entry for entry in office.exchange.journal if BEN in entry.mailboxes or entry.impersonated == BEN]
        assert {entry.operation for entry in asked} == {"FindItem"}
        wanted = {f"calendar:{name}" for name in VIEW_FIELDS}
        assert all(entry.properties >= wanted and not entry.asks_content for entry in asked)
        assert all(entry.anchor == BEN for entry in asked)
        health = {each.mailbox: each.code for each in office.source.mailbox_health()}
        assert set(health.values()) == {"ok"}
        assert BEN not in office.report.withdrawn


async def test_a_view_too_long_for_one_answer_is_asked_for_in_parts() -> None:
    """Three hundred appointments in two days: all of them are read, those at the seams once."""
    async with stream_office((ANN,)) as office:
        office.world.grant(ANN, office.exchange.service_account, Right.NONE)
        midnight = office.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        for number in range(300):
            start = midnight + timedelta(minutes=9 * number)
            office.world.book(ANN, start, start + timedelta(minutes=30))
        await office.until(lambda: len(office.schedule(ANN).blocks) == 300, within=20)
        views = [entry for entry in office.exchange.journal if entry.operation == "FindItem"]
        assert 3 <= len(views) <= 12


async def test_a_calendar_that_refuses_its_owner_as_well_is_withdrawn() -> None:
    """Then there is no way to it, and nobody sees what it held."""
    async with stream_office() as office:
        office.world.grant(BEN, office.exchange.service_account, Right.NONE)
        office.world.exempt(BEN)
        office.edits(BEN)
        await office.until(lambda: BEN in office.report.withdrawn, within=10)
        health = {each.mailbox: each.code for each in office.source.mailbox_health()}
        assert health[BEN] == "permission.denied"
        assert health[ANN] == "ok"
