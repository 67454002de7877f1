"""The SQL of records and leases: plain functions over one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final, NamedTuple

from gateway.errors import StoreConflict
from gateway.stores import Change, Put, Revision
from gateway.stores.sqlite_writer import Transaction

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Record(NamedTuple):
    """A Put made ready for SQLite on the event loop, so that a bad argument fails where it was passed."""

    key: str
    value: bytes | None
    expires_at: datetime | None
    expires: int | None
    expect: Revision | None


def prepare(put: Put) -> Record:
    """Raises ValueError for a key that is not valid Unicode, TypeError for a naive time or a wrong value."""
    put.key.encode()
    if not isinstance(put.value, bytes | None):
        raise TypeError(f"the value of {put.key!r} is no bytes")
    expires = None if put.expires_at is None else to_microseconds(put.expires_at)
    return Record(put.key, put.value, put.expires_at, expires, put.expect)


def to_microseconds(instant: datetime) -> int:
    """Exact, unlike a float timestamp; raises TypeError for a naive time."""
    return (instant - _EPOCH) // _MICROSECOND


def write_records(records: Sequence[Record], transaction: Transaction) -> Revision:
    """Apply the records in order, each with a revision of its own; the highest is returned.

    Raises StoreConflict; the caller undoes what was written before it.
    """
    execute = transaction.connection.execute
    for key, value, expires_at, expires, expect in records:
        if expect is not None:
            row = execute("SELECT revision FROM record WHERE key = ?", (key,)).fetchone()
            found = row[0] if row else 0
            if found != expect:
                raise StoreConflict(key, found)
        transaction.revision += 1
        revision = transaction.revision
        if value is None:
            execute("DELETE FROM record WHERE key = ?", (key,))
            transaction.changes.append(Change(key, None, revision))
            continue
        execute(
            "INSERT INTO record (key, revision, expires_at, value) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
            " SET revision = excluded.revision, expires_at = excluded.expires_at, value = excluded.value",
            (key, revision, expires, value),
        )
        transaction.changes.append(Change(key, value, revision, expires_at))
    return transaction.revision


def read_all(connection: sqlite3.Connection) -> list[Change]:
    """Every record in ascending revision order."""
    rows = connection.execute("SELECT key, value, revision, expires_at FROM record").fetchall()
    changes = [
        Change(key, value, revision, None if expires is None else _EPOCH + expires * _MICROSECOND)
        for key, value, revision, expires in rows
    ]
    changes.sort(key=attrgetter("revision"))  # 20,000 rows: far cheaper than an index on every put
    return changes


def erase_expired(after: int, before: datetime, limit: int, transaction: Transaction) -> int:
    """Look at `limit` records behind id `after`, erase those that expired before `before`.

    Returns the id to go on from, 0 at the end. Walking the table in small steps costs puts nothing; an index on the
    expiry would make each of them write two more pages.
    """
    rows = transaction.connection.execute(
        "SELECT id, expires_at FROM record WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    ).fetchall()
    oldest = to_microseconds(before)
    expired = [(id_,) for id_, expires in rows if expires is not None and expires <= oldest]
    if expired:
        transaction.connection.executemany("DELETE FROM record WHERE id = ?", expired)
    return int(rows[-1][0]) if len(rows) == limit else 0


def take_lease(name: str, owner: str, now: datetime, until: datetime, transaction: Transaction) -> int | None:
    """The new epoch, or None while a live owner holds it."""
    execute = transaction.connection.execute
    row = execute("SELECT owner, epoch, expires_at FROM lease WHERE name = ?", (name,)).fetchone()
    if row and row[0] is not None and row[2] > to_microseconds(now):
        return None
    epoch = row[1] + 1 if row else 1
    execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)", (name, owner, epoch, to_microseconds(until)))
    return int(epoch)


def extend_lease(name: str, owner: str, now: datetime, until: datetime, transaction: Transaction) -> bool:
    """Whether this owner still held it, and holds it until `until` now."""
    cursor = transaction.connection.execute(
        "UPDATE lease SET expires_at = ? WHERE name = ? AND owner = ? AND expires_at > ?",
        (to_microseconds(until), name, owner, to_microseconds(now)),
    )
    return cursor.rowcount == 1


def drop_lease(name: str, owner: str, transaction: Transaction) -> None:
    """Free the lease if this owner has it; its epoch stays."""
    transaction.connection.execute("UPDATE lease SET owner = NULL WHERE name = ? AND owner = ?", (name, owner))
