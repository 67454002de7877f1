"""HTTP beneath a lane: the connection that remembers its peer, limits, and every failure's reason code.

No exception of aiohttp, ssl or the operating system passes `border`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from gateway.errors import SourceError
from gateway.sources import tls
from gateway.sources.ews.refusals import failure

XML_TYPES: Final = frozenset({"text/xml", "application/xml", "application/soap+xml"})
_KEEP_ALIVE = 100.0  # seconds; longer than a poll interval, shorter than the 120 s after which IIS hangs up
_STALLED = 20.0  # seconds without a byte that make a time-out a silence, not a slowness

_STATUS_CODES: Final[Mapping[int, str]] = {
    401: "auth.rejected",
    403: "server.ews_disabled",
    404: "server.ews_disabled",
    405: "server.method_not_allowed",
    407: "auth.scheme_unsupported",
    408: "net.read_timeout",
    413: "server.method_not_allowed",
    429: "server.throttled",
    440: "auth.login_timeout",
    456: "auth.rejected",
    500: "server.error",
    501: "server.method_not_allowed",
    502: "server.unavailable",
    503: "server.unavailable",
    504: "server.unavailable",
}
_PAUSING: Final = frozenset({429, 449, 502, 503, 504})
_LOGON_FORM: Final = (b'type="password"', b"type='password'", b"type=password", b"auth.owa", b"logon.aspx")
_LOGON_FORM_WITHIN = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read to its end unless it is a stream; the body is decoded and within the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    challenges: tuple[str, ...] = ()
    """The WWW-Authenticate values."""
    cookies: tuple[str, ...] = ()
    """The Set-Cookie values."""
    stream: aiohttp.ClientResponse | None = None
    """The rest of an answer that was not read to its end: of a stream, which has none for half an hour."""

    @property
    def media_type(self) -> str:
        """Content-Type without parameters, lower case; empty if there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class RecordingConnector(aiohttp.TCPConnector):
    """A connector for one connection at a time that remembers its peer.

    Once a body is read the response has let go of its connection, so what channel binding needs is taken here, where
    the connection is handed out.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(limit=1, ssl=context, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=60)
        self.certificate: bytes | None = None
        """The peer's certificate (DER) of the current connection, None without TLS."""
        self.connections = 0
        """How many connections there were; it changes exactly when the current one is new."""
        self._current: asyncio.BaseTransport | None = None

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        """Hand out the connection, a new one if need be, and note its peer."""
        connection = await super().connect(req, traces, timeout)
        transport = connection.transport
        if transport is not None and transport is not self._current:
            self._current = transport
            self.connections += 1
            tls_object = transport.get_extra_info("ssl_object")
            self.certificate = None if tls_object is None else tls_object.getpeercert(binary_form=True)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether the current connection can carry another request, as far as anybody knows."""
        return self._current is not None and not self._current.is_closing()


async def read_limited(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, decoded; SourceProtocolError `http.body_too_large` as soon as it exceeds the limit (bytes)."""
    promised = response.content_length
    if promised is not None and promised > limit:
        raise failure("http.body_too_large", f"the answer announces {promised} bytes, more than {limit}")
    loop = asyncio.get_running_loop()
    pieces: list[bytes] = []
    size, last = 0, loop.time()
    try:
        while piece := await response.content.readany():
            size += len(piece)
            if size > limit:
                raise failure("http.body_too_large", f"the answer is larger than {limit} bytes")
            pieces.append(piece)
            last = loop.time()
    except TimeoutError:
        slow = bool(pieces) and loop.time() - last < _STALLED
        code, how = ("net.too_slow", "came too slowly") if slow else ("net.read_timeout", "stopped coming")
        raise failure(code, f"the answer {how} after {size} bytes") from None
    return b"".join(pieces)


def status_failure(answer: Answer, now: datetime) -> SourceError | None:
    """What an HTTP status says by itself; None for 200 and for a 500 that may hold a SOAP fault."""
    status = answer.status
    if status == 200 or (status == 500 and answer.media_type in XML_TYPES):
        return None
    pause = retry_after(answer.headers, now) if status in _PAUSING or status == 500 else None
    code = _STATUS_CODES.get(status) or ("server.error" if status >= 500 else "protocol.unexpected_shape")
    if status == 449:  # "retry with", an Exchange Online oddity
        code = "server.unavailable"
    if pause is not None and code in ("server.unavailable", "server.error"):
        code = "server.throttled"
    return failure(code, f"exchange answered HTTP {status}", retry_after=pause)


def media_failure(answer: Answer) -> SourceError | None:
    """A 200 that is no SOAP: a logon form, or something else in place of Exchange.

    No content type at all is as good as XML: the parser decides.
    """
    media_type = answer.media_type
    if not media_type or media_type in XML_TYPES:
        return None
    page = answer.body[:_LOGON_FORM_WITHIN].lower()
    if media_type == "text/html" and any(mark in page for mark in _LOGON_FORM):
        return failure("auth.login_timeout", "a logon page came in place of the answer")
    told = media_type if media_type.isascii() and media_type.isprintable() else "unreadable"
    return failure("protocol.unexpected_shape", f"the answer's content type is {told[:60]!r}, not XML")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 10.2.3), given as a number or as a date."""
    wish = headers.get("Retry-After", "").strip()
    if wish.isascii() and wish.isdigit() and len(wish) <= 9:
        return float(wish)
    at = http_date(wish)
    return None if at is None else max(0.0, (at - now).total_seconds())


def http_date(text: str) -> datetime | None:
    """An HTTP date as aware UTC, or None."""
    try:
        at = parsedate_to_datetime(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


@contextmanager
def border(source: str, place: str) -> Iterator[None]:
    """Everything that goes wrong inside leaves as a SourceError of this source; `place` is host and port."""
    try:
        yield
    except SourceError as known:
        known.source = known.source or source
        raise
    except (aiohttp.ClientError, TimeoutError, OSError) as fault:
        error = network_failure(fault, place)
        error.source = source
        raise error from fault


def network_failure(fault: BaseException, place: str) -> SourceError:
    """The error for whatever failed between the resolver and the last byte."""
    for cause in causes(fault):
        if found := _known(cause):
            return failure(found[0], f"{found[1]} ({place})")
    return failure("net.reset", f"the connection failed: {type(fault).__name__} ({place})")


def causes(fault: BaseException) -> Iterator[BaseException]:
    """The fault and what is behind it, innermost libraries included, each once."""
    seen: set[int] = set()
    queue: list[object] = [fault]
    while queue and len(seen) < 32:
        cause = queue.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = [getattr(cause, name, None) for name in ("certificate_error", "os_error", "reason")]
        queue.extend([*inner, *cause.args, cause.__cause__, cause.__context__])


def _known(cause: BaseException) -> tuple[str, str] | None:
    if isinstance(cause, aiohttp.ClientConnectorError):
        return None  # what it wraps says more
    if isinstance(cause, ssl.SSLError):
        return tls.failure_code(cause), f"the TLS handshake failed: {tls.failure_detail(cause)}"
    if isinstance(cause, ssl.CertificateError):
        return "tls.name_mismatch", "the TLS handshake failed: the certificate is for another name"
    if isinstance(cause, socket.gaierror):
        code = "dns.timeout" if cause.errno == socket.EAI_AGAIN else "dns.not_found"
        return code, f"the name does not resolve: {cause.strerror}"
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return "net.connect_timeout", "no connection in time"
    if isinstance(cause, aiohttp.ClientPayloadError):
        return "http.truncated", "the answer ended too early"
    if isinstance(cause, aiohttp.ClientResponseError):
        return "protocol.unexpected_shape", "the answer is not HTTP"
    if isinstance(cause, ConnectionRefusedError):
        return "net.refused", "the connection was refused"
    if isinstance(cause, ConnectionError | aiohttp.ServerDisconnectedError):
        return "net.reset", "the connection was cut"
    if isinstance(cause, TimeoutError):
        return "net.read_timeout", "no answer in time"
    if type(cause) is OSError and cause.errno is not None:
        return "net.connect_timeout", f"no way to the server: {cause.strerror}"
    return None
