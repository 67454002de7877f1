"""The bodies of answers, as models for the OpenAPI document; the handlers write their JSON directly."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.web.bodies import PhoneState

Kind = Literal["phone", "calendar", "availability"]
CalendarState = Literal["in_meeting", "out_of_office", "tentative", "working_elsewhere", "free", "unknown"]
EffectiveState = Literal[
    "on_the_phone",
    "in_meeting",
    "out_of_office",
    "available",
    "idle",
    "away",
    "be_right_back",
    "busy",
    "do_not_disturb",
    "offline",
    "unknown",
]
Reach = Literal["reachable", "busy", "do_not_disturb", "away", "unreachable", "unknown"]


class Effective(BaseModel):
    """The single answer a client shows; the level `limited` has no `since` and no `until`."""

    kind: Kind
    state: EffectiveState
    label: str
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class _Component(BaseModel):
    label: str | None
    """Null while the component asserts nothing."""
    since: AwareDatetime | None
    until: AwareDatetime | None
    stale: Literal[True] | None = None
    """Present only while the component is stale; `as_of` is the last confirmed truth."""
    as_of: AwareDatetime | None = None


class AvailabilityComponent(_Component):
    """What clients and the person declare."""

    state: EffectiveState


class PhoneComponent(_Component):
    """What the phones do; absent for people without a phone source."""

    state: PhoneState


class CalendarComponent(_Component):
    """What the calendar says; absent for people who do not share it."""

    state: CalendarState


class Components(BaseModel):
    """All three sources; none for people who chose to be invisible."""

    availability: AvailabilityComponent | None = None
    phone: PhoneComponent | None = None
    calendar: CalendarComponent | None = None


class Next(BaseModel):
    """What comes at the first known edge."""

    at: AwareDatetime
    effective: Effective
    reach: Reach


class Presence(BaseModel):
    """The document; the level `limited` has `person`, `effective` and `reach` only."""

    person: str
    effective: Effective
    reach: Reach
    components: Components | None = None
    tooltip: str | None = None
    next: Next | None = None


class Listing(BaseModel):
    """Presence of many. With `since`: only what changed after it, and `gone`; after `reset` it is everything."""

    presence: list[Presence]
    missing: list[str]
    """Asked for by name, but unknown or not visible."""
    id: str
    """The stream id: give it back as `since` or as `last_event_id`."""
    reset: bool
    gone: list[str] | None = None
    """Only with `since`: people who left the visible set."""
    next: str | None = None
    """The address of the next page, if there is one; `id` stays that of the first page."""


class Receipt(BaseModel):
    """The publication is durable."""

    expires_at: AwareDatetime | None
    seq: int | None


class Preferences(BaseModel):
    """What is in force; `chosen` has only what the person chose."""

    calendar_opt_in: bool
    override: str
    show_until: bool
    invisible: bool
    tentative: str
    out_of_office: str
    all_day_busy: str
    chosen: dict[str, bool | str]


class DirectoryEntry(BaseModel):
    """One person; `groups` are those that the reader may know."""

    id: str
    name: str
    groups: list[str]


class People(BaseModel):
    """A page of the directory, sorted by id."""

    people: list[DirectoryEntry]
    next: str | None = None


class Health(BaseModel):
    """One problem record, or a clean bill."""

    model_config = ConfigDict(extra="allow")


class Calendars(BaseModel):
    """Health per calendar server."""

    calendars: list[Health]


class Mailboxes(BaseModel):
    """Health per mailbox of one server, sorted by mailbox."""

    mailboxes: list[Health]
    next: str | None = None


class Why(BaseModel):
    """The facts, the rule that decided, until when, and the age of each fact."""

    model_config = ConfigDict(extra="allow")


class Session(BaseModel):
    """Who signed in."""

    name: str
    scopes: list[str]
    person: str | None
    expires_at: AwareDatetime


class Alive(BaseModel):
    """The event loop runs."""

    alive: bool
    loop_lag: float
    """Seconds."""


class Ready(BaseModel):
    """Whether this replica may take traffic, and what is degraded."""

    model_config = ConfigDict(extra="allow")

    ready: bool


class Fault(BaseModel):
    """One fault: `pointer` (RFC 6901) into the body, or `parameter` of the URL."""

    pointer: str | None = None
    parameter: str | None = None
    detail: str


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int = Field(ge=400, le=599)
    code: str
    detail: str
    instance: str
    """The id of the request."""
    errors: list[Fault] | None = None
    incident: str | None = None
    """Only of internal.error: find it in the log."""
