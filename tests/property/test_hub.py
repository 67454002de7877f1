"""Whatever happens on the way, every subscriber ends with exactly the server's state at its level.

A schedule is a random interleaving of changes, bursts, stalls, cut connections, resumes, other filters, directory
changes, process restarts and passing time, made from a seed, so a failure names the schedule that shows it again.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from itertools import count
from random import Random

import pytest

from gateway.core.document import encode
from gateway.core.model import Level, Presence
from gateway.people import People
from gateway.web import delivery
from gateway.web.hub import Hub, View
from gateway.web.ports import Limits
from tests.clock import FakeClock
from tests.watchers import Event, Watcher, Wire, parse, people, presence, reader

SCHEDULES, BLOCKS, STEPS = 1_000, 10, 60
NAMES = [f"p{number}@example.com" for number in range(9)]
GROUPS = [(), ("sales",), ("legal",), ("sales", "legal")]
STATES = ["available", "away", "do_not_disturb", "busy", "offline"]


class World:
    """The truth: who there is and how they are, and which documents each level has ever shown, in order."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clock = FakeClock()
        self.groups: dict[str, tuple[str, ...]] = {name: random.choice(GROUPS) for name in NAMES[:6]}
        self.now: dict[str, Presence] = {}
        self.shown: dict[tuple[str, Level], list[bytes]] = {}
        self.revision = 0
        self.moved: dict[str, list[tuple[int, int]]] = {}
        self._processes = count(1)
        self.hub = self.new_hub()

    @property
    def directory(self) -> People:
        return people(self.groups)

    def new_hub(self) -> Hub:
        """A process that starts: it knows what the store knows."""
        self.moved.clear()
        hub = Hub(self.clock, process=f"x{next(self._processes)}", limits=Limits(), random=self.random)
        hub.set_directory(self.directory)
        hub.publish(self.now.values(), self.revision)
        return hub

    def change(self) -> None:
        """Some people change, in one slice or the first of several; a few of them only for some levels."""
        changes = []
        for name in self.random.sample(sorted(self.groups), k=min(len(self.groups), self.random.randint(1, 4))):
            other = presence(name, self.random.choice(STATES), invisible=self.random.random() < 0.3)
            if self.now.get(name) != other:
                self.now[name] = other
                changes.append(other)
                for level in Level:
                    seen = self.shown.setdefault((name, level), [])
                    if not seen or seen[-1] != encode(other, level):
                        seen.append(encode(other, level))
        self.revision += 1
        self.hub.publish(changes, self.revision, more=self.random.random() < 0.2)

    def reorganise(self) -> None:
        """Somebody comes, goes, or changes groups; between which numbers is remembered."""
        names = self.random.sample(NAMES, k=self.random.randint(1, 2))
        for name in names:
            if name in self.groups and self.random.random() < 0.4:
                del self.groups[name]
                self.now.pop(name, None)
            else:
                self.groups[name] = self.random.choice(GROUPS)
        before = self.hub.snapshot(View(reader()), None).id
        self.hub.set_directory(self.directory)
        after = self.hub.snapshot(View(reader()), None).id
        for name in names:
            self.moved.setdefault(name, []).append((number(before), number(after)))

    def view(self) -> View:
        """Some filter in the hands of some reader."""
        random = self.random
        who = reader(
            random.choice([Level.COLLEAGUE, Level.COLLEAGUE, Level.LIMITED]),
            *random.choice([(), (), ("sales",), ("legal",)]),
            person=random.choice([None, None, *NAMES]),
        )
        named = None if random.random() < 0.4 else tuple(random.sample(NAMES, k=random.randint(0, 5)))
        return View(who, named, random.choice([(), ("sales",), ("legal", "sales")]))

    def expected(self, view: View) -> dict[str, bytes]:
        """What somebody with that view must believe in the end."""
        visible = (person for person in self.directory.everybody() if view.admits(person))
        return {
            person.id: encode(self.now[person.id], view.level(person.id)) for person in visible if person.id in self.now
        }


def number(id: str) -> int:
    """The change number of an id."""
    return int(id.split(".")[2])


@dataclass(frozen=True)
class Heard:
    """How far in a person's history at one level a client is, and the change number that told it."""

    position: int
    n: int


class Client:
    """One client over all its connections: what it believes, and whether each frame told it something."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.view = world.view()
        self.watcher = Watcher()
        self.wire: Wire | None = None
        self._heard: dict[str, Heard] = {}
        self._rest = b""

    async def connect(self) -> None:
        """Begin, or go on after the last id heard."""
        self.watcher.connected()
        if self.watcher.last_id is None:
            self._heard.clear()
        self._rest = b""
        await self.world.hub.reached(self.watcher.last_id)
        self.wire = Wire(self.world.hub)
        self.wire.stalled = self.world.random.random() < 0.4
        self.world.hub.subscribe(self.view, self.wire, self.watcher.last_id)

    def receive(self) -> None:
        """Understand what arrived; an event that is cut off waits for its end."""
        if self.wire is not None:
            events, self._rest = parse(self._rest + self.wire.take())
            for event in events:
                self._judge(event)
            self.watcher.hear(events)

    def _judge(self, event: Event) -> None:
        """No frame tells what its reader knew or must not notice, and none is older than one before."""
        if event.name == "reset":
            self._heard.clear()
        elif event.name == "gone":
            assert event.person in self.world.moved, "gone without having moved"
            self._heard.pop(event.person, None)
        elif event.name == "presence":
            name, told = event.person, event.n
            assert told is not None
            history = self.world.shown[name, self.view.level(name)]
            known = self._heard.get(name)
            if known is None or any(known.n <= end and told > begin for begin, end in self.world.moved.get(name, ())):
                first = 0
            else:
                first = known.position + 1
            assert event.data in history[first:], f"a frame about {name} that says nothing new"
            self._heard[name] = Heard(history.index(event.data, first), told)

    def disturb(self) -> None:
        """Something happens to the connection."""
        random, wire = self.world.random, self.wire
        if wire is None:
            return
        fate = random.random()
        if fate < 0.3:
            wire.stalled = True
        elif fate < 0.6:
            wire.trickle(random.randint(1, 400))
        elif fate < 0.8:
            wire.flow()
        else:
            wire.trickle(random.randint(0, 1_000))
            self.cut()

    def cut(self) -> None:
        """The connection ends: what had not arrived never will."""
        self.receive()
        if self.wire is not None:
            self.wire.lose()
            self.wire = None


class Poller:
    """Asks now and then what changed, and believes it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.view = world.view()
        self.state: dict[str, bytes] = {}
        self.id: str | None = None

    def poll(self) -> None:
        """Every answer leaves it with exactly the state of the moment."""
        answer = self.world.hub.snapshot(self.view, self.id)
        if answer.reset:
            self.state.clear()
        for document in answer.docs:
            self.state[json.loads(document)["person"]] = document
        for person in answer.gone:
            self.state.pop(person, None)
        self.id = answer.id
        assert self.state == self.world.expected(self.view)
        assert set(answer.missing) == set(self.view.people or ()) - set(self.state)


async def step(world: World, clients: list[Client], pollers: list[Poller]) -> None:
    """One thing happens."""
    random = world.random
    client = random.choice(clients)
    match random.choices(range(9), weights=(30, 20, 12, 6, 3, 1, 8, 20, 20))[0]:
        case 0:
            world.change()
        case 1:
            client.disturb()
        case 2:
            if client.wire is None or client.wire.closed:
                await client.connect()
        case 3:
            world.reorganise()
        case 4:
            client.cut()
            client.view = world.view()
        case 5:
            for each in clients:
                each.cut()
            await world.hub.close(0.0)
            world.hub = world.new_hub()
        case 6:
            random.choice(pollers).poll()
        case 7:
            await asyncio.sleep(0)  # perhaps in the middle of a flush
        case _:
            await world.clock.advance(random.choice([0.001, 0.004, 0.02, 0.2, 3.0, 9.0]))
    for each in clients:
        each.receive()


async def run(seed: int) -> Counter[str]:
    """One schedule; returns what happened in it, so that the test can tell that everything was tried."""
    world = World(Random(seed))
    world.change()
    clients = [Client(world) for _ in range(4)]
    pollers = [Poller(world) for _ in range(2)]
    happened: Counter[str] = Counter()
    for _ in range(STEPS):
        await step(world, clients, pollers)
    for client in clients:
        if client.wire is None or client.wire.closed:
            await client.connect()
        assert client.wire is not None
        client.wire.flow()
    await world.clock.advance(1.0)
    for client in clients:
        client.receive()
        assert client.watcher.synced
        assert client.watcher.state == world.expected(client.view)
    for poller in pollers:
        poller.poll()
    await world.hub.close(0.0)
    stats = world.hub.stats
    happened.update(superseded=stats.superseded, resets=stats.resets, cut=stats.cut, frames=stats.frames)
    return happened


@pytest.mark.parametrize("block", range(BLOCKS))
async def test_every_subscriber_ends_with_exactly_the_servers_state(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over many schedules nobody misses a change, sees a hidden one, or hears an id that does not rise."""
    monkeypatch.setattr(delivery, "SLICE", 0.0)  # gives way after every audience
    monkeypatch.setattr(delivery, "MANY", (0, 4)[block % 2])  # from people to audiences, or the cheaper way
    happened: Counter[str] = Counter()
    each = SCHEDULES // BLOCKS
    for seed in range(block * each, (block + 1) * each):
        try:
            happened += await run(seed)
        except AssertionError as failure:
            raise AssertionError(f"schedule {seed}: {failure}") from failure
    assert all(happened[what] for what in ("superseded", "resets", "cut", "frames")), happened
