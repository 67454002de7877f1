"""Subscriptions that tell nothing: a read finds a calendar changed that nobody had said would be.

Notifications may take a moment longer than a read, so a doubt is only believed when they stay away. And a doubt costs
the whole group a connection, so that of a group only one is believed at a time; several in a row condemn the group.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.clock import Clock
from gateway.core.model import Schedule
from gateway.sources.ews.group import Group
from gateway.sources.ews.member import Member
from gateway.sources.ews.refusals import failure

GRACE: Final = 30.0
"""Seconds a notification may come later than a read that shows what it is about …"""
AHEAD: Final = 10.0
"""… or earlier than free/busy times that show it."""
PEACE: Final = 600.0
"""Seconds a group is left in peace after a doubt was believed, unless …"""
SEVERAL: Final = 3
"""… so many of its mailboxes are doubted, which happens once."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A change between two reads, the first of which began at `since`; judged at `due` (both monotonic)."""

    due: float
    since: float
    mailbox: str
    subscription: str


class Doubts:
    """Compares what is read with what was told."""

    def __init__(self, clock: Clock, find: Callable[[str], tuple[Group, Member] | None]) -> None:
        self._clock = clock
        self._find = find
        self._read: dict[str, tuple[float, str, Schedule]] = {}
        self._doubts: deque[_Doubt] = deque()
        self._believed: dict[Group, tuple[float, set[str]]] = {}
        self._news = asyncio.Event()

    def forget(self) -> None:
        """Begin anew."""
        self._read.clear()
        self._doubts.clear()
        self._believed.clear()

    def read(self, mailbox: str, schedule: Schedule, began: float) -> None:
        """This was read, beginning at that instant (monotonic)."""
        found = self._find(mailbox)
        if found is None or not found[1].followed:
            self._read.pop(mailbox, None)
            return
        subscription = found[1].subscription
        since, of, before = self._read.get(mailbox, (began, subscription, schedule))
        self._read[mailbox] = began, subscription, schedule
        comparable = of == subscription and before.window_start == schedule.window_start
        if comparable and before != schedule and found[1].told_at < since - AHEAD:
            self._doubts.append(_Doubt(self._clock.monotonic() + GRACE, since, mailbox, subscription))
            self._news.set()

    async def run(self) -> None:
        """Judge the doubts when they are due, until cancelled."""
        while True:
            self._news.clear()
            if not self._doubts:
                await self._news.wait()
                continue
            doubt = self._doubts.popleft()
            await self._clock.sleep(doubt.due - self._clock.monotonic())
            self._judge(doubt)

    def _judge(self, doubt: _Doubt) -> None:
        found = self._find(doubt.mailbox)
        if found is None:
            return
        group, member = found
        if member.subscription != doubt.subscription or member.told_at >= doubt.since - AHEAD:
            return
        now = self._clock.monotonic()
        self._believed = {each: known for each, known in self._believed.items() if known[0] > now}
        _, mailboxes = self._believed.setdefault(group, (now + PEACE, set()))
        mailboxes.add(doubt.mailbox)
        if len(mailboxes) == SEVERAL:
            mailboxes.add("")  # once is enough
            group.lose("subscription.silent", "a stream told nothing of several changes")
        elif len(mailboxes) == 1:
            message = f"mailbox {doubt.mailbox!r} changed and its subscription told nothing"
            group.doubt(member, failure("subscription.silent", message, mailbox=doubt.mailbox))
