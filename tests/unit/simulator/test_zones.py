"""Time zones: names both ways, and yearly rules that agree with the system's zone data."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.zones import (
    WINDOWS_TO_IANA,
    RuleZone,
    Transition,
    UnknownZone,
    nth_weekday,
    rule_zone,
    windows_id,
    zone_info,
)


@pytest.mark.parametrize("name", WINDOWS_TO_IANA)
def test_every_zone_of_the_table_exists_and_finds_its_way_back(name: str) -> None:
    """A Windows id leads to zone data, and the IANA name back to the same id."""
    assert windows_id(zone_info(name).key) == name
    assert windows_id(name) == name


@pytest.mark.parametrize("name", ["Nowhere Standard Time", "Europe/Nowhere", "", "../../etc/passwd"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    """Names that are no zone raise, they do not fall back to UTC."""
    with pytest.raises(UnknownZone):
        zone_info(name)
    with pytest.raises(UnknownZone):
        windows_id(name)


def test_berlin_has_the_rules_every_outlook_user_knows() -> None:
    """Central Europe: last Sundays of March and October, at two and three in the morning."""
    assert rule_zone("W. Europe Standard Time", 2026) == RuleZone(
        -60, Transition(0, time(3), 5, 10, 6), Transition(-60, time(2), 5, 3, 6)
    )
    assert rule_zone("India Standard Time", 2026) == RuleZone(-330)
    new_york = rule_zone("America/New_York", 2026)
    assert new_york.daylight is not None
    assert (new_york.bias, new_york.daylight.order, new_york.daylight.month) == (300, 2, 3)


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "UTC"]),
    moment=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31, 23, 59)),
)
def test_yearly_rules_agree_with_the_zone_data(zone: str, moment: datetime) -> None:
    """At every instant of their year the rules give the wall time the system gives, and lead back to it."""
    aware = moment.replace(tzinfo=UTC)
    rules = rule_zone(zone, 2026)
    local = aware.astimezone(zone_info(zone))
    assert rules.to_local(aware) == local.replace(tzinfo=None, fold=0)
    if not local.fold:
        assert rules.to_utc(rules.to_local(aware)) == aware


def test_a_wall_time_in_the_skipped_hour_is_read_with_the_offset_before() -> None:
    """02:30 on the night of the change means 03:30, as RFC 5545 has it."""
    rules = rule_zone("Europe/Berlin", 2026)
    assert rules.to_utc(datetime(2026, 3, 29, 2, 30)) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_two_equal_transitions_are_no_daylight_saving() -> None:
    """The zone clients build for UTC, with both biases zero, is UTC all year."""
    rules = RuleZone(0, Transition(0, time(2), 1, 3, 6), Transition(0, time(2), 1, 10, 6))
    assert rules.constant
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert rules.to_local(moment) == datetime(2026, 7, 1, 12)


def test_the_last_weekday_of_a_month_is_the_fourth_or_the_fifth() -> None:
    """Order five means the last one, however many there are."""
    assert nth_weekday(2026, 3, frozenset({6}), 5).day == 29
    assert nth_weekday(2026, 2, frozenset({6}), 5).day == 22
    assert nth_weekday(2026, 2, frozenset({6}), 5) - nth_weekday(2026, 2, frozenset({6}), 1) == timedelta(days=21)
