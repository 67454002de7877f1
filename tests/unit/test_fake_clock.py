"""The tests' own clock keeps the promises other tests build on."""

import asyncio
from datetime import UTC, datetime, timedelta

from gateway.clock import Clock
from tests.clock import FakeClock

START = datetime(2026, 11, 20, 23, 59, 59, 500_000, tzinfo=UTC)


async def test_time_stands_still_until_advanced() -> None:
    """Both clocks move by exactly what `advance` was given, and by nothing else."""
    clock: Clock = FakeClock(START)
    await asyncio.sleep(0.002)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)
    assert isinstance(clock, FakeClock)
    await clock.advance(0.5)
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=0.5), 0.5)


async def test_sleepers_wake_in_order_each_at_its_instant() -> None:
    """A sleeper sees its own due time, not the end of the advance; equal ones wake in order."""
    clock, woken = FakeClock(START), list[tuple[str, float]]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in (("late", 3.0), ("early", 1.1), ("second", 1.1), ("beyond", 10.1)):
            tasks.create_task(sleeper(name, seconds))
        await clock.advance(10.0)
        assert woken == [("early", 1.1), ("second", 1.1), ("late", 3.0)]
        assert clock.asleep == 1
        await clock.advance(0.1)
    assert woken[-1] == ("beyond", 10.1)


async def test_consequences_run_before_time_moves_on() -> None:
    """A loop that sleeps is woken as often as its interval fits, and so is who waits for it elsewhere."""
    clock, beats = FakeClock(START), list[float]()
    queue: asyncio.Queue[float] = asyncio.Queue()

    async def heart() -> None:
        while True:
            await clock.sleep(0.1)
            await queue.put(clock.monotonic())

    async def listener() -> None:
        while True:
            beats.append(await queue.get())
            assert beats[-1] == clock.monotonic()

    tasks = [asyncio.create_task(heart()), asyncio.create_task(listener())]
    await clock.advance(1.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert beats == [n / 10 for n in range(1, 11)]


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    """Cancelling a sleeping task neither wakes it later nor disturbs the others."""
    clock = FakeClock(START)
    task = asyncio.create_task(clock.sleep(1))
    await clock.advance(0.2)
    task.cancel()
    await clock.advance(5)
    assert task.cancelled()
    assert clock.asleep == 0


async def test_the_wall_clock_may_jump_without_the_monotonic_one() -> None:
    """A jump moves `now` alone, in both directions."""
    clock = FakeClock(START)
    clock.jump(-3600)
    assert (clock.now(), clock.monotonic()) == (START - timedelta(hours=1), 0.0)
