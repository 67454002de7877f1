"""The founding rule and its override policies, cell by cell."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.core.model import Availability, Busy, Kind, Override, Phone, Reach
from tests.unit.core.story import Story, at, block

A = Availability
Labels = dict[Availability, tuple[str, ...]]
CASES = ("idle + free", "idle + busy", "call + free", "call + busy")
MEETING, CALL = "In a meeting", "On the phone"
OWN = {
    A.AVAILABLE: "Available",
    A.IDLE: "Idle",
    A.AWAY: "Away",
    A.BE_RIGHT_BACK: "Be right back",
    A.BUSY: "Busy",
    A.DO_NOT_DISTURB: "Do not disturb",
    A.OFFLINE: "Offline",
    A.UNKNOWN: "Unknown",
}
REACH = {
    A.AVAILABLE: ("reachable", "busy", "busy", "busy"),
    A.IDLE: ("away", "busy", "busy", "busy"),
    A.AWAY: ("away", "busy", "busy", "busy"),
    A.BE_RIGHT_BACK: ("away", "busy", "busy", "busy"),
    A.BUSY: ("busy", "busy", "busy", "busy"),
    A.DO_NOT_DISTURB: ("do_not_disturb",) * 4,
    A.OFFLINE: ("unreachable", "busy", "busy", "busy"),
    A.UNKNOWN: ("unknown", "busy", "busy", "busy"),
}
STRICT: Labels = {state: (own, MEETING, CALL, CALL) for state, own in OWN.items()}
"""The table of the founding rule: own label, meeting, call, call."""
DND, OFF = OWN[A.DO_NOT_DISTURB], OWN[A.OFFLINE]
LABELS: dict[Override, Labels] = {
    Override.NONE: STRICT,
    Override.DND_OVER_CALENDAR: STRICT | {A.DO_NOT_DISTURB: (DND, DND, CALL, CALL)},
    Override.DND_OVER_ALL: STRICT | {A.DO_NOT_DISTURB: (DND, DND, DND, DND)},
    Override.MANUAL_OVER_CALENDAR: STRICT,
    Override.MANUAL_OVER_ALL: STRICT,
    Override.OFFLINE_HIDES_CALENDAR: STRICT | {A.OFFLINE: (OFF, OFF, CALL, CALL)},
}
MANUAL_LABELS: dict[Override, Labels] = {
    **LABELS,
    Override.MANUAL_OVER_CALENDAR: {state: (own, own, CALL, CALL) for state, own in OWN.items()},
    Override.MANUAL_OVER_ALL: {state: (own,) * 4 for state, own in OWN.items()},
    Override.OFFLINE_HIDES_CALENDAR: {state: (own, own, CALL, CALL) for state, own in OWN.items()},
}
"""The same with the state chosen by hand after the meeting began, and no client session."""
CELLS = list(product(Override, OWN, range(4)))


def told(override: Override, case: int) -> Story:
    """Ann with a meeting 9:00-10:00 and a call since 9:15, as far as the case has them, seen at 9:30."""
    story = Story().configured(override=override)
    story.books(*([block("9:00", "10:00")] if case in (1, 3) else []))
    return story.calls(Phone.CONNECTED, "9:15") if case >= 2 else story


@pytest.mark.parametrize(("override", "state", "case"), CELLS)
def test_every_cell_of_the_table_under_every_policy(override: Override, state: Availability, case: int) -> None:
    """A declared session state, the calendar and the phone give the label of the table."""
    presence = told(override, case).session(state, "8:30").seen("9:30")
    assert presence.effective.label == LABELS[override][state][case]


@pytest.mark.parametrize(("override", "state", "case"), CELLS)
def test_every_cell_with_a_state_chosen_by_hand(override: Override, state: Availability, case: int) -> None:
    """A manual state beats what the policy lets it beat, and nothing else."""
    presence = told(override, case).declares(state, "9:20").seen("9:30")
    assert presence.effective.label == MANUAL_LABELS[override][state][case]


@pytest.mark.parametrize(("state", "case"), list(product(OWN, range(4))))
def test_reach_is_a_second_axis(state: Availability, case: int) -> None:
    """Under the founding rule reach is that of the table, and do-not-disturb survives every label."""
    presence = told(Override.NONE, case).session(state, "8:30").seen("9:30")
    assert presence.reach == REACH[state][case]


def test_no_client_session_is_offline_and_hides_the_calendar_only_if_told_so() -> None:
    """Without any session the strict rule still shows the meeting; offline_hides_calendar does not."""
    assert told(Override.NONE, 1).seen("9:30").effective.label == MEETING
    assert told(Override.OFFLINE_HIDES_CALENDAR, 1).seen("9:30").effective.label == OFF


def test_the_founding_example() -> None:
    """Available, on a call and in a meeting reads "On the phone", with all three in the tooltip."""
    story = Story().session(A.AVAILABLE, "7:58").books(block("9:00", "10:00")).calls(Phone.CONNECTED, "9:02:11")
    presence = story.seen("9:30")
    assert (presence.effective.kind, presence.effective.label) == (Kind.PHONE, "On the phone")
    assert presence.effective.since == at("9:02:11")
    assert presence.tooltip == "Online, On the phone, In a meeting"


def test_a_call_that_ends_inside_a_meeting_uncovers_the_meetings_own_start() -> None:
    """The label returns to "In a meeting" since the meeting began, not since the call ended."""
    story = Story().session(A.AVAILABLE, "7:58").books(block("9:00", "10:00")).calls(Phone.ENDED, "9:20")
    presence = story.seen("9:30")
    assert (presence.effective.label, presence.effective.since) == ("In a meeting", at("9:00"))
    assert presence.tooltip == "Online, In a meeting"


def test_a_meeting_that_ends_during_a_call_changes_only_the_tooltip() -> None:
    """The call stays on top when the meeting ends under it."""
    story = Story().session(A.AVAILABLE, "7:58").books(block("9:00", "10:00")).calls(Phone.CONNECTED, "9:30")
    before, after = story.seen("9:59:59"), story.seen("10:00")
    assert before.effective == after.effective
    assert after.tooltip == "Online, On the phone"


def test_call_and_meeting_ending_in_the_same_second_leave_availability() -> None:
    """Both gone at once, availability decides at once."""
    story = Story().session(A.AVAILABLE, "7:58").books(block("9:00", "10:00")).calls(Phone.ENDED, "10:00")
    assert story.seen("10:00").effective.label == "Available"


def test_manual_over_calendar_beats_only_blocks_that_began_before() -> None:
    """A status set during the first of two back-to-back meetings does not beat the second."""
    story = Story().configured(override=Override.MANUAL_OVER_CALENDAR)
    story.books(block("10:00", "10:15"), block("10:15", "10:30")).declares(A.AVAILABLE, "10:05")
    assert story.labels("10:04", "10:05", "10:14:59", "10:15", "10:30") == [
        "Available",
        "Available",
        "Available",
        "In a meeting",
        "Available",
    ]
    assert story.seen("10:20").effective.since == at("10:15")
    assert story.seen("10:10").tooltip == "Online, In a meeting"


def test_manual_over_all_ends_with_the_status() -> None:
    """When the manual status runs out the rule is back."""
    story = Story().configured(override=Override.MANUAL_OVER_ALL)
    story.books(block("9:00", "11:00")).calls(Phone.CONNECTED, "9:10").declares(A.AVAILABLE, "9:15", until="9:45")
    assert story.labels("9:44:59", "9:45") == ["Available", "On the phone"]


def test_a_persons_override_wins_over_the_deployments() -> None:
    """The policy may be chosen per person."""
    story = told(Override.NONE, 1).session(A.DO_NOT_DISTURB, "8:30").prefers(override=Override.DND_OVER_ALL)
    assert story.seen("9:30").effective.label == DND


def test_reach_follows_the_winner_out_of_office() -> None:
    """Out of office is away, unless do-not-disturb was declared."""
    story = Story().session(A.AVAILABLE, "7:00").books(block("9:00", "17:00", Busy.OUT_OF_OFFICE))
    assert (story.seen("12:00").effective.label, story.seen("12:00").reach) == ("Out of office", Reach.AWAY)
    story.session(A.DO_NOT_DISTURB, "11:00")
    assert story.seen("12:00").reach is Reach.DO_NOT_DISTURB
