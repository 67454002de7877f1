"""Readings: what calendar sources read becomes facts, and only what is new is written.

A schedule equal to the known one costs no write; that it was confirmed is kept per bucket of people and written at most
once a minute (and at once when nothing was written for longer, so that recovered calendars stop being stale).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from gateway.clock import Clock
from gateway.core.evidence import opted_in
from gateway.core.model import Fact, Kind, Schedule
from gateway.errors import StoreUnavailable
from gateway.records import bucket_of, confirmed_key, confirmed_put, fact_key, fact_put
from gateway.stores import Put, Store
from gateway.view import View

SCHEDULE: Final = "schedule"
"""The key of a calendar source's one fact about a person."""
WRITE_EVERY: Final = 60.0
"""Seconds between two writes of one bucket's confirmations."""
FLUSH_EVERY: Final = 5.0
"""Seconds between two looks for buckets that may be written."""


class Readings:
    """The port `gateway.sources.Report`, over one store and this replica's view."""

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._confirmed: dict[tuple[str, int], dict[str, datetime]] = {}
        self._seeded: set[str] = set()
        self._dirty: set[tuple[str, int]] = set()
        self._written: dict[tuple[str, int], float] = {}

    async def schedules(self, source: str, read: Mapping[str, Schedule], at: datetime) -> None:
        """These people's calendars were read at that instant; returns when what changed is durable."""
        puts = []
        for person, schedule in read.items():
            if not self._wanted(person):
                continue
            known = self._view.composer.facts(person).get((source, SCHEDULE))
            if known is None or known.value != schedule:
                fact = Fact(person, Kind.CALENDAR, source, SCHEDULE, 0, schedule, schedule.window_start, at)
                puts.append(fact_put(fact))
                puts += self._former(person, source)
            else:
                self._confirm(source, person, at)
        if puts:
            await self._view.reached(await self._store.put(puts))

    async def withdraw(self, source: str, person: str) -> None:
        """The calendar may no longer be read (right lost, mailbox gone, opted out): forget it."""
        puts = self._unconfirmed(source, person)
        if (source, SCHEDULE) in self._view.composer.facts(person):
            puts.append(Put(fact_key(person, source, SCHEDULE), None))
        if puts:
            await self._view.reached(await self._store.put(puts))

    async def forget(self, person: str) -> None:
        """Erase that this person's calendar was ever confirmed."""
        puts = [put for source in self._view.composer.confirming(person) for put in self._unconfirmed(source, person)]
        if puts:
            await self._view.reached(await self._store.put(puts))

    async def run(self) -> None:
        """Write confirmations until cancelled."""
        while True:
            await self._clock.sleep(FLUSH_EVERY)
            await self.flush()

    async def flush(self, *, everything: bool = False) -> None:
        """Write the buckets whose last write is long enough ago; all of them with `everything`."""
        steady = self._clock.monotonic()
        due = [
            bucket
            for bucket in sorted(self._dirty)
            if everything or steady - self._written.get(bucket, -WRITE_EVERY) >= WRITE_EVERY
        ]
        if not due:
            return
        puts = [self._put(bucket) for bucket in due]
        self._dirty.difference_update(due)  # what is confirmed while this is being written makes them dirty again
        try:
            await self._store.put(puts)
        except StoreUnavailable:
            self._dirty.update(due)  # the store tells of it itself
            return
        self._written.update(dict.fromkeys(due, steady))

    def _wanted(self, person: str) -> bool:
        """Whether the person still exists and consents: an answer may arrive after that has changed."""
        composer = self._view.composer
        evidence = composer.evidence(person)
        return evidence is not None and opted_in(evidence.person, evidence.preferences, composer.policy)

    def _former(self, person: str, source: str) -> list[Put]:
        """Schedules of servers the person was moved away from: this reading replaces them."""
        facts = self._view.composer.facts(person)
        return [
            Put(fact_key(person, former, key), None) for former, key in facts if key == SCHEDULE and former != source
        ]

    def _confirm(self, source: str, person: str, at: datetime) -> None:
        bucket = (source, bucket_of(person))
        self._bucket(bucket)[person] = at
        self._dirty.add(bucket)

    def _unconfirmed(self, source: str, person: str) -> list[Put]:
        """The person's bucket without the person, if it was in there."""
        bucket = (source, bucket_of(person))
        if self._bucket(bucket).pop(person, None) is None:
            return []
        self._dirty.add(bucket)  # should this write fail, the next flush makes up for it
        return [self._put(bucket)]

    def _bucket(self, bucket: tuple[str, int]) -> dict[str, datetime]:
        """The bucket's confirmations, what was in the store at the start included."""
        source, _ = bucket
        if source not in self._seeded:
            self._seeded.add(source)
            for known, confirmed in self._view.composer.confirmed(source).items():
                self._confirmed.setdefault((source, bucket_of(known)), {})[known] = confirmed
        return self._confirmed.setdefault(bucket, {})

    def _put(self, bucket: tuple[str, int]) -> Put:
        """The bucket's confirmations, without people who are gone; nothing if nobody is left."""
        kept = self._confirmed[bucket]
        for person in [person for person in kept if not self._wanted(person)]:
            del kept[person]
        return confirmed_put(*bucket, kept) if kept else Put(confirmed_key(*bucket), None)
