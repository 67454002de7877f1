"""The way to a calendar that refuses free/busy: its owner's own view of it (FindItem with CalendarView).

Of every appointment only its times and its kind are asked for; see `owner_requests`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from gateway.core.model import Block, Schedule
from gateway.errors import GatewayError, SourceDenied, SourceError
from gateway.sources import Window
from gateway.sources.backoff import as_source_error
from gateway.sources.ews import soap
from gateway.sources.ews.blocks import block, schedule, tidy
from gateway.sources.ews.http import border
from gateway.sources.ews.owner_requests import view_request
from gateway.sources.ews.refusals import error_of, failure
from gateway.sources.ews.session import Session
from gateway.sources.ews.settings import EwsSettings
from gateway.sources.ews.versions import Versions
from gateway.sources.xml import Element, Parses

_RESPONSE: Final = f"{{{soap.MESSAGES}}}FindItemResponse"
_FOLDER: Final = f"{{{soap.MESSAGES}}}RootFolder"
_ITEM: Final = f"{{{soap.TYPES}}}CalendarItem"
_SHORTEST: Final = timedelta(hours=1)
"""A window is not halved below that: nobody has 200 appointments in it."""


@dataclass(frozen=True, slots=True)
class View:
    """What one answer shows: the blocks, those of whole days apart, and whether that is all of them."""

    blocks: tuple[Block, ...] = ()
    days: frozenset[Block] = frozenset()
    complete: bool = True


def read_view(body: bytes) -> View | soap.Refusal:
    """The appointments in the answer to FindItem. Raises SourceProtocolError if it is none."""
    content, _ = soap.open_envelope(body)
    if (refusal := soap.fault(content)) is not None:
        return refusal
    if content.tag != _RESPONSE:
        raise soap.unexpected("the answer is not a FindItemResponse", content)
    if (refusal := soap.any_refusal(content)) is not None:
        return refusal
    folder = next(content.iter(_FOLDER), None)
    if folder is None:
        raise soap.unexpected("the answer has no RootFolder", content)
    blocks, days = [], set()
    try:
        for item in folder.iter(_ITEM):
            if _told(item, "IsCancelled") in ("true", "1") or _told(item, "CalendarItemType") == "RecurringMaster":
                continue
            found = block(_told(item, "Start"), _told(item, "End"), _told(item, "LegacyFreeBusyStatus"))
            if found is not None:
                blocks.append(found)
                if _told(item, "IsAllDayEvent") in ("true", "1"):
                    days.add(found)
    except ValueError:
        raise soap.unexpected("an appointment makes no sense", folder) from None
    complete = folder.get("IncludesLastItemInRange", "true").strip().lower() in ("true", "1")
    return View(tuple(blocks), frozenset(days), complete)


def schedule_of(views: Sequence[View], window: Window, site: ZoneInfo) -> Schedule:
    """The schedule of views that cover the window together; their whole days are the owner's own."""
    blocks = tidy((found for view in views for found in view.blocks), window)
    days = frozenset().union(*(view.days for view in views))
    plain = schedule(blocks, window, lambda: None, site)
    whole = (
        replace(judged, all_day=True) if found in days else judged
        for found, judged in zip(blocks, plain.blocks, strict=True)
    )
    return replace(plain, blocks=tuple(whole))


class OwnerViews:
    """Reads calendars as their owners, and remembers for whom that is the way."""

    def __init__(self, name: str, settings: EwsSettings, session: Session, parses: Parses) -> None:
        self._name = name
        self._settings = settings
        self._session = session
        self._parses = parses
        self._versions = Versions(name, settings.request_version)
        self._at_once = asyncio.Semaphore(max(1, settings.lanes // 2))
        self._known: set[str] = set()

    def knows(self, mailbox: str) -> bool:
        """Whether this mailbox refused free/busy before, and let itself be read as its owner."""
        return mailbox.lower() in self._known

    async def fetch(self, mailboxes: Sequence[str], window: Window) -> list[Schedule | SourceError]:
        """The schedules, or what stands in their place, by position."""
        return await asyncio.gather(*(self._fetch(mailbox, window) for mailbox in mailboxes))

    async def _fetch(self, mailbox: str, window: Window) -> Schedule | SourceError:
        try:
            async with self._at_once:
                read = await self._read(mailbox, window)
        except GatewayError as failed:  # the lock-out guard's store may fail as well
            error = as_source_error(failed)
            error.mailbox, error.source = mailbox, error.source or self._name
            if isinstance(error, SourceDenied):
                self._known.discard(mailbox.lower())
            return error
        self._known.add(mailbox.lower())
        return read

    async def _read(self, mailbox: str, window: Window) -> Schedule:
        """One call, or several for halves of the window if the server does not show all of it."""
        views, parts = [], [window]
        while parts:
            part = parts.pop()
            view = await self._ask(mailbox, part)
            length = part.end - part.start
            if view.complete:
                views.append(view)
            elif length <= _SHORTEST:
                raise failure("protocol.unexpected_shape", f"the view of mailbox {mailbox!r} has no end")
            else:
                middle = part.start + length / 2
                parts += [Window(part.start, middle), Window(middle, part.end)]
        return schedule_of(views, window, self._settings.zone)

    async def _ask(self, mailbox: str, window: Window) -> View:
        while True:
            version = self._versions.current
            request = view_request(mailbox, window, version)
            answer = await self._session.ask(request, {"X-AnchorMailbox": mailbox})
            with border(self._name, self._settings.url):
                view = await self._parses.run(len(answer.body), partial(read_view, answer.body))
            if isinstance(view, View):
                return view
            if not self._versions.lowered(version, view.code):
                raise error_of(view, mailbox)


def _told(item: Element, name: str) -> str:
    return (item.findtext(f"{{{soap.TYPES}}}{name}") or "").strip()
