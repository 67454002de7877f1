"""The event stream over HTTP: from an aiohttp request to a subscriber of the hub.

The body has no length and no chunks; it ends with the connection (RFC 9112 6.3, case 8), which HTTP/1.0 proxies
understand as well. After the headers the hub writes straight to the transport, because a broadcast to thousands cannot
wait for each of them in a coroutine.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from aiohttp import web

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
"""
