"""The port Calendar on exchangelib: slower, polling only; a way out for logons our own client does not know.

Imported only when configured. exchangelib brings its logons, connection pool, request builder and object parser. What
it does too kindly for a daemon is replaced: no retries, no guessing of versions, no parsing of broken XML, no body
without limit, one bad mailbox does not spoil its neighbours. Nothing of it is changed process-wide but its logging,
which would show requests, and is silenced: the private authority and the limits are mounted on each session of our own
protocol instance, which is kept out of exchangelib's cache.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time
from typing import Any, Final

import exchangelib
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
from exchangelib.protocol import FailFast, Protocol
from exchangelib.services import GetUserAvailability
from exchangelib.transport import AUTH_TYPE_MAP, BASIC, GSSAPI, NTLM
from exchangelib.version import Build, Version
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from gateway.clock import Clock
from gateway.core.model import Block, Schedule
from gateway.errors import ConfigError, SourceError
from gateway.sources import Finding, Guard, Hint, Roster, Window, tls
from gateway.sources.ews import ntlm, soap
from gateway.sources.ews.blocks import block_of, from_digits, schedule, tidy
from gateway.sources.ews.build import INTERVAL_MINUTES, older
from gateway.sources.ews.diagnosis import diagnose
from gateway.sources.ews.http import Answer, causes, http_date, media_failure, network_failure, status_failure
from gateway.sources.ews.logon import Logon
from gateway.sources.ews.parse import refusal_of_call
from gateway.sources.ews.refusals import BATCH_TOO_BIG, OLDER_VERSION_HELPS, error_of, failure
from gateway.sources.ews.session import Session, endpoint
from gateway.sources.ews.settings import EwsSettings
from gateway.sources.ews.zones import MailboxZone, Transition
from gateway.sources.xml import Element, parse

logging.getLogger("exchangelib").setLevel(logging.CRITICAL + 1)  # it logs whole requests and answers

_THREADS: Final = 2  # whatever goes wrong with the password goes wrong twice at most
_SCHEMES: Final = {"basic": BASIC, "ntlm": NTLM, "negotiate": GSSAPI}
_UTC = EWSTimeZone("UTC")
_ZONE = TimeZone(
    bias=0,
    standard_time=StandardTime(bias=0, time=time(2), occurrence=1, iso_month=3, weekday=7),
    daylight_time=DaylightTime(bias=0, time=time(2), occurrence=1, iso_month=10, weekday=7),
)
_BUILD = Build(15, 0)  # enough to build any request of ours; the version asked for is our own

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
        if _SCHEMES[settings.auth] not in AUTH_TYPE_MAP:
            raise ConfigError([f"calendars.{name}.auth: negotiate needs the package exchangelib[kerberos]; install it"])
        self._name = name
        self._settings = settings
        self._clock = clock
        self._version = settings.request_version
        self._logon = Logon(settings.username, clock, guard)
        self._doorstep = Session(name, settings, clock, guard)  # asks without credentials, for check only
        self._protocol = _private_protocol(settings, clock, tls.client_context(settings.ca_file), self._note_date)
        self._place = endpoint(name, settings.url).authority
        self._threads = ThreadPoolExecutor(min(_THREADS, settings.lanes), thread_name_prefix="exchangelib")

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


class _Policy(FailFast):  # type: ignore[misc]
    """Decides about an HTTP answer exactly as our own client does; a redirect is never followed."""

    def __init__(self, scheme: str, clock: Clock) -> None:
        self._scheme = scheme
        self._clock = clock

    def raise_response_errors(self, response: requests.Response) -> None:
        """Raise SourceError, or UnauthorizedError for a logon that failed."""
        challenges = (response.headers.get("WWW-Authenticate", ""),)
        answer = Answer(response.status_code, response.headers, response.content, challenges)
        if answer.status == 401:
            if self._scheme not in (offered := ntlm.offered(challenges)):
                told = ", ".join(sorted(offered)) or "nothing"
                raise failure("auth.scheme_unsupported", f"exchange offers {told}, configured is {self._scheme}")
            raise UnauthorizedError("refused")
        if 300 <= answer.status < 400:
            raise failure("http.redirect_refused", "exchange redirects; this transport follows nowhere")
        if problem := status_failure(answer, self._clock.now()) or media_failure(answer):
            raise problem


class _Adapter(HTTPAdapter):
    """Connections with our TLS context, our time-outs and a limit to every body."""

    def __init__(
        self, context: ssl.SSLContext, settings: EwsSettings, clock: Clock, date: Callable[[str], None]
    ) -> None:
        self._context = context
        self._settings = settings
        self._clock = clock
        self._date = date
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0, pool_block=True)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._context}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave trust to the context: requests would add the public authorities to it."""
        conn.cert_reqs, conn.ca_certs = "CERT_REQUIRED", None

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        options |= {"stream": True, "timeout": (self._settings.connect_timeout, self._settings.call_timeout)}
        response = super().send(request, **options)
        self._date(response.headers.get("Date", ""))
        if (
            response.status_code != 401
        ):  # its connection must stay attached: channel binding reads the certificate there
            self._read(response)
        return response

    def _read(self, response: requests.Response) -> None:
        deadline = self._clock.monotonic() + self._settings.call_timeout
        pieces, size = [], 0
        # iter_content would wait for whole pieces, however slowly they come
        while piece := response.raw.read1(64 * 1024, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > self._settings.max_body:
                response.close()
                raise failure("http.body_too_large", f"the answer is larger than {self._settings.max_body} bytes")
            if self._clock.monotonic() > deadline:
                response.close()
                raise failure("net.too_slow", f"the answer came too slowly after {size} bytes")
        response._content = b"".join(pieces)
        response._content_consumed = True  # type: ignore[attr-defined]


class _PrivateProtocol(Protocol):  # type: ignore[misc]
    """A protocol whose sessions use our adapter and no environment; made without exchangelib's cache of protocols."""

    adapter: Callable[[], _Adapter]

    def create_session(self) -> Any:
        session = super().create_session()
        session.trust_env = False
        session.mount("https://", self.adapter())
        session.mount(self.service_endpoint, self.adapter())
        return session


def _private_protocol(settings: EwsSettings, clock: Clock, context: ssl.SSLContext, date: Callable[[str], None]) -> Any:
    scheme = _SCHEMES[settings.auth]
    configuration = exchangelib.Configuration(
        credentials=exchangelib.Credentials(settings.username, settings.password),
        service_endpoint=settings.url,
        auth_type=scheme,
        version=Version(_BUILD, settings.request_version),
        retry_policy=_Policy(settings.auth, clock),
        max_connections=min(_THREADS, settings.lanes),
    )
    protocol: Any = object.__new__(_PrivateProtocol)
    protocol.adapter = lambda: _Adapter(context, settings, clock, date)
    protocol.__init__(config=configuration)
    return protocol


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
