"""Faults on purpose: a short script of rules, consulted for every request.

A rule says which requests it is for (operation, mailbox), how often it acts, and what happens then. The
actions and their parameters are one table, `ACTIONS`; a rule that asks for something else is refused with a
sentence. Mailboxes that fail by their name are the world's business, not ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Value = str | int | float | bool


class BadRule(ValueError):
    """A rule that cannot mean anything; the text names the field and what it may be."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an action: the types it takes and its default (None: it must be given)."""

    types: tuple[type, ...]
    default: Value | None
    choices: tuple[Value, ...] = ()


def _number(default: float | None = None) -> Parameter:
    return Parameter((int, float), default)


def _whole(default: int | None = None, *choices: int) -> Parameter:
    return Parameter((int,), default, choices)


def _text(default: str | None = None, *choices: str) -> Parameter:
    return Parameter((str,), default, choices)


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule can do: one sentence, its parameters, and what it happens to: a request, one envelope of a
    stream, or the news of one mailbox.
    """

    meaning: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    to: Literal["request", "envelope", "news"] = "request"


def _at(**more: Parameter) -> Mapping[str, Parameter]:
    """Parameters of what happens to an envelope; `at` says which kind, any but the first if it does not."""
    kinds = ("later", "any", "hello", "news", "heartbeat", "closed")
    return {"at": _text("later", *kinds), **more}


STREAM = "GetStreamingEvents"
STATUSES = (400, 401, 403, 404, 405, 413, 429, 440, 449, 456, 500, 501, 502, 503, 504)

# Sizes are bytes, durations seconds, back-off milliseconds as on the wire.
ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "status": Action(
            "an HTTP error with an HTML body; retry_after in seconds, none if negative",
            {"status": _whole(None, *STATUSES), "retry_after": _whole(-1)},
        ),
        "soap_fault": Action(
            "HTTP 500 with a SOAP fault; no BackOffMilliseconds if negative",
            {"code": _text("ErrorServerBusy"), "backoff_ms": _whole(-1)},
        ),
        "message_error": Action(
            "HTTP 200, every response message an error; no BackOffMilliseconds if negative",
            {"code": _text("ErrorServerBusy"), "backoff_ms": _whole(-1)},
        ),
        "inner_busy": Action(
            "HTTP 200, ErrorInternalServerError whose MessageXml holds an inner ErrorServerBusy",
            {"backoff_ms": _whole(-1)},
        ),
        "truncated": Action(
            "the answer stops half-way: Content-Length promised more, or the last chunk never comes",
            {"part": _number(0.5), "framing": _text("length", "length", "chunked")},
        ),
        "oversized": Action(
            "the right answer, then blanks up to this size (of the text; gzip makes it small on the wire)",
            {"size": _whole(16 << 20), "gzip": Parameter((bool,), False)},
        ),
        "slow_first_byte": Action("the answer comes after a while", {"seconds": _number(5.0)}),
        "slow_trickle": Action(
            "the answer comes in small pieces with pauses between",
            {"size": _whole(64), "seconds": _number(0.5)},
        ),
        "reset": Action("TCP reset after so many bytes of the answer", {"after": _whole(0)}),
        "close": Action("the connection is closed in good order without an answer"),
        "hang": Action("no answer, until the client goes, the fault is cleared or the server stops"),
        "login_page": Action("HTTP 200 with a login page in HTML"),
        "redirect": Action(
            "a redirect to anywhere",
            {"location": _text(), "status": _whole(302, 301, 302, 303, 307, 308)},
        ),
        "dtd": Action("the right answer with a document type and an entity in front"),
        "malformed": Action("the right answer with one end tag missing"),
        "illegal_reference": Action("the right answer with a reference that XML 1.0 forbids in it"),
        "empty": Action("HTTP 200 and no body"),
        "stop_listening": Action(
            "all connections end, and there are no new ones until the listener is switched on again",
        ),
        "stream_cut": Action(
            "the stream ends after a part of the envelope: closed, by TCP reset, or as if that were the body",
            _at(part=_number(0.5), end=_text("close", "close", "reset", "body")),
            "envelope",
        ),
        "stream_silent": Action(
            "the envelope is kept back and not a byte follows it, until the client goes or the fault is cleared",
            _at(),
            "envelope",
        ),
        "stream_malformed": Action("the envelope has one end tag missing", _at(), "envelope"),
        "stream_oversized": Action(
            "the envelope is blown up with blanks to this size", _at(size=_whole(5 << 20)), "envelope"
        ),
        "stream_endless": Action(
            "the envelope comes again and again, or its inside does and it never ends; seconds between",
            _at(repeat=_text("envelope", "envelope", "inside"), seconds=_number(0.0)),
            "envelope",
        ),
        "stream_error": Action(
            "an error takes the place of the envelope; it may blame the subscriptions (of the rule's mailbox, "
            "else all), forget them, and leave the stream open if its status is OK",
            _at(
                code=_text("ErrorMissedNotificationEvents"),
                blame=Parameter((bool,), False),
                forget=Parameter((bool,), False),
                status=_text("Closed", "Closed", "OK", ""),
            ),
            "envelope",
        ),
        "stream_closed": Action("the server closes the stream in good order instead", _at(), "envelope"),
        "stream_lost": Action("news of a mailbox gets lost on the way", {}, "news"),
    }
)


@dataclass(slots=True)
class Rule:
    """One rule. `mailbox` and `operation` are compared without case, empty means any.

    The first `skip` matching requests pass, then every `every`-th one is hit, `count` times in all (None: for
    ever). Rules act on requests that are logged on; with `before_logon` on every request, before its
    credentials are looked at. `delay` seconds pass before any action. Actions on streams count envelopes, or
    news, where the others count requests.
    """

    action: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    operation: str = ""
    mailbox: str = ""
    count: int | None = None
    skip: int = 0
    every: int = 1
    before_logon: bool = False
    delay: float = 0.0
    number: int = 0
    matched: int = 0
    hits: int = 0
    acted: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set once the rule has hit a request, which may be long before that request is answered."""
    cleared: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set once the rule is no longer in force."""

    def takes(self, operation: str, mailboxes: tuple[str, ...], *, logged_on: bool) -> bool:
        """Whether this rule acts on such a request now; counts it."""
        if logged_on == self.before_logon or (self.count is not None and self.hits >= self.count):
            return False
        if self.operation and self.operation.casefold() != operation.casefold():
            return False
        if self.mailbox and self.mailbox.casefold() not in (each.casefold() for each in mailboxes):
            return False
        self.matched += 1
        due = self.matched > self.skip and (self.matched - self.skip - 1) % self.every == 0
        if due:
            self.hits += 1
            self.acted.set()
        return due

    @property
    def happens_to(self) -> str:
        """A request, one envelope of a stream, or the news of one mailbox."""
        return ACTIONS[self.action].to

    def text(self, name: str) -> str:
        """A text parameter, or its default."""
        return str(self._value(name))

    def number_of(self, name: str) -> float:
        """A number parameter, or its default."""
        return float(self._value(name))

    def whole(self, name: str) -> int:
        """A whole-number parameter, or its default."""
        return int(self._value(name))

    def flag(self, name: str) -> bool:
        """A yes/no parameter, or its default."""
        return bool(self._value(name))

    def as_json(self) -> dict[str, object]:
        """The rule as the control endpoint shows it, with its number and how often it acted."""
        shown: dict[str, object] = {"number": self.number, "action": self.action, **self.parameters}
        for name in _FIELDS:
            shown[name] = getattr(self, name)
        return {**shown, "matched": self.matched, "hits": self.hits}

    def _value(self, name: str) -> Value:
        default = ACTIONS[self.action].parameters[name].default
        value = self.parameters.get(name, default)
        if value is None:
            raise BadRule(f"action {self.action!r} needs {name!r}")
        return value


_FIELDS: Mapping[str, tuple[type, ...]] = {
    "operation": (str,),
    "mailbox": (str,),
    "count": (int, type(None)),
    "skip": (int,),
    "every": (int,),
    "before_logon": (bool,),
    "delay": (int, float),
}


class Faults:
    """The rules in force, in the order they were added; the first that takes a request wins."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._numbered = 0

    def add(self, action: str, **fields: Value | None) -> Rule:
        """Add a rule: `add("status", status=503, retry_after=5, operation="GetUserAvailability", count=2)`.

        Fields are those of `Rule` and the parameters of the action. Raises BadRule.
        """
        rule = _checked(action, fields)
        self._numbered += 1
        rule.number = self._numbered
        self._rules.append(rule)
        return rule

    def clear(self, number: int | None = None) -> None:
        """Remove one rule, or all; requests that hang on them are let go. Unknown numbers are ignored."""
        gone = [rule for rule in self._rules if number is None or rule.number == number]
        self._rules = [rule for rule in self._rules if number is not None and rule.number != number]
        for rule in gone:
            rule.cleared.set()

    def pick(self, operation: str, mailboxes: tuple[str, ...], *, logged_on: bool) -> Rule | None:
        """The rule for one request, if any; asked twice, before and after its logon."""
        rules = (rule for rule in self._rules if rule.happens_to == "request")
        return next((rule for rule in rules if rule.takes(operation, mailboxes, logged_on=logged_on)), None)

    def pick_envelope(self, kind: str, mailboxes: tuple[str, ...]) -> Rule | None:
        """The rule for one envelope of a stream, if any: its kind, and whom it or its stream is about."""
        rules = (rule for rule in self._rules if rule.happens_to == "envelope" and _is_at(rule.text("at"), kind))
        return next((rule for rule in rules if rule.takes(STREAM, mailboxes, logged_on=True)), None)

    def loses(self, mailbox: str) -> bool:
        """Whether the news of a mailbox that is about to be sent gets lost."""
        rules = (rule for rule in self._rules if rule.happens_to == "news")
        return any(rule.takes(STREAM, (mailbox,), logged_on=True) for rule in rules)

    def as_json(self) -> list[dict[str, object]]:
        """All rules, as the control endpoint shows them."""
        return [rule.as_json() for rule in self._rules]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return tuple(self._rules)


def _is_at(wanted: str, kind: str) -> bool:
    first = kind == "hello"
    return wanted in (kind, "any") or (wanted == "later" and not first)


def _checked(action: str, fields: Mapping[str, Value | None]) -> Rule:
    if action not in ACTIONS:
        raise BadRule(f"unknown action {action!r}; there are {', '.join(ACTIONS)}")
    parameters = ACTIONS[action].parameters
    for name, value in fields.items():
        if name in parameters:
            _check_parameter(action, name, value, parameters[name])
        elif name in _FIELDS:
            _check_type(action, name, value, _FIELDS[name])
        else:
            known = ", ".join((*parameters, *_FIELDS))
            raise BadRule(f"action {action!r} has no {name!r}; it takes {known}")
    missing = [name for name, each in parameters.items() if each.default is None and name not in fields]
    if missing:
        raise BadRule(f"action {action!r} needs {', '.join(missing)}")
    common: dict[str, Any] = {name: value for name, value in fields.items() if name in _FIELDS}
    if common.get("every", 1) < 1 or common.get("skip", 0) < 0 or common.get("delay", 0) < 0:
        raise BadRule("'every' starts at 1, 'skip' and 'delay' at 0")
    own = {name: value for name, value in fields.items() if name in parameters and value is not None}
    return Rule(action, MappingProxyType(own), **common)


def _check_parameter(action: str, name: str, value: object, parameter: Parameter) -> None:
    _check_type(action, name, value, parameter.types)
    if parameter.choices and value not in parameter.choices:
        allowed = ", ".join(map(str, parameter.choices))
        raise BadRule(f"{name!r} of action {action!r} is {value!r}; it may be {allowed}")


def _check_type(action: str, name: str, value: object, types: tuple[type, ...]) -> None:
    # bool is an int in Python, and "count": true is a mistake all the same
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        wanted = " or ".join("null" if each is type(None) else each.__name__ for each in types)
        raise BadRule(f"{name!r} of action {action!r} is {value!r}; it must be {wanted}")
