"""The server of bench/storm.py: the real store, composer, hub and stream handler, without the rest of the product.

    GET  /v1/stream?person=…   as in the product, without tokens
    POST /storm                everybody's meeting begins at the same instant, soon; answers {"t": that instant on
                               CLOCK_MONOTONIC in nanoseconds}
    GET  /stats                counters of the hub, and the frame's size, as JSON

It prints its port when it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from random import Random

import structlog
from aiohttp import web

from gateway.clock import SystemClock
from gateway.core.model import (
    Availability,
    Block,
    Busy,
    Fact,
    Kind,
    Level,
    Person,
    Policy,
    Schedule,
)
from gateway.people import People
from gateway.records import confirmed_put, fact_put
from gateway.stores import Put
from gateway.stores.sqlite import SqliteStore
from gateway.view import View as Picture
from gateway.web.hub import Hub, View
from gateway.web.ports import Limits, Reader
from gateway.web.stream import stream

AHEAD = timedelta(seconds=3)
"""How long before its edge the storm's schedules are written."""


class Server:
    """Everything behind the three routes."""

    def __init__(self, people: int, profile: str | None) -> None:
        self.names = [f"u{number:05}@example.com" for number in range(people)]
        self.clock = SystemClock()
        self.hub = Hub(self.clock, process="bench", limits=Limits(), random=Random(1))
        self.policy = Policy(calendar_opt_in=True)
        self.reader = Reader("bench", frozenset({"watch"}), Level.COLLEAGUE)
        self.composed_after = 0.0
        self._profile = cProfile.Profile() if profile else None
        self._profile_path = profile
        self._order = 0

    async def start(self) -> None:
        """People with a free day and somebody signed in."""
        self.store = await SqliteStore.open("sqlite://:memory:", self.clock)
        directory = People([Person(name, name=name, calendar="hq", mailbox=name) for name in self.names])
        self.hub.set_directory(directory)
        self.picture = Picture(
            self.store, self.policy, self.clock, self.hub.publish, composed=self._composed, prepare=self.hub.prepare
        )
        self.picture.set_people(directory.everybody())
        self.task = asyncio.create_task(self.picture.run())
        await self.picture.synced.wait()
        now = self.clock.now()
        sessions = (
            Fact(
                name,
                Kind.AVAILABILITY,
                "chat",
                "desk",
                1,
                Availability.AVAILABLE,
                now,
                now,
                None,
                now + timedelta(days=1),
            )
            for name in self.names
        )
        await self._write(fact_put(fact) for fact in sessions)
        await self._write([confirmed_put("hq", 0, {"*": now})])
        await self._write(fact_put(self._day(name, ())) for name in self.names)

    async def storm(self, request: web.Request) -> web.Response:
        """Write everybody's next meeting; its beginning is up to the composer's timer."""
        gc.collect()
        gc.freeze()
        begin = (self.clock.now() + AHEAD).replace(microsecond=0)
        block = Block(begin, begin + timedelta(hours=1), Busy.BUSY)
        await self._write(fact_put(self._day(name, (block,))) for name in self.names)
        edge = time.monotonic_ns() + (begin - datetime.now(UTC)) // timedelta(microseconds=1) * 1000
        if edge < time.monotonic_ns():
            return web.Response(status=500, text="the schedules took too long to write")
        if self._profile is not None:
            asyncio.get_running_loop().call_later((edge - time.monotonic_ns()) / 1e9 - 0.01, self._profile.enable)
            asyncio.get_running_loop().call_later((edge - time.monotonic_ns()) / 1e9 + 6, self._report)
        return web.json_response({"t": edge}, dumps=lambda value: json.dumps(value, separators=(",", ":")))

    async def stats(self, request: web.Request) -> web.Response:
        """What the hub counted, and how long composing took."""
        everybody = View(self.reader)
        doc = self.hub.document(self.names[0], Level.COLLEAGUE)
        assert doc is not None
        last_id = self.hub.snapshot(everybody, None).id
        return web.json_response(
            {
                **asdict(self.hub.stats),
                "frame": len(f"id: {last_id}\nevent: presence\ndata: \n\n") + len(doc.body),
                "composed_after_s": self.composed_after,
            }
        )

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """The product's stream."""
        view = View(self.reader, tuple(request.query.getall("person", ())))
        last = request.headers.get("Last-Event-ID")
        return await stream(request, self.hub, view, last_event_id=last, still_valid=lambda reader: True)

    def _composed(self, people: int, late: float) -> None:
        if people:
            self.composed_after = late

    def _day(self, name: str, blocks: tuple[Block, ...]) -> Fact:
        now = self.clock.now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        self._order += 1
        schedule = Schedule(midnight, midnight + timedelta(days=2), blocks)
        return Fact(name, Kind.CALENDAR, "hq", "schedule", self._order, schedule, now, now)

    async def _write(self, puts: Iterable[Put]) -> None:
        every, revision = list(puts), 0
        for first in range(0, len(every), 500):
            revision = await self.store.put(every[first : first + 500])
        await self.picture.reached(revision)

    def _report(self) -> None:
        assert self._profile is not None
        self._profile.disable()
        with open(self._profile_path or "", "w") as out:
            pstats.Stats(self._profile, stream=out).sort_stats("tottime").print_stats(35)


async def serve(people: int, profile: str | None) -> None:
    server = Server(people, profile)
    await server.start()
    app = web.Application()
    app.router.add_get("/v1/stream", server.follow)
    app.router.add_post("/storm", server.storm)
    app.router.add_get("/stats", server.stats)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await server.task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=7500)
    parser.add_argument("--profile", metavar="FILE", help="where to write a profile of the storm")
    parser.add_argument("--no-uvloop", action="store_true")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    factory = None
    if not options.no_uvloop:
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:
            print("uvloop is not installed: the standard event loop", file=sys.stderr)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(options.people, options.profile))


if __name__ == "__main__":
    main()
