"""Why somebody is shown as they are: the deciding rule, and every fact with its age."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.core.compose import compose
from gateway.core.document import document, timestamp
from gateway.core.evidence import Evidence, calendar, opted_in
from gateway.core.model import Fact, Kind, Level, Override, Phone, Policy, Presence, Schedule
from gateway.core.vocabulary import CALLS


def explain(evidence: Evidence, policy: Policy, now: datetime) -> dict[str, Any]:
    """The document at level self, the rule that decided in words, until when it holds, and each fact with its age.

    Ages are in whole seconds. Nothing of a calendar is told but states and times.
    """
    presence = compose(evidence, policy, now)
    found = calendar(evidence)
    return {
        "person": evidence.person.id,
        "at": timestamp(now),
        "presence": document(presence, Level.SELF),
        "rule": rule(presence, evidence, policy),
        "override": (evidence.preferences.override or policy.override).value,
        "calendar_opt_in": opted_in(evidence.person, evidence.preferences, policy),
        "calendar_confirmed": None if found is None else timestamp(found.confirmed),
        "calendar_age": None if found is None else _age(found.confirmed, now),
        "until": timestamp(presence.effective.until or (presence.next.at if presence.next else None)),
        "facts": [_fact(fact, now) for fact in sorted(evidence.facts, key=_order) if _live(fact, now)],
    }


def rule(presence: Presence, evidence: Evidence, policy: Policy) -> str:
    """One sentence: which kind won, and over what."""
    override = evidence.preferences.override or policy.override
    winner = presence.effective.kind
    calling = presence.phone is not None and presence.phone.label is not None
    meeting = presence.calendar is not None and presence.calendar.label is not None
    if winner is Kind.PHONE:
        over = "phone > calendar > availability: a call outranks " + ("the calendar" if meeting else "availability")
        return f"{over}; state {_state(presence.phone)}"
    if winner is Kind.CALENDAR:
        return "phone > calendar > availability: nobody is on the phone, and the calendar says " + _state(
            presence.calendar
        )
    if calling or meeting:
        return f"override {override.value}: the declared availability outranks " + (
            "phone and calendar" if calling else "the calendar"
        )
    if override is not Override.NONE:
        return f"phone and calendar assert nothing, so availability decides (override {override.value} had no part)"
    return "phone > calendar > availability: phone and calendar assert nothing, so availability decides"


def _state(component: Any) -> str:
    return "nothing" if component is None else str(component.state)


def _order(fact: Fact) -> tuple[str, str, str]:
    return fact.kind.value, fact.source, fact.key


def _live(fact: Fact, now: datetime) -> bool:
    ended = fact.value is Phone.ENDED or fact.value == "ended"
    return not ended and (fact.expires_at is None or now < fact.expires_at)


def _fact(fact: Fact, now: datetime) -> dict[str, Any]:
    value = fact.value
    told: dict[str, Any] = {
        "kind": fact.kind.value,
        "source": fact.source,
        "key": fact.key,
        "state": "schedule" if isinstance(value, Schedule) else value.value,
        "asserts": value in CALLS if isinstance(value, Phone) else None,
        "since": timestamp(fact.since),
        "until": timestamp(fact.until),
        "observed_at": timestamp(fact.observed_at),
        "age": _age(fact.observed_at, now),
        "expires_at": timestamp(fact.expires_at),
        "manual": fact.manual,
    }
    if isinstance(value, Schedule):
        told["window"] = {"start": timestamp(value.window_start), "end": timestamp(value.window_end)}
        told["blocks"] = [
            {
                "start": timestamp(block.start),
                "end": timestamp(block.end),
                "busy": block.busy.value,
                "all_day": block.all_day,
            }
            for block in value.blocks
        ]
    return told


def _age(instant: datetime, now: datetime) -> int:
    return max(0, int((now - instant).total_seconds()))
