"""A small language for composing one person in the core's tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from gateway.core.compose import compose
from gateway.core.evidence import Evidence
from gateway.core.model import (
    Availability,
    Block,
    Busy,
    Dismissal,
    Fact,
    Kind,
    Person,
    Phone,
    Policy,
    Preferences,
    Presence,
    Schedule,
)

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
ANN = Person("ann@example.com", "Ann Archer", calendar="hq", calendar_opt_in=True)
LEASE = timedelta(minutes=15)


def at(clock: str, day: int = 0) -> datetime:
    """The instant of a wall-clock time on the day of the story, UTC: "9:30" or "9:30:15"."""
    hours, minutes, *seconds = (int(part) for part in clock.split(":"))
    return MIDNIGHT + timedelta(days=day, hours=hours, minutes=minutes, seconds=seconds[0] if seconds else 0)


def block(start: str, end: str, busy: Busy = Busy.BUSY, *, all_day: bool = False) -> Block:
    """One block of the day."""
    return Block(at(start), at(end), busy, all_day)


def whole_day(busy: Busy) -> Block:
    """An all-day block."""
    return Block(MIDNIGHT, MIDNIGHT + timedelta(days=1), busy, all_day=True)


def schedule(*blocks: Block) -> Schedule:
    """The window of the story with these blocks."""
    return Schedule(
        MIDNIGHT, MIDNIGHT + timedelta(days=2), tuple(sorted(blocks, key=lambda each: (each.start, each.end)))
    )


@dataclass
class Story:
    """What is known of Ann; `seen` composes it."""

    person: Person = ANN
    policy: Policy = field(default_factory=Policy)
    preferences: Preferences = field(default_factory=Preferences)
    dismissal: Dismissal | None = None
    facts: list[Fact] = field(default_factory=list)
    confirmed: dict[str, dict[str, datetime]] = field(default_factory=dict)

    def books(self, *blocks: Block, read: str = "8:00", source: str = "hq") -> Story:
        """The calendar was read at `read`."""
        self._tell(Kind.CALENDAR, source, "schedule", schedule(*blocks), MIDNIGHT, at(read), None)
        return self

    def calls(
        self, state: Phone, since: str, *, line: str = "1", heard: str | None = None, source: str = "push"
    ) -> Story:
        """A line is in that state since then."""
        observed = at(heard or since)
        self._tell(Kind.PHONE, source, line, state, at(since), observed, observed + timedelta(hours=12))
        return self

    def session(self, state: Availability, since: str, *, name: str = "desk", lasts: timedelta | None = None) -> Story:
        """A client session declared that state."""
        self._tell(
            Kind.AVAILABILITY, "push", name, state, at(since), at(since), at(since) + (lasts or timedelta(days=3))
        )
        return self

    def declares(self, state: Availability, since: str, until: str | None = None) -> Story:
        """The person chose a status by hand."""
        end = None if until is None else at(until)
        self._tell(Kind.AVAILABILITY, "push", "status", state, at(since), at(since), end, end, manual=True)
        return self

    def prefers(self, **chosen: object) -> Story:
        """The person chose preferences."""
        self.preferences = replace(self.preferences, **chosen)  # type: ignore[arg-type]
        return self

    def configured(self, **chosen: object) -> Story:
        """The deployment's policy."""
        self.policy = replace(self.policy, **chosen)  # type: ignore[arg-type]
        return self

    def evidence(self) -> Evidence:
        """All of it."""
        return Evidence(self.person, self.facts, self.preferences, self.dismissal, self.confirmed)

    def seen(self, clock: str | datetime) -> Presence:
        """The presence at that time."""
        now = clock if isinstance(clock, datetime) else at(clock)
        return compose(self.evidence(), self.policy, now)

    def labels(self, *clocks: str) -> list[str]:
        """The effective labels at these times."""
        return [self.seen(clock).effective.label for clock in clocks]

    def _tell(
        self,
        kind: Kind,
        source: str,
        key: str,
        value: Phone | Availability | Schedule,
        since: datetime,
        observed: datetime,
        expires: datetime | None,
        until: datetime | None = None,
        *,
        manual: bool = False,
    ) -> None:
        self.facts = [fact for fact in self.facts if (fact.source, fact.key) != (source, key)]
        seq = 1 + max((fact.seq for fact in self.facts), default=0)
        self.facts.append(
            Fact("ann@example.com", kind, source, key, seq, value, since, observed, until, expires, manual)
        )


def starts(blocks: Iterable[Block]) -> list[datetime]:
    """Their starts."""
    return [each.start for each in blocks]
