"""A lease in the SQLite store: one holder per name, dated by the wall clock, fenced by its epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from gateway.clock import Clock
from gateway.errors import LeaseLost
from gateway.stores.sqlite_records import drop_lease, extend_lease
from gateway.stores.sqlite_writer import Transaction

Submit = Callable[[Callable[[Transaction], Any]], Awaitable[Any]]


class SqliteLease:
    """Held until `release`, `expire` or the end of its time; `lost` is set in the last two cases."""

    def __init__(
        self, name: str, owner: str, epoch: int, until: datetime, ttl: float, clock: Clock, submit: Submit
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.lost = asyncio.Event()
        self._owner = owner
        self._until = until
        self._ttl = ttl
        self._clock = clock
        self._submit = submit
        self._released = False
        self._watch = asyncio.create_task(self._run_out(), name=f"lease-{name}")

    async def renew(self) -> None:
        """Hold it for another ttl from now. Raises LeaseLost, or StoreUnavailable while it may still be held."""
        now = self._clock.now()
        until = now + timedelta(seconds=self._ttl)
        held = not self._released and not self.lost.is_set()
        if held and await self._submit(partial(extend_lease, self.name, self._owner, now, until)):
            self._until = until
            if not self.lost.is_set():  # the time may have run out while the store was writing
                return
        self.expire()
        raise LeaseLost(
            f"renew lease {self.name!r}: epoch {self.epoch} holds it no more",
            code="store.lease_lost",
            hint="another holder has taken over; nothing to do unless this repeats",
        )

    async def release(self) -> None:
        """Give it back; nothing happens if it is lost, given back already, or the store is closed."""
        if self._released or self.lost.is_set():
            return
        self._released = True
        self._watch.cancel()
        await self._submit(partial(drop_lease, self.name, self._owner))

    def expire(self) -> asyncio.Task[None]:
        """It is not ours any more; the task returned is what was running for it, about to end."""
        self._watch.cancel()
        if not self._released:
            self.lost.set()
        return self._watch

    async def _run_out(self) -> None:
        while (left := (self._until - self._clock.now()).total_seconds()) > 0:
            await self._clock.sleep(left)
        self.lost.set()
