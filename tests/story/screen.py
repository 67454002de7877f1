"""A screen: one subscriber of the event stream, what it shows, and when each event came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp

from gateway.clock import Clock
from tests.story.office import address
from tests.story.waiting import until
from tests.watchers import Event, Watcher, parse

Document = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One event, and the wall clock when its bytes came."""

    event: Event
    at: datetime


class Screen:
    """What a subscriber believes. `gone` are the people it was told to forget, in order."""

    def __init__(self, clock: Clock) -> None:
        self.seen: list[Seen] = []
        self.closed = False
        self._clock = clock
        self._watcher = Watcher()
        self._rest = b""

    def document(self, name: str) -> Document | None:
        """What it shows of somebody, if anything."""
        body = self._watcher.state.get(address(name))
        return None if body is None else json.loads(body)

    def label(self, name: str) -> str | None:
        """The label it shows of somebody."""
        document = self.document(name)
        return None if document is None else str(document["effective"]["label"])

    @property
    def people(self) -> set[str]:
        """Everybody it shows."""
        return set(self._watcher.state)

    @property
    def names(self) -> list[str]:
        """The names of all events so far."""
        return [seen.event.name for seen in self.seen]

    async def shows(
        self,
        name: str,
        label: str | None = None,
        *,
        where: Callable[[Document], bool] = lambda document: True,
        within: float = 10.0,
    ) -> Document:
        """Wait until it shows that label of somebody, and a document that fits; at most so many real seconds."""

        def fits() -> bool:
            document = self.document(name)
            return document is not None and label in (None, document["effective"]["label"]) and where(document)

        try:
            await until(fits, self._clock, within=within)
        except AssertionError:
            raise AssertionError(f"not {label!r} within {within:g} s but {self.document(name)}") from None
        document = self.document(name)
        assert document is not None
        return document

    async def forgets(self, name: str, *, within: float = 10.0) -> None:
        """Wait until it was told that somebody is gone."""
        await until(lambda: address(name) not in self.people, self._clock, within=within, what=f"{name} gone")

    async def hears(self, event: str, *, within: float = 10.0) -> None:
        """Wait for an event of that name."""
        await until(lambda: event in self.names, self._clock, within=within, what=event)

    async def read(self, stream: aiohttp.StreamReader) -> None:
        """Understand the stream until it ends."""
        self._watcher.connected()
        try:
            while data := await stream.readany():
                at = self._clock.now()
                events, self._rest = parse(self._rest + data)
                self.seen += [Seen(event, at) for event in events]
                self._watcher.hear(events)
        finally:
            self.closed = True


@asynccontextmanager
async def open_screen(url: str, token: str, clock: Clock, query: str = "") -> AsyncIterator[Screen]:
    """A subscriber that has been told everything once; `query` selects people, everybody without it."""
    screen = Screen(clock)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(url, timeout=timeout, headers=headers) as session,
        session.get(f"/v1/stream{query}") as answer,
    ):
        assert answer.status == 200, await answer.text()
        reading = asyncio.create_task(screen.read(answer.content), name="screen")
        try:
            await screen.hears("synced")
            yield screen
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
