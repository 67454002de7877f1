"""Waiting for what happens on real sockets, with a clock that may be the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from gateway.clock import Clock
from tests.clock import FakeClock

CREEP = 0.001
"""Simulated seconds by which a test's own clock moves in each step of waiting: pauses between two writes of a stream
end only with it."""
STEP = 0.005
"""Real seconds of one such step."""


async def until(happened: Callable[[], bool], clock: Clock, *, within: float = 10.0, what: str = "it") -> None:
    """Wait until something became true, at most `within` real seconds; a test's own clock creeps meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not happened():
        assert loop.time() < deadline, f"{what} did not happen within {within:g} s"
        if isinstance(clock, FakeClock):
            await clock.advance(CREEP)
        await asyncio.sleep(STEP)


def starved() -> timedelta:
    """How long this thread was ready to run and got no processor, since it began; nothing if nobody counts that.

    Bounds in real time are the program's: what a busy machine adds to them is measured, not guessed.
    """
    nanoseconds = 0
    with suppress(OSError):  # https://docs.kernel.org/scheduler/sched-stats.html
        nanoseconds = int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    return timedelta(microseconds=nanoseconds // 1000)
