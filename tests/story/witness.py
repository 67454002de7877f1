"""What the gateway asks of Exchange, seen by every simulator of the suite: nothing private, and no write.

The gateway's connections are known by their User-Agent; other clients of the simulator may do what they like.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import wraps
from typing import Any

from gateway.simulator import Entry, Simulator
from gateway.simulator.journal import READS

USER_AGENT = "presence-gateway"
"""How the User-Agent of all the gateway's own connections begins."""
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
"""EWS is POST alone; whatever other method would change something."""


def is_ours(entry: Entry) -> bool:
    """Whether the gateway sent it."""
    return entry.user_agent.startswith(USER_AGENT)


def offence(entry: Entry) -> str | None:
    """What is wrong with a request, if it is the gateway's and asks for content or would write."""
    if not is_ours(entry):
        return None
    if entry.method not in METHODS or (entry.operation and entry.operation not in READS):
        return f"the gateway sent a write: {entry.method} {entry.operation}"
    if entry.asks_content:
        return f"the gateway asked for content: {entry.operation} {entry.view or ''} {sorted(entry.properties)}"
    return None


class Witness:
    """Sees every request to every simulator it was told of, from then on; a cleared journal hides nothing."""

    def __init__(self) -> None:
        self.seen = 0
        """How many requests of the gateway there were."""
        self._offences: list[str] = []

    def watch(self, simulator: Simulator) -> None:
        """Look at what comes to this one as well."""
        simulator.journal.on_record(self._see)

    def watch_all(self) -> None:
        """Look at what comes to every simulator that is made in this process from now on."""
        make = Simulator.__init__

        @wraps(make)
        def watched(simulator: Simulator, *arguments: Any, **options: Any) -> None:
            make(simulator, *arguments, **options)
            self.watch(simulator)

        Simulator.__init__ = watched  # type: ignore[assignment, method-assign]

    def hear(self, entries: Iterable[Entry]) -> None:
        """Judge requests that another process's simulator tells of."""
        for entry in entries:
            self._see(entry)

    def take(self) -> list[str]:
        """The offences since the last time."""
        offences, self._offences = self._offences, []
        return offences

    def _see(self, entry: Entry) -> None:
        self.seen += is_ours(entry)
        if (found := offence(entry)) is not None:
            self._offences.append(found)


WITNESS = Witness()
"""The suite's own."""
