"""The bucket of failed logons."""

import pytest

from gateway.web.auth import FailedLogons
from gateway.web.problems import Problem
from tests.clock import FakeClock


async def test_a_network_has_its_share_per_minute() -> None:
    """Ten at once, then one every six seconds; another network is not concerned."""
    clock = FakeClock()
    failures = FailedLogons(clock, per_minute=10)
    for _ in range(10):
        failures.count("192.0.2.1")
    with pytest.raises(Problem) as refused:
        failures.count("192.0.2.1")
    assert refused.value.headers == {"Retry-After": "6"}
    failures.count("192.0.2.2")
    await clock.advance(5)
    with pytest.raises(Problem) as refused:
        failures.count("192.0.2.1")
    assert refused.value.headers == {"Retry-After": "1"}
    await clock.advance(1)
    failures.count("192.0.2.1")


async def test_the_memory_for_networks_is_bounded() -> None:
    """The network that failed longest ago is forgotten first."""
    failures = FailedLogons(FakeClock(), per_minute=1, networks=2)
    for network in ("a", "b", "c"):
        failures.count(network)
    failures.count("a")
    with pytest.raises(Problem):
        failures.count("c")
