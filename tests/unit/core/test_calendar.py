"""Calendar blocks: overlap, edges, options, age, dismissal."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.core.dismissal import dismissal
from gateway.core.model import (
    AllDayBusy,
    Availability,
    Busy,
    Component,
    OutOfOffice,
    Person,
    Phone,
    Policy,
    Presence,
    Tentative,
    WorkingElsewhere,
)
from tests.unit.core.story import ANN, MIDNIGHT, Story, at, block, whole_day


def calendar(presence: Presence) -> Component:
    """The calendar component, which must be there."""
    assert presence.calendar is not None
    return presence.calendar


def office() -> Story:
    """Ann at her desk."""
    return Story().session(Availability.AVAILABLE, "7:00")


def test_intervals_are_half_open() -> None:
    """In the meeting from its first instant, out of it at its last."""
    story = office().books(block("9:00", "10:00"))
    assert story.labels("8:59:59", "9:00", "9:59:59", "10:00") == [
        "Available",
        "In a meeting",
        "In a meeting",
        "Available",
    ]


def test_back_to_back_meetings_are_one_run_without_a_transition() -> None:
    """Since and until span both, and nothing changes where they touch."""
    story = office().books(block("10:00", "10:15"), block("10:15", "10:30"))
    before, after = story.seen("10:14:59"), story.seen("10:15")
    assert before == after
    assert (after.effective.since, after.effective.until) == (at("10:00"), at("10:30"))


def test_nested_and_overlapping_meetings_are_one_run() -> None:
    """A meeting inside a longer one, and one that overlaps its end, extend the run only outwards."""
    story = office().books(block("9:00", "11:00"), block("9:30", "10:00"), block("10:45", "11:30"))
    for clock in ("9:00", "9:59", "10:30", "11:29:59"):
        effective = story.seen(clock).effective
        assert (effective.since, effective.until) == (at("9:00"), at("11:30"))


def test_a_zero_length_event_never_asserts() -> None:
    """It is nobody's meeting, and it does not split the free time."""
    presence = office().books(block("9:00", "9:00"), read="8:59").seen("9:00")
    assert calendar(presence) == Component("free", None, None, None)


def test_a_meeting_cancelled_while_it_runs_is_over_when_we_learn_it() -> None:
    """The next reading without the block ends the label."""
    story = office().books(block("9:00", "10:00"))
    assert story.seen("9:20").effective.label == "In a meeting"
    story.books(read="9:21")
    assert story.seen("9:21").effective.label == "Available"


def test_a_shortened_meeting_keeps_its_start() -> None:
    """The end moves, the start does not."""
    story = office().books(block("9:00", "10:00"))
    story.books(block("9:00", "9:30"), read="9:10")
    assert (story.seen("9:20").effective.since, story.seen("9:20").effective.until) == (at("9:00"), at("9:30"))


def test_out_of_office_wins_over_a_busy_meeting_inside_it() -> None:
    """Exchange's merge order: the meeting does not show, and the run is not cut by it."""
    story = office().books(block("9:00", "17:00", Busy.OUT_OF_OFFICE), block("10:00", "11:00"))
    effective = story.seen("10:30").effective
    assert (effective.label, effective.since, effective.until) == ("Out of office", at("9:00"), at("17:00"))


def test_busy_wins_over_tentative_and_tentative_over_working_elsewhere() -> None:
    """The weaker block shows again where the stronger one ends."""
    story = office().books(
        whole_day(Busy.WORKING_ELSEWHERE), block("9:00", "12:00", Busy.TENTATIVE), block("10:00", "11:00")
    )
    states = [calendar(story.seen(clock)).state for clock in ("8:00", "9:30", "10:30", "11:30", "13:00")]
    assert states == ["working_elsewhere", "tentative", "in_meeting", "tentative", "working_elsewhere"]
    assert calendar(story.seen("11:30")).since == at("11:00")


@pytest.mark.parametrize(
    ("option", "label", "tooltip"),
    [
        (Tentative.IGNORE, "Available", "Online"),
        (Tentative.TOOLTIP, "Available", "Online, Tentative"),
        (Tentative.BUSY, "In a meeting", "Online, In a meeting"),
    ],
)
def test_the_tentative_option(option: Tentative, label: str, tooltip: str) -> None:
    """Ignored, told in the tooltip, or counted as a meeting; the person's choice wins over the deployment's."""
    for story in (office().configured(tentative=option), office().prefers(tentative=option)):
        presence = story.books(block("9:00", "10:00", Busy.TENTATIVE)).seen("9:30")
        assert (presence.effective.label, presence.tooltip) == (label, tooltip)


def test_tentative_counted_as_busy_coalesces_with_a_meeting() -> None:
    """Once it is a meeting there is no transition between the two."""
    story = office().configured(tentative=Tentative.BUSY)
    story.books(block("9:00", "9:30", Busy.TENTATIVE), block("9:30", "10:00"))
    assert story.seen("9:45").effective.since == at("9:00")


@pytest.mark.parametrize(
    ("option", "label", "reach"),
    [
        (OutOfOffice.SHOW, "Out of office", "away"),
        (OutOfOffice.AWAY_LABEL, "Away", "away"),
        (OutOfOffice.IGNORE, "Available", "reachable"),
    ],
)
def test_the_out_of_office_option(option: OutOfOffice, label: str, reach: str) -> None:
    """Shown, shown as away, or ignored."""
    presence = office().prefers(out_of_office=option).books(whole_day(Busy.OUT_OF_OFFICE)).seen("9:30")
    assert (presence.effective.label, presence.reach) == (label, reach)


def test_the_working_elsewhere_option() -> None:
    """It never asserts; the deployment may show it in the tooltip."""
    story = office().books(whole_day(Busy.WORKING_ELSEWHERE))
    assert (story.seen("9:00").effective.label, story.seen("9:00").tooltip) == ("Available", "Online")
    story.configured(working_elsewhere=WorkingElsewhere.TOOLTIP)
    assert story.seen("9:00").tooltip == "Online, Working elsewhere"


def test_all_day_busy_counts_unless_told_otherwise() -> None:
    """An all-day busy event is deliberate and counts; the option ignores it but no other busy block."""
    story = office().books(whole_day(Busy.BUSY), block("9:00", "10:00"))
    assert story.labels("8:00", "9:30") == ["In a meeting", "In a meeting"]
    story.prefers(all_day_busy=AllDayBusy.IGNORE)
    assert story.labels("8:00", "9:30") == ["Available", "In a meeting"]


def test_a_calendar_is_shown_stale_after_15_minutes_and_unknown_after_a_day() -> None:
    """Stale keeps the label and says since when; unknown drops the component's word."""
    story = office().books(whole_day(Busy.BUSY), read="8:00")
    assert calendar(story.seen("8:14:59")).as_of is None
    assert calendar(story.seen("8:15")).as_of == at("8:00")
    assert story.seen("8:15").effective.label == "In a meeting"
    assert calendar(story.seen(at("7:59:59", day=1))).state == "free"
    gone = story.seen(at("8:00", day=1))
    assert (calendar(gone).state, gone.tooltip) == ("unknown", "Online")


def test_a_confirmation_keeps_a_calendar_fresh() -> None:
    """A later successful read of the same schedule moves staleness away."""
    story = office().books(whole_day(Busy.BUSY), read="8:00")
    story.confirmed = {"hq": {ANN.id: at("9:00")}}
    assert calendar(story.seen("9:14:59")).as_of is None
    assert calendar(story.seen("9:15")).as_of == at("9:00")


def test_a_used_up_window_is_unknown_however_fresh() -> None:
    """Nobody is called free beyond the window that was read."""
    story = office().books(read="8:00")
    story.confirmed = {"hq": {ANN.id: at("23:59", day=1)}}
    assert calendar(story.seen(at("23:59:59", day=1))).state == "free"
    assert calendar(story.seen(at("0:00", day=2))).state == "unknown"


def test_no_reading_yet_is_unknown_and_not_free() -> None:
    """Consent without a schedule asserts nothing and says so."""
    presence = office().seen("9:00")
    assert (calendar(presence).state, presence.effective.label) == ("unknown", "Available")


@pytest.mark.parametrize(
    ("chosen", "listed", "configured", "shown"),
    [
        (None, None, False, False),
        (None, None, True, True),
        (None, True, False, True),
        (None, False, True, False),
        (False, True, True, False),
        (True, False, False, True),
    ],
)
def test_consent(chosen: bool | None, listed: bool | None, configured: bool, shown: bool) -> None:
    """The person's own choice, else the directory's, else the default."""
    story = office().configured(calendar_opt_in=configured).prefers(calendar_opt_in=chosen)
    story.person = Person(ANN.id, calendar="hq", calendar_opt_in=listed)
    presence = story.books(block("9:00", "10:00")).seen("9:30")
    assert (presence.calendar is not None) is shown
    assert (presence.effective.label == "In a meeting") is shown


def test_consent_flipped_in_a_meeting_shows_at_once() -> None:
    """Off hides the meeting, on shows it with its own start."""
    story = office().books(block("9:00", "10:00")).prefers(calendar_opt_in=False)
    assert story.seen("9:30").calendar is None
    story.prefers(calendar_opt_in=True)
    assert story.seen("9:30").effective.since == at("9:00")


def test_somebody_moved_to_another_server_keeps_the_old_schedule_until_the_new_one_is_read() -> None:
    """The configured server's schedule wins as soon as it exists, however old the other is."""
    story = office().books(block("9:00", "10:00"), source="legacy")
    assert story.seen("9:30").effective.label == "In a meeting"
    story.books(source="hq")
    story.books(block("9:00", "10:00"), source="legacy", read="9:10")
    assert story.seen("9:30").effective.label == "Available"


def test_next_is_the_first_edge_that_changes_what_watchers_see() -> None:
    """Free until nine, then the meeting; in the meeting, what comes after it."""
    story = office().books(block("9:00", "10:00"), block("10:00", "11:00", Busy.OUT_OF_OFFICE))
    coming = story.seen("8:00").next
    assert coming is not None
    assert (coming.at, coming.effective.label, coming.reach) == (at("9:00"), "In a meeting", "busy")
    coming = story.seen("9:30").next
    assert coming is not None
    assert (coming.at, coming.effective.label, coming.effective.until) == (at("10:00"), "Out of office", at("11:00"))


def test_next_never_speaks_of_a_lease() -> None:
    """A call's or session's expiry is not known to come, so under a call nothing is announced."""
    story = office().books(block("9:00", "10:00")).calls(Phone.CONNECTED, "9:10")
    assert story.seen("9:30").next is None


def test_next_tells_of_a_manual_status_that_ends() -> None:
    """An explicit end is known to come."""
    coming = office().declares(Availability.DO_NOT_DISTURB, "9:00", until="9:45").seen("9:30").next
    assert coming is not None
    assert (coming.at, coming.effective.label) == (at("9:45"), "Available")


def test_dismissing_the_run_frees_until_its_end_and_no_other_block() -> None:
    """The whole displayed run is left, the next meeting counts again."""
    story = office().books(block("9:00", "9:30"), block("9:30", "10:00"), block("11:00", "12:00"))
    story.dismissal = dismissal(story.evidence(), Policy(), at("9:10"), at("10:00"))
    assert story.dismissal is not None
    assert story.labels("9:10", "9:45", "11:00") == ["Available", "Available", "In a meeting"]


def test_dismissing_one_block_of_a_run_leaves_the_rest() -> None:
    """The end of the running block may be given instead of the run's."""
    story = office().books(block("9:00", "9:30"), block("9:30", "10:00"))
    story.dismissal = dismissal(story.evidence(), Policy(), at("9:10"), at("9:30"))
    assert story.labels("9:10", "9:30") == ["Available", "In a meeting"]
    assert story.seen("9:40").effective.since == at("9:30")


def test_a_changed_block_re_arms() -> None:
    """Extending the dismissed meeting makes it count again."""
    story = office().books(block("9:00", "10:00"))
    story.dismissal = dismissal(story.evidence(), Policy(), at("9:10"), at("10:00"))
    story.books(block("9:00", "10:30"), read="9:20")
    assert story.labels("9:30") == ["In a meeting"]


@pytest.mark.parametrize("until", ["9:45", "11:00", "8:00"])
def test_nothing_is_dismissed_that_does_not_end_then(until: str) -> None:
    """An `until` that is nobody's end is refused."""
    story = office().books(block("9:00", "10:00"), block("10:30", "11:00"))
    assert dismissal(story.evidence(), Policy(), at("9:10"), at(until)) is None


def test_dismissing_an_out_of_office_day_uncovers_the_meeting_inside() -> None:
    """Only blocks of the running state are left."""
    story = office().books(whole_day(Busy.OUT_OF_OFFICE), block("10:00", "11:00"))
    story.dismissal = dismissal(story.evidence(), Policy(), at("9:10"), MIDNIGHT + timedelta(days=1))
    assert story.labels("9:30", "10:30") == ["Available", "In a meeting"]


def test_nothing_can_be_dismissed_without_consent() -> None:
    """No component, no dismissal."""
    story = office().books(block("9:00", "10:00")).prefers(calendar_opt_in=False)
    assert dismissal(story.evidence(), Policy(), at("9:10"), at("10:00")) is None
