"""The answer to GetUserAvailability, walked once: a schedule or an error for each mailbox asked for.

Entries carry no address; they are matched by position, so an answer with another number of entries is worth nothing.
What one mailbox's entry does wrong costs that mailbox only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from gateway.core.model import Block, Schedule
from gateway.errors import SourceError
from gateway.sources import Window
from gateway.sources.ews import soap
from gateway.sources.ews.blocks import block, from_digits, schedule, tidy
from gateway.sources.ews.refusals import BATCH_TOO_BIG, BUSY_CODES, OLDER_VERSION_HELPS, error_of, failure
from gateway.sources.ews.zones import MailboxZone, working_zone
from gateway.sources.xml import Element, shape, texts_of

_RESPONSE: Final = f"{{{soap.MESSAGES}}}GetUserAvailabilityResponse"
_ARRAY: Final = f"{{{soap.MESSAGES}}}FreeBusyResponseArray"
_ENTRY: Final = f"{{{soap.MESSAGES}}}FreeBusyResponse"
_MESSAGE: Final = f"{{{soap.MESSAGES}}}ResponseMessage"
_CODE: Final = f"{{{soap.MESSAGES}}}ResponseCode"
_VIEW: Final = f"{{{soap.MESSAGES}}}FreeBusyView"
_VIEW_TYPE: Final = f"{{{soap.TYPES}}}FreeBusyViewType"
_DIGITS: Final = f"{{{soap.TYPES}}}MergedFreeBusy"
_EVENTS: Final = f"{{{soap.TYPES}}}CalendarEventArray"
_EVENT: Final = f"{{{soap.TYPES}}}CalendarEvent"
_HOURS: Final = f"{{{soap.TYPES}}}WorkingHours"
_START, _END, _BUSY = (f"{{{soap.TYPES}}}{name}" for name in ("StartTime", "EndTime", "BusyType"))

_starts = texts_of("t:CalendarEvent/t:StartTime/text()", t=soap.TYPES)
_ends = texts_of("t:CalendarEvent/t:EndTime/text()", t=soap.TYPES)
_busy_types = texts_of("t:CalendarEvent/t:BusyType/text()", t=soap.TYPES)

_OF_THE_CALL: Final = frozenset({BATCH_TOO_BIG}) | BUSY_CODES | OLDER_VERSION_HELPS
"""Codes that, said of every mailbox, are said of the call."""


@dataclass(frozen=True, slots=True)
class Availability:
    """What came back: one entry per mailbox, or the refusal of the whole call."""

    entries: tuple[Schedule | SourceError, ...] = ()
    refusal: soap.Refusal | None = None
    cleaned: bool = False
    """Illegal character references had to be removed first."""
    warned: bool = False
    """Some entry is a success with a warning."""


def read_availability(body: bytes, mailboxes: Sequence[str], window: Window, site: ZoneInfo) -> Availability:
    """The entries for these mailboxes, by position. `site` is the zone for mailboxes that do not tell theirs.

    Raises SourceProtocolError if the answer as a whole is not one: not XML, not SOAP, another operation's, or not one
    entry per mailbox.
    """
    content, cleaned = soap.open_envelope(body)
    if (refusal := soap.fault(content)) is not None:
        return Availability(refusal=refusal, cleaned=cleaned)
    if content.tag != _RESPONSE:
        raise soap.unexpected("the answer is not a GetUserAvailabilityResponse", content)
    array = content.find(_ARRAY)
    if array is None:
        if (refusal := soap.any_refusal(content)) is not None:
            return Availability(refusal=refusal, cleaned=cleaned)
        raise soap.unexpected("the answer has no FreeBusyResponseArray", content)
    entries = [entry for entry in array if entry.tag == _ENTRY]
    if len(entries) != len(mailboxes):
        raise soap.unexpected(f"{len(entries)} entries came for {len(mailboxes)} mailboxes", content)
    refusals = [_refusal(entry) for entry in entries]
    if common := _refusal_of_all(refusals):
        return Availability(refusal=common, cleaned=cleaned)
    read = tuple(
        _read_entry(entry, mailbox, window, site) if refusal is None else error_of(refusal, mailbox)
        for entry, refusal, mailbox in zip(entries, refusals, mailboxes, strict=True)
    )
    return Availability(read, cleaned=cleaned, warned=_warned(array))


def refusal_of_call(content: Element) -> soap.Refusal | None:
    """The refusal of the whole call, however it is said: a fault, an answer without entries, or in every entry."""
    if (refusal := soap.fault(content)) is not None or content.tag != _RESPONSE:
        return refusal
    array = content.find(_ARRAY)
    if array is None:
        return soap.any_refusal(content)
    return _refusal_of_all([_refusal(entry) for entry in array if entry.tag == _ENTRY])


def _refusal(entry: Element) -> soap.Refusal | None:
    message = next((child for child in entry if child.tag == _MESSAGE), None)
    if message is None:
        return None  # garbled; found again when it is read
    if message.get("ResponseClass") == "Success":
        for child in message:
            if child.tag == _CODE and child.text == "NoError":
                return None
    return soap.refusal(message)


def _refusal_of_all(refusals: Sequence[soap.Refusal | None]) -> soap.Refusal | None:
    """The refusal of the whole call, if every entry repeats one; with the longest pause any of them names."""
    said = [refusal for refusal in refusals if refusal is not None and refusal.code in _OF_THE_CALL]
    if not said or len(said) < len(refusals):
        return None
    pauses = [refusal.back_off for refusal in said if refusal.back_off is not None]
    return soap.Refusal(said[0].code, max(pauses, default=None))


def _warned(array: Element) -> bool:
    return any(message.get("ResponseClass") == "Warning" for entry in array for message in entry)


def _read_entry(entry: Element, mailbox: str, window: Window, site: ZoneInfo) -> Schedule | SourceError:
    try:
        return _read_view(entry, mailbox, window, site)
    except ValueError as fault:
        return failure(
            "protocol.unexpected_shape",
            f"the entry of mailbox {mailbox!r} makes no sense: {_plain(fault)}",
            mailbox=mailbox,
            excerpt=shape(entry),
        )


def _read_view(entry: Element, mailbox: str, window: Window, site: ZoneInfo) -> Schedule | SourceError:
    parts = {part.tag: part for part in entry}
    if _MESSAGE not in parts or _VIEW not in parts:
        raise Garbled("it lacks ResponseMessage or FreeBusyView")
    view = {part.tag: part for part in parts[_VIEW]}
    events, digits, hours = view.get(_EVENTS), view.get(_DIGITS), view.get(_HOURS)
    kind = "" if (named := view.get(_VIEW_TYPE)) is None else (named.text or "").strip()
    if kind == "None" or not view or (kind == "MergedOnly" and digits is None and events is None):
        raise Garbled("it succeeded without any view")  # never take that for a free day
    if events is not None and len(events):
        blocks = _read_events(events, window)
    else:
        known = "" if digits is None else (digits.text or "").strip()
        if known and known.strip("456789") == "":
            return failure("server.unavailable", f"exchange has no free/busy data of {mailbox!r}", mailbox=mailbox)
        blocks = tidy(from_digits(known, window), window) if known else ()

    def zone() -> MailboxZone | None:
        return None if hours is None else working_zone(hours)

    return schedule(blocks, window, zone, site)


def _read_events(events: Element, window: Window) -> tuple[Block, ...]:
    starts, ends, busy_types = _starts(events), _ends(events), _busy_types(events)
    if not len(starts) == len(ends) == len(busy_types) == len(events):
        starts, ends, busy_types = _one_by_one(events)
    opens, closes = window.start, window.end
    found: list[Block] = []
    last, in_order = None, True
    for one in map(block, starts, ends, busy_types):
        if one is None or one.end <= opens or one.start >= closes:
            continue
        in_order = in_order and (last is None or last < one.start)
        last = one.start
        found.append(one)
    return tuple(found) if in_order else tidy(found, window)


def _one_by_one(events: Element) -> tuple[list[str], list[str], list[str]]:
    """The texts of events that are not all of the plain form, each with its own."""
    rows = [
        tuple(event.findtext(name) or "" for name in (_START, _END, _BUSY)) for event in events if event.tag == _EVENT
    ]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


class Garbled(ValueError):
    """An entry that is well-formed XML and nonsense; the text is our own."""


def _plain(fault: ValueError) -> str:
    """The fault in our own words: a library's may quote the server's text."""
    return str(fault) if isinstance(fault, Garbled) else "a value is malformed"
