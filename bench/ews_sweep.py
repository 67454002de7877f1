"""CPU of reading 15,000 mailboxes once, against a bare aiohttp + lxml loop, and how long a sweep holds the event loop.

Run: python -m bench.ews_sweep [mailboxes]

Both clients ask the same server, a process of its own with prebuilt answers (100 mailboxes, 5 events each, working
hours, about 160 KB), over plain HTTP on loopback, in turns, in this process. *bare*: a ready request and a short walker
that makes tuples with datetimes, 8 lanes. *gateway*: CalendarSource, EwsCalendar and a report that does nothing; the
sweep after the first one is measured. CPU is user + system of this process. The goals: a ratio of at most 1.5, and no
hold of the event loop beyond 50 ms in a sweep without any pacing nor in one paced over 15 s. The hold of an idle loop
in the same run tells how much of it is the machine's; the assignment of everybody, once at the start, is listed apart.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from random import Random
from statistics import median
from typing import Final

import aiohttp
from aiohttp import web
from lxml import etree

from gateway.clock import SystemClock
from gateway.core.model import Schedule
from gateway.sources.calendar import CalendarSettings, CalendarSource
from gateway.sources.ews import EwsSettings, open_calendar
from gateway.sources.ews.build import availability_request
from gateway.sources.pacing import window_at

BATCH: Final = 100
LANES: Final = 8
REPETITIONS: Final = 5
PACED_SECONDS: Final = 15.0
TICK: Final = 0.002
CPU_GOAL, HOLD_GOAL = 1.5, 0.050

MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES: Final = "http://schemas.microsoft.com/exchange/services/2006/types"
HOURS: Final = (
    f'<WorkingHours xmlns="{TYPES}"><TimeZone><Bias>-60</Bias><StandardTime><Bias>0</Bias><Time>03:00:00</Time>'
    "<DayOrder>5</DayOrder><Month>10</Month><DayOfWeek>Sunday</DayOfWeek></StandardTime><DaylightTime>"
    "<Bias>-60</Bias><Time>02:00:00</Time><DayOrder>5</DayOrder><Month>3</Month><DayOfWeek>Sunday</DayOfWeek>"
    "</DaylightTime></TimeZone><WorkingPeriodArray><WorkingPeriod><DayOfWeek>Monday Tuesday Wednesday Thursday "
    "Friday</DayOfWeek><StartTimeInMinutes>480</StartTimeInMinutes><EndTimeInMinutes>1020</EndTimeInMinutes>"
    "</WorkingPeriod></WorkingPeriodArray></WorkingHours>"
)


# The server.


def answer(random: Random, count: int) -> bytes:
    """A GetUserAvailability answer for so many mailboxes; meetings lie on quarters of an hour."""
    midnight = window_at(datetime.now(UTC)).start
    entries = []
    for _ in range(count):
        events = []
        for quarter in sorted(random.sample(range(4 * 47), 5)):
            start = midnight + timedelta(minutes=15 * quarter)
            end = start + timedelta(minutes=random.choice((15, 30, 30, 60, 60, 90)))
            busy = random.choice(("Busy", "Busy", "Busy", "Tentative", "OOF", "Free"))
            events.append(
                f"<CalendarEvent><StartTime>{start:%Y-%m-%dT%H:%M:%S}</StartTime>"
                f"<EndTime>{end:%Y-%m-%dT%H:%M:%S}</EndTime><BusyType>{busy}</BusyType></CalendarEvent>"
            )
        entries.append(
            '<FreeBusyResponse><ResponseMessage ResponseClass="Success"><ResponseCode>NoError</ResponseCode>'
            f'</ResponseMessage><FreeBusyView><FreeBusyViewType xmlns="{TYPES}">FreeBusy</FreeBusyViewType>'
            f'<CalendarEventArray xmlns="{TYPES}">{"".join(events)}</CalendarEventArray>{HOURS}</FreeBusyView>'
            "</FreeBusyResponse>"
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        f'<s:Body><GetUserAvailabilityResponse xmlns="{MESSAGES}"><FreeBusyResponseArray>{"".join(entries)}'
        "</FreeBusyResponseArray></GetUserAvailabilityResponse></s:Body></s:Envelope>"
    ).encode()


def serve(told: Connection) -> None:
    """Answer with one of 30 prebuilt bodies, or build one for a smaller batch; tells the port once."""
    random = Random(4)
    ready = [answer(random, BATCH) for _ in range(30)]
    asked = re.compile(rb"<(?:\w+:)?Address>")

    async def reply(request: web.Request) -> web.Response:
        count = len(asked.findall(await request.read()))
        body = random.choice(ready) if count == BATCH else answer(random, count)
        return web.Response(body=body, content_type="text/xml", charset="utf-8")

    async def run() -> None:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/EWS/Exchange.asmx", reply)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        told.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


# The bare loop.

PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
ENTRY, MESSAGE = f"{{{MESSAGES}}}FreeBusyResponse", f"{{{MESSAGES}}}ResponseMessage"
VIEW, EVENTS = f"{{{MESSAGES}}}FreeBusyView", f"{{{TYPES}}}CalendarEventArray"
START, END, BUSY = (f"{{{TYPES}}}{name}" for name in ("StartTime", "EndTime", "BusyType"))
Event = tuple[datetime | None, datetime | None, str | None]


def walk(body: bytes) -> list[tuple[str | None, list[Event]]]:
    """Status and events of every entry, as tuples."""
    found: list[tuple[str | None, list[Event]]] = []
    parse = datetime.fromisoformat
    for entry in etree.fromstring(body, PARSER).iter(ENTRY):
        status, events = None, list[Event]()
        for child in entry:
            if child.tag == MESSAGE:
                status = child.get("ResponseClass")
            elif child.tag == VIEW:
                for part in child:
                    if part.tag == EVENTS:
                        events = [event_of(event, parse) for event in part]
        found.append((status, events))
    return found


def event_of(event: etree._Element, parse: Callable[[str], datetime]) -> Event:
    """One event by the names of its fields."""
    start = end = busy = None
    for field in event:
        if field.tag == START:
            start = parse(field.text or "")
        elif field.tag == END:
            end = parse(field.text or "")
        elif field.tag == BUSY:
            busy = field.text
    return start, end, busy


async def bare(url: str, mailboxes: int) -> None:
    """One sweep by hand."""
    addresses = [f"p{n:05d}@example.com" for n in range(BATCH)]
    request = availability_request(addresses, window_at(datetime.now(UTC)), "Exchange2013")
    left = iter(range(0, mailboxes, BATCH))

    async def lane(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post(url, data=request, headers={"Content-Type": "text/xml"}) as response:
                walk(await response.read())

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(lane(session) for _ in range(LANES)))


# The gateway.


class Counted:
    """A report that only counts reads."""

    def __init__(self) -> None:
        self._left = 0
        self._done = asyncio.Event()

    async def expect(self, reads: int) -> None:
        """Returns when so many more mailboxes were read."""
        self._left = reads
        self._done.clear()
        await self._done.wait()

    async def schedules(self, source: str, read: Mapping[str, Schedule], at: datetime) -> None:
        self._left -= len(read)
        if self._left <= 0:
            self._done.set()

    async def withdraw(self, source: str, person: str) -> None:
        raise AssertionError("nobody is refused")


class Open:
    """A lock-out guard without a memory."""

    async def allowed(self, account: str) -> datetime | None:
        return None

    async def failed(self, account: str) -> None: ...

    async def succeeded(self, account: str) -> None: ...


@asynccontextmanager
async def gateway(url: str, mailboxes: int, settings: CalendarSettings) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The product's own path, after its first sweep; what it gives awaits one more."""
    clock = SystemClock()
    ews = EwsSettings(url=url, username="svc", password="secret", auth="basic", lanes=LANES, batch=BATCH)
    report = Counted()
    source = CalendarSource(
        "hq",
        "ews",
        open_calendar("hq", ews, clock, Open()),
        clock=clock,
        report=report,
        settings=settings,
        watched=lambda person: False,
        random=Random(1),
    )
    source.assign(people(mailboxes))
    running = asyncio.create_task(source.run())
    await asyncio.wait_for(report.expect(mailboxes), 300)
    yield lambda: report.expect(mailboxes)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await source.close()


def people(count: int) -> dict[str, str]:
    """So many people with their mailboxes."""
    return {address: address for address in (f"p{n:05d}@example.com" for n in range(count))}


def assignment(mailboxes: int) -> float:
    """Seconds that the assignment of everybody takes, at the start."""
    settings = EwsSettings(url="http://127.0.0.1:9/", username="svc", password="secret", auth="basic")
    calendar = open_calendar("hq", settings, SystemClock(), Open())
    source = CalendarSource(
        "hq",
        "ews",
        calendar,
        clock=SystemClock(),
        report=Counted(),
        settings=PACED,
        watched=lambda person: False,
        random=Random(1),
    )
    everybody = people(mailboxes)
    began = time.perf_counter()
    source.assign(everybody)
    return time.perf_counter() - began


FLAT_OUT: Final = CalendarSettings(
    lanes=LANES, max_calls_per_second=1e6, first_sweep_calls_per_second=1e6, background=0.01
)
PACED: Final = CalendarSettings(lanes=LANES, background=PACED_SECONDS)


# The measurements.


async def cpu(work: Awaitable[None]) -> float:
    """User and system seconds of this process for that work."""
    gc.collect()
    began = time.process_time()
    await work
    return time.process_time() - began


async def longest_hold(work: Awaitable[None]) -> float:
    """The longest time the event loop did not come round meanwhile."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            worst = max(worst, time.perf_counter() - began - TICK)

    ticker = asyncio.create_task(tick())
    await work
    ticker.cancel()
    return worst


async def measure(url: str, mailboxes: int) -> dict[str, list[float]]:
    """All figures: CPU in turns, then the holds."""
    found: dict[str, list[float]] = {name: [] for name in ("bare", "gateway", "idle", "flat", "paced")}
    await bare(url, mailboxes)
    for _ in range(REPETITIONS):
        found["bare"].append(await cpu(bare(url, mailboxes)))
        async with gateway(url, mailboxes, FLAT_OUT) as sweep:
            found["gateway"].append(await cpu(sweep()))
    for _ in range(3):
        found["idle"].append(await longest_hold(asyncio.sleep(3)))
        async with gateway(url, mailboxes, FLAT_OUT) as sweep:
            found["flat"].append(await longest_hold(sweep()))
    async with gateway(url, mailboxes, PACED) as sweep:
        for _ in range(3):
            found["paced"].append(await longest_hold(sweep()))
    return found


def show(name: str, values: list[float], unit: str) -> None:
    """One line: median, and what it is the median of."""
    scaled = [value * 1000 for value in values] if unit == "ms" else values
    print(f"{name:<38}{median(scaled):8.2f} {unit:<3} ({', '.join(f'{value:.2f}' for value in scaled)})")


def main() -> None:
    mailboxes = int(sys.argv[1]) if len(sys.argv) > 1 else 15_000
    hear, tell = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(tell,), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{hear.recv()}/EWS/Exchange.asmx"
        found = asyncio.run(measure(url, mailboxes))
    finally:
        server.terminate()
        server.join(10)
    ratio = median(found["gateway"]) / median(found["bare"])
    hold = max(median(found["flat"]), median(found["paced"]))
    print(f"{mailboxes} mailboxes, {BATCH} per call, {LANES} lanes")
    show("CPU of a sweep, bare aiohttp + lxml", found["bare"], "s")
    show("CPU of a sweep, gateway", found["gateway"], "s")
    print(f"{'ratio':<38}{ratio:8.2f}     goal {CPU_GOAL}: {'met' if ratio <= CPU_GOAL else 'MISSED'}")
    show("longest hold, idle loop", found["idle"], "ms")
    show("longest hold, flat-out sweep", found["flat"], "ms")
    show("longest hold, paced sweep", found["paced"], "ms")
    verdict = "met" if hold <= HOLD_GOAL else "MISSED"
    print(f"{'':<46}     goal {HOLD_GOAL * 1000:.0f} ms: {verdict}")
    show("assignment of everybody, once", [assignment(mailboxes) for _ in range(3)], "ms")


if __name__ == "__main__":
    main()
