"""Everything that can go wrong with a notification stream: nothing is lost, nobody storms, neighbours have peace.

Ann, Ben and Carla share a stream, Zoe has one of her own. Times are simulated seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.streams import ANN, BEN, CARLA, STAFF, ZOE, StreamOffice, stream_office

QUICK, SOON = 2.0, 120.0
RECONCILED = 331.0
"""330 s from the end of one read to the beginning of the next, and a step of the clock."""
REST = 10.0
"""Until then the coalescing of reads has forgotten that there were any."""
Trouble = Callable[[StreamOffice], object]


def rule(action: str, **fields: Any) -> Trouble:
    """The next news in Ann's stream meets this."""
    return lambda office: office.exchange.faults.add(action, mailbox=ANN, count=1, **fields)


def ended(how: Any) -> Trouble:
    """The server ends Ann's stream."""
    return lambda office: office.exchange.end_streams(how, ANN)


# What happens, the settings of ours and switches of the server it needs, whether the ids are lost.
LOSSES: dict[str, Trouble] = {
    "closed in the middle of an envelope": rule("stream_cut"),
    "reset in the middle of an envelope": rule("stream_cut", end="reset"),
    "body ends in the middle of an envelope": rule("stream_cut", end="body"),
    "body ends between envelopes": rule("stream_cut", part=0.0, end="body"),
    "silent from an envelope on": rule("stream_silent"),
    "malformed envelope": rule("stream_malformed"),
    "oversized envelope": rule("stream_oversized", size=5 << 20),
    "endless envelopes": rule("stream_endless", seconds=0.01),
    "endless envelope": rule("stream_endless", repeat="inside"),
    "missed events": rule("stream_error"),
    "read events failed": rule("stream_error", code="ErrorReadEventsFailed"),
    "internal error": rule("stream_error", code="ErrorInternalServerError"),
    "all ids blamed and forgotten": rule("stream_error", code="ErrorSubscriptionNotFound", forget=True),
    "error with status OK": rule("stream_error", status="OK"),
    "busy": rule("stream_error", code="ErrorServerBusy"),
    "too many connections": rule("stream_error", code="ErrorExceededConnectionCount"),
    "anchor refused": rule("stream_error", code="ErrorImpersonateUserDenied"),
    "mailbox moved": rule("stream_error", code="ErrorMailboxMoveInProgress"),
    "connection closed": ended("close"),
    "connection reset": ended("reset"),
    "all ids unknown": ended("not_found"),
    "restart, connections closed": lambda office: office.exchange.restart_subscriptions("close"),
    "restart, connections reset": lambda office: office.exchange.restart_subscriptions("reset"),
    "restart, ids unknown": lambda office: office.exchange.restart_subscriptions("not_found"),
}
LISTED: dict[str, dict[str, Any]] = {
    "endless envelopes": {"stream_bytes": 400_000},
    "oversized envelope": {},
}


@pytest.mark.parametrize("trouble", LOSSES)
async def test_no_change_is_lost_whatever_happens_to_a_stream(trouble: str) -> None:
    """The change that met the fault and those after it are there within 120 s, and soon all is as before.

    The mailboxes of the stream are subscribed again at most once each, and it is opened again a few times at most.
    """
    async with stream_office(streams={"ids": "counting"}, **LISTED.get(trouble, {})) as office:
        journal = office.exchange.journal
        journal.clear()
        LOSSES[trouble](office)
        first = office.edits(ANN)
        second = office.edits(BEN)
        await office.until(lambda: first() and second(), within=SOON)
        await office.until(lambda: office.streaming(ANN, BEN, CARLA) or "anchor" in trouble, within=SOON)
        await office.passes(REST)
        await office.sees(CARLA, within=QUICK)
        assert journal.count("Subscribe") <= 4
        assert journal.streams.opened <= 1 + 4
        assert journal.streams.peak(seconds=1.0) <= 3
        assert journal.count("GetUserAvailability") <= 12


@pytest.mark.parametrize("trouble", [name for name in LOSSES if "restart" not in name])
async def test_the_neighbours_notice_nothing_of_a_stream_in_trouble(trouble: str) -> None:
    """Zoe's stream stays open all the time, she is not subscribed again, and her changes are there at once."""
    async with stream_office(**LISTED.get(trouble, {})) as office:
        (hers,) = (record for record in office.exchange.journal.streams.open if ZOE in record.mailboxes)
        office.exchange.journal.clear()
        LOSSES[trouble](office)
        office.edits(ANN)
        for _ in range(4):
            await office.sees(ZOE, within=QUICK)
            await office.passes(5)
        assert hers.ended_s is None
        subscribed = [entry.impersonated for entry in office.exchange.journal if entry.operation == "Subscribe"]
        assert ZOE not in subscribed


async def test_a_stream_that_falls_silent_is_noticed_by_the_watchdog() -> None:
    """Without a heartbeat for 100 s it is given up: what it kept back is read within 120 s of the change."""
    async with stream_office() as office:
        office.exchange.faults.add("stream_silent", mailbox=ANN, at="any", count=1)
        took = await office.sees(ANN, within=SOON)
        assert took > 50
        await office.until(office.streaming, within=10)
        assert office.exchange.journal.count("Subscribe") == 4 + 3


async def test_a_server_without_heartbeats_is_heard_all_the_same() -> None:
    """The watchdog opens a new stream now and then; changes on either side of that are not lost."""
    async with stream_office(streams={"heartbeat": "none"}) as office:
        for _ in range(4):
            await office.passes(95)
            await office.sees(ANN, within=SOON)
        assert office.exchange.journal.streams.opened <= 2 * 5


@pytest.mark.parametrize("how", ["lost on the way", "mute", "deaf restart"])
async def test_news_that_never_comes_is_found_by_the_reconciling_read(how: str) -> None:
    """A healthy stream that tells nothing costs 330 s at most, and is then not relied on as it is."""
    async with stream_office() as office:
        if how == "lost on the way":
            office.exchange.faults.add("stream_lost", mailbox=ANN)
        elif how == "mute":
            office.world.set_fault(ANN, "silent")
        else:
            office.exchange.restart_subscriptions("deaf")
        assert await office.sees(ANN, within=RECONCILED) > QUICK
        await office.passes(45)
        assert office.exchange.journal.count("Subscribe") > 4
        if how == "deaf restart":
            await office.sees(ANN, within=QUICK)
        else:
            assert await office.sees(ANN, within=RECONCILED) > QUICK
            await office.until(lambda: office.modes()[ANN] == "poll subscription.silent", within=45)


@pytest.mark.parametrize("closed", ["end", "linger", "missing"])
async def test_the_end_of_the_connection_timeout_loses_nothing(closed: str) -> None:
    """However the server ends it; where it says Closed, nobody is subscribed again, or read because of it."""
    async with stream_office(streams={"closed": closed, "minute_s": 2.0}) as office:
        office.exchange.journal.clear()
        for _ in range(12):
            await office.passes(14.5)
            await office.sees(ANN, within=5)
        assert office.exchange.journal.streams.opened >= 4
        if closed == "missing":
            assert office.streaming()
        else:
            assert office.exchange.journal.count("Subscribe") == 0
            assert office.exchange.journal.count("GetUserAvailability") <= 16


async def test_a_subscription_that_expired_between_two_streams_is_made_anew() -> None:
    """A server may forget within minutes whom nobody listens to: the outage ends with everybody followed."""
    async with stream_office(streams={"lifetime_s": 30.0}) as office:
        office.exchange.stop_listening()
        seen = office.edits(ANN)
        await office.passes(90)
        await office.exchange.resume_listening()
        await office.until(seen, within=SOON)
        await office.until(office.streaming, within=SOON)
        await office.sees(ANN, within=QUICK)


@pytest.mark.parametrize("ids", ["types", "messages"])
@pytest.mark.parametrize("code", ["ErrorSubscriptionNotFound", "ErrorInvalidSubscription"])
async def test_a_bad_id_among_good_ones_is_subscribed_alone(ids: str, code: str) -> None:
    """It is found out when the stream is opened; the others go on at once, with the ids they have."""
    async with stream_office(streams={"error_ids": ids, "unknown_id": code}) as office:
        office.exchange.ews.subscriptions.forget([BEN])
        office.exchange.journal.clear()
        office.exchange.end_streams("closed", ANN)
        await office.passes(1)
        waiting = [office.edits(person) for person in (ANN, BEN)]
        await office.until(lambda: all(seen() for seen in waiting), within=SOON)
        await office.until(office.streaming, within=10)
        subscribed = [entry.impersonated for entry in office.exchange.journal if entry.operation == "Subscribe"]
        assert subscribed == [BEN]
        await office.passes(REST)
        await office.sees(BEN, within=QUICK)


@pytest.mark.parametrize("streams", [{"exceeded_connections": "fault"}, {"exceeded_connections": "message"}])
async def test_one_stream_too_many_waits_for_room_and_is_polled_meanwhile(streams: dict[str, Any]) -> None:
    """The subscriptions live on, the server is asked ever more rarely, and changes are seen by polling."""
    async with stream_office(streams=streams) as office:
        office.streams.streams_per_mailbox = 0
        office.exchange.journal.clear()
        office.exchange.end_streams("closed", ANN)
        await office.until(lambda: office.modes()[ANN] == "poll subscription.limit", within=10)
        await office.sees(ANN, within=RECONCILED)
        await office.passes(300)
        assert office.exchange.journal.count("GetStreamingEvents") <= 25
        assert office.exchange.journal.count("Subscribe") == 0
        office.streams.streams_per_mailbox = None
        await office.until(office.streaming, within=1000)
        await office.passes(REST)
        await office.sees(ANN, within=QUICK)


async def test_one_subscription_too_many_is_polled_and_tried_again() -> None:
    """ErrorExceededSubscriptionCount: leaked ones expire by themselves, and the mailbox is followed then."""
    async with stream_office(streams={"subscriptions_per_mailbox": 0}, follow=False) as office:
        await office.passes(10)
        assert set(office.modes().values()) == {"poll subscription.limit"}
        await office.sees(ANN, within=RECONCILED)
        assert office.exchange.journal.count("Subscribe") <= 20
        office.streams.subscriptions_per_mailbox = None
        await office.until(office.streaming, within=1000)


async def test_two_hundred_and_one_mailboxes_are_two_streams() -> None:
    """The 201st id would be refused, so it is never sent; the last mailbox is followed like the first."""
    people = [f"p{number:03d}@example.com" for number in range(201)]
    async with stream_office(people, server_of=lambda mailbox: "", follow=False) as office:
        await office.until(office.streaming, within=60)
        open_now = office.exchange.journal.streams.open
        assert sorted(len(record.ids) for record in open_now) == [1, 200]
        assert {record.ending for record in office.exchange.journal.streams} == {""}
        await office.sees(people[0], within=QUICK)
        await office.sees(people[200], within=QUICK)


async def test_a_restart_that_gives_old_ids_to_others_mixes_nobody_up() -> None:
    """Ids count from 1 again and Ben's new one is Ann's old one: each still hears of the own calendar."""
    async with stream_office(streams={"ids": "counting"}) as office:
        for how in ("reset", "not_found", "close"):
            office.exchange.restart_subscriptions(how)
            waiting = [office.edits(person) for person in STAFF]
            await office.until(lambda: all(seen() for seen in waiting), within=SOON)  # noqa: B023
            await office.until(office.streaming, within=SOON)
        for person in STAFF:
            await office.sees(person, within=QUICK)
        live = office.exchange.ews.subscriptions.live
        assert sorted(each.address for each in live) == sorted(STAFF)


async def test_an_outage_of_ten_minutes_is_knocked_at_gently_and_recovers_without_a_storm() -> None:
    """Few connections while nobody answers, and afterwards each mailbox is subscribed once, ten a second at most."""
    people = [f"p{number:03d}@example.com" for number in range(60)]
    async with stream_office(people, server_of=lambda mailbox: mailbox[3], follow=False) as office:
        await office.until(office.streaming, within=60)
        office.exchange.stop_listening()
        seen = office.edits(people[7])
        await office.passes(600)
        office.exchange.journal.clear()
        await office.exchange.resume_listening()
        await office.until(seen, within=SOON)
        await office.until(office.streaming, within=SOON)
        assert office.exchange.journal.count("Subscribe") <= 62
        assert office.exchange.journal.peak("Subscribe", seconds=10.0) <= 110
        assert office.exchange.journal.streams.opened <= 12
        for person in people[:10]:
            await office.sees(person, within=QUICK)


@pytest.mark.parametrize("cookie", ["anchor", "every", "none"])
async def test_a_group_finds_its_mailbox_server_behind_a_load_balancer(cookie: str) -> None:
    """Anchor, preference and cookie keep its requests together, whenever the server sends the cookie, and only that."""
    streams = {"backends": 2, "affinity": "strict", "affinity_cookie": cookie, "more_cookies": True}
    async with stream_office(streams=streams) as office:
        assert {record.ending for record in office.exchange.journal.streams} == {""}
        for person in STAFF:
            await office.sees(person, within=QUICK)


async def test_a_burst_of_a_thousand_changes_of_one_mailbox_costs_four_reads() -> None:
    """In ten seconds, each saved twice and told in many events; the last of them is read."""
    async with stream_office(streams={"saves": 2, "save_gap_s": 0.1}) as office:
        await office.passes(30)
        office.exchange.journal.clear()
        appointment = office.world.book(ANN, office.clock.now(), office.clock.now())
        last = lambda: True  # noqa: E731
        for number in range(999):
            if number == 998:
                last = office.edits(ANN)
            else:
                office.world.change(appointment.item_id, subject=f"draft {number}")
            if number % 26 == 0:
                await office.passes(0.25)
        await office.until(last, within=12)
        reads = [entry for entry in office.exchange.journal if ANN in entry.mailboxes]
        assert len(reads) <= 4
        assert sum(each.events for each in office.exchange.journal.streams.emissions) >= 1000
