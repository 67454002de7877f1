"""Ingest: the writing side. What sources and people say becomes records; every method returns when they are durable.

Order is the store's revision. A publisher's own `seq` is checked against its last one and written conditionally, so
that two messages racing each other cannot end in the wrong order.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from gateway.clock import Clock
from gateway.core.dismissal import dismissal
from gateway.core.model import (
    Availability,
    Fact,
    Kind,
    Person,
    Phone,
    Policy,
    Preferences,
    Stamp,
)
from gateway.core.vocabulary import CALLS
from gateway.errors import PublicationRefused, StoreConflict, StoreUnavailable
from gateway.records import (
    choice_key,
    choice_put,
    dismissal_key,
    dismissal_put,
    fact_key,
    fact_put,
)
from gateway.stores import Put, Store
from gateway.view import View
from gateway.web.ports import Receipt

PUSH: Final = "push"
"""The source of everything published over HTTP."""
STATUS: Final = "status"
"""The key of the manual choice."""
REMEMBER_END: Final = timedelta(hours=1)
"""How long the end of a line or session is kept, so that a late message with an older `seq` is refused."""
Begun = Callable[[Fact | None, datetime], datetime]
"""When a state began in the world, given the live fact it replaces and the time now."""
ATTEMPTS: Final = 8
"""How often a write is tried that meets another one of the same record."""


class Ingest:
    """The port `gateway.web.ports.Ingest`, over one store and this replica's view."""

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock

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
        """A phone line's state for `expires_in` seconds. Without `since`, a call goes on from when it began."""

        def begun(old: Fact | None, now: datetime) -> datetime:
            if since is not None:
                return since
            going_on = old is not None and (old.value == state or (old.value in CALLS and state in CALLS))
            return old.since if old is not None and going_on else now

        stamp = Stamp(publisher, seq, _digest("phone", state, since, expires_in))
        return await self._publish(person, Kind.PHONE, _line(line), state, stamp, expires_in, begun)

    async def end_phone(self, person: str, line: str, *, seq: int | None, publisher: str | None) -> None:
        """The line is gone; ends the state at once."""
        await self._end(person, Kind.PHONE, _line(line), Phone.ENDED, Stamp(publisher, seq, _digest("end")))

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
        """A client session's availability for `expires_in` seconds."""

        def begun(old: Fact | None, now: datetime) -> datetime:
            return old.since if old is not None and old.value is state else now

        stamp = Stamp(publisher, seq, _digest("session", state, expires_in))
        return await self._publish(person, Kind.AVAILABILITY, _session(session), state, stamp, expires_in, begun)

    async def end_session(self, person: str, session: str, *, seq: int | None, publisher: str | None) -> None:
        """The client has gone."""
        stamp = Stamp(publisher, seq, _digest("end"))
        await self._end(person, Kind.AVAILABILITY, _session(session), Availability.ENDED, stamp)

    async def status(self, person: str, state: Availability, *, until: datetime | None) -> Receipt:
        """The person's manual choice; it outlives every client, until `until` if given."""
        now = self._clock.now()
        fact = Fact(person, Kind.AVAILABILITY, PUSH, STATUS, 0, state, now, now, until, until, manual=True)
        await self._put(fact_put(fact))
        return Receipt(until, None)

    async def end_status(self, person: str) -> None:
        """No manual choice any more."""
        await self._put(Put(fact_key(person, PUSH, STATUS), None))

    def preferences(self, person: str) -> Preferences:
        """What the person chose so far."""
        return self._view.composer.preferences(person)

    def policy(self, person: str) -> Mapping[str, object]:
        """What is in force for the person now, by preference name: chosen, else configured."""
        chosen = self.preferences(person)
        evidence = self._view.composer.evidence(person)
        directory = None if evidence is None else evidence.person.calendar_opt_in
        return {
            field.name: _in_force(field.name, getattr(chosen, field.name), directory, self._view.composer.policy)
            for field in dataclasses.fields(Preferences)
        }

    async def choose(self, person: str, chosen: Mapping[str, object]) -> Preferences:
        """Change preferences: fields of Preferences with already parsed values; None forgets a choice."""
        key = choice_key(person)
        for _ in range(ATTEMPTS):
            _, revision = self._view.record(key)
            preferences = dataclasses.replace(self.preferences(person), **chosen)  # type: ignore[arg-type]
            try:
                await self._put(choice_put(person, preferences, expect=revision))
                return preferences
            except StoreConflict as conflict:
                await self._view.reached(conflict.revision)
        raise _busy(key)

    async def dismiss(self, person: str, until: datetime) -> Receipt:
        """Leave the running meeting early."""
        evidence = self._view.composer.evidence(person)
        now = self._clock.now()
        left = None if evidence is None else dismissal(evidence, self._view.composer.policy, now, until)
        if left is None:
            raise PublicationRefused(
                f"no running block of {person!r} ends then",
                code="publication.nothing_to_dismiss",
                hint="send the `until` of the running calendar component",
            )
        await self._put(dismissal_put(person, left))
        return Receipt(until, None)

    async def end_dismissal(self, person: str) -> None:
        """The meeting counts again."""
        await self._put(Put(dismissal_key(person), None))

    async def erase(self, person: Person | str) -> None:
        """Forget everything ever said about a person who left the directory."""
        name = person if isinstance(person, str) else person.id
        keys = [fact_key(name, source, key) for source, key in self._view.composer.facts(name)]
        await self._put(*(Put(key, None) for key in (*keys, choice_key(name), dismissal_key(name))))
        self._view.composer.forget(name)

    async def _publish(
        self,
        person: str,
        kind: Kind,
        key: str,
        state: Phone | Availability,
        stamp: Stamp,
        expires_in: float,
        begun: Begun,
    ) -> Receipt:
        absent = 0
        for _ in range(ATTEMPTS):
            now = self._clock.now()
            old = self._known(person, key, now)
            if (receipt := _repeat(old, stamp)) is not None:
                return receipt
            expires_at = now + timedelta(seconds=expires_in)
            live = None if old is None or old.value in (Phone.ENDED, Availability.ENDED) else old
            fact = Fact(person, kind, PUSH, key, 0, state, begun(live, now), now, None, expires_at, stamp=stamp)
            conflict = await self._write(fact, old.seq if old is not None else absent)
            if conflict is None:
                return Receipt(expires_at, stamp.seq)
            absent = conflict
        raise _busy(key)

    async def _end(self, person: str, kind: Kind, key: str, ended: Phone | Availability, stamp: Stamp) -> None:
        """Keep the end for a while with the last `seq`, so that what comes late is known to be late."""
        for _ in range(ATTEMPTS):
            now = self._clock.now()
            old = self._known(person, key, now)
            if old is None or old.value is ended or _repeat(old, stamp) is not None:
                return
            if stamp.seq is None and old.stamp is not None:
                stamp = Stamp(old.stamp.publisher, old.stamp.seq, stamp.digest)
            fact = Fact(person, kind, PUSH, key, 0, ended, now, now, None, now + REMEMBER_END, stamp=stamp)
            if await self._write(fact, old.seq) is None:
                return
        raise _busy(key)

    def _known(self, person: str, key: str, now: datetime) -> Fact | None:
        """The fact as this replica knows it, unless it has expired."""
        fact = self._view.composer.facts(person).get((PUSH, key))
        expired = fact is not None and fact.expires_at is not None and fact.expires_at <= now
        return None if expired else fact

    async def _write(self, fact: Fact, judged: int) -> int | None:
        """Write; with a `seq` only over the revision that was judged. None if written, else the revision met."""
        ordered = fact.stamp is not None and fact.stamp.seq is not None
        try:
            await self._put(fact_put(fact, expect=judged if ordered else None))
            return None
        except StoreConflict as conflict:
            await self._view.reached(conflict.revision)
            return conflict.revision

    async def _put(self, *puts: Put) -> None:
        revision = await self._store.put(puts)
        await self._view.reached(revision)


def _in_force(name: str, chosen: object, directory: bool | None, policy: Policy) -> object:
    if chosen is not None:
        return chosen
    if name == "calendar_opt_in" and directory is not None:
        return directory
    return getattr(policy, name, False)


def _repeat(old: Fact | None, stamp: Stamp) -> Receipt | None:
    """The old receipt for an exact repeat, None for news; refuses what is older or contradicts itself."""
    if old is None or old.stamp is None or stamp.seq is None or old.stamp.seq is None:
        return None
    if old.stamp.publisher != stamp.publisher or stamp.seq > old.stamp.seq:
        return None
    if stamp == old.stamp:
        return Receipt(old.expires_at, stamp.seq)
    raise PublicationRefused(
        f"seq {stamp.seq} is not newer than {old.stamp.seq}",
        code="publication.outdated",
        hint="send a higher seq, or a new publisher value after a restart",
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _line(line: str) -> str:
    return f"phone/{line}"


def _session(session: str) -> str:
    return f"session/{session}"


def _busy(key: str) -> StoreUnavailable:
    return StoreUnavailable(f"record {key!r} is written by too many at once", code="store.slow", hint="try again")
