"""The writer thread: the only one that touches the connection, and what turns many puts into one commit.

Whatever is queued while one group is being committed forms the next group: one transaction, one sync of the disk. Each
write of a group is undone alone if it fails. Groups and snapshots leave the thread in one order, each by a single
call into the event loop; that order is all a watcher needs to lose nothing and see nothing twice.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import GatewayError, StoreUnavailable
from gateway.stores import Change, Revision
from gateway.stores.sqlite_file import MEMORY, WAL_LIMIT, Database, open_database, translate

GROUP_RECORDS: Final = 2_000
GROUP_BYTES: Final = 4 * 1024 * 1024
SLOW_COMMIT_SECONDS: Final = 5.0
# A group adds at most some 28 MiB: 2,000 records of up to three pages, and 4 MiB of values.
WAL_HIGH: Final = WAL_LIMIT // 2


class Transaction:
    """What the writes of one group share: the connection, the next revision, and the changes for the watchers."""

    def __init__(self, connection: sqlite3.Connection, revision: Revision) -> None:
        self.connection = connection
        self.revision = revision
        self.changes: list[Change] = []


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """Something to do inside a transaction. `records` and `size` (bytes) count towards the bounds."""

    run: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    records: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Something to read between two transactions; `receive` gets it, or the failure, on the event loop."""

    run: Callable[[sqlite3.Connection], Sequence[Change]]
    receive: Callable[[Sequence[Change] | Exception, Revision], None]


@dataclass(slots=True)
class Outcome:
    """One group done: what changed, how each write ended (a value or an exception), and what to raise alarm about."""

    revision: Revision
    changes: Sequence[Change] = ()
    settled: list[tuple[Write, Any]] = field(default_factory=list)
    alarm: GatewayError | None = None


class Writer:
    """Owns the database; `deliver` is called on the event loop with each Outcome, in commit order."""

    def __init__(self, path: str, clock: Clock, deliver: Callable[[Outcome], None]) -> None:
        self._path = path
        self._clock = clock
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Write | Read | None] = SimpleQueue()
        self.opened: asyncio.Future[Database] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Write | Read) -> None:
        """Accept a job; it will be finished, whatever becomes of who asked for it."""
        self._queue.put(job)

    def stop(self) -> None:
        """Finish what was accepted, then close the files and resolve `closed`."""
        self._queue.put(None)

    def _run(self) -> None:
        try:
            database = open_database(self._path, self._clock)
        except Exception as error:
            self._tell(settle, self.opened, error)
            self._tell(settle, self.closed, None)
            return
        self._database = database
        self._tell(settle, self.opened, database)
        try:
            while self._turn():
                pass
        finally:
            try:
                database.close()
            finally:
                self._tell(settle, self.closed, None)

    def _turn(self) -> bool:
        """Wait for work and do all of it that fits one group; false after `stop`."""
        writes: list[Write] = []
        reads: list[Read] = []
        records = size = 0
        job = self._queue.get()
        while job is not None:
            if isinstance(job, Write):
                writes.append(job)
                records += job.records
                size += job.size
            else:
                reads.append(job)
            if records >= GROUP_RECORDS or size >= GROUP_BYTES:
                break
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
        if writes:
            self._tell(self._deliver, self._commit(writes))
        for read in reads:
            self._tell(read.receive, self._read(read), self._database.revision)
        return job is not None

    def _commit(self, writes: Sequence[Write]) -> Outcome:
        connection, began = self._database.connection, self._clock.monotonic()
        transaction = Transaction(connection, self._database.revision)
        try:
            self._make_log_space()
            connection.execute("BEGIN IMMEDIATE")
            settled = [(write, self._attempt(write, transaction)) for write in writes]
            if transaction.changes:
                connection.execute("UPDATE store SET revision = ?", (transaction.revision,))
            connection.execute("COMMIT")
        except Exception as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            outcome = Outcome(self._database.revision)
            outcome.settled = [(write, self._translated(error)) for write in writes]
        else:
            if transaction.changes:
                self._database.revision = transaction.revision
            outcome = Outcome(self._database.revision, transaction.changes, settled)
        outcome.alarm = self._alarm_about(outcome, self._clock.monotonic() - began)
        return outcome

    def _attempt(self, write: Write, transaction: Transaction) -> Any:
        connection = transaction.connection
        revision, changes = transaction.revision, len(transaction.changes)
        connection.execute("SAVEPOINT one")
        try:
            result = write.run(transaction)
        except Exception as error:
            if not connection.in_transaction:
                raise  # SQLite has undone the whole group: https://www.sqlite.org/lang_transaction.html
            connection.execute("ROLLBACK TO one")
            result = self._translated(error)
            # Watchers wait for the group's revision, so it must be that of a change they get.
            transaction.revision = revision
            del transaction.changes[changes:]
        connection.execute("RELEASE one")
        return result

    def _read(self, read: Read) -> Sequence[Change] | Exception:
        try:
            return read.run(self._database.connection)
        except Exception as error:
            return self._translated(error)

    def _translated(self, error: Exception) -> Exception:
        """One exception per write: an instance raised in two tasks would mix their tracebacks."""
        match error:
            case sqlite3.Error():
                own: Exception = translate(error, self._path)
                own.__cause__ = error
                return own
            case StoreUnavailable():
                return StoreUnavailable(str(error), code=error.code, hint=error.hint)
            case _:
                return error

    def _alarm_about(self, outcome: Outcome, took: float) -> GatewayError | None:
        for _, result in outcome.settled:
            if isinstance(result, StoreUnavailable) and result.code == "store.corrupt":
                return result
        if took <= SLOW_COMMIT_SECONDS:
            return None
        return StoreUnavailable(
            f"commit to {self._path!r}: took {took:.1f} s",
            code="store.slow",
            hint="the disk is overloaded or failing; everybody who writes waits for it",
            took_seconds=took,
        )

    def _make_log_space(self) -> None:
        if self._log_size() > WAL_HIGH:
            self._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if self._log_size() > WAL_HIGH:
            raise StoreUnavailable(
                f"write {self._path!r}: its log cannot be emptied while another program reads the file",
                code="store.locked",
                hint="end the program that has the file open (fuser names it)",
            )

    def _log_size(self) -> int:
        if self._path == MEMORY:
            return 0
        try:
            return os.stat(self._path + "-wal").st_size
        except FileNotFoundError:
            return 0

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            self.stop()  # the event loop is closed: nobody is left to tell


def settle(future: asyncio.Future[Any], result: object) -> None:
    """Resolve a future, unless who waited for it has been cancelled."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
