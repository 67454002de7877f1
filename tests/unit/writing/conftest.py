"""A gateway without sources and web: store in memory, view, and the writing side, on a clock of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from gateway.core.document import Document, document
from gateway.core.model import Level, Person, Policy, Presence
from gateway.guard import LogonGuard
from gateway.ingest import Ingest
from gateway.reading import Readings
from gateway.stores.sqlite import SqliteStore
from gateway.view import View
from tests.clock import FakeClock

NINE = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
ANN, BEN = "ann@example.com", "ben@example.com"
PEOPLE = (
    Person(ANN, "Ann Archer", calendar="hq", mailbox=ANN, calendar_opt_in=True),
    Person(BEN, "Ben Baker", calendar="hq", mailbox=BEN, calendar_opt_in=True),
)


@dataclass
class Desk:
    """The parts, and what was published in order."""

    clock: FakeClock
    store: SqliteStore
    view: View
    ingest: Ingest
    readings: Readings
    guard: LogonGuard
    published: list[Presence] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)

    def shows(self, person: str) -> Document:
        """The person's document at level self."""
        presence = self.view.composer.presence(person)
        assert presence is not None
        return document(presence, Level.SELF)

    def label(self, person: str) -> str:
        """The effective label."""
        return str(self.shows(person)["effective"]["label"])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A running desk at nine o'clock."""
    clock = FakeClock(NINE)
    store = await SqliteStore.open("sqlite://:memory:", clock)
    published: list[Presence] = []
    chosen: list[str] = []

    def publish(changes: Sequence[Presence], revision: int, *, more: bool) -> None:
        published.extend(changes)

    view = View(store, Policy(), clock, publish, chosen.append)
    running = asyncio.create_task(view.run())
    view.set_people(PEOPLE)
    await asyncio.wait_for(view.synced.wait(), 5)
    yield Desk(
        clock,
        store,
        view,
        Ingest(store, view, clock),
        Readings(store, view, clock),
        LogonGuard(store, view, clock),
        published,
        chosen,
    )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()
