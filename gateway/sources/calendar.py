"""CalendarSource: reads the calendars of many people through one Calendar, written once for all backends.

It decides who is read when (`pacing`) and with whom (`sharing`), what a failure means (`backoff`), and keeps score
(`health`). Only a successful read ever reports a schedule; a hint, a failure or silence never does.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from random import Random
from typing import Final

from gateway.clock import Clock
from gateway.core.model import Schedule
from gateway.errors import GatewayError, SourceDenied, SourceError, SourceProtocolError, SourceUnavailable
from gateway.reasons import RetryClass
from gateway.sources import Calendar, HintKind, MailboxHealth, Report, ServerHealth, Window
from gateway.sources.backoff import (
    CAPS,
    Endpoint,
    RetryBudget,
    as_source_error,
    full_jitter,
    mailbox_delay,
    retry_class,
)
from gateway.sources.health import Health, Journal, Log, structured
from gateway.sources.hearing import Hearing
from gateway.sources.pacing import POLL_JITTER, STREAM_JITTER, Batch, Entry, Line, Plan, window_at
from gateway.sources.roster import Roster
from gateway.sources.sharing import Sharing
from gateway.sources.timing import until, within

SHORTEST_REST: Final = 0.001
LONGEST_REST: Final = 30.0
"""The loop looks up at least that often, for the window and the log."""
CROWDED: Final = 1.0
"""It looks up every second while there are fewer lanes than usual: their number grows with time."""
CLOSE_WITHIN: Final = 15.0


@dataclass(frozen=True, slots=True)
class CalendarSettings:
    """How one calendar server is read; durations in seconds.

    `refresh`: people somebody watches; `background`: everybody else; `reconcile`: mailboxes with notifications.
    `first_sweep_calls_per_second`: how fast newly assigned people are read. `call_timeout`: when a call is given
    up that the backend itself should have ended before. `zone` is for the backend: what a whole day is in
    mailboxes that do not tell their own.
    """

    refresh: float = 60.0
    background: float = 300.0
    reconcile: float = 300.0
    zone: tzinfo = UTC
    lanes: int = 4
    max_calls_per_second: float = 20.0
    first_sweep_calls_per_second: float = 5.0
    call_timeout: float = 90.0


class CalendarSource:
    """Reads the assigned people's calendars from one server and reports them."""

    def __init__(
        self,
        name: str,
        kind: str,
        calendar: Calendar,
        *,
        clock: Clock,
        report: Report,
        settings: CalendarSettings,
        watched: Callable[[str], bool],
        random: Random,
        log: Log = structured,
        budget: RetryBudget | None = None,
    ) -> None:
        """`watched` tells whether somebody looks at a person; sources that share a `budget` share its retries."""
        self.name = name
        self._calendar = calendar
        self._clock = clock
        self._report = report
        self._settings = settings
        self._watched = watched
        self._random = random
        self._journal = Journal(name, log)
        self._health = Health(name, kind, self._journal)
        self._roster = Roster()
        self._plan = Plan(random)
        self._sharing = Sharing()
        self._endpoint = Endpoint(settings.lanes, settings.max_calls_per_second, random, budget or RetryBudget())
        self._under_way = dict.fromkeys(Line, 0)
        self._report_failures = 0
        self._window = window_at(clock.now())
        self._wake = asyncio.Event()
        self._hearing = Hearing(
            calendar,
            self._roster,
            self._plan,
            clock,
            random,
            set_rhythm=self._set_rhythm,
            wake=self._wake.set,
            write=self._write,
        )
        self._closed = False

    # Who is read.

    def assign(self, mailboxes: Mapping[str, str]) -> None:
        """Person → mailbox: everybody to read from now on. Who is missing is forgotten at once.

        An answer under way for somebody forgotten is dropped. What was reported before is the caller's to withdraw.
        """
        now = self._clock.monotonic()
        added, removed = self._roster.become(mailboxes, self._plan.entry)
        for entry in removed:
            self._plan.forget(entry)
        for entry in added:
            entry.health.mode_since = self._clock.now()
            self._set_rhythm(entry)
        self._sweep(sorted(added, key=lambda entry: not entry.watched), now)
        self._wake.set()

    def watch(self, people: Iterable[str]) -> None:
        """Somebody began to look at these people, as `watched` tells already: from now on they are read more often.

        Whoever was not read for that interval is read now, as evenly as in the first sweep, the others when it is over.
        """
        now = self._clock.monotonic()
        overdue = []
        for person in people:
            entry = self._roster.person(person)
            if entry is None or entry.reading:
                continue
            self._set_rhythm(entry)
            due = entry.began_at + entry.interval
            if due <= now:
                overdue.append(entry)
            elif due < entry.due:
                self._plan.schedule_at(entry, due)
        self._sweep(overdue, now)
        self._wake.set()

    def _sweep(self, entries: Sequence[Entry], now: float) -> None:
        """Read these in their order, so many calls a second; nobody later than planned."""
        batch, rate = self._calendar.batch, self._settings.first_sweep_calls_per_second
        for position, entry in enumerate(entries):
            due = now + position // batch / rate
            if due < entry.due:
                self._plan.schedule_at(entry, due)

    async def retry(self, person: str | None = None) -> None:
        """An operator's "retry now": ends the server's hold or back-off, and that person's or everybody's."""
        now = self._clock.monotonic()
        self._endpoint.reset(now)
        self._health.released()
        for entry in self._roster:
            if entry.person == person or (person is None and entry.held_until > now):
                entry.held_until = 0.0
                entry.health.retry_at = None
                self._plan.hint(entry, now, force=True)
        self._hearing.again()
        self._roster.poke()
        self._wake.set()

    def server_health(self) -> ServerHealth:
        """How the server does now."""
        return self._health.snapshot(self.mailbox_health())

    def mailbox_health(self) -> Sequence[MailboxHealth]:
        """How every assigned mailbox does now, in the order of assignment."""
        return [entry.health for entry in self._roster]

    def _set_rhythm(self, entry: Entry) -> None:
        entry.watched = self._watched(entry.person)
        if entry.health.mode == HintKind.STREAM:
            entry.interval, entry.jitter = self._settings.reconcile, STREAM_JITTER
            entry.longest = entry.interval * (1.0 + STREAM_JITTER)
        else:
            entry.interval = self._settings.refresh if entry.watched else self._settings.background
            entry.jitter, entry.longest = POLL_JITTER, math.inf

    # When, and how many at a time.

    async def run(self) -> None:
        """Read and follow until cancelled. Whatever is not a GatewayError is a bug and ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hearing.run())
            while True:
                self._wake.clear()
                batches, rest = self.beat()
                for batch in batches:
                    tasks.create_task(self.read(batch))
                await until(self._wake, rest, self._clock)

    async def close(self) -> None:
        """Give back everything at the server; end `run` first. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            await within(CLOSE_WITHIN, self._calendar.close(), self._clock)
        except (GatewayError, TimeoutError) as error:
            code = error.code if isinstance(error, GatewayError) else "net.read_timeout"
            self._write(logging.WARNING, "source.close.failed", code, error=str(error))

    def beat(self) -> tuple[list[Batch], float]:
        """The batches to start at this instant, and in how many seconds to look again if nothing happens before."""
        now, wall = self._clock.monotonic(), self._clock.now()
        self._journal.flush(now)
        self._roll(now, wall)
        batches = []
        while (line := self._next_line(now)) is not None:
            entries = self._plan.take(line, self._calendar.batch, now, wall)
            batches.append(Batch(line, entries, self._window))
            self._under_way[line] += 1
            self._endpoint.begin(now)
        return batches, self._rest(now)

    def _roll(self, now: float, wall: datetime) -> None:
        window = window_at(wall)
        if window != self._window:
            self._window = window
            for entry in self._roster:
                self._plan.roll(entry, now)

    def _next_line(self, now: float) -> Line | None:
        """Whose batch may start now: the quarantined have a quarter of the lanes and come after the healthy."""
        if self._endpoint.open_from() > now or self._free_lanes(now) <= 0:
            return None
        for line in Line:
            if not self._full(line) and self._plan.next_due(line) <= now:
                return line
        return None

    def _rest(self, now: float) -> float:
        if self._free_lanes(now) <= 0:  # the end of a call wakes us; some lanes come back with time alone
            return CROWDED if self._endpoint.lanes(now) < self._settings.lanes else LONGEST_REST
        due = min(self._plan.next_due(line) for line in Line if not self._full(line))
        return min(LONGEST_REST, max(SHORTEST_REST, due - now, self._endpoint.open_from() - now))

    def _free_lanes(self, now: float) -> int:
        return self._endpoint.lanes(now) - sum(self._under_way.values())

    def _full(self, line: Line) -> bool:
        return line is Line.QUARANTINE and self._under_way[line] >= max(1, self._settings.lanes // 4)

    # One call, and what follows from its answer.

    async def read(self, batch: Batch) -> None:
        """Ask for one batch that `beat` gave out, and deliver the answer."""
        at, started = self._clock.now(), self._clock.monotonic()
        try:
            answers = await self._fetch([entry.mailbox for entry in batch.entries], batch.window)
            self._server_answered(batch, self._clock.monotonic() - started)
            await self._deliver(batch, answers, at)
        except SourceError as error:
            self._call_failed(batch, error)
        finally:
            self._under_way[batch.line] -= 1
            self._wake.set()

    async def _fetch(self, mailboxes: list[str], window: Window) -> Sequence[Schedule | SourceError]:
        """Raises SourceError when nothing is known about any of them."""
        limit = self._settings.call_timeout
        try:
            answers = await within(limit, self._calendar.fetch(mailboxes, window), self._clock)
        except TimeoutError:
            raise SourceUnavailable(f"call not finished after {limit:g} s", code="net.read_timeout") from None
        except GatewayError as error:
            raise as_source_error(error) from error
        if len(answers) != len(mailboxes):
            message = f"asked for {len(mailboxes)} mailboxes, {len(answers)} answered"
            raise SourceProtocolError(message, code="protocol.unexpected_shape")
        return answers

    def _server_answered(self, batch: Batch, took: float) -> None:
        now = self._clock.monotonic()
        self._endpoint.succeeded(now)
        self._health.answered(self._clock.now(), now)
        self._sharing.answered(batch.entries, took, self._calendar.batch, now)

    def _call_failed(self, batch: Batch, error: SourceError) -> None:
        """Nothing is known about anybody in the batch: read them again when the server lets us."""
        now, wall = self._clock.monotonic(), self._clock.now()
        to_blame = not self._endpoint.broken and self._sharing.failed(batch.entries, error, now)
        self._endpoint.failed(error, now)
        pause = self._endpoint.paused_until() - now
        self._health.call_failed(error, wall, now, pause, len(batch.entries), held=self._endpoint.held)
        soon = self._endpoint.budget.allow(now)
        for entry in self._roster.still(batch.entries):
            entry.hinted = entry.hinted or entry.answers_hint
            if to_blame:
                self._mailbox_failed(entry, error, quick=False)
                continue
            self._finish(entry)
            if soon or entry.hinted or entry.health.last_success is None:
                self._plan.schedule_again(entry)
            else:
                self._plan.schedule_next(entry, now)

    async def _deliver(self, batch: Batch, answers: Sequence[Schedule | SourceError], at: datetime) -> None:
        """Report what was read, withdraw what may not be read any more, plan what comes next."""
        read: dict[str, Schedule] = {}
        failed: list[tuple[Entry, SourceError]] = []
        here = set(self._roster.still(batch.entries))
        for entry, answer in zip(batch.entries, answers, strict=True):
            if entry not in here:
                continue  # forgotten while we asked
            if isinstance(answer, SourceError):
                failed.append((entry, answer))
            else:
                read[entry.person] = entry.schedule = answer
        try:
            if read:
                await self._report.schedules(self.name, read, at)
            for entry, error in failed:
                if isinstance(error, SourceDenied) and not entry.withdrawn and entry in self._roster:
                    await self._report.withdraw(self.name, entry.person)
                    entry.withdrawn, entry.schedule = True, None
        except GatewayError as error:
            self._report_failed(batch, error)
        else:
            self._report_failures = 0
            self._settle(batch, read, failed, at)

    def _settle(
        self,
        batch: Batch,
        read: Mapping[str, Schedule],
        failed: Sequence[tuple[Entry, SourceError]],
        at: datetime,
    ) -> None:
        now = self._clock.monotonic()
        for entry in self._roster.still(batch.entries):
            if entry.person not in read:
                continue
            entry.failures, entry.withdrawn, entry.held_until = 0, False, 0.0
            self._health.mailbox_read(entry.health, at, now)
            self._finish(entry)
            self._plan.schedule_next(entry, now)
        transient = any(retry_class(error) is RetryClass.TRANSIENT for _, error in failed)
        quick = transient and self._endpoint.budget.allow(now)
        for entry, error in failed:
            if entry in self._roster:
                self._mailbox_failed(entry, error, quick=quick)

    def _mailbox_failed(self, entry: Entry, error: SourceError, *, quick: bool) -> None:
        """Its own back-off; what it last told stays in force, unless it was withdrawn."""
        now = self._clock.monotonic()
        entry.failures += 1
        delay = mailbox_delay(error, entry.failures, self._random, quick=quick)
        entry.held_until = now + delay
        self._health.mailbox_failed(entry.health, error, self._clock.now(), now, delay)
        self._finish(entry)
        self._plan.schedule_at(entry, entry.held_until)

    def _report_failed(self, batch: Batch, error: GatewayError) -> None:
        """What was read could not be stored: read it again, ever more slowly."""
        delay = full_jitter(self._report_failures, CAPS[RetryClass.TRANSIENT], self._random)
        self._report_failures += 1
        self._write(logging.ERROR, "source.report.failed", error.code, error=str(error))
        for entry in self._roster.still(batch.entries):
            self._finish(entry)
            self._plan.schedule_at(entry, self._clock.monotonic() + delay)

    def _finish(self, entry: Entry) -> None:
        """It is not being read any more; whoever calls this plans its next turn."""
        entry.reading = entry.answers_hint = False
        if self._watched(entry.person) != entry.watched:
            self._set_rhythm(entry)
        self._sharing.place(entry)

    def _write(self, level: int, event: str, code: str, **fields: object) -> None:
        self._journal.write(self._clock.monotonic(), level, event, code, **fields)
