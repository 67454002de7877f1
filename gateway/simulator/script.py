"""The living office: made-up people whose meetings, calls and chat clients come and go, for demonstrations.

`plan` is endless data, the same for the same people, start and seed. `play` walks through it in time: what
concerns calendars it does to the world, the rest (calls, chat clients) goes to the caller's `push`, which
knows where such things are reported. Times are short on purpose: something changes every few seconds, and in
the first minute at least one meeting begins, one ends and one call is taken.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

from gateway.simulator.recurrence import Recurrence, Weekly
from gateway.simulator.server import Simulator
from gateway.simulator.world import Busy, NoSuchItem, Right, World

Value = str | int | bool | datetime
Kind = Literal["book", "delete", "phone", "availability"]

_NAMES = (
    ("ann", "Ann Archer"), ("ben", "Ben Baker"), ("carla", "Carla Cook"), ("dan", "Dan Draper"),
    ("eve", "Eve Everett"), ("finn", "Finn Fisher"), ("gina", "Gina Glover"), ("hugo", "Hugo Hunter"),
    ("iris", "Iris Irving"), ("jon", "Jon Joiner"), ("kim", "Kim Knight"), ("lea", "Lea Lister"),
)  # fmt: skip

LEAD = timedelta(seconds=90)
"""How long before its beginning a meeting is booked, so that whoever reads every minute knows it in time."""

KEPT = timedelta(minutes=10)
"""How long a finished meeting stays in its calendar."""

CLIENT_LEASE = 300
"""Seconds a chat client's report is good for (`expires_in`); the plan repeats it in time."""

CALL_LEASE = 900
"""Seconds a line's state is good for."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens to one person at one instant.

    `book`: `key` (a name within the plan), `start`, `end`, `busy`, `subject`, and maybe `all_day`, `weekly`.
    `delete`: `key`. `phone`: `line`, `state`, `expires_in`. `availability`: `session`, `state`, `expires_in`.
    """

    at: datetime
    person: str
    kind: Kind
    fields: Mapping[str, Value] = field(default_factory=dict)


def office(size: int = 12) -> dict[str, str]:
    """Names of `size` people by address; always the same, so a larger office contains the smaller."""
    people = {}
    for number in range(size):
        given, name = _NAMES[number % len(_NAMES)]
        floor = number // len(_NAMES)
        suffix = str(floor + 1) if floor else ""
        people[f"{given}{suffix}@example.com"] = f"{name} {suffix}".strip()
    return people


def populate(world: World, people: Mapping[str, str]) -> None:
    """Give everybody a mailbox; one in twelve shows their calendar to nobody."""
    for number, (address, name) in enumerate(people.items()):
        right = Right.NONE if _role(number) == "hidden" else Right.AVAILABILITY_ONLY
        world.add_person(address, name=name, default_right=right)


def plan(people: Sequence[str], start: datetime, seed: int = 1) -> Iterator[Happening]:
    """Everything that will happen from `start` on, in order of time, without end."""
    lives = (_life(person, _role(number), start, seed) for number, person in enumerate(people))
    return heapq.merge(*lives, key=lambda each: each.at)


async def play(
    world: World,
    happenings: Iterable[Happening],
    now: Callable[[], datetime],
    sleep: Callable[[float], Awaitable[None]],
    push: Callable[[Happening], Awaitable[None]] | None = None,
) -> None:
    """Let the happenings happen at their times, until they end or the task is cancelled.

    `push` gets calls and availability. What is overdue happens at once; an appointment somebody else deleted
    is not missed.
    """
    booked: dict[str, str] = {}
    for happening in happenings:
        wait = (happening.at - now()).total_seconds()
        if wait > 0:
            await sleep(wait)
        if happening.kind == "book":
            booked[str(happening.fields["key"])] = _book(world, happening)
        elif happening.kind == "delete":
            _delete(world, booked.pop(str(happening.fields["key"]), ""))
        elif push is not None:
            await push(happening)


async def run(
    announce: Callable[[dict[str, object]], None],
    *,
    size: int = 12,
    host: str = "127.0.0.1",
    port: int = 0,
    directory: Path | None = None,
    lively: bool = True,
    seed: int = 1,
) -> None:
    """Serve an office of `size` people until cancelled.

    `announce` is called once when ready with the connection data (`Simulator.as_json` under "simulator", and
    "people"). The service account may impersonate. Without `lively` nothing moves by itself.
    """
    world = World(_now)
    people = office(size)
    populate(world, people)
    async with Simulator(world, host=host, port=port, directory=directory) as simulator:
        world.allow_impersonation(simulator.service_account)
        announce({"people": list(people), "simulator": simulator.as_json()})
        if lively:
            await play(world, plan(list(people), _now(), seed), _now, asyncio.sleep)
        await asyncio.Event().wait()


# What everybody is like, in turn. The first twelve show one of each.
_ROLES = (
    "leaves a meeting", "joins a meeting", "caller", "out of office", "tentative", "working elsewhere",
    "all day", "weekly", "hidden", "restless", "caller in meetings", "ordinary",
)  # fmt: skip

# Roles with one long appointment: busy status, hours before and after the start, and what else it is.
_LONG: Mapping[str, tuple[Busy, int, int, Mapping[str, Value]]] = MappingProxyType(
    {
        "out of office": (Busy.OOF, 30, 50, {}),
        "tentative": (Busy.TENTATIVE, 1, 2, {}),
        "working elsewhere": (Busy.WORKING_ELSEWHERE, 3, 6, {}),
        "all day": (Busy.BUSY, 0, 1, {"all_day": True}),
        "weekly": (Busy.BUSY, 1, 1, {"weekly": True}),
    }
)
_SUBJECTS = ("Planning", "Review", "Interview", "Budget", "Design", "One to one")


def _role(number: int) -> str:
    return _ROLES[number % len(_ROLES)]


def _life(person: str, role: str, start: datetime, seed: int) -> Iterator[Happening]:
    """One person's happenings in order of time."""
    chance = random.Random(f"{seed} {person}")
    parts = [_clients(person, role, start, random.Random(chance.random()))]
    if role in _LONG:
        parts.append(iter([_long(person, role, start)]))
    else:
        parts.append(_meetings(person, role, start, random.Random(chance.random())))
    if role.startswith("caller"):
        parts.append(_calls(person, role, start, random.Random(chance.random())))
    return heapq.merge(*parts, key=lambda each: each.at)


def _long(person: str, role: str, start: datetime) -> Happening:
    busy, before, after, more = _LONG[role]
    began, ends = start - timedelta(hours=before), start + timedelta(hours=after)
    return _booking(start, person, f"{person} long", began, ends, {"busy": busy.value, "subject": role, **more})


def _meetings(person: str, role: str, start: datetime, chance: random.Random) -> Iterator[Happening]:
    first = {"leaves a meeting": -600, "joins a meeting": 15}.get(role, chance.randint(20, 200))
    begins = start + timedelta(seconds=first)
    length = {"leaves a meeting": 625}.get(role, chance.randint(40, 240))
    due: list[tuple[datetime, int, Happening]] = []  # what is still to come of meetings booked already
    for number in count():
        ends = begins + timedelta(seconds=length)
        booked = max(start, begins - LEAD)
        while due and due[0][0] <= booked:
            yield heapq.heappop(due)[2]
        key = f"{person} {number}"
        yield _booking(
            booked, person, key, begins, ends, {"busy": Busy.BUSY.value, "subject": chance.choice(_SUBJECTS)}
        )
        called_off = number > 0 and chance.random() < 0.15
        gone = begins + timedelta(seconds=length / 2) if called_off else ends + KEPT
        heapq.heappush(due, (gone, number, Happening(gone, person, "delete", {"key": key})))
        begins, length = ends + timedelta(seconds=chance.randint(30, 180)), chance.randint(40, 240)


def _calls(person: str, role: str, start: datetime, chance: random.Random) -> Iterator[Happening]:
    at = start + timedelta(seconds=10 if role == "caller" else chance.randint(30, 120))
    while True:
        ringing = timedelta(seconds=chance.randint(2, 5))
        talking = timedelta(seconds=chance.randint(20, 120))
        for wait, state in ((ringing, "ringing"), (talking, "connected")):
            yield _phone(at, person, state)
            at += wait
        yield _phone(at, person, "idle")
        at += timedelta(seconds=chance.randint(30, 180))


def _clients(person: str, role: str, start: datetime, chance: random.Random) -> Iterator[Happening]:
    at = start
    restless = role == "restless"
    while True:
        states = ("available", "idle", "away", "do_not_disturb", "be_right_back")
        state = "available" if at == start else chance.choices(states, (6, 2, 1, 1, 1))[0]
        fields: dict[str, Value] = {"session": "laptop", "state": state, "expires_in": CLIENT_LEASE}
        yield Happening(at, person, "availability", MappingProxyType(fields))
        # always repeated well before the lease ends
        at += timedelta(seconds=chance.randint(15, 40) if restless else chance.randint(60, CLIENT_LEASE - 60))


def _phone(at: datetime, person: str, state: str) -> Happening:
    fields: dict[str, Value] = {"line": "desk", "state": state, "expires_in": CALL_LEASE}
    return Happening(at, person, "phone", MappingProxyType(fields))


def _booking(
    at: datetime, person: str, key: str, start: datetime, end: datetime, more: Mapping[str, Value]
) -> Happening:
    fields: dict[str, Value] = {"key": key, "start": start, "end": end, **more}
    return Happening(at, person, "book", MappingProxyType(fields))


def _book(world: World, happening: Happening) -> str:
    fields = happening.fields
    start, end = fields["start"], fields["end"]
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    repeats = None
    if fields.get("weekly"):
        zone = ZoneInfo(world.mailboxes[happening.person].zone)
        repeats = Recurrence(Weekly(frozenset({start.astimezone(zone).weekday()})))
    appointment = world.book(
        happening.person,
        start,
        end,
        busy=Busy(str(fields["busy"])),
        subject=str(fields["subject"]),
        all_day=bool(fields.get("all_day")),
        recurrence=repeats,
    )
    return appointment.item_id


def _delete(world: World, item_id: str) -> None:
    try:
        world.delete(item_id)
    except NoSuchItem:
        return


def _now() -> datetime:
    return datetime.now(UTC)
