"""The embedded store: one SQLite file, durable before it answers, shared by everybody in this process.

`sqlite:///var/lib/presence-gateway/state.db` names a file by its absolute path; `sqlite://:memory:` lives and dies with
the process. The work is done by one thread (`sqlite_writer`); here are the port and its promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final
from weakref import WeakSet

from gateway.clock import Clock
from gateway.errors import ConfigError, GatewayError, StoreUnavailable
from gateway.stores import Batch, Change, Put, Revision
from gateway.stores.sqlite_file import MEMORY
from gateway.stores.sqlite_lease import SqliteLease
from gateway.stores.sqlite_records import erase_expired, prepare, read_all, take_lease, write_records
from gateway.stores.sqlite_writer import Outcome, Read, Transaction, Write, Writer, settle
from gateway.stores.watcher import Watcher

PENDING_PUTS: Final = 10_000
PENDING_BYTES: Final = 16 * 1024 * 1024
ERASE_AFTER: Final = timedelta(hours=1)
ERASE_STEP: Final = 2_000
ERASE_PAUSE_SECONDS: Final = 60.0
ERASE_STEP_SECONDS: Final = 0.1

Alarm = Callable[[GatewayError], None]


class SqliteStore:
    """The port Store on one SQLite file (WAL, synchronous=FULL, group commit).

    Each record of a put gets a revision of its own, in the order given, so that the order within a batch is total;
    `put` returns the highest. A record is there, for `expect` and for watchers, until it is deleted, or erased an
    hour or more after it expired. A lease does not survive the process that took it, its epoch does.
    """

    identity: str

    def __init__(self, path: str, clock: Clock, alarm: Alarm | None) -> None:
        self._path = path
        self._clock = clock
        self._alarm = alarm
        self._revision: Revision = 0
        self._pending_puts = 0
        self._pending_bytes = 0
        self._watchers: WeakSet[Watcher] = WeakSet()
        self._leases: dict[str, SqliteLease] = {}
        self._closing = False
        self._writer = Writer(path, clock, self._deliver)
        self._writer.closed.add_done_callback(self._finish)
        self._eraser: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, clock: Clock, *, alarm: Alarm | None = None) -> SqliteStore:
        """Open or create the store.

        `alarm` is told, on the event loop, what an operator must know though no caller fails: `store.corrupt` (the
        file was put aside and an empty one started) and `store.slow` (a commit took more than 5 s).
        Raises ConfigError for a bad URL or a foreign file, StoreUnavailable (`store.locked`, `store.read_only`,
        `store.disk_full`, `store.io_error`, `store.too_new`).
        """
        store = cls(_path_of(url), clock, alarm)
        try:
            database = await store._writer.opened
        except asyncio.CancelledError:
            store._writer.stop()
            raise
        store.identity = database.identity
        store._revision = database.revision
        if database.damage is not None and alarm is not None:
            alarm(database.damage)
        store._eraser = asyncio.create_task(store._erase_for_ever(), name="store-eraser")
        return store

    async def put(self, puts: Sequence[Put]) -> Revision:
        """Write all or nothing; returns the highest revision once it is on disk and handed to every watcher.

        A put whose caller is cancelled may still happen. Raises StoreConflict, StoreUnavailable (`store.slow`: too
        much is waiting; `store.disk_full`, `store.read_only`, `store.locked`, `store.corrupt`, `store.io_error`,
        `store.closed`), ValueError or TypeError for what is no record.
        """
        self._require_open()
        if not puts:
            return self._revision
        records = [prepare(put) for put in puts]
        size = sum(len(record.value or b"") for record in records)
        if self._pending_puts >= PENDING_PUTS or self._pending_bytes + size > PENDING_BYTES:
            raise StoreUnavailable(
                f"write {self._path!r}: {self._pending_puts} puts of {self._pending_bytes} bytes wait already",
                code="store.slow",
                hint="the disk is slower than what is published; look at its latency",
            )
        self._pending_puts += 1
        self._pending_bytes += size
        return int(await self._submit(partial(write_records, records), len(records), size))

    def watch(self) -> AsyncIterator[Batch]:
        """Every record in chunks of at most 5,000 (the last one is `synced`), then every change, newest per key.

        Ends when the store is closed, after what was still pending. Raises StoreUnavailable if the records cannot be
        read. A watcher that nobody refers to any more is forgotten.
        """
        watcher = Watcher()
        if self._closing:
            watcher.end()
        else:
            self._writer.submit(Read(read_all, partial(self._start, watcher)))
        return watcher

    async def lease(self, name: str, ttl: float) -> SqliteLease | None:
        """The lease for `ttl` seconds, or None while it is held, be it by this process. Raises StoreUnavailable."""
        self._require_open()
        owner, now = secrets.token_hex(8), self._clock.now()
        until = now + timedelta(seconds=ttl)
        epoch = await self._submit(partial(take_lease, name, owner, now, until))
        if epoch is None:
            return None
        lease = SqliteLease(name, owner, epoch, until, ttl, self._clock, self._submit)
        if name in self._leases:
            self._leases[name].expire()
        self._leases[name] = lease
        return lease

    async def close(self) -> None:
        """Finish the accepted puts, end watchers and leases, close the file. Calling it again does nothing more."""
        if not self._closing:
            self._closing = True
            self._writer.stop()
        background = [lease.expire() for lease in self._leases.values()]
        if self._eraser is not None:
            self._eraser.cancel()
            background.append(self._eraser)
        await asyncio.shield(self._writer.closed)
        await asyncio.gather(*background, return_exceptions=True)

    def _require_open(self) -> None:
        if self._closing:
            raise StoreUnavailable(f"use store {self._path!r}: it is closed", code="store.closed")

    async def _submit(self, run: Callable[[Transaction], Any], records: int = 0, size: int = 0) -> Any:
        self._require_open()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._writer.submit(Write(run, future, records, size))
        return await future

    def _deliver(self, outcome: Outcome) -> None:
        """One group is on disk: first every watcher has its changes, then those who wrote them go on."""
        self._revision = outcome.revision
        if outcome.changes:
            for watcher in self._watchers:
                watcher.hand(outcome.changes)
        for write, result in outcome.settled:
            if write.records:
                self._pending_puts -= 1
                self._pending_bytes -= write.size
            settle(write.future, result)
        if outcome.alarm is not None and self._alarm is not None:
            self._alarm(outcome.alarm)

    def _start(self, watcher: Watcher, snapshot: Sequence[Change] | Exception, revision: Revision) -> None:
        """Whatever was handed out before this call is in the snapshot, whatever comes after it is not."""
        if isinstance(snapshot, Exception):
            watcher.end(snapshot)
        else:
            watcher.begin(snapshot, revision)
            self._watchers.add(watcher)

    def _finish(self, _: asyncio.Future[None]) -> None:
        self._closing = True
        for watcher in self._watchers:
            watcher.end()

    async def _erase_for_ever(self) -> None:
        position = 0
        while True:
            await self._clock.sleep(ERASE_STEP_SECONDS if position else ERASE_PAUSE_SECONDS)
            before = self._clock.now() - ERASE_AFTER
            with contextlib.suppress(StoreUnavailable):  # whoever writes is told; the next round tries again
                position = await self._submit(partial(erase_expired, position, before, ERASE_STEP))


def _path_of(url: str) -> str:
    rest = url.removeprefix("sqlite://")
    if rest == url or not rest.startswith(("/", MEMORY)):
        raise ConfigError([f"store.url: {url!r} names no file; write sqlite:///absolute/path.db"])
    return MEMORY if rest.removeprefix("/") == MEMORY else rest
