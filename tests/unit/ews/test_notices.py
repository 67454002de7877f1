"""What the documents of a notification stream say, and the answer to Subscribe."""

from __future__ import annotations

import pytest

from gateway.errors import SourceProtocolError
from gateway.sources.ews.notices import Notice, read_notice, read_subscription
from gateway.sources.ews.soap import MESSAGES, SOAP, TYPES, Refusal

EVENT = (
    "<t:TimeStamp>2026-11-20T09:31:29Z</t:TimeStamp><t:ItemId Id='AAMk' ChangeKey='AQ'/>"
    "<t:ParentFolderId Id='AAE' ChangeKey='AQ'/>"
)


def document(inside: str, outcome: str = "Success") -> bytes:
    """One envelope as Exchange 2013 to 2019 write it, around the parts of a message."""
    return (
        f'<Envelope xmlns="{SOAP}"><soap11:Header xmlns:soap11="{SOAP}"><ServerVersionInfo xmlns="{TYPES}" '
        f'MajorVersion="15"/></soap11:Header><soap11:Body xmlns:soap11="{SOAP}"><m:GetStreamingEventsResponse '
        f'xmlns:m="{MESSAGES}" xmlns:t="{TYPES}"><m:ResponseMessages><m:GetStreamingEventsResponseMessage '
        f'ResponseClass="{outcome}">{inside}</m:GetStreamingEventsResponseMessage></m:ResponseMessages>'
        "</m:GetStreamingEventsResponse></soap11:Body></Envelope>"
    ).encode()


def news(*notifications: str) -> str:
    """The parts of a message with these notifications."""
    told = "".join(f"<m:Notification>{each}</m:Notification>" for each in notifications)
    return f"<m:ResponseCode>NoError</m:ResponseCode><m:Notifications>{told}</m:Notifications>"


def of(subscription: str, *events: str) -> str:
    """A notification of a subscription with these events."""
    return f"<t:SubscriptionId>{subscription}</t:SubscriptionId>" + "".join(
        f"<t:{name}>{EVENT}</t:{name}>" for name in events
    )


OK = "<m:ResponseCode>NoError</m:ResponseCode><m:ConnectionStatus>OK</m:ConnectionStatus>"


def test_each_changed_subscription_is_told_once() -> None:
    """A save is a ModifiedEvent, a FreeBusyChangedEvent and one of the folder; together they are one change."""
    told = read_notice(
        document(news(of("id2", "ModifiedEvent", "FreeBusyChangedEvent", "ModifiedEvent"), of("id1", "DeletedEvent")))
    )
    assert told == Notice(changed=("id2", "id1"))


@pytest.mark.parametrize(
    "event",
    ["CreatedEvent", "DeletedEvent", "ModifiedEvent", "MovedEvent", "CopiedEvent", "FreeBusyChangedEvent", "NewEvent"],
)
def test_every_kind_of_event_is_a_change(event: str) -> None:
    """Even one nobody has heard of yet: a read too many is harmless."""
    assert read_notice(document(news(of("id", event)))).changed == ("id",)


def test_a_heartbeat_changes_nothing() -> None:
    """Empty, or with a StatusEvent, a watermark and MoreEvents for each subscription."""
    assert read_notice(document(OK)) == Notice()
    beat = "<t:PreviousWatermark>w</t:PreviousWatermark><t:MoreEvents>false</t:MoreEvents>"
    beats = [f"{of(f'id{n}')}{beat}<t:StatusEvent><t:Watermark>w</t:Watermark></t:StatusEvent>" for n in range(200)]
    assert read_notice(document(news(*beats))) == Notice()


def test_the_regular_end_is_no_error() -> None:
    """NoError and ConnectionStatus Closed."""
    assert read_notice(document(OK.replace(">OK<", ">Closed<"))) == Notice(closed=True)


@pytest.mark.parametrize("prefix", ["t", "m"])
@pytest.mark.parametrize(
    "status", ["<m:ConnectionStatus>Closed</m:ConnectionStatus>", "<m:ConnectionStatus>OK</m:ConnectionStatus>", ""]
)
def test_an_error_ends_the_stream_whatever_its_status_says(prefix: str, status: str) -> None:
    """The ids it blames are named, in whichever namespace a server puts them."""
    blamed = "".join(f"<{prefix}:SubscriptionId>{each}</{prefix}:SubscriptionId>" for each in ("id7", "id9"))
    told = read_notice(
        document(
            "<m:MessageText>gone</m:MessageText><m:ResponseCode>ErrorSubscriptionNotFound</m:ResponseCode>"
            f"<m:ErrorSubscriptionIds>{blamed}</m:ErrorSubscriptionIds>{status}",
            "Error",
        )
    )
    assert told == Notice(closed=True, refusal=Refusal("ErrorSubscriptionNotFound"), bad=("id7", "id9"))


def test_news_beside_an_error_is_not_lost() -> None:
    """One envelope may hold both."""
    told = read_notice(document(news(of("id1", "CreatedEvent")).replace("NoError", "ErrorReadEventsFailed"), "Error"))
    assert told.changed == ("id1",)
    assert told.closed


def test_a_fault_in_place_of_a_stream_is_its_end() -> None:
    """With the pause it asks for."""
    fault = (
        f'<s:Envelope xmlns:s="{SOAP}"><s:Body><s:Fault><faultcode xmlns:a="{TYPES}">a:ErrorServerBusy</faultcode>'
        "<faultstring>busy</faultstring><detail><e:ResponseCode xmlns:e='errors'>ErrorServerBusy</e:ResponseCode>"
        f'<t:MessageXml xmlns:t="{TYPES}"><t:Value Name="BackOffMilliseconds">1500</t:Value></t:MessageXml></detail>'
        "</s:Fault></s:Body></s:Envelope>"
    )
    assert read_notice(fault.encode()) == Notice(closed=True, refusal=Refusal("ErrorServerBusy", 1.5))


@pytest.mark.parametrize("junk", [b"<Envelope/>", b"not XML", document(OK)[:-12], b"<html><body>Sign in</body></html>"])
def test_whatever_is_no_document_of_a_stream_is_refused(junk: bytes) -> None:
    """And nothing of it is quoted."""
    with pytest.raises(SourceProtocolError) as caught:
        read_notice(junk)
    assert "Sign in" not in f"{caught.value} {caught.value.excerpt}"


def test_a_document_of_another_operation_is_refused() -> None:
    """A stream holds nothing but its own answers."""
    with pytest.raises(SourceProtocolError):
        read_notice(subscribed("<m:SubscriptionId>id</m:SubscriptionId>"))


def subscribed(inside: str, code: str = "NoError", outcome: str = "Success") -> bytes:
    """The answer to Subscribe."""
    return (
        f'<s:Envelope xmlns:s="{SOAP}"><s:Body><m:SubscribeResponse xmlns:m="{MESSAGES}"><m:ResponseMessages>'
        f'<m:SubscribeResponseMessage ResponseClass="{outcome}"><m:ResponseCode>{code}</m:ResponseCode>{inside}'
        "</m:SubscribeResponseMessage></m:ResponseMessages></m:SubscribeResponse></s:Body></s:Envelope>"
    ).encode()


def test_the_answer_to_subscribe_is_an_id_or_a_refusal() -> None:
    """A streaming subscription has no watermark; a refusal keeps its code."""
    assert read_subscription(subscribed("<m:SubscriptionId> JAAx== </m:SubscriptionId>")) == "JAAx=="
    refused = subscribed("", "ErrorImpersonateUserDenied", "Error")
    assert read_subscription(refused) == Refusal("ErrorImpersonateUserDenied")
    with pytest.raises(SourceProtocolError):
        read_subscription(subscribed(""))
    with pytest.raises(SourceProtocolError):
        read_subscription(document(OK))
