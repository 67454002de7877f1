"""Subscribers, and the audiences they form: those with the same view share one set of pending frames and its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final, Protocol

from gateway.web.ports import Reader
from gateway.web.views import View

CROWD: Final = 256
"""Subscribers of one audience at most, so that telling an audience never holds the event loop for long."""
BATCH: Final = 128
"""Frames of one write at most: what user space holds for a subscriber that stopped reading is one batch."""
SYNCED: Final = ""
"""The place of the `synced` event among frames kept by person; no person is called that."""

Pending = dict[str, bytes]
"""Newest unsent frame per person. Replacing means removing and inserting anew, so that ids rise: a connection cut
between two frames of a batch has then lost only higher ids than the last one it got."""


class Outlet(Protocol):
    """One connection as the hub sees it. Nothing here waits."""

    def attach(self, subscriber: Subscriber) -> None:
        """Its subscriber, for `Hub.pause` and `Hub.resume`; told before the first write."""
        ...

    @property
    def write(self) -> Callable[[bytes], object]:
        """Hand over bytes; the outlet calls `Hub.pause` when it could not pass them all on."""
        ...

    def unsent(self) -> int:
        """Bytes handed over and not yet passed on."""
        ...

    def close(self) -> None:
        """End it after what was handed over."""
        ...

    def abort(self) -> None:
        """End it now."""
        ...


class Subscriber:
    """One open stream or long poll. `backlog` is what came while it was `blocked`; it is empty otherwise."""

    __slots__ = ("audience", "backlog", "blocked", "outlet", "reader", "shift", "slot", "still_valid", "write")

    def __init__(
        self, audience: Audience, reader: Reader, outlet: Outlet, still_valid: Callable[[Reader], bool] | None
    ) -> None:
        self.audience = audience
        self.reader = reader
        self.outlet = outlet
        self.write = outlet.write
        self.still_valid = still_valid
        self.blocked = False
        self.backlog: Pending = {}
        self.slot = self.shift = -1
        outlet.attach(self)

    def keep(self, frames: Mapping[str, bytes]) -> int:
        """Put frames behind the backlog; returns how many older ones they replaced."""
        backlog, before = self.backlog, len(self.backlog)
        for person, frame in frames.items():
            if person in backlog:
                del backlog[person]
            backlog[person] = frame
        return before + len(frames) - len(backlog)


class Audience:
    """At most CROWD subscribers of one view who were told the same so far, except the blocked ones.

    `people` are the visible ones, sorted; `pending` is due to every member.
    """

    __slots__ = ("members", "pending", "people", "prefix", "view")

    def __init__(self, view: View, people: tuple[str, ...], process: str) -> None:
        self.view = view
        self.people = people
        self.prefix = f"id: {process}.{view.key}.".encode("ascii")
        self.pending: Pending = {}
        self.members: list[Subscriber] = []

    def join(self, frames: Mapping[str, bytes]) -> bytes:
        """The bytes of these frames for this view, in one piece and one copy."""
        return self.prefix.join((b"", *frames.values()))

    def take(self) -> Pending:
        """Remove and return the oldest pending frames, at most one batch."""
        pending = self.pending
        if len(pending) > BATCH:
            return take(pending)
        self.pending = {}
        return pending


def take(pending: Pending) -> Pending:
    """Remove and return the oldest frames, at most one batch."""
    part = dict(islice(pending.items(), BATCH))
    for person in part:
        del pending[person]
    return part
