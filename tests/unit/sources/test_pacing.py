"""The plan: who is due when, and with whom."""

from itertools import pairwise
from random import Random

import pytest

from gateway.core.model import Block, Busy, Schedule
from gateway.sources import Window
from gateway.sources.pacing import Entry, Line, Plan, edge_soon, window_at
from tests.calendars import at


def joined(plan: Plan, name: str, interval: float, due: float) -> Entry:
    """A new entry of that rhythm whose first read is due then."""
    entry = plan.entry(name, name)
    entry.interval = interval
    plan.schedule_at(entry, due)
    return entry


def taken(plan: Plan, now: float, line: Line = Line.HEALTHY, room: int = 10) -> list[str]:
    """The names of the next batch."""
    return [entry.person for entry in plan.take(line, room, now, at(9))]


def test_phases_lie_evenly_for_every_count() -> None:
    """No gap between neighbouring phases is much larger than the mean, with 10 as with 15,000 mailboxes."""
    plan = Plan(Random(2))
    phases: list[float] = []
    for count in range(1, 15_001):
        phases.append(plan.entry(str(count), "").phase)
        if count in (10, 100, 1000, 15_000):
            ordered = sorted(phases)
            gaps = [later - earlier for earlier, later in pairwise([*ordered, ordered[0] + 1])]
            assert max(gaps) <= 2.7 / count
            assert min(gaps) >= 0.3 / count


def test_a_mailbox_keeps_its_phase_however_late_it_is_read() -> None:
    """The next read is at the phase's next turn, at least a quarter of the interval away."""
    plan = Plan(Random(2))
    entry = joined(plan, "ann", 60.0, 0.0)
    entry.jitter = 0.0
    for now in range(1000, 1600, 7):
        plan.schedule_next(entry, float(now))
        turns = (entry.due - entry.phase * 60) / 60
        assert turns == pytest.approx(round(turns))
        assert 15 <= entry.due - now <= 75


def test_what_is_due_shortly_fills_the_batch() -> None:
    """A read may come a tenth of its interval early, but not more, and not to fill a hinted batch."""
    plan = Plan(Random(2))
    due = joined(plan, "due", 300.0, 100.0)
    joined(plan, "soon", 300.0, 125.0)
    joined(plan, "later", 300.0, 135.0)
    joined(plan, "watched", 60.0, 107.0)
    assert taken(plan, 99.0) == []
    assert taken(plan, 100.0) == ["due", "soon"]
    plan.schedule_at(due, 106.0)
    plan.hint(due, 106.0)
    assert taken(plan, 106.0) == ["due"]


def test_nobody_starves_behind_the_watched() -> None:
    """Urgency is worth a fixed wait: whoever waited longer than that goes first."""
    plan = Plan(Random(2))
    for n in range(3):
        joined(plan, f"watched{n}", 60.0, 5000.0).watched = True
    joined(plan, "rest", 300.0, 4999.0)
    joined(plan, "forgotten", 300.0, 3000.0)
    assert taken(plan, 5000.0, room=1) == ["forgotten"]
    assert taken(plan, 5000.0, room=9) == ["watched0", "watched1", "watched2", "rest"]


def test_a_share_limits_the_whole_batch() -> None:
    """A mailbox that must be alone is alone, and does not hold up the others."""
    plan = Plan(Random(2))
    for name, share in (("a", 2), ("b", 1), ("c", 9), ("d", 9)):
        joined(plan, name, 60.0, 1.0).share = share
    assert [taken(plan, 2.0) for _ in range(4)] == [["a"], ["b"], ["c", "d"], []]


def test_a_forgotten_entry_is_never_taken() -> None:
    """Neither from the waiting nor from the ready; and it does not count as due."""
    plan = Plan(Random(2))
    entry = joined(plan, "ann", 60.0, 1.0)
    assert plan.next_due(Line.HEALTHY) == 1.0
    plan.forget(entry)
    assert plan.next_due(Line.HEALTHY) == float("inf")
    assert taken(plan, 10.0) == []


def test_hints_do_not_pile_up() -> None:
    """A million hints and re-plannings leave a heap of a few records, and a hold stays a hold."""
    plan = Plan(Random(2))
    entry = joined(plan, "ann", 60.0, 50.0)
    entry.held_until = 50.0
    for n in range(100_000):
        plan.hint(entry, n / 10_000)
    assert taken(plan, 49.0) == []
    for n in range(10_000):
        plan.schedule_at(entry, 60.0 + n % 7)
    assert sum(len(records) for records in plan._waiting) <= 50
    assert taken(plan, 70.0) == ["ann"]


def test_the_window_is_whole_utc_days() -> None:
    """From the previous UTC midnight to 48 hours after it, at its first and its last instant."""
    assert window_at(at(0)) == window_at(at(23, 59)) == Window(at(0), at(0, day=22))
    assert window_at(at(24)) == Window(at(0, day=21), at(0, day=23))


def test_a_boundary_is_near_for_a_quarter_of_an_hour() -> None:
    """Both the beginning and the end of a block count, from fifteen minutes before until the instant itself."""
    schedule = Schedule(at(0), at(0, day=22), (Block(at(10), at(11), Busy.BUSY),))
    assert [edge_soon(schedule, at(*when)) for when in ((9, 45), (9, 46), (10, 0), (10, 1))] == [
        False,
        True,
        True,
        False,
    ]
    assert edge_soon(schedule, at(10, 50))
    assert not edge_soon(None, at(10))
