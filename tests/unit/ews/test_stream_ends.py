"""What each way in which a stream can end means, and what is done about it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.model import Block, Busy, Schedule
from gateway.errors import SourceDenied
from gateway.sources import HintKind
from gateway.sources.ews.following import one_server
from gateway.sources.ews.notices import Notice
from gateway.sources.ews.soap import Refusal
from tests.calendars import at, unavailable
from tests.unit.ews.notifications import SETTINGS, Scene, following, people

ANN, BEN, CARLA = "ann@example.com", "ben@example.com", "carla@example.com"
STAFF = [ANN, BEN, CARLA]


def most_within(times: list[float], seconds: float) -> int:
    """The most events in any span of so many seconds."""
    return max(sum(start <= time < start + seconds for time in times) for start in times)


async def test_the_regular_end_of_a_connection_loses_nothing() -> None:
    """The ids live on: another connection carries the same, within two seconds, and what happened between is told."""
    async with following(STAFF) as scene:
        await scene.clock.advance(1800)
        scene.hints.clear()
        (stream,) = scene.exchange.open
        stream.say(Notice(closed=True))
        await scene.clock.advance(0)
        scene.exchange.change(CARLA)
        await scene.clock.advance(2)
        (after,) = scene.exchange.open
        assert after.subscriptions == stream.subscriptions
        assert len(scene.exchange.asked) == 3
        assert [(hint.mailbox, hint.kind) for _, hint in scene.hints] == [(CARLA, HintKind.CHANGED)]


async def test_ids_of_a_lost_connection_are_never_used_again() -> None:
    """A server that began anew gives them to others: everybody is polled, subscribed once more, followed and read."""
    async with following(STAFF) as scene:
        await scene.clock.advance(60)
        before = set(scene.exchange.subscribed)
        scene.hints.clear()
        scene.exchange.restart(unavailable("net.reset"))
        scene.exchange.subscribed |= dict.fromkeys(before, "stranger@example.com")  # whoever was quicker
        scene.exchange._made = 3
        await scene.clock.advance(10)
        (stream,) = scene.exchange.open
        assert not before & set(stream.subscriptions)
        for mailbox in STAFF:
            assert scene.told(mailbox) == ["poll net.reset", "gap", "stream", "gap"]
            assert scene.exchange.asked_for[mailbox] == 2


@pytest.mark.parametrize("end", ["hang-up", "silence", "flood"])
async def test_every_unexpected_end_is_a_loss(end: str) -> None:
    """A body that just ends, a watchdog that barked, a limit that was exceeded."""
    errors = {
        "hang-up": None,
        "silence": unavailable("subscription.silent"),
        "flood": unavailable("http.body_too_large"),
    }
    async with following(STAFF) as scene:
        await scene.clock.advance(60)
        scene.exchange.open[0].say(errors[end])
        await scene.clock.advance(10)
        error = errors[end]
        code = error.code if error is not None else "subscription.lost"
        assert scene.told(ANN) == ["stream", "gap", f"poll {code}", "gap", "stream", "gap"]
        assert scene.exchange.asked_for[ANN] == 2


async def test_a_broken_stream_does_not_touch_the_neighbours() -> None:
    """The other groups' streams stay open, and nothing is told or asked of their mailboxes."""
    mailboxes = people(600)
    async with following(mailboxes) as scene:
        await scene.clock.advance(90)
        middle = next(stream for stream in scene.exchange.open if stream.anchor == mailboxes[200])
        others = [stream for stream in scene.exchange.open if stream is not middle]
        scene.hints.clear()
        middle.say(unavailable("net.reset"))
        await scene.clock.advance(60)
        assert all(stream.open for stream in others)
        assert len(scene.exchange.connections) == 4
        assert {hint.mailbox for _, hint in scene.hints} == set(mailboxes[200:400])
        assert len(scene.exchange.asked) == 800


async def test_one_forgotten_subscription_costs_one_subscription() -> None:
    """The rest is followed again within two seconds, and read, for the connection had ended; the bad one joins."""
    async with following(people(20)) as scene:
        await scene.clock.advance(60)
        (stream,) = scene.exchange.open
        bad = scene.exchange.forget("p00007@example.com")
        stream.say(Notice(closed=True, refusal=Refusal("ErrorSubscriptionNotFound"), bad=tuple(bad)))
        asked, now = len(scene.exchange.asked), scene.clock.monotonic()
        await scene.clock.advance(5)
        assert len(scene.exchange.asked) == asked + 1
        assert scene.told("p00007@example.com")[2:] == ["poll subscription.lost", "gap", "stream", "gap"]
        assert scene.told("p00001@example.com")[2] == "gap"
        assert scene.exchange.connections[1].at <= now + 2
        (last,) = scene.exchange.open
        assert len(last.subscriptions) == 20


async def test_when_most_subscriptions_are_forgotten_the_group_begins_anew() -> None:
    """Then the server it led to is the wrong one: the cookie is thrown away, and everybody subscribed again."""
    async with following(people(20)) as scene:
        await scene.clock.advance(60)
        (stream,) = scene.exchange.open
        bad = scene.exchange.forget(*people(11))
        stream.say(Notice(closed=True, refusal=Refusal("ErrorSubscriptionNotFound"), bad=tuple(bad)))
        await scene.clock.advance(10)
        assert set(scene.exchange.asked_for.values()) == {2}
        assert scene.exchange.affinities["p00000@example.com"] == ("p00000@example.com", "")
        assert scene.modes() == {"stream": 20}


@pytest.mark.parametrize("code", ["ErrorMissedNotificationEvents", "ErrorReadEventsFailed", "ErrorEventNotFound"])
async def test_missed_events_mean_new_subscriptions_and_a_read(code: str) -> None:
    """Without the old ones; whoever is not named is not trusted either."""
    async with following(STAFF) as scene:
        await scene.clock.advance(60)
        scene.exchange.open[0].say(Notice(closed=True, refusal=Refusal(code)))
        await scene.clock.advance(10)
        assert set(scene.exchange.asked_for.values()) == {2}
        assert scene.told(BEN)[2:] == ["poll subscription.missed_events", "gap", "stream", "gap"]


async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks() -> None:
    """No subscription is made meanwhile, and nobody is blamed."""
    async with following(people(20)) as scene:
        await scene.clock.advance(1)
        scene.exchange.failure = unavailable("server.throttled", 30.0)
        await scene.clock.advance(0.2)
        asked = len(scene.exchange.asked)
        scene.exchange.failure = None
        await scene.clock.advance(25)
        assert len(scene.exchange.asked) <= asked + 1
        await scene.clock.advance(35)
        assert scene.modes() == {"stream": 20}


@pytest.mark.parametrize(
    ("code", "told"),
    [("ErrorServerBusy", "server.throttled"), ("ErrorExceededConnectionCount", "subscription.limit")],
)
async def test_a_stream_that_is_turned_away_keeps_its_subscriptions(code: str, told: str) -> None:
    """They are polled until there is room, tried ever more rarely, and read when it is open."""
    async with following(STAFF) as scene:
        await scene.clock.advance(60)
        scene.exchange.turned_away = Refusal(code)
        scene.exchange.open[0].say(Notice(closed=True))
        await scene.clock.advance(600)
        assert scene.modes() == {f"poll {told}": 3}
        assert len(scene.exchange.connections) <= 40
        scene.exchange.turned_away = None
        await scene.clock.advance(900)
        assert scene.told(ANN)[-2:] == ["stream", "gap"]
        assert len(scene.exchange.asked) == 3


async def test_a_server_that_is_away_for_half_an_hour_is_knocked_at_and_comes_back_without_a_storm() -> None:
    """At most one knock every few seconds, and then ten subscriptions a second until all are followed."""
    async with following(people(1000)) as scene:
        await scene.clock.advance(150)
        scene.exchange.failure = scene.exchange.unreachable = unavailable("net.refused")
        scene.exchange.restart(unavailable("net.reset"))
        await scene.clock.advance(60)
        assert not scene.modes()["stream"]
        before = len(scene.exchange.asked)
        await scene.clock.advance(1740)
        assert len(scene.exchange.asked) - before <= 150
        assert len(scene.exchange.connections) == 5
        scene.exchange.failure = scene.exchange.unreachable = None
        back = scene.clock.monotonic()
        await scene.clock.advance(300)
        assert scene.modes() == {"stream": 1000}
        times = [when for when, _ in scene.exchange.asked if when >= back]
        assert len(times) <= 1010
        assert most_within(times, 10) <= 110
        assert len(scene.exchange.connections) == 10


async def test_a_connection_that_ends_at_once_again_and_again_is_opened_ever_more_rarely() -> None:
    """Whether it ends well or not; and meanwhile everybody is polled."""
    async with following(STAFF) as scene:
        await scene.clock.advance(60)
        for _ in range(3600):
            for stream in scene.exchange.open:
                stream.say(Notice(closed=True))
            await scene.clock.advance(1)
        assert len(scene.exchange.connections) <= 60
        assert len(scene.exchange.asked) == 3
        assert "poll subscription.lost" in scene.told(ANN)
        for _ in range(3600):
            for stream in scene.exchange.open:
                stream.say(unavailable("net.reset"))
            await scene.clock.advance(1)
        assert len(scene.exchange.connections) <= 120
        assert len(scene.exchange.asked) <= 200


async def test_an_id_given_twice_unmasks_a_server_that_began_anew() -> None:
    """Whoever held it before has lost it: that group begins anew as well."""
    async with following(STAFF, server_of=lambda mailbox: mailbox[0]) as scene:
        await scene.clock.advance(30)
        scene.exchange.open[0].say(Notice(closed=True))
        scene.exchange._made = 0
        scene.employs([*STAFF, "clio@example.com"])
        await scene.clock.advance(30)
        assert scene.modes()["stream"] == 4
        carried = [each for stream in scene.exchange.open for each in stream.subscriptions]
        assert len(carried) == len(set(carried)) == 4
        assert scene.exchange.asked_for[ANN] == 2


async def test_a_refusal_only_a_person_can_mend_ends_following() -> None:
    """A wrong password, a certificate: the source above decides when to begin anew."""
    async with following(STAFF) as scene:
        await scene.clock.advance(10)
        scene.exchange.failure = SourceDenied("refused", code="auth.rejected")
        scene.employs([*STAFF, "dan@example.com"])
        await scene.clock.advance(10)
        assert scene.ended is scene.exchange.failure
        assert scene.exchange.open == []


async def test_a_bug_is_not_swallowed() -> None:
    """Whatever is no SourceError comes out of the hints."""
    scene = Scene(SETTINGS, one_server)
    scene.employs(STAFF)
    scene.exchange.failure = ZeroDivisionError("bug")  # type: ignore[assignment]
    task = asyncio.create_task(scene.listen())
    await scene.clock.advance(5)
    with pytest.raises(ExceptionGroup) as caught:
        await task
    assert caught.group_contains(ZeroDivisionError)


def seen(scene: Scene, mailbox: str, hour: int) -> None:
    """A read, begun now, that finds a meeting at that hour."""
    schedule = Schedule(at(0), at(0, day=22), (Block(at(hour), at(hour + 1), Busy.BUSY),))
    scene.following.read([mailbox], [schedule], scene.clock.monotonic())


async def test_a_subscription_that_tells_nothing_is_replaced_and_then_not_relied_on() -> None:
    """A read finds news nobody told of: another subscription is made; when that is as mute, the mailbox is polled."""
    async with following(STAFF) as scene:
        await scene.clock.advance(60)
        seen(scene, ANN, 10)
        await scene.clock.advance(300)
        seen(scene, ANN, 11)
        await scene.clock.advance(40)
        assert scene.told(ANN)[2:] == ["poll subscription.silent", "gap", "stream", "gap"]
        assert scene.exchange.asked_for[ANN] == 2
        seen(scene, ANN, 11)
        await scene.clock.advance(300)
        seen(scene, ANN, 12)
        await scene.clock.advance(600)
        assert scene.told(ANN)[-2:] == ["poll subscription.silent", "gap"]
        assert scene.modes() == {"stream": 2, "poll subscription.silent": 1}
        await scene.clock.advance(4000)
        assert scene.modes() == {"stream": 3}


async def test_news_that_comes_a_little_late_or_was_told_makes_no_doubt() -> None:
    """A read may be quicker than the notification, and most reads find nothing new or what was told."""
    async with following(STAFF) as scene:
        await scene.clock.advance(60)
        seen(scene, ANN, 10)
        await scene.clock.advance(300)
        seen(scene, ANN, 10)
        await scene.clock.advance(300)
        seen(scene, ANN, 11)
        await scene.clock.advance(20)
        scene.exchange.change(ANN)
        await scene.clock.advance(300)
        scene.exchange.change(BEN)
        seen(scene, BEN, 10)
        await scene.clock.advance(5)
        seen(scene, BEN, 11)
        await scene.clock.advance(60)
        assert scene.modes() == {"stream": 3}
        assert len(scene.exchange.asked) == 3


async def test_many_silent_subscriptions_of_a_group_are_replaced_together_and_once() -> None:
    """A server that lost them all is noticed; free/busy times that went wrong everywhere cause no storm."""
    mailboxes = people(60)
    async with following(mailboxes) as scene:
        await scene.clock.advance(60)
        for hour in range(10, 14):
            for mailbox in mailboxes:
                seen(scene, mailbox, hour)
            await scene.clock.advance(100)
        assert max(scene.exchange.asked_for.values()) <= 3
        assert len(scene.exchange.asked) <= 60 + 1 + 60
        assert len(scene.exchange.connections) <= 5
        assert scene.modes() == {"stream": 60}
