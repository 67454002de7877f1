"""What the service manager is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A notification socket as systemd has one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def test_every_step_of_a_life_is_told(manager: socket.socket) -> None:
    """Ready, reloading with its time, ready again, alive, stopping (sd_notify(3))."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("serving 3 people")
    notifier.reloading()
    notifier.ready()
    notifier.alive()
    notifier.stopping()
    told = [manager.recv(1024).decode().split("\n") for _ in range(5)]
    assert told[0] == ["READY=1", "STATUS=serving 3 people"]
    assert told[1][0] == "RELOADING=1"
    assert told[1][1].startswith("MONOTONIC_USEC=")
    assert told[2:] == [["READY=1"], ["WATCHDOG=1"], ["STOPPING=1"]]


def test_abstract_sockets_work() -> None:
    """An address that begins with @ is in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0presence-gateway-test-{os.getpid()}")
        listening.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@presence-gateway-test-{os.getpid()}"}).ready()
        assert listening.recv(64) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}, {"NOTIFY_SOCKET": "\0"}])
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    """Started by hand, or with a socket that is gone, the service runs all the same."""
    notifier = Notifier(environ)
    notifier.ready()
    notifier.stopping()
    assert notifier.watchdog_interval is None


def test_the_watchdog_is_fed_twice_per_period() -> None:
    """Half of WATCHDOG_USEC, and only if it is meant for this process."""
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    assert Notifier(environ).watchdog_interval == 15.0
    assert Notifier({**environ, "WATCHDOG_PID": "1"}).watchdog_interval is None
