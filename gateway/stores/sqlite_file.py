"""The database file: opening, locking, checking, migrating, and what its errors mean.

Everything here runs in the writer thread. A damaged file is renamed aside and replaced by an empty one with a new
identity: facts can be observed again, and a gateway that refuses to start helps nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.clock import Clock
from gateway.errors import ConfigError, StoreError, StoreUnavailable

MEMORY: Final = ":memory:"
WAL_LIMIT: Final = 64 * 1024 * 1024
APPLICATION_ID: Final = 0x50475753
BUSY_SECONDS: Final = 1.0

# Frozen once released: a change of the schema is one more entry, run on the files of everybody who has fewer.
# Times are microseconds since 1970. A record keeps its id when it is overwritten: one page is written, not three.
MIGRATIONS: Final = (
    (
        "CREATE TABLE store (identity TEXT NOT NULL, revision INTEGER NOT NULL)",
        "CREATE TABLE record (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL,"
        " expires_at INTEGER, value BLOB NOT NULL)",
        "CREATE TABLE lease (name TEXT PRIMARY KEY, owner TEXT, epoch INTEGER NOT NULL, expires_at INTEGER NOT NULL)",
    ),
)


class _Damaged(Exception):
    """The file is not a sound database."""


@dataclass(slots=True)
class Database:
    """An open database. `damage` tells of the file that had to be put aside for it."""

    connection: sqlite3.Connection
    identity: str
    revision: int
    lock: int | None
    damage: StoreError | None = None

    def close(self) -> None:
        """Move the log into the file and give the lock back."""
        self.connection.close()
        if self.lock is not None:
            os.close(self.lock)


def open_database(path: str, clock: Clock) -> Database:
    """Open or create the database at `path` (or MEMORY) for this thread alone.

    Raises StoreUnavailable (`store.locked`, `store.read_only`, `store.disk_full`, `store.io_error`,
    `store.too_new`) and ConfigError if the file belongs to another program.
    """
    lock = None
    try:
        lock = None if path == MEMORY else _take_lock(path)
        return _open_locked(path, lock, clock)
    except BaseException as error:
        if lock is not None:
            os.close(lock)
        if isinstance(error, OSError):
            raise _refused(error, path) from error
        if isinstance(error, sqlite3.Error):
            raise translate(error, path) from error
        raise


def _open_locked(path: str, lock: int | None, clock: Clock) -> Database:
    try:
        return Database(*_connect(path), lock)
    except _Damaged as fault:
        aside = _quarantine(path, clock.now())
        damage = StoreError(
            f"open store: {path!r} is damaged ({fault}) and was put aside",
            code="store.corrupt",
            hint=f"an empty store was started; keep {aside} for analysis, and check the disk",
            quarantined=aside,
        )
        return Database(*_connect(path), lock, damage)


def _take_lock(path: str) -> int:
    # A file of its own: closing any descriptor of the database would drop SQLite's POSIX locks.
    lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreUnavailable(
            f"open store: {path!r} is in use by another process",
            code="store.locked",
            hint="one gateway per file: stop the other one (fuser names it), or give this one its own file",
        ) from None
    # SQLite gives its side files the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return lock


def _connect(path: str) -> tuple[sqlite3.Connection, str, int]:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        version = _inspect(connection, path)
        _configure(connection, path)
        if version:
            _check(connection)
        _migrate(connection, version)
        row = connection.execute("SELECT identity, revision FROM store").fetchone()
        if row is None:
            raise _Damaged("it has no identity")
        # The lock on the file is ours: whoever held a lease has died. Epochs stay, and go on rising.
        connection.execute("UPDATE lease SET owner = NULL WHERE owner IS NOT NULL")
    except sqlite3.DatabaseError as error:
        connection.close()
        if _primary(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _Damaged(str(error)) from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection, *row


def _inspect(connection: sqlite3.Connection, path: str) -> int:
    version = int(_pragma(connection, "user_version"))
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and _pragma(connection, "application_id") != APPLICATION_ID:
        raise ConfigError([f"store.url: {path} is the database of another program; name another file"])
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"open store: {path!r} has schema {version}, this version knows {len(MIGRATIONS)}",
            code="store.too_new",
            hint="it was written by a newer presence-gateway: install that, or give this one its own file",
        )
    return version if tables else 0


def _configure(connection: sqlite3.Connection, path: str) -> None:
    journal = "memory" if path == MEMORY else "wal"
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    connection.execute("PRAGMA wal_autocheckpoint = 1000")
    connection.execute("PRAGMA cache_size = -16384")
    # synchronous: 2 is FULL. https://www.sqlite.org/pragma.html#pragma_synchronous
    found = _pragma(connection, "journal_mode"), _pragma(connection, "synchronous")
    if found != (journal, 2):
        raise StoreUnavailable(
            f"open store: {path!r} runs with journal mode and synchronous {found}, not {(journal, 2)}",
            code="store.io_error",
            hint="put the file on a local file system; network file systems lack what the log needs",
        )


def _check(connection: sqlite3.Connection) -> None:
    findings = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    if findings != ["ok"]:
        raise _Damaged("quick_check found faults")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    if version == 0:
        connection.execute("INSERT INTO store VALUES (?, 0)", (secrets.token_hex(8),))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> str | int:
    value: str | int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _quarantine(path: str, now: datetime) -> str:
    base = f"{path}.corrupt-{now:%Y%m%dT%H%M%SZ}"
    aside, n = base, 1
    while os.path.exists(aside):
        n += 1
        aside = f"{base}-{n}"
    for suffix in ("-wal", "-shm", ""):  # the log first: a new file must never meet an old log
        if os.path.exists(path + suffix):
            os.rename(path + suffix, aside + suffix)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return aside


def _primary(error: sqlite3.Error) -> int:
    # The low byte of an extended code. https://www.sqlite.org/rescode.html
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def translate(error: sqlite3.Error, path: str) -> StoreUnavailable:
    """What an SQLite error at run time means for whoever writes."""
    match _primary(error):
        case sqlite3.SQLITE_FULL:
            code = "store.disk_full"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            code = "store.read_only"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            code = "store.corrupt"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            code = "store.locked"
        case _:
            code = _io_code(error, path)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(f"write {path!r}: {error} ({name})", code=code, hint=_HINTS[code])


def _io_code(error: sqlite3.Error, path: str) -> str:
    # Quota and size limits reach SQLite as a plain failed write, and so does a file system that the kernel has
    # made read-only after a disk error.
    if getattr(error, "sqlite_errorcode", 0) not in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE):
        return "store.io_error"
    try:
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError:
        return "store.io_error"
    return "store.read_only" if read_only else "store.disk_full"


def _refused(error: OSError, path: str) -> StoreUnavailable:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            code = "store.disk_full"
        case errno.EIO:
            code = "store.io_error"
        case _:
            code = "store.read_only"
    return StoreUnavailable(f"open store: {path!r}: {error.strerror}", code=code, hint=_HINTS[code])


_HINTS: Final = {
    "store.disk_full": "free space (or raise the quota) where the store lives; writing resumes by itself",
    "store.read_only": "the directory must exist and the gateway must be allowed to write in it",
    "store.corrupt": "restart: the file is put aside and an empty store started; check the disk",
    "store.locked": "another program holds the file open; end it",
    "store.io_error": "check the disk and the kernel log",
}
