"""Readings of calendars: only news is written, freshness is kept cheaply, consent is checked last."""

from __future__ import annotations

from datetime import timedelta

from gateway.core.model import Block, Busy, Schedule
from gateway.reading import Readings
from gateway.records import bucket_of
from gateway.view import View
from tests.unit.writing.conftest import ANN, BEN, NINE, Desk

MIDNIGHT = NINE - timedelta(hours=9)
MEETING = Block(NINE, NINE + timedelta(hours=1), Busy.BUSY)


def day(*blocks: Block) -> Schedule:
    """The window with these blocks."""
    return Schedule(MIDNIGHT, MIDNIGHT + timedelta(hours=48), blocks)


async def test_an_unchanged_schedule_is_not_written_again(desk: Desk) -> None:
    """Reading the same calendar a hundred times costs one write of it."""
    for _ in range(100):
        await desk.readings.schedules("hq", {ANN: day(MEETING)}, desk.clock.now())
    assert desk.view.revision == 1
    assert desk.label(ANN) == "In a meeting"


async def test_confirmations_are_written_at_once_and_then_once_a_minute(desk: Desk) -> None:
    """The first flush writes, the next ones wait for the minute, however often the calendar was read."""
    await desk.readings.schedules("hq", {ANN: day(MEETING)}, NINE)
    writes = []
    for _ in range(24):
        await desk.clock.advance(5)
        await desk.readings.schedules("hq", {ANN: day(MEETING)}, desk.clock.now())
        before = desk.view.revision
        await desk.readings.flush()
        await desk.clock.settle()
        writes.append(desk.view.revision - before)
    assert writes[0] == 1
    assert sum(writes) == 2


async def test_a_healthy_calendar_never_turns_stale_and_a_silent_one_does_after_15_minutes(desk: Desk) -> None:
    """Staleness counts from the last successful read, and a recovered calendar is fresh at the next flush."""
    await desk.readings.schedules("hq", {ANN: day(MEETING)}, NINE)
    for _ in range(12):
        await desk.clock.advance(300)
        await desk.readings.schedules("hq", {ANN: day(MEETING)}, desk.clock.now())
        await desk.readings.flush(everything=True)
        await desk.clock.settle()
        assert "stale" not in desk.shows(ANN)["components"]["calendar"]
    await desk.clock.advance(899)
    assert "stale" not in desk.shows(ANN)["components"]["calendar"]
    await desk.clock.advance(1)
    assert desk.shows(ANN)["components"]["calendar"]["as_of"] == "2026-11-20T10:00:00.000Z"
    await desk.readings.schedules("hq", {ANN: day(MEETING)}, desk.clock.now())
    await desk.readings.flush()
    await desk.clock.settle()
    assert "stale" not in desk.shows(ANN)["components"]["calendar"]


async def test_freshness_survives_a_restart(desk: Desk) -> None:
    """Another view of the same store, and readings that go on from it, know when each calendar was confirmed."""
    await desk.readings.schedules("hq", {ANN: day(), BEN: day()}, NINE)
    later = NINE + timedelta(minutes=10)
    await desk.readings.schedules("hq", {ANN: day(), BEN: day()}, later)
    await desk.readings.flush()
    await desk.clock.settle()
    assert desk.view.composer.confirmed("hq") == {ANN: later, BEN: later}
    again = Readings(desk.store, desk.view, desk.clock)
    await again.schedules("hq", {ANN: day()}, later + timedelta(minutes=5))
    await again.flush()
    await desk.clock.settle()
    assert desk.view.composer.confirmed("hq")[BEN] == later


async def test_an_answer_that_arrives_after_consent_was_withdrawn_is_dropped(desk: Desk) -> None:
    """Nothing is stored of a person who has said no meanwhile."""
    await desk.ingest.choose(ANN, {"calendar_opt_in": False})
    revision = desk.view.revision
    await desk.readings.schedules("hq", {ANN: day(MEETING)}, NINE)
    assert desk.view.revision == revision


async def test_withdrawing_makes_the_calendar_unknown_at_once(desk: Desk) -> None:
    """A lost right is not free time."""
    await desk.readings.schedules("hq", {ANN: day(MEETING)}, NINE)
    await desk.readings.withdraw("hq", ANN)
    assert desk.shows(ANN)["components"]["calendar"]["state"] == "unknown"
    revision = desk.view.revision
    await desk.readings.withdraw("hq", ANN)
    assert desk.view.revision == revision


async def test_the_first_reading_of_a_new_server_replaces_the_former_ones(desk: Desk) -> None:
    """Moved from one server to another, there is one schedule and no gap."""
    await desk.readings.schedules("legacy", {ANN: day(MEETING)}, NINE)
    assert desk.label(ANN) == "In a meeting"
    await desk.readings.schedules("hq", {ANN: day()}, NINE)
    assert desk.label(ANN) == "Offline"
    assert [source for source, _ in desk.view.composer.facts(ANN)] == ["hq"]


async def test_a_meeting_edge_fires_without_any_write(desk: Desk) -> None:
    """At ten the meeting is over, and the store has not been touched."""
    await desk.readings.schedules("hq", {ANN: day(MEETING)}, NINE)
    revision = desk.view.revision
    await desk.clock.advance(3599.9)
    assert desk.label(ANN) == "In a meeting"
    await desk.clock.advance(0.1)
    assert desk.label(ANN) == "Offline"
    assert desk.published[-1].effective.label == "Offline"
    assert desk.view.revision == revision


async def test_two_people_of_one_bucket_do_not_overwrite_each_other(desk: Desk) -> None:
    """A bucket's record holds everybody in it."""
    view: View = desk.view
    await desk.readings.schedules("hq", {ANN: day(), BEN: day()}, NINE)
    for minute, person in ((2, ANN), (4, BEN)):
        await desk.clock.advance(120)
        await desk.readings.schedules("hq", {person: day()}, NINE + timedelta(minutes=minute))
        await desk.readings.flush(everything=True)
        await desk.clock.settle()
    confirmed = view.composer.confirmed("hq")
    assert confirmed == {ANN: NINE + timedelta(minutes=2), BEN: NINE + timedelta(minutes=4)}
    assert 0 <= bucket_of(ANN) < 256
