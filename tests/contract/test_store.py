"""What every store promises. A new one joins by one line in OPENERS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.clock import Clock
from gateway.errors import LeaseLost, StoreConflict, StoreUnavailable
from gateway.stores import Batch, Change, Lease, Put, Store
from gateway.stores.sqlite import SqliteStore
from tests.clock import FakeClock

T = TypeVar("T")
Opener = Callable[[Path, Clock], Awaitable[Store]]

OPENERS: dict[str, Opener] = {
    "sqlite-file": lambda folder, clock: SqliteStore.open(f"sqlite://{folder}/state.db", clock),
    "sqlite-memory": lambda folder, clock: SqliteStore.open("sqlite://:memory:", clock),
}
SOON = 10.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=OPENERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    store = await OPENERS[request.param](tmp_path, clock)
    yield store
    await asyncio.wait_for(store.close(), SOON)


async def at_once(awaitable: Awaitable[T]) -> T:
    """The result, which must be there without waiting for anything but a turn of the event loop."""
    task = asyncio.ensure_future(awaitable)
    for _ in range(3):
        await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        pytest.fail("had to wait")
    return task.result()


async def read_until(watcher: AsyncIterator[Batch], revision: int) -> list[Change]:
    """What the watcher gets until it has everything up to the revision, after checking the order."""
    changes: list[Change] = []
    while True:
        batch = await asyncio.wait_for(anext(watcher), SOON)
        changes += batch.changes
        revisions = [change.revision for change in changes]
        assert revisions == sorted(set(revisions)), "revisions must rise"
        assert not revisions or revisions[-1] <= batch.revision
        if batch.synced and batch.revision >= revision:
            return changes


async def snapshot(store: Store) -> dict[str, bytes | None]:
    return {change.key: change.value for change in await read_until(store.watch(), 0)}


async def held(store: Store, name: str, ttl: float = 15.0) -> Lease:
    lease = await store.lease(name, ttl)
    assert lease is not None
    return lease


async def test_every_record_gets_a_higher_revision(store: Store) -> None:
    """Revisions rise with every record, in the order given, and put returns the highest."""
    first = await store.put([Put("a", b"1"), Put("b", b"1")])
    second = await store.put([Put("b", b"2"), Put("c", b"2"), Put("a", b"2")])
    changes = await read_until(store.watch(), second)
    assert [change.key for change in changes] == ["b", "c", "a"]
    assert first < changes[0].revision < changes[1].revision < changes[2].revision == second


async def test_an_identical_value_is_a_new_revision(store: Store) -> None:
    """Whoever wants to write changes only decides so; the store tells every write."""
    watcher = store.watch()
    first = await store.put([Put("a", b"same")])
    await read_until(watcher, first)
    second = await store.put([Put("a", b"same")])
    assert second > first
    assert await read_until(watcher, second) == [Change("a", b"same", second)]


async def test_an_empty_put_returns_the_revision_there_is(store: Store) -> None:
    """Nothing to write is no error and no revision."""
    revision = await store.put([Put("a", b"1")])
    assert await store.put([]) == revision


async def test_records_come_back_exactly(store: Store) -> None:
    """Keys of any script, empty values and expiry times to the microsecond survive the store."""
    expires_at = datetime(2026, 11, 20, 9, 30, 0, 123_457, tzinfo=UTC)
    revision = await store.put([Put("fact/zoë@example.com/+49 (0)", b"", expires_at), Put("b", b"\x00\xff")])
    expected = [
        Change("fact/zoë@example.com/+49 (0)", b"", revision - 1, expires_at),
        Change("b", b"\x00\xff", revision),
    ]
    assert await read_until(store.watch(), revision) == expected


async def test_a_writer_finds_its_write_with_its_watchers(store: Store) -> None:
    """When put returns, every own watcher can read the change without waiting."""
    watchers = [store.watch(), store.watch()]
    for watcher in watchers:
        await read_until(watcher, 0)
    revision = await store.put([Put("a", b"1")])
    for watcher in watchers:
        batch = await at_once(anext(watcher))
        assert (list(batch.changes), batch.revision, batch.synced) == ([Change("a", b"1", revision)], revision, True)


async def test_a_watcher_of_an_empty_store_is_synced_at_once(store: Store) -> None:
    """The first batch says that there is nothing."""
    batch = await asyncio.wait_for(anext(store.watch()), SOON)
    assert (list(batch.changes), batch.revision, batch.synced) == ([], 0, True)


async def test_an_unmet_expectation_stores_nothing_of_the_put(store: Store) -> None:
    """The conflict names the record and its revision, and the records before it in the put are not written."""
    revision = await store.put([Put("b", b"1")])
    for expect in (0, revision + 1):
        with pytest.raises(StoreConflict) as caught:
            await store.put([Put("a", b"1"), Put("b", b"2", expect=expect), Put("c", b"1")])
        assert (caught.value.key, caught.value.revision) == ("b", revision)
    with pytest.raises(StoreConflict) as caught:
        await store.put([Put("x", b"1", expect=revision)])
    assert (caught.value.key, caught.value.revision) == ("x", 0)
    assert await snapshot(store) == {"b": b"1"}


async def test_a_met_expectation_writes(store: Store) -> None:
    """0 creates, the current revision replaces and deletes, and after that 0 creates again."""
    revision = await store.put([Put("a", b"1", expect=0)])
    revision = await store.put([Put("a", b"2", expect=revision)])
    await store.put([Put("a", None, expect=revision)])
    await store.put([Put("a", b"3", expect=0)])
    assert await snapshot(store) == {"a": b"3"}


async def test_one_conflict_hurts_nobody_else(store: Store) -> None:
    """Of many puts at the same time only those with an unmet expectation fail, and of two rivals one wins."""
    puts = [store.put([Put(f"k{n}", b"1", expect=7 if n % 10 == 3 else None)]) for n in range(100)]
    rivals = [store.put([Put("prize", b"%d" % n, expect=0)]) for n in range(10)]
    results = await asyncio.gather(*puts, *rivals, return_exceptions=True)
    failed = [n for n, result in enumerate(results[:100]) if isinstance(result, StoreConflict)]
    assert failed == list(range(3, 100, 10))
    assert sum(isinstance(result, int) for result in results[100:]) == 1
    assert len(await snapshot(store)) == 91


async def test_a_delete_is_told_and_then_forgotten(store: Store) -> None:
    """Live watchers are told of a delete, later ones never hear of the record, and its revision is not used again."""
    watcher = store.watch()
    written = await store.put([Put("a", b"1"), Put("b", b"1")])
    await read_until(watcher, written)
    deleted = await store.put([Put("a", None)])
    assert await read_until(watcher, deleted) == [Change("a", None, deleted)]
    assert await snapshot(store) == {"b": b"1"}
    assert await store.put([Put("c", b"1")]) > deleted > written


async def test_a_snapshot_comes_in_chunks(store: Store) -> None:
    """No batch holds more than 5,000 records, and only the last one is synced."""
    for start in range(0, 12_000, 2_000):
        revision = await store.put([Put(f"k{n}", b"%d" % n) for n in range(start, start + 2_000)])
    watcher = store.watch()
    batches = [await asyncio.wait_for(anext(watcher), SOON) for _ in range(3)]
    assert [(len(batch.changes), batch.synced) for batch in batches] == [(5_000, False), (5_000, False), (2_000, True)]
    assert [batch.revision for batch in batches] == [batch.changes[-1].revision for batch in batches]
    assert batches[-1].revision == revision


async def test_nothing_is_lost_or_doubled_between_snapshot_and_live(store: Store) -> None:
    """Watchers that join while many write end with exactly what was written, each revision seen once."""
    latest: dict[str, tuple[int, bytes | None]] = {}

    async def write(writer: int) -> None:
        for n in range(60):
            if writer == 0 and n % 6 == 0:
                followers.append(tasks.create_task(follow()))
            key, value = f"k{(writer * 7 + n) % 40}", None if n % 9 == 8 else b"%d.%d" % (writer, n)
            revision = await store.put([Put(key, value)])
            latest[key] = max(latest.get(key, (0, None)), (revision, value), key=lambda pair: pair[0])

    async def follow() -> dict[str, bytes | None]:
        view: dict[str, bytes | None] = {}
        seen = 0
        watcher = store.watch()
        while "last" not in view:
            batch = await asyncio.wait_for(anext(watcher), SOON)
            for change in batch.changes:
                assert change.revision > seen
                seen = change.revision
                view[change.key] = change.value
        return {key: value for key, value in view.items() if value is not None}

    followers: list[asyncio.Task[dict[str, bytes | None]]] = []
    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(write(writer)) for writer in range(16)]
        await asyncio.wait(writers, timeout=60)
        latest["last"] = (await store.put([Put("last", b"1")]), b"1")
    expected = {key: value for key, (_, value) in latest.items() if value is not None}
    assert [follower.result() for follower in followers] == [expected] * 10


async def test_a_slow_watcher_gets_the_newest_per_key(store: Store) -> None:
    """However much happens while nobody reads, a watcher is left with one change per key, in revision order."""
    watcher = store.watch()
    await read_until(watcher, 0)
    await asyncio.gather(*(store.put([Put(f"k{n % 5}", b"%d" % n)]) for n in range(500)))
    revision = await store.put([Put("k1", None)])
    batch = await at_once(anext(watcher))
    assert [(change.key, change.value) for change in batch.changes] == [
        ("k0", b"495"),
        ("k2", b"497"),
        ("k3", b"498"),
        ("k4", b"499"),
        ("k1", None),
    ]
    assert (batch.revision, batch.synced) == (revision, True)


async def test_a_cancelled_put_hurts_nobody_else(store: Store) -> None:
    """Callers may be cancelled at any time; the other puts and the watchers go on."""
    watcher = store.watch()
    tasks = [asyncio.create_task(store.put([Put(f"k{n}", b"1")])) for n in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, int) for result in results[1::2])
    revision = await store.put([Put("after", b"1")])
    keys = {change.key for change in await read_until(watcher, revision)}
    assert keys >= {f"k{n}" for n in range(1, 50, 2)} | {"after"}


async def test_a_lease_has_one_holder(store: Store) -> None:
    """While it is held nobody else gets it; other names are free."""
    await held(store, "mailboxes/1")
    assert await store.lease("mailboxes/1", 15.0) is None
    await held(store, "mailboxes/2")


async def test_a_released_lease_is_free_at_once(store: Store) -> None:
    """The next holder has a higher epoch, and releasing again does nothing to it."""
    first = await held(store, "a")
    await first.release()
    second = await held(store, "a")
    assert second.epoch > first.epoch
    await first.release()
    assert await store.lease("a", 15.0) is None
    assert not second.lost.is_set()
    with pytest.raises(LeaseLost):
        await first.renew()


async def test_a_lease_that_is_renewed_is_kept(store: Store, clock: FakeClock) -> None:
    """Each renewal counts from the moment it is made."""
    lease = await held(store, "a", ttl=15.0)
    for _ in range(5):
        await clock.advance(10.0)
        await lease.renew()
    assert await store.lease("a", 15.0) is None
    assert not lease.lost.is_set()


async def test_a_lease_that_is_not_renewed_is_lost(store: Store, clock: FakeClock) -> None:
    """When its time has run out the holder is told, cannot renew, and cannot disturb the next one."""
    first = await held(store, "a", ttl=15.0)
    await clock.advance(14.9)
    assert not first.lost.is_set()
    await clock.advance(0.2)
    await asyncio.wait_for(first.lost.wait(), SOON)
    second = await held(store, "a")
    assert second.epoch > first.epoch
    with pytest.raises(LeaseLost):
        await first.renew()
    await first.release()
    await second.renew()
    assert await store.lease("a", 15.0) is None


async def test_of_many_who_want_a_lease_one_gets_it(store: Store) -> None:
    """Asking at the same time makes no second holder."""
    leases = await asyncio.gather(*(store.lease("a", 15.0) for _ in range(20)))
    assert sum(lease is not None for lease in leases) == 1


async def test_close_finishes_what_was_accepted(store: Store) -> None:
    """Puts on their way are stored and told, then every watcher ends and every lease is lost."""
    watcher, lease = store.watch(), await held(store, "a")
    puts = [asyncio.create_task(store.put([Put(f"k{n}", b"1")])) for n in range(100)]
    await asyncio.sleep(0)
    await asyncio.wait_for(store.close(), SOON)
    assert len({await put for put in puts}) == 100
    keys = {change.key async for batch in watcher for change in batch.changes}
    assert keys == {f"k{n}" for n in range(100)}
    assert lease.lost.is_set()


async def test_close_ends_a_waiting_watcher(store: Store) -> None:
    """Nobody is left waiting for ever."""
    watcher = store.watch()
    await read_until(watcher, 0)
    waiting = asyncio.ensure_future(anext(watcher))
    await asyncio.gather(store.close(), store.close())
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, SOON)


async def test_a_closed_store_accepts_nothing(store: Store) -> None:
    """Closing twice is fine; writing afterwards is refused and watching ends at once."""
    lease = await held(store, "a")
    await store.close()
    await store.close()
    for attempt in (store.put([Put("a", b"1")]), store.lease("b", 1.0)):
        with pytest.raises(StoreUnavailable) as caught:
            await attempt
        assert caught.value.code == "store.closed"
    with pytest.raises(LeaseLost):
        await lease.renew()
    await lease.release()
    assert [batch async for batch in store.watch()] == []
