"""Puts per second of the SQLite store, as a ratio against a bare sqlite3 loop on the same disk in the same run.

Run: python -m bench.store_put [seconds per measurement]

`sequential` awaits each put before the next; `64 in flight` has 64 tasks doing so. The bare loop commits one record
per transaction with the same PRAGMAs: what the disk allows one writer without group commit. Absolute numbers are
those of the machine; the ratios are what to compare.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.clock import SystemClock
from gateway.stores import Put
from gateway.stores.sqlite import SqliteStore

KEYS = 20_000
VALUE_BYTES = 230
EXPIRES_AT = datetime.now(UTC) + timedelta(days=1)


def bare(folder: Path, seconds: float) -> float:
    """Puts per second of sqlite3 alone."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value BLOB)")
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        connection.execute(
            "INSERT INTO record (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (f"person{done % KEYS}", os.urandom(VALUE_BYTES)),
        )
        done += 1
    took = time.perf_counter() - began
    connection.close()
    return done / took


async def through_store(folder: Path, seconds: float, in_flight: int) -> float:
    """Puts per second through the port, with so many callers waiting at a time."""
    store = await SqliteStore.open(f"sqlite://{folder}/store{in_flight}.db", SystemClock())
    done, began = 0, time.perf_counter()

    async def write() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            done += 1
            await store.put([Put(f"person{done % KEYS}", os.urandom(VALUE_BYTES), EXPIRES_AT)])

    await asyncio.gather(*(write() for _ in range(in_flight)))
    took = time.perf_counter() - began
    await store.close()
    return done / took


async def start_up(folder: Path) -> float:
    """Seconds from opening a file with 20,000 records of 2 KB to the last of them read."""
    url = f"sqlite://{folder}/start.db"
    store = await SqliteStore.open(url, SystemClock())
    for start in range(0, KEYS, 1_000):
        await store.put([Put(f"person{n}", os.urandom(2_048), EXPIRES_AT) for n in range(start, start + 1_000)])
    await store.close()
    began = time.perf_counter()
    store = await SqliteStore.open(url, SystemClock())
    async for batch in store.watch():
        if batch.synced:
            break
    took = time.perf_counter() - began
    await store.close()
    return took


def main(seconds: float) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = bare(folder, seconds)
        print(f"bare sqlite3   {base:10,.0f} puts/s")
        for label, in_flight in (("sequential", 1), ("64 in flight", 64)):
            rate = asyncio.run(through_store(folder, seconds, in_flight))
            print(f"{label:<14} {rate:10,.0f} puts/s  {rate / base:6.2f} x bare")
        took = asyncio.run(start_up(folder))
        print(f"start-up       {took:10.2f} s for {KEYS:,} records of 2 KB")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
