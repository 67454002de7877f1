"""Delivery: when frames are written, how much at once, and who is given up.

A flush begins at once when all is quiet and at most every WINDOW seconds when it is not, so that the busier it gets,
the more changes share a write. Nothing here waits for a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from random import Random
from typing import Final

from gateway.clock import Clock
from gateway.web import frames
from gateway.web.audience import Audience, Subscriber
from gateway.web.gallery import Gallery
from gateway.web.ledger import Ledger, Shown
from gateway.web.ports import Limits
from gateway.web.pulse import Pulse

WINDOW: Final = 0.005
"""Seconds from the beginning of a flush to the next at least. One that takes longer is followed by the next at once,
which then has all that came meanwhile."""
BURST: Final = 0.5
"""Seconds a flush waits at most for the rest of a burst."""
SLICE: Final = 0.005
"""Seconds of flushing after which everybody else gets a turn."""
MANY: Final = 4
"""How many times cheaper it is to look at a person in an audience's list than to put one there."""


@dataclass(slots=True)
class Stats:
    """Counters since the start. `superseded`: frames a slow subscriber never got because a newer state came first."""

    frames: int = 0
    bytes: int = 0
    flushes: int = 0
    superseded: int = 0
    resets: int = 0
    cut: int = 0
    revoked: int = 0


class Delivery:
    """The writing side of all streams and long polls."""

    def __init__(self, clock: Clock, limits: Limits, random: Random, ledger: Ledger, gallery: Gallery) -> None:
        self.stats = Stats()
        self.streams: dict[Subscriber, None] = {}
        self.closing = asyncio.Event()
        self._clock = clock
        self._limits = limits
        self._ledger = ledger
        self._gallery = gallery
        self._changed: list[Shown] = []
        self._moved: dict[Audience, None] = {}
        self._blocked: dict[Subscriber, tuple[float, int]] = {}
        self._pulse = Pulse(random, limits.heartbeat)
        self._work = asyncio.Event()
        self._burst_ended = asyncio.Event()
        self._burst_ended.set()
        self._tasks: list[asyncio.Task[None]] = []

    def tell(self, shown: Shown) -> None:
        """That person's frame is another one: it is due to whoever watches."""
        if shown.audiences:
            self._changed.append(shown)

    def tell_moves(self, audience: Audience) -> None:
        """Somebody came or went, which is in the audience's own list."""
        self._moved[audience] = None

    def wake(self, *, more: bool = False) -> None:
        """Flush what is due; with `more`, wait up to BURST seconds for the rest."""
        if more:
            self._burst_ended.clear()
        else:
            self._burst_ended.set()
        if self._changed or self._moved:
            self._work.set()

    def start(self) -> None:
        """Begin to flush and to beat, on the running loop; a second time nothing happens."""
        if not self._tasks and not self.closing.is_set():
            self._tasks = [asyncio.create_task(self._flush_forever()), asyncio.create_task(self._beat_forever())]
            for task in self._tasks:
                task.add_done_callback(_report)

    async def run(self) -> None:
        """Flush and beat until `close`, in the caller's task group."""
        self.start()
        try:
            await asyncio.gather(*self._tasks)
        except asyncio.CancelledError:
            if not self.closing.is_set():
                raise

    def open(self, subscriber: Subscriber, head: bytes) -> None:
        """Begin a stream: `head` and then its backlog."""
        self.streams[subscriber] = None
        self._pulse.add(subscriber)
        self._drain(subscriber, head)
        if self.closing.is_set():
            self.write(subscriber, frames.BYE)
            self.end(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a subscriber; a second time nothing happens."""
        if self._gallery.leave(subscriber):
            self._blocked.pop(subscriber, None)
            self._pulse.discard(subscriber)
            self.streams.pop(subscriber, None)

    def end(self, subscriber: Subscriber) -> None:
        """Forget a subscriber and end its connection."""
        self.leave(subscriber)
        if subscriber.blocked:
            subscriber.outlet.abort()
        else:
            subscriber.outlet.close()

    def pause(self, subscriber: Subscriber) -> None:
        """The outlet could not pass on everything: from now on only the newest frame per person is kept."""
        subscriber.blocked = True
        self._blocked[subscriber] = (self._clock.monotonic(), subscriber.outlet.unsent())

    def resume(self, subscriber: Subscriber) -> None:
        """The outlet is empty again."""
        if self._blocked.pop(subscriber, None) is not None:
            subscriber.blocked = False
            self._drain(subscriber, b"")

    def send(self, audience: Audience, horizon: int, changed: list[Shown] | None = None) -> None:
        """Tell all members what is due: one join, and one write for each who can take it."""
        part = audience.take(horizon, changed)
        if not part:
            return
        batch = audience.join([shown.frame for shown in part])
        stats, count, size = self.stats, len(part), len(batch)
        for member in audience.members:
            if member.blocked:
                stats.superseded += member.keep({shown.person: shown.frame for shown in part})
            else:
                self.write(member, batch)
                stats.frames += count
                stats.bytes += size

    def write(self, subscriber: Subscriber, data: bytes) -> None:
        """Hand over bytes."""
        try:
            subscriber.write(data)
        except RuntimeError:  # uvloop, between the end of a connection and the news of it
            subscriber.blocked = True

    async def either(self, event: Awaitable[object], seconds: float) -> None:
        """Until the event or for that many seconds, whichever is shorter; a close ends it as well."""
        waits = [asyncio.ensure_future(wait) for wait in (event, self._clock.sleep(seconds), self.closing.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def close(self, drain: float) -> None:
        """Say `bye` to all and end the streams spread over `drain` seconds."""
        self.closing.set()
        streams = list(self.streams)
        for subscriber in streams:
            if not subscriber.blocked:
                self.write(subscriber, frames.BYE)
        steps = min(len(streams), max(1, round(drain / 0.05)))
        for step in range(steps):
            await self._clock.sleep(drain / steps)
            for subscriber in streams[step::steps]:
                if subscriber in self.streams:
                    self.end(subscriber)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drain(self, subscriber: Subscriber, head: bytes) -> None:
        """Write from the backlog until it is empty or the outlet is full; `head` goes in front of the first write."""
        while subscriber.backlog and not subscriber.blocked:
            part = subscriber.take()
            batch = head + subscriber.audience.join(part.values())
            head = b""
            self.write(subscriber, batch)
            self.stats.frames += len(part)
            self.stats.bytes += len(batch)

    async def _flush(self) -> None:
        """Send everything that is due by now, in slices."""
        ledger, horizon = self._ledger, self._ledger.n
        due = self._due()
        began = self._clock.monotonic()
        for audience, changed in due:
            self.send(audience, ledger.n if changed is None else horizon, changed)
            if audience.rest:
                due.append((audience, None))  # its next batch comes after everybody else's first
            if self._clock.monotonic() - began >= SLICE:
                await asyncio.sleep(0)
                began = self._clock.monotonic()
        self.stats.flushes += 1

    def _due(self) -> list[tuple[Audience, list[Shown] | None]]:
        """Whom to tell, and of whom; None: they know by their own list.

        When much has changed, it is cheaper to let every audience look through its people, which it does in one go,
        than to go from every person to all audiences, which are scattered in memory.
        """
        changed, moved = set(self._changed), self._moved
        self._changed, self._moved = [], {}
        if MANY * sum(len(shown.audiences) for shown in changed) >= self._gallery.watching:
            return [(audience, None) for audience in self._gallery.audiences()]
        due: dict[Audience, list[Shown] | None] = {}
        for shown in changed:
            for audience in shown.audiences:
                known = due.setdefault(audience, [])
                assert known is not None
                known.append(shown)
        due.update(moved)
        return list(due.items())

    async def _flush_forever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            if not self._burst_ended.is_set():
                await self.either(self._burst_ended.wait(), BURST)
            began = self._clock.monotonic()
            await self._flush()
            await self._clock.sleep(WINDOW - (self._clock.monotonic() - began))

    async def _beat_forever(self) -> None:
        while True:
            await self._clock.sleep(self._pulse.period)
            self._cut_blocked()
            due, checked = self._pulse.beat()
            for subscriber in due:
                if not subscriber.blocked:
                    self.write(subscriber, frames.HEARTBEAT)
            self._end_revoked(checked)

    def _cut_blocked(self) -> None:
        """Give up those who took nothing for too long."""
        now = self._clock.monotonic()
        for subscriber, (since, unsent) in list(self._blocked.items()):
            left = subscriber.outlet.unsent()
            if left < unsent:
                self._blocked[subscriber] = (now, left)
            elif now - since >= self._limits.write_timeout:
                self.stats.cut += 1
                self.end(subscriber)

    def _end_revoked(self, checked: list[Subscriber]) -> None:
        """End the streams of readers who may no longer read."""
        for subscriber in checked:
            if subscriber.still_valid is not None and not subscriber.still_valid(subscriber.reader):
                self.stats.revoked += 1
                self.end(subscriber)


def _report(task: asyncio.Task[None]) -> None:
    """A fault in here is a bug: it goes where the loop's unhandled faults go."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "delivery failed", "exception": fault, "task": task})
