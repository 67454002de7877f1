"""What is known of one person, before it is composed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.core.model import Dismissal, Fact, Person, Phone, Policy, Preferences, Schedule
from gateway.core.timeline import Reading, Timeline, resolve
from gateway.core.vocabulary import UNKNOWN_AFTER

Confirmed = Mapping[str, Mapping[str, datetime]]
"""Source → person → the last instant at which the source confirmed its facts."""


NO_PREFERENCES = Preferences()


class TimelineMemo:
    """Remembers the last timeline, so that an edge costs a search and not a new resolution."""

    __slots__ = ("answer", "asked")

    def __init__(self) -> None:
        self.asked: tuple[Schedule, Dismissal | None, datetime | None, Reading] | None = None
        self.answer = Timeline(())

    def timeline(
        self,
        schedule: Schedule,
        dismissal: Dismissal | None,
        begun_before: datetime | None,
        reading: Reading,
    ) -> Timeline:
        """The timeline of the blocks not dismissed and, if given, not begun before that instant."""
        asked = self.asked
        if asked is None or asked[0] is not schedule or asked[1:] != (dismissal, begun_before, reading):
            left = dismissal.blocks if dismissal else frozenset()
            self.answer = resolve(
                (
                    block
                    for block in schedule.blocks
                    if block not in left and (begun_before is None or block.start >= begun_before)
                ),
                reading,
            )
            self.asked = (schedule, dismissal, begun_before, reading)
        return self.answer


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one person: of every source and key the newest fact (see `newest`), in any order."""

    person: Person
    facts: Iterable[Fact]
    preferences: Preferences = NO_PREFERENCES
    dismissal: Dismissal | None = None
    confirmed: Confirmed = field(default_factory=dict)
    memo: TimelineMemo = field(default_factory=TimelineMemo, compare=False)


def opted_in(person: Person, preferences: Preferences, policy: Policy) -> bool:
    """Whether the calendar may be read: the person's own choice, else the directory's, else the default."""
    if person.calendar is None:
        return False
    for choice in (preferences.calendar_opt_in, person.calendar_opt_in):
        if choice is not None:
            return choice
    return policy.calendar_opt_in


def supersedes(new: Fact, old: Fact) -> bool:
    """Whether `new` replaces `old` of the same source and key: a higher sequence, and no ended call rings again."""
    if new.seq <= old.seq:
        return False
    final = old.sticky and old.value is Phone.ENDED
    return not (final and old.expires_at is not None and new.observed_at < old.expires_at)


def newest(facts: Iterable[Fact]) -> Iterable[Fact]:
    """Of every source and key the statement that counts, whatever the order they are given in."""
    kept: dict[tuple[str, str], Fact] = {}
    for fact in sorted(facts, key=lambda fact: fact.seq):
        old = kept.get((fact.source, fact.key))
        if old is None or supersedes(fact, old):
            kept[fact.source, fact.key] = fact
    return kept.values()


def reading(preferences: Preferences, policy: Policy) -> Reading:
    """How this person's blocks are read: as chosen, else as configured."""
    return Reading(
        preferences.tentative or policy.tentative,
        preferences.out_of_office or policy.out_of_office,
        preferences.all_day_busy or policy.all_day_busy,
    )


@dataclass(frozen=True, slots=True)
class Calendar:
    """The schedule that counts, and when it was last confirmed."""

    schedule: Schedule
    confirmed: datetime

    def believed(self, now: datetime) -> bool:
        """Whether it may still be shown: inside its window and confirmed within a day."""
        return now < self.schedule.window_end and now < self.confirmed + UNKNOWN_AFTER


def calendar(evidence: Evidence) -> Calendar | None:
    """The schedule of the person's own calendar server, else the newest of another one (just moved away from)."""
    configured = evidence.person.calendar
    best: tuple[tuple[bool, int], Fact, Schedule] | None = None
    for fact in evidence.facts:
        if isinstance(fact.value, Schedule):
            rank = (fact.source == configured, fact.seq)
            if best is None or rank > best[0]:
                best = (rank, fact, fact.value)
    if best is None:
        return None
    _, fact, schedule = best
    heard = evidence.confirmed.get(fact.source, {}).get(fact.person, fact.observed_at)
    return Calendar(schedule, max(fact.observed_at, heard))
