"""Answers for the parser tests: recordings by name, and small ones made of parts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.core.model import Schedule
from gateway.errors import SourceError
from gateway.sources import Window
from gateway.sources.ews.parse import Availability, read_availability
from gateway.sources.ews.soap import MESSAGES, SOAP, TYPES

GOLDEN = Path(__file__).parents[2] / "golden" / "ews"
WINDOW = Window(datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))
SUCCESS = '<ResponseMessage ResponseClass="Success"><ResponseCode>NoError</ResponseCode></ResponseMessage>'


def golden(name: str) -> bytes:
    """The recorded answer of that name."""
    return (GOLDEN / f"{name}.xml").read_bytes()


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant in November 2026, UTC."""
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def event(start: str, end: str, busy: str = "Busy") -> str:
    """One CalendarEvent."""
    times = f"<StartTime>{start}</StartTime><EndTime>{end}</EndTime>"
    return f"<CalendarEvent>{times}<BusyType>{busy}</BusyType></CalendarEvent>"


def refusing(code: str, tag: str = "ResponseMessage") -> str:
    """One response message that refuses."""
    return f'<{tag} ResponseClass="Error"><ResponseCode>{code}</ResponseCode></{tag}>'


def view(events: str = "", more: str = "", kind: str = "FreeBusy") -> str:
    """A successful entry with these events (none: no array) and more parts of the view."""
    array = f'<CalendarEventArray xmlns="{TYPES}">{events}</CalendarEventArray>' if events else ""
    kind = f'<FreeBusyViewType xmlns="{TYPES}">{kind}</FreeBusyViewType>' if kind else ""
    return f"{SUCCESS}<FreeBusyView>{kind}{array}{more}</FreeBusyView>"


def answer(*entries: str) -> bytes:
    """A whole answer of these entries (what is inside FreeBusyResponse)."""
    inside = "".join(f"<FreeBusyResponse>{entry}</FreeBusyResponse>" for entry in entries)
    return (
        f'<s:Envelope xmlns:s="{SOAP}"><s:Body><GetUserAvailabilityResponse xmlns="{MESSAGES}">'
        f"<FreeBusyResponseArray>{inside}</FreeBusyResponseArray></GetUserAvailabilityResponse></s:Body></s:Envelope>"
    ).encode()


def read(body: bytes, count: int = 1, zone: str = "UTC") -> Availability:
    """The answer read for that many mailboxes, p0@example.com and so on."""
    return read_availability(body, [f"p{n}@example.com" for n in range(count)], WINDOW, ZoneInfo(zone))


def only(body: bytes, zone: str = "UTC") -> Schedule:
    """The schedule of an answer for one mailbox."""
    (entry,) = read(body, zone=zone).entries
    assert isinstance(entry, Schedule), entry
    return entry


def refused(body: bytes) -> SourceError:
    """The error of an answer for one mailbox."""
    (entry,) = read(body).entries
    assert isinstance(entry, SourceError), entry
    return entry
