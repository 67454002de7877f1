"""Publishing: idempotence, order, leases, preferences, dismissal, erasure."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from gateway.core.model import Availability, Block, Busy, Override, Phone, Schedule
from gateway.errors import PublicationRefused
from gateway.web.ports import Receipt
from tests.unit.writing.conftest import ANN, NINE, Desk

MINUTE = timedelta(minutes=1)


async def call(
    desk: Desk, state: Phone, seq: int | None = None, publisher: str | None = None, line: str = "1"
) -> Receipt:
    """One line's state for a quarter of an hour."""
    return await desk.ingest.phone(ANN, line, state, since=None, expires_in=900, seq=seq, publisher=publisher)


async def test_a_publication_is_visible_when_it_is_acknowledged(desk: Desk) -> None:
    """The receipt names the expiry, and the next read shows the call."""
    receipt = await call(desk, Phone.CONNECTED, seq=7)
    assert receipt == Receipt(NINE + 15 * MINUTE, 7)
    assert desk.label(ANN) == "On the phone"


async def test_the_founding_example_and_what_is_left_after_the_call(desk: Desk) -> None:
    """Phone over calendar over availability; the meeting's start returns when the line is deleted."""
    await desk.ingest.session(ANN, "desk", Availability.AVAILABLE, expires_in=3600, seq=None, publisher=None)
    meeting = Schedule(
        NINE - 9 * 60 * MINUTE, NINE + 39 * 60 * MINUTE, (Block(NINE - MINUTE, NINE + 60 * MINUTE, Busy.BUSY),)
    )
    await desk.readings.schedules("hq", {ANN: meeting}, NINE)
    await call(desk, Phone.CONNECTED)
    assert desk.label(ANN) == "On the phone"
    assert desk.shows(ANN)["tooltip"] == "Online, On the phone, In a meeting"
    await desk.ingest.end_phone(ANN, "1", seq=None, publisher=None)
    assert desk.label(ANN) == "In a meeting"
    assert desk.shows(ANN)["effective"]["since"] == "2026-11-20T08:59:00.000Z"


async def test_an_exact_repeat_is_acknowledged_and_changes_nothing(desk: Desk) -> None:
    """Same seq and body: the same receipt, no new revision, nothing published."""
    first = await call(desk, Phone.CONNECTED, seq=1)
    revision, told = desk.view.revision, len(desk.published)
    await desk.clock.advance(30)
    assert await call(desk, Phone.CONNECTED, seq=1) == first
    assert (desk.view.revision, len(desk.published)) == (revision, told)


async def test_an_older_or_contradicting_sequence_is_refused(desk: Desk) -> None:
    """409 for what is older, and for another body under the same number; the newer state stays."""
    await call(desk, Phone.CONNECTED, seq=5)
    for seq, state in ((4, Phone.IDLE), (5, Phone.IDLE)):
        with pytest.raises(PublicationRefused) as refused:
            await call(desk, state, seq=seq)
        assert refused.value.code == "publication.outdated"
    assert desk.label(ANN) == "On the phone"


async def test_a_new_publisher_starts_counting_anew(desk: Desk) -> None:
    """A restarted pusher is believed with a lower number."""
    await call(desk, Phone.CONNECTED, seq=500, publisher="run-1")
    await call(desk, Phone.IDLE, seq=1, publisher="run-2")
    assert desk.label(ANN) == "Offline"


async def test_without_a_sequence_the_order_of_arrival_counts(desk: Desk) -> None:
    """The later message wins."""
    await call(desk, Phone.CONNECTED)
    await call(desk, Phone.IDLE)
    assert desk.label(ANN) == "Offline"


async def test_racing_publications_end_in_the_order_of_their_numbers(desk: Desk) -> None:
    """Twenty at once, in the wrong order: the highest number is what stays."""
    answers = await asyncio.gather(
        *(call(desk, Phone.IDLE if seq % 2 else Phone.CONNECTED, seq=seq) for seq in reversed(range(1, 21))),
        return_exceptions=True,
    )
    assert isinstance(answers[0], Receipt)
    assert all(isinstance(answer, Receipt | PublicationRefused) for answer in answers)
    assert desk.label(ANN) == "On the phone"


async def test_an_old_sequence_is_refused_after_the_line_was_deleted(desk: Desk) -> None:
    """What was sent before the end but arrives after it does not bring the call back."""
    await call(desk, Phone.CONNECTED, seq=1)
    await desk.ingest.end_phone(ANN, "1", seq=3, publisher=None)
    with pytest.raises(PublicationRefused):
        await call(desk, Phone.CONNECTED, seq=2)
    await call(desk, Phone.CONNECTED, seq=4)
    assert desk.label(ANN) == "On the phone"


async def test_deleting_what_is_not_there_is_fine(desk: Desk) -> None:
    """DELETE is idempotent."""
    revision = desk.view.revision
    await desk.ingest.end_phone(ANN, "1", seq=None, publisher=None)
    await desk.ingest.end_session(ANN, "desk", seq=None, publisher=None)
    assert desk.view.revision == revision


async def test_a_numbered_publication_after_expiry_is_accepted(desk: Desk) -> None:
    """The expired record may still lie in the store; it is not in the way."""
    await call(desk, Phone.CONNECTED, seq=9)
    await desk.clock.advance(901)
    assert desk.label(ANN) == "Offline"
    await call(desk, Phone.CONNECTED, seq=1)
    assert desk.label(ANN) == "On the phone"


async def test_a_call_keeps_its_start_through_hold_and_refresh(desk: Desk) -> None:
    """Connected, held, connected again: one call, one start."""
    for state in (Phone.DIALING, Phone.CONNECTED, Phone.HELD, Phone.CONNECTED):
        await call(desk, state)
        await desk.clock.advance(60)
    assert desk.shows(ANN)["effective"]["since"] == "2026-11-20T09:00:00.000Z"
    await call(desk, Phone.IDLE)
    await call(desk, Phone.CONNECTED)
    assert desk.shows(ANN)["effective"]["since"] == "2026-11-20T09:04:00.000Z"


async def test_a_refreshed_session_keeps_its_start(desk: Desk) -> None:
    """A heartbeat changes no byte."""
    await desk.ingest.session(ANN, "desk", Availability.AWAY, expires_in=300, seq=None, publisher=None)
    before, told = desk.shows(ANN), len(desk.published)
    await desk.clock.advance(120)
    await desk.ingest.session(ANN, "desk", Availability.AWAY, expires_in=300, seq=None, publisher=None)
    assert (desk.shows(ANN), len(desk.published)) == (before, told)


async def test_a_session_expires_by_itself(desk: Desk) -> None:
    """Silence ends it, and the change is published."""
    await desk.ingest.session(ANN, "desk", Availability.AVAILABLE, expires_in=300, seq=None, publisher=None)
    await desk.clock.advance(299)
    assert desk.label(ANN) == "Available"
    await desk.clock.advance(1)
    assert desk.label(ANN) == "Offline"
    assert desk.published[-1].effective.label == "Offline"


async def test_a_status_outlives_clients_and_ends_when_told(desk: Desk) -> None:
    """Manual choice ranks above sessions until its end or its deletion."""
    await desk.ingest.status(ANN, Availability.DO_NOT_DISTURB, until=NINE + 10 * MINUTE)
    await desk.ingest.session(ANN, "desk", Availability.AVAILABLE, expires_in=3600, seq=None, publisher=None)
    assert desk.label(ANN) == "Do not disturb"
    await desk.clock.advance(600)
    assert desk.label(ANN) == "Available"
    await desk.ingest.status(ANN, Availability.AWAY, until=None)
    await desk.ingest.end_status(ANN)
    assert desk.label(ANN) == "Available"


async def test_preferences_are_changed_field_by_field(desk: Desk) -> None:
    """A patch leaves the rest alone, None forgets, and what is in force is told."""
    await desk.ingest.choose(ANN, {"override": Override.DND_OVER_ALL})
    await desk.ingest.choose(ANN, {"show_until": True})
    assert desk.ingest.preferences(ANN).override is Override.DND_OVER_ALL
    assert desk.ingest.policy(ANN)["show_until"] is True
    await desk.ingest.choose(ANN, {"override": None})
    assert desk.ingest.policy(ANN)["override"] is Override.NONE
    assert desk.ingest.policy(ANN)["calendar_opt_in"] is True
    assert set(desk.chosen) == {ANN}


async def test_two_patches_at_once_both_hold(desk: Desk) -> None:
    """No update is lost."""
    await asyncio.gather(desk.ingest.choose(ANN, {"show_until": True}), desk.ingest.choose(ANN, {"invisible": True}))
    chosen = desk.ingest.preferences(ANN)
    assert (chosen.show_until, chosen.invisible) == (True, True)


async def test_dismissing_needs_a_block_that_ends_then(desk: Desk) -> None:
    """409 without one; with one the person is free until it is over, or until taken back."""
    end = NINE + 30 * MINUTE
    meeting = Schedule(NINE - 9 * 60 * MINUTE, NINE + 39 * 60 * MINUTE, (Block(NINE - MINUTE, end, Busy.BUSY),))
    await desk.readings.schedules("hq", {ANN: meeting}, NINE)
    with pytest.raises(PublicationRefused) as refused:
        await desk.ingest.dismiss(ANN, end + MINUTE)
    assert refused.value.code == "publication.nothing_to_dismiss"
    assert await desk.ingest.dismiss(ANN, end) == Receipt(end, None)
    assert desk.label(ANN) == "Offline"
    await desk.ingest.end_dismissal(ANN)
    assert desk.label(ANN) == "In a meeting"


async def test_somebody_who_left_is_erased(desk: Desk) -> None:
    """Facts, preferences and dismissal are gone from the store."""
    await call(desk, Phone.CONNECTED)
    await desk.ingest.choose(ANN, {"invisible": True})
    desk.view.set_people([])
    assert desk.view.composer.strangers() == [ANN]
    await desk.ingest.erase(ANN)
    async for batch in desk.store.watch():
        assert [change.key for change in batch.changes if "ann" in change.key] == []
        break
