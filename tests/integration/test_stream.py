"""The event stream over real sockets: its form, resuming, slow and vanishing readers."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
from random import Random

import pytest
import trustme
import uvloop

from gateway.web.hub import View
from gateway.web.ports import Limits
from tests.clock import FakeClock
from tests.integration.sse_service import NAMES, STATES, TIMEOUT, Client, serving, until
from tests.watchers import Watcher, reader


async def test_a_stream_is_a_plain_event_stream_that_ends_with_the_connection() -> None:
    """The headers say what proxies need, there is no framing in the body, and `retry` comes first."""
    async with serving() as service:
        client = await Client.open(service)
        await client.synced()
        head = client.head.decode("latin-1").lower()
        assert head.startswith("http/1.1 200 ")
        for line in (
            "content-type: text/event-stream",
            "cache-control: no-cache, no-transform",
            "x-accel-buffering: no",
            "connection: close",
        ):
            assert f"\r\n{line}\r\n" in head
        assert "transfer-encoding" not in head
        assert "content-length" not in head
        assert "content-encoding" not in head
        first, _, rest = client.raw.partition(b"\n\n")
        field, _, wait = first.partition(b": ")
        assert field == b"retry"
        assert 2_000 <= int(wait) <= 6_000
        assert rest.startswith(b"id: here.")
        assert client.watcher.state == service.expected()


async def test_an_http_1_0_proxy_gets_the_same_stream() -> None:
    """nginx asks in HTTP/1.0 unless told otherwise: the body must be readable for it."""
    async with serving() as service:
        client = await Client.open(service, version="1.0")
        await client.synced()
        assert b"transfer-encoding" not in client.head.lower()
        service.change(NAMES[3])
        await client.believes(service.expected())


async def test_curl_reads_the_stream() -> None:
    """A client we did not write sees the first state and a change."""
    curl = shutil.which("curl")
    assert curl, "Debian package curl is missing"
    async with serving() as service:
        process = await asyncio.create_subprocess_exec(
            curl, "-sSN", f"http://127.0.0.1:{service.port}/v1/stream", stdout=asyncio.subprocess.PIPE, limit=1 << 20
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(TIMEOUT):
                await process.stdout.readuntil(b"event: synced\ndata: {}\n\n")
                service.change(NAMES[7], state="busy")
                changed = await process.stdout.readuntil(b"\n\n")
            assert changed.endswith(b"data: " + service.expected()[NAMES[7]] + b"\n\n")
        finally:
            process.kill()
            await process.wait()


async def test_a_change_reaches_everybody_with_the_same_bytes() -> None:
    """Watchers with the same view get byte for byte the same event."""
    async with serving() as service:
        clients = [await Client.open(service) for _ in range(20)]
        for client in clients:
            await client.synced()
            client.raw = b""
        service.change(NAMES[0], NAMES[1], state="busy")
        for client in clients:
            await client.believes(service.expected())
        assert len({client.raw for client in clients}) == 1


async def test_connections_cut_anywhere_resume_without_loss() -> None:
    """However often and wherever a connection breaks, the watcher ends with the server's state."""
    random = Random(7)
    async with serving() as service:
        watcher = Watcher()
        for _ in range(60):
            client = await Client.open(service, watcher)
            for _ in range(random.randint(0, 3)):
                service.change(*random.sample(NAMES, k=random.randint(1, 30)), state=random.choice(STATES))
                await client.read(random.randint(1, 30_000))
            client.cut()
        client = await Client.open(service, watcher)
        await client.synced()
        assert watcher.state == service.expected()
        assert client.watcher.last_id is not None
        assert service.hub.stats.resets == 0


async def test_a_resumed_stream_has_only_what_changed() -> None:
    """The same process and view: what changed since the id, and nothing else."""
    async with serving() as service:
        watcher = Watcher()
        client = await Client.open(service, watcher)
        await client.synced()
        client.cut()
        service.change(NAMES[4], NAMES[5])
        client = await Client.open(service, watcher)
        await client.synced()
        assert client.raw.count(b"event: presence\n") == 2
        assert watcher.state == service.expected()


async def test_a_foreign_id_waits_for_its_revision_and_then_starts_anew() -> None:
    """After a restart or on another replica: `reset` and everything, not before this replica is as new."""
    async with serving() as service:
        watcher = Watcher()
        watcher.state["left@example.com"] = b"{}"
        watcher.last_id = f"there.{View(reader()).key}.99.{service.revision + 1}"
        opening = asyncio.create_task(Client.open(service, watcher))
        client = await opening
        reading = asyncio.create_task(client.synced())
        done, _ = await asyncio.wait([reading], timeout=0.05)
        assert not done
        service.change(NAMES[9], state="busy")
        await reading
        assert client.raw.partition(b"\n\n")[2].startswith(b"event: reset\ndata: {}\n\nid: here.")
        assert watcher.state == service.expected()


@pytest.mark.parametrize("garbage", ["", "x", "here.0.1", "here.000000000000.1.1", "\u0661.\u0662", "a" * 5_000])
async def test_a_malformed_id_is_a_reset_and_never_an_error(garbage: str) -> None:
    """Whatever a client sends as its last id, it gets everything."""
    async with serving() as service:
        watcher = Watcher()
        watcher.last_id = garbage
        client = await Client.open(service, watcher)
        await client.synced()
        assert (b"event: reset\n" in client.raw) == bool(garbage)
        assert watcher.state == service.expected()


async def slow_reader_is_caught_up() -> None:
    """Somebody who stops reading holds up nobody, costs a bounded buffer, and is then told only the newest."""
    async with serving() as service:
        slow = await Client.open(service, receive_buffer=32768)
        await slow.synced()
        brisk = await Client.open(service)
        await brisk.synced()
        slow_transport = service.transports[0]
        rounds = 0
        while service.hub.stats.superseded < 5_000:
            service.change(*NAMES, state=STATES[rounds % len(STATES)])
            await brisk.believes(service.expected())
            rounds += 1
            assert slow_transport.get_write_buffer_size() < 200_000
        slow.raw = b""
        await slow.believes(service.expected())
        assert slow.raw.count(b"event: presence\n") < rounds * len(NAMES)


async def test_a_reader_that_stops_is_skipped_and_later_told_the_newest() -> None:
    """On the standard event loop."""
    await slow_reader_is_caught_up()


def test_a_reader_that_stops_is_skipped_and_later_told_the_newest_on_uvloop() -> None:
    """uvloop tells protocols of full buffers by its own rules; the outcome is the same."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(slow_reader_is_caught_up())


async def test_a_reader_that_takes_nothing_for_15_seconds_is_cut() -> None:
    """Its connection is reset and it is counted; those who read are not touched."""
    clock = FakeClock()
    async with serving(clock) as service:
        stuck = await Client.open(service, receive_buffer=32768)
        await clock.advance(0.01)
        rounds = 0
        while not service.transports[0].get_write_buffer_size():
            service.change(*NAMES, state=STATES[rounds % len(STATES)])
            await clock.advance(0.01)
            rounds += 1
        brisk = await Client.open(service)
        await brisk.synced()
        await clock.advance(14.0)
        assert service.hub.stats.cut == 0
        await clock.advance(2.0)
        assert (service.hub.stats.cut, service.hub.subscribers) == (1, 1)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError, AssertionError)):
            await stuck.believes(service.expected())


async def test_a_revoked_reader_is_ended_within_5_seconds() -> None:
    """The right to read is asked again while the stream is open."""
    clock = FakeClock()
    async with serving(clock) as service:
        client = await Client.open(service)
        await client.synced()
        await clock.advance(10.0)
        assert service.hub.subscribers == 1
        service.revoked = True
        await clock.advance(5.0)
        assert service.hub.subscribers == 0
        while await client.read():
            pass


async def test_a_quiet_stream_has_a_heartbeat_about_every_20_seconds() -> None:
    """Proxies and clients see that the stream lives, at times that are not the same for all."""
    clock = FakeClock()
    async with serving(clock) as service:
        client = await Client.open(service)
        await client.synced()
        client.raw = b""
        await clock.advance(15.0)
        await clock.advance(10.0)
        await client.read_until(lambda: b":\n\n" in client.raw)
        assert client.raw == b":\n\n"


async def test_closing_says_bye_and_ends_every_stream() -> None:
    """A shutdown tells everybody and leaves nobody open."""
    async with serving() as service:
        clients = [await Client.open(service) for _ in range(5)]
        for client in clients:
            await client.synced()
        await service.hub.close(0.1)
        for client in clients:
            while await client.read():
                pass
            assert client.raw.endswith(b"event: bye\ndata: {}\n\n")


async def test_a_client_that_goes_away_is_normal(caplog: pytest.LogCaptureFixture) -> None:
    """However it goes, nothing is logged and its subscription ends."""
    caplog.set_level(logging.INFO)
    async with serving() as service:
        for way in ("abort", "close", "write_eof"):
            client = await Client.open(service)
            await client.synced()
            getattr(client.output.transport, way)()
            service.change(*NAMES, state="busy")
            service.change(*NAMES, state="away")
            await until(lambda: service.hub.subscribers == 0)
            client.cut()
    assert [record for record in caplog.records if record.name != "aiohttp.access"] == []


async def test_a_stream_over_tls_is_the_same() -> None:
    """With the gateway's own TLS, a resumed and a stalled reader end with the server's state."""
    authority = trustme.CA()
    server, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client_side)
    async with serving(tls=server) as service:
        client = await Client.open(service, tls=client_side, receive_buffer=32768)
        await client.synced()
        brisk = await Client.open(service, tls=client_side)
        for turn in range(40):
            service.change(*NAMES, state=STATES[turn % len(STATES)])
            await brisk.believes(service.expected())
        assert service.hub.stats.superseded
        await client.believes(service.expected())
        for each in (client, brisk):
            each.cut()
        await until(lambda: service.hub.subscribers == 0)


async def test_the_kernel_keeps_little_for_a_stream() -> None:
    """The send buffer is the configured 64 KiB (Linux counts double)."""
    async with serving() as service:
        client = await Client.open(service)
        await client.synced()
        plug = service.transports[0].get_extra_info("socket")
        assert plug.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * Limits().send_buffer
