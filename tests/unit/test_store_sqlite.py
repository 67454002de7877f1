"""What the SQLite store promises beyond the port: its file, its background work, its bounds."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError, GatewayError, LeaseLost, StoreConflict, StoreUnavailable
from gateway.stores import Put
from gateway.stores.sqlite import PENDING_BYTES, PENDING_PUTS, SqliteStore
from gateway.stores.sqlite_file import WAL_LIMIT
from gateway.stores.sqlite_records import prepare, write_records
from gateway.stores.sqlite_writer import Outcome, Read, Transaction, Write
from tests.clock import FakeClock

SOON = 10.0

# The first schema with a little in it, as written by the first release. Never edit: files like this exist.
FIRST_SCHEMA = """
CREATE TABLE store (identity TEXT NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE record (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL,
                     expires_at INTEGER, value BLOB NOT NULL);
CREATE TABLE lease (name TEXT PRIMARY KEY, owner TEXT, epoch INTEGER NOT NULL, expires_at INTEGER NOT NULL);
INSERT INTO store VALUES ('0123456789abcdef', 41);
INSERT INTO record VALUES (7, 'a', 40, 1795165200000001, x'ff00'), (3, 'b', 12, NULL, x'');
INSERT INTO lease VALUES ('shard', 'somebody', 5, 9999999999000000);
PRAGMA application_id = 1346852691;
PRAGMA user_version = 1;
"""


def make_file(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


async def open_file(folder: Path, clock: FakeClock | None = None, **options: Any) -> SqliteStore:
    return await SqliteStore.open(f"sqlite://{folder}/state.db", clock or FakeClock(), **options)


def modes(folder: Path) -> dict[str, int]:
    """The permissions of each file."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def contents(store: SqliteStore) -> list[tuple[str, bytes | None, int]]:
    found: list[tuple[str, bytes | None, int]] = []
    async for batch in store.watch():
        found += [(change.key, change.value, change.revision) for change in batch.changes]
        if batch.synced:
            break
    return found


async def in_writer(store: SqliteStore, run: Callable[[Transaction], Any]) -> Any:
    """Run something on the store's own connection, as one write."""
    return await asyncio.wait_for(store._submit(run), SOON)


def pragma(name: str) -> Callable[[Transaction], Any]:
    return lambda transaction: transaction.connection.execute(f"PRAGMA {name}").fetchone()[0]


class Gate:
    """Holds the writer thread in a read until opened, as a disk that hangs would."""

    def __init__(self, store: SqliteStore) -> None:
        self._held = threading.Event()
        store._writer.submit(Read(lambda _: self._hold(), lambda *_: None))

    def _hold(self) -> list[Any]:
        assert self._held.wait(SOON)
        return []

    def open(self) -> None:
        self._held.set()


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    """Records, revisions and the identity are the file's, and a revision is not used again after a delete."""
    store = await open_file(tmp_path)
    identity = store.identity
    await store.put([Put("a", b"1"), Put("b", b"2")])
    deleted = await store.put([Put("b", None)])
    await store.close()
    store = await open_file(tmp_path)
    assert store.identity == identity
    assert await contents(store) == [("a", b"1", 1)]
    assert await store.put([]) == deleted == 3
    assert await store.put([Put("c", b"3")]) == 4
    await store.close()


async def test_every_new_store_has_its_own_identity(tmp_path: Path) -> None:
    """Two stores are never taken for one another."""
    (tmp_path / "other").mkdir()
    stores = [await open_file(tmp_path), await open_file(tmp_path / "other")]
    stores += [await SqliteStore.open(url, FakeClock()) for url in ("sqlite://:memory:", "sqlite:///:memory:")]
    assert len({store.identity for store in stores}) == 4
    for store in stores:
        await store.close()


async def test_the_file_is_durable_and_private(tmp_path: Path) -> None:
    """WAL with full syncs and a bounded log, and files only the owner can read."""
    store = await open_file(tmp_path)
    await store.put([Put("a", b"1")])
    found = [await in_writer(store, pragma(name)) for name in ("journal_mode", "synchronous", "journal_size_limit")]
    assert found == ["wal", 2, WAL_LIMIT]
    assert modes(tmp_path) == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm", "state.db.lock"), 0o600)
    await store.close()


async def test_a_file_of_the_first_release_opens(tmp_path: Path) -> None:
    """The first schema is migrated with everything in it; its orphaned lease is free and its epoch goes on."""
    make_file(tmp_path / "state.db", FIRST_SCHEMA)
    store = await open_file(tmp_path)
    assert store.identity == "0123456789abcdef"
    assert await contents(store) == [("b", b"", 12), ("a", b"\xff\x00", 40)]
    assert await store.put([Put("c", b"1")]) == 42
    lease = await store.lease("shard", 15.0)
    assert lease is not None
    assert lease.epoch == 6
    await store.close()


async def test_a_new_file_has_the_newest_schema(tmp_path: Path) -> None:
    """Creating and migrating lead to the same tables."""
    make_file(tmp_path / "state.db", FIRST_SCHEMA)
    (tmp_path / "new").mkdir()
    shapes = []
    for folder in (tmp_path, tmp_path / "new"):
        await (await open_file(folder)).close()
        connection = sqlite3.connect(folder / "state.db")
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]
        columns = [connection.execute(f"PRAGMA table_info({table})").fetchall() for table in tables]
        shapes.append((tables, columns, connection.execute("PRAGMA user_version").fetchone()))
        connection.close()
    assert shapes[0] == shapes[1]


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    """After a downgrade the store refuses, rather than guess."""
    make_file(tmp_path / "state.db", FIRST_SCHEMA + "PRAGMA user_version = 999;")
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(StoreUnavailable) as caught:
        await open_file(tmp_path)
    assert caught.value.code == "store.too_new"
    assert (tmp_path / "state.db").read_bytes() == before


async def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A mistyped path is a configuration fault, not damage."""
    make_file(tmp_path / "state.db", "CREATE TABLE precious (data);")
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(ConfigError, match="another program"):
        await open_file(tmp_path)
    assert (tmp_path / "state.db").read_bytes() == before


@pytest.mark.parametrize("url", ["state.db", "/var/lib/state.db", "sqlite:state.db", "sqlite://state.db", "nats://x"])
async def test_a_bad_url_is_a_configuration_fault(url: str) -> None:
    """The message shows how to write it."""
    with pytest.raises(ConfigError, match="sqlite:///"):
        await SqliteStore.open(url, FakeClock())


async def test_a_value_that_is_no_record_fails_its_caller_only(tmp_path: Path) -> None:
    """Bad arguments never reach the writer, and the next put works."""
    store, clock = await open_file(tmp_path), FakeClock()
    naive = clock.now().replace(tzinfo=None)
    bad: list[Put] = [Put("\ud800", b""), Put("a", b"", naive), Put("a", "text")]  # type: ignore[arg-type]
    for put in bad:
        with pytest.raises((ValueError, TypeError)):
            await store.put([Put("before", b"1"), put])
    assert await store.put([Put("a", b"1")]) == 1
    await store.close()


async def test_a_bug_in_one_write_undoes_that_write_only(tmp_path: Path) -> None:
    """Another write of the same group keeps what it wrote; the broken one leaves nothing behind."""
    store = await open_file(tmp_path)

    def broken(transaction: Transaction) -> None:
        transaction.connection.execute("DELETE FROM record")
        raise ZeroDivisionError

    await store.put([Put("a", b"1")])
    gate = Gate(store)
    writes = [store.put([Put("b", b"1")]), in_writer(store, broken), store.put([Put("c", b"1")])]
    results = asyncio.gather(*writes, return_exceptions=True)
    await asyncio.sleep(0)
    gate.open()
    first, failure, last = await asyncio.wait_for(results, SOON)
    assert (first, last) == (2, 3)
    assert isinstance(failure, ZeroDivisionError)
    assert [key for key, _, _ in await contents(store)] == ["a", "b", "c"]
    await store.close()


async def test_what_waits_together_is_committed_together(tmp_path: Path) -> None:
    """Puts queued while the writer is busy share one transaction; a conflict among them undoes only itself."""
    store = await open_file(tmp_path)
    groups: list[int] = []
    deliver = store._writer._deliver

    def count(outcome: Outcome) -> None:
        groups.append(len(outcome.settled))
        deliver(outcome)

    store._writer._deliver = count
    gate = Gate(store)
    puts = [store.put([Put("x", b"1"), Put(f"k{n}", b"1", expect=5 if n == 8 else None)]) for n in range(64)]
    results = asyncio.gather(*puts, return_exceptions=True)
    await asyncio.sleep(0)
    gate.open()
    outcomes = await asyncio.wait_for(results, SOON)
    assert sum(groups) == 64
    assert len(groups) <= 2  # the gate's own turn may take the first of them along
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, StoreConflict)] == [8]
    await store.close()


async def test_too_much_waiting_is_refused(tmp_path: Path) -> None:
    """The queue is bounded in puts and in bytes; what was accepted is still done, and then there is room again."""
    store = await open_file(tmp_path)
    for count, size in ((PENDING_PUTS, 1), (4, PENDING_BYTES // 4)):
        gate = Gate(store)
        puts = [asyncio.ensure_future(store.put([Put(f"k{n}", bytes(size))])) for n in range(count)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable) as caught:
            await store.put([Put("one too many", b"1")])
        assert caught.value.code == "store.slow"
        gate.open()
        await asyncio.wait_for(asyncio.gather(*puts), 6 * SOON)
        await store.put([Put("room again", b"1")])
    await store.close()


async def test_expired_records_are_erased_an_hour_later(tmp_path: Path) -> None:
    """Nobody is told, nothing else is touched, and the file does not grow for ever."""
    clock = FakeClock()
    store = await open_file(tmp_path, clock)
    soon, later = clock.now() + timedelta(minutes=5), clock.now() + timedelta(hours=2)
    await store.put([Put(f"gone{n}", b"1", soon) for n in range(4_500)])
    revision = await store.put([Put("later", b"1", later), Put("never", b"1")])
    watcher = store.watch()
    while not (await anext(watcher)).synced:
        pass

    async def after(seconds: float) -> int:
        """How many records are left once three passes have had their time."""
        await clock.advance(seconds)
        for _ in range(4):
            await store.lease("settle", 0.0)  # behind whatever the eraser has asked for
            await clock.advance(0.1)
        return len(await contents(store))

    assert await after(64 * 60) == 4_502
    assert await after(3 * 60) == 2
    assert await store.put([]) == revision
    await store.put([Put("new", b"1")])
    assert [change.key for change in (await anext(watcher)).changes] == ["new"]
    await store.close()


async def test_a_slow_commit_raises_alarm() -> None:
    """The operator hears store.slow when a commit took more than 5 s; the put itself succeeds."""

    class SlowClock(FakeClock):
        step = 4.0

        def monotonic(self) -> float:
            self.elapsed = getattr(self, "elapsed", 0.0) + self.step
            return self.elapsed

    clock, alarms = SlowClock(), list[GatewayError]()
    store = await SqliteStore.open("sqlite://:memory:", clock, alarm=alarms.append)
    await store.put([Put("a", b"1")])
    assert alarms == []
    clock.step = 6.0
    await store.put([Put("a", b"2")])
    assert [alarm.code for alarm in alarms] == ["store.slow"]
    await store.close()


async def test_a_forgotten_watcher_costs_nothing() -> None:
    """Whoever stops iterating need not say so."""
    store = await SqliteStore.open("sqlite://:memory:", FakeClock())
    for _ in range(10):
        await contents(store)
    gc.collect()
    assert len(store._watchers) == 0
    await store.close()


async def test_opening_can_be_cancelled(tmp_path: Path) -> None:
    """The file is free again afterwards."""
    opening = asyncio.create_task(open_file(tmp_path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    for thread in [thread for thread in threading.enumerate() if thread.name == "store-writer"]:
        await asyncio.to_thread(thread.join, SOON)
    await (await open_file(tmp_path)).close()


async def test_close_leaves_nothing_running(tmp_path: Path) -> None:
    """No task and no thread outlives the store, and the log has been moved into the file."""
    store = await open_file(tmp_path)
    await store.lease("a", 15.0)
    await store.put([Put("a", b"1")])
    thread = store._writer._thread
    await store.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.to_thread(thread.join, SOON)
    assert not thread.is_alive()
    assert modes(tmp_path).keys() == {"state.db", "state.db.lock"}


async def test_a_change_right_behind_the_snapshot_is_not_lost(tmp_path: Path) -> None:
    """A group that reaches the event loop in the same turn as a snapshot is handed to that watcher, once."""
    store = await open_file(tmp_path)
    await store.put([Put("a", b"1")])
    watcher = store.watch()

    def done_by_now() -> None:
        """Stop the event loop until the writer has done what was asked so far: its answers then come together."""
        done = threading.Event()

        def mark(_: sqlite3.Connection) -> list[Any]:
            done.set()
            return []

        store._writer.submit(Read(mark, lambda *_: None))
        assert done.wait(SOON)

    done_by_now()
    future = asyncio.get_running_loop().create_future()
    store._writer.submit(Write(partial(write_records, [prepare(Put("b", b"1"))]), future, 1, 1))
    store._pending_puts, store._pending_bytes = 1, 1
    done_by_now()
    assert await asyncio.wait_for(future, SOON) == 2
    batches = [await asyncio.wait_for(anext(watcher), SOON) for _ in range(2)]
    assert [[change.key for change in batch.changes] for batch in batches] == [["a"], ["b"]]
    await store.close()


async def test_a_renewal_that_races_a_takeover_fails(tmp_path: Path) -> None:
    """When the wall clock jumps past the end of a lease, whoever asks first has it; renewing late fails."""
    clock = FakeClock()
    store = await open_file(tmp_path, clock)
    names = [f"shard{n}" for n in range(16)]
    first = [await store.lease(name, 15.0) for name in names]
    clock.jump(20.0)
    taken, renewed = await asyncio.gather(
        asyncio.gather(*(store.lease(name, 60.0) for name in names)),
        asyncio.gather(*(lease.renew() for lease in first if lease), return_exceptions=True),
    )
    assert [lease.epoch for lease in taken if lease] == [2] * 16
    assert all(isinstance(outcome, LeaseLost) for outcome in renewed)
    assert all(lease.lost.is_set() for lease in first if lease)
    assert not any(lease.lost.is_set() for lease in taken if lease)
    clock.jump(30.0)  # beyond what a renewal for 15 s would have left
    assert [await store.lease(name, 15.0) for name in names] == [None] * 16
    await store.close()


async def test_a_release_that_races_a_takeover_frees_nothing(tmp_path: Path) -> None:
    """Giving back a lease that somebody else is just taking over leaves it with the new holder."""
    clock = FakeClock()
    store = await open_file(tmp_path, clock)
    first = await store.lease("shard", 15.0)
    assert first is not None
    await clock.settle()  # its watch is asleep now, and does not notice the jump
    clock.jump(20.0)
    second, _ = await asyncio.gather(store.lease("shard", 15.0), first.release())
    assert second is not None
    await second.renew()
    assert await store.lease("shard", 15.0) is None
    await store.close()
