"""Notifications over the wire: Subscribe, Unsubscribe and GetStreamingEvents, each as a mailbox's owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final, Protocol

import aiohttp

from gateway.clock import Clock
from gateway.errors import GatewayError, SourceError
from gateway.sources.backoff import as_source_error
from gateway.sources.ews import soap
from gateway.sources.ews.affinity import Affinity
from gateway.sources.ews.http import Answer, border
from gateway.sources.ews.notices import Notice, read_notice, read_subscription
from gateway.sources.ews.owner_requests import stream_request, subscribe_request, unsubscribe_request
from gateway.sources.ews.refusals import BUSY_CODES, OLDER_VERSION_HELPS, error_of, failure
from gateway.sources.ews.session import Session
from gateway.sources.ews.settings import EwsSettings
from gateway.sources.ews.splitter import EnvelopeSplitter, TooLarge
from gateway.sources.ews.versions import Versions
from gateway.sources.timing import SHORTEST
from gateway.sources.xml import OFF_LOOP, Parses

MINUTE: Final = 60.0

_OF_THE_SERVER: Final = (BUSY_CODES | OLDER_VERSION_HELPS) - {"ErrorInvalidSchemaVersionForMailboxVersion"}
"""Codes of Exchange that say nothing about the mailbox, though a request for it was refused."""


class Notifier(Protocol):
    """What streams need of a server. Everything may be cancelled at any await."""

    async def subscribe(self, mailbox: str, affinity: Affinity) -> str:
        """A new subscription's id. Raises SourceError: with `mailbox` if it is about this one, else about the server.

        `affinity` keeps the server's cookie.
        """
        ...

    async def unsubscribe(self, subscription: str, mailbox: str, affinity: Affinity) -> None:
        """End a subscription. Raises SourceError."""
        ...

    def listen(self, subscriptions: Sequence[str], affinity: Affinity) -> AsyncGenerator[Notice, None]:
        """One connection's notices, until one is `closed` or the server hangs up. Raises SourceError."""
        ...


class EwsNotifier:
    """The Notifier on one Exchange server."""

    def __init__(self, name: str, settings: EwsSettings, session: Session, parses: Parses, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._session = session
        self._parses = parses
        self._clock = clock
        self._versions = Versions(name, settings.request_version)

    async def subscribe(self, mailbox: str, affinity: Affinity) -> str:
        """The id of a new subscription; see Notifier."""
        while True:
            version = self._versions.current
            with _as_source_error():
                answer = await self._session.ask(subscribe_request(mailbox, version), affinity.headers(mailbox))
            with border(self._name, self._settings.url):
                found = read_subscription(answer.body)
                if isinstance(found, str):
                    affinity.note(answer.cookies)
                    return found
                if not self._versions.lowered(version, found.code):
                    error = error_of(found, mailbox)
                    if found.code in _OF_THE_SERVER:
                        error.mailbox = None
                    raise error

    async def unsubscribe(self, subscription: str, mailbox: str, affinity: Affinity) -> None:
        """End a subscription; whether the server still knew it does not matter."""
        request = unsubscribe_request(subscription, mailbox, self._versions.current)
        with _as_source_error():
            await self._session.ask(request, affinity.headers(mailbox))

    async def listen(self, subscriptions: Sequence[str], affinity: Affinity) -> AsyncGenerator[Notice, None]:
        """The notices of one connection that impersonates the group's anchor; see Notifier."""
        minutes, version = self._settings.stream_minutes, self._versions.current
        request = stream_request(subscriptions, affinity.anchor, minutes, version)
        with _as_source_error():
            async with (
                self._session.stream(request, affinity.headers()) as answer,
                aclosing(self._notices(answer)) as notices,
            ):
                async for notice in notices:
                    yield notice

    async def _notices(self, answer: Answer) -> AsyncGenerator[Notice, None]:
        if answer.stream is None:
            yield read_notice(answer.body)
            return
        splitter = EnvelopeSplitter(self._settings.max_body)
        async with aclosing(self._pieces(answer.stream)) as pieces:
            async for piece in pieces:
                try:
                    documents = splitter.feed(piece)
                except TooLarge as fault:
                    raise failure("http.body_too_large", str(fault)) from None
                for document in documents:
                    yield await self._read(document)

    async def _read(self, document: bytes) -> Notice:
        if len(document) <= OFF_LOOP:
            return read_notice(document)
        return await self._parses.run(len(document), lambda: read_notice(document))

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """The bytes of a stream as they come; ends with it. A silent one and one that floods us are failures."""
        watchdog = _Watchdog(self._clock, self._settings.stream_silence, response)
        watching = asyncio.create_task(watchdog.watch(), name="ews.watchdog")
        minute, size = self._clock.monotonic(), 0
        try:
            while piece := await response.content.readany():
                now = self._clock.monotonic()
                watchdog.heard_at = now
                if now - minute >= MINUTE:
                    minute, size = now, 0
                size += len(piece)
                if size > self._settings.stream_bytes:
                    raise failure("http.body_too_large", f"a stream sent {size} bytes within a minute")
                yield piece
        except aiohttp.ClientError:
            if not watchdog.barked:
                raise
            silence = f"a stream sent nothing for {self._settings.stream_silence:g} s"
            raise failure("subscription.silent", silence) from None
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@contextmanager
def _as_source_error() -> Iterator[None]:
    """The lock-out guard may fail as well: its store is the gateway's own."""
    try:
        yield
    except SourceError:
        raise
    except GatewayError as error:
        raise as_source_error(error) from error


class _Watchdog:
    """Closes a response that has been silent for too long, which ends whoever reads it."""

    def __init__(self, clock: Clock, silence: float, response: aiohttp.ClientResponse) -> None:
        self.heard_at = clock.monotonic()
        self.barked = False
        self._clock = clock
        self._silence = silence
        self._response = response

    async def watch(self) -> None:
        while (rest := self.heard_at + self._silence - self._clock.monotonic()) > 0:
            await self._clock.sleep(max(rest, SHORTEST))
        self.barked = True
        self._response.close()


def code_of(refusal: soap.Refusal) -> str:
    """The reason code of a refused stream."""
    if refusal.code == "ErrorExceededConnectionCount":  # of streams, not of calls
        return "subscription.limit"
    return error_of(refusal).code
