"""The lock-out guard: at most two failed logons per account in 15 minutes, over all sources, restarts and tools.

Directories lock accounts after a few failures, and some servers count each failure twice. The failures are kept in the
store under a digest of the account, so that nobody who forgets them can lock the account.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Final

from gateway.clock import Clock
from gateway.records import from_ms, to_ms
from gateway.stores import Put, Store
from gateway.view import View

FAILURES: Final = 2
WITHIN: Final = timedelta(minutes=15)


class LogonGuard:
    """The port `gateway.sources.Guard`, over one store and this replica's view."""

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._recent: dict[str, list[datetime]] = {}

    async def allowed(self, account: str) -> datetime | None:
        """None if a logon may be tried now, else when the next one may."""
        failures = self._failures(account)
        return None if len(failures) < FAILURES else failures[-FAILURES] + WITHIN

    async def failed(self, account: str) -> None:
        """One more failed logon; durable when this returns."""
        now = self._clock.now()
        failures = [*self._failures(account), now]
        self._recent[_key(account)] = failures
        value = json.dumps([to_ms(failure) for failure in failures]).encode()
        await self._store.put([Put(_key(account), value, expires_at=now + WITHIN)])

    async def succeeded(self, account: str) -> None:
        """Forget the failures."""
        if self._failures(account):
            self._recent[_key(account)] = []
            await self._store.put([Put(_key(account), None)])

    def _failures(self, account: str) -> list[datetime]:
        """The failures that still count, oldest first."""
        key = _key(account)
        if key not in self._recent:
            value, _ = self._view.record(key)
            self._recent[key] = [] if value is None else [from_ms(failure) for failure in json.loads(value)]
        horizon = self._clock.now() - WITHIN
        return [failure for failure in self._recent[key] if failure > horizon]


def _key(account: str) -> str:
    return f"guard/{hashlib.sha256(account.lower().encode()).hexdigest()[:32]}"
