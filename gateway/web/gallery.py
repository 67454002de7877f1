"""The gallery: all audiences by view, and who of them is to be told about whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from gateway.web.audience import CROWD, Audience, Outlet, Subscriber
from gateway.web.ledger import Ledger, Move, Shown
from gateway.web.ports import Directory, Reader
from gateway.web.views import View

REMEMBERED: Final = 64
"""Views of polls whose people are remembered until the directory changes."""


class Gallery:
    """Who watches. Every person's entry in the ledger lists, per level, the audiences to tell.

    `watching` is how many people all audiences see, taken together.
    """

    def __init__(self, ledger: Ledger, process: str) -> None:
        self._ledger = ledger
        self._process = process
        self.watching = 0
        self._by_view: dict[str, list[Audience]] = {}
        self._polled: dict[str, tuple[str, ...]] = {}

    def people(self, view: View) -> tuple[str, ...]:
        """Who is in a view now, sorted."""
        if view.people is not None:
            return view.members(self._ledger.directory)
        people = self._polled.get(view.key)
        if people is None:
            if len(self._polled) >= REMEMBERED:
                self._polled.clear()
            people = self._polled[view.key] = view.members(self._ledger.directory)
        return people

    def audiences(self) -> Iterator[Audience]:
        """All of them."""
        for audiences in self._by_view.values():
            yield from audiences

    def newest(self, view: View) -> Audience | None:
        """The audience of that view which a newcomer would join."""
        audiences = self._by_view.get(view.key)
        return audiences[-1] if audiences else None

    def admit(self, view: View, outlet: Outlet, still_valid: Callable[[Reader], bool] | None) -> Subscriber:
        """Make a member of an audience that has been told everything, so that it misses and repeats nothing."""
        audience = self.newest(view)
        if audience is None or audience.rest or len(audience.members) >= CROWD:
            audience = self._gather(view)
        subscriber = Subscriber(audience, view.reader, outlet, still_valid)
        audience.members.append(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> bool:
        """No longer a member; False if it was none."""
        audience = subscriber.audience
        if subscriber not in audience.members:
            return False
        audience.members.remove(subscriber)
        if not audience.members:
            self._disband(audience)
        return True

    def move(self, directory: Directory) -> Iterator[Audience]:
        """Another directory: every view sees who came and who went; yields whom to tell."""
        moves = self._ledger.move(directory)
        self._polled.clear()
        for audiences in self._by_view.values():
            if changes := list(_changes(audiences[0].view, moves)):
                for audience in audiences:
                    self._redraw(audience, changes)
                    yield audience

    def _redraw(self, audience: Audience, changes: list[tuple[Move, bool]]) -> None:
        gone = {move.person for move, came in changes if not came}
        if gone:
            for shown in audience.shown:
                if shown.person in gone:
                    shown.audiences.remove(audience)
            audience.shown = [shown for shown in audience.shown if shown.person not in gone]
        revision = self._ledger.revision
        for move, came in changes:
            if came:
                shown = self._shown(audience.view, move.person)
                audience.shown.append(shown)
                shown.audiences.append(audience)
                if shown.frame:
                    audience.once.append(shown.first(revision))
            else:
                audience.once.append(Shown.gone(move.n, revision, move.person))
        self.watching += 2 * sum(came for _, came in changes) - len(changes)

    def _gather(self, view: View) -> Audience:
        """A new audience, told of every change of its people from now on. It keeps the directory's own strings."""
        people = self.people(view)
        if view.people is not None:
            known = {person: person for person in people}
            view = replace(view, people=tuple(known.get(person, person) for person in view.people))
        shown = [self._shown(view, person) for person in people]
        audience = Audience(view, shown, self._ledger.n, self._process)
        for each in shown:
            each.audiences.append(audience)
        self.watching += len(shown)
        self._by_view.setdefault(view.key, []).append(audience)
        return audience

    def _disband(self, audience: Audience) -> None:
        for shown in audience.shown:
            shown.audiences.remove(audience)
        self.watching -= len(audience.shown)
        audiences = self._by_view[audience.view.key]
        audiences.remove(audience)
        if not audiences:
            del self._by_view[audience.view.key]

    def _shown(self, view: View, person: str) -> Shown:
        return self._ledger.entry(person).at(view.level(person))


def _changes(view: View, moves: dict[str, Move]) -> Iterator[tuple[Move, bool]]:
    """Who came into the view (True) or left it (False), in ascending change order."""
    named_only = view.people is not None and not view.groups
    concerned = [moves[name] for name in view.people or () if name in moves] if named_only else list(moves.values())
    for move in sorted(concerned, key=lambda move: move.n):
        was = move.old is not None and view.admits(move.old)
        now = move.new is not None and view.admits(move.new)
        if was != now:
            yield move, now
