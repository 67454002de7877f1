"""One account's logons over all lanes: one at a time until one succeeded, and never past the lock-out guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gateway.clock import Clock
from gateway.errors import SourceError, SourceUnavailable
from gateway.reasons import REASONS
from gateway.sources import Guard
from gateway.sources.ews.refusals import failure

JUDGED_WITHIN: Final = 10.0
"""Seconds after which a logon without an answer is not a logon any more, but a slow call."""


class _Turn:
    """A lock taken, to be released once."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock: asyncio.Lock | None = lock

    def end(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


class Logon:
    """Whether the account is known to be good, and the right to find out."""

    def __init__(self, account: str, clock: Clock, guard: Guard) -> None:
        self.account = account
        self.proven = False
        """Whether the last logon succeeded."""
        self._clock = clock
        self._guard = guard
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Room for one logon; SourceUnavailable, with the time to wait, while the guard forbids it.

        Attempts are serial, so that a wrong password costs one failed logon and not one per lane. But a password is
        judged at once: whoever takes longer is waiting for the answer to the request, and holds nobody up.
        """
        await self._one_at_a_time.acquire()
        turn = _Turn(self._one_at_a_time)
        judged = asyncio.get_running_loop().call_later(JUDGED_WITHIN, turn.end)
        try:
            until = await self._guard.allowed(self.account)
            if until is not None:
                raise SourceUnavailable(
                    f"{self.account!r} was refused before; not tried again until {until:%Y-%m-%dT%H:%M:%SZ}",
                    code="auth.rejected",
                    hint=REASONS["auth.rejected"].remedy,
                    retry_after=max(0.0, (until - self._clock.now()).total_seconds()),
                )
            yield
        finally:
            judged.cancel()
            turn.end()

    async def succeeded(self) -> None:
        """The account is good."""
        self.proven = True
        await self._guard.succeeded(self.account)

    async def refused(self) -> SourceError:
        """Count one more failed logon; gives the error to raise.

        No mailbox takes part in a logon for free/busy, so a 401 is about the account: its name's form or the rest.
        """
        self.proven = False
        await self._guard.failed(self.account)
        has_domain = "\\" in self.account or "@" in self.account
        code = "auth.rejected" if has_domain else "auth.username_format"
        return failure(code, f"exchange refused the logon of {self.account!r}")
