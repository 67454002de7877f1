"""Readers of an event stream without a network: a wire that can be stalled and cut anywhere, and what is understood."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gateway.core.model import Availability, Component, Effective, Kind, Level, Person, Presence, Reach
from gateway.people import People
from gateway.web.audience import Subscriber
from gateway.web.hub import Hub
from gateway.web.ports import Reader

NINE = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
_REACH = {
    "available": Reach.REACHABLE,
    "away": Reach.AWAY,
    "do_not_disturb": Reach.DO_NOT_DISTURB,
    "busy": Reach.BUSY,
    "offline": Reach.UNREACHABLE,
}


def presence(person: str, state: str = "available", *, since: datetime = NINE, invisible: bool = False) -> Presence:
    """Somebody whose availability decides."""
    label = state.replace("_", " ").capitalize()
    return Presence(
        person,
        Effective(Kind.AVAILABILITY, Availability(state).value, label, since, None),
        _REACH[state],
        Component(state, label, since, None, tooltip=label),
        invisible=invisible,
    )


def reader(level: Level = Level.COLLEAGUE, *groups: str, person: str | None = None, name: str = "chat") -> Reader:
    """Somebody with the scope watch."""
    return Reader(name, frozenset({"watch"}), level, frozenset(groups), person)


def people(groups_of: Mapping[str, tuple[str, ...]]) -> People:
    """A directory made of ids and their groups."""
    return People([Person(name, groups=groups) for name, groups in groups_of.items()])


@dataclass(frozen=True)
class Event:
    """One parsed event; `n` is the change number of its id, None without one."""

    name: str
    data: bytes
    id: str | None

    @property
    def n(self) -> int | None:
        return None if self.id is None else int(self.id.split(".")[2])

    @property
    def person(self) -> str:
        return str(json.loads(self.data)["person"])


def parse(text: bytes) -> tuple[list[Event], bytes]:
    """The complete events of a stream by the rules of the WHATWG, and the rest that is not complete yet."""
    *blocks, rest = text.split(b"\n\n")
    events = []
    for block in blocks:
        event = Event("message", b"", None)
        for line in block.split(b"\n"):
            field, _, value = line.partition(b": ")
            if field == b"data":
                event = replace(event, data=value)
            elif field == b"event":
                event = replace(event, name=value.decode())
            elif field == b"id":
                event = replace(event, id=value.decode())
        if event.data:
            events.append(event)
    return events, rest


class Wire:
    """An outlet: bytes wait in it while it is stalled, which the hub is told."""

    def __init__(self, hub: Hub) -> None:
        self.sent = b""
        self.writes: list[bytes] = []
        self.stalled = self.closed = self.aborted = False
        self._held = b""
        self._hub = hub
        self._subscriber: Subscriber | None = None

    def attach(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        if self.stalled:
            first = not self._held
            self._held += data
            if first and self._subscriber is not None:
                self._hub.pause(self._subscriber)
        else:
            self.sent += data

    def unsent(self) -> int:
        return len(self._held)

    def trickle(self, size: int) -> None:
        """The peer takes some bytes."""
        self.sent += self._held[:size]
        self._held = self._held[size:]
        self._resume_if_empty()

    def flow(self) -> None:
        """The peer reads again."""
        self.stalled = False
        self.trickle(len(self._held))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def lose(self) -> None:
        """The peer is gone."""
        if self._subscriber is not None:
            self._hub.leave(self._subscriber)
        self.closed = True

    def take(self) -> bytes:
        """What arrived since the last time."""
        arrived, self.sent = self.sent, b""
        return arrived

    def events(self) -> list[Event]:
        """The complete events that arrived since the last time."""
        events, self.sent = parse(self.sent)
        return events

    def _resume_if_empty(self) -> None:
        if not self._held and self._subscriber is not None and not self.closed:
            self._hub.resume(self._subscriber)


class Watcher:
    """What a client believes, from its events. Ids rise within a connection, or `hear` fails."""

    def __init__(self) -> None:
        self.state: dict[str, bytes] = {}
        self.last_id: str | None = None
        self.synced = False
        self._n = -1

    def connected(self) -> None:
        """A new connection: without an id to resume from, nothing is known."""
        self._n, self.synced = -1, False
        if self.last_id is None:
            self.state.clear()

    def hear(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.name == "presence":
                self.state[event.person] = event.data
            elif event.name == "gone":
                self.state.pop(event.person, None)
            elif event.name == "reset":
                self.state.clear()
            elif event.name == "synced":
                self.synced = True
            if event.id is not None:
                n = event.n
                assert n is not None
                assert n > self._n, f"id {event.id} does not rise above {self._n}"
                self._n, self.last_id = n, event.id
