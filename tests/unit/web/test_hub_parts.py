"""The hub's parts: frames, views, ids, and the one timer for all heartbeats."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from gateway.core.model import Level, Person
from gateway.web import frames
from gateway.web.audience import Audience, Subscriber
from gateway.web.hub import Hub, View
from gateway.web.ports import Limits
from gateway.web.pulse import Pulse
from gateway.web.views import StreamId
from tests.clock import FakeClock
from tests.watchers import Wire, parse, people, reader


def test_a_frame_is_one_event_behind_any_prefix() -> None:
    """The prefix completes the id; the grammar of event streams finds exactly one event."""
    made = b"id: p.v." + frames.frame(12, 34, "presence", b'{"person":"x"}')
    events, rest = parse(made)
    assert rest == b""
    assert [(event.name, event.id, event.data) for event in events] == [("presence", "p.v.12.34", b'{"person":"x"}')]


@pytest.mark.parametrize("body", [b"a\nb", b"a\rb", b"x" * frames.FRAME_CAP])
def test_a_body_that_could_break_the_stream_is_refused(body: bytes) -> None:
    """Line breaks and frames over 16 KiB never reach a subscriber."""
    with pytest.raises(ValueError, match="frame"):
        frames.frame(1, 1, "presence", body)


def test_a_name_with_line_breaks_stays_inside_its_data() -> None:
    """JSON escapes what would end a line, so no id can forge an event."""
    made = frames.gone(1, 1, "x\n\nevent: presence\ndata: {}\n\n@example.com")
    assert made.count(b"\n\n") == 1
    assert json.loads(made.partition(b"data: ")[2])["person"].startswith("x\n\nevent")


def test_retry_times_are_spread_over_2_to_6_seconds() -> None:
    """Clients that lost the same server do not come back in the same second."""
    random = Random(3)
    waits = {int(frames.retry(random).removeprefix(b"retry: ")) for _ in range(300)}
    assert min(waits) >= 2_000
    assert max(waits) <= 6_000
    assert len(waits) > 250


def test_a_view_has_another_key_when_anything_about_it_differs() -> None:
    """Filter, level, visibility: an id of one view is never mistaken for another's."""
    views = [
        View(reader()),
        View(reader(), ()),
        View(reader(), ("ann@example.com",)),
        View(reader(), ("ann@example.com", "bob@example.com")),
        View(reader(), None, ("ann@example.com",)),
        View(reader(), None, ("sales",)),
        View(reader(), None, ("sales", "legal")),
        View(reader(Level.LIMITED)),
        View(reader(Level.COLLEAGUE, "sales")),
        View(reader(person="ann@example.com")),
    ]
    assert len({view.key for view in views}) == len(views)


def test_a_view_has_the_same_key_for_the_same_question() -> None:
    """Order, repetition and who asks do not matter, nor does the process that answers."""
    one = View(reader(name="one"), ("a@example.com", "b@example.com"), ("x", "y"))
    other = View(reader(name="other"), ("b@example.com", "a@example.com", "b@example.com"), ("y", "x"))
    assert one.key == other.key
    assert View(reader()).key == "cffac1083baa"


def test_a_view_shows_whom_it_names_as_far_as_the_reader_sees_them() -> None:
    """Named people and members of groups, cut down to the reader's own groups and person."""
    directory = people({"a": ("sales",), "b": ("legal",), "c": (), "d": ("sales", "legal")})
    sales = reader(Level.COLLEAGUE, "sales", person="c")
    assert View(reader()).members(directory) == ("a", "b", "c", "d")
    assert View(sales).members(directory) == ("a", "c", "d")
    assert View(sales, ("b", "c", "x")).members(directory) == ("c",)
    assert View(sales, ("a",), ("legal",)).members(directory) == ("a", "d")
    assert View(reader(), ()).members(directory) == ()
    for view in (View(reader()), View(sales), View(sales, ("b", "c", "x")), View(sales, ("a",), ("legal",))):
        admitted = tuple(person.id for person in directory.everybody() if view.admits(person))
        assert admitted == view.members(directory)
    assert not View(sales).admits(Person("x", groups=("legal",)))


def test_ids_are_read_back_and_nothing_else_is() -> None:
    """A client's id is text from outside: what is not exactly one of ours is none."""
    known = StreamId("p-1_x", "0123456789ab", 12, 7)
    assert StreamId.parse(str(known)) == known
    for text in ("", ".", "p.0123456789ab.1", "p.0123456789ab.1.2.3", "p.0123456789ab.\u0661.2", "p.x.1.2"):
        assert StreamId.parse(text) is None
    for text in ("p.0123456789ab.1.2\n", " p.0123456789ab.1.2", "p.0123456789ab.-1.2", f"p.0123456789ab.{'9' * 30}.1"):
        assert StreamId.parse(text) is None


def subscribers(number: int) -> list[Subscriber]:
    hub = Hub(FakeClock(), process="here", limits=Limits(), random=Random(1))
    audience = Audience(View(reader()), [], 0, "here")
    return [Subscriber(audience, reader(), Wire(hub), None) for _ in range(number)]


def test_heartbeats_come_every_20_seconds_give_or_take_a_fifth() -> None:
    """One timer serves all, no two beats of one subscriber are further apart, and they do not fall together."""
    pulse, all_of_them = Pulse(Random(5), 20.0), subscribers(200)
    for subscriber in all_of_them:
        pulse.add(subscriber)
    last = dict.fromkeys(all_of_them, 0)
    gaps: Counter[int] = Counter()
    for beat in range(1, 400):
        for subscriber in pulse.beat()[0]:
            gaps[beat - last[subscriber]] += 1
            last[subscriber] = beat
    assert pulse.period == 1.0
    assert set(gaps) == set(range(16, 25))
    assert max(gaps.values()) < 2 * min(gaps.values())


def test_everybody_is_checked_within_five_beats() -> None:
    """A right that was withdrawn is noticed within 5 s, whoever has it."""
    pulse, all_of_them = Pulse(Random(5), 20.0), subscribers(50)
    for subscriber in all_of_them:
        pulse.add(subscriber)
    checked = [subscriber for _ in range(4) for subscriber in pulse.beat()[1]]
    assert len(checked) == 50
    assert set(checked) == set(all_of_them)


def test_who_left_has_no_heartbeat() -> None:
    """The timer keeps nothing of a subscriber that is gone, and forgetting it twice is nothing."""
    pulse, (stays, leaves) = Pulse(Random(5), 20.0), subscribers(2)
    pulse.add(stays)
    pulse.add(leaves)
    pulse.discard(leaves)
    pulse.discard(leaves)
    seen = {subscriber for _ in range(30) for group in pulse.beat() for subscriber in group}
    assert seen == {stays}
