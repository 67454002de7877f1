"""The listening socket: silent, excessive and malformed clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from gateway.web.listener import Discretion, Listener
from gateway.web.ports import Limits

LIMITS = replace(Limits(), header_timeout=0.2, connections=3)
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """A listener whose one page takes longer than the header deadline when asked to."""

    async def page(request: web.Request) -> web.Response:
        await asyncio.sleep(0.4 if request.query else 0)
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", page)
    found = Listener(app, LIMITS)
    await found.start("127.0.0.1", 0, None)
    yield found
    await found.stop()


async def connect(listener: Listener) -> Streams:
    """An open connection."""
    host, port = listener.address.split(":")
    return await asyncio.open_connection(host, int(port))


async def answer(streams: Streams, request: bytes) -> bytes:
    """The status line."""
    reader, writer = streams
    writer.write(request)
    line = await asyncio.wait_for(reader.readline(), 5)
    await reader.readuntil(b"\r\n\r\n")
    return line


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost:"])
async def test_a_connection_that_does_not_finish_its_first_head_is_closed(listener: Listener, head: bytes) -> None:
    """Silence and a dribble end the same way (a label for real time: 0.2 s)."""
    reader, writer = await connect(listener)
    writer.write(head)
    assert await asyncio.wait_for(reader.read(), 5) in (b"",)
    writer.close()


async def test_a_slow_answer_is_not_a_slow_head(listener: Listener) -> None:
    """The deadline ends with the head, however long the answer takes."""
    streams = await connect(listener)
    assert b"200" in await answer(streams, b"GET /?slow HTTP/1.1\r\nHost: x\r\n\r\n")
    streams[1].close()


async def test_connections_beyond_the_limit_are_told_to_come_back(listener: Listener) -> None:
    """503 with Retry-After, and room again as soon as one leaves."""
    held = [await connect(listener) for _ in range(3)]
    for streams in held:
        assert b"200" in await answer(streams, REQUEST)
    refused = await connect(listener)
    assert b"503" in await answer(refused, b"")
    held[0][1].close()
    await held[0][1].wait_closed()
    async with asyncio.timeout(5):
        while True:
            again = await connect(listener)
            if b"200" in await answer(again, REQUEST):
                break
            again[1].close()
            await asyncio.sleep(0.01)
    for _, writer in (*held[1:], refused, again):
        writer.close()


async def test_a_malformed_request_leaves_none_of_its_bytes_in_the_log(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken header line may be a token; it must not be quoted."""
    server_log, discretion = logging.getLogger("aiohttp.server"), Discretion()
    server_log.addFilter(discretion)
    try:
        streams = await connect(listener)
        assert b"400" in await answer(streams, b"GET / HTTP/1.1\r\nAuthorization Bearer secret-one\r\n\r\n")
        streams[1].close()
    finally:
        server_log.removeFilter(discretion)
    assert "secret-one" not in caplog.text
