"""Exchange calendars over our own EWS client: one GetUserAvailability for up to 100 mailboxes, and notifications."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from random import Random

import structlog

from gateway.clock import Clock
from gateway.core.model import Schedule
from gateway.errors import SourceError
from gateway.sources import Finding, Guard, Hint, Roster, Window
from gateway.sources.ews.build import availability_request
from gateway.sources.ews.calendar_view import OwnerViews
from gateway.sources.ews.diagnosis import diagnose
from gateway.sources.ews.following import Following, one_server
from gateway.sources.ews.http import border
from gateway.sources.ews.notifier import EwsNotifier
from gateway.sources.ews.parse import Availability, read_availability
from gateway.sources.ews.refusals import BATCH_TOO_BIG, error_of
from gateway.sources.ews.session import Session
from gateway.sources.ews.settings import EwsSettings
from gateway.sources.ews.versions import Versions
from gateway.sources.xml import Parses

log = structlog.get_logger()


class EwsCalendar:
    """The port Calendar on one Exchange server."""

    def __init__(
        self,
        name: str,
        settings: EwsSettings,
        clock: Clock,
        guard: Guard,
        *,
        server_of: Callable[[str], str] = one_server,
    ) -> None:
        """Prepare; nothing is opened yet. Raises ConfigError for an unusable URL or trust bundle.

        `server_of` names the mailbox server an address is on, as far as anybody knows: those of one share streams.
        """
        self.batch = settings.batch
        """Mailboxes per call; halved, and remembered, when the server finds it too many."""
        self._name = name
        self._settings = settings
        self._clock = clock
        self._versions = Versions(name, settings.request_version)
        self._parses = Parses()
        self._session = Session(name, settings, clock, guard)
        self._as_owner = settings.access == "impersonation"
        self._views = OwnerViews(name, settings, self._session, self._parses)
        notifier = EwsNotifier(name, settings, self._session, self._parses, clock)
        self._following = Following(name, notifier, settings, clock, Random(), server_of=server_of)

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the server's clock is ahead of ours; None before the first answer."""
        return self._session.clock_skew

    async def fetch(self, mailboxes: Sequence[str], window: Window) -> Sequence[Schedule | SourceError]:
        """The schedules, matched by position; raises SourceError if the whole call failed.

        With impersonation a calendar that refuses free/busy is read as its owner, from then on at once.
        """
        if not self._as_owner:
            return await self._availability(mailboxes, window)
        began = self._clock.monotonic()
        usual = [position for position, mailbox in enumerate(mailboxes) if not self._views.knows(mailbox)]
        read = dict(zip(usual, await self._availability([mailboxes[each] for each in usual], window), strict=True))
        others = [each for each in range(len(mailboxes)) if each not in read or _is_denied(read[each])]
        views = await self._views.fetch([mailboxes[each] for each in others], window)
        for each, view in zip(others, views, strict=True):
            if isinstance(view, Schedule) or each not in read:
                read[each] = view
        answers = [read[position] for position in range(len(mailboxes))]
        self._following.read(mailboxes, answers, began)
        return answers

    async def follow(self, roster: Roster) -> AsyncIterator[Hint]:
        """Hints by streaming notifications; ends at once without impersonation, which subscriptions need."""
        if self._as_owner:
            async with aclosing(self._following.hints(roster)) as hints:
                async for hint in hints:
                    yield hint

    async def check(self, mailboxes: Sequence[str]) -> Sequence[Finding]:
        """Configuration, endpoint, logon, and one read per mailbox."""
        return await diagnose(self._settings, self._clock, self._session.knock, self.fetch, self.batch, mailboxes)

    async def close(self) -> None:
        """End the subscriptions and close every connection."""
        await self._following.close()
        await self._session.close()
        await self._parses.close()

    async def _availability(self, mailboxes: Sequence[str], window: Window) -> list[Schedule | SourceError]:
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

    async def _ask(self, mailboxes: Sequence[str], window: Window) -> Availability:
        """The answer to one call, in the newest schema version the server takes."""
        while True:
            version = self._versions.current
            body = await self._session.call(availability_request(mailboxes, window, version))
            read = partial(read_availability, body, mailboxes, window, self._settings.zone)
            with border(self._name, self._settings.url):
                answer = await self._parses.run(len(body), read)
            self._remark(answer)
            if answer.refusal is None or not self._versions.lowered(version, answer.refusal.code):
                return answer

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


def _is_denied(answer: Schedule | SourceError) -> bool:
    return isinstance(answer, SourceError) and answer.code == "permission.denied"
