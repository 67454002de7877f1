"""The public document: what a reader of some level sees of a presence, and its bytes.

The same presence at the same level gives the same bytes on every replica and after every restart.
"""

import json
from datetime import datetime
from typing import Any

from gateway.core.model import Component, Effective, Level, Presence

Document = dict[str, Any]


def document(presence: Presence, level: Level) -> Document:
    """The document of the contract for a reader of that level, as plain JSON values."""
    if presence.invisible and level is not Level.SELF:
        return _hidden(presence.person, level)
    if level is Level.LIMITED:
        return _limited(presence)
    times = level is Level.SELF or presence.show_until
    coming = presence.next if times else None
    return {
        "person": presence.person,
        "effective": _effective(presence.effective, times),
        "reach": presence.reach.value,
        "components": {
            name: _component(component, times)
            for name, component in (
                ("availability", presence.availability),
                ("phone", presence.phone),
                ("calendar", presence.calendar),
            )
            if component is not None
        },
        "tooltip": presence.tooltip,
        "next": None
        if coming is None
        else {
            "at": timestamp(coming.at),
            "effective": _effective(coming.effective, times),
            "reach": coming.reach.value,
        },
    }


def encode(presence: Presence, level: Level) -> bytes:
    """The document's bytes: one line of ASCII JSON."""
    return json.dumps(document(presence, level), separators=(",", ":")).encode("ascii")


def timestamp(instant: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, for example 2026-11-20T09:02:11.000Z."""
    return None if instant is None else instant.isoformat(timespec="milliseconds")[:-6] + "Z"


def _effective(effective: Effective, times: bool) -> Document:
    return {
        "kind": effective.kind.value,
        "state": effective.state,
        "label": effective.label,
        "since": timestamp(effective.since),
        "until": timestamp(effective.until) if times else None,
    }


def _component(component: Component, times: bool) -> Document:
    shown: Document = {
        "state": component.state,
        "label": component.label,
        "since": timestamp(component.since),
        "until": timestamp(component.until) if times else None,
    }
    if component.as_of is not None:
        shown["stale"] = True
        shown["as_of"] = timestamp(component.as_of)
    return shown


def _limited(presence: Presence) -> Document:
    winner = presence.effective
    return {
        "person": presence.person,
        "effective": {"kind": winner.kind.value, "state": winner.state, "label": winner.label},
        "reach": presence.reach.value,
    }


def _hidden(person: str, level: Level) -> Document:
    """An invisible person: offline and nothing else."""
    effective: Document = {"kind": "availability", "state": "offline", "label": "Offline"}
    if level is Level.LIMITED:
        return {"person": person, "effective": effective, "reach": "unreachable"}
    return {
        "person": person,
        "effective": effective | {"since": None, "until": None},
        "reach": "unreachable",
        "components": {},
        "tooltip": "Offline",
        "next": None,
    }
