"""Every fault of a stream as a client sees it on the wire."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from lxml import etree

from gateway.simulator import ACTIONS, Simulator
from tests.clock import FakeClock

from .client import ANN, BEN, NEWS, WAIT, Line, Subscriber, book, element, events, open_line, released


async def broken(line: Line) -> None:
    """The connection ends in the middle of the body."""
    with pytest.raises(aiohttp.ClientError):
        await line.ended()


@pytest.mark.parametrize("end", ["close", "reset", "body"])
async def test_stream_cut(exchange: Simulator, subscriber: Subscriber, end: str) -> None:
    """Half an envelope, and then the end of the connection or of the body; nothing of it counts as emitted."""
    exchange.faults.add("stream_cut", part=0.5, end=end, count=1)
    line = await open_line(subscriber)
    book(exchange)
    if end == "body":
        assert (await line.ended()).startswith(b"<Envelope ")
    else:
        await broken(line)
        if end == "close":
            assert line.rest.startswith(b"<Envelope ")
    assert b"</Envelope>" not in line.rest
    await released(exchange)
    assert [record.ending for record in exchange.journal.streams] == ["stream_cut"]
    assert exchange.journal.streams.emissions == ()
    assert await subscriber.listen(*(each.id for each in exchange.ews.subscriptions.live))


async def test_stream_silent(exchange: Simulator, subscriber: Subscriber, clock: FakeClock) -> None:
    """The headers, and not one byte more: no heartbeat, no news, no Closed."""
    rule = exchange.faults.add("stream_silent", at="hello")
    token = await subscriber.subscribe(ANN)
    line = await subscriber.listen(token, minutes=1)
    book(exchange)
    await clock.advance(3600)
    (record,) = exchange.journal.streams.open
    assert record.bytes == 0
    exchange.faults.clear(rule.number)
    await broken(line)
    assert line.chunks == []


async def test_stream_silent_from_the_next_envelope_on(
    exchange: Simulator, subscriber: Subscriber, clock: FakeClock
) -> None:
    """A stream that was healthy falls silent, and a client that goes away is noticed all the same."""
    line = await open_line(subscriber)
    rule = exchange.faults.add("stream_silent")
    await clock.advance(45)
    await asyncio.wait_for(rule.acted.wait(), WAIT)
    book(exchange)
    await clock.advance(45)
    assert exchange.journal.streams.open[0].envelopes == 1
    line.response.close()
    await released(exchange)


async def test_stream_malformed(exchange: Simulator, subscriber: Subscriber) -> None:
    """One end tag is missing, and the next envelope is good again."""
    exchange.faults.add("stream_malformed", at="news", count=1)
    line = await open_line(subscriber)
    book(exchange)
    with pytest.raises(etree.XMLSyntaxError):
        await line.next()
    book(exchange)
    assert events(await line.next()) == NEWS


async def test_stream_oversized(exchange: Simulator, subscriber: Subscriber) -> None:
    """Five megabytes before the envelope ends."""
    exchange.faults.add("stream_oversized", count=1)
    line = await open_line(subscriber)
    book(exchange)
    assert events(await line.next()) == NEWS
    assert sum(map(len, line.chunks)) > 5 << 20


@pytest.mark.parametrize("repeat", ["envelope", "inside"])
async def test_stream_endless(exchange: Simulator, subscriber: Subscriber, repeat: str) -> None:
    """The same news without end, or one envelope that never ends."""
    exchange.faults.add("stream_endless", repeat=repeat)
    line = await open_line(subscriber)
    book(exchange)
    if repeat == "envelope":
        for _ in range(100):
            assert events(await line.next()) == NEWS
    else:
        while sum(map(len, line.chunks)) < 1 << 17:
            await line.read()
        assert b"</Envelope>" not in line.rest
        assert line.rest.count(b"<m:Notification>") > 100
    line.response.close()
    await released(exchange)


async def test_stream_error(exchange: Simulator, subscriber: Subscriber) -> None:
    """An error in the place of the news, for one mailbox, whose subscription is gone; then Closed."""
    exchange.faults.add("stream_error", mailbox=ANN, at="news", code="ErrorReadEventsFailed", blame=True, forget=True)
    tokens = [await subscriber.subscribe(address) for address in (ANN, BEN)]
    line = await (await subscriber.listen(*tokens)).skip()
    book(exchange, BEN)
    assert events(await line.next()) == NEWS
    book(exchange, ANN)
    answer = await line.next()
    assert element(answer, "ResponseCode") == "ErrorReadEventsFailed"
    assert element(answer, "SubscriptionId") == tokens[0]
    assert element(answer, "ConnectionStatus") == "Closed"
    assert await line.ended() == b""
    assert [each.id for each in exchange.ews.subscriptions.live] == tokens[1:]


async def test_stream_error_may_leave_the_stream_open(exchange: Simulator, subscriber: Subscriber) -> None:
    """ConnectionStatus OK beside an error, and the stream goes on; no id is blamed."""
    exchange.faults.add("stream_error", count=1, status="OK")
    line = await open_line(subscriber)
    book(exchange)
    answer = await line.next()
    assert element(answer, "ResponseCode") == "ErrorMissedNotificationEvents"
    assert element(answer, "ConnectionStatus") == "OK"
    assert list(answer.iter("{*}ErrorSubscriptionIds")) == []
    book(exchange)
    assert events(await line.next()) == NEWS


async def test_stream_closed(exchange: Simulator, subscriber: Subscriber) -> None:
    """In good order, as its first word."""
    exchange.faults.add("stream_closed", at="hello", count=1)
    token = await subscriber.subscribe(ANN)
    line = await subscriber.listen(token)
    assert element(await line.next(), "ConnectionStatus") == "Closed"
    assert await line.ended() == b""


async def test_stream_lost(exchange: Simulator, subscriber: Subscriber, clock: FakeClock) -> None:
    """News of one mailbox gets lost; its neighbour's and the heartbeats arrive."""
    rule = exchange.faults.add("stream_lost", mailbox=ANN)
    line = await open_line(subscriber, ANN, BEN)
    book(exchange, ANN)
    book(exchange, BEN)
    assert events(await line.next()) == NEWS
    await clock.advance(45)
    assert element(await line.next(), "ConnectionStatus") == "OK"
    assert exchange.journal.streams.emitted(ANN) == []
    exchange.faults.clear(rule.number)
    book(exchange, ANN)
    assert events(await line.next()) == NEWS


async def test_a_rule_counts_envelopes(exchange: Simulator, subscriber: Subscriber) -> None:
    """The second news is hit, not the first, and no other stream's."""
    exchange.faults.add("stream_closed", at="news", mailbox=ANN, skip=1, count=1)
    ann, ben = await open_line(subscriber, ANN), await open_line(subscriber, BEN)
    for _ in range(2):
        book(exchange, BEN)
        assert events(await ben.next()) == NEWS
    book(exchange, ANN)
    assert events(await ann.next()) == NEWS
    book(exchange, ANN)
    assert element(await ann.next(), "ConnectionStatus") == "Closed"


async def test_faults_of_requests_hit_a_stream_before_it_begins(exchange: Simulator, subscriber: Subscriber) -> None:
    """As any other request; no stream is opened then."""
    exchange.faults.add("soap_fault", operation="GetStreamingEvents", count=1)
    exchange.faults.add("truncated", operation="GetStreamingEvents", framing="chunked", count=1)
    token = await subscriber.subscribe(ANN)
    assert (await subscriber.listen(token)).response.status == 500
    await broken(await subscriber.listen(token))
    assert len(exchange.journal.streams) == 0
    await (await subscriber.listen(token)).skip()


def test_every_stream_action_is_tested_here() -> None:
    """A new action needs its test."""
    streams = [name for name, action in ACTIONS.items() if action.to != "request"]
    assert [name for name in streams if f"test_{name}" not in globals()] == []
