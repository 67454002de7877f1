"""What the store's fault tests start, kill and starve: `python -m tests.faults.store_children NAME DIR`."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.clock import SystemClock
from gateway.errors import StoreUnavailable
from gateway.stores import Put
from gateway.stores.sqlite import SqliteStore

Child = Callable[[Path], Awaitable[None]]
WRITERS = 50
NOBODY = 65534


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def open_store(folder: Path) -> SqliteStore:
    return await SqliteStore.open(f"sqlite://{folder}/state.db", SystemClock())


async def acknowledge(folder: Path) -> None:
    """Write as fast as possible, for ever; each acknowledged put is a line `writer number revision`."""
    store = await open_store(folder)
    start = int((folder / "start").read_text())

    async def write(writer: int) -> None:
        number = start
        while True:
            number += 1
            value = b"%d" % number
            revision = await store.put([Put(f"{writer}/{number % 5}", value), Put(f"twin/{writer}", value)])
            say(f"{writer} {number} {revision}")

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))


async def acknowledge_in_turn(folder: Path) -> None:
    """Twenty puts one after the other, each acknowledged in the file `acks`."""
    store = await open_store(folder)
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_CREAT, 0o600)
    for number in range(20):
        await store.put([Put("a", b"%d" % number)])
        os.write(acks, b".")
    await store.close()


async def hold(folder: Path) -> None:
    """Hold the store open until standard input ends."""
    store = await open_store(folder)
    say("open")
    await asyncio.to_thread(sys.stdin.read)
    await store.close()


async def outgrow(folder: Path) -> None:
    """Meet a limit of the file size as a full disk, keep reading, and write again when there is room."""
    store = await open_store(folder)
    watcher = store.watch()
    await anext(watcher)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    written = 0
    try:
        while True:
            await store.put([Put(f"k{written}", bytes(8 * 1024))])
            written += 1
    except StoreUnavailable as error:
        say(error.code)
    told = 0
    while told < written:
        told += len((await anext(watcher)).changes)
    snapshot = await anext(store.watch())
    say(f"lost {written - told} {written - len(snapshot.changes)}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    revision = await store.put([Put("room", b"1")])
    say(f"skipped {revision - written - 1}")
    await store.close()


async def refused(folder: Path) -> None:
    """Open a store in a directory that this user may enter but not write to."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        await open_store(folder)
    except StoreUnavailable as error:
        say(error.code)


if __name__ == "__main__":
    children: list[Child] = [acknowledge, acknowledge_in_turn, hold, outgrow, refused]
    asyncio.run({child.__name__: child for child in children}[sys.argv[1]](Path(sys.argv[2])))  # type: ignore[arg-type]
