"""CalendarSource: what hints do, and how mailboxes with notifications are read."""

import asyncio
from itertools import pairwise

from gateway.errors import SourceUnavailable
from gateway.sources import Hint, HintKind
from tests.calendars import unavailable
from tests.unit.sources.office import running


async def test_a_hint_during_a_read_is_not_lost() -> None:
    """What changes while the answer is on its way is read once more."""
    async with running(["ann"]) as office:
        await office.clock.advance(30)
        office.calendar.latency = 1.0
        office.calendar.hints.put_nowait(Hint(HintKind.CHANGED, "box-ann"))
        await office.clock.advance(0.5)
        office.calendar.hints.put_nowait(Hint(HintKind.CHANGED, "box-ann"))
        before = len(office.reads("ann"))
        await office.clock.advance(2)
        assert len(office.reads("ann")) == before + 1


async def test_a_hint_survives_an_outage() -> None:
    """A read that answers a hint and fails is repeated as soon as the server is back."""
    async with running(["ann"]) as office:
        office.calendar.hints.put_nowait(Hint(HintKind.STREAM, "box-ann"))
        await office.clock.advance(30)
        office.calendar.failure = unavailable("net.reset")
        office.calendar.hints.put_nowait(Hint(HintKind.CHANGED, "box-ann"))
        await office.clock.advance(20)
        back, office.calendar.failure = office.clock.now(), None
        await office.clock.advance(61)
        assert office.report.read_at["ann"] >= back


async def test_a_gap_is_read_whatever_the_coalescing_says() -> None:
    """We may have missed something: the mailbox is read at once even with an empty bucket."""
    async with running(["ann"]) as office:
        await office.clock.advance(30)
        for _ in range(3):
            office.calendar.hints.put_nowait(Hint(HintKind.CHANGED, "box-ann"))
            await office.clock.advance(0.1)
        before = len(office.reads("ann"))
        office.calendar.hints.put_nowait(Hint(HintKind.GAP, "box-ann"))
        await office.clock.advance(0.1)
        assert len(office.reads("ann")) == before + 1


async def test_followed_mailboxes_are_only_reconciled_and_polled_again_when_the_stream_is_gone() -> None:
    """With notifications even a watched mailbox is read every 300 s ± 30 s; without them every minute again."""
    async with running(["ann"], watched=["ann"]) as office:
        office.calendar.hints.put_nowait(Hint(HintKind.STREAM, "box-ann"))
        await office.clock.advance(3600)
        assert office.source.mailbox_health()[0].mode == "stream"
        gaps = [later - earlier for earlier, later in pairwise(office.reads("ann")[2:])]
        assert all(240 <= gap <= 331 for gap in gaps), gaps
        office.calendar.hints.put_nowait(Hint(HintKind.POLL, "box-ann", "subscription.lost"))
        await office.clock.advance(3)
        health = office.source.mailbox_health()[0]
        assert (health.mode, health.mode_code) == ("poll", "subscription.lost")
        office.calendar.calls.clear()
        await office.clock.advance(600)
        assert len(office.reads("ann")) >= 9


async def test_a_followed_mailbox_is_confirmed_long_before_its_truth_is_stale() -> None:
    """Confirmed truth is a healthy stream and the last sweep: for hours no confirmation is older than 330 s."""
    async with running(["ann", "bob"]) as office:
        for person in ("ann", "bob"):
            office.calendar.hints.put_nowait(Hint(HintKind.STREAM, f"box-{person}"))
        await office.clock.advance(60)
        for hour in range(8):
            office.calendar.hints.put_nowait(Hint(HintKind.CHANGED, "box-ann"))
            await office.clock.advance(3600 + hour * 37)
        for person in ("ann", "bob"):
            seen = [when for when, read in office.report.reports if person in read]
            gaps = [(later - earlier).total_seconds() for earlier, later in pairwise([*seen, office.clock.now()])]
            assert max(gaps) <= 330.1, max(gaps)


async def test_a_mode_says_since_when_and_why() -> None:
    """Polled from the assignment on, followed, polled for a reason; a reason may change without the mode."""
    async with running(["ann"]) as office:

        def told() -> tuple[str, str, object]:
            (health,) = office.source.mailbox_health()
            return health.mode, health.mode_code, health.mode_since

        begun = office.clock.now()
        assert told() == ("poll", "", begun)
        await office.clock.advance(30)
        followed = office.clock.now()
        office.calendar.hints.put_nowait(Hint(HintKind.STREAM, "box-ann"))
        await office.clock.advance(30)
        assert told() == ("stream", "", followed)
        lost = office.clock.now()
        office.calendar.hints.put_nowait(Hint(HintKind.POLL, "box-ann", "net.reset"))
        await office.clock.advance(30)
        office.calendar.hints.put_nowait(Hint(HintKind.POLL, "box-ann", "permission.denied"))
        await office.clock.advance(0)
        assert told() == ("poll", "permission.denied", lost)


async def test_when_following_fails_as_a_whole_everybody_is_polled_for_that_reason() -> None:
    """Also those who never had a stream."""
    async with running(["ann", "bob"]) as office:
        office.calendar.hints.put_nowait(Hint(HintKind.STREAM, "box-ann"))
        office.calendar.hints.put_nowait(SourceUnavailable("no streams", code="server.version_unsupported"))
        await office.clock.advance(1)
        assert {(each.mode, each.mode_code) for each in office.source.mailbox_health()} == {
            ("poll", "server.version_unsupported")
        }


async def test_a_gap_costs_no_token() -> None:
    """What is read because something may have been missed does not slow the next notification down."""
    async with running(["ann"]) as office:
        await office.clock.advance(30)
        for _ in range(3):
            office.calendar.hints.put_nowait(Hint(HintKind.GAP, "box-ann"))
            await office.clock.advance(0.1)
        before = len(office.reads("ann"))
        for _ in range(2):
            office.calendar.hints.put_nowait(Hint(HintKind.CHANGED, "box-ann"))
            await office.clock.advance(0.1)
        assert len(office.reads("ann")) == before + 2


async def test_retry_now_wakes_whoever_follows() -> None:
    """The backend learns of it by the roster, though nobody came or went."""
    async with running(["ann"]) as office:
        await office.clock.advance(1)
        waiting = asyncio.create_task(office.source._roster.changed())
        await office.clock.advance(10)
        assert not waiting.done()
        await office.source.retry()
        await office.clock.advance(0)
        assert waiting.done()


async def test_a_failing_stream_is_followed_again_and_polled_meanwhile() -> None:
    """When the iterator of hints fails its mailboxes are polled, and it is started again after a back-off."""
    async with running(["ann"], watched=["ann"]) as office:
        office.calendar.hints.put_nowait(Hint(HintKind.STREAM, "box-ann"))
        await office.clock.advance(10)
        office.calendar.hints.put_nowait(SourceUnavailable("stream broke", code="net.reset"))
        await office.clock.advance(0.1)
        assert office.source.mailbox_health()[0].mode == "poll"
        await office.clock.advance(60)
        assert len(office.calendar.followed) == 2
        assert len(office.events("source.follow.failed")) == 1


async def test_a_server_that_only_polls_is_not_followed_again() -> None:
    """An iterator that ends at once is not started a second time."""
    async with running() as office:
        office.calendar.follows = False
        office.employs(["ann"])
        await office.clock.advance(600)
        assert len(office.calendar.followed) == 1
        assert office.health("ann") == "ok"
