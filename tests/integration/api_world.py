"""A small honest world behind the real web application: people in memory, an ingest that remembers what it was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from aiohttp import ClientResponse, DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from gateway.core.model import (
    Availability,
    Component,
    Effective,
    Kind,
    Level,
    Person,
    Phone,
    Preferences,
    Presence,
    Reach,
)
from gateway.web.app import make_app
from gateway.web.hub import Hub
from gateway.web.ports import Limits, Reader, Receipt
from gateway.web.presence import SEATS
from gateway.web.services import Services
from tests.clock import FakeClock

ANN = Person("ann@example.com", "Ann Archer", calendar="hq", groups=("sales",))
BOB = Person("bob@example.com", "Bob Brewer", groups=("sales", "board"))
CEM = Person("cem@example.com", "Cem Çelik", groups=("service",))
DAY = datetime(2026, 11, 20, tzinfo=UTC)
EVERYTHING = frozenset({"watch", "publish:phone", "publish:availability", "preferences", "admin"})


def presence(person: str, label: str = "Online", *, until: datetime | None = None) -> Presence:
    """Somebody whose client says so since eight."""
    since = DAY + timedelta(hours=8)
    state = {"Online": "available", "Away": "away"}[label]
    return Presence(
        person,
        Effective(Kind.AVAILABILITY, state, label, since, until),
        Reach.REACHABLE if state == "available" else Reach.AWAY,
        Component(state, label, since, until, tooltip=label),
    )


class People:
    """A directory that never changes."""

    def __init__(self, *people: Person) -> None:
        self._people = {person.id: person for person in sorted(people, key=lambda person: person.id)}

    def get(self, person: str) -> Person | None:
        return self._people.get(person)

    def everybody(self) -> Sequence[Person]:
        return list(self._people.values())

    def group(self, name: str) -> Sequence[Person]:
        return [person for person in self._people.values() if name in person.groups]


@dataclass
class Keys:
    """Tokens by their text; `asked` counts the look-ups."""

    readers: dict[str, Reader]
    identities: dict[str, Reader] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def reader(self, token: str) -> Reader | None:
        self.asked.append(token)
        return self.readers.get(token)

    def valid(self, reader: Reader) -> bool:
        return reader in self.readers.values() or reader in self.identities.values()

    def person(self, identity: str) -> Reader | None:
        return self.identities.get(identity)


@dataclass
class Told:
    """An ingest that takes everything down, or fails as it is bid."""

    clock: FakeClock
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fault: Exception | None = None
    chosen: Preferences = field(default_factory=Preferences)

    def _note(self, *call: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.calls.append(call)

    def _receipt(self, seconds: float, seq: int | None) -> Receipt:
        return Receipt(self.clock.now() + timedelta(seconds=seconds), seq)

    async def phone(
        self,
        person: str,
        line: str,
        state: Phone,
        *,
        since: datetime | None,
        expires_in: float,
        seq: int | None,
        publisher: str | None,
    ) -> Receipt:
        self._note("phone", person, line, state, since, expires_in, seq, publisher)
        return self._receipt(expires_in, seq)

    async def end_phone(self, person: str, line: str, *, seq: int | None, publisher: str | None) -> None:
        self._note("end_phone", person, line, seq, publisher)

    async def session(
        self,
        person: str,
        session: str,
        state: Availability,
        *,
        expires_in: float,
        seq: int | None,
        publisher: str | None,
    ) -> Receipt:
        self._note("session", person, session, state, expires_in, seq, publisher)
        return self._receipt(expires_in, seq)

    async def end_session(self, person: str, session: str, *, seq: int | None, publisher: str | None) -> None:
        self._note("end_session", person, session, seq, publisher)

    async def status(self, person: str, state: Availability, *, until: datetime | None) -> Receipt:
        self._note("status", person, state, until)
        return Receipt(until, None)

    async def end_status(self, person: str) -> None:
        self._note("end_status", person)

    async def choose(self, person: str, chosen: Mapping[str, object]) -> Preferences:
        self._note("choose", person, dict(chosen))
        self.chosen = replace(self.chosen, **dict[str, Any](chosen))
        return self.chosen

    def preferences(self, person: str) -> Preferences:
        return self.chosen

    def policy(self, person: str) -> Mapping[str, object]:
        chosen = {name: getattr(self.chosen, name) for name in CONFIGURED}
        return {name: CONFIGURED[name] if value is None else value for name, value in chosen.items()}

    async def dismiss(self, person: str, until: datetime) -> Receipt:
        self._note("dismiss", person, until)
        return Receipt(until, None)

    async def end_dismissal(self, person: str) -> None:
        self._note("end_dismissal", person)


CONFIGURED: dict[str, object] = {
    "calendar_opt_in": False,
    "override": "none",
    "show_until": False,
    "invisible": False,
    "tentative": "ignore",
    "out_of_office": "show",
    "all_day_busy": "meeting",
}


@dataclass
class Desk:
    """What operators are told."""

    lag: float = 0.0
    well: bool = True

    def why(self, person: str) -> Mapping[str, Any]:
        return {"person": person, "rule": "availability", "facts": []}

    def calendars(self) -> Sequence[Mapping[str, Any]]:
        return [{"name": "hq", "code": "ok"}]

    def mailboxes(self, calendar: str) -> Sequence[Mapping[str, Any]] | None:
        if calendar != "hq":
            return None
        return [
            {"mailbox": "cem@example.com", "person": "cem@example.com", "code": "permission.denied"},
            {"mailbox": "ann@example.com", "person": "ann@example.com", "code": "ok"},
        ]

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        return self.well, {"degraded": ["calendars.hq"]}

    def loop_lag(self) -> float:
        return self.lag


def keys() -> Keys:
    """One token of each sort, named after what it may."""
    return Keys(
        {
            "watcher": Reader("watcher", frozenset({"watch"}), Level.COLLEAGUE),
            "limited": Reader("limited", frozenset({"watch"}), Level.LIMITED),
            "sales": Reader("sales", EVERYTHING, Level.COLLEAGUE, groups=frozenset({"sales"})),
            "admin": Reader("admin", EVERYTHING, Level.COLLEAGUE),
            "pbx": Reader("pbx", frozenset({"publish:phone"}), Level.LIMITED),
            "anns": Reader("anns", frozenset({"watch"}), Level.COLLEAGUE, person=ANN.id),
            "anns-chat": Reader("anns-chat", frozenset({"publish:availability"}), Level.COLLEAGUE, person=ANN.id),
        },
        {"bob@example.com": Reader("proxy:bob", frozenset({"watch"}), Level.COLLEAGUE, person=BOB.id)},
    )


class World:
    """The application on a free port of 127.0.0.1, and the things behind it."""

    def __init__(self, *, people: Sequence[Person] = (ANN, BOB, CEM), limits: Limits | None = None) -> None:
        self.clock = FakeClock()
        self.limits = limits or Limits()
        self.directory = People(*people)
        self.hub = Hub(self.clock, process="test", limits=self.limits, random=Random(1))
        self.hub.set_directory(self.directory)
        self.hub.publish([presence(person.id) for person in people], 1)
        self.tokens = keys()
        self.ingest = Told(self.clock)
        self.desk = Desk()
        self.services = Services(
            hub=self.hub,
            directory=lambda: self.directory,
            tokens=self.tokens,
            ingest=self.ingest,
            operations=self.desk,
            clock=self.clock,
            registry=CollectorRegistry(),
            limits=self.limits,
        )
        self.app: web.Application
        self.client: TestClient[web.Request, web.Application]

    @property
    def seats(self) -> int:
        """How many streams and waits are open."""
        return self.app[SEATS].taken

    async def ask(self, method: str, path: str, token: str | None = "watcher", **options: Any) -> ClientResponse:
        """One request with that token; `path` is sent as it stands."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return await self.client.request(method, path, headers=headers, **options)

    async def get(self, path: str, token: str | None = "watcher", **options: Any) -> ClientResponse:
        return await self.ask("GET", path, token, **options)

    async def put(self, path: str, body: object, token: str = "admin", **options: Any) -> ClientResponse:
        return await self.ask("PUT", path, token, json=body, **options)


@asynccontextmanager
async def running(world: World | None = None, **settings: Any) -> AsyncIterator[World]:
    """A world whose application serves; `settings` replace fields of Services."""
    world = world or World()
    world.services = replace(world.services, **settings)
    world.app = make_app(world.services)
    server = TestServer(world.app, host="127.0.0.1", port=0)
    async with TestClient(server, cookie_jar=DummyCookieJar()) as client:
        world.client = client
        yield world
        await world.hub.close(0)


async def problem(response: ClientResponse, status: int, code: str) -> dict[str, Any]:
    """The body of an answer that must be that problem."""
    assert (response.status, response.content_type) == (status, "application/problem+json"), await response.text()
    body: dict[str, Any] = json.loads(await response.read())
    assert body["code"] == code
    assert body["status"] == status
    assert body["type"] == f"urn:presence-gateway:problem:{code}"
    assert body["instance"] == response.headers["X-Request-Id"]
    assert {"title", "detail"} <= body.keys()
    return body


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for a condition of the running server."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is anything the server does
            await asyncio.sleep(0.001)
