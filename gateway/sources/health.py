"""What operators learn of a calendar server: its health, its mailboxes' health, and log lines that do not flood."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.errors import GatewayError
from gateway.sources import MailboxHealth, ServerHealth

Log = Callable[..., None]
"""`log(level, event, **fields)`, level as in `logging`."""

QUIET: Final = 60.0
"""One line per event and reason in that many seconds."""


def structured(level: int, event: str, **fields: object) -> None:
    """The process's structured log, as it is configured at that moment."""
    structlog.get_logger().log(level, event, **fields)


class Journal:
    """Log lines of one source: the first of a kind at once, then at most one per event, reason and minute.

    Every line has `count`, how many it stands for; the other fields are those of the last of them.
    """

    def __init__(self, source: str, log: Log) -> None:
        self._source = source
        self._log = log
        self._written: dict[tuple[str, str], float] = {}
        self._kept: dict[tuple[str, str], tuple[int, int, dict[str, object]]] = {}

    def write(self, now: float, level: int, event: str, code: str, **fields: object) -> None:
        """Something of that kind happened at that instant (monotonic)."""
        kind = (event, code)
        count = self._kept[kind][1] if kind in self._kept else 0
        self._kept[kind] = (level, count + 1, fields)
        if now - self._written.get(kind, float("-inf")) >= QUIET:
            self._emit(kind, now)

    def flush(self, now: float) -> None:
        """Write what was held back for a minute, and forget the kinds that are quiet."""
        for kind in [kind for kind, written in self._written.items() if now - written >= QUIET]:
            if kind in self._kept:
                self._emit(kind, now)
            else:
                del self._written[kind]

    def _emit(self, kind: tuple[str, str], now: float) -> None:
        level, count, fields = self._kept.pop(kind)
        self._written[kind] = now
        self._log(level, kind[0], source=self._source, code=kind[1], count=count, **fields)


class Health:
    """The state of one server and the log lines of its changes."""

    def __init__(self, name: str, kind: str, journal: Journal) -> None:
        self._server = ServerHealth(name=name, kind=kind)
        self._journal = journal

    def snapshot(self, mailboxes: Iterable[MailboxHealth]) -> ServerHealth:
        """A copy of this moment, with the mailboxes counted by reason code."""
        return replace(self._server, mailboxes=dict(Counter(health.code for health in mailboxes)))

    def answered(self, wall: datetime, now: float) -> None:
        """The server answered a call."""
        server = self._server
        server.last_success = wall
        if server.code == "ok":
            return
        if server.code != "pending":
            self._journal.write(now, logging.INFO, "source.server.recovered", server.code)
        server.code, server.since, server.message, server.retry_at = "ok", wall, "", None

    def call_failed(
        self, error: GatewayError, wall: datetime, now: float, pause: float, mailboxes: int, *, held: bool
    ) -> None:
        """A whole call for that many mailboxes failed; no other starts for `pause` seconds."""
        server = self._server
        if server.code != error.code:
            server.code, server.since = error.code, wall
        server.message = str(error)
        server.retry_at = later(wall, pause)
        event = "source.server.held" if held else "source.fetch.failed"
        level = logging.ERROR if held else logging.WARNING
        self._journal.write(now, level, event, error.code, error=str(error), hint=error.hint, mailboxes=mailboxes)

    def released(self) -> None:
        """An operator ended the pause."""
        self._server.retry_at = None

    def mailbox_read(self, health: MailboxHealth, wall: datetime, now: float) -> None:
        """This mailbox was read."""
        health.last_success = wall
        if health.code == "ok":
            return
        if health.code != "pending":
            self._journal.write(now, logging.INFO, "source.mailbox.recovered", health.code, mailbox=health.mailbox)
        health.code, health.since, health.message, health.retry_at = "ok", wall, "", None

    def mailbox_failed(
        self, health: MailboxHealth, error: GatewayError, wall: datetime, now: float, delay: float
    ) -> None:
        """This mailbox failed in a call that succeeded; it is read again after `delay` seconds."""
        if health.code != error.code:
            health.code, health.since = error.code, wall
            self._journal.write(
                now,
                logging.WARNING,
                "source.mailbox.failed",
                error.code,
                mailbox=health.mailbox,
                error=str(error),
                hint=error.hint,
            )
        health.message = str(error)
        health.retry_at = later(wall, delay)


def later(wall: datetime, seconds: float) -> datetime | None:
    """That many seconds after `wall`; None if never."""
    return None if seconds == float("inf") else wall + timedelta(seconds=max(0.0, seconds))
