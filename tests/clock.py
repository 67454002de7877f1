"""A clock that moves only when the test says so."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sized
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import cast

from gateway.clock import milliseconds


class FakeClock:
    """A `gateway.clock.Clock` whose time stands still between calls of `advance`.

    `advance` wakes the sleepers one at a time in the order of their due times (equal ones: first asleep, first
    awake), each at its instant, and lets everything that follows from it run before time moves on. It waits
    for callbacks of the event loop only: what needs a socket, a thread or a timer of the loop is to be awaited
    by the test itself.
    """

    def __init__(self, start: datetime = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)) -> None:
        self._wall = start
        self._elapsed_ns = 0
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """The wall clock, aware UTC, cut to milliseconds."""
        return milliseconds(self._wall + timedelta(microseconds=self._elapsed_ns // 1000))

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed_ns / 1e9

    @property
    def asleep(self) -> int:
        """How many tasks sleep on this clock."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Until `advance` has moved the clock that far; zero and less only give way once."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        due = self._elapsed_ns + round(seconds * 1e9)
        heapq.heappush(self._sleepers, (due, next(self._order), future))
        await future

    async def advance(self, seconds: float = 0.0) -> None:
        """Move the time by `seconds`, waking every sleeper due until then; 0 only settles."""
        target = self._elapsed_ns + round(seconds * 1e9)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._elapsed_ns = due
            future.set_result(None)
            await self.settle()
        self._elapsed_ns = target

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a resume or an administrator does; no sleeper notices."""
        self._wall += timedelta(seconds=seconds)

    async def settle(self) -> None:
        """Give way until no callback is left to run."""
        ready = cast(Sized, vars(asyncio.get_running_loop())["_ready"])
        while True:
            await asyncio.sleep(0)
            if not len(ready):
                return
