"""Who may share a call with whom: one slow, failing or poisonous mailbox must not cost its neighbours.

A server answers for a hundred mailboxes when the slowest is done, and one of them may spoil the whole answer. Such a
batch is halved until the culprit is alone, and its neighbours are back among the healthy. Repeat offenders are read
in small batches of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.errors import SourceError
from gateway.sources.pacing import ALONE, UNLIMITED, Entry, Line

SMALL_BATCH: Final = 20
REPEATED: Final = 2
"""Failures in a row after which a mailbox is read apart from the healthy ones."""

SLOW, SLOW_FACTOR, WEIGHT = 10.0, 4.0, 0.2
"""A call is slow after 10 s if that is also four times the usual (an average that follows each call by a fifth)."""

TRUSTED: Final = 300.0
"""Seconds since its last answer in which the server as such counts as working."""

DIVISIBLE: Final = (
    "protocol.",
    "http.body_too_large",
    "http.truncated",
    "server.error",
    "net.read_timeout",
    "net.too_slow",
    "net.reset",
)
"""Failures of a whole call that one mailbox in it may have caused."""


class Sharing:
    """Learns from every call of one server which mailboxes go together."""

    def __init__(self) -> None:
        self._usual: float | None = None
        self._answered_at = float("-inf")

    def answered(self, entries: Sequence[Entry], took: float, batch: int, now: float) -> None:
        """The call was answered after `took` seconds; `batch` is the most a call may ask for."""
        self._answered_at = now
        limit = max(SLOW, SLOW_FACTOR * (took if self._usual is None else self._usual))
        slow = took > limit
        for entry in entries:
            if slow:
                _halve(entry, entries)
            elif entry.share < UNLIMITED:
                entry.share = 2 * entry.share if 2 * entry.share < batch else UNLIMITED
        if entries[0].line is Line.HEALTHY:
            seen = min(took, 2 * limit)
            self._usual = seen if self._usual is None else self._usual + WEIGHT * (seen - self._usual)

    def failed(self, entries: Sequence[Entry], error: SourceError, now: float) -> bool:
        """The whole call failed while the breaker was closed; True if its only mailbox is to blame."""
        if not error.code.startswith(DIVISIBLE):
            return False
        for entry in entries:
            _halve(entry, entries)
        return len(entries) == ALONE and now - self._answered_at < TRUSTED

    def place(self, entry: Entry) -> None:
        """Choose its line, before its next turn is planned."""
        if entry.failures >= REPEATED and entry.share > SMALL_BATCH:
            entry.share = SMALL_BATCH
        entry.line = Line.HEALTHY if entry.share == UNLIMITED else Line.QUARANTINE


def _halve(entry: Entry, entries: Sequence[Entry]) -> None:
    entry.share = max(ALONE, len(entries) // 2)
