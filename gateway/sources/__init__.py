"""The ports Calendar and Source, and the table SOURCES of what implements them.

A calendar backend reads free/busy for many mailboxes at once and, if its server can, hints which ones changed.
Batching, pacing, windows, back-off and health are written once for all of them in `gateway.sources.calendar`.
A hint is never data: it marks a mailbox dirty, and a read replaces its whole schedule.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from gateway.core.model import Schedule
from gateway.errors import SourceError

SOURCES: Final = {
    "ews": "gateway.sources.ews:open_calendar",
}
"""Kind of `[calendars.*]` → the factory `(name, settings, clock, guard) -> Calendar`, imported only when configured."""


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open interval a read covers, UTC."""

    start: datetime
    end: datetime


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One step of a diagnosis: what was asked, what came back, and what to do."""

    step: str
    severity: Severity
    code: str
    asked: str
    answered: str
    remedy: str = ""


class HintKind(StrEnum):
    """What a hint says of a mailbox."""

    CHANGED = "changed"
    GAP = "gap"
    """We may have missed something: read it, whatever the coalescing says."""
    STREAM = "stream"
    """It is followed by notifications from now on."""
    POLL = "poll"
    """It is not (any more): poll it; `code` says why."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A word from the server about one mailbox."""

    kind: HintKind
    mailbox: str
    code: str = ""


class Roster(Protocol):
    """The mailboxes to follow; it changes while we follow it."""

    @property
    def mailboxes(self) -> frozenset[str]:
        """The addresses of this moment."""
        ...

    async def changed(self) -> None:
        """Returns after the next change of `mailboxes`; or without one, when what failed is to be tried again."""
        ...


class Calendar(Protocol):
    """One server's calendars. Every method may be cancelled at any await."""

    batch: int
    """How many mailboxes one `fetch` may ask for."""

    async def fetch(self, mailboxes: Sequence[str], window: Window) -> Sequence[Schedule | SourceError]:
        """The schedules, matched by position; a mailbox's own failure stands in its place.

        Raises SourceError when the whole call failed: then nothing is known about any of them.
        """
        ...

    def follow(self, roster: Roster) -> AsyncIterator[Hint]:
        """Hints until cancelled. An iterator that ends at once means: this server only polls."""
        ...

    async def check(self, mailboxes: Sequence[str]) -> Sequence[Finding]:
        """A step-by-step diagnosis of the server and these mailboxes."""
        ...

    async def close(self) -> None:
        """Give back everything at the server and close the connections."""
        ...


class Guard(Protocol):
    """Counts failed logons per account over all sources, restarts and `check` (lock-out guard)."""

    async def allowed(self, account: str) -> datetime | None:
        """None if a logon may be tried now, else when the next one may."""
        ...

    async def failed(self, account: str) -> None:
        """One more failed logon."""
        ...

    async def succeeded(self, account: str) -> None:
        """Forget the failures."""
        ...


class Report(Protocol):
    """Where a calendar source delivers (the writing side of the gateway)."""

    async def schedules(self, source: str, read: Mapping[str, Schedule], at: datetime) -> None:
        """These people's calendars were read at that instant; returns when what changed is durable."""
        ...

    async def withdraw(self, source: str, person: str) -> None:
        """The calendar may no longer be read (right lost, mailbox gone, opted out): forget it."""
        ...


@dataclass(slots=True)
class MailboxHealth:
    """How one mailbox does. `code` is `ok` or a reason code; instants are UTC.

    `mode` is `stream` if its server tells what changes, else `poll`; since `mode_since`. `mode_code`: why it is polled
    though its server could tell.
    """

    person: str
    mailbox: str
    mode: str = "poll"
    mode_since: datetime | None = None
    mode_code: str = ""
    code: str = "pending"
    since: datetime | None = None
    last_success: datetime | None = None
    retry_at: datetime | None = None
    message: str = ""


@dataclass(slots=True)
class ServerHealth:
    """How one server does; `mailboxes` counts them by reason code."""

    name: str
    kind: str
    code: str = "pending"
    since: datetime | None = None
    last_success: datetime | None = None
    retry_at: datetime | None = None
    message: str = ""
    mailboxes: dict[str, int] = field(default_factory=dict)
