"""A client that subscribes and listens, with nothing between it and the bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
from lxml import etree

from gateway.simulator import Simulator
from tests.integration.simulator_server.conftest import NOW, Client
from tests.unit.simulator.wire import streaming, subscribe, unsubscribe

ANN, BEN = "ann@example.com", "ben@example.com"
NEWS = ["CreatedEvent", "FreeBusyChangedEvent", "ModifiedEvent"]
"""What one booking makes."""
HOUR = timedelta(hours=1)
WAIT = 10.0
_END = re.compile(rb"</(?:\w+:)?Envelope>")


@dataclass(slots=True)
class Line:
    """One open stream: whole envelopes one by one, and what came in which chunk."""

    response: aiohttp.ClientResponse
    chunks: list[bytes] = field(default_factory=list)
    rest: bytes = b""

    async def next(self) -> etree._Element:
        """The next envelope."""
        while (end := _END.search(self.rest)) is None:
            piece = await self.read()
            assert piece, "the stream ended"
        envelope, self.rest = self.rest[: end.end()], self.rest[end.end() :]
        return etree.fromstring(envelope)

    async def skip(self, number: int = 1) -> Line:
        """Read so many envelopes, whatever is in them."""
        for _ in range(number):
            await self.next()
        return self

    async def ended(self) -> bytes:
        """Everything until the body is over."""
        while await self.read():
            pass
        return self.rest

    async def read(self) -> bytes:
        """The next chunk, empty at the end."""
        piece, whole = b"", False
        while not whole:
            more, whole = await asyncio.wait_for(self.response.content.readchunk(), WAIT)
            piece += more
            if not more and self.response.content.at_eof():
                break
        if piece:
            self.chunks.append(piece)
            self.rest += piece
        return piece


class Subscriber:
    """The service account, which may act as anybody; every stream has a connection of its own."""

    def __init__(self, exchange: Simulator, session: aiohttp.ClientSession) -> None:
        self.exchange = exchange
        self.session = session
        self.basic = Client(exchange, session).basic()
        self._responses: list[aiohttp.ClientResponse] = []
        exchange.world.allow_impersonation(exchange.service_account)

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> aiohttp.ClientResponse:
        """Any request; the headers of the answer."""
        sent = {"Content-Type": "text/xml; charset=utf-8", "Authorization": self.basic, **(headers or {})}
        response = await self.session.post(self.exchange.ews_url, data=body, headers=sent)
        self._responses.append(response)
        return response

    def leave(self) -> None:
        """Drop every stream."""
        for response in self._responses:
            response.close()

    async def subscribe(self, address: str, headers: Mapping[str, str] | None = None) -> str:
        """The id of a new subscription."""
        answer = await self.post(subscribe(impersonate=address), headers)
        return element(etree.fromstring(await answer.read()), "SubscriptionId")

    async def unsubscribe(self, token: str) -> str:
        """The response code."""
        answer = await self.post(unsubscribe(token))
        return element(etree.fromstring(await answer.read()), "ResponseCode")

    async def listen(
        self, *tokens: str, minutes: int = 30, acting: str = ANN, headers: Mapping[str, str] | None = None
    ) -> Line:
        """An open stream; nothing of it has been read."""
        return Line(await self.post(streaming(*tokens, minutes=minutes, impersonate=acting), headers))


def element(tree: etree._Element, name: str) -> str:
    """The text of the only element of that name, empty if there is none."""
    found = [each.text or "" for each in tree.iter(f"{{*}}{name}")]
    assert len(found) < 2, found
    return found[0] if found else ""


def events(tree: etree._Element) -> list[str]:
    """Names of all events, in order."""
    inside = [etree.QName(each).localname for one in tree.iter("{*}Notification") for each in one]
    return [name for name in inside if name.endswith("Event")]


def book(exchange: Simulator, address: str = ANN) -> None:
    """Somebody has a meeting."""
    exchange.world.book(address, NOW + HOUR, NOW + 2 * HOUR)


async def released(exchange: Simulator) -> None:
    """Wait until no stream is open."""
    streams, ended = exchange.journal.streams, asyncio.Event()
    stop = streams.on_stream(lambda record: None if streams.open else ended.set())
    if streams.open:
        await asyncio.wait_for(ended.wait(), WAIT)
    stop()


async def open_line(subscriber: Subscriber, *addresses: str, minutes: int = 30) -> Line:
    """A stream of Ann's calendar or of these; its first envelope has been read."""
    tokens = [await subscriber.subscribe(address) for address in addresses or (ANN,)]
    line = await subscriber.listen(*tokens, minutes=minutes)
    return await line.skip()
