"""What a simulated mailbox is made of: appointments, their appearances in time, rights and changes.

Plain data; `World` holds the rules. Times are aware and in UTC unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from gateway.simulator.recurrence import Recurrence, Series

CALENDAR = "calendar"
DELETED_ITEMS = "deleteditems"


class Busy(StrEnum):
    """What an appointment says about its owner's time."""

    FREE = "Free"
    TENTATIVE = "Tentative"
    BUSY = "Busy"
    OOF = "OOF"
    WORKING_ELSEWHERE = "WorkingElsewhere"
    NO_DATA = "NoData"


class Right(IntEnum):
    """How much of a calendar somebody may see; each includes those before it."""

    NONE = 0
    AVAILABILITY_ONLY = 1
    LIMITED_DETAILS = 2
    REVIEWER = 3
    OWNER = 4


class ChangeKind(StrEnum):
    """What happened to an item; *moved* means to another folder, not to another hour."""

    CREATED = "created"
    MODIFIED = "modified"
    DELETED = "deleted"
    MOVED = "moved"


class OccurrenceKind(StrEnum):
    """The place of an item in its series."""

    SINGLE = "Single"
    OCCURRENCE = "Occurrence"
    EXCEPTION = "Exception"
    MASTER = "RecurringMaster"


class NoSuchItem(LookupError):
    """No mailbox holds an item of that id (any more)."""


class NoSuchMailbox(LookupError):
    """No mailbox has that address."""


class DeletedOccurrence(NoSuchItem):
    """The occurrence was in the series and has been deleted from it."""


class BadRecurrence(ValueError):
    """The recurrence of a series names no day at all."""


class CrossesNeighbour(ValueError):
    """An occurrence may not be moved over the one before or after it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one mailbox. `item_id` is the stored item: the master when an occurrence changed.

    `folder` is where it is now, or was before it was deleted; `old_id` and `old_folder` tell where a moved one
    comes from.
    """

    address: str
    item_id: str
    kind: ChangeKind
    change_key: str = ""
    folder: str = CALENDAR
    old_id: str = ""
    old_folder: str = ""


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """When somebody works: weekdays (Monday = 0) and minutes after midnight in the mailbox's zone."""

    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4)
    start_minutes: int = 480
    end_minutes: int = 1020


@dataclass(frozen=True, slots=True)
class Deviation:
    """How one occurrence differs from its series: its 1-based index and the fields that are its own."""

    index: int
    fields: dict[str, Any]


@dataclass(slots=True)
class Appointment:
    """One stored calendar item: a single appointment or the master of a series.

    `extra` keeps what a client wrote and no rule here looks at (body, attendees, reminder …), by the client's
    name. `deviations` and `deleted` are keyed by the original start of the occurrence; `modified` is the last
    save.
    """

    item_id: str
    change_key: str
    address: str
    start: datetime
    end: datetime
    zone: str
    uid: str
    busy: Busy = Busy.BUSY
    subject: str = ""
    location: str = ""
    all_day: bool = False
    sensitivity: str = "Normal"
    recurrence: Recurrence | None = None
    cancelled: bool = False
    folder: str = CALENDAR
    created: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    modified: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    extra: dict[str, str] = field(default_factory=dict)
    deviations: dict[datetime, Deviation] = field(default_factory=dict)
    deleted: set[datetime] = field(default_factory=set)
    series: Series | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One appearance of an appointment in time, as a calendar view lists it; also an item looked up by its
    id.

    `item` holds the properties (with the occurrence's own where it deviates); `master_id` and
    `original_start` are None for single appointments and masters; `index` counts from 1 within the series.
    """

    item_id: str
    change_key: str
    start: datetime
    end: datetime
    kind: OccurrenceKind
    item: Appointment
    master_id: str | None = None
    original_start: datetime | None = None
    index: int | None = None

    @property
    def busy(self) -> Busy:
        """The busy status; a cancelled meeting takes nobody's time."""
        return Busy.FREE if self.item.cancelled else self.item.busy


@dataclass(slots=True)
class Mailbox:
    """A person's mailbox. Read freely; change it through the World, so that those who watch hear of it."""

    address: str
    name: str
    zone: str
    calendar_name: str
    default_right: Right
    working_hours: WorkingHours | None
    sid: str
    rights: dict[str, Right] = field(default_factory=dict)
    items: dict[str, Appointment] = field(default_factory=dict)
