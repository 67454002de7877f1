"""The hub's promises to those who poll or wait, and to sources that ask who is watched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.core.model import Level
from gateway.web import ledger
from gateway.web.hub import View
from tests.hubs import ANN, BOB, DIRECTORY, EVE, Bench, told, view
from tests.watchers import people, presence, reader


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.hub.close(0.0)


async def test_a_poll_has_what_changed_since_the_last_one(bench: Bench) -> None:
    """The id of an answer leads to the difference, and so does the id of an event."""
    everybody = View(reader())
    first = bench.hub.snapshot(everybody, None)
    assert (len(first.docs), first.reset) == (3, False)
    assert [json.loads(doc)["person"] for doc in first.docs] == [ANN, BOB, EVE]
    bench.publish(presence(BOB, "away"))
    second = bench.hub.snapshot(everybody, first.id)
    assert [json.loads(doc)["person"] for doc in second.docs] == [BOB]
    assert not bench.hub.snapshot(everybody, second.id).news
    wire = bench.subscribe(everybody, second.id)
    assert told(wire) == [("synced", "")]


@pytest.mark.parametrize(
    "since",
    ["nonsense", "there.{key}.1.1", "here.000000000000.1.1", "here.{key}.999.1", "here.{key}.1", "here.{key}.-1.1"],
)
async def test_an_id_of_no_use_is_a_reset(bench: Bench, since: str) -> None:
    """Another process, another view, the future, or no id at all: everything, marked as such."""
    everybody = View(reader())
    answer = bench.hub.snapshot(everybody, since.format(key=everybody.key))
    assert (answer.reset, len(answer.docs)) == (True, 3)


async def test_who_missed_too_many_departures_starts_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Departures are remembered for a bounded number; beyond it there is a reset instead of a hole."""
    monkeypatch.setattr(ledger, "MOVES", 1)
    before = bench.hub.snapshot(View(reader()), None)
    bench.hub.set_directory(people({ANN: ("sales",), BOB: ("sales", "legal")}))
    assert bench.hub.snapshot(View(reader()), before.id).gone == [EVE]
    bench.hub.set_directory(people({ANN: ("sales",)}))
    answer = bench.hub.snapshot(View(reader()), before.id)
    assert (answer.reset, answer.gone) == (True, [])


async def test_the_tag_is_the_hash_of_the_bytes(bench: Bench) -> None:
    """Back in the same state means the same tag, on this replica and on another."""
    first = bench.hub.document(ANN, Level.COLLEAGUE)
    bench.publish(presence(ANN, "away"))
    second = bench.hub.document(ANN, Level.COLLEAGUE)
    bench.publish(presence(ANN))
    third = bench.hub.document(ANN, Level.COLLEAGUE)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.etag == third.etag != second.etag
    other = Bench()
    same = other.hub.document(ANN, Level.COLLEAGUE)
    assert same is not None
    assert same.etag == first.etag
    assert bench.hub.document(ANN, Level.COLLEAGUE) is third


async def test_a_wait_for_a_document_ends_when_it_differs(bench: Bench) -> None:
    """The news is answered at once; the tag that is already old is answered at once as well."""
    found = bench.hub.document(ANN, Level.COLLEAGUE)
    assert found is not None
    waiting = asyncio.create_task(bench.hub.wait_document(ANN, Level.COLLEAGUE, found.etag, 30.0))
    await bench.clock.advance(10.0)
    assert not waiting.done()
    bench.publish(presence(BOB, "away"))
    await bench.clock.advance(1.0)
    assert not waiting.done()
    bench.publish(presence(ANN, "away"))
    await bench.clock.settle()
    news = await waiting
    assert news == bench.hub.document(ANN, Level.COLLEAGUE)
    assert await bench.hub.wait_document(ANN, Level.COLLEAGUE, found.etag, 30.0) == news


async def test_a_wait_ends_with_its_time_with_the_person_and_with_the_hub(bench: Bench) -> None:
    """Nothing new is None; so is a person who is gone, and a gateway that stops."""
    found = bench.hub.document(ANN, Level.COLLEAGUE)
    assert found is not None

    def wait() -> asyncio.Task[object]:
        return asyncio.create_task(bench.hub.wait_document(ANN, Level.COLLEAGUE, found.etag, 30.0))

    timed = wait()
    await bench.clock.advance(30.0)
    assert await timed is None
    stopped, leaving = wait(), wait()
    await bench.clock.settle()
    bench.hub.set_directory(people({BOB: ()}))
    await bench.clock.settle()
    assert await leaving is None
    assert await stopped is None
    bench.hub.set_directory(people(DIRECTORY))
    bench.publish(presence(ANN))
    stopped = wait()
    await bench.clock.settle()
    await bench.hub.close(0.0)
    assert await stopped is None


async def test_a_wait_for_a_view_ends_with_the_first_news(bench: Bench) -> None:
    """A change in the view is answered with the difference; without one the answer is empty, with a fresh id."""
    seen = view(ANN, BOB)
    before = bench.hub.snapshot(seen, None)
    waiting = asyncio.create_task(bench.hub.wait_view(seen, before.id, 30.0))
    await bench.clock.advance(5.0)
    bench.publish(presence(EVE, "away"))
    await bench.clock.advance(5.0)
    assert not waiting.done()
    bench.publish(presence(BOB, "away"))
    await bench.clock.settle()
    answer = await waiting
    assert [json.loads(doc)["person"] for doc in answer.docs] == [BOB]
    waiting = asyncio.create_task(bench.hub.wait_view(seen, answer.id, 30.0))
    await bench.clock.advance(30.0)
    assert not (await waiting).news
    assert len((await bench.hub.wait_view(seen, None, 30.0)).docs) == 2


async def test_an_id_of_another_replica_waits_for_its_revision(bench: Bench) -> None:
    """A client never goes back in time because it was sent to a replica that is behind; but 5 s are the most."""
    there = f"there.{View(reader()).key}.7.{bench.revision + 1}"
    waiting = asyncio.create_task(bench.hub.reached(there))
    await bench.clock.advance(1.0)
    assert not waiting.done()
    bench.hub.publish([], bench.revision + 1)
    await bench.clock.settle()
    assert waiting.done()
    far = asyncio.create_task(bench.hub.reached(f"there.{View(reader()).key}.7.999999"))
    await bench.clock.advance(4.9)
    assert not far.done()
    await bench.clock.advance(0.2)
    assert far.done()
    await bench.hub.reached(None)
    await bench.hub.reached("nonsense")


async def test_watched_means_a_stream_a_wait_or_a_poll_lately(bench: Bench) -> None:
    """Sources read watched people more often, so the answer must not forget, nor remember for ever."""
    hub, clock = bench.hub, bench.clock
    assert not hub.watched(ANN)
    wire = bench.subscribe(view(ANN))
    assert (hub.watched(ANN), hub.watched(BOB)) == (True, False)
    wire.lose()
    assert not hub.watched(ANN)
    found = hub.document(BOB, Level.COLLEAGUE)
    assert found is not None
    await clock.advance(120.0)
    assert hub.watched(BOB)
    await clock.advance(1.0)
    assert not hub.watched(BOB)
    waiting = asyncio.create_task(hub.wait_document(BOB, Level.COLLEAGUE, found.etag, 300.0))
    await clock.advance(299.0)
    assert hub.watched(BOB)
    await clock.advance(1.0)
    assert await waiting is None
    hub.snapshot(view(EVE), None)
    assert hub.watched(EVE)
    assert not hub.watched("nobody@example.com")
