"""The gallery: all audiences by view, and who of them is to be told about whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from gateway.web import frames
from gateway.web.audience import CROWD, Audience, Outlet, Subscriber
from gateway.web.ledger import Ledger, Move
from gateway.web.ports import Directory, Reader
from gateway.web.views import View

REMEMBERED = 64
"""Views of polls whose people are remembered until the directory changes."""


class Gallery:
    """Who watches. Every person's entry in the ledger lists, per level, the audiences to tell."""

    def __init__(self, ledger: Ledger, process: str) -> None:
        self._ledger = ledger
        self._process = process
        self._by_view: dict[str, list[Audience]] = {}
        self._polled: dict[str, tuple[str, ...]] = {}

    def people(self, view: View) -> tuple[str, ...]:
        """Who is in a view now, sorted."""
        if audiences := self._by_view.get(view.key):
            return audiences[0].people
        if view.people is not None:
            return view.members(self._ledger.directory)
        people = self._polled.get(view.key)
        if people is None:
            if len(self._polled) >= REMEMBERED:
                self._polled.clear()
            people = self._polled[view.key] = view.members(self._ledger.directory)
        return people

    def newest(self, view: View) -> Audience | None:
        """The audience of that view which a newcomer would join."""
        audiences = self._by_view.get(view.key)
        return audiences[-1] if audiences else None

    def admit(self, view: View, outlet: Outlet, still_valid: Callable[[Reader], bool] | None) -> Subscriber:
        """Make a member of an audience that has been told everything, so that it misses and repeats nothing."""
        audience = self.newest(view)
        if audience is None or audience.pending or len(audience.members) >= CROWD:
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

    def move(self, directory: Directory) -> Iterator[tuple[Audience, str, bytes]]:
        """Another directory: yields whom to tell about whom who came or went, per audience in ascending order."""
        moves = self._ledger.move(directory)
        self._polled.clear()
        for audiences in list(self._by_view.values()):
            view = audiences[0].view
            if changes := list(_changes(view, moves)):
                people = view.members(directory)
                for audience in audiences:
                    audience.people = people
                    yield from self._redraw(audience, changes)

    def _redraw(self, audience: Audience, changes: list[tuple[Move, bool]]) -> Iterator[tuple[Audience, str, bytes]]:
        level = audience.view.level
        for move, came in changes:
            person = move.person
            if came:
                shown = self._ledger.entry(person).at(level(person))
                shown.audiences.append(audience)
                if shown.frame:
                    yield audience, person, shown.frame
            else:
                if (entry := self._ledger.find(person)) is not None:
                    entry.at(level(person)).audiences.remove(audience)
                yield audience, person, frames.gone(move.n, self._ledger.revision, person)

    def _gather(self, view: View) -> Audience:
        """A new audience, told of every change of its people from now on. It keeps the directory's own strings."""
        people = self.people(view)
        if view.people is not None:
            known = {person: person for person in people}
            named = tuple(known.get(person, person) for person in view.people)
            view = replace(view, people=people if people == named else named)
        audience = Audience(view, people, self._process)
        for person in people:
            self._ledger.entry(person).at(view.level(person)).audiences.append(audience)
        self._by_view.setdefault(view.key, []).append(audience)
        return audience

    def _disband(self, audience: Audience) -> None:
        for person in audience.people:
            self._ledger.entry(person).at(audience.view.level(person)).audiences.remove(audience)
        audience.pending.clear()
        audiences = self._by_view[audience.view.key]
        audiences.remove(audience)
        if not audiences:
            del self._by_view[audience.view.key]


def _changes(view: View, moves: dict[str, Move]) -> Iterator[tuple[Move, bool]]:
    """Who came into the view (True) or left it (False), in ascending change order."""
    named_only = view.people is not None and not view.groups
    concerned = [moves[name] for name in view.people or () if name in moves] if named_only else list(moves.values())
    for move in sorted(concerned, key=lambda move: move.n):
        was = move.old is not None and view.admits(move.old)
        now = move.new is not None and view.admits(move.new)
        if was != now:
            yield move, now
