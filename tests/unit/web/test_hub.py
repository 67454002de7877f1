"""The hub's promises to streams, on a clock and a wire of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from random import Random

import pytest

from gateway.core.model import Level
from gateway.web import audience
from gateway.web.hub import Hub, View
from gateway.web.ports import Limits
from tests.clock import FakeClock
from tests.hubs import ANN, BOB, DIRECTORY, EVE, Bench, told, view
from tests.watchers import Watcher, Wire, people, presence, reader


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.hub.close(0.0)


async def test_a_new_stream_gets_everybody_in_the_order_of_their_changes_and_then_synced(bench: Bench) -> None:
    """The first state comes at once, in ascending change order, closed by `synced` with an id of its own."""
    bench.publish(presence(ANN, "away"))
    wire = bench.subscribe(View(reader()))
    events = wire.events()
    assert [event.name for event in events] == ["presence"] * 3 + ["synced"]
    assert [event.person for event in events[:3]] == [BOB, EVE, ANN]
    numbers = [event.n for event in events if event.n is not None]
    assert sorted(set(numbers)) == numbers
    assert len(numbers) == 4


async def test_a_change_goes_out_at_once_when_all_is_quiet(bench: Bench) -> None:
    """No timer stands between a lone change and its watchers."""
    wire = await bench.synced(view(ANN))
    bench.publish(presence(ANN, "away"))
    await bench.clock.settle()
    assert told(wire) == [("presence", ANN)]


async def test_while_it_is_busy_changes_share_a_write(bench: Bench) -> None:
    """Within 5 ms of a flush changes wait for each other, and only the newest per person is sent."""
    wire = await bench.synced(View(reader()))
    bench.publish(presence(ANN, "away"))
    await bench.clock.settle()
    before = len(wire.writes)
    for state in ("busy", "available", "do_not_disturb"):
        bench.publish(presence(ANN, state), presence(BOB, state))
        await bench.clock.settle()
    assert len(wire.writes) == before
    await bench.clock.advance(0.005)
    assert len(wire.writes) == before + 1
    assert told(wire) == [("presence", ANN), ("presence", ANN), ("presence", BOB)]


async def test_the_slices_of_a_burst_share_a_write(bench: Bench) -> None:
    """While more of the same burst is announced nothing is sent; its end sends everything at once."""
    wire = await bench.synced(View(reader()))
    before = len(wire.writes)
    bench.publish(presence(ANN, "away"), more=True)
    await bench.clock.advance(0.05)
    assert len(wire.writes) == before
    bench.publish(presence(BOB, "away"))
    await bench.clock.settle()
    assert len(wire.writes) == before + 1
    assert told(wire) == [("presence", ANN), ("presence", BOB)]


async def test_a_burst_that_never_ends_is_sent_all_the_same(bench: Bench) -> None:
    """Nobody waits for ever for a slice that was announced."""
    wire = await bench.synced(View(reader()))
    bench.publish(presence(ANN, "away"), more=True)
    await bench.clock.advance(1.0)
    assert told(wire) == [("presence", ANN)]


async def test_a_change_that_a_level_does_not_show_is_nothing_at_that_level(bench: Bench) -> None:
    """No frame, no id and no new entity tag for a reader who may not see the difference."""
    limited = await bench.synced(View(reader(Level.LIMITED)))
    colleague = await bench.synced(View(reader()))
    tag = bench.hub.document(ANN, Level.LIMITED)
    answer = bench.hub.snapshot(View(reader(Level.LIMITED)), None)
    later = presence(ANN).effective.since
    assert later is not None
    bench.publish(presence(ANN, since=later.replace(hour=11)))
    await bench.clock.advance(0.1)
    assert told(colleague) == [("presence", ANN)]
    assert told(limited) == []
    assert bench.hub.document(ANN, Level.LIMITED) == tag
    assert not bench.hub.snapshot(View(reader(Level.LIMITED)), answer.id).news


async def test_somebody_invisible_changes_for_herself_alone(bench: Bench) -> None:
    """Others see one change to offline and then nothing; she sees all of it."""
    other = await bench.synced(view(ANN))
    herself = await bench.synced(view(ANN, who=reader(person=ANN)))
    for state in ("away", "busy", "available"):
        bench.publish(presence(ANN, state, invisible=True))
        await bench.clock.advance(0.1)
    assert told(other) == [("presence", ANN)]
    assert told(herself) == [("presence", ANN)] * 3


async def test_watchers_with_the_same_view_share_the_bytes(bench: Bench) -> None:
    """One join serves all of them: the very same object is written."""
    wires = [await bench.synced(View(reader())) for _ in range(3)]
    bench.publish(presence(ANN, "away"))
    await bench.clock.advance(0.01)
    assert len({id(wire.writes[-1]) for wire in wires}) == 1


async def test_a_newcomer_misses_and_repeats_nothing(bench: Bench) -> None:
    """Somebody who joins between a change and its flush gets it in the first state only."""
    first = await bench.synced(View(reader()))
    bench.publish(presence(ANN, "away"))
    second = bench.subscribe(View(reader()))
    await bench.clock.advance(0.1)
    assert told(first) == [("presence", ANN)]
    assert told(second).count(("presence", ANN)) == 1
    bench.publish(presence(BOB, "away"))
    await bench.clock.advance(0.1)
    assert told(first) == told(second) == [("presence", BOB)]


async def test_a_blocked_subscriber_gets_the_newest_of_each_person_once(bench: Bench) -> None:
    """What piled up is one frame per person, whatever happened meanwhile."""
    wire = await bench.synced(View(reader()))
    wire.stalled = True
    for state in ("away", "busy", "available", "do_not_disturb") * 5:
        bench.publish(presence(ANN, state), presence(BOB, state))
        await bench.clock.advance(0.01)
    assert len(wire.writes) == 2  # the first state, and the one that did not get through
    wire.flow()
    assert told(wire) == [("presence", ANN), ("presence", BOB)] * 2
    assert bench.hub.stats.superseded > 30


async def test_a_slow_reader_that_makes_progress_is_not_cut(bench: Bench) -> None:
    """15 seconds count from the last byte it took."""
    wire = await bench.synced(View(reader()))
    wire.stalled = True
    bench.publish(presence(ANN, "away"), presence(BOB, "away"))
    for _ in range(6):
        await bench.clock.advance(10.0)
        wire.trickle(20)
    assert bench.hub.subscribers == 1
    await bench.clock.advance(17.0)
    assert wire.aborted
    assert (bench.hub.stats.cut, bench.hub.subscribers) == (1, 0)


async def test_a_wide_view_is_sent_in_bounded_writes(bench: Bench) -> None:
    """Nobody has more than one batch of frames in user space, however many people there are."""
    names = {f"p{number:04}@example.com": () for number in range(1000)}
    bench.hub.set_directory(people(names))
    bench.publish(*(presence(name) for name in names))
    wire, stalled = Wire(bench.hub), Wire(bench.hub)
    stalled.stalled = True
    for each in (wire, stalled):
        bench.hub.subscribe(View(reader()), each)
    assert len(wire.events()) == 1001
    assert max(write.count(b"id: ") for write in wire.writes) == audience.BATCH
    assert len(stalled.writes) == 1
    bench.publish(*(presence(name, "away") for name in names))
    await bench.clock.advance(1.0)
    watchers = [Watcher(), Watcher()]
    watchers[0].hear(wire.events())
    assert max(write.count(b"id: ") for write in wire.writes) == audience.BATCH
    stalled.flow()
    watchers[1].hear(stalled.events())
    assert watchers[0].state == {name: watchers[1].state[name] for name in names}
    assert stalled.sent == b""


async def test_a_crowd_is_split_and_everybody_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One view with more subscribers than an audience holds is several audiences."""
    monkeypatch.setattr("gateway.web.gallery.CROWD", 4)
    wires = [await bench.synced(View(reader())) for _ in range(11)]
    bench.publish(presence(ANN, "away"))
    await bench.clock.advance(0.1)
    assert [told(wire) for wire in wires] == [[("presence", ANN)]] * 11
    assert len({id(wire.writes[-1]) for wire in wires}) == 3


class Ticking(FakeClock):
    """A clock on which everything takes time: each look at it is a millisecond later."""

    ticks = 0

    def monotonic(self) -> float:
        self.ticks += 1
        return self.ticks / 1000


async def test_a_long_flush_gives_way() -> None:
    """While hundreds of audiences are told, others on the loop get their turn every few milliseconds."""
    clock = Ticking()
    hub = Hub(clock, process="here", limits=Limits(), random=Random(1))
    hub.set_directory(people(DIRECTORY))
    hub.publish([presence(ANN)], 1)
    wires = []
    for number in range(200):
        wires.append(Wire(hub))
        hub.subscribe(View(reader(), (ANN, f"x{number}@example.com")), wires[-1])
        wires[-1].events()
    await asyncio.sleep(0)
    hub.publish([presence(ANN, "away")], 2)
    turns: list[int] = []
    while sum(bool(wire.sent) for wire in wires) < 200:
        turns.append(clock.ticks)
        await asyncio.sleep(0)
    assert len(turns) > 20
    assert max(after - before for before, after in pairwise(turns)) <= 20
    await hub.close(0.0)


async def test_gone_and_back_are_told_by_what_each_view_shows(bench: Bench) -> None:
    """Changing groups is `gone` for one view, a first frame for another, and nothing for a third."""
    sales = await bench.synced(View(reader(), None, ("sales",)))
    legal = await bench.synced(View(reader(Level.COLLEAGUE, "legal")))
    named = await bench.synced(view(ANN))
    bench.hub.set_directory(people({**DIRECTORY, ANN: ("legal",)}))
    await bench.clock.advance(0.1)
    assert told(sales) == [("gone", ANN)]
    assert told(legal) == [("presence", ANN)]
    assert told(named) == []
    bench.publish(presence(ANN, "away"))
    await bench.clock.advance(0.1)
    assert told(sales) == []
    assert told(legal) == told(named) == [("presence", ANN)]


async def test_somebody_removed_is_gone_everywhere_and_forgotten(bench: Bench) -> None:
    """Streams say `gone`, polls too, and no document is left."""
    wire = await bench.synced(view(ANN, BOB))
    before = bench.hub.snapshot(View(reader()), None)
    assert bench.hub.document(ANN, Level.SELF) is not None
    bench.hub.set_directory(people({name: DIRECTORY[name] for name in (BOB, EVE)}))
    await bench.clock.advance(0.1)
    assert told(wire) == [("gone", ANN)]
    after = bench.hub.snapshot(View(reader()), before.id)
    assert (after.gone, after.docs) == ([ANN], [])
    assert bench.hub.document(ANN, Level.SELF) is None
    bench.hub.set_directory(people(DIRECTORY))
    assert bench.hub.document(ANN, Level.SELF) is None
    assert bench.hub.snapshot(view(ANN), None).missing == [ANN]


async def test_nobody_learns_of_people_outside_the_view(bench: Bench) -> None:
    """A departure from what the reader never saw is not told, live or on resuming."""
    wire = await bench.synced(View(reader(Level.COLLEAGUE, "sales")))
    before = bench.hub.snapshot(View(reader(Level.COLLEAGUE, "sales")), None)
    bench.hub.set_directory(people({ANN: ("sales",), BOB: ("sales", "legal")}))
    await bench.clock.advance(0.1)
    assert told(wire) == []
    assert not bench.hub.snapshot(View(reader(Level.COLLEAGUE, "sales")), before.id).news


async def test_who_comes_later_appears_in_views_that_name_her(bench: Bench) -> None:
    """A stream may name people the directory does not know yet."""
    wire = await bench.synced(view(ANN, "new@example.com"))
    bench.hub.set_directory(people({**DIRECTORY, "new@example.com": ()}))
    await bench.clock.advance(0.1)
    assert told(wire) == []
    bench.publish(presence("new@example.com"))
    await bench.clock.advance(0.1)
    assert told(wire) == [("presence", "new@example.com")]


async def test_presence_known_before_the_directory_is_kept(bench: Bench) -> None:
    """It does not matter whether a new person is composed first or listed first."""
    wire = await bench.synced(View(reader()))
    bench.publish(presence("new@example.com"))
    await bench.clock.advance(0.1)
    assert told(wire) == []
    assert bench.hub.document("new@example.com", Level.SELF) is None
    bench.hub.set_directory(people({**DIRECTORY, "new@example.com": ()}))
    await bench.clock.advance(0.1)
    assert told(wire) == [("presence", "new@example.com")]


async def test_a_revoked_reader_is_ended_and_the_others_are_not(bench: Bench) -> None:
    """Readers who share a view share the bytes, but each is asked for itself."""
    wires = [Wire(bench.hub), Wire(bench.hub)]
    for name, wire in zip(("first", "second"), wires, strict=True):
        bench.hub.subscribe(View(reader(name=name)), wire, None, lambda who: who.name == "first")
    await bench.clock.advance(5.0)
    assert [wire.closed for wire in wires] == [False, True]
    assert (bench.hub.stats.revoked, bench.hub.subscribers) == (1, 1)


async def test_close_says_bye_and_spreads_the_ends(bench: Bench) -> None:
    """Everybody is told at once; the connections end one after another over the drain time; late ones at once."""
    wires = [bench.subscribe(View(reader())) for _ in range(10)]
    closing = asyncio.create_task(bench.hub.close(5.0))
    await bench.clock.settle()
    assert all(wire.sent.endswith(b"event: bye\ndata: {}\n\n") for wire in wires)
    closed: list[int] = []
    for _ in range(5):
        await bench.clock.advance(1.0)
        closed.append(sum(wire.closed for wire in wires))
    assert closed == [2, 4, 6, 8, 10]
    await closing
    late = bench.subscribe(View(reader()))
    assert late.closed
    assert bench.hub.subscribers == 0


async def test_a_hub_that_nobody_used_can_be_closed() -> None:
    """Nothing was started, so nothing is waited for."""
    bench = Bench()
    await bench.hub.close(5.0)


async def test_everything_about_a_subscriber_ends_with_it(bench: Bench) -> None:
    """After thousands of clients came and went nothing of them is left."""
    for _ in range(3):
        wires: Sequence[Wire] = [bench.subscribe(view(ANN, BOB)), bench.subscribe(View(reader(), None, ("legal",)))]
        wires[0].stalled = True
        bench.publish(presence(ANN, "away"), presence(EVE, "busy"))
        await bench.clock.advance(1.0)
        for wire in wires:
            wire.lose()
            wire.lose()
    assert bench.hub.subscribers == 0
    assert bench.hub._gallery.watching == 0
    assert list(bench.hub._gallery.audiences()) == []
    assert not any(bench.hub.watched(name) for name in DIRECTORY)


async def test_a_transport_that_closed_under_a_write_harms_nobody(bench: Bench) -> None:
    """uvloop raises RuntimeError between the end of a connection and the news of it."""
    broken, fine = await bench.synced(View(reader())), Wire(bench.hub)

    def refuse(data: bytes) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")

    subscriber = bench.hub.subscribe(View(reader()), fine)
    subscriber.audience.members[0].write = refuse
    fine.events()
    bench.publish(presence(ANN, "away"))
    await bench.clock.advance(30.0)
    assert told(fine) == [("presence", ANN)]
    assert broken.events() == []


async def test_a_fault_of_the_hub_itself_is_not_lost(bench: Bench) -> None:
    """A bug in delivery goes to the loop's handler of unhandled faults, by which the daemon falls and is restarted."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["exception"]))
    wire = await bench.synced(View(reader()))

    def fail(data: bytes) -> None:
        raise ZeroDivisionError

    assert wire._subscriber is not None
    wire._subscriber.write = fail
    bench.publish(presence(ANN, "away"))
    await bench.clock.advance(0.1)
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
    wire.lose()
