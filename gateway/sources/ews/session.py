"""The way to one Exchange server: lanes of one connection each, logons under the lock-out guard, limits, no writes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from yarl import URL

from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.sources import Guard, tls
from gateway.sources.ews import ntlm
from gateway.sources.ews.http import Answer, border, http_date, media_failure, status_failure
from gateway.sources.ews.lane import NO_HEADERS, Lane
from gateway.sources.ews.logon import Logon
from gateway.sources.ews.refusals import failure
from gateway.sources.ews.settings import EwsSettings
from gateway.sources.timing import within

READ_OPERATIONS: Final = frozenset(
    {"GetUserAvailability", "FindItem", "Subscribe", "Unsubscribe", "GetStreamingEvents"}
)
"""All this transport ever sends; whatever else is asked of it raises before a socket is opened."""

_OPERATION = re.compile(rb"<s:Body><m:(\w+?)(?:Request)?[\s/>]")


@dataclass(frozen=True, slots=True)
class Doorstep:
    """What the endpoint says to somebody without credentials."""

    status: int
    schemes: frozenset[str]
    """The logon schemes it offers, lower case."""
    fingerprint: str | None
    """SHA-256 of its certificate, None without TLS."""


class Session:
    """Sends read requests to one endpoint and gives back bodies that hold SOAP.

    Every failure below SOAP leaves as a SourceError with its reason code. Nothing is retried here.
    """

    def __init__(self, source: str, settings: EwsSettings, clock: Clock, guard: Guard) -> None:
        """Prepare; nothing is opened yet. Raises ConfigError for an unusable URL or trust bundle."""
        self.url = endpoint(source, settings.url)
        self.clock_skew: float | None = None
        """Seconds by which the server's clock was ahead of ours in its last answer (its Date has whole seconds)."""
        self._source = source
        self._place = f"{self.url.host}:{self.url.port}"
        self._settings = settings
        self._clock = clock
        self._logon = Logon(settings.username, clock, guard)
        self._context = tls.client_context(settings.ca_file)
        self._lanes: list[Lane] = []
        self._idle: asyncio.LifoQueue[Lane] = asyncio.LifoQueue()
        self._closed = False

    async def call(self, request: bytes) -> bytes:
        """The SOAP answer (HTTP 200, or 500 with XML) to a read request; PermissionError for any other request."""
        return (await self.ask(request)).body

    async def ask(self, request: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
        """As `call`, with headers in either direction."""
        _require_reading(request)
        with border(self._source, self._place):
            async with self._lane() as lane:
                return self._judged(await lane.exchange(request, headers))

    @asynccontextmanager
    async def stream(self, request: bytes, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """The beginning of an answer that goes on, on a connection of its own, which ends with the block.

        Its `stream` is open unless the server answered with a fault, which is then in its `body`. It must begin within
        `call_timeout`; what comes later, and when, is the reader's business.
        """
        _require_reading(request)
        self._require_open()
        with border(self._source, self._place):
            async with aclosing(self._new_lane(streams=True)) as lane:
                begun = lane.exchange(request, {**headers, "Accept-Encoding": "identity"})
                answer = self._judged(await within(self._settings.call_timeout, begun, self._clock))
                try:
                    yield answer
                finally:
                    if answer.stream is not None:
                        answer.stream.close()

    async def knock(self) -> Doorstep:
        """Ask without credentials, on a connection of its own that nobody has logged on.

        Raises SourceError if the endpoint cannot be reached, or answers with another failure than 401.
        """
        with border(self._source, self._place):
            async with aclosing(self._new_lane()) as lane:
                answer = await lane.send(b"")
                fingerprint = tls.fingerprint(lane.certificate)
            self._note_date(answer)
            if answer.status != 401 and (problem := status_failure(answer, self._clock.now())):
                raise problem
            return Doorstep(answer.status, ntlm.offered(answer.challenges), fingerprint)

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        self._closed = True
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            await lane.aclose()

    @asynccontextmanager
    async def _lane(self) -> AsyncIterator[Lane]:
        """The lane used last: its connection is the one most likely alive and logged on."""
        self._require_open()
        if self._idle.empty() and len(self._lanes) < self._settings.lanes:
            lane = self._new_lane()
            self._lanes.append(lane)
        else:
            lane = await self._idle.get()
        try:
            self._require_open()
            yield lane
        finally:
            self._idle.put_nowait(lane)

    def _new_lane(self, *, streams: bool = False) -> Lane:
        return Lane(self.url, self._settings, self._context, self._logon, streams=streams)

    def _judged(self, answer: Answer) -> Answer:
        self._note_date(answer)
        if problem := status_failure(answer, self._clock.now()) or media_failure(answer):
            raise problem
        return answer

    def _require_open(self) -> None:
        if self._closed:
            raise failure("net.reset", "the calendar is closed")

    def _note_date(self, answer: Answer) -> None:
        if (at := http_date(answer.headers.get("Date", ""))) is not None:
            self.clock_skew = (at - self._clock.now()).total_seconds()


def _require_reading(request: bytes) -> None:
    operation = _OPERATION.search(request, 0, 4096)
    if operation is None or operation[1].decode() not in READ_OPERATIONS:
        raise PermissionError("only requests that read may be sent to exchange")


def endpoint(source: str, url: str) -> URL:
    """The URL of an endpoint; ConfigError unless it is https, or plain http on loopback."""
    parsed = URL(url)
    host = parsed.host or ""
    if parsed.scheme == "https" and host:
        return parsed
    if parsed.scheme == "http" and (host == "localhost" or _is_loopback(host)):
        return parsed
    raise ConfigError([f"calendars.{source}.url: must begin with https://; credentials never travel in plain text"])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
