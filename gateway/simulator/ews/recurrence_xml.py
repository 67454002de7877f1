"""The Recurrence element: a pattern and a range, to and from the World's form."""

from __future__ import annotations

from datetime import date, datetime, time

from lxml import etree

from gateway.simulator.ews.soap import Refused
from gateway.simulator.recurrence import (
    EVERY_DAY,
    LAST,
    WEEKEND_DAYS,
    WORK_DAYS,
    Daily,
    Monthly,
    MonthlyRelative,
    Pattern,
    Recurrence,
    Weekly,
    Yearly,
    YearlyRelative,
)
from gateway.simulator.zones import zone_info

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_GROUPS = {"Day": EVERY_DAY, "Weekday": WORK_DAYS, "WeekendDay": WEEKEND_DAYS}
_ORDERS = {"First": 1, "Second": 2, "Third": 3, "Fourth": 4, "Last": LAST}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def read(element: etree._Element) -> Recurrence:
    """Parse a Recurrence element. Raises Refused."""
    try:
        parts = {etree.QName(child).localname: _fields(child) for child in element}
        patterns = [_pattern(name, fields) for name, fields in parts.items() if name in _READERS]
        bounds = [fields for name, fields in parts.items() if name in _RANGES]
        (pattern,), (bound,) = patterns, bounds
        number, until = bound.get("NumberOfOccurrences"), bound.get("EndDate")
        return Recurrence(
            pattern,
            start=_date(bound["StartDate"]),
            number=int(number) if number else None,
            until=_date(until) if until else None,
        )
    except (KeyError, ValueError, IndexError):
        raise Refused("ErrorInvalidRecurrence", "The recurrence is not valid.") from None


def write(recurrence: Recurrence, first: date, zone: str) -> str:
    """The Recurrence element. `first` is the day of the first occurrence; dates carry the zone's offset."""
    start = _stamp(recurrence.start or first, zone)
    if recurrence.number is not None:
        bound = (
            f"<t:NumberedRecurrence><t:StartDate>{start}</t:StartDate>"
            f"<t:NumberOfOccurrences>{recurrence.number}</t:NumberOfOccurrences></t:NumberedRecurrence>"
        )
    elif recurrence.until is not None:
        bound = (
            f"<t:EndDateRecurrence><t:StartDate>{start}</t:StartDate>"
            f"<t:EndDate>{_stamp(recurrence.until, zone)}</t:EndDate></t:EndDateRecurrence>"
        )
    else:
        bound = f"<t:NoEndRecurrence><t:StartDate>{start}</t:StartDate></t:NoEndRecurrence>"
    return f"<t:Recurrence>{_write_pattern(recurrence.pattern)}{bound}</t:Recurrence>"


_RANGES = ("NoEndRecurrence", "EndDateRecurrence", "NumberedRecurrence")
_READERS = (
    *("DailyRecurrence", "WeeklyRecurrence", "AbsoluteMonthlyRecurrence", "RelativeMonthlyRecurrence"),
    *("AbsoluteYearlyRecurrence", "RelativeYearlyRecurrence"),
)


def _fields(element: etree._Element) -> dict[str, str]:
    return {etree.QName(child).localname: (child.text or "").strip() for child in element}


def _pattern(name: str, fields: dict[str, str]) -> Pattern:
    interval = int(fields.get("Interval", 1))
    if interval < 1:
        raise ValueError("interval")
    match name:
        case "DailyRecurrence":
            return Daily(interval)
        case "WeeklyRecurrence":
            days = frozenset(_DAYS.index(day) for day in fields["DaysOfWeek"].split())
            return Weekly(days, interval, _DAYS.index(fields.get("FirstDayOfWeek", "Sunday")))
        case "AbsoluteMonthlyRecurrence":
            return Monthly(int(fields["DayOfMonth"]), interval)
        case "RelativeMonthlyRecurrence":
            return MonthlyRelative(_weekdays(fields), _ORDERS[fields["DayOfWeekIndex"]], interval)
        case "AbsoluteYearlyRecurrence":
            return Yearly(_MONTHS.index(fields["Month"]) + 1, int(fields["DayOfMonth"]))
        case _:
            month = _MONTHS.index(fields["Month"]) + 1
            return YearlyRelative(month, _weekdays(fields), _ORDERS[fields["DayOfWeekIndex"]])


def _weekdays(fields: dict[str, str]) -> frozenset[int]:
    named = fields["DaysOfWeek"]
    return _GROUPS[named] if named in _GROUPS else frozenset({_DAYS.index(named)})


def _write_pattern(pattern: Pattern) -> str:
    match pattern:
        case Daily(interval):
            return _element("DailyRecurrence", Interval=interval)
        case Weekly(weekdays, interval, first_day):
            days = " ".join(_DAYS[day] for day in sorted(weekdays))
            return _element("WeeklyRecurrence", Interval=interval, DaysOfWeek=days, FirstDayOfWeek=_DAYS[first_day])
        case Monthly(day, interval):
            return _element("AbsoluteMonthlyRecurrence", Interval=interval, DayOfMonth=day)
        case MonthlyRelative(weekdays, order, interval):
            days, nth = _day_name(weekdays), _order_name(order)
            return _element("RelativeMonthlyRecurrence", Interval=interval, DaysOfWeek=days, DayOfWeekIndex=nth)
        case Yearly(month, day):
            return _element("AbsoluteYearlyRecurrence", DayOfMonth=day, Month=_MONTHS[month - 1])
        case YearlyRelative(month, weekdays, order):
            days, nth = _day_name(weekdays), _order_name(order)
            name = _MONTHS[month - 1]
            return _element("RelativeYearlyRecurrence", DaysOfWeek=days, DayOfWeekIndex=nth, Month=name)


def _element(name: str, **fields: str | int) -> str:
    return f"<t:{name}>" + "".join(f"<t:{key}>{value}</t:{key}>" for key, value in fields.items()) + f"</t:{name}>"


def _day_name(weekdays: frozenset[int]) -> str:
    for name, group in _GROUPS.items():
        if group == weekdays:
            return name
    return _DAYS[min(weekdays)]


def _order_name(order: int) -> str:
    return next(name for name, value in _ORDERS.items() if value == order)


def _date(value: str) -> date:
    """A date that may carry an offset or be a dateTime; the offset does not matter."""
    return date.fromisoformat(value[:10])


def _stamp(day: date, zone: str) -> str:
    offset = datetime.combine(day, time(), tzinfo=zone_info(zone)).strftime("%z")
    return f"{day.isoformat()}{offset[:3]}:{offset[3:5]}"
