"""Hub: from changed presences to the bytes of every stream, and to those who poll.

Everything runs on the event loop. A change is encoded once per level in use (`ledger`), subscribers with the same view
share an audience (`gallery`), and one that cannot keep up has at most one frame per person, the newest (`delivery`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from gateway.clock import Clock
from gateway.core.model import Level, Presence
from gateway.web import frames
from gateway.web.audience import SYNCED, Outlet, Subscriber
from gateway.web.delivery import Delivery, Stats
from gateway.web.gallery import Gallery
from gateway.web.ledger import Doc, Ledger
from gateway.web.ports import Directory, Limits, Reader
from gateway.web.views import StreamId, View

__all__ = ["Delta", "Doc", "Hub", "Stats", "View"]

POLLED: Final = 120.0
"""Seconds for which somebody who polled counts as watching."""
CATCH_UP: Final = 5.0
"""Seconds to wait for news that a client had from another replica."""


@dataclass(frozen=True, slots=True)
class Delta:
    """An answer to a poll: documents sorted by person, who was asked for and is not there, who left, and the id to
    ask with next time. `reset`: the id asked with was of no use, so these are all."""

    docs: list[bytes]
    missing: list[str]
    gone: list[str]
    id: str
    reset: bool

    @property
    def news(self) -> bool:
        """Whether anything happened."""
        return bool(self.docs or self.gone or self.reset)


class Hub:
    """The reading side's memory. `process` is a random token of this process: [A-Za-z0-9_-]{1,64}."""

    def __init__(self, clock: Clock, *, process: str, limits: Limits, random: Random) -> None:
        self.process = process
        self.limits = limits
        self._clock = clock
        self._random = random
        self._ledger = Ledger()
        self._gallery = Gallery(self._ledger, process)
        self._delivery = Delivery(clock, limits, random, self._ledger, self._gallery)
        self._revised = asyncio.Event()
        self.on_watch: Callable[[Sequence[str]], None] = lambda people: None
        """Called with people whom nobody watched until now, or nobody for a while; `watched` tells of them already."""

    @property
    def revision(self) -> int:
        """The newest store revision seen."""
        return self._ledger.revision

    @property
    def subscribers(self) -> int:
        """Open streams."""
        return len(self._delivery.streams)

    @property
    def stats(self) -> Stats:
        """Counters since the start."""
        return self._delivery.stats

    def prepare(self, presences: Iterable[Presence]) -> None:
        """Encode ahead what `publish` will be given as these very objects, so that an edge costs less when it comes."""
        for presence in presences:
            self._ledger.prepare(presence)

    def publish(self, changes: Iterable[Presence], revision: int, *, more: bool = False) -> None:
        """Take changed presences, true at that store revision.

        `more`: another slice of the same burst follows at once, so that a subscriber may get all of it in one write;
        after 100 ms nobody waits for it any longer.
        """
        ledger, tell = self._ledger, self._delivery.tell
        if revision > ledger.revision:
            ledger.revision = revision
            self._revised.set()
            self._revised.clear()
        for presence in changes:
            for shown in ledger.change(presence, ledger.revision):
                tell(shown)
        self._delivery.wake(more=more)

    def set_directory(self, directory: Directory) -> None:
        """Another directory: who is no longer in it is forgotten, and every view sees who came and who went."""
        for audience in self._gallery.move(directory):
            self._delivery.tell_moves(audience)
        self._delivery.wake()

    def document(self, person: str, level: Level) -> Doc | None:
        """The newest document of that person (lower-case id); None if there is none."""
        entry = self._ledger.listed(person)
        if entry is None:
            return None
        now = self._clock.monotonic()
        before, entry.polled = entry.polled, now
        if now - before > POLLED:
            self.on_watch([person])
        return entry.at(level).doc()

    def snapshot(self, view: View, since: str | None) -> Delta:
        """What a view shows now, or what changed in it since the id of an earlier answer or event."""
        start = self._resume(view, since)
        after = -1 if start is None else start
        now = self._clock.monotonic()
        docs, present, begun = [], set(), []
        for person in self._gallery.people(view):
            entry = self._ledger.entry(person)
            if now - entry.polled > POLLED:
                begun.append(person)
            entry.polled = now
            shown = entry.at(view.level(person))
            if shown.frame:
                present.add(person)
                if shown.placed > after:
                    docs.append(shown.body)
        if begun:
            self.on_watch(begun)
        return Delta(
            docs=docs,
            missing=[person for person in view.people or () if person not in present],
            gone=[] if start is None else sorted(self._ledger.departed(view, start)),
            id=str(StreamId(self.process, view.key, self._ledger.n, self.revision)),
            reset=start is None and bool(since),
        )

    async def wait_document(self, person: str, level: Level, etag: str, timeout: float) -> Doc | None:
        """The document once its tag differs from `etag` (a strong tag).

        None after `timeout` seconds, on `close`, or as soon as there is no such person.
        """
        reader = Reader("", frozenset(), level, person=person if level is Level.SELF else None)
        found: Doc | None = None

        def differs() -> bool:
            nonlocal found
            found = self.document(person, level)
            return found is None or found.etag != etag

        return found if await self._wait(View(reader, (person,)), differs, timeout) else None

    async def wait_view(self, view: View, since: str | None, timeout: float) -> Delta:
        """What changed in a view since that id, as soon as there is something, at the latest after `timeout` s."""
        await self.reached(since, min(timeout, CATCH_UP))
        delta = self.snapshot(view, since)

        def news() -> bool:
            nonlocal delta
            delta = self.snapshot(view, since)
            return delta.news

        if since and not delta.news:
            await self._wait(view, news, timeout)
        return delta

    async def reached(self, since: str | None, timeout: float = CATCH_UP) -> None:
        """Until this replica has seen the revision of an id that another process gave out, or `timeout` s passed."""
        seen = StreamId.parse(since) if since else None
        if seen is None or seen.process == self.process:
            return
        deadline = self._clock.monotonic() + timeout
        while self.revision < seen.revision and not self._delivery.closing.is_set():
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            await self._delivery.either(self._revised.wait(), left)

    def watched(self, person: str) -> bool:
        """Whether somebody has a stream or a long poll open on that person, or polled in the last two minutes."""
        entry = self._ledger.find(person)
        if entry is None:
            return False
        if any(shown.audiences for shown in entry.shown.values()):
            return True
        return self._clock.monotonic() - entry.polled <= POLLED

    def subscribe(
        self,
        view: View,
        outlet: Outlet,
        since: str | None = None,
        still_valid: Callable[[Reader], bool] | None = None,
    ) -> Subscriber:
        """Begin a stream: what it missed (or `reset` and everything), `synced`, and from then on every change.

        Wait for `reached(since)` first. `still_valid` is asked every few seconds; the stream ends when it says no.
        """
        subscriber = self._join(view, outlet, still_valid)
        ledger, start = self._ledger, self._resume(view, since)
        head = frames.retry(self._random)
        if since and start is None:
            head += frames.RESET
            self.stats.resets += 1
        people = subscriber.audience.shown
        for shown in ledger.numbered(view, people, -1 if start is None else start):
            subscriber.backlog[shown.person] = shown.frame
        ledger.n += 1
        subscriber.backlog[SYNCED] = frames.synced(ledger.n, ledger.revision)
        self._delivery.open(subscriber, head)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """The connection is gone, or is to be left alone; a second time nothing happens."""
        self._delivery.leave(subscriber)

    def pause(self, subscriber: Subscriber) -> None:
        """The outlet could not pass on everything: nothing more is written until `resume`."""
        self._delivery.pause(subscriber)

    def resume(self, subscriber: Subscriber) -> None:
        """The outlet is empty again."""
        self._delivery.resume(subscriber)

    async def run(self) -> None:
        """Deliver until `close`, or until cancelled; whatever goes wrong in there is a bug and is raised here."""
        await self._delivery.run()

    async def close(self, drain: float) -> None:
        """Say `bye` to all and end the streams spread over `drain` seconds; waiting polls return at once."""
        await self._delivery.close(drain)

    def _join(self, view: View, outlet: Outlet, still_valid: Callable[[Reader], bool] | None) -> Subscriber:
        """Into an audience with nothing due: what little is due to the newest one is sent first."""
        self._delivery.start()
        begun = [person for person in self._gallery.people(view) if not self.watched(person)]
        audience = self._gallery.newest(view)
        if audience is not None and not audience.rest:
            self._delivery.send(audience, self._ledger.n)
        subscriber = self._gallery.admit(view, outlet, still_valid)
        if begun:
            self.on_watch(begun)
        return subscriber

    def _resume(self, view: View, since: str | None) -> int | None:
        """The change number to go on from; None if there is none or it is of no use."""
        seen = StreamId.parse(since) if since else None
        if seen is None or (seen.process, seen.view) != (self.process, view.key):
            return None
        return seen.n if self._ledger.remembers(seen.n) else None

    async def _wait(self, view: View, happened: Callable[[], bool], timeout: float) -> bool:
        """Until it happened, asked anew after each change in the view; False after `timeout` seconds."""
        if happened():
            return True
        bell = _Bell()
        deadline = self._clock.monotonic() + timeout
        subscriber = self._join(view, bell, None)
        try:
            while not self._delivery.closing.is_set() and (left := deadline - self._clock.monotonic()) > 0:
                await self._delivery.either(bell.rung.wait(), left)
                bell.rung.clear()
                if happened():
                    return True
            return False
        finally:
            self.leave(subscriber)


class _Bell:
    """The outlet of a long poll: any news rings it."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()

    def attach(self, subscriber: Subscriber) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.rung.set()

    def unsent(self) -> int:
        return 0

    def close(self) -> None:
        self.rung.set()

    def abort(self) -> None:
        self.rung.set()
