"""One group of mailboxes: their subscriptions, and the one connection that tells their news.

Every mailbox has a subscription of its own, made as its owner (`recruiting`). A connection carries them all. What ends
it decides what is still believed: after its regular end the ids are as good as before; after anything else they are
worth nothing, for a server that began anew gives the same ids to others. After any gap every mailbox is read again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from random import Random
from typing import Final

from gateway.clock import Clock
from gateway.errors import SourceDenied, SourceError
from gateway.sources import Hint, HintKind
from gateway.sources.backoff import HOUR, MINUTE, asked_for, full_jitter
from gateway.sources.ews.affinity import Affinity
from gateway.sources.ews.member import Member
from gateway.sources.ews.notices import Notice
from gateway.sources.ews.notifier import Notifier, code_of
from gateway.sources.ews.refusals import error_of
from gateway.sources.timing import until

PATIENCE: Final = 60.0
"""Seconds a subscription waits for the rest of its group before they are followed without the rest."""
STEADY, LONG_LIVED = 30.0, 300.0
"""A connection that lived for so long, in seconds, was a good one, a very good one."""
QUICK: Final = 6
"""Failures in a row after which the back-off, at most a minute until then, grows to a quarter of an hour."""
CAP, LONG_CAP = 60.0, 900.0
LONG_REST: Final = 600.0

_FORGOTTEN: Final = frozenset({"subscription.lost", "subscription.missed_events"})
_BUSY: Final = frozenset({"server.throttled", "subscription.limit"})
_OF_THE_ANCHOR: Final = frozenset({"permission.denied", "mailbox.not_found"})

Note = Callable[..., None]
"""`note(level, event, code, **fields)`: a line for the log, which must not flood."""


class Group:
    """At most 200 mailboxes of one server. `run` follows them until it is cancelled."""

    def __init__(
        self,
        notifier: Notifier,
        clock: Clock,
        random: Random,
        *,
        hint: Callable[[Hint], None],
        recruit: Callable[[], None],
        note: Note,
    ) -> None:
        """`recruit` is called whenever somebody may have to be subscribed."""
        self.affinity = Affinity()
        self.epoch = 0
        """Changes whenever everything known of the server's side was thrown away."""
        self._notifier = notifier
        self._clock = clock
        self._random = random
        self._hint = hint
        self._recruit = recruit
        self._note = note
        self._members: dict[str, Member] = {}
        self._subscribed: dict[str, Member] = {}
        self._missing: set[Member] = set()
        self._due: float | None = None
        self._opened: frozenset[str] = frozenset()
        self._failures = 0
        self._not_before = 0.0
        self._hurry = False
        self._gap = False
        self._news = asyncio.Event()

    # Who belongs to it, and who is to be subscribed.

    @property
    def subscriptions(self) -> Mapping[str, Member]:
        """Its members by the ids of their subscriptions."""
        return self._subscribed

    def member(self, mailbox: str) -> Member | None:
        """The member of that address (in lower case), if it is one."""
        return self._members.get(mailbox)

    def become(self, mailboxes: Collection[str]) -> list[Member]:
        """From now on these mailboxes; gives the members who left with a subscription, which is to be ended."""
        gone = [self._members.pop(mailbox) for mailbox in list(self._members) if mailbox not in mailboxes]
        for mailbox in mailboxes:
            if mailbox not in self._members:
                self._members[mailbox] = member = Member(mailbox)
                self._missing.add(member)
        for member in gone:
            self._missing.discard(member)
            self._subscribed.pop(member.subscription, None)
        if any(member.mailbox == self.affinity.anchor for member in gone):
            self._choose_anchor()
        self._changed()
        return [member for member in gone if member.subscription]

    def retry(self) -> None:
        """Try again whatever failed, and say again what is: somebody else may share a mailbox, and know of nothing."""
        self._failures, self._not_before = 0, 0.0
        for member in self._members.values():
            if member.followed:
                self._hint(Hint(HintKind.STREAM, member.mailbox))
        for member in self._missing:
            member.retry_at, member.failures = 0.0, 0
        self._changed()

    def next_due(self) -> float:
        """When the next subscription may be asked for; infinite if none is to be, or the first one is under way."""
        if self._due is None:
            idle = [member.retry_at for member in self._missing if not member.asking]
            alone = not self.affinity.anchor and len(idle) < len(self._missing)
            self._due = math.inf if alone or not idle else max(self._not_before, min(idle))
        return self._due

    def lacking(self, now: float) -> int:
        """How many are to be subscribed at this instant, or being subscribed."""
        return sum(member.asking or member.retry_at <= now for member in self._missing)

    def pick(self) -> Member:
        """The member to subscribe next, from now on being asked for; the first one of all is the anchor."""
        member = min(
            (each for each in self._missing if not each.asking), key=lambda each: (each.retry_at, each.mailbox)
        )
        member.asking = True
        self._due = None
        return member

    def subscribed(self, member: Member, subscription: str, epoch: int) -> bool:
        """The server gave an id; False if it is of no use any more, because the member left or the epoch ended."""
        member.asking = False
        self._due = None
        if epoch != self.epoch or member not in self._missing:
            return False
        self._missing.discard(member)
        member.subscription, member.subscribed_at = subscription, self._clock.monotonic()
        self._subscribed[subscription] = member
        member.failures = 0
        if not self.affinity.anchor:
            self.affinity.anchor = member.mailbox
        self._changed()
        return True

    def refused(self, member: Member, error: SourceError) -> None:
        """It got none: it is polled, and asked for again in an hour, or sooner if the server just failed."""
        member.asking = False
        member.failures += 1
        if error.mailbox is None:
            delay = full_jitter(member.failures, LONG_CAP, self._random)
        elif isinstance(error, SourceDenied):
            delay = self._an_hour()
        else:
            delay = min(LONG_CAP, MINUTE * 2.0 ** min(member.failures - 1, 30)) * self._random.uniform(0.9, 1.0)
        member.retry_at = self._clock.monotonic() + delay
        if member in self._missing:
            if member.code != error.code:
                self._note(
                    logging.WARNING,
                    "source.subscription.refused",
                    error.code,
                    mailbox=member.mailbox,
                    error=str(error),
                    hint=error.hint,
                )
            self._poll(member, error.code)
            if member.mailbox == self.affinity.anchor and error.mailbox is not None:
                self._choose_anchor()
        self._changed()

    def doubt(self, member: Member, error: SourceError) -> None:
        """Its subscription tells nothing though there was news: make another one, or poll for an hour if that did."""
        member.silences += 1
        self._drop(member, error.code)
        if member.silences > 1:
            member.retry_at = self._clock.monotonic() + self._an_hour()
        self._changed()

    def _an_hour(self) -> float:
        return HOUR * self._random.uniform(1.0, 1.1)

    def _choose_anchor(self) -> None:
        """Another mailbox of the same server; the cookie that leads there stays."""
        self.affinity.anchor = min((each.mailbox for each in self._subscribed.values()), default="")
        if not self.affinity.anchor:
            self.affinity.forget()

    def _changed(self) -> None:
        self._due = None
        self._news.set()
        self._recruit()

    # Following it.

    async def run(self) -> None:
        """Follow the members that are subscribed, until cancelled. Whatever is not a SourceError is a bug."""
        while True:
            self._news.clear()
            rest = self._rest()
            if rest > 0:
                await until(self._news, rest, self._clock)
            else:
                await self._follow()

    def _rest(self) -> float:
        """Seconds until a connection is to be opened."""
        now = self._clock.monotonic()
        subscriptions = self._subscribed
        if not subscriptions:
            return LONG_REST
        opens = self._not_before
        if not self._hurry and self.lacking(now):
            opens = max(opens, self._oldest(subscriptions) + PATIENCE)
        return opens - now

    def _oldest(self, subscriptions: Mapping[str, Member]) -> float:
        """Since when the oldest of the subscriptions no connection carries has been waiting."""
        return min(
            (each.subscribed_at for id, each in subscriptions.items() if id not in self._opened), default=math.inf
        )

    async def _follow(self) -> None:
        """One connection, until it ends or another one is wanted in its place."""
        carried = dict(self._subscribed)
        self._opened, self._hurry = frozenset(carried), False
        listening = asyncio.create_task(self._listen(carried), name="ews.stream")
        listening.add_done_callback(lambda _: self._news.set())
        try:
            while not listening.done():
                self._news.clear()
                rest = self._outdated_in()
                if rest <= 0:
                    self._gap = self._hurry = True  # what was on its way is lost
                    return
                await until(self._news, rest, self._clock)
            listening.result()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            self._opened = frozenset()

    def _outdated_in(self) -> float:
        """Seconds until the connection should be replaced by one that carries the members of that time."""
        now, subscriptions = self._clock.monotonic(), self.subscriptions
        if not self._opened <= subscriptions.keys():
            return 0.0
        if len(subscriptions) == len(self._opened):
            return LONG_REST
        if not self.lacking(now):
            return 0.0
        return self._oldest(subscriptions) + PATIENCE - now

    async def _listen(self, carried: Mapping[str, Member]) -> None:
        """Take one connection's notices, and draw the conclusions from its end."""
        opened = self._clock.monotonic()
        heard = False
        try:
            async with aclosing(self._notifier.listen(list(carried), self.affinity)) as notices:
                async for notice in notices:
                    if notice.refusal is None and not heard:
                        heard = True
                        self._connected(carried)
                    for subscription in notice.changed:
                        self._news_of(carried.get(subscription), subscription)
                    if notice.refusal is not None:
                        return self._refused(notice, carried)
                    if notice.closed:
                        return self._closed(self._clock.monotonic() - opened)
            self._forgive(self._clock.monotonic() - opened if heard else 0.0)
            self._lost("subscription.lost", "the server ended a stream without a word")
        except SourceError as error:
            self._forgive(self._clock.monotonic() - opened if heard else 0.0)
            self._lost(error.code, str(error))

    def _forgive(self, lived: float) -> None:
        """A connection that lived for a while makes up for failures before it."""
        if lived >= LONG_LIVED:
            self._failures = 0
        elif lived >= STEADY:
            self._failures = min(self._failures, QUICK - 1)

    def _news_of(self, member: Member | None, subscription: str) -> None:
        if member is not None and member.subscription == subscription and member.mailbox in self._members:
            member.told_at, member.silences = self._clock.monotonic(), 0
            self._hint(Hint(HintKind.CHANGED, member.mailbox))

    def _connected(self, carried: Mapping[str, Member]) -> None:
        """From now on we hear of every change; of those before, only a read can tell."""
        for subscription, member in carried.items():
            if member.subscription != subscription or self._members.get(member.mailbox) is not member:
                continue
            if not member.followed:
                member.followed, member.code = True, ""
                self._hint(Hint(HintKind.STREAM, member.mailbox))
                self._hint(Hint(HintKind.GAP, member.mailbox))
            elif self._gap:
                self._hint(Hint(HintKind.GAP, member.mailbox))
        self._gap = False
        self._note(logging.INFO, "source.stream.opened", "ok", mailboxes=len(carried))

    def _closed(self, lived: float) -> None:
        """The regular end: what happens until the next connection is kept for us, if it comes soon."""
        self._failures = 0 if lived >= STEADY else self._failures + 1
        self._pause(0.0)
        self._hurry = True
        if self._failures > 1:
            self._suspend("subscription.lost")

    def _refused(self, notice: Notice, carried: Mapping[str, Member]) -> None:
        assert notice.refusal is not None
        code = code_of(notice.refusal)
        bad = [carried[subscription] for subscription in notice.bad if subscription in carried]
        if bad or code in _FORGOTTEN:
            if not bad or 2 * len(bad) > len(carried):
                return self._lost(code, str(error_of(notice.refusal)))
            self._note(logging.WARNING, "source.subscription.lost", code, mailbox=bad[0].mailbox, mailboxes=len(bad))
            for member in bad:
                self._drop(member, code)
            self._failures += 1
            self._pause(0.0)
            self._gap = self._hurry = True
        elif code in _BUSY:
            self._failures += 1
            self._pause(notice.refusal.back_off or 0.0)
            self._suspend(code)
        elif code in _OF_THE_ANCHOR and (anchor := self._members.get(self.affinity.anchor)) is not None:
            self._failures += 1
            self._pause(0.0)
            self._suspend(code)
            self._drop(anchor, code)
            self.refused(anchor, error_of(notice.refusal, anchor.mailbox))
        else:
            self._lost(code, str(error_of(notice.refusal)))

    def _suspend(self, code: str) -> None:
        """The subscriptions live on, but nobody hears of them for a while."""
        self._gap = self._hurry = True
        for member in self._subscribed.values():
            self._poll(member, code)

    def _lost(self, code: str, error: str) -> None:
        """Nothing the server has said of this group counts any more."""
        self.epoch += 1
        self._failures += 1
        self._hurry = self._gap = False
        self._pause(0.0)
        self._note(logging.WARNING, "source.stream.lost", code, error=error, mailboxes=len(self._subscribed))
        self.affinity.forget()
        for member in list(self._subscribed.values()):
            self._drop(member, code)
        self._changed()

    def lose(self, code: str, error: str) -> None:
        """Somebody found out that the server has forgotten this group."""
        if self._subscribed:
            self._lost(code, error)

    def _drop(self, member: Member, code: str) -> None:
        self._subscribed.pop(member.subscription, None)
        member.subscription, member.retry_at = "", 0.0
        self._missing.add(member)
        self._poll(member, code)

    def _poll(self, member: Member, code: str) -> None:
        """It is not followed (any more); if it was, the last news may be lost, and the way back may be long."""
        followed, told = member.followed, member.code
        member.followed, member.code = False, code
        if followed or told != code:
            self._hint(Hint(HintKind.POLL, member.mailbox, code))
        if followed:
            self._hint(Hint(HintKind.GAP, member.mailbox))

    def _pause(self, wish: float) -> None:
        """No connection, and no subscription, before a while that grows with the failures in a row."""
        cap = CAP if self._failures <= QUICK else LONG_CAP
        delay = full_jitter(max(0, self._failures - 1), cap, self._random)
        if wish > 0:
            delay = max(delay, asked_for(wish, self._random))
        self._not_before = self._clock.monotonic() + delay
        self._changed()
