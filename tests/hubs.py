"""A hub with three people on a clock of the test, for the tests of the hub."""

from __future__ import annotations

import json
from random import Random

from gateway.core.model import Presence
from gateway.web.hub import Hub, View
from gateway.web.ports import Limits, Reader
from tests.clock import FakeClock
from tests.watchers import Wire, people, presence, reader

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
DIRECTORY = {ANN: ("sales",), BOB: ("sales", "legal"), EVE: ("legal",)}


class Bench:
    """A hub with three people, and a clock to move it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.clock = FakeClock()
        self.hub = Hub(self.clock, process="here", limits=limits or Limits(), random=Random(1))
        self.hub.set_directory(people(DIRECTORY))
        self.revision = 0
        self.publish(presence(ANN), presence(BOB), presence(EVE))

    def publish(self, *changes: Presence, more: bool = False) -> None:
        self.revision += 1
        self.hub.publish(changes, self.revision, more=more)

    def subscribe(self, view: View, since: str | None = None) -> Wire:
        wire = Wire(self.hub)
        self.hub.subscribe(view, wire, since)
        return wire

    async def synced(self, view: View) -> Wire:
        """A stream whose first state was read already."""
        wire = self.subscribe(view)
        await self.clock.advance(0.02)
        wire.events()
        return wire


def told(wire: Wire) -> list[tuple[str, str]]:
    """Event name and person (empty for none) of what arrived."""
    return [(event.name, json.loads(event.data).get("person", "")) for event in wire.events()]


def view(*names: str, who: Reader | None = None) -> View:
    return View(who or reader(), names)
