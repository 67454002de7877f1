"""Streams on the wire: what comes when, in which pieces, how it ends, and what is left of it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from gateway.simulator import Simulator, StreamOptions, World
from tests.clock import FakeClock
from tests.integration.simulator_server.conftest import connect
from tests.unit.simulator.wire import streaming, subscribe

from .client import ANN, BEN, NEWS, WAIT, Subscriber, book, element, events, open_line, released


async def test_headers_are_as_recorded(subscriber: Subscriber, switches: StreamOptions) -> None:
    """X-NoBuffering, chunked, private, not compressed although the client would take it, and no Content-Type."""
    token = await subscriber.subscribe(ANN)
    line = await subscriber.listen(token, headers={"Accept-Encoding": "gzip"})
    headers = line.response.headers
    assert line.response.status == 200
    assert headers["X-NoBuffering"] == "1"
    assert headers["Transfer-Encoding"] == "chunked"
    assert headers["Cache-Control"] == "private"
    assert not {"Content-Type", "Content-Encoding", "Content-Length"} & headers.keys()
    switches.content_type = True
    typed = await subscriber.listen(token)
    assert typed.response.headers["Content-Type"] == "text/xml; charset=utf-8"


async def test_the_first_envelope_comes_at_once_and_news_as_it_happens(
    exchange: Simulator, subscriber: Subscriber
) -> None:
    """Without any time going by."""
    token = await subscriber.subscribe(ANN)
    line = await subscriber.listen(token)
    assert element(await line.next(), "ConnectionStatus") == "OK"
    book(exchange)
    news = await line.next()
    assert events(news) == NEWS
    assert element(news, "SubscriptionId") == token
    assert element(news, "ConnectionStatus") == ""


async def test_two_mailboxes_that_change_at_once_share_an_envelope(exchange: Simulator, subscriber: Subscriber) -> None:
    """One Notification for each."""
    line = await open_line(subscriber, ANN, BEN)
    book(exchange, ANN)
    book(exchange, BEN)
    assert events(await line.next()) == NEWS * 2


async def test_heartbeats_come_every_45_seconds(exchange: Simulator, subscriber: Subscriber, clock: FakeClock) -> None:
    """Not before, and again and again."""
    line = await open_line(subscriber)
    await clock.advance(44)
    book(exchange)
    assert events(await line.next()) == NEWS
    await clock.advance(1)
    assert element(await line.next(), "ConnectionStatus") == "OK"
    await clock.advance(45)
    assert element(await line.next(), "ConnectionStatus") == "OK"
    (record,) = exchange.journal.streams
    assert (record.heartbeats, record.envelopes, record.events) == (2, 4, 3)


async def test_after_its_time_a_stream_is_closed_and_its_connection_goes_on(
    exchange: Simulator, subscriber: Subscriber, clock: FakeClock
) -> None:
    """Closed is the last envelope, the body ends, and the same connection carries the next request."""
    token = await subscriber.subscribe(ANN)
    line = await (await subscriber.listen(token, minutes=2)).skip()
    await clock.advance(119)
    assert exchange.journal.streams.open
    await clock.advance(1)
    last = await line.skip(2)  # the heartbeats
    assert element(await last.next(), "ConnectionStatus") == "Closed"
    assert await last.ended() == b""
    before = exchange.journal.connections
    again = await (await subscriber.listen(token)).skip()
    assert exchange.journal.connections == before
    assert [record.ending for record in exchange.journal.streams] == ["closed", ""]
    book(exchange)
    assert events(await again.next()) == NEWS


@pytest.mark.parametrize("closed", ["linger", "missing"])
async def test_the_end_can_be_odd(
    exchange: Simulator, subscriber: Subscriber, clock: FakeClock, switches: StreamOptions, closed: str
) -> None:
    """Closed without the end of the body, or the end of the body without Closed."""
    switches.closed = "linger" if closed == "linger" else "missing"
    switches.heartbeat = "none"
    line = await open_line(subscriber, minutes=1)
    await clock.advance(60)
    if closed == "missing":
        assert await line.ended() == b""
        return
    assert element(await line.next(), "ConnectionStatus") == "Closed"
    await clock.advance(3600)
    assert len(exchange.journal.streams.open) == 1
    line.response.close()
    await released(exchange)


async def test_news_between_two_streams_is_not_lost(exchange: Simulator, subscriber: Subscriber) -> None:
    """A client that went away finds what happened meanwhile."""
    token = await subscriber.subscribe(ANN)
    line = await (await subscriber.listen(token)).skip()
    line.response.close()
    await released(exchange)
    book(exchange)
    again = await (await subscriber.listen(token)).skip()
    assert events(await again.next()) == NEWS
    assert [record.ending for record in exchange.journal.streams] == ["client", ""]


async def test_bursts_follow_in_their_own_time(
    exchange: Simulator, subscriber: Subscriber, clock: FakeClock, switches: StreamOptions
) -> None:
    """The same pair again, a second later."""
    switches.saves, switches.folder_events = 2, False
    line = await open_line(subscriber)
    book(exchange)
    assert events(await line.next()) == NEWS[:2]
    await clock.advance(0.9)
    assert exchange.journal.streams.open[0].events == 2
    await clock.advance(0.1)
    assert events(await line.next()) == NEWS[:2]


async def test_envelopes_can_be_split_into_chunks_of_any_size(
    exchange: Simulator, subscriber: Subscriber, clock: FakeClock, switches: StreamOptions
) -> None:
    """Down to single bytes."""
    switches.chunk_size = 1
    token = await subscriber.subscribe(ANN)
    line = await subscriber.listen(token)
    assert element(await line.next(), "ConnectionStatus") == "OK"
    assert {len(chunk) for chunk in line.chunks} == {1}


async def test_chunks_can_come_with_pauses_between(
    exchange: Simulator, subscriber: Subscriber, clock: FakeClock, switches: StreamOptions
) -> None:
    """The second chunk is a second later than the first."""
    switches.chunk_size, switches.chunk_pause_s = 500, 1.0
    line = await subscriber.listen(await subscriber.subscribe(ANN))
    first = await line.read()
    assert len(first) == 500
    assert exchange.journal.streams.open[0].bytes == 500
    await clock.advance(1)
    assert element(await line.next(), "ConnectionStatus") == "OK"


async def test_envelopes_can_be_split_at_every_offset(
    exchange: Simulator, subscriber: Subscriber, clock: FakeClock, switches: StreamOptions
) -> None:
    """Each one byte later than the one before."""
    switches.walking_split = True
    token = await subscriber.subscribe(ANN)
    line = await subscriber.listen(token)
    await line.skip()
    for _ in range(3):
        await clock.advance(45)
        await line.skip()
    assert [len(chunk) for chunk in line.chunks[::2]] == [1, 2, 3, 4]


async def test_several_envelopes_can_come_in_one_chunk(
    exchange: Simulator, subscriber: Subscriber, switches: StreamOptions
) -> None:
    """The first one and the news that waited, without a byte between them."""
    switches.glued = switches.one_notification = True
    tokens = [await subscriber.subscribe(address) for address in (ANN, BEN)]
    book(exchange, ANN)
    book(exchange, BEN)
    line = await (await subscriber.listen(*tokens)).skip(3)
    assert len(line.chunks) == 1
    assert b"</Envelope><Envelope " in line.chunks[0]


async def test_a_bad_id_gets_its_answer_and_the_end(exchange: Simulator, subscriber: Subscriber) -> None:
    """One envelope, and the body is over; the good subscription can be listened to at once."""
    good, bad = await subscriber.subscribe(ANN), await subscriber.subscribe(BEN)
    assert await subscriber.unsubscribe(bad) == "NoError"
    line = await subscriber.listen(good, bad)
    answer = await line.next()
    assert element(answer, "ResponseCode") == "ErrorSubscriptionNotFound"
    assert element(answer, "SubscriptionId") == bad
    assert element(answer, "ConnectionStatus") == "Closed"
    assert await line.ended() == b""
    assert [record.ending for record in exchange.journal.streams] == ["refused"]
    await (await subscriber.listen(good)).skip()


async def test_unsubscribing_ends_the_stream_that_carries_it(exchange: Simulator, subscriber: Subscriber) -> None:
    """With an error that names the subscription."""
    token = await subscriber.subscribe(ANN)
    line = await (await subscriber.listen(token)).skip()
    assert await subscriber.unsubscribe(token) == "NoError"
    answer = await line.next()
    assert element(answer, "ResponseCode") == "ErrorSubscriptionUnsubscribed"
    assert element(answer, "SubscriptionId") == token
    assert await line.ended() == b""


async def test_a_second_stream_takes_over(exchange: Simulator, subscriber: Subscriber) -> None:
    """The first one is closed, the second one has the news."""
    token = await subscriber.subscribe(ANN)
    first = await (await subscriber.listen(token)).skip()
    second = await (await subscriber.listen(token)).skip()
    assert element(await first.next(), "ConnectionStatus") == "Closed"
    book(exchange)
    assert events(await second.next()) == NEWS


@pytest.mark.parametrize("how", ["close", "reset", "not_found", "deaf"])
async def test_a_restart_forgets_all_subscriptions(exchange: Simulator, subscriber: Subscriber, how: str) -> None:
    """Open streams end one way or another, or stay open and never say anything new; no id means anything."""
    token = await subscriber.subscribe(ANN)
    line = await (await subscriber.listen(token)).skip()
    exchange.restart_subscriptions(how)  # type: ignore[arg-type]
    assert not exchange.ews.subscriptions.live
    if how == "not_found":
        answer = await line.next()
        assert element(answer, "ResponseCode") == "ErrorSubscriptionNotFound"
        assert element(answer, "SubscriptionId") == token
        assert await line.ended() == b""
    elif how == "deaf":
        book(exchange)
        exchange.end_streams("closed")
        assert element(await line.next(), "ConnectionStatus") == "Closed"
    else:
        with pytest.raises(aiohttp.ClientError):
            await line.ended()
    await released(exchange)
    assert element(await (await subscriber.listen(token)).next(), "ResponseCode") == "ErrorSubscriptionNotFound"


async def test_streams_of_one_mailbox_can_be_ended(exchange: Simulator, subscriber: Subscriber) -> None:
    """The others go on."""
    ann, ben = await open_line(subscriber, ANN), await open_line(subscriber, BEN)
    assert exchange.end_streams("reset", ANN.upper()) == 1
    with pytest.raises(aiohttp.ClientError):
        await ann.ended()
    book(exchange, BEN)
    assert events(await ben.next()) == NEWS
    await asyncio.sleep(0)
    assert [record.ending for record in exchange.journal.streams] == ["cut", ""]


async def test_stopping_the_simulator_ends_every_stream(world: World, clock: FakeClock) -> None:
    """At once, although nothing was to be said for a long time."""
    async with Simulator(world, now=clock.now, sleep=clock.sleep) as exchange, connect(exchange, limit=0) as session:
        subscriber = Subscriber(exchange, session)
        lines = [await open_line(subscriber, address) for address in (ANN, BEN)]
        async with asyncio.timeout(WAIT):
            await exchange.stop()
        for line in lines:
            with pytest.raises(aiohttp.ClientError):
                await line.ended()
        subscriber.leave()
        assert exchange.journal.streams.open == ()
        assert not exchange.ews.subscriptions.streams


async def test_affinity_is_a_matter_of_headers_and_cookie(
    exchange: Simulator, subscriber: Subscriber, switches: StreamOptions
) -> None:
    """The cookie of the anchor's Subscribe brings the others and the stream to the same server."""
    switches.backends = 2
    together = {"X-AnchorMailbox": ANN, "X-PreferServerAffinity": "true"}
    first = await subscriber.post(subscribe(impersonate=ANN), together)
    cookie = first.cookies["X-BackEndOverrideCookie"]
    assert (cookie["path"], cookie["secure"], cookie["httponly"]) == ("/", True, True)
    ann = (await first.text()).partition("SubscriptionId>")[2].partition("<")[0]
    group = together | {"Cookie": f"X-BackEndOverrideCookie={cookie.value}"}
    ben = await subscriber.subscribe(BEN, group)
    good = await subscriber.listen(ann, ben, headers=group)
    assert element(await good.next(), "ResponseCode") == "NoError"
    astray = await subscriber.listen(ann, ben, headers=together)
    answer = await astray.next()
    assert [each.text for each in answer.iter("{*}ResponseCode")] == ["ErrorSubscriptionNotFound"]
    assert len(list(answer.iter("{*}SubscriptionId"))) == 2
    asked = [entry for entry in exchange.journal if entry.operation == "GetStreamingEvents"]
    assert [(entry.anchor, entry.prefers_affinity, entry.cookie) for entry in asked] == [
        (ANN, True, cookie.value),
        (ANN, True, ""),
    ]
    assert good.response.headers["X-BEServer"] != astray.response.headers["X-BEServer"]


async def test_the_fourth_stream_of_a_mailbox_on_2013_is_a_fault(exchange: Simulator, subscriber: Subscriber) -> None:
    """HTTP 500 before any stream begins; the journal has three streams."""
    exchange.ews.options.server = "2013"
    for _ in range(3):
        await open_line(subscriber)
    token = await subscriber.subscribe(ANN)
    refused = await subscriber.post(streaming(token, impersonate=ANN))
    assert refused.status == 500
    assert b"ErrorExceededConnectionCount" in await refused.read()
    assert len(exchange.journal.streams.open) == 3


async def test_the_journal_knows_streams_rates_and_emissions(
    exchange: Simulator, subscriber: Subscriber, clock: FakeClock
) -> None:
    """Who listens to whom, how fast somebody subscribed, and when each mailbox' news went out."""
    tokens = []
    for address in (ANN, BEN):
        tokens.append(await subscriber.subscribe(address))
        await clock.advance(0.5)
    await subscriber.subscribe(BEN)
    await clock.advance(2)
    line = await (await subscriber.listen(*tokens, headers={"X-AnchorMailbox": ANN})).skip()
    book(exchange, BEN)
    await line.skip()
    journal = exchange.journal
    (record,) = journal.streams.open
    assert (record.caller, record.impersonated, record.anchor) == (exchange.service_account, ANN, ANN)
    assert (record.ids, record.mailboxes) == (tuple(tokens), (ANN, BEN))
    assert record.opened_s == 3.0
    assert record.bytes == sum(map(len, line.chunks))
    assert journal.count("GetStreamingEvents", status=200) == 1
    assert (journal.peak("Subscribe"), journal.peak("Subscribe", seconds=2)) == (2, 3)
    assert (journal.streams.emitted(BEN), journal.streams.emitted(ANN)) == ([3.0], [])
    assert journal.streams.peak() == 1
