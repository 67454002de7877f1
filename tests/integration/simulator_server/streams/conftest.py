"""A simulator that lives by the test's clock, and a client with a connection for every stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.simulator import Simulator, StreamOptions, World
from tests.clock import FakeClock
from tests.integration.simulator_server.conftest import connect

from .client import Subscriber


@pytest.fixture
async def exchange(world: World, clock: FakeClock) -> AsyncIterator[Simulator]:
    """A simulator that lives by the test's clock."""
    async with Simulator(world, now=clock.now, sleep=clock.sleep, monotonic=clock.monotonic) as simulator:
        yield simulator


@pytest.fixture
async def subscriber(exchange: Simulator) -> AsyncIterator[Subscriber]:
    """A client of that simulator."""
    async with connect(exchange, limit=0) as session:
        subscriber = Subscriber(exchange, session)
        yield subscriber
        subscriber.leave()


@pytest.fixture
def switches(exchange: Simulator) -> StreamOptions:
    """How the simulator streams."""
    return exchange.ews.options.streams
