"""The event stream over HTTP: from an aiohttp request to a subscriber of the hub.

The body has no length and no chunks; it ends with the connection (RFC 9112 6.3, case 8), which HTTP/1.0 proxies
understand as well. After the headers the hub writes straight to the transport, because a broadcast to thousands cannot
wait for each of them in a coroutine.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from aiohttp import web

from gateway.web.audience import Subscriber
from gateway.web.hub import Hub
from gateway.web.ports import Limits, Reader
from gateway.web.views import View

HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
SILENT_PEER_MS: Final = 45_000
"""After so many milliseconds without an acknowledgement the kernel gives the peer up (RFC 5482)."""


async def stream(
    request: web.Request,
    hub: Hub,
    view: View,
    *,
    last_event_id: str | None,
    still_valid: Callable[[Reader], bool],
) -> web.StreamResponse:
    """Send server-sent events until the client leaves, the hub closes, or `still_valid` says no."""
    response = _EventStream(headers=HEADERS)
    response.force_close()
    await response.prepare(request)
    await hub.reached(last_event_id)
    transport = request.transport
    if transport is None or transport.is_closing():
        return response
    connection = _Connection(hub, transport)
    try:
        connection.open(view, last_event_id, still_valid)
        await connection.ended
    finally:
        connection.leave()
    return response


class _EventStream(web.StreamResponse):
    """A response that is neither counted nor chunked."""

    _length_check = False


class _Connection(asyncio.Protocol):
    """The transport as an outlet, and its protocol while the stream lasts; the server's own is told of the end."""

    def __init__(self, hub: Hub, transport: asyncio.Transport) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.write = transport.write
        self._hub = hub
        self._transport = transport
        self._server: asyncio.BaseProtocol = transport.get_protocol()
        self._subscriber: Subscriber | None = None

    def open(self, view: View, since: str | None, still_valid: Callable[[Reader], bool]) -> None:
        """Take the transport over and subscribe."""
        _bound(self._transport.get_extra_info("socket"), self._hub.limits)
        self._transport.set_protocol(self)
        # The protocol is told as soon as something had to be kept, and again when nothing is left.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._hub.subscribe(view, self, since, still_valid)

    def leave(self) -> None:
        """Receive nothing more."""
        if self._subscriber is not None:
            self._hub.leave(self._subscriber)
            self._subscriber = None

    # As an outlet.

    def attach(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self) -> None:
        """The handler returns, and the server closes the connection after what was written."""
        if not self.ended.done():
            self.ended.set_result(None)

    def abort(self) -> None:
        self._transport.abort()

    # As a protocol. What the client sends after its request is dropped; when it stops sending, the stream ends.

    def pause_writing(self) -> None:
        if self._subscriber is not None:
            self._hub.pause(self._subscriber)

    def resume_writing(self) -> None:
        if self._subscriber is not None:
            self._hub.resume(self._subscriber)

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        self.close()
        self._server.connection_lost(exc)


def _bound(connection: socket.socket | None, limits: Limits) -> None:
    """Keep little in the kernel for a client that does not read, and notice one that is no longer there."""
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_PEER_MS)
