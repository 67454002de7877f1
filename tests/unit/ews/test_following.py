"""Following a server's calendars: groups, anchors, subscriptions, who comes and goes, and the end."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from gateway.errors import SourceUnavailable
from gateway.sources import HintKind
from gateway.sources.ews.notices import Notice
from gateway.sources.ews.soap import Refusal
from tests.calendars import denied, unavailable
from tests.unit.ews.notifications import Scene, following, people

ANN, BEN, CARLA = "ann@example.com", "ben@example.com", "carla@example.com"
STAFF = [ANN, BEN, CARLA]


def most_within(times: list[float], seconds: float) -> int:
    """The most events in any span of so many seconds."""
    return max(sum(start <= time < start + seconds for time in times) for start in times)


async def test_everybody_is_subscribed_by_groups_of_two_hundred_and_followed() -> None:
    """Each mailbox once, in three streams, each as its first address; everybody is read once the stream is open."""
    mailboxes = people(450)
    async with following(mailboxes) as scene:
        await scene.clock.advance(60)
        assert set(scene.exchange.asked_for.values()) == {1}
        assert len(scene.exchange.asked) == 450
        streams = sorted(scene.exchange.open, key=lambda stream: stream.anchor)
        assert [len(stream.subscriptions) for stream in streams] == [200, 200, 50]
        assert [stream.anchor for stream in streams] == [mailboxes[0], mailboxes[200], mailboxes[400]]
        assert all(scene.told(mailbox) == ["stream", "gap"] for mailbox in mailboxes)


async def test_a_group_keeps_to_its_anchor_and_the_first_cookie() -> None:
    """The anchor is asked first and alone; all others of the group name it and send the cookie it got."""
    mailboxes = people(250)
    async with following(mailboxes) as scene:
        scene.exchange.latency = 0.3
        await scene.clock.advance(60)
        for first, group in ((mailboxes[0], mailboxes[:200]), (mailboxes[200], mailboxes[200:])):
            assert scene.exchange.affinities[first] == (first, "")
            assert {scene.exchange.affinities[each] for each in group[1:]} == {(first, f"by-{first}~1")}
        assert {(stream.anchor, stream.cookie) for stream in scene.exchange.open} == {
            (mailboxes[0], f"by-{mailboxes[0]}~1"),
            (mailboxes[200], f"by-{mailboxes[200]}~1"),
        }


async def test_mailboxes_of_different_servers_never_share_a_stream() -> None:
    """Where somebody tells the servers, they are groups of their own."""
    async with following(STAFF, server_of=lambda mailbox: mailbox[0]) as scene:
        await scene.clock.advance(10)
        assert sorted(stream.anchor for stream in scene.exchange.open) == STAFF


async def test_subscriptions_are_made_ten_a_second_at_most() -> None:
    """With some jitter, over all groups together."""
    async with following(people(500)) as scene:
        await scene.clock.advance(60)
        times = [when for when, _ in scene.exchange.asked]
        assert len(times) == 500
        assert most_within(times, 10) <= 110
        assert min(later - earlier for earlier, later in pairwise(times)) >= 0.049
        assert len({round(later - earlier, 3) for earlier, later in pairwise(times)}) > 20


async def test_news_is_one_hint_for_the_mailbox_it_is_about() -> None:
    """And nothing for its neighbours."""
    async with following(STAFF) as scene:
        await scene.clock.advance(5)
        scene.hints.clear()
        scene.exchange.change(BEN)
        await scene.clock.advance(0)
        assert [hint.mailbox for _, hint in scene.hints] == [BEN]
        assert scene.told(BEN) == ["changed"]


async def test_a_mailbox_that_refuses_is_polled_and_tried_again_every_hour() -> None:
    """It says why; the others are followed meanwhile; once it is allowed it joins, and the group is reopened once."""
    async with following(STAFF) as scene:
        scene.exchange.refusing[BEN] = denied(BEN)
        await scene.clock.advance(60)
        assert scene.told(BEN) == ["poll permission.denied"]
        assert scene.modes() == {"stream": 2, "poll permission.denied": 1}
        await scene.clock.advance(3 * 3600)
        assert 3 <= scene.exchange.asked_for[BEN] <= 4
        assert len(scene.exchange.connections) == 1
        del scene.exchange.refusing[BEN]
        await scene.clock.advance(3600 * 1.2)
        assert scene.told(BEN) == ["poll permission.denied", "stream", "gap"]
        assert len(scene.exchange.connections) == 2


async def test_an_operator_need_not_wait_for_the_hour() -> None:
    """A poke of the roster tries again at once whatever was refused."""
    async with following(STAFF) as scene:
        scene.exchange.refusing[BEN] = denied(BEN)
        await scene.clock.advance(60)
        del scene.exchange.refusing[BEN]
        scene.roster.poke()
        await scene.clock.advance(5)
        assert scene.modes() == {"stream": 3}


async def test_whoever_begins_to_share_a_mailbox_is_told_how_it_is_followed() -> None:
    """The set of mailboxes is the same then, and nothing is subscribed; but the roster has changed."""
    async with following(STAFF) as scene:
        await scene.clock.advance(60)
        scene.hints.clear()
        scene.roster.poke()
        await scene.clock.advance(2)
        assert scene.told(ANN) == ["stream"]
        assert len(scene.exchange.asked) == 3
        assert len(scene.exchange.connections) == 1


async def test_a_mailbox_under_way_to_another_server_is_tried_again_in_minutes() -> None:
    """A failure that passes by itself waits 1, 2, 4 … 15 minutes."""
    async with following(STAFF) as scene:
        scene.exchange.refusing[BEN] = unavailable("mailbox.moved")
        await scene.clock.advance(3600)
        times = [when for when, mailbox in scene.exchange.asked if mailbox == BEN]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert 50 <= gaps[0] <= 62
        assert 100 <= gaps[1] <= 122
        assert max(gaps) <= 902


async def test_an_anchor_that_refuses_is_replaced() -> None:
    """At the first subscription as later on the stream: the next address in order stands for the group."""
    async with following(STAFF) as scene:
        scene.exchange.refusing[ANN] = denied(ANN)
        await scene.clock.advance(60)
        assert [stream.anchor for stream in scene.exchange.open] == [BEN]
        scene.exchange.refusing[BEN] = denied(BEN)
        scene.exchange.open[0].say(Notice(closed=True, refusal=Refusal("ErrorImpersonateUserDenied")))
        await scene.clock.advance(10)
        assert [(stream.anchor, len(stream.subscriptions)) for stream in scene.exchange.open] == [(CARLA, 1)]
        assert scene.modes() == {"stream": 1, "poll permission.denied": 2}


async def test_who_comes_and_goes_touches_one_group_once() -> None:
    """Several changes within a second are one; who left is unsubscribed and never heard of again."""
    mailboxes = people(400)
    async with following(mailboxes) as scene:
        await scene.clock.advance(60)
        first = next(stream for stream in scene.exchange.open if stream.anchor == mailboxes[0])
        second = next(stream for stream in scene.exchange.open if stream.anchor == mailboxes[200])
        await scene.clock.advance(5)
        scene.hints.clear()
        for gone in (mailboxes[250], mailboxes[300], mailboxes[350]):
            mailboxes.remove(gone)
            scene.employs(mailboxes)
            await scene.clock.advance(0.2)
        scene.employs([*mailboxes, ANN])
        await scene.clock.advance(2)
        scene.exchange.change("p00300@example.com")
        await scene.clock.advance(10)
        assert first.open
        assert not second.open
        assert len(scene.exchange.connections) <= 4
        assert sorted(scene.exchange.ended) == ["p00250@example.com", "p00300@example.com", "p00350@example.com"]
        assert scene.told("p00300@example.com") == []
        assert scene.told(ANN) == ["stream", "gap"]
        assert {hint.mailbox for _, hint in scene.hints} <= {*mailboxes[200:], ANN}


async def test_the_stream_goes_on_while_a_newcomer_is_being_subscribed() -> None:
    """It is only replaced when there is something to replace it with."""
    async with following(STAFF) as scene:
        await scene.clock.advance(10)
        scene.exchange.latency = 20.0
        scene.employs([*STAFF, "dan@example.com"])
        await scene.clock.advance(15)
        assert len(scene.exchange.connections) == 1
        scene.exchange.change(ANN)
        await scene.clock.advance(0)
        assert scene.told(ANN)[-1] == "changed"
        await scene.clock.advance(15)
        assert len(scene.exchange.connections) == 2
        assert scene.told("dan@example.com") == ["stream", "gap"]
        assert scene.told(ANN)[-1] == "gap"


async def test_when_the_anchor_leaves_another_takes_its_place_and_the_cookie_stays() -> None:
    """Nobody else is subscribed again."""
    async with following(STAFF) as scene:
        await scene.clock.advance(10)
        scene.employs([BEN, CARLA])
        await scene.clock.advance(10)
        (stream,) = scene.exchange.open
        assert (stream.anchor, stream.cookie) == (BEN, f"by-{ANN}~1")
        assert len(scene.exchange.asked) == 3
        assert scene.exchange.ended == [ANN]


async def test_a_mailbox_whose_subscription_breaks_the_connection_does_not_hold_up_the_others() -> None:
    """It is tried again later; its group is followed without it."""
    async with following(people(30)) as scene:
        original = scene.exchange.subscribe

        async def poisoned(mailbox: str, affinity: object) -> str:
            if mailbox == "p00003@example.com":
                raise SourceUnavailable("cut", code="net.reset")
            return await original(mailbox, affinity)  # type: ignore[arg-type]

        scene.exchange.subscribe = poisoned  # type: ignore[method-assign]
        await scene.clock.advance(120)
        assert scene.modes() == {"stream": 29, "poll net.reset": 1}


async def test_slow_subscriptions_are_followed_before_the_last_one_is_made() -> None:
    """A subscription waits a minute for its group, not longer: servers forget those nobody listens to."""
    async with following(people(200)) as scene:
        scene.exchange.latency = 2.0
        await scene.clock.advance(70)
        assert len(scene.exchange.open) == 1
        assert 50 <= scene.modes()["stream"] <= 75
        await scene.clock.advance(400)
        assert scene.modes() == {"stream": 200}
        assert len(scene.exchange.connections) <= 5


async def stopped(scene: Scene) -> float:
    """Stop as the gateway does; the seconds that took."""
    before = scene.clock.monotonic()
    closing = asyncio.create_task(scene.following.close())
    while not closing.done():
        await scene.clock.advance(0.1)
    closing.result()
    return scene.clock.monotonic() - before


async def test_stopping_ends_every_subscription() -> None:
    """Side by side on all lanes, and quickly."""
    async with following(people(50)) as scene:
        await scene.clock.advance(30)
    scene.exchange.latency = 0.05
    assert await stopped(scene) <= 1.0
    assert scene.exchange.subscribed == {}
    assert sorted(scene.exchange.ended) == people(50)


@pytest.mark.parametrize("trouble", ["slow", "gone"])
async def test_stopping_takes_five_seconds_at_most(trouble: str) -> None:
    """What is left ends by itself, and a server that is gone is not asked again and again."""
    async with following(people(50)) as scene:
        await scene.clock.advance(30)
    if trouble == "slow":
        scene.exchange.latency = 3.0
    else:
        scene.exchange.failure = unavailable("net.refused")
    assert await stopped(scene) <= (5.2 if trouble == "slow" else 0.2)
    assert len(scene.exchange.ended) <= 8


async def test_a_flood_of_notifications_is_cheap_to_pass_on() -> None:
    """A thousand envelopes are a thousand hints and nothing else: coalescing is the business of who reads."""
    async with following(STAFF) as scene:
        await scene.clock.advance(10)
        for _ in range(1000):
            scene.exchange.change(ANN)
        await scene.clock.advance(0)
        assert len(scene.times(HintKind.CHANGED, ANN)) == 1000
        assert len(scene.exchange.connections) == 1
