"""What following 15,000 mailboxes by 75 notification streams on one event loop costs: memory, CPU idle and in a rush.

Run: python -m bench.ews_streams [mailboxes] [seconds per measurement]

The server is a process of its own with prebuilt answers, over plain HTTP on loopback: a heartbeat per stream about
every 45 s, and news of random mailboxes at the rate that is asked for, each as Exchange writes it (a ModifiedEvent, a
FreeBusyChangedEvent and one of the folder, 1.9 KB). Every measured client is a process of its own too:

- *polling*: CalendarSource and EwsCalendar that poll everybody every five minutes; its memory after the first sweep
- *streams*: the same with 75 streams and the reconciling reads; its memory, its CPU without news, and with 100 a second
- *notifications alone*: EwsCalendar's hints without the reads they cause, at 100 a second
- *exchangelib*: one stream, one thread, the same news at 100 a second

CPU is user + system of the process as a share of one core. Goals: at most 50 MB more than polling, 1 % idle, and at 100
notifications a second 5 % on a machine where exchangelib takes 10 %: ours divided by exchangelib's, times ten.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Final
from zlib import crc32

from aiohttp import web

from bench.ews_sweep import MESSAGES, TYPES, Counted, Open, answer, people
from gateway.clock import SystemClock
from gateway.sources import HintKind
from gateway.sources.calendar import CalendarSettings, CalendarSource
from gateway.sources.ews import EwsSettings, open_calendar

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
HEARTBEAT: Final = 45.0
SETTLE: Final = 90.0
"""Seconds after the first sweep from which on every mailbox is read in its own turn."""
RUSH: Final = 100.0
DENSE: Final = {"notifications alone": 2000.0, "exchangelib": 200.0}
"""Notifications a second that keep a client busy: what one costs then, times 100, is the share without waking up."""
MEMORY_GOAL, IDLE_GOAL, RUSH_GOAL = 50.0, 1.0, 5.0
VARIANTS: Final = 97
"""Different schedules."""
ADDRESSES: Final = re.compile(rb"<t:Address>([^<]+)<")
IDS: Final = re.compile(rb"<t:SubscriptionId>([^<]+)<")


# The server.


def envelope(inside: str) -> bytes:
    """One document of a stream in Exchange's own form."""
    return (
        f'<Envelope xmlns="{SOAP}"><soap11:Header xmlns:soap11="{SOAP}"><ServerVersionInfo xmlns="{TYPES}" '
        'MajorVersion="15" MinorVersion="2" MajorBuildNumber="1118" MinorBuildNumber="40" Version="V2017_07_11"/>'
        f'</soap11:Header><soap11:Body xmlns:soap11="{SOAP}"><m:GetStreamingEventsResponse xmlns:m="{MESSAGES}" '
        f'xmlns:t="{TYPES}"><m:ResponseMessages><m:GetStreamingEventsResponseMessage ResponseClass="Success">'
        f"<m:ResponseCode>NoError</m:ResponseCode>{inside}</m:GetStreamingEventsResponseMessage></m:ResponseMessages>"
        "</m:GetStreamingEventsResponse></soap11:Body></Envelope>"
    ).encode()


def news(subscription: str) -> bytes:
    """One edit of a meeting."""
    item = f'<t:ItemId Id="{"A" * 152}" ChangeKey="{"B" * 32}"/>'
    folder = f'<t:FolderId Id="{"C" * 120}" ChangeKey="AQAAAA=="/>'
    parent = f'<t:ParentFolderId Id="{"C" * 120}" ChangeKey="AQAAAA=="/>'
    stamp = "<t:TimeStamp>2026-11-20T09:31:29Z</t:TimeStamp>"
    return envelope(
        f"<m:Notifications><m:Notification><t:SubscriptionId>{subscription}</t:SubscriptionId>"
        f"<t:ModifiedEvent>{stamp}{item}{parent}</t:ModifiedEvent>"
        f"<t:FreeBusyChangedEvent>{stamp}{item}{parent}</t:FreeBusyChangedEvent>"
        f"<t:ModifiedEvent>{stamp}{folder}{parent}</t:ModifiedEvent></m:Notification></m:Notifications>"
    )


BEAT: Final = envelope("<m:ConnectionStatus>OK</m:ConnectionStatus>")


def subscribed(number: int) -> bytes:
    """The answer to a Subscribe."""
    return (
        f'<s:Envelope xmlns:s="{SOAP}"><s:Body><m:SubscribeResponse xmlns:m="{MESSAGES}"><m:ResponseMessages>'
        '<m:SubscribeResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
        f"<m:SubscriptionId>{'J' * 120}{number:08d}</m:SubscriptionId></m:SubscribeResponseMessage>"
        "</m:ResponseMessages></m:SubscribeResponse></s:Body></s:Envelope>"
    ).encode()


class Server:
    """Prebuilt answers; `rate` notifications a second over all streams."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._random = Random(4)
        self._entries = answer(self._random, VARIANTS).split(b"<FreeBusyResponse>")
        self._made = 0
        self._streams: dict[web.StreamResponse, list[str]] = {}

    async def reply(self, request: web.Request) -> web.StreamResponse:
        """Whatever is asked."""
        body = await request.read()
        if b"<m:GetStreamingEvents" in body:
            return await self._stream(request, [each.decode() for each in IDS.findall(body)])
        if b"<m:Subscribe>" in body:
            self._made += 1
            return _xml(subscribed(self._made))
        return _xml(self._availability(body))

    def _availability(self, asked: bytes) -> bytes:
        """The same schedule for the same mailbox, every time."""
        head, *entries = self._entries
        last = entries[-1].index(b"</FreeBusyResponse>") + len(b"</FreeBusyResponse>")
        tail, entries[-1] = entries[-1][last:], entries[-1][:last]
        told = [entries[crc32(address) % VARIANTS] for address in ADDRESSES.findall(asked)]
        return b"<FreeBusyResponse>".join([head, *told]) + tail

    async def _stream(self, request: web.Request, ids: list[str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/xml"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(BEAT)
        self._streams[response] = ids
        try:
            await asyncio.sleep(self._random.uniform(0, HEARTBEAT))
            while True:
                await response.write(BEAT)
                await asyncio.sleep(HEARTBEAT)
        except ConnectionError:
            return response
        finally:
            del self._streams[response]

    async def tell(self) -> None:
        """Send news at the rate in force, for ever."""
        owed, last = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            owed, last = owed + self.rate * (now - last), now
            while owed >= 1 and self._streams:
                owed -= 1
                response, ids = self._random.choice(list(self._streams.items()))
                with suppress(ConnectionError):
                    await response.write(news(self._random.choice(ids)))


def _xml(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/xml", charset="utf-8")


def serve(pipe: Connection) -> None:
    """Tell the port once, then take rates."""
    server = Server()

    async def run() -> None:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/EWS/Exchange.asmx", server.reply)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        telling = asyncio.create_task(server.tell())
        pipe.send(runner.addresses[0][1])
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fileno(), lambda: setattr(server, "rate", pipe.recv()))
        await telling

    asyncio.run(run())


# The clients, each in a process of its own: they get (url, mailboxes, seconds) and a way to set the rate of news.

Figures = dict[str, float]
SetRate = Callable[[float], None]


def megabytes() -> float:
    """This process's resident memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def share(seconds: float) -> float:
    """CPU of this process in percent of one core, for so long."""
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    return 100 * (time.process_time() - cpu) / (time.perf_counter() - wall)


def settings(url: str, access: Any) -> EwsSettings:
    """Ours, with subscriptions made as fast as the server can: their pace is not what is measured."""
    return EwsSettings(
        url=url, username="svc", password="secret", auth="basic", access=access, subscriptions_per_second=3000.0
    )


async def happened(what: Callable[[], bool]) -> None:
    """Returns soon after something is so."""
    while not what():  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(0.2)


@asynccontextmanager
async def source(url: str, mailboxes: int, access: Any) -> AsyncIterator[CalendarSource]:
    """A running source that has read everybody once, and follows everybody if it may."""
    clock, report = SystemClock(), Counted()
    reading = CalendarSource(
        "hq",
        "ews",
        open_calendar("hq", settings(url, access), clock, Open()),
        clock=clock,
        report=report,
        settings=CalendarSettings(first_sweep_calls_per_second=50.0),
        watched=lambda person: False,
        random=Random(1),
    )
    reading.assign(people(mailboxes))
    running = asyncio.create_task(reading.run())
    await asyncio.wait_for(report.expect(mailboxes), 300)
    if access == "impersonation":
        await happened(lambda: all(each.mode == "stream" for each in reading.mailbox_health()))
    await asyncio.sleep(SETTLE)
    yield reading
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await reading.close()


async def polling(url: str, mailboxes: int, seconds: float, rate: SetRate) -> Figures:
    async with source(url, mailboxes, "free_busy"):
        return {"memory": megabytes(), "idle": await share(seconds)}


async def streams(url: str, mailboxes: int, seconds: float, rate: SetRate) -> Figures:
    async with source(url, mailboxes, "impersonation"):
        found = {"memory": megabytes(), "idle": await share(seconds)}
        rate(RUSH)
        await asyncio.sleep(3)
        found["rush"] = await share(seconds)
        rate(0)
        return found


async def rushed(rate: SetRate, dense: float, seconds: float, heard: Callable[[], int]) -> Figures:
    """CPU at 100 notifications a second, how many came, and what 100 cost when they come densely."""
    rate(RUSH)
    await asyncio.sleep(3)
    before, began = heard(), time.perf_counter()
    found = {"rush": await share(seconds), "heard": (heard() - before) / (time.perf_counter() - began)}
    rate(dense)
    await asyncio.sleep(3)
    before, began = heard(), time.perf_counter()
    cpu = await share(seconds / 4)
    found["dense"] = RUSH * cpu / ((heard() - before) / (time.perf_counter() - began))
    rate(0)
    return found


class Everybody:
    """A roster that never changes."""

    def __init__(self, count: int) -> None:
        self.mailboxes = frozenset(people(count))

    async def changed(self) -> None:
        await asyncio.Event().wait()


async def alone(url: str, mailboxes: int, seconds: float, rate: SetRate) -> Figures:
    """The hints, and nobody who acts on them."""
    calendar = open_calendar("hq", settings(url, "impersonation"), SystemClock(), Open())
    counted = dict.fromkeys(HintKind, 0)

    async def follow() -> None:
        async for hint in calendar.follow(Everybody(mailboxes)):
            counted[hint.kind] += 1

    following = asyncio.create_task(follow())
    await happened(lambda: counted[HintKind.STREAM] >= mailboxes)
    found = await rushed(rate, DENSE["notifications alone"], seconds, lambda: counted[HintKind.CHANGED])
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await calendar.close()
    return found


async def foreign(url: str, mailboxes: int, seconds: float, rate: SetRate) -> Figures:
    """exchangelib with one stream of 200 subscriptions."""
    from exchangelib import IMPERSONATION, UTC, Account, Build, Configuration, FailFast, Version
    from exchangelib.services import GetStreamingEvents
    from exchangelib.transport import NOAUTH

    configuration = Configuration(
        service_endpoint=url,
        auth_type=NOAUTH,
        version=Version(Build(15, 2)),
        retry_policy=FailFast(),
        max_connections=1,
    )
    account = Account(
        "p00000@example.com",
        config=configuration,
        autodiscover=False,
        access_type=IMPERSONATION,
        default_timezone=UTC,
        locale="en_US",
    )
    heard = [0]

    def listen() -> None:
        ids = [f"{'J' * 120}{number:08d}" for number in range(200)]
        for _ in GetStreamingEvents(account=account).call(subscription_ids=ids, connection_timeout=30):
            heard[0] += 1

    threading.Thread(target=listen, daemon=True).start()
    return await rushed(rate, DENSE["exchangelib"], seconds, lambda: heard[0])


CLIENTS: Final = {"polling": polling, "streams": streams, "notifications alone": alone, "exchangelib": foreign}


def client(name: str, url: str, mailboxes: int, seconds: float, back: Connection) -> None:
    """Measure one client and send its figures back; rates on the way."""
    figures = asyncio.run(CLIENTS[name](url, mailboxes, seconds, lambda rate: back.send(("rate", rate))))
    back.send(("figures", figures))
    back.close()
    os._exit(0)  # exchangelib's thread would wait for the end of its stream


def measured(name: str, url: str, mailboxes: int, seconds: float, pipe: Connection) -> Figures:
    """One client's figures."""
    hear, tell = multiprocessing.Pipe(duplex=False)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=client, args=(name, url, mailboxes, seconds, tell), daemon=True)
    process.start()
    tell.close()
    try:
        while True:
            kind, value = hear.recv()
            if kind == "figures":
                return dict(value)
            pipe.send(value)
    finally:
        process.join(10)


def line(name: str, value: float, unit: str, goal: float | None = None) -> None:
    """One figure, and whether it meets its goal."""
    verdict = "" if goal is None else f"   goal {goal:g}: {'met' if value <= goal else 'MISSED'}"
    print(f"{name:<60}{value:8.2f} {unit}{verdict}", flush=True)


def main() -> None:
    mailboxes = int(sys.argv[1]) if len(sys.argv) > 1 else 15_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    ours, its = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(its,), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}/EWS/Exchange.asmx"
        found = {name: measured(name, url, mailboxes, seconds, ours) for name in CLIENTS}
    finally:
        server.terminate()
        server.join(10)
    print(f"{mailboxes} mailboxes, {-(-mailboxes // 200)} streams, {seconds:g} s each")
    line("memory, polling", found["polling"]["memory"], "MB")
    line("memory, streams", found["streams"]["memory"], "MB")
    line("more than polling", found["streams"]["memory"] - found["polling"]["memory"], "MB", MEMORY_GOAL)
    line("CPU idle, polling every 5 minutes", found["polling"]["idle"], "%")
    line("CPU idle, streams and reconciling reads", found["streams"]["idle"], "%", IDLE_GOAL)
    line("CPU at 100 notifications/s, with the reads they cause", found["streams"]["rush"], "%")
    line("CPU at 100 notifications/s, notifications alone", found["notifications alone"]["rush"], "%")
    line("  of them heard", found["notifications alone"]["heard"], "/s")
    line("  what 100 cost when 2,000 come a second", found["notifications alone"]["dense"], "%")
    line("CPU at 100 notifications/s, exchangelib, notifications alone", found["exchangelib"]["rush"], "%")
    line("  of them heard", found["exchangelib"]["heard"], "/s")
    line("  what 100 cost when 200 come a second", found["exchangelib"]["dense"], "%")
    for kind in ("rush", "dense"):
        ratio = found["exchangelib"][kind] / found["notifications alone"][kind]
        line(f"ratio exchangelib : ours, alone, {kind}", ratio, "")
    line("ratio exchangelib alone : ours with reads", found["exchangelib"]["rush"] / found["streams"]["rush"], "")
    scaled = 10 * found["streams"]["rush"] / found["exchangelib"]["rush"]
    line("CPU with reads where exchangelib alone takes 10 %", scaled, "%", RUSH_GOAL)


if __name__ == "__main__":
    main()
