"""Recurring series: which days a pattern names, and the instants they become in the series' own zone.

The meaning is Exchange's (MS-OXOCAL 2.2.1.44): a day of month beyond the end of a month is its last day, week
intervals count from the week that holds the first date, start and end are wall times of the series' zone on
each day.
"""

from __future__ import annotations

import calendar
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from gateway.simulator.zones import nth_weekday

MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = range(7)
EVERY_DAY = frozenset(range(7))
WORK_DAYS = frozenset(range(5))
WEEKEND_DAYS = frozenset({SATURDAY, SUNDAY})
LAST = 5
"""The `order` that means the last such day of the month."""


@dataclass(frozen=True, slots=True)
class Daily:
    """Every `interval` days."""

    interval: int = 1

    def days(self, first: date) -> Iterator[date]:
        """The days of the series from `first` on, without end."""
        for step in count():
            yield first + timedelta(days=step * self.interval)


@dataclass(frozen=True, slots=True)
class Weekly:
    """On `weekdays` (Monday = 0) of every `interval`-th week; weeks begin on `first_day`."""

    weekdays: frozenset[int]
    interval: int = 1
    first_day: int = MONDAY

    def days(self, first: date) -> Iterator[date]:
        """The days of the series from `first` on, without end."""
        week = first - timedelta(days=(first.weekday() - self.first_day) % 7)
        offsets = sorted((day - self.first_day) % 7 for day in self.weekdays)
        for step in count():
            for offset in offsets:
                day = week + timedelta(days=7 * step * self.interval + offset)
                if day >= first:
                    yield day


@dataclass(frozen=True, slots=True)
class Monthly:
    """On day `day` of every `interval`-th month; the last day where the month is shorter."""

    day: int
    interval: int = 1

    def days(self, first: date) -> Iterator[date]:
        """The days of the series from `first` on, without end."""
        for year, month in _months(first, self.interval):
            day = _clamped(year, month, self.day)
            if day >= first:
                yield day


@dataclass(frozen=True, slots=True)
class MonthlyRelative:
    """On the `order`-th (1..4, LAST) of `weekdays` in every `interval`-th month."""

    weekdays: frozenset[int]
    order: int
    interval: int = 1

    def days(self, first: date) -> Iterator[date]:
        """The days of the series from `first` on, without end."""
        for year, month in _months(first, self.interval):
            day = nth_weekday(year, month, self.weekdays, self.order)
            if day >= first:
                yield day


@dataclass(frozen=True, slots=True)
class Yearly:
    """On one date of every year; 29 February is the 28th in common years."""

    month: int
    day: int

    def days(self, first: date) -> Iterator[date]:
        """The days of the series from `first` on, without end."""
        for year in count(first.year):
            day = _clamped(year, self.month, self.day)
            if day >= first:
                yield day


@dataclass(frozen=True, slots=True)
class YearlyRelative:
    """On the `order`-th (1..4, LAST) of `weekdays` in one month of every year."""

    month: int
    weekdays: frozenset[int]
    order: int

    def days(self, first: date) -> Iterator[date]:
        """The days of the series from `first` on, without end."""
        for year in count(first.year):
            day = nth_weekday(year, self.month, self.weekdays, self.order)
            if day >= first:
                yield day


Pattern = Daily | Weekly | Monthly | MonthlyRelative | Yearly | YearlyRelative


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A pattern and where it ends: after `number` occurrences, with the day `until` (inclusive), or never.

    `start` is the first day the pattern may name; left out, it is the day of the appointment it belongs to.
    """

    pattern: Pattern
    start: date | None = None
    number: int | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.number is not None and self.until is not None:
            raise ValueError("a recurrence ends by number or by date, not both")

    @property
    def endless(self) -> bool:
        """Whether the series never ends."""
        return self.number is None and self.until is None


@dataclass(slots=True)
class Series:
    """The expansion of one recurrence, grown on demand and kept: windows slide, the past stays the same.

    `begins` and `ends` are the naive wall times of the first occurrence in `zone`.
    """

    recurrence: Recurrence
    begins: datetime
    ends: datetime
    zone: ZoneInfo
    _days: list[date] = field(default_factory=list)
    _source: Iterator[date] = field(init=False)
    _exhausted: bool = False

    def __post_init__(self) -> None:
        self._source = self.recurrence.pattern.days(self.recurrence.start or self.begins.date())

    def between(self, start: datetime, end: datetime) -> Iterator[tuple[int, datetime, datetime]]:
        """Occurrences that may overlap the window: their 1-based index and their UTC start and end."""
        span = self.ends - self.begins
        earliest = (start - span - timedelta(days=2)).date()
        latest = (end + timedelta(days=1)).date()
        self._grow(latest)
        for position in range(bisect_left(self._days, earliest), bisect_right(self._days, latest)):
            yield position + 1, *self.instants(self._days[position])

    def nth(self, index: int) -> tuple[datetime, datetime] | None:
        """UTC start and end of the index-th occurrence, counted from 1; None beyond the end."""
        while len(self._days) < index and not self._exhausted:
            self._step()
        return self.instants(self._days[index - 1]) if 0 < index <= len(self._days) else None

    def index_of(self, start: datetime) -> int | None:
        """The 1-based index of the occurrence that begins at this instant."""
        day = start.astimezone(self.zone).date()
        self._grow(day)
        position = bisect_left(self._days, day)
        for candidate in range(max(0, position - 1), min(position + 1, len(self._days))):
            if self.instants(self._days[candidate])[0] == start:
                return candidate + 1
        return None

    def count(self) -> int | None:
        """How many occurrences the series has; None when it never ends."""
        if self.recurrence.endless:
            return None
        while not self._exhausted:
            self._step()
        return len(self._days)

    def instants(self, day: date) -> tuple[datetime, datetime]:
        """UTC start and end on one day, from wall times: a meeting keeps its hour when the clocks change."""
        begins = datetime.combine(day, self.begins.time())
        ends = begins + (self.ends - self.begins)
        start = begins.replace(tzinfo=self.zone).astimezone(UTC)
        end = ends.replace(tzinfo=self.zone).astimezone(UTC)
        # A start in the skipped hour moves past a short meeting's end; such a meeting keeps its length.
        return (start, end) if end >= start else (start, start + (self.ends - self.begins))

    def _grow(self, latest: date) -> None:
        while not self._exhausted and (not self._days or self._days[-1] <= latest):
            self._step()

    def _step(self) -> None:
        recurrence = self.recurrence
        if recurrence.number is not None and len(self._days) >= recurrence.number:
            self._exhausted = True
            return
        try:
            day = next(self._source)
        except (OverflowError, ValueError):  # the calendar ends with the year 9999
            self._exhausted = True
            return
        if recurrence.until is not None and day > recurrence.until:
            self._exhausted = True
            return
        self._days.append(day)


def wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """The naive wall time of an instant in a zone."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The UTC instant at which a day begins in a zone."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def _months(first: date, interval: int) -> Iterator[tuple[int, int]]:
    for step in count():
        months = first.year * 12 + first.month - 1 + step * interval
        yield months // 12, months % 12 + 1


def _clamped(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, calendar.monthrange(year, month)[1]))
