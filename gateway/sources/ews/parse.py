"""The answer to GetUserAvailability, walked once: a schedule or an error for each mailbox asked for.

Entries carry no address; they are matched by position, so an answer with another number of entries is worth nothing.
What one mailbox's entry does wrong costs that mailbox only.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from gateway.core.model import Block, Schedule
from gateway.errors import SourceError
from gateway.sources import Window
from gateway.sources.ews import soap
from gateway.sources.ews.blocks import block, from_digits, schedule, tidy
from gateway.sources.ews.refusals import BATCH_TOO_BIG, BUSY_CODES, OLDER_VERSION_HELPS, error_of, failure
from gateway.sources.ews.zones import working_zone
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

_texts = texts_of("*/*/text()")

_NOTHING_KNOWN: Final = "456789"
"""Digits of MergedFreeBusy that say nothing."""

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
    read: list[Schedule | SourceError] = []
    refusals: list[soap.Refusal] = []
    warned = False
    for entry, mailbox in zip(entries, mailboxes, strict=True):
        message, view = _parts(entry)
        if message is not None and not _is_plain_success(message):
            if (refusal := soap.refusal(message)) is not None:
                refusals.append(refusal)
                read.append(error_of(refusal, mailbox))
                continue
            warned = True
        try:
            read.append(_read_view(message, view, mailbox, window, site))
        except ValueError as fault:
            read.append(_garbled(entry, mailbox, fault))
    if len(refusals) == len(entries) and (common := _common(refusals)):
        return Availability(refusal=common, cleaned=cleaned)
    return Availability(tuple(read), cleaned=cleaned, warned=warned)


def refusal_of_call(content: Element) -> soap.Refusal | None:
    """The refusal of the whole call, however it is said: a fault, an answer without entries, or in every entry."""
    if (refusal := soap.fault(content)) is not None or content.tag != _RESPONSE:
        return refusal
    array = content.find(_ARRAY)
    if array is None:
        return soap.any_refusal(content)
    messages = [_parts(entry)[0] for entry in array if entry.tag == _ENTRY]
    refusals = [found for message in messages if message is not None and (found := soap.refusal(message))]
    return _common(refusals) if len(refusals) == len(messages) else None


def _common(refusals: Sequence[soap.Refusal]) -> soap.Refusal | None:
    """The refusal of the whole call in those of all its entries; with the longest pause any of them names."""
    if not refusals or not all(refusal.code in _OF_THE_CALL for refusal in refusals):
        return None
    pauses = [refusal.back_off for refusal in refusals if refusal.back_off is not None]
    return soap.Refusal(refusals[0].code, max(pauses, default=None))


def _parts(entry: Element) -> tuple[Element | None, Element | None]:
    message = view = None
    for part in entry:
        if part.tag == _MESSAGE:
            message = part
        elif part.tag == _VIEW:
            view = part
    return message, view


def _is_plain_success(message: Element) -> bool:
    if message.get("ResponseClass") == "Success":
        for part in message:
            if part.tag == _CODE:
                return part.text == "NoError"
    return False


def _read_view(
    message: Element | None, view: Element | None, mailbox: str, window: Window, site: ZoneInfo
) -> Schedule | SourceError:
    if message is None or view is None:
        raise Garbled("it lacks ResponseMessage or FreeBusyView")
    kind = digits = events = hours = None
    for part in view:
        tag = part.tag
        if tag == _VIEW_TYPE:
            kind = part.text
        elif tag == _EVENTS:
            events = part
        elif tag == _HOURS:
            hours = part
        elif tag == _DIGITS:
            digits = part.text
    if kind == "None" or not len(view) or (kind == "MergedOnly" and digits is None and events is None):
        raise Garbled("it succeeded without any view")  # never take that for a free day
    if events is not None and len(events):
        blocks = _read_events(events, window)
    else:
        known = (digits or "").strip()
        if known and not known.strip(_NOTHING_KNOWN):
            return failure("server.unavailable", f"exchange has no free/busy data of {mailbox!r}", mailbox=mailbox)
        blocks = tidy(from_digits(known, window), window) if known else ()
    return schedule(blocks, window, lambda: None if hours is None else working_zone(hours), site)


def _read_events(events: Element, window: Window) -> tuple[Block, ...]:
    """The blocks of a CalendarEventArray.

    In the plain view every event has three children with a text each, so all texts in a row are enough: a time can
    never pass for a BusyType, so that a row that got out of step does not pass. Everything else is read by name.
    """
    texts = _texts(events)
    if len(texts) == 3 * len(events):
        with suppress(ValueError):
            return _in_window(texts, window)
    named = [event.findtext(name) or "" for event in events if event.tag == _EVENT for name in (_START, _END, _BUSY)]
    return _in_window(named, window)


def _in_window(texts: Sequence[str], window: Window) -> tuple[Block, ...]:
    """The blocks of start, end and BusyType in a row that overlap the window, sorted if they are not already."""
    opens, closes = window.start, window.end
    found: list[Block] = []
    last, in_order = None, True
    for one in map(block, texts[::3], texts[1::3], texts[2::3]):
        if one is None or one.end <= opens or one.start >= closes:
            continue
        in_order = in_order and (last is None or last < one.start)
        last = one.start
        found.append(one)
    return tuple(found) if in_order else tidy(found, window)


def _garbled(entry: Element, mailbox: str, fault: ValueError) -> SourceError:
    told = str(fault) if isinstance(fault, Garbled) else "a value is malformed"  # a library's text may quote content
    message = f"the entry of mailbox {mailbox!r} makes no sense: {told}"
    return failure("protocol.unexpected_shape", message, mailbox=mailbox, excerpt=shape(entry))


class Garbled(ValueError):
    """An entry that is well-formed XML and nonsense; the text is our own."""
