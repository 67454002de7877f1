"""Lines, calls, sessions and the manual status, reduced to one component each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.core.evidence import newest, supersedes
from gateway.core.model import Availability, Fact, Kind, Person, Phone
from tests.unit.core.story import ANN, Story, at, block


def desk() -> Story:
    """Ann at her desk, with no calendar to disturb the picture."""
    return Story(Person(ANN.id)).session(Availability.AVAILABLE, "7:00")


def test_without_a_phone_source_there_is_no_phone_component() -> None:
    """Nothing configured and nothing pushed: absent, not idle."""
    assert desk().seen("9:00").phone is None


def test_a_configured_phone_without_calls_is_idle_and_says_nothing() -> None:
    """Idle asserts nothing."""
    story = desk()
    story.person = Person(ANN.id, phones={"pbx": ("PJSIP/1001",)})
    phone = story.seen("9:00").phone
    assert phone is not None
    assert (phone.state, phone.label, story.seen("9:00").tooltip) == ("idle", None, "Online")


@pytest.mark.parametrize(
    ("states", "reduced", "label"),
    [
        ((Phone.HELD, Phone.CONNECTED), "connected", "On the phone"),
        ((Phone.DIALING, Phone.HELD), "held", "On the phone"),
        ((Phone.RINGING, Phone.DIALING), "dialing", "On the phone"),
        ((Phone.RINGING, Phone.WRAP_UP), "wrap_up", "Available"),
        ((Phone.IDLE, Phone.RINGING), "ringing", "Available"),
        ((Phone.IDLE, Phone.IDLE), "idle", "Available"),
    ],
)
def test_the_strongest_line_wins(states: tuple[Phone, ...], reduced: str, label: str) -> None:
    """connected > held > dialing > wrap_up > ringing > idle; the first three are on the phone."""
    story = desk()
    for number, state in enumerate(states):
        story.calls(state, "9:00", line=str(number))
    presence = story.seen("9:30")
    assert presence.phone is not None
    assert (presence.phone.state, presence.effective.label) == (reduced, label)


def test_since_is_the_earliest_present_call() -> None:
    """A second call does not reset the clock, and the first one's end moves it to the second."""
    story = desk().calls(Phone.HELD, "9:00", line="1").calls(Phone.CONNECTED, "9:10", line="2")
    assert story.seen("9:20").effective.since == at("9:00")
    story.calls(Phone.ENDED, "9:20", line="1")
    assert story.seen("9:20").effective.since == at("9:10")


@pytest.mark.parametrize("first", ["1", "2"])
def test_two_calls_may_end_in_either_order(first: str) -> None:
    """The phone is free only when both are gone."""
    story = desk().calls(Phone.CONNECTED, "9:00", line="1").calls(Phone.CONNECTED, "9:05", line="2")
    story.calls(Phone.ENDED, "9:20", line=first)
    assert story.seen("9:20").effective.label == "On the phone"
    story.calls(Phone.ENDED, "9:21", line="2" if first == "1" else "1")
    assert story.seen("9:21").effective.label == "Available"


def test_a_forked_call_answered_on_one_of_three_devices() -> None:
    """Ringing everywhere is not on the phone; answered once it is, and the others' end changes nothing."""
    story = desk()
    for device in "abc":
        story.calls(Phone.RINGING, "9:00", line=device)
    assert story.seen("9:00").effective.label == "Available"
    story.calls(Phone.CONNECTED, "9:00:05", line="b")
    for device in "ac":
        story.calls(Phone.ENDED, "9:00:05", line=device)
    assert story.seen("9:01").effective.since == at("9:00:05")


def test_ringing_counts_only_if_told_so() -> None:
    """The option makes a ringing phone assert."""
    story = desk().calls(Phone.RINGING, "9:00").configured(ringing_counts=True)
    assert story.seen("9:00").effective.label == "On the phone"


def test_tooltip_options_for_ringing_and_hold() -> None:
    """Both are off by default."""
    held = desk().calls(Phone.HELD, "9:00")
    ringing = desk().calls(Phone.RINGING, "9:00")
    assert (held.seen("9:00").tooltip, ringing.seen("9:00").tooltip) == ("Online, On the phone", "Online")
    held.configured(hold_tooltip=True)
    ringing.configured(ringing_tooltip=True)
    assert held.seen("9:00").tooltip == "Online, On the phone (on hold)"
    assert ringing.seen("9:00").tooltip == "Online, Ringing"


def test_a_lost_link_makes_calls_stale_and_then_removes_them() -> None:
    """120 s after the link's last sign of life the call is stale, after 300 s more it is gone."""
    story = desk().calls(Phone.CONNECTED, "9:00", source="pbx")
    story.confirmed = {"pbx": {"*": at("9:10")}}
    fresh, stale, last, gone = (story.seen(clock) for clock in ("9:11:59", "9:12", "9:16:59", "9:17"))
    assert fresh.phone is not None
    assert fresh.phone.as_of is None
    assert stale.phone is not None
    assert stale.phone.as_of == at("9:10")
    assert last.effective.label == "On the phone"
    assert gone.effective.label == "Available"


def test_a_late_early_after_the_end_of_a_call_is_dropped_for_a_minute() -> None:
    """Only for ids that are never reused; a reused line rings again at once."""
    ended = Fact(ANN.id, Kind.PHONE, "pbx", "call-1", 5, Phone.ENDED, at("9:00"), at("9:00"), None, at("9:01"))
    late = replace(ended, seq=6, value=Phone.RINGING, observed_at=at("9:00:30"), expires_at=at("21:00"))
    assert supersedes(late, ended)
    sticky = replace(ended, sticky=True)
    assert not supersedes(late, sticky)
    assert supersedes(replace(late, observed_at=at("9:01")), sticky)
    assert list(newest([late, sticky])) == [sticky]


def test_an_older_sequence_never_replaces_a_newer_one() -> None:
    """Order is seq, whatever order facts are given in."""
    new = Fact(ANN.id, Kind.PHONE, "pbx", "1", 2, Phone.CONNECTED, at("9:00"), at("9:00"))
    old = replace(new, seq=1, value=Phone.RINGING)
    assert list(newest([new, old])) == list(newest([old, new])) == [new]


@pytest.mark.parametrize(
    ("strong", "weak"),
    [
        ("do_not_disturb", "busy"),
        ("busy", "available"),
        ("available", "idle"),
        ("idle", "be_right_back"),
        ("be_right_back", "away"),
        ("away", "offline"),
        ("offline", "unknown"),
    ],
)
def test_several_sessions_reduce_by_their_order(strong: str, weak: str) -> None:
    """The stronger session's state shows, since it began there."""
    story = Story(Person(ANN.id)).session(Availability(weak), "8:00", name="a")
    story.session(Availability(strong), "8:30", name="b")
    effective = story.seen("9:00").effective
    assert (effective.state, effective.since) == (strong, at("8:30"))


def test_a_manual_status_ranks_above_sessions_and_survives_them() -> None:
    """It stays when the last client is gone, and the newest one counts."""
    story = Story(Person(ANN.id)).declares(Availability.BE_RIGHT_BACK, "8:00")
    story.session(Availability.DO_NOT_DISTURB, "8:10", lasts=timedelta(minutes=5))
    assert story.labels("8:12", "8:20") == ["Be right back", "Be right back"]
    story.declares(Availability.AWAY, "8:30")
    assert story.labels("8:30") == ["Away"]


@pytest.mark.parametrize("nobody", [Availability.OFFLINE, Availability.UNKNOWN, Availability.AVAILABLE])
def test_nobody_there_is_what_the_deployment_says(nobody: Availability) -> None:
    """Hard state: offline, unknown, or available for calendar-only sites."""
    story = Story(Person(ANN.id)).configured(no_session=nobody)
    story.session(Availability.BUSY, "8:00", lasts=timedelta(minutes=5))
    assert story.seen("8:04:59").effective.state == "busy"
    assert (story.seen("8:05").effective.state, story.seen("8:05").effective.since) == (nobody.value, None)


def test_an_expired_phone_lease_falls_through_to_the_calendar() -> None:
    """Silence is not a call for ever."""
    story = Story().books(block("9:00", "23:00")).calls(Phone.CONNECTED, "9:10")
    assert story.labels("21:09:59", "21:10") == ["On the phone", "In a meeting"]
