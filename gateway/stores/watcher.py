"""Conflation: what one watcher has still to be told, never more than the newest record per key.

Any store can feed it: `begin` with the snapshot, `hand` with each later group of changes, `end` on close. Everything
here runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Final

from gateway.stores import Batch, Change, Revision

CHUNK: Final = 5_000
"""Most changes in one batch, so that whoever digests it does not hold the event loop for long."""


class Watcher(AsyncIterator[Batch]):
    """The iterator behind `Store.watch`: the snapshot in chunks, then whatever is pending, for ever.

    Raises the failure given to `end`, if the snapshot could not be read.
    """

    def __init__(self) -> None:
        self._snapshot: deque[Batch] = deque()
        self._pending: dict[str, Change] = {}
        self._ended = False
        self._failure: Exception | None = None
        self._wake = asyncio.Event()

    def begin(self, snapshot: Sequence[Change], revision: Revision) -> None:
        """Everything there is, in ascending revision order, as of `revision`; only later changes may follow."""
        for start in range(0, max(len(snapshot), 1), CHUNK):
            chunk = snapshot[start : start + CHUNK]
            last = start + CHUNK >= len(snapshot)
            self._snapshot.append(Batch(chunk, revision if last else chunk[-1].revision, synced=last))
        self._wake.set()

    def hand(self, changes: Sequence[Change]) -> None:
        """Later changes; a key that is still pending is inserted anew, so that revisions keep rising."""
        for change in changes:
            self._pending.pop(change.key, None)
            self._pending[change.key] = change
        self._wake.set()

    def end(self, failure: Exception | None = None) -> None:
        """Nothing more will come: the iterator ends after what is pending, or raises `failure`."""
        self._ended = True
        self._failure = failure
        self._wake.set()

    async def __anext__(self) -> Batch:
        while True:
            if self._snapshot:
                await asyncio.sleep(0)  # others run between two chunks
                return self._snapshot.popleft()
            if self._pending:
                return self._take()
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    def _take(self) -> Batch:
        if len(self._pending) <= CHUNK:
            taken, self._pending = list(self._pending.values()), {}
        else:
            taken = list(islice(self._pending.values(), CHUNK))
            for change in taken:
                del self._pending[change.key]
        return Batch(taken, taken[-1].revision, synced=not self._pending)
