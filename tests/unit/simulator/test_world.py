"""The World: booking, moving, series with exceptions, rights, and mailboxes that fail by their name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.simulator.mishaps import FAULT_NAMES
from gateway.simulator.recurrence import Daily, Recurrence, Weekly
from gateway.simulator.world import (
    CALENDAR,
    DELETED_ITEMS,
    Appointment,
    BadRecurrence,
    Busy,
    Change,
    CrossesNeighbour,
    DeletedOccurrence,
    NoSuchItem,
    NoSuchMailbox,
    OccurrenceKind,
    Right,
    World,
)
from tests.unit.simulator.wire import ANN, BERLIN, BOB, office, utc

HOUR = timedelta(hours=1)


def hours(world: World, first: int = 20, last: int = 30) -> list[tuple[int, int]]:
    """Day and hour of what Ann's calendar shows, in UTC."""
    return [(one.start.day, one.start.hour) for one in world.occurrences(ANN, utc(first), utc(last))]


def daily(world: World, number: int | None = 4) -> Appointment:
    """A daily meeting at nine UTC from 20 November."""
    return world.book(ANN, utc(20, 9), utc(20, 10), recurrence=Recurrence(Daily(), number=number))


def test_an_appointment_can_be_booked_moved_changed_and_deleted() -> None:
    """Each save gives a new change key; a deleted item is nowhere."""
    world = office()
    item = world.book(ANN, utc(20, 9), utc(20, 10), subject="Plan")
    first = item.change_key
    world.move(item.item_id, utc(20, 11), utc(20, 12))
    world.change(item.item_id, busy=Busy.OOF, extra={"Body": "x"})
    assert hours(world) == [(20, 11)]
    found = world.find(item.item_id)
    assert (found.kind, found.busy, found.item.subject, found.item.extra) == ("Single", "OOF", "Plan", {"Body": "x"})
    assert found.change_key != first
    world.delete(item.item_id)
    assert hours(world) == []
    for lost in (world.find, world.delete, lambda each: world.file(each, DELETED_ITEMS)):
        with pytest.raises(NoSuchItem):
            lost(item.item_id)


def test_changes_are_told_with_mailbox_item_and_kind() -> None:
    """Watchers hear of each change once; an occurrence is a change of its series."""
    world = office()
    heard: list[Change] = []
    world.on_change(heard.append)
    item = daily(world)
    second = world.occurrence(item.item_id, 2)
    world.move(second.item_id, second.start + HOUR, second.end + HOUR)
    world.delete(world.occurrence(item.item_id, 3).item_id)
    filed = world.file(item.item_id, DELETED_ITEMS)
    world.delete(filed.item_id)
    assert [change.kind for change in heard] == ["created", "modified", "modified", "moved", "deleted"]
    assert {change.address for change in heard} == {ANN}
    assert (heard[1].item_id, heard[1].folder) == (second.master_id, CALENDAR)
    assert (heard[3].old_id, heard[3].old_folder, heard[3].item_id) == (second.master_id, CALENDAR, filed.item_id)


def test_windows_are_half_open_and_touching_items_come_on_request() -> None:
    """An item that ends as the window begins is outside, unless touching ones are wanted."""
    world = office()
    world.book(ANN, utc(19, 23), utc(20, 0))
    world.book(ANN, utc(20, 23), utc(21, 1))
    world.book(ANN, utc(21, 0), utc(21, 1))
    start, end = utc(20), utc(21)
    assert len(world.occurrences(ANN, start, end)) == 1
    assert len(world.occurrences(ANN, start, end, touching=True)) == 3


def test_a_series_shows_moved_occurrences_where_they_went_and_deleted_ones_nowhere() -> None:
    """An exception keeps its original start and index, also when it leaves or enters the window."""
    world = office()
    item = world.book(
        ANN, utc(20, 9), utc(20, 10), recurrence=Recurrence(Weekly(frozenset({4})), number=3), subject="Old"
    )
    second = world.occurrence(item.item_id, 2)
    moved = world.change(second.item_id, start=utc(25, 15), end=utc(25, 16), subject="New")
    assert (moved.kind, moved.index, moved.original_start) == (OccurrenceKind.EXCEPTION, 2, utc(27, 9))
    assert moved.item_id == second.item_id
    assert [one.item.subject for one in world.occurrences(ANN, utc(25), utc(26))] == ["New"]
    assert world.occurrences(ANN, utc(27), utc(28)) == []
    world.change(item.item_id, location="Room 2")
    assert world.find(moved.item_id).item.location == "Room 2"
    assert world.find(moved.item_id).item.subject == "New"
    world.delete(moved.item_id)
    assert hours(world) == [(20, 9)]
    with pytest.raises(DeletedOccurrence):
        world.find(moved.item_id)
    with pytest.raises(NoSuchItem):
        world.occurrence(item.item_id, 4)


def test_moving_a_whole_series_undoes_its_exceptions() -> None:
    """Another time for the series brings back moved and deleted occurrences, as Exchange does."""
    world = office()
    item = daily(world)
    second = world.occurrence(item.item_id, 2)
    world.move(second.item_id, second.start + HOUR, second.end + HOUR)
    world.delete(world.occurrence(item.item_id, 3).item_id)
    world.move(item.item_id, utc(22, 14), utc(22, 15))
    assert hours(world) == [(22, 14), (23, 14), (24, 14), (25, 14)]


def test_an_occurrence_stays_between_its_neighbours() -> None:
    """It may come close but not cross, and moved neighbours count where they are."""
    world = office()
    item = daily(world)
    second = world.occurrence(item.item_id, 2).item_id
    with pytest.raises(CrossesNeighbour):
        world.move(second, utc(22, 9, 30), utc(22, 11))
    with pytest.raises(CrossesNeighbour):
        world.move(second, utc(20, 9), utc(20, 9, 30))
    world.move(second, utc(22, 8), utc(22, 9))
    with pytest.raises(CrossesNeighbour):
        world.move(world.occurrence(item.item_id, 3).item_id, utc(22, 8, 30), utc(22, 10))


def test_all_day_items_are_whole_days_of_the_zone() -> None:
    """Any times on the day become its midnights; so do all-day exceptions."""
    world = office()
    item = world.book(ANN, utc(20, 9), utc(20, 10), all_day=True)
    assert (item.start, item.end) == (utc(19, 23), utc(20, 23))
    long = world.book(BOB, utc(20, 9), utc(22, 10), all_day=True, zone="UTC")
    assert (long.start, long.end) == (utc(20), utc(23))
    series = daily(world)
    one = world.change(world.occurrence(series.item_id, 1).item_id, all_day=True, end=utc(20, 9, 30))
    assert (one.start, one.end) == (utc(19, 23), utc(20, 23))


def test_a_series_repeats_in_its_own_zone_not_in_the_mailbox_zone() -> None:
    """A meeting booked from New York follows New York's change of clocks, on 1 November 2026."""
    world = office()
    start = datetime(2026, 10, 30, 13, tzinfo=UTC)  # nine in the morning there
    zone = "Eastern Standard Time"
    world.book(ANN, start, start + HOUR, recurrence=Recurrence(Daily(), number=4), zone=zone)
    found = world.occurrences(ANN, start - HOUR, start + timedelta(days=9))
    assert [one.start.hour for one in found] == [13, 13, 14, 14]


@pytest.mark.parametrize(
    ("start", "end"),
    [(utc(20, 10), utc(20, 9)), (utc(20).replace(tzinfo=None), utc(21).replace(tzinfo=None))],
)
def test_impossible_times_are_refused(start: datetime, end: datetime) -> None:
    """No end before the start and no naive time gets into a calendar."""
    with pytest.raises(ValueError, match="appointment"):
        office().book(ANN, start, end)


def test_unknown_names_are_refused() -> None:
    """Mailboxes, fields, addresses and empty recurrences that make no sense raise, each its own error."""
    world = office()
    with pytest.raises(NoSuchMailbox):
        world.occurrences("nobody@example.com", utc(20), utc(21))
    with pytest.raises(ValueError, match="exists already"):
        world.add_person(ANN.upper())
    item = world.book(ANN, utc(20, 9), utc(20, 10))
    with pytest.raises(TypeError, match="colour"):
        world.change(item.item_id, colour="red")
    past = Recurrence(Daily(), until=utc(1).date())
    with pytest.raises(BadRecurrence):
        world.book(ANN, utc(20, 9), utc(20, 10), recurrence=past)


def test_a_cancelled_meeting_takes_nobodys_time() -> None:
    """It is still listed, and free."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10), cancelled=True)
    (one,) = world.occurrences(ANN, utc(20), utc(21))
    assert (one.item.cancelled, one.busy) == (True, Busy.FREE)


def test_rights_are_the_owners_the_granted_and_the_default() -> None:
    """Owners see all, a grant replaces the default for one caller, whatever form of name they log on with."""
    world = office()
    world.add_person("closed@example.com", default_right=Right.NONE)
    assert world.right(ANN, ANN.upper()) is Right.OWNER
    assert world.right(ANN, "CORP\\Ann") is Right.OWNER
    assert world.right(ANN, BOB) is Right.AVAILABILITY_ONLY
    assert world.right("closed@example.com", BOB) is Right.NONE
    world.grant(ANN, "CORP\\bob", Right.REVIEWER)
    assert world.right(ANN, BOB) is Right.REVIEWER
    world.grant(ANN, "CORP\\svc", Right.LIMITED_DETAILS)
    assert world.right(ANN, "corp\\SVC") is Right.LIMITED_DETAILS


def test_impersonation_is_a_role_of_the_caller() -> None:
    """Only those who hold it act as others; everybody may act as themselves."""
    world = office()
    assert not world.may_impersonate("svc", ANN)
    assert world.may_impersonate("CORP\\ann", ANN)
    world.allow_impersonation("SVC")
    assert world.may_impersonate("svc", ANN)
    assert world.identify(world.mailbox(ANN).sid) == ANN


@pytest.mark.parametrize(("name", "code"), FAULT_NAMES.items())
def test_a_mailbox_fails_by_its_name(name: str, code: str) -> None:
    """The name alone is enough, with a number too, but not as part of another name; set_fault overrides it."""
    world = office()
    assert world.fault(f"{name}@example.com") == code
    assert world.fault(f"{name.title()}12@example.com") == code
    assert world.fault(f"{name}.person@example.com") is None
    world.set_fault(f"{name}@example.com", None)
    assert world.fault(f"{name}@example.com") is None
    world.set_fault(ANN, code)
    assert world.fault(ANN.upper()) == code


def test_berlin_is_where_the_test_says() -> None:
    """The mailbox keeps its zone under the IANA name, however it was given."""
    world = office()
    world.add_person("carl@example.com", zone="W. Europe Standard Time")
    assert world.mailbox("carl@example.com").zone == BERLIN.key


def test_a_series_whose_first_occurrence_spans_the_repeated_hour_never_ends_before_it_starts() -> None:
    """02:45 summer time to 02:00 winter time: its wall length afterwards, and on that day no less than that."""
    world = World(lambda: datetime(2026, 10, 1, tzinfo=UTC), zone="Europe/Berlin")
    world.add_person("ann@example.com")
    start = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    world.book("ann@example.com", start, start + timedelta(minutes=15), recurrence=Recurrence(Weekly(frozenset({6}))))
    found = world.occurrences("ann@example.com", start - timedelta(days=1), start + timedelta(days=15))
    first, *others = [each.end - each.start for each in found]
    assert first >= timedelta(minutes=15)
    assert others == [timedelta(minutes=15)] * 2
