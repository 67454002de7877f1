"""compose(): phone > calendar > availability, as a pure function of evidence, policy and time.

Each kind is reduced to one component, the first kind that asserts wins the label, and all components stay visible.
Nothing here reads a clock, and the order in which facts are given does not matter.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from gateway.core.evidence import Calendar as CalendarEvidence
from gateway.core.evidence import Evidence, TimelineMemo, calendar, opted_in, reading
from gateway.core.model import (
    Availability,
    Calendar,
    Component,
    Effective,
    Fact,
    Kind,
    Next,
    OutOfOffice,
    Override,
    Phone,
    Policy,
    Presence,
    Reach,
    Schedule,
    Tentative,
    WorkingElsewhere,
)
from gateway.core.timeline import Segment, Timeline
from gateway.core.vocabulary import (
    ASSERTING_BLOCKS,
    CALLS,
    EVERYBODY,
    LABEL,
    LINK_GONE_AFTER,
    LINK_STALE_AFTER,
    ON_THE_PHONE,
    PHONE_RANK,
    REACH,
    SESSION_RANK,
    SESSION_WORD,
    STALE_AFTER,
    UNKNOWN_AFTER,
)


def compose(evidence: Evidence, policy: Policy, now: datetime) -> Presence:
    """What this person is doing at `now` (aware UTC), and what comes next."""
    return _Case(evidence, policy, now).presence()


def compose_until(evidence: Evidence, policy: Policy, now: datetime) -> tuple[Presence, datetime | None]:
    """The presence, and the first later instant at which it may differ without any new evidence."""
    case = _Case(evidence, policy, now)
    return case.presence(), case.valid_until


@dataclass(frozen=True, slots=True)
class _Judgement:
    """The rule applied at one instant."""

    effective: Effective
    reach: Reach
    availability: Component
    phone: Component | None
    calendar: Component | None

    def shows(self) -> tuple[Kind, str, str, Reach]:
        """What a watcher would see change."""
        return self.effective.kind, self.effective.state, self.effective.label, self.reach


class _Case:
    """One person's evidence, divided by kind and liveness at `now`, ready to be judged at `now` or later."""

    def __init__(self, evidence: Evidence, policy: Policy, now: datetime) -> None:
        preferences = evidence.preferences
        self.person = evidence.person
        self.policy = policy
        self.now = now
        self.valid_until: datetime | None = None
        self.override = preferences.override or policy.override
        self.show_until = policy.show_until if preferences.show_until is None else preferences.show_until
        self.invisible = bool(preferences.invisible)
        self.calls: list[tuple[Fact, Phone]] = []
        self.sessions: list[tuple[Fact, Availability]] = []
        self.manual: list[tuple[Fact, Availability]] = []
        self.phone_as_of: datetime | None = None
        self.timeline: Timeline | None = None
        self.calendar_as_of: datetime | None = None
        self.unbeaten: dict[datetime, Timeline] = {}
        self.ends: list[datetime] = []
        self._divide(evidence)
        self.opted_in = opted_in(evidence.person, preferences, policy)
        if self.opted_in and (found := calendar(evidence)) is not None:
            self._read_calendar(evidence, found)

    def _divide(self, evidence: Evidence) -> None:
        """Sort the live calls, sessions and manual choices."""
        for fact in evidence.facts:
            value = fact.value
            if isinstance(value, Schedule) or value is Phone.ENDED or value is Availability.ENDED:
                continue
            if self._holds(fact.expires_at) and self._holds(fact.until, explicit=True):
                if isinstance(value, Phone):
                    self._add_call(fact, value, evidence.confirmed.get(fact.source))
                elif fact.manual:
                    self.manual.append((fact, value))
                else:
                    self.sessions.append((fact, value))

    def _holds(self, end: datetime | None, *, explicit: bool = False) -> bool:
        """Whether something until `end` holds now; if so it may change then."""
        if end is None:
            return True
        if end <= self.now:
            return False
        if self.valid_until is None or end < self.valid_until:
            self.valid_until = end
        if explicit:
            self.ends.append(end)
        return True

    def _add_call(self, fact: Fact, state: Phone, link: Mapping[str, datetime] | None) -> None:
        """A call counts; one over a link also depends on the link's last sign of life."""
        if link is not None:
            heard = link.get(fact.person) or link.get(EVERYBODY) or fact.observed_at
            confirmed = max(heard, fact.observed_at)
            if not self._holds(confirmed + LINK_GONE_AFTER):
                return
            if not self._holds(confirmed + LINK_STALE_AFTER):
                self.phone_as_of = min(self.phone_as_of or confirmed, confirmed)
        self.calls.append((fact, state))

    def _read_calendar(self, evidence: Evidence, found: CalendarEvidence) -> None:
        """Judge the schedule's age and resolve its timelines."""
        schedule, confirmed = found.schedule, found.confirmed
        if not (self._holds(schedule.window_end) and self._holds(confirmed + UNKNOWN_AFTER)):
            return
        if not self._holds(confirmed + STALE_AFTER):
            self.calendar_as_of = confirmed
        self.reading = reading(evidence.preferences, self.policy)
        self.timeline = evidence.memo.timeline(schedule, evidence.dismissal, None, self.reading)
        self._holds(self.timeline.edge_after(self.now))
        if self.override is Override.MANUAL_OVER_CALENDAR:
            for manual, _ in self.manual:
                unbeaten = TimelineMemo().timeline(schedule, evidence.dismissal, manual.since, self.reading)
                self._holds(unbeaten.edge_after(self.now))
                self.unbeaten[manual.since] = unbeaten
        self.window_end = schedule.window_end

    def presence(self) -> Presence:
        """The judgement of now, and what comes next."""
        judgement = self._judge(self.now)
        return Presence(
            self.person.id,
            judgement.effective,
            judgement.reach,
            judgement.availability,
            judgement.phone,
            judgement.calendar,
            self._next(judgement),
            self.show_until,
            self.invisible,
        )

    def _next(self, judgement: _Judgement) -> Next | None:
        """The first edge or explicit end at which a watcher would see a change; leases are taken to hold."""
        shown = judgement.shows()
        for at in self._edges():
            then = self._judge(at)
            if then.shows() != shown:
                return Next(at, then.effective, then.reach)
        return None

    def _edges(self) -> Iterator[datetime]:
        """Schedule edges inside the window and explicit ends after now, in order."""
        if self.timeline is None:
            return iter(sorted(self.ends))
        timelines = (self.timeline, *self.unbeaten.values())
        edges = [timeline.edges_after(self.now) for timeline in timelines]
        inside = [takewhile(lambda edge: edge < self.window_end, line) for line in edges]
        return heapq.merge(sorted(self.ends), *inside) if self.ends or self.unbeaten else inside[0]

    def _judge(self, at: datetime) -> _Judgement:
        """Reduce each kind at that instant and apply the rule."""
        manual = self._manual(at)
        availability = self._availability(at, manual)
        phone, calling = self._phone(at)
        segment = self.timeline.at(at) if self.timeline is not None else None
        calendar = self._calendar(at, segment)
        unbeaten = self.unbeaten.get(manual[0].since) if manual is not None else None
        meeting = segment if unbeaten is None else unbeaten.at(at)
        if meeting is not None and meeting.state not in ASSERTING_BLOCKS:
            meeting = None
        kind = self._decide(availability.state, manual is not None, calling, meeting)
        effective = self._effective(kind, availability, phone, meeting)
        declared = availability.state == Availability.DO_NOT_DISTURB
        reach = Reach.DO_NOT_DISTURB if declared else REACH[effective.state]
        return _Judgement(effective, reach, availability, phone, calendar)

    def _decide(self, availability: str, manual: bool, calling: bool, meeting: Segment | None) -> Kind:
        """The founding rule, first match wins, with the override policies in their places."""
        override = self.override
        if override is Override.MANUAL_OVER_ALL and manual:
            return Kind.AVAILABILITY
        undisturbed = availability == Availability.DO_NOT_DISTURB
        if override is Override.DND_OVER_ALL and undisturbed:
            return Kind.AVAILABILITY
        if calling:
            return Kind.PHONE
        if override is Override.DND_OVER_CALENDAR and undisturbed:
            return Kind.AVAILABILITY
        if override is Override.OFFLINE_HIDES_CALENDAR and not self._has_session():
            return Kind.AVAILABILITY
        return Kind.AVAILABILITY if meeting is None else Kind.CALENDAR

    def _has_session(self) -> bool:
        return any(state is not Availability.OFFLINE for _, state in self.sessions)

    def _effective(
        self, kind: Kind, availability: Component, phone: Component | None, meeting: Segment | None
    ) -> Effective:
        if kind is Kind.PHONE and phone is not None:
            return Effective(kind, ON_THE_PHONE, LABEL[ON_THE_PHONE], phone.since, phone.until)
        if kind is Kind.CALENDAR and meeting is not None:
            return Effective(kind, meeting.state.value, self._meeting_label(meeting), meeting.start, meeting.end)
        state = availability.state
        return Effective(Kind.AVAILABILITY, state, LABEL[state], availability.since, availability.until)

    def _meeting_label(self, segment: Segment) -> str:
        away = segment.state is Calendar.OUT_OF_OFFICE and self.reading.out_of_office is OutOfOffice.AWAY_LABEL
        return LABEL["away"] if away else LABEL[segment.state.value]

    def _manual(self, at: datetime) -> tuple[Fact, Availability] | None:
        """The newest manual choice that holds at that instant."""
        holding = [choice for choice in self.manual if choice[0].until is None or at < choice[0].until]
        return max(holding, key=lambda choice: (choice[0].since, choice[0].seq)) if holding else None

    def _availability(self, at: datetime, manual: tuple[Fact, Availability] | None) -> Component:
        """The manual choice, else the strongest session, else the configured state of nobody there."""
        since = until = None
        state = self.policy.no_session
        if manual is not None:
            fact, state = manual
            since, until = fact.since, fact.until
        elif sessions := [(fact, state) for fact, state in self.sessions if fact.until is None or at < fact.until]:
            state = min((state for _, state in sessions), key=SESSION_RANK.__getitem__)
            since = min(fact.since for fact, of in sessions if of is state)
        word = SESSION_WORD[state]
        return Component(state.value, word, since, until, word)

    def _phone(self, at: datetime) -> tuple[Component | None, bool]:
        """The strongest state of all lines, devices and calls, and whether it asserts "On the phone"."""
        calls = [(fact, state) for fact, state in self.calls if fact.until is None or at < fact.until]
        if not calls:
            idle = Component(Phone.IDLE.value, None, None, None)
            return (idle if self.person.phones else None), False
        state = min((state for _, state in calls), key=PHONE_RANK.__getitem__)
        policy = self.policy
        since: datetime | None
        asserting = CALLS | {Phone.RINGING} if policy.ringing_counts else CALLS
        if state in asserting:
            since = min(fact.since for fact, of in calls if of in asserting)
            held = state is Phone.HELD and policy.hold_tooltip
            word = LABEL[ON_THE_PHONE]
            tooltip = f"{word} (on hold)" if held else word
            return Component(state.value, word, since, None, tooltip, self.phone_as_of), True
        since = None if state is Phone.IDLE else min(fact.since for fact, of in calls if of is state)
        ringing = state is Phone.RINGING and policy.ringing_tooltip
        return Component(state.value, None, since, None, "Ringing" if ringing else None, self.phone_as_of), False

    def _calendar(self, at: datetime, segment: Segment | None) -> Component | None:
        """The calendar component; None without consent, unknown without a schedule one may believe."""
        if not self.opted_in:
            return None
        if self.timeline is None:
            return Component(Calendar.UNKNOWN.value, None, None, None)
        if segment is None:
            return Component(Calendar.FREE.value, None, None, self._free_until(at), None, self.calendar_as_of)
        state = segment.state
        label = tooltip = None
        if state in ASSERTING_BLOCKS:
            label = tooltip = self._meeting_label(segment)
        elif state is Calendar.TENTATIVE and self.reading.tentative is Tentative.TOOLTIP:
            tooltip = "Tentative"
        elif state is Calendar.WORKING_ELSEWHERE and self.policy.working_elsewhere is WorkingElsewhere.TOOLTIP:
            tooltip = "Working elsewhere"
        return Component(state.value, label, segment.start, segment.end, tooltip, self.calendar_as_of)

    def _free_until(self, at: datetime) -> datetime | None:
        """The next block's start, if it lies inside the window."""
        edge = self.timeline.edge_after(at) if self.timeline is not None else None
        return edge if edge is not None and edge < self.window_end else None
