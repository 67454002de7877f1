"""The living office: what the plan promises, and that playing it changes the world in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile

from gateway.simulator import Right, World
from gateway.simulator.script import CALL_LEASE, CLIENT_LEASE, Happening, office, plan, play, populate

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def planned(minutes: float, size: int = 12, seed: int = 1) -> list[Happening]:
    """What is planned for the first minutes."""
    people = list(office(size))
    ends = START + timedelta(minutes=minutes)
    return list(takewhile(lambda each: each.at < ends, plan(people, START, seed)))


def test_the_plan_is_the_same_for_the_same_seed() -> None:
    """Same people, start and seed: same happenings; another seed: others."""
    assert planned(30) == planned(30)
    assert planned(30) != planned(30, seed=2)


def test_the_plan_is_in_order_of_time() -> None:
    """However many people, for hours."""
    times = [each.at for each in planned(120, size=60)]
    assert times == sorted(times)
    assert times[0] == START


def test_within_the_first_minute_everything_can_be_seen() -> None:
    """A meeting ends, one begins, a call is taken, everybody is online."""
    minute = START + timedelta(minutes=1)
    first = planned(1)
    meetings = [each.fields for each in first if each.kind == "book"]
    assert any(START < each["end"] < minute for each in meetings)  # type: ignore[operator]
    assert any(START < each["start"] < minute for each in meetings)  # type: ignore[operator]
    assert any(each.kind == "phone" and each.fields["state"] == "connected" for each in first)
    online = {each.person for each in first if each.kind == "availability" and each.at == START}
    assert online == set(office(12))


def test_every_sort_of_appointment_is_there() -> None:
    """Busy, tentative, out of office, working elsewhere, all day and weekly."""
    booked = [each.fields for each in planned(1) if each.kind == "book"]
    assert {"Busy", "Tentative", "OOF", "WorkingElsewhere"} <= {each["busy"] for each in booked}
    assert any(each.get("all_day") for each in booked)
    assert any(each.get("weekly") for each in booked)


def test_meetings_go_on_beginning_and_ending() -> None:
    """Every five minutes of two hours see meetings begin, and calls."""
    happenings = planned(120)
    for slot in range(24):
        opens, closes = (START + timedelta(minutes=5 * each) for each in (slot, slot + 1))
        begun = [
            each
            for each in happenings
            if each.kind == "book" and opens <= each.fields["start"] < closes  # type: ignore[operator]
        ]
        assert begun
        assert any(each.kind == "phone" and opens <= each.at < closes for each in happenings)


def test_leases_are_renewed_before_they_end() -> None:
    """Nobody's client or call expires while the plan runs."""
    last: dict[tuple[str, str], datetime] = {}
    for each in planned(180):
        if each.kind == "availability":
            before = last.get((each.person, each.kind), START)
            assert each.at - before < timedelta(seconds=CLIENT_LEASE)
            last[each.person, each.kind] = each.at
        elif each.kind == "phone":
            before = last.pop((each.person, each.kind), each.at)
            assert each.at - before < timedelta(seconds=CALL_LEASE)
            if each.fields["state"] != "idle":
                last[each.person, each.kind] = each.at


def test_finished_meetings_are_cleared_away() -> None:
    """The number of appointments stays bounded however long it runs."""
    happenings = planned(600)
    booked = sum(each.kind == "book" for each in happenings)
    deleted = sum(each.kind == "delete" for each in happenings)
    assert booked > 500
    assert booked - deleted < 12 * 12


def test_a_larger_office_contains_the_smaller() -> None:
    """Hundreds of people have different addresses and the first twelve stay who they are."""
    large = office(300)
    assert len(large) == 300
    assert list(large)[:12] == list(office(12))


def test_one_calendar_is_shown_to_nobody() -> None:
    """Among twelve one mailbox refuses everybody."""
    world = World(lambda: START)
    populate(world, office(12))
    hidden = [each.address for each in world.mailboxes.values() if each.default_right is Right.NONE]
    assert len(hidden) == 1


async def test_playing_the_plan_changes_the_world_at_the_right_times() -> None:
    """Calendars change through the world, the rest is pushed, and nobody is early."""
    now = START
    pushed: list[Happening] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += timedelta(seconds=seconds)

    async def push(happening: Happening) -> None:
        assert happening.at <= now
        pushed.append(happening)

    world = World(lambda: now)
    people = office(12)
    populate(world, people)
    await play(world, planned(10), lambda: now, sleep, push)
    assert now > START + timedelta(minutes=9)
    assert {each.kind for each in pushed} == {"phone", "availability"}
    ann = world.occurrences("ann@example.com", START - timedelta(minutes=1), now)
    assert ann[0].end == START + timedelta(seconds=25)
    assert len(ann) >= 2


async def test_appointments_somebody_else_deleted_are_not_missed() -> None:
    """The plan's own deletion of them is no error."""
    world = World(lambda: START)
    populate(world, office(1))
    book = next(each for each in planned(1, size=1) if each.kind == "book")
    delete = Happening(START, book.person, "delete", {"key": book.fields["key"]})
    world.on_change(lambda change: None)

    async def sleep(seconds: float) -> None:
        raise AssertionError("nothing to wait for")

    await play(world, [book, delete, delete], lambda: START, sleep)
    assert not world.mailboxes[book.person].items
