"""Which mailbox is read when, and which are read together. Pure: `now` is in seconds on the monotonic clock.

Every mailbox has a phase, a fixed fraction of its interval, so that thousands of them fall due evenly and a call is
simply what falls due around the same instant: no bursts, every mailbox once per interval, and full batches. What
cannot be read on time (an outage, a slow server) queues up by urgency instead.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from random import Random
from typing import Final

from gateway.core.model import Schedule
from gateway.sources import MailboxHealth, Window

WINDOW: Final = timedelta(hours=48)
ROLL_SPREAD: Final = 300.0
"""After midnight the new window is fetched within five minutes, however long the interval."""

GOLDEN: Final = (math.sqrt(5) - 1) / 2
"""Multiples of it, modulo 1, lie evenly for every count: the phases."""
EARLY: Final = 0.1
"""A read may come that fraction of its interval early to fill a batch."""
LOOK_PAST: Final = 20
"""How many that may not come early are passed over in the search for one that may."""
SOONEST: Final = 0.25
"""A regular read does not follow another within that fraction of the interval."""
POLL_JITTER, STREAM_JITTER = 0.025, 0.1

BUCKET, REFILL = 2.0, 5.0
"""Hinted reads of one mailbox: two at once, then one per 5 s."""

EDGE_SOON: Final = timedelta(minutes=15)
HINTED_FIRST, WATCHED_FIRST, EDGE_FIRST = 2400.0, 1200.0, 600.0
"""Seconds of waiting that weigh as much as a hint, a watcher, a near boundary: nobody starves."""
RANK_AGAIN: Final = 60.0

OUTDATED: Final = 4
"""The heap is tidied when it holds that many times more records than there are mailboxes."""

ALONE: Final = 1
UNLIMITED: Final = 1 << 30
"""Values of `Entry.share`."""


class Line(IntEnum):
    """Who is read together."""

    HEALTHY = 0
    QUARANTINE = 1


@dataclass(slots=True, eq=False)
class Entry:
    """One mailbox to read.

    `due` and `held_until` are monotonic; `turn` marks the one heap record that counts; `waited_since`: when the
    read under way was due; `began_at`: when the last read began; `longest`: the most seconds from the end of one
    read to the next; `share` is how many mailboxes a batch with this one may have; `hinted`: something may
    have changed since the last read began; `forced`: that costs no token; `answers_hint`: the read under way began
    because something may have changed.
    """

    person: str
    mailbox: str
    phase: float
    health: MailboxHealth
    share: int = UNLIMITED
    interval: float = 0.0
    jitter: float = POLL_JITTER
    longest: float = math.inf
    watched: bool = False
    due: float = math.inf
    waited_since: float = 0.0
    began_at: float = -math.inf
    turn: int = 0
    reading: bool = False
    hinted: bool = False
    forced: bool = False
    answers_hint: bool = False
    held_until: float = 0.0
    tokens: float = BUCKET
    tokens_at: float = 0.0
    failures: int = 0
    schedule: Schedule | None = None
    withdrawn: bool = False
    line: Line = Line.HEALTHY


@dataclass(frozen=True, slots=True)
class Batch:
    """One call: who is asked for, and for which window."""

    line: Line
    entries: Sequence[Entry]
    window: Window


def window_at(wall: datetime) -> Window:
    """From the previous UTC midnight on, 48 hours; it changes when less than 24 hours remain, at the next midnight."""
    start = wall.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Window(start, start + WINDOW)


def edge_soon(schedule: Schedule | None, wall: datetime) -> bool:
    """Whether a block begins or ends within a quarter of an hour."""
    if schedule is None:
        return False
    limit = wall + EDGE_SOON
    for block in schedule.blocks:  # in the order of their starts
        if block.start >= limit:
            return False
        if wall <= block.start or wall <= block.end < limit:
            return True
    return False


class Plan:
    """The entries in the order of their next reads, healthy and quarantined ones apart."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._offset = random.random()
        self._added = 0
        self._members = 0
        self._turns = 0
        self._waiting: tuple[list[Record], list[Record]] = ([], [])
        self._ranked_at = dict.fromkeys(Line, 0.0)
        self._ready: tuple[list[Record], list[Record]] = ([], [])

    def entry(self, person: str, mailbox: str) -> Entry:
        """A new entry with the next phase; `schedule_at` gives it its first turn."""
        self._added += 1
        self._members += 1
        phase = (self._offset + self._added * GOLDEN) % 1.0
        return Entry(person, mailbox, phase, MailboxHealth(person, mailbox))

    def schedule_at(self, entry: Entry, due: float) -> None:
        """Its next read is then, whatever was planned before; not before `held_until`."""
        due = max(due, entry.held_until)
        self._turns += 1
        entry.due, entry.turn = due, self._turns
        if due < math.inf:
            waiting = self._waiting[entry.line]
            heapq.heappush(waiting, (due, self._turns, entry))
            if len(waiting) > OUTDATED * (self._members + 10):
                waiting[:] = [record for record in waiting if record[2].turn == record[1]]
                heapq.heapify(waiting)

    def schedule_next(self, entry: Entry, now: float) -> None:
        """The next read in its own rhythm: its phase, a little jitter, never right after this one."""
        interval = entry.interval
        turn = math.ceil(now / interval + SOONEST - entry.phase)
        jitter = (2.0 * self._random.random() - 1.0) * entry.jitter
        due = min((turn + entry.phase + jitter) * interval, now + entry.longest)
        if entry.hinted:
            due = min(due, self._next_hinted(entry, now))
        self.schedule_at(entry, due)

    def schedule_again(self, entry: Entry) -> None:
        """Its read came to nothing through no fault of its own: it keeps its place in the queue."""
        self.schedule_at(entry, entry.waited_since)

    def forget(self, entry: Entry) -> None:
        """It is not read any more."""
        entry.turn, entry.due = 0, math.inf
        self._members -= 1

    def hint(self, entry: Entry, now: float, *, force: bool = False) -> None:
        """It may have changed: read soon. Hints of one mailbox coalesce, unless forced; a hold stays a hold."""
        fresh, entry.hinted = not entry.hinted, True
        if force:
            entry.forced = True
        if entry.reading or not (fresh or force):
            return
        due = max(entry.held_until, self._next_hinted(entry, now))
        if due < entry.due or (fresh and entry.due <= now):
            self.schedule_at(entry, due)

    def roll(self, entry: Entry, now: float) -> None:
        """The window has changed: its read is due within five minutes."""
        if not entry.reading and entry.held_until <= now and entry.due > now + ROLL_SPREAD:
            self.schedule_at(entry, now + self._random.uniform(0.0, ROLL_SPREAD))

    def next_due(self, line: Line) -> float:
        """When the next batch of that line may be taken; infinite if nobody waits."""
        ready, waiting = self._ready[line], self._waiting[line]
        _drop_outdated(ready)
        if ready:
            return 0.0
        _drop_outdated(waiting)
        return waiting[0][0] if waiting else math.inf

    def take(self, line: Line, room: int, now: float, wall: datetime) -> list[Entry]:
        """The next batch of that line, at most `room`, marked as being read; empty if nothing is due.

        By urgency if more are due than fit; otherwise filled up with those due shortly, unless a hint is to be
        answered quickly.
        """
        self._mature(line, room, now, wall)
        batch: list[Entry] = []
        room = self._fill(batch, self._ready[line], room)
        if batch and len(batch) < room and not any(entry.hinted for entry in batch):
            self._fill_early(batch, self._waiting[line], room, now)
        for entry in batch:
            if entry.hinted:
                self._answer_hint(entry, now)
            due = entry.due
            entry.waited_since = due if due < now else now
            entry.reading, entry.due, entry.began_at = True, math.inf, now
        return batch

    def _mature(self, line: Line, room: int, now: float, wall: datetime) -> None:
        """Move what is due into the queue that is ordered by urgency, which is looked at anew every minute."""
        waiting, ready = self._waiting[line], self._ready[line]
        due = []
        while waiting and waiting[0][0] <= now:
            record = heapq.heappop(waiting)
            if record[2].turn == record[1]:
                due.append(record)
        if not ready and len(due) <= room:
            ready[:] = due  # sorted, so a heap; all of it fits, so urgency does not matter
        elif not ready or now - self._ranked_at[line] > RANK_AGAIN:
            self._ranked_at[line] = now
            ready[:] = [_ranked(record, wall) for record in (*ready, *due) if record[2].turn == record[1]]
            heapq.heapify(ready)
        else:
            for record in due:
                heapq.heappush(ready, _ranked(record, wall))

    def _fill(self, batch: list[Entry], ready: list[Record], room: int) -> int:
        while ready:
            _, turn, entry = ready[0]
            if entry.turn == turn:
                if len(batch) >= min(room, entry.share):
                    break
                room = min(room, entry.share)
                entry.turn = 0
                batch.append(entry)
            heapq.heappop(ready)
        return room

    def _fill_early(self, batch: list[Entry], waiting: list[Record], room: int, now: float) -> None:
        passed: list[Record] = []
        while waiting and len(batch) < room and len(passed) < LOOK_PAST:
            due, turn, entry = record = heapq.heappop(waiting)
            if entry.turn != turn:
                continue
            if due <= now + EARLY * entry.interval and len(batch) < entry.share:
                room = min(room, entry.share)
                entry.turn = 0
                batch.append(entry)
            else:
                passed.append(record)
        for record in passed:
            heapq.heappush(waiting, record)

    def _answer_hint(self, entry: Entry, now: float) -> None:
        """The read that begins costs a token, unless it is forced."""
        entry.tokens = max(0.0, _tokens(entry, now) - (0.0 if entry.forced else 1.0))
        entry.tokens_at = now
        entry.hinted = entry.forced = False
        entry.answers_hint = True

    def _next_hinted(self, entry: Entry, now: float) -> float:
        missing = 0.0 if entry.forced else 1.0 - _tokens(entry, now)
        return now + max(0.0, missing) * REFILL


Record = tuple[float, int, Entry]


def _ranked(record: Record, wall: datetime) -> Record:
    _, turn, entry = record
    return (entry.due - _urgency(entry, wall), turn, entry)


def _tokens(entry: Entry, now: float) -> float:
    return min(BUCKET, entry.tokens + (now - entry.tokens_at) / REFILL)


def _urgency(entry: Entry, wall: datetime) -> float:
    if entry.hinted:
        return HINTED_FIRST
    if entry.watched:
        return WATCHED_FIRST
    return EDGE_FIRST if edge_soon(entry.schedule, wall) else 0.0


def _drop_outdated(records: list[Record]) -> None:
    while records and records[0][2].turn != records[0][1]:
        heapq.heappop(records)
