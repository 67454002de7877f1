"""The HTTP front of the simulated server: connections, logon, faults, and the way to the EWS face.

It behaves like IIS in front of Exchange: HTML bodies for what it decides itself, the diagnostic headers, gzip
for who accepts it, and paths in any case of letters.
"""

from __future__ import annotations

import gzip
import itertools
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestHandler

from gateway.simulator.ews import Affinity, Asked, EwsFace, Reply
from gateway.simulator.ews.backends import OVERRIDE_COOKIE
from gateway.simulator.ews.soap import Fault, NotXml
from gateway.simulator.faults import Faults, Rule
from gateway.simulator.journal import Entry, Journal
from gateway.simulator.logon import Connection, Gate, Outcome
from gateway.simulator.misbehaviour import Gone, Scene, html, perform
from gateway.simulator.stream_journal import StreamRecord
from gateway.simulator.streaming import StreamResponse, Streams

EWS_PATH = "/EWS/Exchange.asmx"
BODY_LIMIT = 10 << 20
_ALLOW = "GET, HEAD, POST"


@dataclass(frozen=True, slots=True)
class Request:
    """One request with everything found out about it so far."""

    http: web.BaseRequest
    body: bytes
    connection: Connection
    asked: Asked | None

    @property
    def operation(self) -> str:
        """The EWS operation, or empty."""
        return self.asked.operation if self.asked else ""

    @property
    def mailboxes(self) -> tuple[str, ...]:
        """The mailboxes the request names."""
        return self.asked.mailboxes if self.asked else ()

    @property
    def concerned(self) -> tuple[str, ...]:
        """The mailboxes it names, and the one it acts as the owner of."""
        acting = self.asked.impersonated if self.asked else None
        return (*self.mailboxes, acting) if acting else self.mailboxes

    @property
    def affinity(self) -> Affinity:
        """Where it wants to go."""
        headers = self.http.headers
        prefer = headers.get("X-PreferServerAffinity", "").casefold() == "true"
        return Affinity(headers.get("X-AnchorMailbox", ""), prefer, self.http.cookies.get(OVERRIDE_COOKIE))


@dataclass(slots=True)
class Front:
    """Answers every request of the HTTPS listener, and writes each into the journal."""

    face: EwsFace
    gate: Gate
    faults: Faults
    journal: Journal
    streams: Streams
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    stop_listening: Callable[[], None]
    compress: bool
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _connections: dict[RequestHandler, Connection] = field(default_factory=dict)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """The handler for `aiohttp.web.Server`."""
        if http.transport is None:
            return Gone()
        connection = self._connection(http.protocol)
        body = await _read(http)
        request = Request(http, body or b"", connection, self._describe(http, body))
        headers = self._headers()
        rule = self.faults.pick(request.operation, request.concerned, logged_on=False)
        outcome = Outcome()
        if rule is None:
            outcome = self.gate.admit(http.headers.get("Authorization"), connection)
            if outcome.caller:
                rule = self.faults.pick(request.operation, request.concerned, logged_on=True)
                headers |= {"Persistent-Auth": "true"} if connection.caller else {}
                headers |= {"WWW-Authenticate": outcome.token} if outcome.token else {}
        status = 0  # what the journal says if the client leaves before the answer
        try:
            response = await self._respond(request, outcome, rule, headers, too_large=body is None)
            status = 0 if isinstance(response, Gone) else response.status
        finally:
            self.journal.record(self._entry(request, outcome, rule, status))
        if isinstance(response, StreamResponse):
            return await self.streams.serve(http, response, self._stream_record(request, outcome, response))
        return response

    def _connection(self, protocol: RequestHandler) -> Connection:
        """What is remembered of the connection; those that are closed are forgotten."""
        known = self._connections.get(protocol)
        if known is None:
            for closed in [other for other in self._connections if other.transport is None]:
                del self._connections[closed]
            known = self._connections[protocol] = Connection(next(self._numbers))
        return known

    async def _respond(
        self,
        request: Request,
        outcome: Outcome,
        rule: Rule | None,
        headers: dict[str, str],
        *,
        too_large: bool,
    ) -> web.StreamResponse:
        if rule is not None:
            response = await self._misbehave(request, outcome, rule, headers)
        elif too_large:
            response = html(413, "413 - Request entity too large")
        elif not outcome.caller:
            response = _unauthorized(outcome.offers)
        else:
            response = self._route(request, outcome.caller)
        if not response.prepared:
            for name, value in headers.items():
                response.headers.setdefault(name, value)
        return response

    async def _misbehave(
        self, request: Request, outcome: Outcome, rule: Rule, headers: dict[str, str]
    ) -> web.StreamResponse:
        scene = Scene(
            request.http,
            rule,
            request.operation,
            len(request.mailboxes),
            lambda: self.face.answer(request.body, outcome.caller, request.affinity).body,
            headers,
            self.sleep,
            self.stop_listening,
        )
        response = await perform(scene)
        if response.status == 401 and not isinstance(response, Gone):
            for offer in self.gate.offers():
                response.headers.add("WWW-Authenticate", offer)
            request.connection.caller = ""
            if outcome.account:  # the client cannot tell this from a wrong password, so it counts as one
                self.journal.failed_logon(outcome.account)
        return response

    def _route(self, request: Request, caller: str) -> web.StreamResponse:
        if request.http.path.casefold() != EWS_PATH.casefold():
            return html(404, "404 - File or directory not found.")
        if request.http.method in ("GET", "HEAD"):
            return html(200, "Exchange Web Services", "<p>You have created a service.</p>")
        if request.http.method != "POST":
            refused = html(405, "405 - HTTP verb used to access this page is not allowed.")
            refused.headers["Allow"] = _ALLOW
            return refused
        if request.http.content_type.casefold() != "text/xml":  # SOAP 1.1 section 6
            return html(415, "415 - Unsupported media type")
        return self._answer(request, caller)

    def _answer(self, request: Request, caller: str) -> web.StreamResponse:
        reply = self.face.answer(request.body, caller, request.affinity)
        response = self._whole(request, reply) if reply.stream is None else StreamResponse(reply, reply.stream)
        for cookie in reply.cookies:
            response.headers.add("Set-Cookie", cookie)
        return response

    def _whole(self, request: Request, reply: Reply) -> web.Response:
        accepted = request.http.headers.get("Accept-Encoding", "").casefold()
        packed = self.compress and reply.body and "gzip" in accepted
        body = gzip.compress(reply.body, compresslevel=1, mtime=0) if packed else reply.body
        response = web.Response(status=reply.status, body=body, headers=reply.headers)
        if packed:
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Vary"] = "Accept-Encoding"
        if reply.chunked and request.http.version >= HttpVersion11:
            response.enable_chunked_encoding()
        return response

    def _describe(self, http: web.BaseRequest, body: bytes | None) -> Asked | None:
        if not body or http.method != "POST" or http.path.casefold() != EWS_PATH.casefold():
            return None
        try:
            return self.face.describe(body)
        except (NotXml, Fault):  # the face says so in its own words when it answers
            return None

    def _headers(self) -> dict[str, str]:
        return {
            "Cache-Control": "private",
            "Server": "Microsoft-IIS/10.0",
            "request-id": str(uuid.uuid4()),
            "X-CalculatedBETarget": "exchange01.corp.example.com",
            "X-DiagInfo": "EXCHANGE01",
            "X-BEServer": "EXCHANGE01",
            "X-FEServer": "EXCHANGE01",
            "X-Powered-By": "ASP.NET",
            "Date": format_datetime(self.now(), usegmt=True),
        }

    def _entry(self, request: Request, outcome: Outcome, rule: Rule | None, status: int) -> Entry:
        http, asked = request.http, request.asked
        return Entry(
            at=self.now(),
            connection=request.connection.number,
            method=http.method,
            path=http.path,
            status=status,
            operation=request.operation,
            mailboxes=request.mailboxes,
            impersonated=asked.impersonated if asked else None,
            properties=frozenset(asked.properties) if asked else frozenset(),
            view=asked.view if asked else None,
            scheme=outcome.scheme,
            account=outcome.account,
            caller=outcome.caller,
            user_agent=http.headers.get("User-Agent", ""),
            anchor=request.affinity.anchor,
            prefers_affinity=request.affinity.prefer,
            cookie=request.affinity.cookie or "",
            fault=rule.action if rule else "",
            at_s=self.monotonic(),
        )

    def _stream_record(self, request: Request, outcome: Outcome, response: StreamResponse) -> StreamRecord:
        return StreamRecord(
            connection=request.connection.number,
            caller=outcome.caller,
            impersonated=request.asked.impersonated if request.asked else None,
            anchor=request.affinity.anchor,
            ids=tuple(response.stream.subscriptions),
            mailboxes=response.stream.mailboxes,
            opened_s=self.monotonic(),
        )


def _unauthorized(offers: tuple[str, ...]) -> web.Response:
    response = html(401, "401 - Unauthorized: Access is denied due to invalid credentials.")
    for offer in offers:
        response.headers.add("WWW-Authenticate", offer)
    return response


async def _read(http: web.BaseRequest) -> bytes | None:
    """The body, or None if it exceeds the limit (the rest is left to the connection's end)."""
    if http.headers.get("Expect", "").casefold() == "100-continue":
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0
    body = bytearray()
    async for piece in http.content.iter_any():
        body += piece
        if len(body) > BODY_LIMIT:
            return None
    return bytes(body)
