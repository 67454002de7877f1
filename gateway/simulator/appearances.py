"""How stored items appear in time: the occurrences of a series, exceptions, whole days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.simulator.model import Appointment, BadRecurrence, Occurrence, OccurrenceKind
from gateway.simulator.recurrence import Series, midnight, wall
from gateway.simulator.zones import zone_info


def settle(item: Appointment) -> None:
    """Bring an item's times to UTC and all-day items to whole days, and prepare the expansion of a series.

    Raises ValueError for naive times or an end before the start, BadRecurrence, UnknownZone.
    """
    if item.start.tzinfo is None or item.end.tzinfo is None:
        raise ValueError("appointment times must be aware")
    zone = zone_info(item.zone)
    item.start, item.end = item.start.astimezone(UTC), item.end.astimezone(UTC)
    if item.all_day:
        item.start, item.end = whole_days(item.start, item.end, item.zone)
    if item.end < item.start:
        raise ValueError("an appointment cannot end before it starts")
    item.series = None
    if item.recurrence is not None:
        begins, ends = wall(item.start, zone), wall(item.end, zone)
        if ends <= begins:  # the clocks go back during the first occurrence
            ends = begins + (item.end - item.start)
        series = Series(item.recurrence, begins, ends, zone)
        first = series.nth(1)
        if first is None:
            raise BadRecurrence("the recurrence names no day")
        item.series = series
        item.start, item.end = first


def occurrence_id(master: Appointment, original_start: datetime) -> str:
    """The id of one occurrence of a series; stable for as long as the series keeps its times."""
    return f"{master.item_id}.{int(original_start.timestamp())}"


def expanded(master: Appointment, start: datetime, end: datetime) -> list[Occurrence]:
    """The occurrences of a series around a window and all its exceptions; the caller tests for overlap."""
    assert master.series is not None
    own = [exception(master, original) for original in master.deviations]
    return own + [
        regular(master, index, begins, ends)
        for index, begins, ends in master.series.between(start, end)
        if begins not in master.deleted and begins not in master.deviations
    ]


def regular(master: Appointment, index: int, start: datetime, end: datetime) -> Occurrence:
    """One occurrence as the series has it."""
    return Occurrence(
        item_id=occurrence_id(master, start),
        change_key=master.change_key,
        start=start,
        end=end,
        kind=OccurrenceKind.OCCURRENCE,
        item=master,
        master_id=master.item_id,
        original_start=start,
        index=index,
    )


def exception(master: Appointment, original: datetime) -> Occurrence:
    """One occurrence that deviates, under its original start."""
    deviation = master.deviations[original]
    item = replace(master, **deviation.fields)
    return Occurrence(
        item_id=occurrence_id(master, original),
        change_key=master.change_key,
        start=item.start,
        end=item.end,
        kind=OccurrenceKind.EXCEPTION,
        item=item,
        master_id=master.item_id,
        original_start=original,
        index=deviation.index,
    )


def whole_days(start: datetime, end: datetime, zone: str) -> tuple[datetime, datetime]:
    """The UTC midnights around a span, in a zone; at least one day."""
    info = zone_info(zone)
    first, last = wall(start, info), wall(end, info)
    days = last.date() if not any((last.hour, last.minute, last.second)) else last.date() + timedelta(days=1)
    return midnight(first.date(), info), midnight(max(days, first.date() + timedelta(days=1)), info)
