"""The lock-out guard."""

from __future__ import annotations

from datetime import timedelta

from gateway.guard import LogonGuard
from tests.unit.writing.conftest import NINE, Desk

ACCOUNT = "CORP\\svc-presence"


async def test_two_failures_close_the_account_for_a_quarter_of_an_hour(desk: Desk) -> None:
    """A third logon within 15 minutes of the first failure is not allowed, whatever its spelling."""
    guard = desk.guard
    assert await guard.allowed(ACCOUNT) is None
    await guard.failed(ACCOUNT)
    await desk.clock.advance(60)
    assert await guard.allowed(ACCOUNT) is None
    await guard.failed(ACCOUNT)
    assert await guard.allowed(ACCOUNT) == NINE + timedelta(minutes=15)
    await desk.clock.advance(14 * 60)
    assert await guard.allowed(ACCOUNT) is None


async def test_failures_survive_a_restart_and_never_name_the_account(desk: Desk) -> None:
    """Another guard over the same store knows them; the store holds a digest only."""
    await desk.guard.failed(ACCOUNT)
    await desk.guard.failed(ACCOUNT)
    await desk.clock.settle()
    assert await LogonGuard(desk.store, desk.view, desk.clock).allowed(ACCOUNT.lower()) is not None
    async for batch in desk.store.watch():
        assert all("svc" not in change.key and b"svc" not in (change.value or b"") for change in batch.changes)
        break


async def test_a_success_forgets_the_failures(desk: Desk) -> None:
    """One mistyped password long ago does not count for ever."""
    await desk.guard.failed(ACCOUNT)
    await desk.guard.succeeded(ACCOUNT)
    await desk.guard.failed(ACCOUNT)
    assert await desk.guard.allowed(ACCOUNT) is None
