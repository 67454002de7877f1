"""The listening side of the server: what aiohttp leaves unbounded, bounded.

aiohttp waits for ever for the first request of a connection and quotes what it cannot parse in its log. Here a
connection that has not sent a whole request head in time is closed, connections are counted against a limit, and
malformed requests become one event without a byte of what the client sent.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.web.ports import Limits

BACKLOG: Final = 1024
FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Listener:
    """One listening socket for an application; `address` is its "host:port" as it really is once started."""

    def __init__(self, app: web.Application, limits: Limits) -> None:
        self.address = ""
        self._limits = limits
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        self._spare = 0
        self._server: asyncio.Server | None = None
        app.middlewares.insert(0, web.middleware(_Arrival(self._silent)))
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=limits.keepalive, shutdown_timeout=1)

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Listen; raises OSError if that address cannot be had."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._accept, host, port, ssl=context, backlog=BACKLOG, reuse_address=True
        )
        name = f"[{host}]" if ":" in host else host
        self.address = f"{name}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()

    def _accept(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or not self._room(server):
            return _Full()
        protocol = server()
        loop = asyncio.get_running_loop()
        self._silent[protocol] = loop.call_later(self._limits.header_timeout, self._give_up, protocol)
        return protocol

    def _room(self, server: web.Server) -> bool:
        """Whether one more connection fits; they are counted again only when the last count's room is used up."""
        if self._spare <= 0:
            self._spare = self._limits.connections - len(server.connections)
        self._spare -= 1
        return self._spare >= 0

    def _give_up(self, protocol: web.RequestHandler) -> None:
        """No whole request head in time."""
        self._silent.pop(protocol, None)
        protocol.force_close()


class _Arrival:
    """Middleware: the connection has sent its first request."""

    def __init__(self, silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle]) -> None:
        self._silent = silent

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if timer := self._silent.pop(request.protocol, None):
            timer.cancel()
        return await handler(request)


class _Full(asyncio.Protocol):
    """A connection beyond the limit: told so and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(FULL)
        transport.close()


class Discretion(logging.Filter):
    """For the logger `aiohttp.server`: malformed requests without what they said."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass everything else."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        log.info("web.request.malformed", status=error.code)
        return False


def be_discreet() -> None:
    """Keep clients' bytes out of the log of aiohttp's server."""
    server_log = logging.getLogger("aiohttp.server")
    if not any(isinstance(known, Discretion) for known in server_log.filters):
        server_log.addFilter(Discretion())
