"""Following the calendars of one server: who is in which group, and all groups' news as one stream of hints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from gateway.clock import Clock
from gateway.core.model import Schedule
from gateway.errors import SourceError
from gateway.sources import Hint, Roster
from gateway.sources.ews.doubts import Doubts
from gateway.sources.ews.group import Group
from gateway.sources.ews.member import Member
from gateway.sources.ews.notifier import Notifier
from gateway.sources.ews.recruiting import Recruiter
from gateway.sources.ews.seating import Seating, Table
from gateway.sources.ews.settings import EwsSettings
from gateway.sources.health import QUIET, Journal, Log, structured
from gateway.sources.timing import within

SETTLE: Final = 1.0
"""Seconds in which several changes of the roster become one change of the groups."""
LEAVE_WITHIN: Final = 5.0
"""Seconds for ending the subscriptions when the gateway stops."""


def one_server(mailbox: str) -> str:
    """Everybody is behind the same endpoint: nobody has told us more."""
    return ""


class Following:
    """The streams of one server. Either `hints` is under way, or `close`, or nothing."""

    def __init__(
        self,
        name: str,
        notifier: Notifier,
        settings: EwsSettings,
        clock: Clock,
        random: Random,
        *,
        server_of: Callable[[str], str] = one_server,
        log: Log = structured,
    ) -> None:
        """`server_of` names the mailbox server (Autodiscover's GroupingInformation); mailboxes share streams by it."""
        self._notifier = notifier
        self._settings = settings
        self._clock = clock
        self._random = random
        self._server_of = server_of
        self._journal = Journal(name, log)
        self._groups: dict[Table, Group] = {}
        self._doubts = Doubts(clock, self._find)

    def read(self, mailboxes: Sequence[str], answers: Sequence[Schedule | SourceError], began: float) -> None:
        """These calendars were read, beginning at that instant (monotonic); news nobody told of make doubtful."""
        if self._groups:
            for mailbox, answer in zip(mailboxes, answers, strict=True):
                if isinstance(answer, Schedule):
                    self._doubts.read(mailbox.lower(), answer, began)

    async def hints(self, roster: Roster) -> AsyncGenerator[Hint, None]:
        """The hints for the mailboxes of the roster, until cancelled; SourceError if the server wants no more of us."""
        told: asyncio.Queue[Hint | None] = asyncio.Queue()
        running = asyncio.create_task(self._run(roster, told.put_nowait), name="ews.following")
        running.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (hint := await told.get()) is not None:
                yield hint
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def close(self) -> None:
        """End the subscriptions, as many as five seconds allow: servers count those that are left behind."""
        groups = tuple(self._groups.values())
        self._groups.clear()
        left = [(id, member, group) for group in groups for id, member in group.subscriptions.items()]
        with suppress(TimeoutError):  # what is left ends by itself
            await within(LEAVE_WITHIN, self._leave(iter(left)), self._clock)

    async def _leave(self, left: Iterator[tuple[str, Member, Group]]) -> None:
        async def one_by_one() -> None:
            with suppress(SourceError):
                for subscription, member, group in left:
                    await self._notifier.unsubscribe(subscription, member.mailbox, group.affinity)

        await asyncio.gather(*(one_by_one() for _ in range(self._settings.lanes)))

    async def _run(self, roster: Roster, hint: Callable[[Hint], None]) -> None:
        self._groups.clear()
        self._doubts.forget()
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._follow(roster, hint, tasks)
        except ExceptionGroup as faults:
            refusals, bugs = faults.split(SourceError)
            if bugs is not None or refusals is None:
                raise
            raise _first(refusals) from None

    async def _follow(self, roster: Roster, hint: Callable[[Hint], None], tasks: asyncio.TaskGroup) -> None:
        """Keep the groups as the roster is."""
        recruiter = Recruiter(
            self._notifier,
            self._clock,
            self._random,
            self._settings.subscriptions_per_second,
            self._groups.values,
        )
        for _ in range(max(1, self._settings.lanes // 2)):
            tasks.create_task(recruiter.work(), name="ews.recruiter")
        tasks.create_task(self._tidy(), name="ews.journal")
        tasks.create_task(self._doubts.run(), name="ews.doubts")
        seating = Seating(self._server_of)
        running: dict[Table, asyncio.Task[None]] = {}
        known: frozenset[str] | None = None
        while True:
            wanted = roster.mailboxes
            if wanted == known:  # nobody came or went, so an operator wants another try
                for group in self._groups.values():
                    group.retry()
                recruiter.nudge(at_once=True)
            known = wanted
            for table in seating.seat(wanted):
                self._reseat(table, hint, tasks, running, recruiter)
            recruiter.nudge()
            await roster.changed()
            await self._clock.sleep(SETTLE)

    def _reseat(
        self,
        table: Table,
        hint: Callable[[Hint], None],
        tasks: asyncio.TaskGroup,
        running: dict[Table, asyncio.Task[None]],
        recruiter: Recruiter,
    ) -> None:
        group = self._groups.get(table)
        if group is None:
            group = self._groups[table] = Group(
                self._notifier, self._clock, self._random, hint=hint, recruit=recruiter.nudge, note=self._note
            )
            running[table] = tasks.create_task(group.run(), name="ews.group")
        for member in group.become(table.mailboxes):
            recruiter.dismiss(member.mailbox, member.subscription, group.affinity)
        if not table.mailboxes:
            running.pop(table).cancel()
            del self._groups[table]

    def _find(self, mailbox: str) -> tuple[Group, Member] | None:
        for group in self._groups.values():
            if (member := group.member(mailbox)) is not None:
                return group, member
        return None

    async def _tidy(self) -> None:
        while True:
            await self._clock.sleep(QUIET)
            self._journal.flush(self._clock.monotonic())

    def _note(self, level: int, event: str, code: str, **fields: object) -> None:
        self._journal.write(self._clock.monotonic(), level, event, code, **fields)


def _first(group: ExceptionGroup[SourceError]) -> SourceError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
