"""One beat for all subscribers: whose heartbeat is due, and whose right to read is to be checked again."""

from __future__ import annotations

from random import Random
from typing import Final

from gateway.web.audience import Subscriber

SHIFTS: Final = 4
"""A subscriber's right is checked once in so many beats: with beats of a second, a revoked one ends within 5 s."""


class Pulse:
    """A timer wheel: one timer for all, instead of one each. `period` is the time between two beats in seconds.

    A subscriber's heartbeat comes every `heartbeat` seconds, give or take a fifth.
    """

    def __init__(self, random: Random, heartbeat: float) -> None:
        self.period = min(1.0, heartbeat / 10)
        self._random = random
        self._soonest = max(1, round(0.8 * heartbeat / self.period))
        self._latest = max(1, round(1.2 * heartbeat / self.period))
        self._slots: list[set[Subscriber]] = [set() for _ in range(self._latest + 1)]
        self._shifts: list[set[Subscriber]] = [set() for _ in range(SHIFTS)]
        self._beat = 0

    def add(self, subscriber: Subscriber) -> None:
        """From now on it has a heartbeat."""
        subscriber.shift = self._random.randrange(SHIFTS)
        self._shifts[subscriber.shift].add(subscriber)
        self._schedule(subscriber)

    def discard(self, subscriber: Subscriber) -> None:
        """No more; nothing happens if it had none."""
        if subscriber.slot >= 0:
            self._slots[subscriber.slot].discard(subscriber)
            self._shifts[subscriber.shift].discard(subscriber)
            subscriber.slot = subscriber.shift = -1

    def beat(self) -> tuple[list[Subscriber], list[Subscriber]]:
        """One period went by: whose heartbeat is due, and whom to check."""
        self._beat += 1
        slot = self._slots[self._beat % len(self._slots)]
        due = list(slot)
        slot.clear()
        for subscriber in due:
            self._schedule(subscriber)
        return due, list(self._shifts[self._beat % SHIFTS])

    def _schedule(self, subscriber: Subscriber) -> None:
        ahead = self._random.randint(self._soonest, self._latest)
        subscriber.slot = (self._beat + ahead) % len(self._slots)
        self._slots[subscriber.slot].add(subscriber)
