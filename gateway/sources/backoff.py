"""When a failing server or mailbox is asked again: back-off, breaker, lanes and retry budget.

All of it is pure: instants are seconds on the monotonic clock and come as arguments, chance is an injected Random.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

from gateway.errors import GatewayError, SourceDenied, SourceError, SourceUnavailable
from gateway.reasons import REASONS, RetryClass

MINUTE: Final = 60.0
HOUR: Final = 3600.0

SHORTEST: Final = 0.2
CAPS: Final = {RetryClass.TRANSIENT: 60.0, RetryClass.SLOW: 900.0}
QUICK_RETRIES: Final = 3
"""How often a mailbox that fails transiently is tried again within seconds before it waits whole minutes."""

BREAK_IN_A_ROW: Final = 5
BREAK_SPAN, BREAK_CALLS, BREAK_SHARE = 30.0, 20, 0.5
PROBE_SHORTEST, PROBE_LONGEST = 5.0, 60.0
PROBES_TO_CLOSE: Final = 3
DOUBLING: Final = 5.0
"""After a start or a recovery the lanes double every 5 s: no storm."""

BUDGET_SPAN, BUDGET_SHARE, BUDGET_FLOOR = 60.0, 0.1, 3


def retry_class(error: SourceError) -> RetryClass:
    """The class of the error's code; a code nobody listed counts by the error's type."""
    reason = REASONS.get(error.code)
    if reason is not None:
        return reason.retry
    return RetryClass.SLOW if isinstance(error, SourceDenied) else RetryClass.TRANSIENT


def as_source_error(error: GatewayError) -> SourceError:
    """A backend may pass on the failure of its guard's store; to us it is a failed call."""
    if isinstance(error, SourceError):
        return error
    return SourceUnavailable(str(error), code=error.code, hint=error.hint)


def full_jitter(failures: int, cap: float, random: Random) -> float:
    """`uniform(0, min(cap, 1 s * 2**failures))`, at least 200 ms."""
    return max(SHORTEST, random.uniform(0.0, min(cap, 2.0 ** min(failures, 30))))


def asked_for(retry_after: float, random: Random) -> float:
    """The server's own wish is a lower bound: 0-20 % more, and never more than an hour."""
    return min(HOUR, retry_after) * random.uniform(1.0, 1.2)


def mailbox_delay(error: SourceError, failures: int, random: Random, *, quick: bool = True) -> float:
    """Seconds until a mailbox that failed `failures` times in a row (from 1) is read again.

    Transient: within seconds for the first three (if `quick`), then 1, 2, 4 … 60 minutes. Slow: 1, 2, 4 … 15
    minutes. Hold: one probe per hour. Never: infinite.
    """
    kind = retry_class(error)
    if kind is RetryClass.NEVER:
        return float("inf")
    if kind is RetryClass.HOLD:
        delay = HOUR * random.uniform(1.0, 1.1)
    elif kind is RetryClass.TRANSIENT and quick and failures <= QUICK_RETRIES:
        delay = full_jitter(failures - 1, CAPS[kind], random)
    else:
        step = failures - QUICK_RETRIES if kind is RetryClass.TRANSIENT else failures
        cap = HOUR if kind is RetryClass.TRANSIENT else CAPS[kind]
        delay = min(cap, MINUTE * 2.0 ** min(max(step, 1) - 1, 30)) * random.uniform(0.9, 1.0)
    wish = getattr(error, "retry_after", None)
    return delay if wish is None else max(delay, asked_for(wish, random))


def source_delay(error: SourceError, failures: int, random: Random) -> float:
    """Seconds until something that concerns the whole server, and is no call, is tried again."""
    kind = retry_class(error)
    delay = full_jitter(failures, CAPS[kind], random) if kind in CAPS else HOUR
    wish = getattr(error, "retry_after", None)
    return delay if wish is None else max(delay, asked_for(wish, random))


class RetryBudget:
    """Retries are at most 10 % of the requests of the last minute (three are always allowed)."""

    def __init__(self) -> None:
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()

    def request(self, now: float) -> None:
        """A request was sent."""
        self._requests.append(now)

    def allow(self, now: float) -> bool:
        """Whether one more quick retry is within the budget; if so it is spent."""
        for kept in (self._requests, self._retries):
            while kept and kept[0] <= now - BUDGET_SPAN:
                kept.popleft()
        if len(self._retries) >= max(BUDGET_FLOOR, BUDGET_SHARE * len(self._requests)):
            return False
        self._retries.append(now)
        return True


class Lanes:
    """How many calls may be under way: fewer when the server is busy, few after a recovery."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._ceiling = most
        self._busy_at = float("-inf")
        self._opened_at = float("-inf")

    def allowed(self, now: float) -> int:
        """At least 1; one more per quiet minute after a busy answer, doubling every 5 s after `open_slowly`."""
        restored = self._ceiling + max(0.0, now - self._busy_at) // MINUTE
        doubled = 2.0 ** min(30.0, max(0.0, now - self._opened_at) // DOUBLING)
        return int(max(1, min(self.most, restored, doubled)))

    def busy(self, now: float) -> None:
        """The server said it is busy: half as many."""
        self._ceiling = max(1, self.allowed(now) // 2)
        self._busy_at = now

    def open_slowly(self, now: float) -> None:
        """Start over from one lane."""
        self._opened_at = now


class Endpoint:
    """What one server allows at this instant.

    Until the first success, after the breaker opened and after a hold, one call at a time is let through (a probe);
    so a wrong password costs one failed logon, not one per lane.
    """

    def __init__(self, lanes: int, calls_per_second: float, random: Random, budget: RetryBudget) -> None:
        self.budget = budget
        self.held = False
        self._lanes = Lanes(lanes)
        self._spacing = 1.0 / calls_per_second
        self._random = random
        self._failures = 0
        self._in_a_row = 0
        self._probes_due = 1
        self._probe_gap = 0.0
        self._open_from = 0.0
        self._next_call = 0.0
        self._outcomes: deque[tuple[float, bool]] = deque()

    @property
    def probing(self) -> bool:
        """Whether calls go one at a time until enough of them succeeded."""
        return self._probes_due > 0

    @property
    def broken(self) -> bool:
        """Whether the breaker is open."""
        return self._probe_gap > 0

    def open_from(self) -> float:
        """No call may start before this instant; infinite for a failure that is never retried by itself."""
        return max(self._open_from, self._next_call)

    def paused_until(self) -> float:
        """Until when failures keep us away (the distance kept between any two calls does not count)."""
        return self._open_from

    def lanes(self, now: float) -> int:
        """How many calls may be under way."""
        return 1 if self.probing else self._lanes.allowed(now)

    def begin(self, now: float) -> None:
        """A call starts."""
        self.budget.request(now)
        self._next_call = now + self._spacing

    def succeeded(self, now: float) -> None:
        """A call was answered."""
        self._failures = self._in_a_row = 0
        self._note(now, True)
        self.held = False
        if not self.probing:
            return
        self._probes_due -= 1
        self._open_from = min(self._open_from, now)
        if self._probes_due == 0:
            self._probe_gap = 0.0
            self._outcomes.clear()
            self._lanes.open_slowly(now)

    def failed(self, error: SourceError, now: float) -> None:
        """A whole call failed; decides when the next one may start."""
        kind = retry_class(error)
        wish = getattr(error, "retry_after", None)
        wait = 0.0 if wish is None else asked_for(wish, self._random)
        if kind in (RetryClass.HOLD, RetryClass.NEVER):
            self.held = True
            self._probes_due = max(1, self._probes_due)
            wait = max(wait, HOUR if kind is RetryClass.HOLD else float("inf"))
        elif error.code == "server.throttled":  # it lives, so the breaker stays closed
            self._lanes.busy(now)
            wait = wait or full_jitter(self._failures, CAPS[kind], self._random)
        else:
            self._in_a_row += 1
            self._note(now, False)
            wait = max(wait, full_jitter(self._failures, CAPS[kind], self._random), self._break(now))
        self._failures += 1
        self._open_from = max(self._open_from, now + wait)

    def reset(self, now: float) -> None:
        """An operator asks for another try: no pause, no hold, but still one call at a time until it succeeds."""
        self.held = False
        if self._failures:
            self._probes_due = max(1, self._probes_due)
        self._open_from = now

    def _note(self, now: float, good: bool) -> None:
        self._outcomes.append((now, good))
        while self._outcomes[0][0] <= now - BREAK_SPAN:
            self._outcomes.popleft()

    def _break(self, now: float) -> float:
        """Seconds until the next probe if the breaker is open (now), else 0."""
        if self.broken:
            self._probe_gap = min(PROBE_LONGEST, 2 * self._probe_gap)
        else:
            bad = sum(not good for _, good in self._outcomes)
            often = len(self._outcomes) >= BREAK_CALLS and bad >= BREAK_SHARE * len(self._outcomes)
            if self._in_a_row < BREAK_IN_A_ROW and not often:
                return 0.0
            self._probe_gap = PROBE_SHORTEST
        self._probes_due = PROBES_TO_CLOSE
        return self._probe_gap
