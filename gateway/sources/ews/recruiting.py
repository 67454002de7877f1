"""Making subscriptions: so many a second for the whole server, small gaps first, and one group after the other."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from random import Random
from typing import Final

from gateway.clock import Clock
from gateway.errors import SourceError
from gateway.reasons import RetryClass
from gateway.sources.backoff import retry_class, source_delay
from gateway.sources.ews.affinity import Affinity
from gateway.sources.ews.group import Group
from gateway.sources.ews.notifier import Notifier
from gateway.sources.timing import until

LONGEST_REST: Final = 600.0


class Recruiter:
    """Subscribes the members of all groups; several `work` side by side."""

    def __init__(
        self,
        notifier: Notifier,
        clock: Clock,
        random: Random,
        per_second: float,
        groups: Callable[[], Collection[Group]],
    ) -> None:
        self._notifier = notifier
        self._clock = clock
        self._random = random
        self._spacing = 1.0 / per_second
        self._groups = groups
        self._leaving: deque[tuple[str, str, Affinity]] = deque()
        self._next_turn = 0.0
        self._failures = 0
        self._news = asyncio.Event()

    def nudge(self, *, at_once: bool = False) -> None:
        """Something may be due; `at_once` ends a pause as well."""
        if at_once:
            self._failures, self._next_turn = 0, min(self._next_turn, self._clock.monotonic() + self._spacing)
        self._news.set()

    def dismiss(self, mailbox: str, subscription: str, affinity: Affinity) -> None:
        """This subscription is not wanted any more: end it soon."""
        self._leaving.append((mailbox, subscription, affinity))
        self._news.set()

    async def work(self) -> None:
        """Make and end subscriptions until cancelled. Raises SourceError if the server wants us to stop altogether."""
        while True:
            self._news.clear()
            now = self._clock.monotonic()
            rest = max(self._next_turn, -math.inf if self._leaving else self._next_due()) - now
            if rest > 0:
                await until(self._news, min(rest, LONGEST_REST), self._clock)
                continue
            self._next_turn = now + self._spacing * self._random.uniform(0.5, 1.5)
            if self._leaving:
                mailbox, subscription, affinity = self._leaving.popleft()
                with suppress(SourceError):  # it ends by itself soon
                    await self._notifier.unsubscribe(subscription, mailbox, affinity)
            else:
                await self._subscribe(now)

    def _next_due(self) -> float:
        return min((group.next_due() for group in self._groups()), default=math.inf)

    async def _subscribe(self, now: float) -> None:
        due = [group for group in self._groups() if group.next_due() <= now]
        group = min(due, key=lambda each: each.lacking(now))  # the first one of equals
        member, epoch = group.pick(), group.epoch
        try:
            subscription = await self._notifier.subscribe(member.mailbox, group.affinity)
        except SourceError as error:
            group.refused(member, error)
            if error.mailbox is None:
                self._pause(error)
            return
        except BaseException:
            member.asking = False
            raise
        self._failures = 0
        for other in self._groups():
            if subscription in other.subscriptions:  # a server that began anew counts from the start
                other.lose("subscription.lost", "the server gave one id to two subscriptions")
        if not group.subscribed(member, subscription, epoch) and epoch == group.epoch:
            self.dismiss(member.mailbox, subscription, group.affinity)

    def _pause(self, error: SourceError) -> None:
        if retry_class(error) in (RetryClass.HOLD, RetryClass.NEVER):
            raise error
        delay = source_delay(error, self._failures, self._random)
        self._failures += 1
        self._next_turn = max(self._next_turn, self._clock.monotonic() + delay)
