"""Exchange calendars over our own EWS client: one GetUserAvailability for up to 100 mailboxes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

import structlog

from gateway.clock import Clock
from gateway.core.model import Schedule
from gateway.errors import SourceError
from gateway.sources import Finding, Guard, Hint, Roster, Window
from gateway.sources.ews.build import availability_request, older
from gateway.sources.ews.diagnosis import diagnose
from gateway.sources.ews.http import border
from gateway.sources.ews.parse import Availability, read_availability
from gateway.sources.ews.refusals import BATCH_TOO_BIG, OLDER_VERSION_HELPS, error_of
from gateway.sources.ews.session import Session
from gateway.sources.ews.settings import EwsSettings
from gateway.sources.xml import Parses

log = structlog.get_logger()


class EwsCalendar:
    """The port Calendar on one Exchange server."""

    def __init__(self, name: str, settings: EwsSettings, clock: Clock, guard: Guard) -> None:
        """Prepare; nothing is opened yet. Raises ConfigError for an unusable URL or trust bundle."""
        self.batch = settings.batch
        """Mailboxes per call; halved, and remembered, when the server finds it too many."""
        self._name = name
        self._settings = settings
        self._clock = clock
        self._version = settings.request_version
        self._parses = Parses()
        self._session = Session(name, settings, clock, guard)

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the server's clock is ahead of ours; None before the first answer."""
        return self._session.clock_skew

    async def fetch(self, mailboxes: Sequence[str], window: Window) -> Sequence[Schedule | SourceError]:
        """The schedules, matched by position; raises SourceError if the whole call failed."""
        read: list[Schedule | SourceError] = []
        while len(read) < len(mailboxes):
            part = mailboxes[len(read) : len(read) + self.batch]
            answer = await self._ask(part, window)
            if answer.refusal is None:
                read.extend(answer.entries)
            elif answer.refusal.code == BATCH_TOO_BIG and len(part) > 1:
                self.batch = min(self.batch, max(1, len(part) // 2))
                log.warning("source.batch.halved", source=self._name, batch=self.batch)
            else:
                raise self._named(error_of(answer.refusal))
        return read

    async def follow(self, roster: Roster) -> AsyncIterator[Hint]:
        """Ends at once: free/busy rights allow no subscriptions, the calendars are polled."""
        hints: tuple[Hint, ...] = ()
        for hint in hints:
            yield hint

    async def check(self, mailboxes: Sequence[str]) -> Sequence[Finding]:
        """Configuration, endpoint, logon, and one read per mailbox."""
        return await diagnose(self._settings, self._clock, self._session.knock, self.fetch, self.batch, mailboxes)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await self._parses.close()

    async def _ask(self, mailboxes: Sequence[str], window: Window) -> Availability:
        """The answer to one call, in the newest schema version the server takes."""
        while True:
            version = self._version
            body = await self._session.call(availability_request(mailboxes, window, version))
            read = partial(read_availability, body, mailboxes, window, self._settings.zone)
            with border(self._name, self._settings.url):
                answer = await self._parses.run(len(body), read)
            self._remark(answer)
            if answer.refusal is None or answer.refusal.code not in OLDER_VERSION_HELPS:
                return answer
            if self._version == version:  # no other lane stepped down meanwhile
                lower = older(version)
                if lower is None:
                    self._version = self._settings.request_version
                    return answer
                log.warning("source.version.lowered", source=self._name, version=lower, code=answer.refusal.code)
                self._version = lower

    def _remark(self, answer: Availability) -> None:
        if answer.cleaned:
            log.info("source.answer.cleaned", source=self._name)
        if answer.warned:
            log.info("source.answer.warned", source=self._name)
        for entry in answer.entries:
            if isinstance(entry, SourceError):
                self._named(entry)

    def _named(self, error: SourceError) -> SourceError:
        error.source = error.source or self._name
        return error
