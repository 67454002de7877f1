"""What every test lives with: its guards, and the fixtures of the stories (see `tests.story`)."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster

from tests.clock import FakeClock
from tests.story.leftovers import tasks_left, threads_left
from tests.story.witness import WITNESS, Witness

if TYPE_CHECKING:  # at run time only in tests that want them: they load the whole gateway, and exchangelib
    from tests.story.office import Office
    from tests.story.product import Product

MAY_BLOCK = (
    # Zone files: a few kilobytes, once per zone and process.
    ("os.stat", "zoneinfo/_tzpath.py", {"find_tzfile"}),
    ("io.BufferedReader.read", "zoneinfo/_common.py", {"load_data"}),
    # The trust bundle: read once per calendar server, before anything is served.
    ("io.BufferedReader.read", "gateway/sources/tls.py", {"bundle_problems"}),
    # The page: read once from the installed package, before anything is served.
    ("io.BufferedReader.read", "gateway/web/site.py", {"_file"}),
)
"""Blocking functions, and in which functions of which files they may be called on the event loop all the same."""

WITNESS.watch_all()


@pytest.fixture(autouse=True)
def witness() -> Iterator[Witness]:
    """No simulator saw the gateway ask for what a meeting is about, or try to change something."""
    yield WITNESS
    assert WITNESS.take() == []


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    """A test ends the threads it began."""
    before = threading.enumerate()
    yield
    assert threads_left(before) == []


@pytest.fixture
async def _no_tasks_left() -> AsyncIterator[None]:
    """A test ends the tasks it began."""
    yield
    assert await tasks_left() == []


@pytest.fixture(autouse=True)
def _event_loop(request: pytest.FixtureRequest, _no_threads_left: None) -> Iterator[None]:
    """On the event loop the gateway's code never blocks, and leaves nothing behind."""
    if not inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        yield
        return
    request.getfixturevalue("_no_tasks_left")
    guard = _blocking_guard()
    guard.activate()
    yield
    guard.deactivate()


def _blocking_guard() -> BlockBuster:
    guard = BlockBuster("gateway")
    for function, file, callers in MAY_BLOCK:
        guard.functions[function].can_block_in(file, callers)
    return guard


@pytest.fixture
def clock() -> FakeClock:
    """Nine o'clock of a Friday; it moves only when the test says so."""
    return FakeClock()


@pytest.fixture
async def office(clock: FakeClock, tmp_path: Path) -> AsyncIterator[Office]:
    """An Exchange with a few people, in the clock's time."""
    from tests.story.office import open_office

    async with open_office(clock, tmp_path) as office:
        yield office


@pytest.fixture
async def gateway(office: Office) -> AsyncIterator[Product]:
    """The whole gateway, reading that office every minute."""
    from tests.story.product import open_product

    async with open_product(office) as product:
        yield product
