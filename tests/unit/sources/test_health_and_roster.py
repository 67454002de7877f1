"""The small parts around CalendarSource: log lines, roster, waiting."""

import asyncio
import logging
from random import Random

import pytest
from structlog.testing import capture_logs

from gateway.sources.health import Journal, structured
from gateway.sources.pacing import Plan
from gateway.sources.roster import Roster
from gateway.sources.timing import until, within
from tests.clock import FakeClock


def test_the_first_line_is_written_at_once_and_the_rest_once_a_minute() -> None:
    """Every line says how many occurrences it stands for; another reason has its own count."""
    lines: list[tuple[str, object, object]] = []
    journal = Journal("hq", lambda level, event, **f: lines.append((event, f["code"], f["count"])))
    for second in range(150):
        journal.write(float(second), logging.WARNING, "source.fetch.failed", "net.reset")
    journal.write(150.0, logging.WARNING, "source.fetch.failed", "dns.timeout")
    journal.flush(170.0)
    assert lines == [
        ("source.fetch.failed", "net.reset", 1),
        ("source.fetch.failed", "net.reset", 60),
        ("source.fetch.failed", "net.reset", 60),
        ("source.fetch.failed", "dns.timeout", 1),
    ]
    journal.flush(180.0)
    assert lines[-1] == ("source.fetch.failed", "net.reset", 29)


def test_lines_go_to_the_structured_log_with_level_and_fields() -> None:
    """By default a line is an event of the process's structured log."""
    with capture_logs() as logs:
        structured(logging.WARNING, "source.fetch.failed", source="hq", count=2)
    assert logs == [{"event": "source.fetch.failed", "log_level": "warning", "source": "hq", "count": 2}]


async def test_a_roster_tells_what_changed() -> None:
    """Who waits is woken by a change and by nothing else; entries are found by address in any case of letters."""
    roster, plan = Roster(), Plan(Random(1))
    added, removed = roster.become({"ann": "Ann@example.com", "bob": "bob@example.com"}, plan.entry)
    assert ([entry.person for entry in added], removed) == (["ann", "bob"], [])
    waiting = asyncio.ensure_future(roster.changed())
    await asyncio.sleep(0)
    roster.become({"ann": "Ann@example.com", "bob": "bob@example.com"}, plan.entry)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert [entry.person for entry in roster.mailbox("ANN@example.com")] == ["ann"]
    gone = roster.person("ann")
    added, removed = roster.become({"ann": "ann2@example.com"}, plan.entry)
    await waiting
    assert roster.mailboxes == {"ann2@example.com"}
    assert gone is not None
    assert gone not in roster
    assert [entry.person for entry in removed] == ["ann", "bob"]
    assert list(roster.mailbox("bob@example.com")) == []


async def test_within_gives_the_result_or_cancels_the_work() -> None:
    """Work in time returns or raises as itself; late work is cancelled before TimeoutError is raised."""
    clock, ended = FakeClock(), list[str]()

    async def work(seconds: float) -> str:
        try:
            await clock.sleep(seconds)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "done"

    quick = asyncio.create_task(within(5, work(1), clock))
    slow = asyncio.create_task(within(5, work(9), clock))
    stopped = asyncio.create_task(within(5, work(9), clock))
    await clock.advance(1)
    assert await quick == "done"
    stopped.cancel()
    await clock.settle()
    assert (stopped.cancelled(), ended) == (True, ["cancelled"])
    await clock.advance(4)
    with pytest.raises(TimeoutError):
        await slow
    assert ended == ["cancelled", "cancelled"]
    assert clock.asleep == 0


async def test_until_waits_for_the_event_or_the_time() -> None:
    """It tells which of the two it was."""
    clock, event = FakeClock(), asyncio.Event()
    first = asyncio.create_task(until(event, 5, clock))
    await clock.advance(5)
    second = asyncio.create_task(until(event, 5, clock))
    await clock.advance(1)
    event.set()
    assert (await first, await second, await until(event, 5, clock)) == (False, True, True)
