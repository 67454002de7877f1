"""What a stream says: news, signs of life, and the ways in which servers write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from lxml import etree

from gateway.simulator.ews import Envelope, EwsFace, EwsOptions, Stream, StreamOptions
from gateway.simulator.world import DELETED_ITEMS, Appointment, World
from tests.unit.simulator.wire import ANN, BOB, SERVICE, M, S, T, office, streaming, subscribe, tree, utc, values

DECLARED = b"<?xml"
SECOND = timedelta(seconds=1)


class Line:
    """An open stream with Ann's and Bob's calendars, and the world it listens to."""

    def __init__(self, **switches: Any) -> None:
        self.moment = utc(20, 9)
        self.world: World = office()
        self.world.allow_impersonation(SERVICE)
        self.switches = StreamOptions(**switches)
        self.face = EwsFace(self.world, EwsOptions(streams=self.switches), now=lambda: self.moment)
        self.ids = {address: self.subscribed(address) for address in (ANN, BOB)}
        self.signals: list[str] = []

    def subscribed(self, address: str, **more: Any) -> str:
        """The id of a new subscription."""
        (token,) = values(tree(self.face.answer(subscribe(impersonate=address, **more), SERVICE)), "SubscriptionId")
        return token

    def open(self, *tokens: str) -> Stream:
        """A stream of these subscriptions, or of both, connected."""
        asked = streaming(*(tokens or self.ids.values()), impersonate=ANN)
        stream = self.face.answer(asked, SERVICE).stream
        assert stream is not None
        stream.open(self.signals.append)
        return stream

    def book(self, address: str = ANN) -> Appointment:
        """A meeting from ten to eleven."""
        return self.world.book(address, utc(20, 10), utc(20, 11))


def read(envelope: Envelope) -> etree._Element:
    """The envelope as a tree."""
    return etree.fromstring(envelope.body)


def names(envelope: Envelope) -> list[str]:
    """Names of all events, in order."""
    inside = [etree.QName(each).localname for one in read(envelope).iter(f"{M}Notification") for each in one]
    return [name for name in inside if name.endswith("Event")]


def test_the_first_envelope_is_as_recorded() -> None:
    """`Envelope` unprefixed, `soap11:` on Header and Body, no declaration, NoError and ConnectionStatus OK alone."""
    hello = Line().open().hello()
    assert hello.body.startswith(b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><soap11:Header ')
    assert hello.body.endswith(b"</soap11:Body></Envelope>")
    (message,) = read(hello).iter(f"{M}GetStreamingEventsResponseMessage")
    assert [(etree.QName(each).localname, each.text) for each in message] == [
        ("ResponseCode", "NoError"),
        ("ConnectionStatus", "OK"),
    ]


def test_news_is_one_notification_per_subscription_and_nothing_else() -> None:
    """No ConnectionStatus, no MoreEvents, no watermark; the item, its free/busy, its folder."""
    line = Line()
    stream = line.open()
    line.book()
    line.book(BOB)
    (envelope,) = stream.news(line.moment)
    (message,) = read(envelope).iter(f"{M}GetStreamingEventsResponseMessage")
    assert [etree.QName(each).localname for each in message] == ["ResponseCode", "Notifications"]
    assert values(message, "SubscriptionId") == list(line.ids.values())
    assert names(envelope) == ["CreatedEvent", "FreeBusyChangedEvent", "ModifiedEvent"] * 2
    assert values(message, "TimeStamp")[0] == "2026-11-20T09:00:00Z"
    first = [next(message.iter(f"{T}{name}Event")) for name in ("Created", "FreeBusyChanged", "Modified")]
    assert [[etree.QName(each).localname for each in event] for event in first] == [
        ["TimeStamp", "ItemId", "ParentFolderId"],
        ["TimeStamp", "ItemId", "ParentFolderId"],
        ["TimeStamp", "FolderId", "ParentFolderId"],
    ]
    assert envelope.told == ((ANN, 3), (BOB, 3))
    assert b"subject" not in envelope.body.lower()
    assert line.signals == ["news", "news"]
    assert stream.news(line.moment) == []


def test_only_the_events_that_were_asked_for_come() -> None:
    """By their types, and by the folder."""
    line = Line()
    token = line.subscribed(ANN, types=("DeletedEvent", "MovedEvent"))
    stream = line.open(token)
    filed = line.world.file(line.book().item_id, DELETED_ITEMS)
    line.world.delete(filed.item_id)
    line.world.delete(line.book().item_id)
    (envelope,) = stream.news(line.moment)
    assert names(envelope) == ["MovedEvent", "DeletedEvent"]


def test_a_moved_item_is_told_with_both_its_ids() -> None:
    """ItemId, ParentFolderId, OldItemId, OldParentFolderId, all different."""
    line = Line(folder_events=False, free_busy_changed=False)
    stream = line.open(line.ids[ANN])
    item = line.book()
    stream.news(line.moment)
    line.world.file(item.item_id, DELETED_ITEMS)
    (envelope,) = stream.news(line.moment)
    (event,) = read(envelope).iter(f"{T}MovedEvent")
    assert [etree.QName(each).localname for each in list(event)[1:]] == [
        "ItemId",
        "ParentFolderId",
        "OldItemId",
        "OldParentFolderId",
    ]
    assert len({each.get("Id") for each in list(event)[1:]}) == 4


def test_events_wait_for_a_connection_and_come_fifty_at_a_time() -> None:
    """What happened between two streams arrives with the next one, in several envelopes if it is much."""
    line = Line(folder_events=False, free_busy_changed=False, notification_status=True)
    line.open().close()
    for _ in range(120):
        line.book()
    stream = line.open()
    envelopes = stream.news(line.moment)
    assert [len(names(envelope)) for envelope in envelopes] == [50, 50, 20]
    assert [values(read(envelope), "MoreEvents") for envelope in envelopes] == [["true"], ["true"], ["false"]]
    assert values(read(envelopes[0]), "ConnectionStatus") == ["OK"]


def test_each_subscription_can_have_its_own_envelope() -> None:
    """Two mailboxes change at once, and two envelopes tell of it."""
    line = Line(one_notification=True)
    stream = line.open()
    line.book(ANN)
    line.book(BOB)
    assert [envelope.told for envelope in stream.news(line.moment)] == [((ANN, 3),), ((BOB, 3),)]


def test_a_save_can_be_told_again_later() -> None:
    """Bursts: each repeat is due a second after the one before, and carries its own time."""
    line = Line(saves=3, folder_events=False)
    stream = line.open(line.ids[ANN])
    line.book()
    told = []
    for _ in range(3):
        assert stream.next_due == line.moment
        (envelope,) = stream.news(line.moment)
        told.append((names(envelope), values(read(envelope), "TimeStamp")[0]))
        line.moment += SECOND
    pair = ["CreatedEvent", "FreeBusyChangedEvent"]
    assert told == [(pair, f"2026-11-20T09:00:0{second}Z") for second in range(3)]
    assert stream.next_due is None


def test_a_silent_mailbox_tells_nothing_by_name_or_by_fault() -> None:
    """The subscription is there and its calendar is read as ever; only news never comes."""
    line = Line()
    line.world.add_person("silent@example.com")
    line.ids["silent@example.com"] = line.subscribed("silent@example.com")
    stream = line.open()
    line.world.set_fault(BOB, "silent")
    line.book("silent@example.com")
    line.book(BOB)
    assert stream.news(line.moment) == []
    line.world.set_fault(BOB, None)
    line.book(BOB)
    assert [envelope.told for envelope in stream.news(line.moment)] == [((BOB, 3),)]


def test_news_can_get_lost_on_the_way() -> None:
    """Of one mailbox; the others' arrives."""
    line = Line()
    stream = line.open()
    line.book(ANN)
    line.book(BOB)
    (envelope,) = stream.news(line.moment, lambda address: address == ANN)
    assert envelope.told == ((BOB, 3),)
    assert stream.news(line.moment) == []


def test_heartbeats_are_empty_full_or_none() -> None:
    """ConnectionStatus OK alone, or a StatusEvent for each subscription as well, or no envelope."""
    line = Line()
    stream = line.open()
    empty = stream.heartbeat()
    assert empty is not None
    assert names(empty) == []
    assert values(read(empty), "ConnectionStatus") == ["OK"]
    line.switches.heartbeat = "status"
    full = stream.heartbeat()
    assert full is not None
    assert names(full) == ["StatusEvent", "StatusEvent"]
    assert values(read(full), "SubscriptionId") == list(line.ids.values())
    line.switches.heartbeat = "none"
    assert stream.heartbeat() is None


@pytest.mark.parametrize(
    ("declaration", "declared"),
    [("never", [False, False]), ("once", [True, False]), ("always", [True, True])],
)
def test_the_declaration_comes_never_once_or_always(declaration: Any, declared: list[bool]) -> None:
    """Before the first envelope, before each, or not at all."""
    stream = Line(declaration=declaration).open()
    said = [stream.hello(), stream.closed()]
    assert [envelope.body.startswith(DECLARED) for envelope in said] == declared
    assert values(read(said[1]), "ConnectionStatus") == ["Closed"]


@pytest.mark.parametrize(
    ("prefixes", "opening", "closing"),
    [
        ("recorded", b"<Envelope ", b"</soap11:Body></Envelope>"),
        ("prefixed", b"<s:Envelope ", b"</s:Body></s:Envelope>"),
        ("unprefixed", b"<Envelope ", b"</Body></Envelope>"),
        ("soap11", b"<soap11:Envelope ", b"</soap11:Body></soap11:Envelope>"),
    ],
)
def test_prefixes_change_and_the_envelope_does_not(prefixes: Any, opening: bytes, closing: bytes) -> None:
    """The same elements in the same namespaces, whatever they are called."""
    said = Line(prefixes=prefixes).open().hello()
    plain = Line().open().hello()
    assert said.body.startswith(opening)
    assert said.body.endswith(closing)
    assert [each.tag for each in read(said).iter()] == [each.tag for each in read(plain).iter()]
    assert read(said).tag == f"{S}Envelope"


def test_an_error_names_the_subscriptions_in_either_namespace() -> None:
    """MessageText, code, key, ids, status, in this order."""
    line = Line()
    stream = line.open()
    (message,) = read(stream.error("ErrorReadEventsFailed", ["x"])).iter(f"{M}GetStreamingEventsResponseMessage")
    assert [etree.QName(each).localname for each in message] == [
        "MessageText",
        "ResponseCode",
        "DescriptiveLinkKey",
        "ErrorSubscriptionIds",
        "ConnectionStatus",
    ]
    assert [each.text for each in message.iter(f"{T}SubscriptionId")] == ["x"]
    line.switches.error_ids = "messages"
    other = read(stream.error("ErrorReadEventsFailed", ["x"], status=""))
    assert [each.text for each in other.iter(f"{M}SubscriptionId")] == ["x"]
    assert values(other, "ConnectionStatus") == []


def test_a_stream_hears_when_a_subscription_ends_under_it() -> None:
    """By Unsubscribe; what was forgotten without a word is just silent."""
    line = Line()
    stream = line.open()
    line.face.subscriptions.forget([BOB])
    line.book(BOB)
    assert line.signals == []
    line.face.subscriptions.unsubscribe(line.ids[ANN], SERVICE, 0)
    assert line.signals == ["unsubscribed"]
    assert stream.lost == [line.ids[ANN]]


def test_a_closed_stream_gives_its_subscriptions_back() -> None:
    """Nothing is left of it, and closing it twice changes nothing."""
    line = Line()
    stream = line.open()
    line.moment += SECOND
    stream.close()
    line.moment += SECOND
    stream.close()
    assert not line.face.subscriptions.streams
    assert {each.stream for each in line.face.subscriptions.live} == {None}
    assert {each.idle_since for each in line.face.subscriptions.live} == {line.moment - SECOND}
    line.book()
    assert line.signals == []
