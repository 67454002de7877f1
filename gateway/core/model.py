"""The words of presence as frozen types: person, fact, schedule, component, presence.

Everything here is already valid: texts were checked and instants are aware UTC, cut to milliseconds, before they got
here. Intervals are half-open, `[start, end)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """The three source kinds, strongest first."""

    PHONE = "phone"
    CALENDAR = "calendar"
    AVAILABILITY = "availability"


class Phone(StrEnum):
    """State of one call, line or device; after reduction, of a person's phones (RFC 4235 states, see the docs)."""

    CONNECTED = "connected"
    HELD = "held"
    DIALING = "dialing"
    WRAP_UP = "wrap_up"
    RINGING = "ringing"
    IDLE = "idle"
    ENDED = "ended"
    """Withdrawn: the key is remembered so that late news cannot bring it back; never shown."""


class Availability(StrEnum):
    """What a client session or the person declared."""

    AVAILABLE = "available"
    IDLE = "idle"
    AWAY = "away"
    BE_RIGHT_BACK = "be_right_back"
    BUSY = "busy"
    DO_NOT_DISTURB = "do_not_disturb"
    OFFLINE = "offline"
    UNKNOWN = "unknown"
    ENDED = "ended"
    """Withdrawn, as for phones."""


class Busy(StrEnum):
    """What a calendar says of one block of time; free time is the absence of blocks."""

    TENTATIVE = "tentative"
    BUSY = "busy"
    OUT_OF_OFFICE = "out_of_office"
    WORKING_ELSEWHERE = "working_elsewhere"


class Calendar(StrEnum):
    """State of the calendar component."""

    IN_MEETING = "in_meeting"
    OUT_OF_OFFICE = "out_of_office"
    TENTATIVE = "tentative"
    WORKING_ELSEWHERE = "working_elsewhere"
    FREE = "free"
    UNKNOWN = "unknown"


class Reach(StrEnum):
    """May I disturb? The second axis beside the label."""

    REACHABLE = "reachable"
    BUSY = "busy"
    DO_NOT_DISTURB = "do_not_disturb"
    AWAY = "away"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class Override(StrEnum):
    """Which declared availability may outrank phone or calendar."""

    NONE = "none"
    DND_OVER_CALENDAR = "dnd_over_calendar"
    DND_OVER_ALL = "dnd_over_all"
    MANUAL_OVER_CALENDAR = "manual_over_calendar"
    MANUAL_OVER_ALL = "manual_over_all"
    OFFLINE_HIDES_CALENDAR = "offline_hides_calendar"


class Tentative(StrEnum):
    """What a tentative block does."""

    IGNORE = "ignore"
    TOOLTIP = "tooltip"
    BUSY = "busy"


class OutOfOffice(StrEnum):
    """What an out-of-office block does."""

    SHOW = "show"
    AWAY_LABEL = "away_label"
    IGNORE = "ignore"


class AllDayBusy(StrEnum):
    """What a busy block from midnight to midnight does."""

    MEETING = "meeting"
    IGNORE = "ignore"


class WorkingElsewhere(StrEnum):
    """What a working-elsewhere block does."""

    IGNORE = "ignore"
    TOOLTIP = "tooltip"


class Level(StrEnum):
    """How much a reader may see."""

    SELF = "self"
    COLLEAGUE = "colleague"
    LIMITED = "limited"


@dataclass(frozen=True, slots=True)
class Person:
    """One entry of the directory; `id` is lower case."""

    id: str
    name: str = ""
    calendar: str | None = None
    mailbox: str | None = None
    phones: Mapping[str, tuple[str, ...]] | None = None
    groups: tuple[str, ...] = ()
    calendar_opt_in: bool | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of a calendar; `all_day` means midnight to midnight in the mailbox's own zone."""

    start: datetime
    end: datetime
    busy: Busy
    all_day: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a calendar holds in a window; blocks sorted by (start, end, busy), none empty, all overlap the window."""

    window_start: datetime
    window_end: datetime
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Stamp:
    """How the publisher of a fact numbers its statements; `digest` tells a repeat from a contradiction."""

    publisher: str | None
    seq: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One dated statement by one source about one person.

    `key` names the call, line, session or schedule within the source. `seq` orders the statements of one (source,
    key): only a higher one replaces another. `since` is when it became true in the world, `until` its explicit end,
    `observed_at` when we learned it, `expires_at` when we stop believing it (None: a manual choice or a schedule).
    `manual`: the person chose it. `sticky`: the key is never reused, so its end is final. `stamp`: see Stamp.
    """

    person: str
    kind: Kind
    source: str
    key: str
    seq: int
    value: Phone | Availability | Schedule
    since: datetime
    observed_at: datetime
    until: datetime | None = None
    expires_at: datetime | None = None
    manual: bool = False
    sticky: bool = False
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The fact of that source and key is gone (`seq` orders it among the facts)."""

    person: str
    source: str
    key: str
    seq: int


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the person chose; None means not chosen, so the deployment decides."""

    calendar_opt_in: bool | None = None
    override: Override | None = None
    show_until: bool | None = None
    invisible: bool | None = None
    tentative: Tentative | None = None
    out_of_office: OutOfOffice | None = None
    all_day_busy: AllDayBusy | None = None


@dataclass(frozen=True, slots=True)
class Dismissal:
    """The person left these blocks early; a block that changes is not the same block and counts again."""

    until: datetime
    blocks: frozenset[Block]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A source confirmed its facts about these people at these instants (a successful read, a healthy link)."""

    source: str
    at: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class Policy:
    """The deployment's choices ([presence] of the configuration), with the founding rule as default."""

    calendar_opt_in: bool = False
    override: Override = Override.NONE
    no_session: Availability = Availability.OFFLINE
    show_until: bool = False
    tentative: Tentative = Tentative.IGNORE
    out_of_office: OutOfOffice = OutOfOffice.SHOW
    all_day_busy: AllDayBusy = AllDayBusy.MEETING
    working_elsewhere: WorkingElsewhere = WorkingElsewhere.IGNORE
    ringing_counts: bool = False
    ringing_tooltip: bool = False
    hold_tooltip: bool = False


@dataclass(frozen=True, slots=True)
class Component:
    """The current answer of one source kind. `label` is None when it asserts nothing; `tooltip` is its word there.

    `as_of` is set only while the component is stale: the last confirmed truth.
    """

    state: str
    label: str | None
    since: datetime | None
    until: datetime | None
    tooltip: str | None = None
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Effective:
    """The single answer a client shows."""

    kind: Kind
    state: str
    label: str
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Next:
    """What comes at the first known edge that changes the effective state, its label, or the reach."""

    at: datetime
    effective: Effective
    reach: Reach


@dataclass(frozen=True, slots=True)
class Presence:
    """Everything known of one person at one instant, before a reader's level is applied."""

    person: str
    effective: Effective
    reach: Reach
    availability: Component
    phone: Component | None = None
    calendar: Component | None = None
    next: Next | None = None
    show_until: bool = False
    invisible: bool = False

    @property
    def tooltip(self) -> str:
        """The components in the founding order, each by its own word."""
        parts = (self.availability, self.phone, self.calendar)
        return ", ".join(part.tooltip for part in parts if part is not None and part.tooltip)
