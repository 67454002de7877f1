"""What the store does when disks, files and processes fail."""

from __future__ import annotations

import asyncio
import os
import random
import select
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.errors import GatewayError, StoreUnavailable
from gateway.stores import Put
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_file import WAL_LIMIT
from gateway.stores.sqlite_writer import Read
from tests.clock import FakeClock
from tests.faults.store_children import WRITERS

ROOT = Path(__file__).parents[2]
CHILD = (sys.executable, "-m", "tests.faults.store_children")
SOON = 30.0


async def open_file(folder: Path, alarms: list[GatewayError] | None = None) -> SqliteStore:
    return await SqliteStore.open(
        f"sqlite://{folder}/state.db", FakeClock(), alarm=None if alarms is None else alarms.append
    )


async def contents(store: SqliteStore) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    async for batch in store.watch():
        found.update((change.key, change.value) for change in batch.changes)
        if batch.synced:
            break
    return found


async def pragma(store: SqliteStore, text: str) -> None:
    """Set something on the store's own connection, outside any transaction."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    read = Read(lambda connection: connection.execute(f"PRAGMA {text}").fetchall(), lambda *_: done.set_result(None))
    store._writer.submit(read)
    await asyncio.wait_for(done, SOON)


def run(*command: str | Path) -> list[str]:
    """The lines a child prints; a child that fails fails the test."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextmanager
def child(name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen((*CHILD, name, folder), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            yield process
        finally:
            process.kill()


def overwrite(offset: int, size: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(random.Random(1).randbytes(size))

    return damage


def put_aside(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.glob("state.db.corrupt-*"))


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def forget_identity(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM store")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(overwrite(0, 4096), id="header"),
        pytest.param(overwrite(20 * 4096, 40 * 4096), id="pages"),
        pytest.param(halve, id="truncated"),
        pytest.param(forget_identity, id="no identity"),
    ],
)
async def test_a_damaged_file_is_put_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """The gateway starts with an empty store of another identity, keeps the damaged file, and raises alarm."""
    store = await open_file(tmp_path)
    identity = store.identity
    await store.put([Put(f"k{n}", bytes(1_000)) for n in range(500)])
    await store.close()
    path = tmp_path / "state.db"
    damage(path)
    damaged = path.read_bytes()

    alarms: list[GatewayError] = []
    store = await open_file(tmp_path, alarms)
    assert [alarm.code for alarm in alarms] == ["store.corrupt"]
    assert put_aside(tmp_path) == [damaged]
    assert str(alarms[0].context["quarantined"]).startswith(f"{path}.corrupt-20261120T090000Z")
    assert str(alarms[0].context["quarantined"]) in alarms[0].hint
    assert store.identity != identity
    assert await contents(store) == {}
    await store.put([Put("a", b"1")])
    await store.close()

    store = await open_file(tmp_path, alarms)
    assert await contents(store) == {"a": b"1"}
    assert len(alarms) == 1
    await store.close()


async def test_a_file_damaged_twice_is_put_aside_twice(tmp_path: Path) -> None:
    """A second damaged file within the same second does not overwrite the first."""
    for content in (b"first" * 1_000, b"second" * 1_000):
        (tmp_path / "state.db").write_bytes(content)
        await (await open_file(tmp_path)).close()
    assert put_aside(tmp_path) == [b"first" * 1_000, b"second" * 1_000]


async def test_damage_met_at_work_is_told(tmp_path: Path) -> None:
    """A page that goes bad under a running store fails its put with store.corrupt, and the operator hears of it."""
    alarms: list[GatewayError] = []
    store = await open_file(tmp_path, alarms)
    for start in range(0, 20_000, 2_000):
        await store.put([Put(f"k{n}", bytes(1_000)) for n in range(start, start + 2_000)])
    await store.close()
    store = await open_file(tmp_path, alarms)
    overwrite(100 * 4096, 4_000 * 4096)(tmp_path / "state.db")
    with pytest.raises(StoreUnavailable) as caught:
        await store.put([Put(f"k{n}", b"1") for n in range(2_000)])
    assert caught.value.code == "store.corrupt"
    assert [alarm.code for alarm in alarms] == ["store.corrupt"]
    await store.close()


async def test_a_full_database_refuses_writers_only(tmp_path: Path) -> None:
    """Whoever writes hears store.disk_full, readers and watchers go on, and writing resumes by itself."""
    store = await open_file(tmp_path)
    watcher = store.watch()
    assert (await anext(watcher)).synced
    await store.put([Put("a", b"1")])
    await pragma(store, "max_page_count = 1")
    with pytest.raises(StoreUnavailable) as caught:
        await store.put([Put("big", bytes(100_000))])
    assert caught.value.code == "store.disk_full"
    assert [change.key for change in (await anext(watcher)).changes] == ["a"]
    assert await contents(store) == {"a": b"1"}
    await pragma(store, "max_page_count = 1000000")
    await store.put([Put("big", bytes(100_000))])
    assert [change.key for change in (await anext(watcher)).changes] == ["big"]
    await store.close()


def test_a_limit_of_the_file_size_is_a_full_disk(tmp_path: Path) -> None:
    """A real failed write in the log loses nothing, numbers nothing, and is over when there is room again."""
    assert run(*CHILD, "outgrow", tmp_path) == ["store.disk_full", "lost 0 0", "skipped 0"]


async def test_a_database_gone_read_only_refuses_writers_only(tmp_path: Path) -> None:
    """Whoever writes hears store.read_only, readers go on, and writing resumes by itself."""
    store = await open_file(tmp_path)
    await store.put([Put("a", b"1")])
    await pragma(store, "query_only = ON")
    with pytest.raises(StoreUnavailable) as caught:
        await store.put([Put("b", b"1")])
    assert caught.value.code == "store.read_only"
    assert await contents(store) == {"a": b"1"}
    await pragma(store, "query_only = OFF")
    await store.put([Put("b", b"1")])
    await store.close()


def test_a_directory_that_may_not_be_written_is_told() -> None:
    """Opening fails with store.read_only; as root the child becomes nobody first, whom permissions bind."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        assert run(*CHILD, "refused", folder) == ["store.read_only"]
        assert os.listdir(folder) == []


async def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    """Opening fails with store.read_only and names the path."""
    with pytest.raises(StoreUnavailable, match="missing") as caught:
        await open_file(tmp_path / "missing")
    assert caught.value.code == "store.read_only"


async def test_a_file_has_one_process(tmp_path: Path) -> None:
    """Opening it in a second process fails with store.locked; after the first has ended it opens."""
    with child("hold", tmp_path) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(StoreUnavailable) as caught:
            await open_file(tmp_path)
        assert caught.value.code == "store.locked"
        process.stdin.close()
        assert process.wait(SOON) == 0
    store = await open_file(tmp_path)
    with pytest.raises(StoreUnavailable) as caught:
        await open_file(tmp_path)
    assert caught.value.code == "store.locked"
    await store.close()


async def test_a_reader_from_outside_cannot_let_the_log_grow(tmp_path: Path) -> None:
    """While another program pins the log it stays below 64 MiB, then writers hear store.locked until it is gone."""
    store = await open_file(tmp_path)
    await store.put([Put("a", b"1")])
    outsider = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    outsider.execute("BEGIN")
    outsider.execute("SELECT * FROM record").fetchall()
    code = ""
    for n in range(100):  # different bytes each time: SQLite does not write a page that stays the same
        try:
            await store.put([Put("a", bytes([n]) * 1024 * 1024)])
        except StoreUnavailable as error:
            code = error.code
            break
    assert code == "store.locked"
    assert WAL_LIMIT // 2 < (tmp_path / "state.db-wal").stat().st_size <= WAL_LIMIT
    outsider.close()
    await store.put([Put("a", b"2")])
    assert (tmp_path / "state.db-wal").stat().st_size < WAL_LIMIT // 2
    assert await contents(store) == {"a": b"2"}
    await store.close()


async def test_no_acknowledged_put_is_lost_by_kill_9(tmp_path: Path) -> None:
    """Twenty kills at random moments under fifty writers: every acknowledged record is there, and puts are whole."""
    chance = random.Random(20)
    acknowledged = dict.fromkeys(range(WRITERS), 0)
    highest = 0
    for _ in range(20):
        (tmp_path / "start").write_text(str(max(acknowledged.values())))
        lines = await asyncio.to_thread(_killed, tmp_path, chance.uniform(0.0, 0.06))
        assert lines, "killed before the first acknowledgement"
        for line in lines:
            writer, number, revision = map(int, line.split())
            assert number > acknowledged[writer]
            acknowledged[writer] = number
            highest = max(highest, revision)
        alarms: list[GatewayError] = []
        store = await open_file(tmp_path, alarms)
        assert alarms == []
        assert await store.put([]) >= highest
        found = {key: int(value) for key, value in (await contents(store)).items() if value is not None}
        await store.close()
        for writer, number in acknowledged.items():
            assert number == 0 or found[f"{writer}/{number % 5}"] >= number
            newest = max((found.get(f"{writer}/{n}", 0) for n in range(5)), default=0)
            assert found.get(f"twin/{writer}", 0) == newest


def _killed(folder: Path, after: float) -> list[bytes]:
    """What a child acknowledged until it was killed, `after` seconds behind its first acknowledgement."""
    with child("acknowledge", folder) as process:
        assert process.stdout is not None
        pipe, output = process.stdout.fileno(), os.read(process.stdout.fileno(), 65536)
        end = time.monotonic() + after
        while (left := end - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                output += os.read(pipe, 65536)
        process.kill()
        while more := os.read(pipe, 65536):
            output += more
    return output.split(b"\n")[:-1]  # the last line may have been cut


def test_every_acknowledgement_follows_a_sync(tmp_path: Path) -> None:
    """Seen from the kernel: between two acknowledgements the log has been synced, successfully."""
    lines = run(
        sys.executable, "-m", "tests.faults.syscalls", sys.executable, *CHILD[1:], "acknowledge_in_turn", tmp_path
    )
    events = [line for line in lines if line in (f"sync {tmp_path}/state.db-wal", f"write {tmp_path}/acks")]
    acks = [n for n, line in enumerate(events) if line.startswith("write")]
    assert len(acks) == 20
    for previous, ack in zip([-1, *acks], acks, strict=False):
        assert ack - previous >= 2, "acknowledged without a sync"
