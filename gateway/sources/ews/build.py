"""Requests for availability as bytes: a template per schema version, and one ready fragment per mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from gateway.sources import Window
from gateway.sources.ews.soap import MESSAGES, SOAP, TYPES
from gateway.sources.xml import escaped

VERSIONS: Final = ("Exchange2013", "Exchange2010_SP2", "Exchange2010_SP1", "Exchange2007_SP1")
"""Request versions to step down through when a server refuses one; 2007 SP1 knows the operation already."""

INTERVAL_MINUTES: Final = 15
"""Length of one digit of MergedFreeBusy."""

# A zone of no bias makes every answer naive UTC. Exactly this form is proven on real servers; `m:…Request` has a fixed
# child order (GetUserAvailability operation, MS-OXWAVLS 3.1.4.1).
_HEAD = """<?xml version="1.0" encoding="utf-8"?>\
<s:Envelope xmlns:s="{soap}" xmlns:m="{messages}" xmlns:t="{types}">\
<s:Header><t:RequestServerVersion Version="{version}"/></s:Header>\
<s:Body><m:GetUserAvailabilityRequest>\
<t:TimeZone><t:Bias>0</t:Bias>\
<t:StandardTime><t:Bias>0</t:Bias><t:Time>02:00:00</t:Time><t:DayOrder>1</t:DayOrder><t:Month>3</t:Month>\
<t:DayOfWeek>Sunday</t:DayOfWeek></t:StandardTime>\
<t:DaylightTime><t:Bias>0</t:Bias><t:Time>02:00:00</t:Time><t:DayOrder>1</t:DayOrder><t:Month>10</t:Month>\
<t:DayOfWeek>Sunday</t:DayOfWeek></t:DaylightTime></t:TimeZone>\
<m:MailboxDataArray>"""
_TAIL = """</m:MailboxDataArray><t:FreeBusyViewOptions>\
<t:TimeWindow><t:StartTime>{start}</t:StartTime><t:EndTime>{end}</t:EndTime></t:TimeWindow>\
<t:MergedFreeBusyIntervalInMinutes>{interval}</t:MergedFreeBusyIntervalInMinutes>\
<t:RequestedView>FreeBusy</t:RequestedView></t:FreeBusyViewOptions>\
</m:GetUserAvailabilityRequest></s:Body></s:Envelope>"""


def availability_request(mailboxes: Sequence[str], window: Window, version: str) -> bytes:
    """A GetUserAvailability for the free/busy blocks of up to 100 mailboxes, answered in their order."""
    return b"".join((_head(version), *map(_mailbox, mailboxes), _tail(window.start, window.end)))


def older(version: str) -> str | None:
    """The next version to ask for when this one is refused, or None."""
    if version not in VERSIONS:
        return VERSIONS[0] if version > VERSIONS[0] else VERSIONS[-1]
    below = VERSIONS.index(version) + 1
    return VERSIONS[below] if below < len(VERSIONS) else None


@lru_cache(maxsize=16)
def _head(version: str) -> bytes:
    return _HEAD.format(soap=SOAP, messages=MESSAGES, types=TYPES, version=escaped(version).decode()).encode()


@lru_cache(maxsize=16)
def _tail(start: datetime, end: datetime) -> bytes:
    return _TAIL.format(start=_naive(start), end=_naive(end), interval=INTERVAL_MINUTES).encode()


@lru_cache(maxsize=32768)
def _mailbox(address: str) -> bytes:
    return (
        b"<t:MailboxData><t:Email><t:Address>" + escaped(address) + b"</t:Address></t:Email>"
        b"<t:AttendeeType>Required</t:AttendeeType><t:ExcludeConflicts>false</t:ExcludeConflicts></t:MailboxData>"
    )


def _naive(instant: datetime) -> str:
    return instant.replace(microsecond=0, tzinfo=None).isoformat()
