"""What is asked in a mailbox owner's name."""

from __future__ import annotations

import pytest

from gateway.sources.ews.owner_requests import stream_request, subscribe_request, unsubscribe_request, view_request
from gateway.sources.ews.session import READ_OPERATIONS
from gateway.sources.ews.soap import MESSAGES, SOAP, TYPES
from gateway.sources.xml import Element, parse
from tests.unit.ews.wire import WINDOW

ANN = "ann@example.com"
REQUESTS = {
    "Subscribe": subscribe_request(ANN, "Exchange2013"),
    "Unsubscribe": unsubscribe_request("id", ANN, "Exchange2013"),
    "GetStreamingEvents": stream_request(["id1", "id2"], ANN, 30, "Exchange2013"),
    "FindItem": view_request(ANN, WINDOW, "Exchange2013"),
}


def asked(request: bytes) -> Element:
    """The element in the body."""
    root, _ = parse(request)
    body = root.find(f"{{{SOAP}}}Body")
    assert body is not None
    return body[0]


def texts(element: Element, name: str) -> list[str]:
    """The texts of all elements of that local name."""
    return [found.text or "" for found in element.iter(f"{{*}}{name}")]


@pytest.mark.parametrize("operation", REQUESTS)
def test_each_acts_as_the_owner_and_is_on_the_list_of_reads(operation: str) -> None:
    """The header impersonates by address, the operation is one the transport lets pass."""
    root, _ = parse(REQUESTS[operation])
    header = root.find(f"{{{SOAP}}}Header")
    assert header is not None
    assert [child.tag.rpartition("}")[2] for child in header] == ["RequestServerVersion", "ExchangeImpersonation"]
    assert texts(header, "PrimarySmtpAddress") == [ANN]
    assert asked(REQUESTS[operation]).tag == f"{{{MESSAGES}}}{operation}"
    assert operation in READ_OPERATIONS


def test_a_subscription_is_to_the_calendar_alone_and_to_all_that_changes_it() -> None:
    """One folder, five kinds of events, and never all folders."""
    request = asked(REQUESTS["Subscribe"])
    assert [child.tag for child in request] == [f"{{{MESSAGES}}}StreamingSubscriptionRequest"]
    assert not request[0].keys()
    assert [folder.get("Id") for folder in request.iter(f"{{{TYPES}}}DistinguishedFolderId")] == ["calendar"]
    assert texts(request, "EventType") == [
        "CreatedEvent",
        "DeletedEvent",
        "ModifiedEvent",
        "MovedEvent",
        "FreeBusyChangedEvent",
    ]


def test_a_stream_names_its_subscriptions_and_its_minutes() -> None:
    """In this order, the ids in the namespace of types."""
    request = asked(REQUESTS["GetStreamingEvents"])
    assert [child.tag.rpartition("}")[2] for child in request] == ["SubscriptionIds", "ConnectionTimeout"]
    assert [each.tag for each in request[0]] == 2 * [f"{{{TYPES}}}SubscriptionId"]
    assert texts(request, "SubscriptionId") == ["id1", "id2"]
    assert texts(request, "ConnectionTimeout") == ["30"]


def test_a_view_asks_for_times_and_kind_and_nothing_else() -> None:
    """No subject, place, body or people: six fields, by id only, the calendar of the owner, the whole window."""
    request = asked(REQUESTS["FindItem"])
    assert texts(request, "BaseShape") == ["IdOnly"]
    assert [field.get("FieldURI") for field in request.iter(f"{{{TYPES}}}FieldURI")] == [
        "calendar:Start",
        "calendar:End",
        "calendar:LegacyFreeBusyStatus",
        "calendar:IsAllDayEvent",
        "calendar:IsCancelled",
        "calendar:CalendarItemType",
    ]
    (view,) = request.iter(f"{{{MESSAGES}}}CalendarView")
    assert (view.get("StartDate"), view.get("EndDate")) == ("2026-11-19T00:00:00Z", "2026-11-22T00:00:00Z")
    assert [child.tag.rpartition("}")[2] for child in request] == ["ItemShape", "CalendarView", "ParentFolderIds"]


def test_hostile_addresses_and_ids_stay_what_they_are() -> None:
    """Markup in them changes nothing else."""
    hostile = "</t:PrimarySmtpAddress><x/>"
    root, _ = parse(unsubscribe_request("</m:SubscriptionId><x/>", hostile, "Exchange2013"))
    assert root.find(".//x") is None
    assert texts(root, "PrimarySmtpAddress") == [hostile]
    assert texts(root, "SubscriptionId") == ["</m:SubscriptionId><x/>"]
