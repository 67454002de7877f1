"""View: this replica's picture of everybody. Store changes and the passing of time go in, changed presences come out.

The one path from the store to the watchers: records become items, the composer says who changed, the hub is told.
Meeting edges and expiries fire from one timer; the store and Exchange are not asked for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from gateway.clock import Clock
from gateway.core.composer import Chosen, Composer, Item
from gateway.core.model import Fact, Person, Policy, Presence, Withdrawal
from gateway.records import item_of
from gateway.stores import Batch, Change, Store

SLICE: Final = 400
"""How many people are composed before the event loop runs something else."""
BEAT: Final = 1.0
"""Seconds between two looks at the clock when nothing is due, so that a jump is noticed."""
AHEAD: Final = timedelta(seconds=2)
"""How long before an edge its changes are composed and encoded, so that all that is left then is to send them."""
LOOK_EVERY: Final = 0.25
"""Seconds between two looks for people to compose ahead; it takes going through everybody's deadlines."""
JUMP: Final = timedelta(seconds=2)
"""A wall clock that moved by that much more or less than the monotonic one has jumped."""

log = structlog.get_logger()


class Publish(Protocol):
    """Where changed presences go; `more`: a further slice of the same burst follows at once."""

    def __call__(self, changes: Sequence[Presence], revision: int, *, more: bool) -> None: ...


class View:
    """The composer with a store on one side and a publisher on the other."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        clock: Clock,
        publish: Publish,
        chosen: Callable[[str], None] = lambda person: None,
        composed: Callable[[int, float], None] = lambda people, late: None,
        prepare: Callable[[Sequence[Presence]], None] = lambda presences: None,
    ) -> None:
        """`chosen(person)` is called when preferences changed; `composed(people, seconds late)` after each edge.

        `prepare(presences)` is called ahead of an edge with what will be published then, as these very objects.
        """
        self.composer = Composer(policy)
        self.revision = 0
        self.synced = asyncio.Event()
        self.lag = 0.0
        self._store = store
        self._clock = clock
        self._publish = publish
        self._chosen = chosen
        self._composed = composed
        self._prepare = prepare
        self._look_again = 0.0
        self._revisions: dict[str, int] = {}
        self._other: dict[str, bytes] = {}
        self._people: tuple[Person, ...] = ()
        self._bursting = False
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._nudge = asyncio.Event()

    def record(self, key: str) -> tuple[bytes | None, int]:
        """Value and revision of a record that is not a fact, as this replica knows it; revision 0: there is none."""
        return self._other.get(key), self._revisions.get(key, 0)

    async def reached(self, revision: int) -> None:
        """Returns once everything up to that revision is composed and published here."""
        if self.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        await waiter

    def set_people(self, people: Iterable[Person]) -> None:
        """Another directory; its people are composed and published at once."""
        self._people = tuple(people)
        if self.synced.is_set():
            self._tell(self.composer.set_people(self._people, self._clock.now()))
            self._nudge.set()

    def set_policy(self, policy: Policy) -> None:
        """Another deployment policy."""
        self._tell(self.composer.set_policy(policy, self._clock.now()))
        self._nudge.set()

    async def run(self) -> None:
        """Follow the store and the clock until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="view.follow")
            tasks.create_task(self._keep_time(), name="view.keep_time")

    async def _follow(self) -> None:
        async for batch in self._store.watch():
            await self._apply(batch)

    async def _apply(self, batch: Batch) -> None:
        """One batch of the store, in slices; the first synced one completes the picture."""
        for first in range(0, len(batch.changes), SLICE):
            part = batch.changes[first : first + SLICE]
            items = [item for change in part if (item := self._item(change)) is not None]
            self.revision = max(self.revision, part[-1].revision)
            changes = self.composer.observe(items, self._clock.now())
            self._tell(changes, more=first + SLICE < len(batch.changes))
            if self.synced.is_set():
                for person in {item.person for item in items if isinstance(item, Chosen)}:
                    self._chosen(person)
            await asyncio.sleep(0)
        self.revision = max(self.revision, batch.revision)
        if batch.synced and not self.synced.is_set():
            self.synced.set()
            self.set_people(self._people)
            log.info("view.snapshot.loaded", revision=self.revision, people=len(self._people))
        self._nudge.set()
        self._wake_waiters()

    def _item(self, change: Change) -> Item | None:
        item = item_of(change)
        if not isinstance(item, Fact | Withdrawal):
            self._remember(change)
        return item

    def _remember(self, change: Change) -> None:
        if change.value is None:
            self._other.pop(change.key, None)
            self._revisions.pop(change.key, None)
        else:
            self._other[change.key] = change.value
            self._revisions[change.key] = change.revision

    def _tell(self, changes: Sequence[Presence], *, more: bool = False) -> None:
        """Publish; an empty slice only if it ends a burst."""
        if self.synced.is_set() and (changes or (self._bursting and not more)):
            self._bursting = more
            self._publish(changes, self.revision, more=more)

    def _wake_waiters(self) -> None:
        waiting = []
        for revision, waiter in self._waiters:
            if waiter.done():
                continue
            if revision <= self.revision:
                waiter.set_result(None)
            else:
                waiting.append((revision, waiter))
        self._waiters = waiting

    async def _keep_time(self) -> None:
        """Fire what is due, then wait for the next deadline, a nudge or a beat, whichever is first."""
        await self.synced.wait()
        clock = self._clock
        wall, steady = clock.now(), clock.monotonic()
        while True:
            await self.advance()
            await self._look_ahead()
            self._nudge.clear()
            pause = self._pause(clock.now())
            started = clock.monotonic()
            await self._sleep_or_nudge(pause)
            now, ticks = clock.now(), clock.monotonic()
            if not self._nudge.is_set():
                self.lag = max(0.0, ticks - started - pause)
            jumped = (now - wall) - timedelta(seconds=ticks - steady)
            if abs(jumped) > JUMP:
                log.warning("view.clock.jumped", code="clock.jump", seconds=jumped.total_seconds())
                self._tell(self.composer.recompose(now))
            wall, steady = now, ticks

    async def _look_ahead(self) -> None:
        """Compose the next edge before it comes, in slices and only while there is time."""
        deadline, ticks = self.composer.next_deadline(), self._clock.monotonic()
        if deadline is None or deadline - self._clock.now() > AHEAD or ticks < self._look_again:
            return
        due = self.composer.unprepared(deadline)
        for first in range(0, len(due), SLICE):
            coming = self.composer.next_deadline()
            if coming is None or coming <= self._clock.now():
                return
            self._prepare(self.composer.prepare(due[first : first + SLICE], deadline))
            await asyncio.sleep(0)
        self._look_again = ticks + LOOK_EVERY

    def _pause(self, now: datetime) -> float:
        deadline = self.composer.next_deadline()
        if deadline is None:
            return BEAT
        return min(BEAT, max(0.0, (deadline - now).total_seconds()))

    async def _sleep_or_nudge(self, seconds: float) -> None:
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        nudged = asyncio.ensure_future(self._nudge.wait())
        try:
            await asyncio.wait({sleeper, nudged}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            nudged.cancel()

    async def advance(self) -> None:
        """Compose and publish everybody who is due by now, in slices."""
        while (deadline := self.composer.next_deadline()) is not None:
            now = self._clock.now()
            if deadline > now:
                return
            changes = self.composer.advance(now, SLICE)
            following = self.composer.next_deadline()
            more = following is not None and following <= now
            self._tell(changes, more=more)
            self._composed(len(changes), (now - deadline).total_seconds())
            await asyncio.sleep(0)
