"""sd_notify(3) in a few lines: telling systemd that the service is ready, reloading, stopping and alive.

Outside systemd ($NOTIFY_SOCKET unset) every call does nothing. A failure to notify is never a failure of the service.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """The way to the service manager that started us."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """`environ` defaults to the process's environment."""
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        micros = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_interval = int(micros) / 2e6 if micros.isdigit() and ours and self._address else None
        """Seconds between two calls of `alive` (half the time systemd waits), or None if it does not wait for them."""

    def ready(self, status: str = "") -> None:
        """The service answers requests (again)."""
        self._send("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """The configuration is being read again; `ready` says when that is done."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service is on its way out."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The event loop still turns (WatchdogSec=)."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return
