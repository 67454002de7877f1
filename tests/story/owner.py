"""A mailbox owner at an Exchange client that nobody here wrote: exchangelib, over TLS, in threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import requests.adapters
from exchangelib import (
    BASIC,
    DELEGATE,
    NTLM,
    Account,
    CalendarItem,
    Configuration,
    Credentials,
    EWSDateTime,
    EWSTimeZone,
    FailFast,
)
from exchangelib.protocol import BaseProtocol, CachingProtocol
from exchangelib.recurrence import Recurrence, WeeklyPattern

UTC = EWSTimeZone("UTC")
Got = TypeVar("Got")


class Owner:
    """One mailbox owner. Only inside `at_work` can it reach its mailbox."""

    def __init__(self, address: str, password: str, url: str, ca_file: Path, *, auth: Literal["ntlm", "basic"]) -> None:
        self.address = address
        self._password = password
        self._url = url
        self._ca_file = ca_file
        self._auth = {"ntlm": NTLM, "basic": BASIC}[auth]
        self._account: Any = None

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Owner]:
        """Log on; at the end every connection is closed."""
        before = BaseProtocol.HTTP_ADAPTER_CLS
        BaseProtocol.HTTP_ADAPTER_CLS = _trusting(self._ca_file)
        try:
            self._account = await _aside(self._log_on)
            yield self
        finally:
            BaseProtocol.HTTP_ADAPTER_CLS = before
            await _aside(CachingProtocol.clear_cache)

    async def books(self, start: datetime, end: datetime, *, weekly: Sequence[datetime] = ()) -> Any:
        """A meeting in the owner's calendar; `weekly` on the weekdays of these days, ten times. Gives the item."""
        recurrence = None
        if weekly:
            days = [f"{day:%A}" for day in weekly]
            pattern = WeeklyPattern(interval=1, weekdays=days, first_day_of_week="Monday")
            recurrence = Recurrence(pattern=pattern, start=start.date(), number=10)

        def book() -> Any:
            return CalendarItem(
                account=self._account,
                folder=self._account.calendar,
                start=_ews(start),
                end=_ews(end),
                subject="Merger talks",
                location="Room of secrets",
                body="Bring the figures",
                required_attendees=["rival@example.org"],
                recurrence=recurrence,
            ).save()

        return await _aside(book)

    async def occurrence(self, series: Any, index: int) -> Any:
        """The index-th meeting of a series, counted from 1."""

        def find() -> Any:
            found = series.occurrence(index)
            found.refresh()
            return found

        return await _aside(find)

    async def moves(self, item: Any, start: datetime, end: datetime) -> None:
        """Give a meeting, or one of a series, another time."""

        def move() -> None:
            item.start, item.end = _ews(start), _ews(end)
            item.save(update_fields=["start", "end"])

        await _aside(move)

    async def deletes(self, item: Any) -> None:
        """Take a meeting, one of a series, or a whole series out of the calendar."""
        await _aside(item.delete)

    def _log_on(self) -> Any:
        configuration = Configuration(
            service_endpoint=self._url,
            credentials=Credentials(self.address, self._password),
            auth_type=self._auth,
            retry_policy=FailFast(),
        )
        return Account(
            self.address,
            config=configuration,
            autodiscover=False,
            access_type=DELEGATE,
            default_timezone=UTC,
            locale="en_US",
        )


async def _aside(work: Callable[[], Got]) -> Got:
    """exchangelib blocks; the simulator lives on this event loop."""
    return await asyncio.to_thread(work)


def _ews(instant: datetime) -> Any:
    return EWSDateTime.from_datetime(instant.replace(tzinfo=UTC))


def _trusting(ca_file: Path) -> type[requests.adapters.HTTPAdapter]:
    class TrustingAdapter(requests.adapters.HTTPAdapter):
        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            super().cert_verify(conn=conn, url=url, verify=str(ca_file), cert=cert)  # type: ignore[no-untyped-call]

    return TrustingAdapter
