"""Subscribers, and the audiences they form: those with the same view share one set of pending frames and its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from operator import attrgetter
from typing import Final, Protocol

from gateway.web.ledger import Shown
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

_number = attrgetter("n")


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

    def take(self) -> Pending:
        """Remove and return the oldest of the backlog, at most one batch."""
        backlog = self.backlog
        if len(backlog) <= BATCH:
            self.backlog = {}  # a new one, because an emptied one keeps its room
            return backlog
        part = dict(islice(backlog.items(), BATCH))
        for person in part:
            del backlog[person]
        return part


class Audience:
    """At most CROWD subscribers of one view who were told the same so far, except the blocked ones.

    `shown` are the visible people at the view's level. `once` is news of who came and went. Changes up to `told` are
    known to every member, or in its backlog, or in `rest`.
    """

    __slots__ = ("members", "once", "prefix", "rest", "shown", "told", "view")

    def __init__(self, view: View, shown: list[Shown], told: int, process: str) -> None:
        self.view = view
        self.shown = shown
        self.told = told
        self.prefix = f"id: {process}.{view.key}.".encode("ascii")
        self.once: list[Shown] = []
        self.rest: list[Shown] = []
        self.members: list[Subscriber] = []

    def join(self, frames: Iterable[bytes]) -> bytes:
        """The bytes of these frames for this view, in one piece and one copy."""
        return self.prefix.join((b"", *frames))

    def take(self, horizon: int, changed: list[Shown] | None = None) -> list[Shown]:
        """Who is to be told of next, at most one batch, by ascending number; what is over stays in `rest`.

        That is whoever changed after `told` and up to `horizon`; whoever changed again since then is left for the
        next time. `changed` has all of them, if the caller knows.
        """
        if self.rest:
            due = [shown for shown in self.rest if shown.n <= self.told]
        elif horizon <= self.told:
            return []
        else:
            told, self.told = self.told, horizon
            due = [shown for shown in (self.shown if changed is None else changed) if told < shown.n <= horizon]
            if self.once:
                due = self._with_moves(due)
            elif len(due) > 1:
                due.sort(key=_number)
        self.rest = due[BATCH:]
        return due[:BATCH] if self.rest else due

    def _with_moves(self, due: list[Shown]) -> list[Shown]:
        """The same with those who came and went, the newest news of each person only."""
        due = sorted(due + [shown for shown in self.once if shown.n <= self.told], key=_number)
        self.once = [shown for shown in self.once if shown.n > self.told]
        newest = {shown.person: shown for shown in due}
        return [shown for shown in due if newest[shown.person] is shown]
