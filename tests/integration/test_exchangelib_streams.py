"""The honesty of the streams: exchangelib subscribes, listens, and sees what happens in the calendars."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from exchangelib import DELEGATE, Account, CalendarItem
from exchangelib.errors import (
    ErrorImpersonateUserDenied,
    ErrorSubscriptionAccessDenied,
    ErrorSubscriptionDelegateAccessNotSupported,
    ErrorSubscriptionNotFound,
)
from exchangelib.properties import DistinguishedFolderId, Mailbox, StatusEvent
from exchangelib.recurrence import Recurrence, WeeklyPattern
from exchangelib.services import SubscribeToStreaming

from gateway.simulator import Right
from tests.integration.exchangelib_office import ANN, BOB, Office, ask, at, open_office

WAIT = 20.0
BOTH = [("CreatedEvent", True), ("FreeBusyChangedEvent", True), ("ModifiedEvent", False)]


@pytest.fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """Three people in Berlin; the service account may act as any of them."""
    async with open_office(tmp_path, monkeypatch) as office:
        office.world.allow_impersonation(office.exchange.service_account)
        yield office


class Listener:
    """exchangelib listening in its own thread, from `begin` until the server closes the stream."""

    def __init__(self, office: Office, account: Account, *ids: str) -> None:
        self.office = office
        self.account = account
        self.ids = ids
        self._task: asyncio.Task[list[Any]] | None = None

    async def begin(self) -> None:
        """Listen; returns when the server has taken the stream."""
        opened = asyncio.Event()
        stop = self.office.exchange.journal.on_record(
            lambda entry: opened.set() if entry.operation == "GetStreamingEvents" else None
        )

        def listen() -> list[Any]:
            return list(self.account.calendar.get_streaming_events(list(self.ids), connection_timeout=1))

        self._task = asyncio.create_task(ask(listen))
        await asyncio.wait_for(opened.wait(), WAIT)
        stop()

    async def heard(self) -> list[Any]:
        """All notifications, once the stream has ended by itself."""
        assert self._task is not None
        return await asyncio.wait_for(self._task, WAIT)

    async def stop(self) -> list[Any]:
        """All notifications, after the server closed the stream."""
        self.office.exchange.end_streams("closed")
        return await self.heard()


def kinds(notifications: Iterable[Any]) -> list[tuple[str, bool]]:
    """Names of all events but signs of life, and whether each is about an item."""
    events = [event for one in notifications for event in one.events if not isinstance(event, StatusEvent)]
    return [(type(event).__name__, event.event_type == event.ITEM) for event in events]


def told(notifications: Iterable[Any]) -> list[str]:
    """Names of the events about items, without those about free/busy."""
    return [name for name, item in kinds(notifications) if item and name != "FreeBusyChangedEvent"]


async def subscribe(account: Account) -> str:
    """A streaming subscription to the account's calendar."""
    return str(await ask(lambda: account.calendar.subscribe_to_streaming()))


@pytest.mark.parametrize("as_owner", [True, False])
@pytest.mark.parametrize("backends", [1, 2])
async def test_a_client_hears_of_every_edit_of_a_meeting(office: Office, as_owner: bool, backends: int) -> None:
    """Booked, moved, deleted: each is one notification of the item, of its free/busy, and of its folder."""
    office.exchange.ews.options.streams.backends = backends
    ann = await ask(lambda: office.owner(ANN))
    listener = Listener(office, ann if as_owner else office.service(ANN), "")
    token = await subscribe(listener.account)
    listener.ids = (token,)
    await listener.begin()

    def edit() -> CalendarItem:
        item = CalendarItem(folder=ann.calendar, start=at("2026-03-02", "09:00"), end=at("2026-03-02", "10:00")).save()
        first = item.id
        item.start, item.end = at("2026-03-02", "14:00"), at("2026-03-02", "14:45")
        item.save(update_fields=["start", "end"])
        item.delete()
        return first

    item_id = await ask(edit)
    heard = await listener.stop()
    assert {one.subscription_id for one in heard} == {token}
    assert kinds(heard)[:3] == BOTH
    assert told(heard) == ["CreatedEvent", "ModifiedEvent", "DeletedEvent"]
    events = [event for one in heard for event in one.events if event.event_type == event.ITEM]
    assert {event.item_id.id for event in events} == {item_id}
    assert {event.parent_folder_id.id for event in events} == {ann.calendar.id}
    assert next(iter(office.exchange.journal.streams)).ending == "closed"


async def test_a_client_hears_of_every_edit_of_a_series(office: Office) -> None:
    """What happens to one occurrence is told as a change of its series."""
    ann = await ask(lambda: office.owner(ANN))
    service = office.service(ANN)
    listener = Listener(office, service, await subscribe(service))
    await listener.begin()

    def edit() -> str:
        pattern = WeeklyPattern(interval=1, weekdays=["Monday"], first_day_of_week="Monday")
        series = CalendarItem(
            folder=ann.calendar,
            start=at("2026-03-02", "09:00"),
            end=at("2026-03-02", "10:00"),
            recurrence=Recurrence(pattern=pattern, start=date(2026, 3, 2), number=5),
        ).save()
        second = series.occurrence(index=2)
        second.refresh()
        second.start, second.end = second.start + timedelta(hours=1), second.end + timedelta(hours=1)
        second.save(update_fields=["start", "end"])
        series.occurrence(index=3).delete()
        whole = ann.calendar.get(id=series.id)
        whole.delete()
        return str(series.id)

    series_id = await ask(edit)
    heard = await listener.stop()
    assert told(heard) == ["CreatedEvent", "ModifiedEvent", "ModifiedEvent", "DeletedEvent"]
    events = [event for one in heard for event in one.events if event.event_type == event.ITEM]
    assert {event.item_id.id for event in events} == {series_id}


async def test_a_meeting_moved_to_the_trash_is_told_with_its_old_id(office: Office) -> None:
    """The calendar hears where it went and what it was called before."""
    ann = await ask(lambda: office.owner(ANN))
    item = office.world.book(ANN, at("2026-03-02", "15:00"), at("2026-03-02", "16:00"))
    listener = Listener(office, ann, await subscribe(ann))
    await listener.begin()
    found = await ask(lambda: ann.calendar.all().only("start")[0])
    old = found.id
    await ask(found.move_to_trash)
    heard = await listener.stop()
    (moved,) = [event for one in heard for event in one.events if type(event).__name__ == "MovedEvent"]
    assert (moved.old_item_id.id, moved.old_parent_folder_id.id) == (old, ann.calendar.id)
    assert moved.item_id.id != old
    assert moved.parent_folder_id.id == await ask(lambda: ann.trash.id)
    assert item.folder == "deleteditems"


async def test_one_stream_carries_several_mailboxes_and_what_happened_before_it(office: Office) -> None:
    """News waits for a connection, and every notification names its own subscription."""
    service_ann, service_bob = office.service(ANN), office.service(BOB)
    ids = {ANN: await subscribe(service_ann), BOB: await subscribe(service_bob)}
    start, end = at("2026-03-02", "15:00"), at("2026-03-02", "16:00")
    office.world.book(BOB, start, end)
    listener = Listener(office, service_ann, *ids.values())
    await listener.begin()
    office.world.book(ANN, start, end)
    heard = await listener.stop()
    assert [one.subscription_id for one in heard] == [ids[BOB], ids[ANN]]


@pytest.mark.parametrize("heartbeat", ["empty", "status"])
@pytest.mark.parametrize("declaration", ["never", "once", "always"])
async def test_heartbeats_and_the_close_are_understood(office: Office, heartbeat: Any, declaration: Any) -> None:
    """Signs of life are no news, and after Closed the client stops by itself."""
    streams = office.exchange.ews.options.streams
    streams.heartbeat, streams.declaration = heartbeat, declaration
    streams.heartbeat_s, streams.minute_s = 0.03, 0.4
    service = office.service(ANN)
    listener = Listener(office, service, await subscribe(service))
    await listener.begin()
    office.world.book(ANN, at("2026-03-02", "15:00"), at("2026-03-02", "16:00"))
    heard = await listener.heard()
    assert told(heard) == ["CreatedEvent"]
    (record,) = office.exchange.journal.streams
    signs = sum(isinstance(event, StatusEvent) for one in heard for event in one.events)
    assert record.heartbeats > 0
    assert signs == (record.heartbeats if heartbeat == "status" else 0)
    assert record.ending == "closed"


async def test_after_unsubscribing_the_id_means_nothing(office: Office) -> None:
    """A second Unsubscribe and a stream are both refused, and nobody is subscribed any more."""
    service = office.service(ANN)
    token = await subscribe(service)
    assert [each.id for each in office.exchange.ews.subscriptions.live] == [token]
    await ask(lambda: service.calendar.unsubscribe(token))
    assert office.exchange.ews.subscriptions.live == ()
    with pytest.raises(ErrorSubscriptionNotFound):
        await ask(lambda: service.calendar.unsubscribe(token))
    with pytest.raises(ErrorSubscriptionNotFound):
        await ask(lambda: list(service.calendar.get_streaming_events(token, connection_timeout=1)))


async def test_one_bad_id_spoils_the_good_ones_and_is_named(office: Office) -> None:
    """The client is told which one it was."""
    office.exchange.ews.options.streams.error_ids = "messages"
    ann, bob = office.service(ANN), office.service(BOB)
    good, bad = await subscribe(ann), await subscribe(bob)
    await ask(lambda: bob.calendar.unsubscribe(bad))
    with pytest.raises(ErrorSubscriptionNotFound) as error:
        await ask(lambda: list(ann.calendar.get_streaming_events([good, bad], connection_timeout=1)))
    assert bad in str(error.value)
    assert good not in str(error.value)


async def test_a_subscription_belongs_to_the_account_that_made_it(office: Office) -> None:
    """The owner of the mailbox cannot listen to what the service account subscribed."""
    token = await subscribe(office.service(ANN))
    ann = await ask(lambda: office.owner(ANN))
    with pytest.raises(ErrorSubscriptionAccessDenied):
        await ask(lambda: list(ann.calendar.get_streaming_events(token, connection_timeout=1)))


async def test_a_delegate_and_a_mailbox_out_of_scope_are_refused(office: Office) -> None:
    """Rights to the calendar do not make a subscriber, and impersonation has its limits."""
    office.world.grant(ANN, office.exchange.service_account, Right.REVIEWER)
    delegate = office.service(ANN, DELEGATE)
    folder = DistinguishedFolderId(id="calendar", mailbox=Mailbox(email_address=ANN))
    with pytest.raises(ErrorSubscriptionDelegateAccessNotSupported):
        await ask(lambda: list(SubscribeToStreaming(account=delegate).call([folder], ["ModifiedEvent"])))
    office.world.exempt(ANN)
    service = office.service(ANN)
    with pytest.raises(ErrorImpersonateUserDenied):
        await ask(lambda: list(SubscribeToStreaming(account=service).call([folder], ["ModifiedEvent"])))
