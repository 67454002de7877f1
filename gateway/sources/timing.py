"""Two ways to wait with a limit on the injected clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from gateway.clock import Clock

T = TypeVar("T")

SHORTEST: Final = 0.001
"""Seconds. Less might be nothing to the clock, and whoever looks again after it would look for ever."""


async def until(event: asyncio.Event, seconds: float, clock: Clock) -> bool:
    """Wait for the event, about that long at most; whether it is set. The event stays as it is."""
    if event.is_set():
        return True
    try:
        await within(max(seconds, SHORTEST), event.wait(), clock)
    except TimeoutError:
        return event.is_set()
    return True


async def within(seconds: float, work: Coroutine[Any, Any, T], clock: Clock) -> T:
    """The result of `work`; TimeoutError once it has taken that long, and then it is cancelled and gone."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
        timer.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)
