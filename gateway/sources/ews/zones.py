"""The time zone inside WorkingHours: when does a day begin for this mailbox?

Exchange describes it as one bias and two transitions (SerializableTimeZone, MS-OXWAVLS 2.2.4), in minutes to *add to
local time to get UTC*. There are no names and no history: the rules of this year count for every year.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.sources.ews.soap import TYPES
from gateway.sources.xml import Element

_WEEKDAYS: Final = {
    "Monday": 0,
    "Tuesday": 1,
    "Wednesday": 2,
    "Thursday": 3,
    "Friday": 4,
    "Saturday": 5,
    "Sunday": 6,
}
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Transition:
    """When one of the two seasons begins, on the wall clock of the other one, and its own bias."""

    bias: int
    at: time
    month: int
    day_order: int
    """1 to 4: the nth such weekday of the month, 5 (or -1): the last one; with a year: the day of the month."""
    weekday: int
    year: int | None = None

    def begins(self, year: int) -> datetime | None:
        """The wall-clock time it begins in that year; None if it does not."""
        if self.year is not None:
            return (
                datetime.combine(datetime(self.year, self.month, self.day_order), self.at)
                if self.year == year
                else None
            )
        first, days = monthrange(year, self.month)
        day = 1 + (self.weekday - first) % 7 + 7 * ((self.day_order if self.day_order > 0 else 5) - 1)
        while day > days:
            day -= 7
        return datetime.combine(datetime(year, self.month, day), self.at)


@dataclass(frozen=True, slots=True)
class MailboxZone:
    """A zone in minutes to add to local time to get UTC; None for both seasons means one time all year."""

    bias: int
    standard: Transition | None = None
    daylight: Transition | None = None

    def offset(self, instant: datetime) -> timedelta:
        """What to add to an aware UTC instant to get its local time."""
        return timedelta(minutes=-self._bias(instant.replace(tzinfo=None)))

    def _bias(self, utc: datetime) -> int:
        if self.standard is None or self.daylight is None:
            return self.bias
        standard, daylight = self.bias + self.standard.bias, self.bias + self.daylight.bias
        if standard == daylight:
            return standard
        edges = []
        for year in self._years(utc.year):
            for season, before, after in ((self.standard, daylight, standard), (self.daylight, standard, daylight)):
                if (begins := season.begins(year)) is not None:
                    edges.append((begins + timedelta(minutes=before), before, after))
        edges.sort()
        bias = edges[0][1] if edges else standard
        for at, _, after in edges:
            if at <= utc:
                bias = after
        return bias

    def _years(self, year: int) -> list[int]:
        """The years whose transitions matter: this one with its neighbours, and the ones a transition names."""
        named = {season.year for season in (self.standard, self.daylight) if season and season.year is not None}
        return sorted({year - 1, year, year + 1} | named)


def is_all_day(start: datetime, end: datetime, zone: MailboxZone | ZoneInfo) -> bool:
    """Whether the block runs from a local midnight to a later local midnight.

    Where a season begins at midnight, that midnight is on the wall clock of the season before.
    """
    return _is_midnight(start, zone) and _is_midnight(end, zone) and start < end


def working_zone(hours: Element) -> MailboxZone | None:
    """The zone in a WorkingHours element, or None if it is missing or makes no sense."""
    zone = hours.find(f"{{{TYPES}}}TimeZone")
    if zone is None:
        return None
    try:
        bias = int(zone.findtext(f"{{{TYPES}}}Bias", ""))
        result = MailboxZone(bias, _transition(zone, "StandardTime"), _transition(zone, "DaylightTime"))
        result.offset(datetime(2026, 1, 1))  # whatever is out of range shows here
    except (ValueError, OverflowError):
        return None
    return result if abs(bias) <= 24 * 60 else None


def _transition(zone: Element, name: str) -> Transition | None:
    found = zone.find(f"{{{TYPES}}}{name}")
    if found is None:
        return None

    def text(child: str) -> str:
        return (found.findtext(f"{{{TYPES}}}{child}") or "").strip()

    month = int(text("Month"))
    if month == 0:  # no such season
        return None
    return Transition(
        bias=int(text("Bias")),
        at=time.fromisoformat(text("Time")),
        month=month,
        day_order=int(text("DayOrder")),
        weekday=_WEEKDAYS.get(text("DayOfWeek"), 6),
        year=int(text("Year") or 0) or None,
    )


def _is_midnight(instant: datetime, zone: MailboxZone | ZoneInfo) -> bool:
    midnight = time()
    return any((instant + _offset(zone, seen)).time() == midnight for seen in (instant, instant - _INSTANT))


def _offset(zone: MailboxZone | ZoneInfo, instant: datetime) -> timedelta:
    if isinstance(zone, MailboxZone):
        return zone.offset(instant)
    return instant.astimezone(zone).utcoffset() or timedelta()
