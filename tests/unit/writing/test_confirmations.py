"""Confirmations of calendars under way to the store: none is forgotten, and none outlives its person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from gateway.core.model import Schedule
from gateway.errors import StoreUnavailable
from gateway.reading import Readings
from gateway.records import bucket_of, confirmed_key, confirmed_put
from gateway.stores import Batch, Lease, Put, Revision, Store
from tests.unit.writing.conftest import ANN, BEN, NINE, PEOPLE, Desk

FREE = Schedule(NINE - timedelta(hours=9), NINE + timedelta(hours=39), ())


class SlowStore:
    """A store whose writes wait until they are let go, or fail."""

    def __init__(self, store: Store) -> None:
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.broken = False
        self._store = store

    @property
    def identity(self) -> str:
        """The store's own."""
        return self._store.identity

    async def put(self, puts: Sequence[Put]) -> Revision:
        """As the store does, but later."""
        await self.let_go.wait()
        if self.broken:
            raise StoreUnavailable("the disk is full", code="store.disk_full")
        return await self._store.put(puts)

    def watch(self) -> AsyncIterator[Batch]:
        """As the store does."""
        return self._store.watch()

    async def lease(self, name: str, ttl: float) -> Lease | None:
        """As the store does."""
        return await self._store.lease(name, ttl)

    async def close(self) -> None:
        """As the store does."""


async def test_what_is_confirmed_during_a_write_is_written_next(desk: Desk) -> None:
    """A reading that ends while the bucket is on its way to the disk is not lost when no other one follows."""
    store = SlowStore(desk.store)
    readings = Readings(store, desk.view, desk.clock)
    await readings.schedules("hq", {ANN: FREE}, NINE)
    await readings.schedules("hq", {ANN: FREE}, NINE + timedelta(seconds=1))
    store.let_go.clear()
    writing = asyncio.create_task(readings.flush())
    await desk.clock.settle()
    last = NINE + timedelta(seconds=2)
    await readings.schedules("hq", {ANN: FREE}, last)
    store.let_go.set()
    await writing
    await desk.clock.advance(60)
    await readings.flush()
    await desk.clock.settle()
    assert desk.view.composer.confirmed("hq") == {ANN: last}


async def test_a_confirmation_that_could_not_be_written_is_written_later(desk: Desk) -> None:
    """A store that fails for a while costs nothing but time."""
    store = SlowStore(desk.store)
    readings = Readings(store, desk.view, desk.clock)
    await readings.schedules("hq", {ANN: FREE}, NINE)
    last = NINE + timedelta(seconds=1)
    await readings.schedules("hq", {ANN: FREE}, last)
    store.broken = True
    await readings.flush()
    assert desk.view.composer.confirmed("hq") == {}
    store.broken = False
    await readings.flush()
    await desk.clock.settle()
    assert desk.view.composer.confirmed("hq") == {ANN: last}


async def test_who_was_only_ever_confirmed_is_a_stranger_too_and_can_be_forgotten(desk: Desk) -> None:
    """A record that names somebody who left the directory is found, and erased."""
    bucket = bucket_of(ANN)
    desk.view.set_people([person for person in PEOPLE if person.id != ANN])
    await desk.view.reached(await desk.store.put([confirmed_put("hq", bucket, {ANN: NINE})]))
    assert desk.view.composer.strangers() == [ANN]
    await desk.readings.forget(ANN)
    assert desk.view.record(confirmed_key("hq", bucket)) == (None, 0)
    await desk.ingest.erase(ANN)
    assert desk.view.composer.strangers() == []


async def test_a_withdrawn_calendar_leaves_no_confirmation(desk: Desk) -> None:
    """Opting out erases when the calendar was read as well as what was in it; neighbours keep theirs."""
    later = NINE + timedelta(minutes=10)
    await desk.readings.schedules("hq", {ANN: FREE, BEN: FREE}, NINE)
    await desk.readings.schedules("hq", {ANN: FREE, BEN: FREE}, later)
    await desk.readings.flush()
    await desk.clock.settle()
    await desk.readings.withdraw("hq", ANN)
    records = {bucket: desk.view.record(confirmed_key("hq", bucket))[0] for bucket in (bucket_of(ANN), bucket_of(BEN))}
    assert [bucket for bucket, value in records.items() if value is not None and ANN.encode() in value] == []
    assert BEN.encode() in (records[bucket_of(BEN)] or b"")
