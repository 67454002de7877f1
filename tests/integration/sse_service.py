"""A server of nothing but the stream, and a client that knows nothing but RFC 9112 and the WHATWG's grammar."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from aiohttp import web

from gateway.clock import Clock, SystemClock
from gateway.core.document import encode
from gateway.core.model import Level, Presence
from gateway.web.hub import Hub, View
from gateway.web.ports import Limits, Reader
from gateway.web.stream import stream
from tests.watchers import Watcher, parse, people, presence, reader

NAMES = [f"p{number:03}@example.com" for number in range(200)]
STATES = ["available", "away", "busy", "do_not_disturb"]
TIMEOUT = 10.0


class Service:
    """A server on loopback whose only route is the stream of everybody."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self.hub = Hub(clock, process="here", limits=limits, random=Random(1))
        self.hub.set_directory(people(dict.fromkeys(NAMES, ())))
        self.now: dict[str, Presence] = {}
        self.revision = 0
        self.revoked = False
        self.port = 0
        self.transports: list[asyncio.Transport] = []
        self.clients: list[Client] = []

    def change(self, *names: str, state: str = "away") -> None:
        changes = [presence(name, state) for name in names]
        self.now.update((each.person, each) for each in changes)
        self.revision += 1
        self.hub.publish(changes, self.revision)

    def expected(self) -> dict[str, bytes]:
        return {name: encode(each, Level.COLLEAGUE) for name, each in self.now.items()}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.transports.append(request.transport)

        def still_valid(who: Reader) -> bool:
            return not self.revoked

        last = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
        return await stream(request, self.hub, View(reader()), last_event_id=last, still_valid=still_valid)


@asynccontextmanager
async def serving(
    clock: Clock | None = None, limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Service]:
    """The service, running; at the end nobody is left subscribed."""
    service = Service(clock or SystemClock(), limits or Limits())
    service.change(*NAMES, state="available")
    app = web.Application()
    app.router.add_get("/v1/stream", service.answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    service.port = runner.addresses[0][1]
    try:
        yield service
        await service.hub.close(0.0)
        await until(lambda: service.hub.subscribers == 0)
    finally:
        for client in service.clients:
            client.cut()
        await runner.cleanup()


async def until(happened: Callable[[], bool]) -> None:
    """Wait until something became true."""
    async with asyncio.timeout(TIMEOUT):
        while not happened():  # noqa: ASYNC110  # what it waits for tells nobody
            await asyncio.sleep(0.001)


class Client:
    """One connection: the header, and what the watcher made of the events so far."""

    def __init__(self, input: asyncio.StreamReader, output: asyncio.StreamWriter, watcher: Watcher) -> None:
        self.input, self.output, self.watcher = input, output, watcher
        self.head = b""
        self.raw = b""
        self._rest = b""

    @classmethod
    async def open(
        cls,
        service: Service,
        watcher: Watcher | None = None,
        *,
        version: str = "1.1",
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> Client:
        watcher = watcher or Watcher()
        watcher.connected()
        plug = socket.create_connection(("127.0.0.1", service.port))
        if receive_buffer:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plug.setblocking(False)
        pair = await asyncio.open_connection(
            sock=plug, ssl=tls, server_hostname="localhost" if tls else None, limit=1 << 16
        )
        client = cls(*pair, watcher)
        service.clients.append(client)
        resume = f"Last-Event-ID: {watcher.last_id}\r\n" if watcher.last_id else ""
        client.output.write(f"GET /v1/stream HTTP/{version}\r\nHost: localhost\r\n{resume}\r\n".encode())
        async with asyncio.timeout(TIMEOUT):
            client.head = await client.input.readuntil(b"\r\n\r\n")
        return client

    async def read(self, size: int = 65536) -> bool:
        """Read some bytes and understand them; False at the end of the connection."""
        async with asyncio.timeout(TIMEOUT):
            data = await self.input.read(size)
        self.raw += data
        events, self._rest = parse(self._rest + data)
        self.watcher.hear(events)
        return bool(data)

    async def read_until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            assert await self.read(), "the server closed the connection"

    async def believes(self, state: dict[str, bytes]) -> None:
        await self.read_until(lambda: self.watcher.state == state)

    async def synced(self) -> None:
        await self.read_until(lambda: self.watcher.synced)

    def cut(self) -> None:
        """Vanish with a reset, whatever was still to come."""
        self.output.transport.abort()
