"""The bodies of requests: what each field may be, and what is assumed if it is left out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from gateway.clock import milliseconds
from gateway.core.model import AllDayBusy, Availability, OutOfOffice, Override, Phone, Tentative

LABEL: Final = r"[A-Za-z0-9._:@+-]{1,64}"
"""What pushers may call their lines, sessions and themselves."""

HIGHEST_SEQ: Final = 2**63 - 1
FUTURE_SLACK: Final = timedelta(seconds=5)
OLDEST_SINCE: Final = timedelta(hours=24)
LONGEST_STATUS: Final = timedelta(days=366)

# RFC 3339 5.6, with the offset that makes it an instant.
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def instant(value: object) -> datetime:
    """An RFC 3339 timestamp as aware UTC, cut to milliseconds; raises ValueError."""
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise ValueError("must be an RFC 3339 timestamp with an offset, like 2026-11-20T09:00:00.000Z")
    try:
        return milliseconds(datetime.fromisoformat(value.upper()).astimezone(UTC))
    except (ValueError, OverflowError):
        raise ValueError("is no instant of the calendar") from None


def _recent(value: datetime, info: ValidationInfo) -> datetime:
    now = _now(info)
    if value > now + FUTURE_SLACK:
        raise ValueError("lies in the future")
    if value < now - OLDEST_SINCE:
        raise ValueError("is older than 24 hours")
    return value


def _coming(value: datetime, info: ValidationInfo) -> datetime:
    now = _now(info)
    if value <= now:
        raise ValueError("must lie in the future")
    if value > now + LONGEST_STATUS:
        raise ValueError("is more than a year away")
    return value


def _now(info: ValidationInfo) -> datetime:
    context: dict[str, Any] = info.context or {}
    now = context["now"]
    assert isinstance(now, datetime)
    return now


Instant = Annotated[
    datetime, PlainValidator(instant), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]
Label = Annotated[str, StringConstraints(pattern=f"^{LABEL}$")]
Seq = Annotated[int, Field(ge=0, le=HIGHEST_SEQ)]
PersonId = Annotated[str, StringConstraints(min_length=1, max_length=320)]
Group = Annotated[str, StringConstraints(min_length=1, max_length=256)]

# `ended` is how the gateway remembers a withdrawal; publishers say DELETE.
PhoneState = Literal["connected", "held", "dialing", "wrap_up", "ringing", "idle"]
AvailabilityState = Literal[
    "available", "idle", "away", "be_right_back", "busy", "do_not_disturb", "offline", "unknown"
]


class Body(BaseModel):
    """A JSON object with exactly these fields, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PhonePublication(Body):
    """What one line does now."""

    state: PhoneState
    since: Annotated[Instant, AfterValidator(_recent)] | None = None
    """When it became so; default: now. Not in the future, not older than 24 hours."""
    expires_in: Annotated[float, Field(ge=10, le=43_200)] = 900.0
    """Seconds until it is no longer believed."""
    seq: Seq | None = None
    publisher: Label | None = None

    @property
    def value(self) -> Phone:
        return Phone(self.state)


class SessionPublication(Body):
    """What one client session declares."""

    state: AvailabilityState
    expires_in: Annotated[float, Field(ge=60, le=14_400)] = 300.0
    """Seconds until it is no longer believed."""
    seq: Seq | None = None
    publisher: Label | None = None

    @property
    def value(self) -> Availability:
        return Availability(self.state)


class StatusPublication(Body):
    """What the person chose by hand; it ranks above every session."""

    state: AvailabilityState
    until: Annotated[Instant, AfterValidator(_coming)] | None = None
    """When it ends by itself; default: never."""

    @property
    def value(self) -> Availability:
        return Availability(self.state)


class DismissalPublication(Body):
    """Leave the running meeting early."""

    until: Instant
    """The end of the running block, as published for the person herself."""


class PreferencesPatch(Body):
    """A JSON merge patch (RFC 7396): null forgets a choice, so that the deployment decides again."""

    calendar_opt_in: bool | None = None
    override: Override | None = None
    show_until: bool | None = None
    invisible: bool | None = None
    tentative: Tentative | None = None
    out_of_office: OutOfOffice | None = None
    all_day_busy: AllDayBusy | None = None


class PresenceQuery(Body):
    """Whose presence: these people and the members of these groups; everybody visible if neither is given."""

    people: list[PersonId] | None = None
    groups: Annotated[list[Group], Field(max_length=1_000)] | None = None
    since: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """The `id` of an earlier answer: only what changed after it."""


class StreamQuery(Body):
    """Whom to follow: these people and the members of these groups; everybody visible if neither is given."""

    people: list[PersonId] | None = None
    groups: Annotated[list[Group], Field(max_length=1_000)] | None = None


class SignIn(Body):
    """Trade a token for the page's session."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=512)]
