"""Back-off, retry budget, lanes and breaker as pure functions of time."""

from random import Random

import pytest

from gateway.errors import SourceDenied, SourceUnavailable
from gateway.reasons import RetryClass
from gateway.sources.backoff import Endpoint, Lanes, RetryBudget, full_jitter, mailbox_delay, retry_class
from tests.calendars import denied, unavailable


def endpoint(lanes: int = 4, calls_per_second: float = 20.0) -> Endpoint:
    """A server that has answered long ago: all lanes are open at instant 1000."""
    made = Endpoint(lanes, calls_per_second, Random(1), RetryBudget())
    made.succeeded(0.0)
    return made


def broken(server: Endpoint) -> bool:
    """Whether the breaker is open at this moment."""
    return server.broken


def test_full_jitter_stays_between_its_bounds_and_uses_the_room() -> None:
    """Never under 200 ms, never over the cap or the doubling second, and spread all over."""
    random = Random(3)
    for failures, cap, most in ((0, 60.0, 1.0), (3, 60.0, 8.0), (20, 60.0, 60.0), (20, 900.0, 900.0)):
        delays = [full_jitter(failures, cap, random) for _ in range(500)]
        assert min(delays) >= 0.2
        assert 0.9 * most < max(delays) <= most


def test_codes_decide_the_retry_class_and_types_only_without_a_known_code() -> None:
    """The table wins; an unlisted code counts as slow if denied, else as transient."""
    assert retry_class(denied(code="auth.rejected")) is RetryClass.HOLD
    assert retry_class(denied(code="permission.denied")) is RetryClass.SLOW
    assert retry_class(SourceDenied("no", code="new.code")) is RetryClass.SLOW
    assert retry_class(SourceUnavailable("no", code="new.code")) is RetryClass.TRANSIENT


@pytest.mark.parametrize(
    ("code", "minutes"),
    [
        ("permission.denied", [1, 2, 4, 8, 15, 15]),
        ("server.error", [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]),
        ("tls.untrusted_ca", [60, 60]),
    ],
)
def test_a_mailbox_waits_ever_longer(code: str, minutes: list[float]) -> None:
    """The waits follow the class of the code, up to its longest."""
    error, random = unavailable(code), Random(5)
    for failures, expected in enumerate(minutes, start=1):
        delay = mailbox_delay(error, failures, random) / 60
        assert 0.9 * expected <= delay <= max(1.1 * expected, 4 / 60)


def test_without_the_budget_a_mailbox_skips_its_quick_tries() -> None:
    """Not allowed to retry quickly, a transient failure waits its first minute."""
    assert 54 <= mailbox_delay(unavailable("server.error"), 1, Random(1), quick=False) <= 60


def test_the_servers_wish_is_a_lower_bound() -> None:
    """Retry-after is honoured with up to a fifth more, and cut at an hour."""
    random = Random(9)
    delays = [mailbox_delay(unavailable("server.throttled", 300.0), 1, random) for _ in range(200)]
    assert 300 <= min(delays) < max(delays) <= 360
    assert mailbox_delay(unavailable("server.throttled", 86_400.0), 1, random) <= 4320


def test_retries_are_a_tenth_of_the_requests() -> None:
    """Three a minute are always free; with 200 requests in the last minute 20 are."""
    budget = RetryBudget()
    assert [budget.allow(0.0) for _ in range(5)] == [True, True, True, False, False]
    for n in range(200):
        budget.request(60 + n / 10)
    assert sum(budget.allow(81.0) for _ in range(100)) == 20
    assert sum(budget.allow(200.0) for _ in range(100)) == 3


def test_a_busy_answer_halves_the_lanes_and_quiet_minutes_restore_them() -> None:
    """8 → 4 → 2, then one more per minute, never more than configured."""
    lanes = Lanes(8)
    lanes.busy(0.0)
    assert lanes.allowed(1.0) == 4
    lanes.busy(1.0)
    assert [lanes.allowed(1.0 + 60 * n) for n in range(8)] == [2, 3, 4, 5, 6, 7, 8, 8]


def test_five_failures_in_a_row_open_the_breaker_for_one_probe_per_slot() -> None:
    """The slots grow from 5 to 60 s; three successes close it, and the lanes open one, two, four."""
    server, now = endpoint(), 1000.0
    for _ in range(5):
        assert not broken(server)
        server.failed(unavailable("net.refused"), now)
    assert broken(server)
    for least in (5, 10, 20, 40, 60, 60):
        wait = server.paused_until() - now
        assert least <= wait <= 60
        now += wait
        assert server.lanes(now) == 1
        server.failed(unavailable("net.refused"), now)
    for _ in range(3):
        assert broken(server)
        server.succeeded(now)
        assert server.paused_until() <= now
    assert not broken(server)
    assert [server.lanes(now + n) for n in (0, 5, 10, 15)] == [1, 2, 4, 4]


def test_half_of_twenty_calls_failing_open_the_breaker_too() -> None:
    """Alternating success and failure trips it at the twentieth call within half a minute."""
    server = endpoint()
    for n in range(19):
        server.succeeded(1000.0 + n) if n % 2 else server.failed(unavailable("net.reset"), 1000.0 + n)
    assert not broken(server)
    server.failed(unavailable("net.reset"), 1019.0)
    assert broken(server)
    slow = endpoint()
    for n in range(40):
        slow.succeeded(1000.0 + 10 * n) if n % 2 else slow.failed(unavailable("net.reset"), 1000.0 + 10 * n)
    assert not broken(slow)


def test_a_throttling_server_is_alive() -> None:
    """Busy answers pause the server but never open the breaker."""
    server = endpoint()
    for n in range(30):
        server.failed(unavailable("server.throttled", 2.0), 1000.0 + n)
    assert not broken(server)
    assert 1031.0 <= server.paused_until() <= 1031.4


def test_a_hold_ends_after_an_hour_or_by_the_operator_and_lets_one_call_through() -> None:
    """After `auth.rejected` nothing goes out; the next try is a single one."""
    server = endpoint()
    server.failed(denied(code="auth.rejected"), 1000.0)
    assert server.held
    assert server.open_from() == 4600.0
    server.reset(1100.0)
    assert (server.held, server.open_from() <= 1100.0, server.lanes(5000.0)) == (False, True, 1)
    server.succeeded(1101.0)
    assert server.lanes(5000.0) == 4


def test_calls_keep_their_distance() -> None:
    """At 20 calls per second the next one may start 50 ms later."""
    server = endpoint(calls_per_second=20.0)
    server.begin(1000.0)
    assert server.open_from() == pytest.approx(1000.05)
