"""Streams by the control endpoint: what can be seen and done without the simulator's objects at hand."""

from __future__ import annotations

from typing import Any

import aiohttp

from gateway.simulator import Simulator

from .client import ANN, BEN, Subscriber, book, element, open_line, released


async def ask(exchange: Simulator, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer to a GET, or to a POST of a body, which must be good."""
    method = "GET" if body is None else "POST"
    url = exchange.control_url + path
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as answer:
        assert answer.status in (200, 201), await answer.text()
        return await answer.json()


async def test_subscriptions_and_streams_can_be_seen(exchange: Simulator, subscriber: Subscriber) -> None:
    """Live subscriptions with what waits for them, and streams with what they carry."""
    await open_line(subscriber, ANN)
    await subscriber.subscribe(BEN)
    book(exchange, BEN)
    seen = await ask(exchange, "/streams")
    assert [(each["mailbox"], each["waiting"]) for each in seen["subscriptions"]] == [(ANN, 0), (BEN, 3)]
    (stream,) = seen["streams"]
    assert (stream["mailboxes"], stream["ended_s"], stream["envelopes"]) == ([ANN], None, 1)
    assert (await ask(exchange, "/state"))["counters"]["streams"]["open"] == 1


async def test_streams_can_be_ended_and_the_server_restarted(exchange: Simulator, subscriber: Subscriber) -> None:
    """One mailbox' stream in good order; then every subscription is forgotten."""
    ann, _ben = await open_line(subscriber, ANN), await open_line(subscriber, BEN)
    assert await ask(exchange, "/streams", {"end": "closed", "mailbox": ANN}) == {"ended": 1}
    assert element(await ann.next(), "ConnectionStatus") == "Closed"
    await ask(exchange, "/restart", {"streams": "reset"})
    await released(exchange)
    assert (await ask(exchange, "/streams"))["subscriptions"] == []


async def test_switches_and_faults_of_streams_can_be_set(exchange: Simulator, subscriber: Subscriber) -> None:
    """They hold for what comes next."""
    await ask(exchange, "/options", {"server": "2016", "streams": {"heartbeat": "none", "saves": 2}})
    assert exchange.ews.options.server == "2016"
    assert (exchange.ews.options.streams.heartbeat, exchange.ews.options.streams.saves) == ("none", 2)
    rule = await ask(exchange, "/faults", {"action": "stream_closed", "at": "hello", "mailbox": ANN})
    assert rule["at"] == "hello"
    line = await subscriber.listen(await subscriber.subscribe(ANN))
    assert element(await line.next(), "ConnectionStatus") == "Closed"


async def test_a_mailbox_can_be_put_out_of_scope(exchange: Simulator) -> None:
    """Nobody may act as its owner, until it is put back."""
    exchange.world.allow_impersonation("anybody")
    await ask(exchange, "/rights", {"person": ANN, "exempt": True})
    assert not exchange.world.may_impersonate("anybody", ANN)
    await ask(exchange, "/rights", {"person": ANN, "exempt": False})
    assert exchange.world.may_impersonate("anybody", ANN)
