"""Requests that act as a mailbox's owner (ExchangeImpersonation): notifications, and the plain view of a calendar.

They open the owner's calendar and nothing else, and of an appointment they ask for its times and its kind alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway.sources import Window
from gateway.sources.ews.soap import MESSAGES, SOAP, TYPES
from gateway.sources.xml import escaped

EVENTS: Final = ("CreatedEvent", "DeletedEvent", "ModifiedEvent", "MovedEvent", "FreeBusyChangedEvent")
"""What a subscription asks for. FreeBusyChangedEvent alone would not do: it depends on the clients that write."""

VIEW_FIELDS: Final = ("Start", "End", "LegacyFreeBusyStatus", "IsAllDayEvent", "IsCancelled", "CalendarItemType")
"""What a view asks of each appointment; none of it tells what it is about."""

MOST_ITEMS: Final = 200
"""Appointments in one answer to a view."""

_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>'
    f'<s:Envelope xmlns:s="{SOAP}" xmlns:m="{MESSAGES}" xmlns:t="{TYPES}">'
    '<s:Header><t:RequestServerVersion Version="%b"/>'
    "<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>%b</t:PrimarySmtpAddress></t:ConnectingSID>"
    "</t:ExchangeImpersonation></s:Header><s:Body>"
).encode()
_TAIL = b"</s:Body></s:Envelope>"
_CALENDAR = b'<t:DistinguishedFolderId Id="calendar"/>'
_SUBSCRIBE = (
    b"<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds>%b</t:FolderIds><t:EventTypes>%b</t:EventTypes>"
    b"</m:StreamingSubscriptionRequest></m:Subscribe>"
) % (_CALENDAR, b"".join(f"<t:EventType>{name}</t:EventType>".encode() for name in EVENTS))
_UNSUBSCRIBE = b"<m:Unsubscribe><m:SubscriptionId>%b</m:SubscriptionId></m:Unsubscribe>"
_STREAM = (
    b"<m:GetStreamingEvents><m:SubscriptionIds>%b</m:SubscriptionIds>"
    b"<m:ConnectionTimeout>%d</m:ConnectionTimeout></m:GetStreamingEvents>"
)
# IsCancelled and CalendarItemType are of the series' stored data like the times, so no item is opened for them.
_VIEW = (
    b'<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>'
    + b"".join(f'<t:FieldURI FieldURI="calendar:{name}"/>'.encode() for name in VIEW_FIELDS)
    + b"</t:AdditionalProperties></m:ItemShape>"
    + f'<m:CalendarView MaxEntriesReturned="{MOST_ITEMS}" '.encode()
    + b'StartDate="%b" EndDate="%b"/>'
    b"<m:ParentFolderIds>" + _CALENDAR + b"</m:ParentFolderIds></m:FindItem>"
)


def subscribe_request(owner: str, version: str) -> bytes:
    """A streaming subscription to the owner's calendar."""
    return _as(owner, version, _SUBSCRIBE)


def unsubscribe_request(subscription: str, owner: str, version: str) -> bytes:
    """The end of a subscription."""
    return _as(owner, version, _UNSUBSCRIBE % escaped(subscription))


def stream_request(subscriptions: Sequence[str], anchor: str, minutes: int, version: str) -> bytes:
    """A connection that tells the news of up to 200 subscriptions, for so many minutes (1 to 30)."""
    ids = b"".join(b"<t:SubscriptionId>" + escaped(each) + b"</t:SubscriptionId>" for each in subscriptions)
    return _as(anchor, version, _STREAM % (ids, minutes))


def view_request(owner: str, window: Window, version: str) -> bytes:
    """The owner's appointments in a window, series expanded."""
    return _as(owner, version, _VIEW % (_stamp(window.start), _stamp(window.end)))


def _as(owner: str, version: str, body: bytes) -> bytes:
    return _HEAD % (escaped(version), escaped(owner)) + body + _TAIL


def _stamp(instant: datetime) -> bytes:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}".encode()
