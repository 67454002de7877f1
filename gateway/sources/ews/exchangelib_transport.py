"""The port Calendar on exchangelib: slower, polling only; a way out for logons our own client does not know.

Imported only when configured. exchangelib brings its logons, connection pool, request builder and object parser. What
it does too kindly for a daemon is replaced: no retries, no guessing of versions, no parsing of broken XML, no body
without limit, one bad mailbox does not spoil its neighbours. Nothing of it is changed process-wide but its logging,
which would show requests, and is silenced: the private authority and the limits are mounted on each session of our own
protocol instance, which is kept out of exchangelib's cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time
from typing import Any, Final

import requests
from exchangelib.errors import EWSError, ResponseMessageError, UnauthorizedError
from exchangelib.ewsdatetime import EWSDateTime, EWSTimeZone
from exchangelib.properties import (
    DaylightTime,
    FreeBusyView,
    FreeBusyViewOptions,
    MailboxData,
    StandardTime,
    TimeWindow,
    TimeZone,
)
from exchangelib.services import GetUserAvailability
from urllib3.exceptions import HTTPError

from gateway.clock import Clock
from gateway.core.model import Block, Schedule
from gateway.errors import SourceError
from gateway.sources import Finding, Guard, Hint, Roster, Window, tls
from gateway.sources.ews import soap
from gateway.sources.ews.blocks import block_of, from_digits, schedule, tidy
from gateway.sources.ews.build import INTERVAL_MINUTES, older
from gateway.sources.ews.diagnosis import diagnose
from gateway.sources.ews.exchangelib_session import private_protocol
from gateway.sources.ews.http import causes, http_date, network_failure
from gateway.sources.ews.logon import Logon
from gateway.sources.ews.parse import refusal_of_call
from gateway.sources.ews.refusals import BATCH_TOO_BIG, OLDER_VERSION_HELPS, error_of, failure
from gateway.sources.ews.session import Session, endpoint
from gateway.sources.ews.settings import EwsSettings
from gateway.sources.ews.zones import MailboxZone, Transition
from gateway.sources.xml import Element, parse

_THREADS: Final = 2  # whatever goes wrong with the password goes wrong twice at most
_UTC = EWSTimeZone("UTC")
_ZONE = TimeZone(
    bias=0,
    standard_time=StandardTime(bias=0, time=time(2), occurrence=1, iso_month=3, weekday=7),
    daylight_time=DaylightTime(bias=0, time=time(2), occurrence=1, iso_month=10, weekday=7),
)

_NAMED: Final = {
    "ConnectTimeoutError": ("net.connect_timeout", "no connection in time"),
    "IncompleteRead": ("http.truncated", "the answer ended too early"),
    "InvalidChunkLength": ("http.truncated", "the answer ended too early"),
    "ProtocolError": ("http.truncated", "the answer ended too early"),
    "ReadTimeoutError": ("net.read_timeout", "no answer in time"),
}
"""Exceptions of urllib3 that say more than what is behind them."""


class ExchangelibCalendar:
    """The port Calendar on one Exchange server, by exchangelib in two threads."""

    def __init__(self, name: str, settings: EwsSettings, clock: Clock, guard: Guard) -> None:
        """Prepare; nothing is opened yet. Raises ConfigError for an unusable URL, trust bundle or logon scheme."""
        self.batch = settings.batch
        """Mailboxes per call; halved, and remembered, when the server finds it too many."""
        self.clock_skew: float | None = None
        """Seconds by which the server's clock is ahead of ours; None before the first answer."""
        self._name = name
        self._settings = settings
        self._clock = clock
        self._version = settings.request_version
        self._logon = Logon(settings.username, clock, guard)
        self._doorstep = Session(name, settings, clock, guard)  # asks without credentials, for check only
        context, threads = tls.client_context(settings.ca_file), min(_THREADS, settings.lanes)
        self._protocol = private_protocol(name, settings, clock, context, self._note_date, threads)
        self._place = endpoint(name, settings.url).authority
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="exchangelib")

    async def fetch(self, mailboxes: Sequence[str], window: Window) -> Sequence[Schedule | SourceError]:
        """The schedules, matched by position; raises SourceError if the whole call failed."""
        read: list[Schedule | SourceError] = []
        while len(read) < len(mailboxes):
            part = mailboxes[len(read) : len(read) + self.batch]
            try:
                read.extend(await self._ask(part, window))
            except _Refused as refused:
                if refused.refusal.code != BATCH_TOO_BIG or len(part) == 1:
                    raise self._named(error_of(refused.refusal)) from None
                self.batch = min(self.batch, max(1, len(part) // 2))
        return read

    async def follow(self, roster: Roster) -> AsyncIterator[Hint]:
        """Ends at once: this transport only polls."""
        hints: tuple[Hint, ...] = ()
        for hint in hints:
            yield hint

    async def check(self, mailboxes: Sequence[str]) -> Sequence[Finding]:
        """Configuration, endpoint, logon, and one read per mailbox."""
        return await diagnose(self._settings, self._clock, self._doorstep.knock, self.fetch, self.batch, mailboxes)

    async def close(self) -> None:
        """Close every connection; a call under way ends in its thread."""
        await self._doorstep.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._protocol.close()

    async def _ask(self, mailboxes: Sequence[str], window: Window) -> list[Schedule | SourceError]:
        """One call, in the newest schema version the server takes."""
        while True:
            version = self._version
            try:
                if self._logon.proven:
                    return await self._call(mailboxes, window, version)
                async with self._logon.attempt():
                    read = await self._call(mailboxes, window, version)
                    await self._logon.succeeded()
                    return read
            except _Refused as refused:
                lower = older(version)
                if refused.refusal.code not in OLDER_VERSION_HELPS or lower is None:
                    raise
                if self._version == version:
                    self._version = lower

    async def _call(self, mailboxes: Sequence[str], window: Window, version: str) -> list[Schedule | SourceError]:
        """One call; everything exchangelib raises becomes a SourceError, or _Refused where Exchange gave a code."""
        loop = asyncio.get_running_loop()
        try:
            views = await loop.run_in_executor(self._threads, self._views, mailboxes, window, version)
        except _Refused:
            raise
        except UnauthorizedError:
            raise self._named(await self._logon.refused()) from None
        except SourceError as known:
            raise self._named(known) from None
        except (EWSError, HTTPError, OSError) as fault:  # requests' exceptions are of the last kind
            raise self._named(_translated(fault, self._place)) from fault
        if len(views) != len(mailboxes):
            message = f"{len(views)} entries came for {len(mailboxes)} mailboxes"
            raise self._named(failure("protocol.unexpected_shape", message))
        return [self._entry(view, mailbox, window) for view, mailbox in zip(views, mailboxes, strict=True)]

    def _views(self, mailboxes: Sequence[str], window: Window, version: str) -> list[Any]:
        """What exchangelib makes of one call, in a thread: a FreeBusyView, an exception or None for each mailbox."""
        service = _Availability(self._protocol, version)
        return list(
            service.call(
                tzinfo=_UTC,
                mailbox_data=[
                    MailboxData(email=address, attendee_type="Required", exclude_conflicts=False)
                    for address in mailboxes
                ],
                timezone=_ZONE,
                free_busy_view_options=FreeBusyViewOptions(
                    time_window=TimeWindow(start=_ews_time(window.start), end=_ews_time(window.end)),
                    merged_free_busy_interval=INTERVAL_MINUTES,
                    requested_view="FreeBusy",
                ),
            )
        )

    def _entry(self, view: Any, mailbox: str, window: Window) -> Schedule | SourceError:
        if isinstance(view, _Refused):
            return self._named(error_of(view.refusal, mailbox))
        try:
            return self._schedule(view, mailbox, window)
        except (ValueError, TypeError, AttributeError):
            told = f"the entry of mailbox {mailbox!r} makes no sense"
            return self._named(failure("protocol.unexpected_shape", told, mailbox=mailbox))

    def _schedule(self, view: Any, mailbox: str, window: Window) -> Schedule | SourceError:
        if not isinstance(view, FreeBusyView) or view.view_type in (None, "None"):
            raise ValueError("no view came")
        digits = (view.merged or "").strip()
        if view.calendar_events:
            events = ((_utc(e.start), _utc(e.end), e.busy_type) for e in view.calendar_events)
            found: list[Block] = [one for event in events if (one := block_of(*event)) is not None]
        elif digits and not digits.strip("456789"):
            return self._named(
                failure("server.unavailable", f"exchange has no free/busy data of {mailbox!r}", mailbox=mailbox)
            )
        else:
            found = from_digits(digits, window) if digits else []
        return schedule(tidy(found, window), window, lambda: _zone(view.working_hours_timezone), self._settings.zone)

    def _note_date(self, text: str) -> None:
        if (at := http_date(text)) is not None:
            self.clock_skew = (at - self._clock.now()).total_seconds()

    def _named(self, error: SourceError) -> SourceError:
        error.source = error.source or self._name
        return error


class _Refused(ResponseMessageError):  # type: ignore[misc]  # exchangelib is untyped
    """Exchange's own error code, on its way through exchangelib."""

    def __init__(self, refusal: soap.Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class _Availability(GetUserAvailability):  # type: ignore[misc]
    """GetUserAvailability with failures in place, strict XML, one version and no retries."""

    ERRORS_TO_CATCH_IN_RESPONSE = (ResponseMessageError,)

    def __init__(self, protocol: Any, version: str) -> None:
        super().__init__(protocol)
        self._asked_version = version

    def _api_versions_to_try(self) -> tuple[str, ...]:
        return (self._asked_version,)

    def _update_api_version(self, api_version: str, header: Element) -> None:
        """Keep what was configured."""

    def _get_elements(self, payload: Any) -> Any:
        return self._response_generator(payload=payload)

    @classmethod
    def _get_soap_parts(cls, response: requests.Response) -> tuple[Element | None, Element]:
        root, _ = parse(response.content)
        body = root.find(f"{{{soap.SOAP}}}Body")
        if root.tag != f"{{{soap.SOAP}}}Envelope" or body is None:
            raise soap.unexpected("the answer is not a SOAP envelope", root)
        return root.find(f"{{{soap.SOAP}}}Header"), body

    def _get_soap_messages(self, body: Element) -> Any:
        content = next(iter(body), None)
        if content is None:
            raise soap.unexpected("the answer's SOAP body is empty", body)
        if (refusal := refusal_of_call(content)) is not None:
            raise _Refused(refusal)
        return super()._get_soap_messages(body)

    def _get_element_container(self, message: Element | None, name: str | None = None) -> Any:
        if message is None:
            return ValueError("an entry lacks its ResponseMessage")
        refusal = soap.refusal(message)
        return message if refusal is None else _Refused(refusal)

    def _elem_to_obj(self, elem: Element) -> Any:
        try:
            return super()._elem_to_obj(elem)
        except Exception as fault:  # whatever one entry does to exchangelib's fields must not cost its neighbours
            return fault


def _translated(fault: BaseException, place: str) -> SourceError:
    everything = list(causes(fault))
    cut = any(isinstance(cause, ConnectionError) for cause in everything)  # the operating system's, not requests'
    for cause in everything:
        if isinstance(cause, SourceError):
            return cause
        if not cut and (named := _NAMED.get(type(cause).__name__)) is not None:
            return failure(named[0], f"{named[1]} ({place})")
    if isinstance(fault, EWSError) and fault.__context__ is None:
        return failure(
            "protocol.unexpected_shape", f"exchangelib does not understand the answer ({type(fault).__name__})"
        )
    return network_failure(fault, place)


def _zone(found: Any) -> MailboxZone | None:
    """exchangelib's TimeZone as ours; it knows no transitions with a year."""
    if found is None or found.bias is None:
        return None
    standard, daylight = (
        None
        if season is None
        else Transition(season.bias, season.time, season.iso_month, season.occurrence, season.weekday - 1)
        for season in (found.standard_time, found.daylight_time)
    )
    return MailboxZone(found.bias, standard, daylight)


def _ews_time(instant: datetime) -> Any:
    return EWSDateTime.from_datetime(instant).replace(tzinfo=_UTC)


def _utc(value: Any) -> datetime:
    """One of exchangelib's aware times as a plain one."""
    at = value.astimezone(_UTC)
    return datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=UTC)
