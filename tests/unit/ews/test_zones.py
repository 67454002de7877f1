"""When a day begins for a mailbox."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.sources.ews.soap import TYPES
from gateway.sources.ews.zones import MailboxZone, Transition, is_all_day, working_zone
from gateway.sources.xml import parse

SUNDAY = 6
BERLIN = MailboxZone(-60, Transition(0, time(3), 10, 5, SUNDAY), Transition(-60, time(2), 3, 5, SUNDAY))
SYDNEY = MailboxZone(-600, Transition(0, time(3), 4, 1, SUNDAY), Transition(-60, time(2), 10, 1, SUNDAY))
SANTIAGO = MailboxZone(240, Transition(0, time(0), 4, 1, SUNDAY), Transition(-60, time(0), 9, 1, SUNDAY))


@pytest.mark.parametrize(
    ("zone", "name"), [(BERLIN, "Europe/Berlin"), (SYDNEY, "Australia/Sydney")], ids=["north", "south"]
)
def test_offsets_agree_with_the_zone_database_all_year(zone: MailboxZone, name: str) -> None:
    """Every six hours of a year, northern and southern, the two transitions give the true offset."""
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    while instant.year == 2026:
        assert zone.offset(instant) == instant.astimezone(ZoneInfo(name)).utcoffset(), instant
        instant += timedelta(hours=6)


def test_a_day_that_loses_an_hour_is_a_whole_day() -> None:
    """29 March 2026 has 23 hours in Berlin, 25 October has 25."""
    assert is_all_day(datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC), BERLIN)
    assert is_all_day(datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC), BERLIN)
    assert not is_all_day(datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 23, tzinfo=UTC), BERLIN)


def test_a_midnight_that_the_season_skips_still_begins_the_day() -> None:
    """Where summer begins at midnight, the day begins at one o'clock of the new time."""
    begins = datetime(2026, 9, 6, 4, tzinfo=UTC)
    assert SANTIAGO.offset(begins) == timedelta(hours=-3)
    assert is_all_day(begins, datetime(2026, 9, 7, 3, tzinfo=UTC), SANTIAGO)


def test_a_transition_with_a_year_happens_once() -> None:
    """With a year the day is a day of the month, and other years have no such transition."""
    once = MailboxZone(-60, Transition(0, time(3), 10, 25, SUNDAY, 2026), Transition(-60, time(2), 3, 29, SUNDAY, 2026))
    for month, hours in ((1, 1), (6, 2), (12, 1)):
        assert once.offset(datetime(2026, month, 15, tzinfo=UTC)) == timedelta(hours=hours)
    assert once.offset(datetime(2025, 7, 15, tzinfo=UTC)) == timedelta(hours=1)
    assert once.offset(datetime(2028, 7, 15, tzinfo=UTC)) == timedelta(hours=1)


def test_the_zone_is_read_from_working_hours() -> None:
    """Bias and transitions come out as they went in; month 0 means no such season."""
    season = "<Bias>{}</Bias><Time>{}</Time><DayOrder>{}</DayOrder><Month>{}</Month><DayOfWeek>Sunday</DayOfWeek>"
    hours = (
        f'<WorkingHours xmlns="{TYPES}"><TimeZone><Bias>{{}}</Bias><StandardTime>{{}}</StandardTime>'
        "<DaylightTime>{}</DaylightTime></TimeZone></WorkingHours>"
    )
    standard, daylight = season.format(0, "03:00:00", 5, 10), season.format(-60, "02:00:00", 5, 3)
    element, _ = parse(hours.format(-60, standard, daylight).encode())
    assert working_zone(element) == BERLIN
    none = season.format(0, "00:00:00", 0, 0)
    element, _ = parse(hours.format(-330, none, none).encode())
    zone = working_zone(element)
    assert zone is not None
    assert zone.offset(datetime(2026, 7, 1, tzinfo=UTC)) == timedelta(hours=5, minutes=30)


@pytest.mark.parametrize(
    "inside",
    ["", "<TimeZone/>", "<TimeZone><Bias>9999</Bias></TimeZone>", "<TimeZone><Bias>0</Bias><StandardTime/></TimeZone>"],
)
def test_a_zone_that_makes_no_sense_is_none(inside: str) -> None:
    """Nothing, no bias, an impossible bias or an empty season: the caller falls back to the configured zone."""
    element, _ = parse(f'<WorkingHours xmlns="{TYPES}">{inside}</WorkingHours>'.encode())
    assert working_zone(element) is None
