"""The ports Store and Lease, and the table STORES of what implements them.

A store is a revisioned map of small records. It knows no presence: keys are text (`/` separates parts), values are
bytes. Every put gets one revision, higher than all before; a watcher first gets every record, then each change in
revision order, with at most the newest record per key. The embedded store is `gateway.stores.sqlite`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

Revision = int

STORES: Final = {"sqlite": "gateway.stores.sqlite:SqliteStore"}


@dataclass(frozen=True, slots=True)
class Put:
    """One record to write: `value` None deletes it.

    `expires_at`: after it nobody needs the record any more, and the store may erase it without telling (every reader
    judges expiry by its own clock). `expect`: the put happens only if the record's revision is exactly this one
    (0: there is no such record).
    """

    key: str
    value: bytes | None
    expires_at: datetime | None = None
    expect: Revision | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The newest state of one record; `value` None means deleted."""

    key: str
    value: bytes | None
    revision: Revision
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes in ascending revision order. `synced` is true once the watcher has everything up to `revision`."""

    changes: Sequence[Change]
    revision: Revision
    synced: bool


class Lease(Protocol):
    """A right held by one replica at a time. `epoch` rises with each new holder and fences late writers."""

    name: str
    epoch: int
    lost: asyncio.Event

    async def renew(self) -> None:
        """Hold it for another ttl; raises LeaseLost."""
        ...

    async def release(self) -> None:
        """Give it back at once; never raises if it is lost already."""
        ...


class Store(Protocol):
    """Where facts live."""

    @property
    def identity(self) -> str:
        """Random; changes when the store is created anew."""
        ...

    async def put(self, puts: Sequence[Put]) -> Revision:
        """Write all or nothing, durably; every own watcher has been handed the changes before this returns.

        Raises StoreConflict if an `expect` does not hold, StoreUnavailable if it could not be made durable.
        """
        ...

    def watch(self) -> AsyncIterator[Batch]:
        """Everything, then every change. A slow watcher gets the newest record per key, never an unbounded queue."""
        ...

    async def lease(self, name: str, ttl: float) -> Lease | None:
        """The lease for `ttl` seconds, or None while somebody else holds it."""
        ...

    async def close(self) -> None:
        """End the watchers, finish what was accepted, close the files."""
        ...
