"""Recurring series: which days they name, where they end, and what the clocks do to them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.recurrence import (
    EVERY_DAY,
    FRIDAY,
    LAST,
    MONDAY,
    SUNDAY,
    THURSDAY,
    TUESDAY,
    WEEKEND_DAYS,
    WORK_DAYS,
    Daily,
    Monthly,
    MonthlyRelative,
    Pattern,
    Recurrence,
    Series,
    Weekly,
    Yearly,
    YearlyRelative,
)

BERLIN = ZoneInfo("Europe/Berlin")
YEAR = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def days(pattern: Pattern, first: str, count: int = 4) -> list[str]:
    """The first days of a pattern."""
    return [day.isoformat() for day in islice(pattern.days(date.fromisoformat(first)), count)]


def series(recurrence: Recurrence, begins: str, ends: str) -> Series:
    """A series in Berlin."""
    return Series(recurrence, datetime.fromisoformat(begins), datetime.fromisoformat(ends), BERLIN)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (Daily(2), ["2026-03-04", "2026-03-06", "2026-03-08", "2026-03-10"]),
        (Weekly(frozenset({MONDAY, THURSDAY})), ["2026-03-05", "2026-03-09", "2026-03-12", "2026-03-16"]),
        (Weekly(frozenset({TUESDAY}), interval=2), ["2026-03-17", "2026-03-31", "2026-04-14", "2026-04-28"]),
        (Monthly(31), ["2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]),
        (Monthly(1, interval=3), ["2026-06-01", "2026-09-01", "2026-12-01", "2027-03-01"]),
        (MonthlyRelative(frozenset({TUESDAY}), 1), ["2026-04-07", "2026-05-05", "2026-06-02", "2026-07-07"]),
        (MonthlyRelative(frozenset({FRIDAY}), LAST), ["2026-03-27", "2026-04-24", "2026-05-29", "2026-06-26"]),
        (MonthlyRelative(WORK_DAYS, LAST), ["2026-03-31", "2026-04-30", "2026-05-29", "2026-06-30"]),
        (MonthlyRelative(WEEKEND_DAYS, 2), ["2026-03-07", "2026-04-05", "2026-05-03", "2026-06-07"]),
        (MonthlyRelative(EVERY_DAY, 3), ["2026-04-03", "2026-05-03", "2026-06-03", "2026-07-03"]),
        (Yearly(2, 29), ["2027-02-28", "2028-02-29", "2029-02-28", "2030-02-28"]),
        (YearlyRelative(11, frozenset({THURSDAY}), 4), ["2026-11-26", "2027-11-25", "2028-11-23", "2029-11-22"]),
    ],
)
def test_a_pattern_names_the_days_outlook_names(pattern: Pattern, expected: list[str]) -> None:
    """Each kind of pattern, from Wednesday 4 March 2026 on."""
    assert days(pattern, "2026-03-04") == expected


def test_the_first_day_of_the_week_decides_which_weeks_count() -> None:
    """Every second Sunday-and-Monday differs by where the week begins (RFC 5545 3.8.5.3, WKST)."""
    both = frozenset({SUNDAY, MONDAY})
    assert days(Weekly(both, 2, MONDAY), "2026-03-01") == ["2026-03-01", "2026-03-09", "2026-03-15", "2026-03-23"]
    assert days(Weekly(both, 2, SUNDAY), "2026-03-01") == ["2026-03-01", "2026-03-02", "2026-03-15", "2026-03-16"]


def test_a_series_ends_by_number_by_date_or_never() -> None:
    """Number counts occurrences, the end date is included, and a series without end has no count."""
    begins, ends = "2026-03-02T09:00", "2026-03-02T10:00"
    assert series(Recurrence(Daily(), number=3), begins, ends).count() == 3
    assert series(Recurrence(Daily(), until=date(2026, 3, 5)), begins, ends).count() == 4
    endless = series(Recurrence(Daily()), begins, ends)
    assert endless.count() is None
    assert sum(start < YEAR[1] for _, start, _ in endless.between(*YEAR)) == 305  # 2 March to 31 December
    with pytest.raises(ValueError, match="not both"):
        Recurrence(Daily(), number=3, until=date(2026, 3, 5))


def test_a_meeting_keeps_its_wall_time_when_the_clocks_change() -> None:
    """Nine o'clock in Berlin is 08:00 UTC in winter and 07:00 UTC in summer, and lasts an hour in both."""
    found = series(Recurrence(Weekly(frozenset({SUNDAY})), number=3), "2026-03-22T09:00", "2026-03-22T10:00")
    times = [found.nth(index) for index in (1, 2, 3)]
    assert [each[0].hour for each in times if each] == [8, 7, 7]
    assert {each[1] - each[0] for each in times if each} == {timedelta(hours=1)}
    assert found.nth(4) is None


def test_a_meeting_in_the_skipped_hour_is_later_and_never_negative() -> None:
    """02:15 to 02:45 on the night of the change becomes 03:15 to 03:45; one that ends at three keeps its length."""
    night = series(Recurrence(Daily(), number=1), "2026-03-29T02:15", "2026-03-29T02:45").nth(1)
    assert night == (datetime(2026, 3, 29, 1, 15, tzinfo=UTC), datetime(2026, 3, 29, 1, 45, tzinfo=UTC))
    edge = series(Recurrence(Daily(), number=1), "2026-03-29T02:30", "2026-03-29T03:00").nth(1)
    assert edge == (datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 3, 29, 2, 0, tzinfo=UTC))


def test_a_meeting_across_the_change_is_an_hour_longer_or_shorter() -> None:
    """One to four in the morning is two hours of real time in March and four in October."""
    march = series(Recurrence(Daily(), number=1), "2026-03-29T01:00", "2026-03-29T04:00").nth(1)
    october = series(Recurrence(Daily(), number=1), "2026-10-25T01:00", "2026-10-25T04:00").nth(1)
    assert march is not None
    assert october is not None
    assert (march[1] - march[0], october[1] - october[0]) == (timedelta(hours=2), timedelta(hours=4))


def test_an_endless_series_stops_with_the_calendar() -> None:
    """Asking far into the future ends with the year 9999 and raises nothing."""
    far = series(Recurrence(Yearly(6, 1)), "9990-06-01T09:00", "9990-06-01T10:00")
    assert far.nth(10) is not None
    assert far.nth(11) is None


@given(
    first=st.dates(date(2025, 1, 1), date(2026, 12, 31)),
    window=st.datetimes(datetime(2025, 6, 1), datetime(2027, 6, 1)),
    hours=st.integers(1, 60),
    interval=st.integers(1, 9),
)
def test_a_window_shows_exactly_the_occurrences_that_overlap_it(
    first: date, window: datetime, hours: int, interval: int
) -> None:
    """Looking through a window equals filtering the whole series; indices say which occurrence it is."""
    begins = datetime.combine(first, datetime.min.time()) + timedelta(hours=22)
    found = Series(Recurrence(Daily(interval)), begins, begins + timedelta(hours=hours), BERLIN)
    start = window.replace(tzinfo=UTC)
    end = start + timedelta(days=3)
    overlapping = [(i, s, e) for i, s, e in found.between(start, end) if s < end and e > start]
    everything = (found.nth(index) for index in range(1, 1100))
    expected = [times for times in everything if times and times[0] < end and times[1] > start]
    assert [(s, e) for _, s, e in overlapping] == expected
    assert all(found.nth(i) == (s, e) and found.index_of(s) == i for i, s, e in overlapping)
