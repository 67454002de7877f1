"""kill -9: what was shown is shown again before Exchange has answered, and what was acknowledged is not lost.

Real processes, real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from gateway.clock import SystemClock
from gateway.core.document import timestamp
from tests.clock import FakeClock
from tests.story.api import Api
from tests.story.office import Office, address, open_office
from tests.story.process import Process, running, serving, spawn
from tests.story.product import Files, Product, write_files
from tests.story.waiting import until

CLOCK = SystemClock()
NAMES = ("ann", "ben", "carla", "dan", "eve", "finn", "gina", "hugo")
RESTART = 5.0
"""Seconds from the start of the process within which everybody's document must be what it was."""
KILLS = 50
SEED = 20261120


@asynccontextmanager
async def caller(url: str, files: Files, token: str = "all") -> AsyncIterator[Api]:
    """A caller with the token of that name."""
    api = Api(url, files.tokens[token])
    try:
        yield api
    finally:
        await api.close()


async def documents(url: str, files: Files) -> Mapping[str, Mapping[str, bytes]]:
    """Everybody's bytes at every level, by token."""
    found = {}
    for token in files.tokens:
        async with caller(url, files, token) as api:
            found[token] = await api.documents()
    return found


async def fill_calendars(office: Office) -> None:
    """Running and coming meetings of all kinds; no edge lies within the next minutes."""
    now, hour = CLOCK.now().replace(microsecond=0), timedelta(hours=1)
    await office.books("ann", now - hour, now + hour)
    await office.books("ben", now + hour, now + 2 * hour)
    await office.books("carla", now - 30 * hour, now + 40 * hour)
    await office.books("dan", now - hour, now + hour)
    await office.books("dan", now + hour, now + 2 * hour)
    await office.books("eve", now - hour, now + 3 * hour)
    office.refuses("hugo")


async def live(api: Api) -> None:
    """What people and their devices say on top of their calendars."""
    await api.phone("ann", "connected", expires_in=3600)
    await api.phone("ben", "ringing", line="mobile", expires_in=3600)
    for name in ("ann", "ben", "dan", "finn"):
        await api.session(name, "available", expires_in=3600)
    await api.session("finn", "away", client="tablet", expires_in=3600)
    await api.put(f"/v1/people/{address('gina')}/status", state="do_not_disturb")
    await api.prefers("ann", show_until=True)
    await api.prefers("finn", calendar_opt_in=False)
    await api.prefers("dan", invisible=True)
    why = await api.get(f"/v1/presence/{address('eve')}/why")
    end = why["presence"]["components"]["calendar"]["until"]
    await api.put(f"/v1/people/{address('eve')}/calendar/dismissal", until=end)


async def everybody_was_read(api: Api) -> None:
    """Wait until no calendar is pending."""
    while True:
        told = (await api.get("/v1/calendars/hq/mailboxes"))["mailboxes"]
        if len(told) == len(NAMES) and all(each["code"] != "pending" for each in told):
            return
        await asyncio.sleep(0.02)


async def same_after_a_restart(office: Office, files: Files, process: Process, before: object) -> None:
    """Kill the process, start another one while Exchange is gone, and find the same bytes soon."""
    office.closes()
    await process.kill()
    requests = office.exchange.journal.requests
    started = time.monotonic()
    async with running("serve", "--config", files.config) as again:
        after = await documents(await serving(again), files)
        assert time.monotonic() - started < RESTART
        assert after == before
        assert office.exchange.journal.requests == requests


async def test_after_kill_9_everybody_is_shown_as_before_while_exchange_is_gone(tmp_path: Path) -> None:
    """Every byte at every level, within five seconds of the start: facts, choices and dismissals alike."""
    async with open_office(CLOCK, tmp_path, NAMES) as office:
        await fill_calendars(office)
        files = write_files(tmp_path, office.people, office.exchange)
        async with running("serve", "--config", files.config) as process:
            url = await serving(process)
            async with caller(url, files) as api:
                await everybody_was_read(api)
                await live(api)
            before = await documents(url, files)
            labels = {effective_label(body) for body in before["all"].values()}
            assert {"On the phone", "In a meeting", "Do not disturb", "Available", "Offline"} <= labels
            await same_after_a_restart(office, files, process, before)


async def test_after_kill_9_stale_calendars_are_as_stale_as_before(tmp_path: Path) -> None:
    """What had not been confirmed for a quarter of an hour says the same `as_of` after the restart."""
    ago = FakeClock(CLOCK.now() - timedelta(minutes=20))
    async with open_office(CLOCK, tmp_path, NAMES) as office:
        await fill_calendars(office)
        files = write_files(tmp_path, office.people, office.exchange)
        earlier = Product(files, ago)
        await earlier.start()
        await earlier.has_read()
        await earlier.stop()
        office.closes()
        async with running("serve", "--config", files.config) as process:
            url = await serving(process)
            before = await documents(url, files)
            assert sum(b'"stale":true' in body for body in before["all"].values()) == len(NAMES) - 1
            await same_after_a_restart(office, files, process, before)


def effective_label(body: bytes) -> str:
    """The label of a document."""
    return str(json.loads(body)["effective"]["label"])


@dataclass
class Writer:
    """Tells, one after the other, numbered facts about one person; remembers the last acknowledged and sent one."""

    person: str
    kind: str
    base: datetime
    sent: int = 0
    acknowledged: int = 0

    def instant(self, number: int) -> datetime:
        """The number as an instant, so that it can be read back from the fact: `since`, or `until`."""
        return self.base + timedelta(milliseconds=number)

    def number(self, why: Any) -> int:
        """The newest number among the facts that the gateway explains; 0 if there is none."""
        field = "since" if self.kind == "phone" else "until"
        for fact in why["facts"]:
            if fact["kind"] == ("phone" if self.kind == "phone" else "availability"):
                return round((datetime.fromisoformat(fact[field]) - self.base) / timedelta(milliseconds=1))
        return 0

    async def write(self, api: Api) -> None:
        """Until the gateway is killed."""
        with contextlib.suppress(aiohttp.ClientError):
            while True:
                self.sent += 1
                number, instant = self.sent, timestamp(self.instant(self.sent))
                if self.kind == "phone":
                    state = "connected" if number % 2 else "held"
                    await api.phone(self.person, state, since=instant, seq=number, publisher="pbx", expires_in=3600)
                else:
                    state = "away" if number % 2 else "busy"
                    await api.put(f"/v1/people/{self.person}/status", state=state, until=instant)
                self.acknowledged = number


@pytest.mark.timeout(240)
async def test_no_acknowledged_put_is_lost_in_50_kills(tmp_path: Path) -> None:
    """Writers run when the process is killed; what it acknowledged it knows after every restart."""
    random, now = Random(SEED), CLOCK.now()
    people = [f"w{number}@example.com" for number in range(8)]
    files = write_files(tmp_path, people)
    writers = [
        Writer(person, "phone", now - timedelta(hours=1))
        if number % 2
        else Writer(person, "status", now + timedelta(hours=1))
        for number, person in enumerate(people)
    ]
    process = await spawn("serve", "--config", files.config)
    try:
        for kill in range(KILLS):
            async with caller(await serving(process), files) as api:
                await asyncio.gather(*(knows_what_it_acknowledged(api, writer, kill) for writer in writers))
                tasks = [asyncio.create_task(writer.write(api)) for writer in writers]
                enough = sum(writer.acknowledged for writer in writers) + random.randrange(1, 60)
                await until(lambda least=enough: sum(w.acknowledged for w in writers) >= least, CLOCK)  # type: ignore[misc]
                await process.kill()
                await asyncio.gather(*tasks)
            process = await spawn("serve", "--config", files.config)
        async with caller(await serving(process), files) as api:
            await asyncio.gather(*(knows_what_it_acknowledged(api, writer, KILLS) for writer in writers))
    finally:
        await process.kill()
    assert sum(writer.acknowledged for writer in writers) >= KILLS


async def knows_what_it_acknowledged(api: Api, writer: Writer, kill: int) -> None:
    """The fact is the last acknowledged one, or one that was sent and not acknowledged any more."""
    found = writer.number(await api.get(f"/v1/presence/{writer.person}/why"))
    assert writer.acknowledged <= found <= writer.sent, f"kill {kill}, seed {SEED}: {writer}"
    writer.acknowledged = found
