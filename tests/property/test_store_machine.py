"""Random programs against the store, beside a model small enough to be believed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.errors import StoreConflict
from gateway.stores import Batch, Put, Revision
from gateway.stores.sqlite import SqliteStore
from tests.clock import FakeClock

T = TypeVar("T")


class Model:
    """A dict with revisions."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[bytes, Revision]] = {}
        self.used = 0

    def put(self, puts: list[Put]) -> bool:
        """Whether the put takes effect; how far the revision goes on is the store's own business."""
        draft = dict(self.records)
        for put in puts:
            found = draft[put.key][1] if put.key in draft else 0
            if put.expect is not None and put.expect != found:
                return False
            draft.pop(put.key, None)
            if put.value is not None:
                draft[put.key] = (put.value, -1)  # its revision is not known yet, nor can an expectation meet it
        self.records = draft
        return True

    def number(self, puts: list[Put], highest: Revision) -> None:
        """A put that took effect has the revisions that end with the highest."""
        assert highest - len(puts) >= self.used, "revisions must rise"
        self.used = highest
        for n, put in enumerate(puts):
            if put.value is not None and put.key in self.records:
                self.records[put.key] = (self.records[put.key][0], highest - len(puts) + 1 + n)


NEVER = 10**12  # a revision nobody reaches
keys = st.sampled_from("abcde")
records = st.tuples(keys, st.one_of(st.none(), st.binary(max_size=8)), st.sampled_from([None, None, 0, "right", NEVER]))


class StoreMachine(RuleBasedStateMachine):
    """put, several puts at once, watch, read, reopen, in any order."""

    @initialize()
    def create(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.model = Model()
        self.watchers: list[tuple[AsyncIterator[Batch], dict[str, tuple[bytes, Revision]], list[Revision]]] = []
        self._open()
        self.identity = self.store.identity

    def run_(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def _open(self) -> None:
        self.store = self.run_(SqliteStore.open(f"sqlite://{self.folder.name}/state.db", FakeClock()))

    def _puts(self, drawn: list[tuple[str, bytes | None, Any]]) -> list[Put]:
        found = self.model.records
        return [
            Put(key, value, expect=found.get(key, (b"", 0))[1] if expect == "right" else expect)
            for key, value, expect in drawn
        ]

    @rule(batches=st.lists(st.lists(records, min_size=1, max_size=4), min_size=1, max_size=5))
    def put_at_once(self, batches: list[list[tuple[str, bytes | None, Any]]]) -> None:
        """Puts handed over together are done in their order, each whole or not at all."""
        work = [self._puts(batch) for batch in batches]

        async def put_all() -> list[int | BaseException]:
            return await asyncio.gather(*(self.store.put(puts) for puts in work), return_exceptions=True)

        for puts, result in zip(work, self.run_(put_all()), strict=True):
            assert self.model.put(puts) == isinstance(result, int), (puts, result)
            if isinstance(result, int):
                self.model.number(puts, result)
            else:
                assert isinstance(result, StoreConflict)

    @rule()
    def watch(self) -> None:
        """One more watcher, which need not read for a long time."""

        async def watch() -> AsyncIterator[Batch]:
            return self.store.watch()

        self.watchers.append((self.run_(watch()), {}, [0]))

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """A watcher that reads up to now knows exactly what the model knows."""
        if self.watchers:
            self._catch_up(*data.draw(st.sampled_from(self.watchers)))

    def _catch_up(
        self, watcher: AsyncIterator[Batch], view: dict[str, tuple[bytes, Revision]], seen: list[Revision]
    ) -> None:
        async def read() -> None:
            end = await self.store.put([])
            while seen[-1] < end or len(seen) == 1:
                batch = await asyncio.wait_for(anext(watcher), 10)
                for change in batch.changes:
                    assert change.revision > max(seen[-1], 0), "each revision at most once, rising"
                    seen.append(change.revision)
                    view.pop(change.key, None)
                    if change.value is not None:
                        view[change.key] = (change.value, change.revision)
                assert batch.revision >= seen[-1]
                seen.append(batch.revision)
                if not batch.synced:
                    assert batch.changes

        self.run_(read())
        assert view == self.model.records

    @rule()
    def reopen(self) -> None:
        """Everything but the watchers survives, the identity included."""
        self.run_(self.store.close())
        self.watchers.clear()
        self._open()
        assert self.store.identity == self.identity

    @invariant()
    def revisions_never_fall(self) -> None:
        assert self.run_(self.store.put([])) >= self.model.used

    def teardown(self) -> None:
        with suppress(AttributeError):  # nothing was created
            for entry in self.watchers:
                self._catch_up(*entry)
            self.run_(self.store.close())
            self.runner.close()
            self.folder.cleanup()


def test_the_store_follows_the_model() -> None:
    """Whatever is put, watched and reopened, the store holds and tells what a dict would."""
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
