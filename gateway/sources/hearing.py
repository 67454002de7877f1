"""What a server's hints do: a changed mailbox is read soon, and how a mailbox is followed decides its rhythm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from gateway.clock import Clock
from gateway.errors import SourceError
from gateway.reasons import RetryClass
from gateway.sources import Calendar, Hint, HintKind
from gateway.sources.backoff import CAPS, full_jitter, source_delay
from gateway.sources.pacing import Entry, Plan
from gateway.sources.roster import Roster
from gateway.sources.timing import until


class Hearing:
    """Takes the hints of one Calendar and changes the plan of its reads."""

    def __init__(
        self,
        calendar: Calendar,
        roster: Roster,
        plan: Plan,
        clock: Clock,
        random: Random,
        *,
        set_rhythm: Callable[[Entry], None],
        wake: Callable[[], None],
        write: Callable[..., None],
    ) -> None:
        """`set_rhythm` is told of entries with another mode, `wake` that the plan has changed."""
        self._calendar = calendar
        self._roster = roster
        self._plan = plan
        self._clock = clock
        self._random = random
        self._set_rhythm = set_rhythm
        self._wake = wake
        self._write = write
        self._again = asyncio.Event()

    def again(self) -> None:
        """Do not wait any longer with the next try."""
        self._again.set()

    async def run(self) -> None:
        """Take the server's hints for as long as it has any; without them everybody is polled."""
        failures = 0
        while True:
            heard, code = False, ""
            try:
                async for hint in self._calendar.follow(self._roster):
                    heard, failures = True, 0
                    self._hear(hint)
                if not heard:
                    return
                delay = full_jitter(failures, CAPS[RetryClass.TRANSIENT], self._random)
            except SourceError as error:
                code = error.code
                self._write(logging.WARNING, "source.follow.failed", code, error=str(error), hint=error.hint)
                delay = source_delay(error, failures, self._random)
            failures += 1
            self._poll_everybody(code)
            self._again.clear()
            await until(self._again, delay, self._clock)

    def _hear(self, hint: Hint) -> None:
        now = self._clock.monotonic()
        for entry in self._roster.mailbox(hint.mailbox):
            if hint.kind in (HintKind.STREAM, HintKind.POLL):
                self._set_mode(entry, hint.kind, hint.code)
            else:
                self._plan.hint(entry, now, force=hint.kind is HintKind.GAP)
        self._wake()

    def _set_mode(self, entry: Entry, mode: HintKind, code: str) -> None:
        health = entry.health
        if health.mode != mode:
            health.mode, health.mode_since = mode.value, self._clock.now()
        health.mode_code = code
        self._set_rhythm(entry)
        now = self._clock.monotonic()
        if not entry.reading and entry.due > max(entry.held_until, now + entry.interval):
            self._plan.schedule_next(entry, now)

    def _poll_everybody(self, code: str) -> None:
        for entry in self._roster:
            if entry.health.mode != HintKind.POLL or code:
                self._set_mode(entry, HintKind.POLL, code)
        self._wake()
