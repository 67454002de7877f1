"""Time zones as Exchange speaks of them: Windows ids, and yearly rules in place of history.

Outlook and Exchange name a zone by its Windows id ("W. Europe Standard Time"); everybody else by its IANA
name ("Europe/Berlin"). The table holds the zones in common use; the pairs are those of the Unicode CLDR
`windowsZones` mapping. Daylight rules are not typed in: they are read from the system's zone data.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

WINDOWS_TO_IANA: dict[str, str] = {
    "UTC": "Etc/UTC",
    "GMT Standard Time": "Europe/London",
    "Greenwich Standard Time": "Atlantic/Reykjavik",
    "W. Europe Standard Time": "Europe/Berlin",
    "Central Europe Standard Time": "Europe/Budapest",
    "Central European Standard Time": "Europe/Warsaw",
    "Romance Standard Time": "Europe/Paris",
    "GTB Standard Time": "Europe/Bucharest",
    "FLE Standard Time": "Europe/Kiev",
    "E. Europe Standard Time": "Europe/Chisinau",
    "Russian Standard Time": "Europe/Moscow",
    "Turkey Standard Time": "Europe/Istanbul",
    "Israel Standard Time": "Asia/Jerusalem",
    "Egypt Standard Time": "Africa/Cairo",
    "South Africa Standard Time": "Africa/Johannesburg",
    "W. Central Africa Standard Time": "Africa/Lagos",
    "E. Africa Standard Time": "Africa/Nairobi",
    "Arab Standard Time": "Asia/Riyadh",
    "Arabian Standard Time": "Asia/Dubai",
    "Pakistan Standard Time": "Asia/Karachi",
    "India Standard Time": "Asia/Calcutta",
    "Nepal Standard Time": "Asia/Katmandu",
    "Bangladesh Standard Time": "Asia/Dhaka",
    "SE Asia Standard Time": "Asia/Bangkok",
    "China Standard Time": "Asia/Shanghai",
    "Singapore Standard Time": "Asia/Singapore",
    "Taipei Standard Time": "Asia/Taipei",
    "Korea Standard Time": "Asia/Seoul",
    "Tokyo Standard Time": "Asia/Tokyo",
    "W. Australia Standard Time": "Australia/Perth",
    "Cen. Australia Standard Time": "Australia/Adelaide",
    "AUS Central Standard Time": "Australia/Darwin",
    "E. Australia Standard Time": "Australia/Brisbane",
    "AUS Eastern Standard Time": "Australia/Sydney",
    "New Zealand Standard Time": "Pacific/Auckland",
    "Hawaiian Standard Time": "Pacific/Honolulu",
    "Alaskan Standard Time": "America/Anchorage",
    "Pacific Standard Time": "America/Los_Angeles",
    "US Mountain Standard Time": "America/Phoenix",
    "Mountain Standard Time": "America/Denver",
    "Central Standard Time": "America/Chicago",
    "Central Standard Time (Mexico)": "America/Mexico_City",
    "Eastern Standard Time": "America/New_York",
    "SA Pacific Standard Time": "America/Bogota",
    "Atlantic Standard Time": "America/Halifax",
    "Newfoundland Standard Time": "America/St_Johns",
    "Argentina Standard Time": "America/Buenos_Aires",
    "E. South America Standard Time": "America/Sao_Paulo",
    "Azores Standard Time": "Atlantic/Azores",
}
"""Windows id to the IANA name of its main territory."""

_ALIASES = {
    "UTC": "UTC",
    "Etc/GMT": "UTC",
    "GMT": "UTC",
    "Europe/Kyiv": "FLE Standard Time",
    "Europe/Helsinki": "FLE Standard Time",
    "Europe/Athens": "GTB Standard Time",
    "Europe/Dublin": "GMT Standard Time",
    "Europe/Lisbon": "GMT Standard Time",
    "Europe/Amsterdam": "W. Europe Standard Time",
    "Europe/Rome": "W. Europe Standard Time",
    "Europe/Vienna": "W. Europe Standard Time",
    "Europe/Zurich": "W. Europe Standard Time",
    "Europe/Stockholm": "W. Europe Standard Time",
    "Europe/Oslo": "W. Europe Standard Time",
    "Europe/Prague": "Central Europe Standard Time",
    "Europe/Copenhagen": "Romance Standard Time",
    "Europe/Madrid": "Romance Standard Time",
    "Europe/Brussels": "Romance Standard Time",
    "Asia/Kolkata": "India Standard Time",
    "Asia/Kathmandu": "Nepal Standard Time",
    "America/Argentina/Buenos_Aires": "Argentina Standard Time",
    "America/Toronto": "Eastern Standard Time",
}
_IANA_TO_WINDOWS = {iana: windows for windows, iana in WINDOWS_TO_IANA.items()} | _ALIASES


class UnknownZone(ValueError):
    """The name is neither a Windows id of the table nor an IANA zone that has one."""


@lru_cache(maxsize=256)
def zone_info(name: str) -> ZoneInfo:
    """The zone data for a Windows id or an IANA name.

    Raises UnknownZone.
    """
    try:
        return ZoneInfo(WINDOWS_TO_IANA.get(name, name))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZone(name) from error


def windows_id(name: str) -> str:
    """The Windows id for a Windows id or an IANA name.

    Raises UnknownZone.
    """
    if name in WINDOWS_TO_IANA:
        return name
    try:
        return _IANA_TO_WINDOWS[name]
    except KeyError:
        raise UnknownZone(name) from None


@dataclass(frozen=True, slots=True)
class Transition:
    """The yearly change to an offset: "the last Sunday in March at 02:00" (MS-OXWAVLS
    SerializableTimeZoneTime).

    `bias` is minutes to add to the zone's base bias; `order` is 1..4, or 5 for the last such weekday of the
    month; `weekday` counts from Monday = 0; `at` is wall time before the change.
    """

    bias: int
    at: time
    order: int
    month: int
    weekday: int

    def when(self, year: int) -> datetime:
        """The naive local moment of the change in that year."""
        return datetime.combine(nth_weekday(year, self.month, frozenset({self.weekday}), self.order), self.at)


@dataclass(frozen=True, slots=True)
class RuleZone:
    """A zone as a base bias and at most two yearly rules; what a GetUserAvailability request carries.

    `bias` is minutes to add to local time to get UTC (Berlin -60). Without rules the bias holds all year.
    """

    bias: int
    standard: Transition | None = None
    daylight: Transition | None = None

    def to_local(self, moment: datetime) -> datetime:
        """The naive local time of an aware moment."""
        utc = moment.astimezone(UTC).replace(tzinfo=None)
        return utc - timedelta(minutes=self._bias_at(utc - timedelta(minutes=self._standard_bias)))

    def to_utc(self, local: datetime) -> datetime:
        """The aware UTC moment of a naive local time; the first of two in the repeated hour."""
        daylight = local + timedelta(minutes=self._bias_at_wall(local))
        return daylight.replace(tzinfo=UTC)

    @property
    def constant(self) -> bool:
        """Whether the offset never changes."""
        if self.standard is None or self.daylight is None:
            return True
        return self.standard.bias == self.daylight.bias

    @property
    def _standard_bias(self) -> int:
        return self.bias + (self.standard.bias if self.standard else 0)

    def _bias_at(self, standard_wall: datetime) -> int:
        """The bias at a moment given on the standard-time clock, which runs through both changes unbroken."""
        if self.standard is None or self.daylight is None or self.constant:
            return self._standard_bias
        shift = timedelta(minutes=self.standard.bias - self.daylight.bias)
        begins = self.daylight.when(standard_wall.year)
        ends = self.standard.when(standard_wall.year) - shift
        return self.bias + (self.daylight if _within(standard_wall, begins, ends) else self.standard).bias

    def _bias_at_wall(self, wall: datetime) -> int:
        if self.standard is None or self.daylight is None or self.constant:
            return self._standard_bias
        begins = self.daylight.when(wall.year)
        shift = timedelta(minutes=self.standard.bias - self.daylight.bias)
        # Wall times in the skipped hour are read with the offset before the change, as RFC 5545 3.3.5 does.
        inside = _within(wall, begins + shift, self.standard.when(wall.year))
        return self.bias + (self.daylight if inside else self.standard).bias


def _within(moment: datetime, begins: datetime, ends: datetime) -> bool:
    """Whether daylight time holds; south of the equator it spans the new year."""
    if begins < ends:
        return begins <= moment < ends
    return moment >= begins or moment < ends


def nth_weekday(year: int, month: int, weekdays: frozenset[int], order: int) -> date:
    """The order-th day of a month that falls on one of the weekdays; 5 or more means the last one."""
    last = calendar.monthrange(year, month)[1]
    days = [day for day in range(1, last + 1) if date(year, month, day).weekday() in weekdays]
    return date(year, month, days[-1] if order >= 5 else days[order - 1])


@lru_cache(maxsize=1024)
def rule_zone(name: str, year: int) -> RuleZone:
    """The yearly rules of a named zone as they are in that year.

    Raises UnknownZone.
    """
    zone = zone_info(name)
    changes = list(_changes(zone, year))
    offset = _minutes(zone, datetime(year, 1, 1, tzinfo=UTC))
    if len(changes) != 2:  # no daylight saving; a country that changed its mind inside the year counts as one
        return RuleZone(bias=-offset)
    standard_offset = min(after for _, _, after in changes)
    standard, daylight = None, None
    for moment, before, after in changes:
        wall = (moment + timedelta(minutes=before)).replace(tzinfo=None)
        rule = Transition(
            bias=standard_offset - after,
            at=wall.time(),
            order=_order(zone, wall),
            month=wall.month,
            weekday=wall.weekday(),
        )
        if after == standard_offset:
            standard = rule
        else:
            daylight = rule
    return RuleZone(bias=-standard_offset, standard=standard, daylight=daylight)


def _minutes(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return round(offset.total_seconds() / 60) if offset is not None else 0


def _changes(zone: ZoneInfo, year: int) -> Iterator[tuple[datetime, int, int]]:
    """Every offset change of a year: the UTC moment, minutes before, minutes after."""
    moment = datetime(year, 1, 1, tzinfo=UTC)
    for _ in range(366):
        following = moment + timedelta(days=1)
        before, after = _minutes(zone, moment), _minutes(zone, following)
        if before != after:
            low, high = moment, following
            while high - low > timedelta(minutes=1):
                middle = (low + (high - low) / 2).replace(second=0, microsecond=0)
                low, high = (middle, high) if _minutes(zone, middle) == before else (low, middle)
            yield high, before, after
        moment = following


def _order(zone: ZoneInfo, wall: datetime) -> int:
    """Which weekday of the month a change falls on: "fourth" or "last" is settled by looking at later
    years.
    """
    last = calendar.monthrange(wall.year, wall.month)[1]
    order = (wall.day - 1) // 7 + 1
    if wall.day + 7 <= last:
        return order
    for year in range(wall.year + 1, wall.year + 7):
        fourth = nth_weekday(year, wall.month, frozenset({wall.weekday()}), 4)
        final = nth_weekday(year, wall.month, frozenset({wall.weekday()}), 5)
        if fourth != final:
            noon = datetime.combine(fourth, time(12), tzinfo=zone)
            unchanged = noon.utcoffset() == (noon - timedelta(days=1)).utcoffset()
            return 5 if unchanged else order
    return 5
