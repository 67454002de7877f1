"""What the web needs of the rest of the gateway: small protocols that `gateway.app` fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.core.model import Availability, Level, Person, Phone, Preferences


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, and how much that one may see and do: a token, a page session or a proxy's user.

    `groups` empty means everybody; `person` makes it a personal token: level self for that person.
    """

    name: str
    scopes: frozenset[str]
    level: Level
    groups: frozenset[str] = frozenset()
    person: str | None = None
    expires: datetime | None = None

    def sees(self, person: Person) -> bool:
        """Whether that person exists for this reader."""
        return not self.groups or person.id == self.person or not self.groups.isdisjoint(person.groups)

    def level_for(self, person: str) -> Level:
        """The level at which this reader sees that person."""
        return Level.SELF if person == self.person else self.level


class Directory(Protocol):
    """The people there are. Replaced as a whole on reload; one instance never changes."""

    def get(self, person: str) -> Person | None:
        """The person with that lower-case id."""
        ...

    def everybody(self) -> Sequence[Person]:
        """All, sorted by id."""
        ...

    def group(self, name: str) -> Sequence[Person]:
        """The members of a group, sorted by id; empty if there is no such group."""
        ...


class Tokens(Protocol):
    """The tokens that open the API."""

    def reader(self, token: str) -> Reader | None:
        """Who holds that token; None if unknown or expired."""
        ...

    def valid(self, reader: Reader) -> bool:
        """Whether a reader admitted earlier is still admitted, unchanged (checked on open streams)."""
        ...

    def person(self, identity: str) -> Reader | None:
        """The reader for an identity that a trusted proxy vouches for."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """A durable publication: what the publisher is told."""

    expires_at: datetime | None
    seq: int | None


class Ingest(Protocol):
    """The writing side. Every method returns after the fact is durable and visible to readers of this replica.

    Raises PublicationRefused (409), StoreUnavailable (503, or 507 for store.disk_full). `person` is a lower-case id
    that exists.
    """

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
    ) -> Receipt: ...

    async def end_phone(self, person: str, line: str, *, seq: int | None, publisher: str | None) -> None: ...

    async def session(
        self,
        person: str,
        session: str,
        state: Availability,
        *,
        expires_in: float,
        seq: int | None,
        publisher: str | None,
    ) -> Receipt: ...

    async def end_session(self, person: str, session: str, *, seq: int | None, publisher: str | None) -> None: ...

    async def status(self, person: str, state: Availability, *, until: datetime | None) -> Receipt: ...

    async def end_status(self, person: str) -> None: ...

    async def choose(self, person: str, chosen: Mapping[str, object]) -> Preferences:
        """Change preferences: fields of Preferences with already parsed values; None forgets a choice."""
        ...

    def preferences(self, person: str) -> Preferences:
        """What the person chose so far."""
        ...

    def policy(self, person: str) -> Mapping[str, object]:
        """What is in force for the person now, by preference name: chosen, else configured."""
        ...

    async def dismiss(self, person: str, until: datetime) -> Receipt:
        """Leave the running meeting early; PublicationRefused `publication.nothing_to_dismiss` if none ends then."""
        ...

    async def end_dismissal(self, person: str) -> None: ...


class Operations(Protocol):
    """What operators ask."""

    def why(self, person: str) -> Mapping[str, Any]:
        """The facts, the deciding rule, until when, and ages, as JSON values."""
        ...

    def calendars(self) -> Sequence[Mapping[str, Any]]:
        """Health per calendar server, as JSON values."""
        ...

    def mailboxes(self, calendar: str) -> Sequence[Mapping[str, Any]] | None:
        """Health per mailbox of one server, as JSON values; None if there is no such server."""
        ...

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether this replica may take traffic, and what is degraded."""
        ...

    def loop_lag(self) -> float:
        """How late the event loop ran its last beat, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the web side; every one has a default sized for 20,000 people."""

    connections: int = 20_000
    connections_per_token: int = 2_000
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    keepalive: float = 30.0
    put_body: int = 8 * 1024
    query_body: int = 512 * 1024
    people_in_url: int = 150
    people_in_query: int = 1_000
    people_in_stream: int = 5_000
    failed_logons_per_minute: int = 10
    write_timeout: float = 15.0
    heartbeat: float = 20.0
    drain: float = 5.0
    send_buffer: int = 64 * 1024
    page: int = 1_000
