"""Requests as a client writes them, and answers as it reads them, for tests of the EWS face."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from lxml import etree

from gateway.simulator.ews import EwsFace, Reply
from gateway.simulator.world import World

S = "{http://schemas.xmlsoap.org/soap/envelope/}"
M = "{http://schemas.microsoft.com/exchange/services/2006/messages}"
T = "{http://schemas.microsoft.com/exchange/services/2006/types}"
E = "{http://schemas.microsoft.com/exchange/services/2006/errors}"
BERLIN = ZoneInfo("Europe/Berlin")
ANN, BOB, SERVICE = "ann@example.com", "bob@example.com", "svc"
UTC_ZONE = "<t:Bias>0</t:Bias>" + "".join(
    f"<t:{name}><t:Bias>0</t:Bias><t:Time>02:00:00</t:Time><t:DayOrder>1</t:DayOrder><t:Month>{month}</t:Month>"
    f"<t:DayOfWeek>Sunday</t:DayOfWeek></t:{name}>"
    for name, month in (("StandardTime", 3), ("DaylightTime", 10))
)
BERLIN_ZONE = (
    "<t:Bias>-60</t:Bias><t:StandardTime><t:Bias>0</t:Bias><t:Time>03:00:00</t:Time><t:DayOrder>5</t:DayOrder>"
    "<t:Month>10</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek></t:StandardTime><t:DaylightTime><t:Bias>-60</t:Bias>"
    "<t:Time>02:00:00</t:Time><t:DayOrder>5</t:DayOrder><t:Month>3</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek>"
    "</t:DaylightTime>"
)


def utc(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """A moment of November 2026."""
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def office() -> World:
    """Ann and Bob in Berlin, on 20 November 2026."""
    world = World(lambda: utc(20))
    world.add_person(ANN)
    world.add_person(BOB)
    return world


def soap(content: str, *, version: str = "Exchange2013", impersonate: str = "", form: str = "SmtpAddress") -> bytes:
    """A request envelope around an operation."""
    identity = (
        f"<t:ExchangeImpersonation><t:ConnectingSID><t:{form}>{impersonate}</t:{form}></t:ConnectingSID>"
        "</t:ExchangeImpersonation>"
        if impersonate
        else ""
    )
    head = f'<t:RequestServerVersion Version="{version}"/>' if version else ""
    return (
        f'<s:Envelope xmlns:s="{S[1:-1]}" xmlns:m="{M[1:-1]}" xmlns:t="{T[1:-1]}"><s:Header>{head}{identity}'
        f"</s:Header><s:Body>{content}</s:Body></s:Envelope>"
    ).encode()


def availability(
    *addresses: str,
    view: str = "FreeBusy",
    start: str = "2026-11-20T00:00:00",
    end: str = "2026-11-21T00:00:00",
    interval: int = 60,
    zone: str = UTC_ZONE,
    **header: str,
) -> bytes:
    """A GetUserAvailability request."""
    data = "".join(
        f"<t:MailboxData><t:Email><t:Address>{address}</t:Address></t:Email><t:AttendeeType>Required"
        "</t:AttendeeType><t:ExcludeConflicts>false</t:ExcludeConflicts></t:MailboxData>"
        for address in addresses
    )
    return soap(
        f"<m:GetUserAvailabilityRequest><t:TimeZone>{zone}</t:TimeZone><m:MailboxDataArray>{data}"
        f"</m:MailboxDataArray><t:FreeBusyViewOptions><t:TimeWindow><t:StartTime>{start}</t:StartTime>"
        f"<t:EndTime>{end}</t:EndTime></t:TimeWindow><t:MergedFreeBusyIntervalInMinutes>{interval}"
        f"</t:MergedFreeBusyIntervalInMinutes><t:RequestedView>{view}</t:RequestedView></t:FreeBusyViewOptions>"
        "</m:GetUserAvailabilityRequest>",
        **header,
    )


EVENT_TYPES = ("CreatedEvent", "DeletedEvent", "ModifiedEvent", "MovedEvent", "FreeBusyChangedEvent")


def subscribe(
    *addresses: str, types: tuple[str, ...] = EVENT_TYPES, attributes: str = "", kind: str = "Streaming", **header: str
) -> bytes:
    """A Subscribe request: to the calendars of these addresses, or to the caller's own."""
    mailboxes = [f"<t:Mailbox><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox>" for address in addresses]
    folders = "".join(
        f'<t:DistinguishedFolderId Id="calendar">{mailbox}</t:DistinguishedFolderId>' for mailbox in mailboxes or [""]
    )
    listed = "" if attributes else f"<t:FolderIds>{folders}</t:FolderIds>"
    events = "".join(f"<t:EventType>{name}</t:EventType>" for name in types)
    return soap(
        f"<m:Subscribe><m:{kind}SubscriptionRequest {attributes}>{listed}<t:EventTypes>{events}</t:EventTypes>"
        f"</m:{kind}SubscriptionRequest></m:Subscribe>",
        **header,
    )


def unsubscribe(token: str, **header: str) -> bytes:
    """An Unsubscribe request."""
    return soap(f"<m:Unsubscribe><m:SubscriptionId>{token}</m:SubscriptionId></m:Unsubscribe>", **header)


def streaming(*tokens: str, minutes: object = 30, **header: str) -> bytes:
    """A GetStreamingEvents request."""
    ids = "".join(f"<t:SubscriptionId>{token}</t:SubscriptionId>" for token in tokens)
    return soap(
        f"<m:GetStreamingEvents><m:SubscriptionIds>{ids}</m:SubscriptionIds>"
        f"<m:ConnectionTimeout>{minutes}</m:ConnectionTimeout></m:GetStreamingEvents>",
        **header,
    )


def tree(reply: Reply) -> etree._Element:
    """The answer as a tree."""
    return etree.fromstring(reply.body)


def entries(face: EwsFace, request: bytes, caller: str = SERVICE) -> list[etree._Element]:
    """The FreeBusyResponse elements of an availability answer."""
    reply = face.answer(request, caller)
    assert reply.status == 200, reply.body
    return list(tree(reply).iter(f"{M}FreeBusyResponse"))


def values(element: etree._Element, name: str) -> list[str]:
    """The texts of all descendants of that local name."""
    return [found.text or "" for found in element.iter(f"{{*}}{name}")]


def fault_code(reply: Reply) -> str:
    """The code of a fault, wherever its generation puts it."""
    assert reply.status == 500, reply.body
    (code,) = values(tree(reply), "ResponseCode")
    return code
