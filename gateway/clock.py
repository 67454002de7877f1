"""Time as an argument: the one place where clocks are read.

Durations are measured on the monotonic clock, calendar edges on the wall clock. Tests pass their own Clock.
"""

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the gateway may ask of time."""

    def now(self) -> datetime:
        """The wall clock, aware UTC, cut to whole milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait that many seconds of `monotonic`."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return milliseconds(datetime.now(UTC))

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def milliseconds(instant: datetime) -> datetime:
    """The instant cut down to whole milliseconds, the precision of everything stored and published."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
