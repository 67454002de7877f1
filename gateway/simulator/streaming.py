"""Streams on the wire: what each says, in which pieces, and how it ends.

A stream is an answer whose body is one SOAP envelope after the other. Its sender waits for news, for the
heartbeat, for the end of ConnectionTimeout, and for whoever ends it from outside; faults act on each envelope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from aiohttp import HttpVersion11, hdrs, web

from gateway.simulator.ews import Envelope, EwsFace, Reply, Stream, StreamOptions
from gateway.simulator.faults import Faults
from gateway.simulator.journal import Journal
from gateway.simulator.misbehaviour import Gone, disconnect
from gateway.simulator.stream_journal import Emission, StreamRecord
from gateway.simulator.stream_misbehaviour import Over, perform

End = Literal["closed", "not_found", "close", "reset"]
"""How a stream is ended from outside: with Closed, with ErrorSubscriptionNotFound for all of its ids, or by
ending its connection, in good order or by TCP reset."""
Restart = Literal["close", "reset", "not_found", "deaf"]
"""What a restart does to open streams: ends them as above, or leaves them open with nothing to say any more."""
_NO_TYPE = "none"


class StreamResponse(web.StreamResponse):
    """The beginning of a stream: status and headers, and no Content-Type unless it was given one."""

    def __init__(self, reply: Reply, stream: Stream) -> None:
        super().__init__(status=reply.status, headers={hdrs.CONTENT_TYPE: _NO_TYPE, **reply.headers})
        self.stream = stream

    async def _prepare_headers(self) -> None:  # aiohttp insists on a type and has no switch
        await super()._prepare_headers()
        if self.headers.get(hdrs.CONTENT_TYPE) == _NO_TYPE:
            del self.headers[hdrs.CONTENT_TYPE]


@dataclass(slots=True)
class Streams:
    """The streams one simulator is sending."""

    face: EwsFace
    faults: Faults
    journal: Journal
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    senders: dict[Sender, None]

    def end(self, how: End, mailbox: str = "") -> int:
        """End all streams, or those that carry a mailbox; returns how many."""
        wanted = [each for each in self.senders if not mailbox or mailbox.lower() in each.stream.mailboxes]
        for sender in wanted:
            sender.end(how)
        return len(wanted)

    def restart(self, streams: Restart) -> None:
        """Forget every subscription, as a restarted server does."""
        self.face.subscriptions.forget_all()
        if streams != "deaf":
            self.end(streams)

    async def serve(self, http: web.BaseRequest, response: StreamResponse, record: StreamRecord) -> web.StreamResponse:
        """Send one stream from its first envelope to its end."""
        sender = Sender(self, http, response, record)
        self.senders[sender] = None
        self.journal.streams.begin(record)
        try:
            return await sender.run()
        finally:
            del self.senders[sender]
            self.journal.streams.end(record, self.monotonic(), "client")


class Sender:
    """One stream being sent."""

    def __init__(self, streams: Streams, http: web.BaseRequest, response: StreamResponse, record: StreamRecord) -> None:
        self.stream = response.stream
        self.subscriptions = streams.face.subscriptions
        self.sleep = streams.sleep
        self._streams = streams
        self._http = http
        self._response = response
        self._record = record
        self._inbox: asyncio.Queue[str] = asyncio.Queue()
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._horizon = streams.now()

    async def run(self) -> web.StreamResponse:
        """Send everything; returns what aiohttp needs to go on."""
        how = "close"
        self.stream.open(self._inbox.put_nowait)
        try:
            await self._begin()
            how = await self._talk()
        except Over as over:
            how = over.how
            self._record.ending = over.ending
        except ConnectionError:
            return Gone()
        finally:
            self.stream.close()
            for timer in self._timers.values():
                timer.cancel()
        if how == "body":
            await self._response.write_eof()
            return self._response
        disconnect(self._http, reset=how == "reset")
        return Gone()

    def end(self, how: End) -> None:
        """End it from outside; see `End`."""
        if how in ("close", "reset"):
            self._record.ending = "cut"
            disconnect(self._http, reset=how == "reset")
        else:
            self._inbox.put_nowait(how)

    async def write(self, body: bytes) -> None:
        """Send some bytes in the pieces the switches ask for."""
        for number, piece in enumerate(self._pieces(body)):
            if number:
                await self.sleep(self._switches.chunk_pause_s)
            self._record.bytes += len(piece)
            await self._response.write(piece)

    def note(self, envelope: Envelope) -> None:
        """Write into the journal that an envelope goes out whole."""
        record, moment = self._record, self._streams.monotonic()
        record.envelopes += 1
        record.heartbeats += envelope.kind == "heartbeat"
        record.events += sum(events for _, events in envelope.told)
        for mailbox, events in envelope.told:
            self._streams.journal.streams.emit(Emission(mailbox, events, moment))

    # --- inside

    @property
    def _switches(self) -> StreamOptions:
        return self._streams.face.options.streams

    async def _begin(self) -> None:
        if self._http.version >= HttpVersion11:
            self._response.enable_chunked_encoding()
        writer = await self._response.prepare(self._http)
        if writer is not None:
            writer.send_headers()  # now, and not with the first envelope, which may never come

    async def _talk(self) -> str:
        """Say everything there is to say; returns how to end: with the body, or with the connection."""
        hello = self.stream.hello()
        if not self.stream.lasting:
            await self._send([hello])
            self._record.ending = "refused"
            return "body"
        self._after("end", self.stream.timeout_s)
        self._after("beat", self._switches.heartbeat_s)
        await self._send([hello, *self._due()])
        while True:
            signal = await self._inbox.get()
            if signal == "beat":
                self._after("beat", self._switches.heartbeat_s)
                beat = self.stream.heartbeat()
                await self._send([beat] if beat else [])
            elif signal in ("news", "due"):
                await self._send(self._due())
            else:
                return await self._last_words(signal)

    async def _last_words(self, signal: str) -> str:
        ids = tuple(self.stream.subscriptions)
        self._record.ending = "closed"
        if signal == "unsubscribed":
            await self._send([self.stream.error("ErrorSubscriptionUnsubscribed", self.stream.lost)])
        elif signal == "not_found":
            await self._send([self.stream.error("ErrorSubscriptionNotFound", ids)])
        elif self._switches.closed != "missing":
            await self._send([self.stream.closed()])
            if self._switches.closed == "linger":
                await asyncio.Event().wait()  # until the client goes, or the server does
        return "body"

    def _due(self) -> list[Envelope]:
        """What may be told now; a timer is set for what may be told later."""
        self._horizon = max(self._horizon, self._streams.now())
        envelopes = self.stream.news(self._horizon, self._streams.faults.loses)
        if (later := self.stream.next_due) is not None:
            self._after("due", (later - self._horizon).total_seconds(), until=later)
        return envelopes

    async def _send(self, envelopes: Sequence[Envelope]) -> None:
        waiting = b""
        for envelope in envelopes:
            about = tuple(mailbox for mailbox, _ in envelope.told) or self.stream.mailboxes
            rule = self._streams.faults.pick_envelope(envelope.kind, about)
            if rule is None:
                self.note(envelope)
                waiting += envelope.body
            if rule is not None or not self._switches.glued:
                await self.write(waiting)
                waiting = b""
            if rule is not None:
                await perform(self, rule, envelope)
        await self.write(waiting)

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        if not body:
            return
        if self._switches.walking_split:
            cut = 1 + (self._record.envelopes - 1) % max(1, len(body) - 1)
            yield body[:cut]
            if body[cut:]:
                yield body[cut:]
            return
        size = self._switches.chunk_size or len(body)
        for start in range(0, len(body), size):
            yield body[start : start + size]

    def _after(self, signal: str, seconds: float, *, until: datetime | None = None) -> None:
        """Put a signal into the inbox after a while; the one of that name that was on its way is dropped."""

        async def ring() -> None:
            await self.sleep(seconds)
            self._horizon = max(self._horizon, until) if until else self._horizon
            self._inbox.put_nowait(signal)

        if (running := self._timers.get(signal)) is not None:
            running.cancel()
        self._timers[signal] = asyncio.create_task(ring())
