"""Composer: the small machine that remembers facts and says whose presence changed.

Feeding it facts and ticks one by one gives the same presence as composing from scratch at that instant.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.core.compose import compose_until
from gateway.core.evidence import NO_PREFERENCES, Evidence, TimelineMemo, supersedes
from gateway.core.model import (
    Confirmation,
    Dismissal,
    Fact,
    Person,
    Policy,
    Preferences,
    Presence,
    Withdrawal,
)
from gateway.core.vocabulary import EVERYBODY


@dataclass(frozen=True, slots=True)
class Chosen:
    """The person's preferences, whole."""

    person: str
    preferences: Preferences


@dataclass(frozen=True, slots=True)
class Dismissed:
    """The person's dismissal, or None when it was taken back."""

    person: str
    dismissal: Dismissal | None


Item = Fact | Withdrawal | Chosen | Dismissed | Confirmation


class _State:
    """What is remembered of one person."""

    __slots__ = ("deadline", "dismissal", "facts", "memo", "person", "preferences", "prepared", "presence")

    def __init__(self) -> None:
        self.person: Person | None = None
        self.facts: dict[tuple[str, str], Fact] = {}
        self.preferences = NO_PREFERENCES
        self.dismissal: Dismissal | None = None
        self.memo = TimelineMemo()
        self.presence: Presence | None = None
        self.deadline: datetime | None = None
        self.prepared: tuple[datetime, Presence, datetime | None] | None = None
        """What will be true from an instant on until another, if nothing new is heard."""

    def remembers(self) -> bool:
        """Whether anything was ever said about the person and still counts."""
        return bool(self.facts) or self.dismissal is not None or self.preferences != NO_PREFERENCES


class Composer:
    """Facts in, changed presences out. Instants given as `now` may not be compared with any clock in here."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._states: dict[str, _State] = {}
        self._confirmed: dict[str, dict[str, datetime]] = {}
        self._deadlines: list[tuple[datetime, str]] = []

    def presence(self, person: str) -> Presence | None:
        """The presence as last composed; None for people not in the directory."""
        state = self._states.get(person)
        return None if state is None else state.presence

    def evidence(self, person: str) -> Evidence | None:
        """What is known of a person in the directory."""
        state = self._states.get(person)
        return None if state is None or state.person is None else self._evidence(state, state.person)

    def facts(self, person: str) -> Mapping[tuple[str, str], Fact]:
        """The remembered facts by (source, key)."""
        state = self._states.get(person)
        return {} if state is None else state.facts

    def confirmed(self, source: str) -> Mapping[str, datetime]:
        """When that source last confirmed what it said, by person."""
        return self._confirmed.get(source, {})

    def confirming(self, person: str) -> list[str]:
        """The sources that ever confirmed something about that person."""
        return [source for source, confirmed in self._confirmed.items() if person in confirmed]

    def preferences(self, person: str) -> Preferences:
        """What the person chose."""
        state = self._states.get(person)
        return NO_PREFERENCES if state is None else state.preferences

    def strangers(self) -> list[str]:
        """People something is remembered of who are not in the directory."""
        remembered = {person: None for person, state in self._states.items() if state.remembers()}
        for confirmed in self._confirmed.values():
            remembered |= dict.fromkeys(confirmed)
        remembered.pop(EVERYBODY, None)
        return [person for person in remembered if self._unlisted(person)]

    def set_policy(self, policy: Policy, now: datetime) -> list[Presence]:
        """Another deployment policy; returns what changed by it."""
        self.policy = policy
        return self.recompose(now)

    def set_people(self, people: Iterable[Person], now: datetime) -> list[Presence]:
        """The directory; who is missing from it is no longer composed, but not forgotten (see `forget`)."""
        listed = {person.id: person for person in people}
        touched = []
        for name, state in self._states.items():
            if name not in listed and state.person is not None:
                state.person = state.presence = state.deadline = state.prepared = None
        for name, person in listed.items():
            state = self._states.setdefault(name, _State())
            if state.person != person:
                state.person = person
                state.prepared = None
                touched.append(name)
        return self._compose_all(touched, now)

    def forget(self, person: str) -> None:
        """Remember nothing of that person."""
        self._states.pop(person, None)
        for confirmed in self._confirmed.values():
            confirmed.pop(person, None)

    def observe(self, items: Iterable[Item], now: datetime) -> list[Presence]:
        """Take in items in their order; returns the presences that really changed, each person once."""
        touched: dict[str, None] = {}
        for item in items:
            for person in self._take(item):
                touched[person] = None
        return self._compose_all(touched, now)

    def next_deadline(self) -> datetime | None:
        """The first instant at which somebody's presence may change by itself."""
        heap = self._deadlines
        while heap:
            deadline, person = heap[0]
            state = self._states.get(person)
            if state is not None and state.deadline == deadline:
                return deadline
            heapq.heappop(heap)
        return None

    def advance(self, now: datetime, limit: int | None = None) -> list[Presence]:
        """Compose whoever is due by `now`, at most `limit` people; returns the presences that really changed."""
        due: dict[str, None] = {}
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, person = heapq.heappop(self._deadlines)
            self._states[person].deadline = None
            due[person] = None
            if limit is not None and len(due) >= limit:
                break
        return self._compose_all(due, now)

    def recompose(self, now: datetime) -> list[Presence]:
        """Compose everybody anew, after the wall clock jumped."""
        for state in self._states.values():
            state.prepared = None
        return self._compose_all(self._states, now)

    def unprepared(self, deadline: datetime) -> list[str]:
        """The people whose presence may change by itself at exactly that deadline and is not composed ahead yet."""
        states = self._states
        return [
            person
            for due, person in self._deadlines
            if due == deadline and (state := states.get(person)) is not None and state.prepared is None
        ]

    def prepare(self, people: Iterable[str], deadline: datetime) -> list[Presence]:
        """Compose ahead what will be true at their deadline; `advance` takes it unless something new was heard.

        Returns the presences that will change then, the very objects that `advance` will return.
        """
        ready = []
        for name in people:
            state = self._states.get(name)
            if state is None or state.person is None or state.deadline != deadline or state.prepared is not None:
                continue
            presence, following = compose_until(self._evidence(state, state.person), self.policy, deadline)
            state.prepared = (deadline, presence, following)
            if presence != state.presence:
                ready.append(presence)
        return ready

    def _unlisted(self, person: str) -> bool:
        """Whether the person is not in the directory."""
        state = self._states.get(person)
        return state is None or state.person is None

    def _take(self, item: Item) -> Iterable[str]:
        """Remember one item; returns the people it may concern."""
        if isinstance(item, Confirmation):
            return self._confirm(item)
        state = self._states.setdefault(item.person, _State())
        state.prepared = None
        if isinstance(item, Fact):
            key = (item.source, item.key)
            old = state.facts.get(key)
            if old is not None and not supersedes(item, old):
                return ()
            state.facts[key] = item
        elif isinstance(item, Withdrawal):
            old = state.facts.get((item.source, item.key))
            if old is None or old.seq >= item.seq:
                return ()
            del state.facts[item.source, item.key]
        elif isinstance(item, Chosen):
            state.preferences = item.preferences
        else:
            state.dismissal = item.dismissal
        return (item.person,)

    def _confirm(self, item: Confirmation) -> Iterator[str]:
        """Newer confirmations count; only people whom age has already changed must be composed at once.

        For everybody else a confirmation only moves deadlines further away, so the old deadline may fire early,
        finds nothing changed, and sets the new one.
        """
        known = self._confirmed.setdefault(item.source, {})
        for person, at in item.at.items():
            if (old := known.get(person)) is not None and old >= at:
                continue
            known[person] = at
            concerned = self._states.values() if person == EVERYBODY else filter(None, [self._states.get(person)])
            for confirmed in concerned:
                confirmed.prepared = None
            if person == EVERYBODY:
                yield from (name for name, state in self._states.items() if self._aged(state, item.source))
            elif (state := self._states.get(person)) is not None and self._aged(state, item.source):
                yield person

    def _aged(self, state: _State, source: str) -> bool:
        """Whether age shows in the presence: a stale component, or an unbelieved fact of that source."""
        presence = state.presence
        if presence is None or not any(fact.source == source for fact in state.facts.values()):
            return False
        calendar, phone = presence.calendar, presence.phone
        if calendar is not None and (calendar.as_of is not None or calendar.state == "unknown"):
            return True
        return phone is None or phone.as_of is not None or phone.label is None

    def _compose_all(self, people: Iterable[str], now: datetime) -> list[Presence]:
        changed = []
        for name in people:
            state = self._states.get(name)
            if state is None or state.person is None:
                continue
            self._drop_expired(state, now)
            presence, deadline = self._composed(state, state.person, now)
            if deadline != state.deadline:
                state.deadline = deadline
                if deadline is not None:
                    heapq.heappush(self._deadlines, (deadline, name))
            if presence != state.presence:
                state.presence = presence
                changed.append(presence)
        return changed

    def _composed(self, state: _State, person: Person, now: datetime) -> tuple[Presence, datetime | None]:
        """What was prepared if it holds now, else composed."""
        prepared, state.prepared = state.prepared, None
        if prepared is not None:
            begins, presence, ends = prepared
            if begins <= now and (ends is None or now < ends):
                return presence, ends
        return compose_until(self._evidence(state, person), self.policy, now)

    def _drop_expired(self, state: _State, now: datetime) -> None:
        """Expired facts are forgotten: they cannot count again."""
        expired = [key for key, fact in state.facts.items() if fact.expires_at is not None and fact.expires_at <= now]
        for key in expired:
            del state.facts[key]

    def _evidence(self, state: _State, person: Person) -> Evidence:
        return Evidence(person, state.facts.values(), state.preferences, state.dismissal, self._confirmed, state.memo)
