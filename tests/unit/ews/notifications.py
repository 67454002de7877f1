"""A server of notifications in memory, and a Following under a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from gateway.errors import SourceError
from gateway.sources import Hint, HintKind, MailboxHealth
from gateway.sources.ews import EwsSettings
from gateway.sources.ews.affinity import Affinity
from gateway.sources.ews.following import Following, one_server
from gateway.sources.ews.notices import Notice
from gateway.sources.ews.soap import Refusal
from gateway.sources.pacing import Entry
from gateway.sources.roster import Roster
from tests.clock import FakeClock

SETTINGS = EwsSettings(url="https://mail.example.com/EWS/Exchange.asmx", username="CORP\\svc", password="secret")


@dataclass(eq=False)
class Connection:
    """One open stream: who it impersonates and what it carries; `say` sends a notice or breaks it with an error."""

    at: float
    anchor: str
    cookie: str
    subscriptions: tuple[str, ...]
    queue: asyncio.Queue[Notice | SourceError | None] = field(default_factory=asyncio.Queue)
    open: bool = True

    def say(self, what: Notice | SourceError | None) -> None:
        """None is the end of the body."""
        self.queue.put_nowait(what)


class FakeExchange:
    """A `Notifier` that keeps its promises: what happens while nobody listens waits, and unknown ids are refused.

    `refusing[mailbox]` is raised by a Subscribe; `failure` by every one; `unreachable` by every new stream; `latency`
    is the seconds of a Subscribe; `counting` gives ids that begin anew with each `restart`.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.refusing: dict[str, SourceError] = {}
        self.failure: SourceError | None = None
        self.unreachable: SourceError | None = None
        self.turned_away: Refusal | None = None
        self.latency = 0.0
        self.mute: set[str] = set()
        self.subscribed: dict[str, str] = {}
        self.asked: list[tuple[float, str]] = []
        self.ended: list[str] = []
        self.connections: list[Connection] = []
        self.affinities: dict[str, tuple[str, str]] = {}
        self._waiting: defaultdict[str, int] = defaultdict(int)
        self._made = 0

    @property
    def open(self) -> list[Connection]:
        """The streams that are open."""
        return [each for each in self.connections if each.open]

    @property
    def asked_for(self) -> Counter[str]:
        """How often every mailbox was subscribed, or tried to be."""
        return Counter(mailbox for _, mailbox in self.asked)

    def change(self, mailbox: str) -> None:
        """Somebody edits that calendar."""
        for subscription, of in self.subscribed.items():
            if of != mailbox or mailbox in self.mute:
                continue
            stream = next((each for each in self.open if subscription in each.subscriptions), None)
            if stream is not None:
                stream.say(Notice(changed=(subscription,)))
            else:
                self._waiting[subscription] += 1

    def restart(self, error: SourceError) -> None:
        """Every stream breaks, every subscription is forgotten, and ids are given out from the first one on."""
        self.subscribed.clear()
        self._waiting.clear()
        self._made = 0
        for stream in self.open:
            stream.say(error)

    def forget(self, *mailboxes: str) -> list[str]:
        """The server loses these subscriptions; gives their ids."""
        lost = [subscription for subscription, of in self.subscribed.items() if of in mailboxes]
        for subscription in lost:
            del self.subscribed[subscription]
        return lost

    async def subscribe(self, mailbox: str, affinity: Affinity) -> str:
        self.asked.append((self.clock.monotonic(), mailbox))
        self.affinities[mailbox] = affinity.anchor or mailbox, affinity.cookie
        if self.latency:
            await self.clock.sleep(self.latency)
        if self.failure is not None:
            raise self.failure
        if mailbox in self.refusing:
            error = self.refusing[mailbox]
            error.mailbox = mailbox
            raise error
        self._made += 1
        affinity.note([f"X-BackEndOverrideCookie=by-{affinity.anchor or mailbox}~1; path=/"])
        self.subscribed[f"id{self._made}"] = mailbox
        return f"id{self._made}"

    async def unsubscribe(self, subscription: str, mailbox: str, affinity: Affinity) -> None:
        if self.latency:
            await self.clock.sleep(self.latency)
        if self.failure is not None:
            raise self.failure
        self.ended.append(mailbox)
        self.subscribed.pop(subscription, None)

    async def listen(self, subscriptions: Sequence[str], affinity: Affinity) -> AsyncGenerator[Notice, None]:
        stream = Connection(self.clock.monotonic(), affinity.anchor, affinity.cookie, tuple(subscriptions))
        self.connections.append(stream)
        try:
            if self.unreachable is not None:
                raise self.unreachable
            if self.turned_away is not None:
                yield Notice(closed=True, refusal=self.turned_away)
                return
            unknown = tuple(each for each in subscriptions if each not in self.subscribed)
            if unknown:
                yield Notice(closed=True, refusal=Refusal("ErrorSubscriptionNotFound"), bad=unknown)
                return
            yield Notice()
            kept = tuple(each for each in subscriptions if self._waiting.pop(each, 0))
            if kept:
                yield Notice(changed=kept)
            while (notice := await stream.queue.get()) is not None:
                if isinstance(notice, SourceError):
                    raise notice
                yield notice
        finally:
            stream.open = False


class Scene:
    """A Following that runs, its server, and the hints it gave."""

    def __init__(self, settings: EwsSettings, server_of: Callable[[str], str]) -> None:
        self.clock = FakeClock()
        self.exchange = FakeExchange(self.clock)
        self.roster = Roster()
        self.hints: list[tuple[float, Hint]] = []
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.ended: BaseException | None = None
        self.following = Following(
            "hq",
            self.exchange,
            settings,
            self.clock,
            Random(5),
            server_of=server_of,
            log=lambda level, event, **fields: self.lines.append((event, fields)),
        )

    def employs(self, mailboxes: Iterable[str]) -> None:
        """These are to be followed from now on."""
        wanted = {mailbox: mailbox for mailbox in mailboxes}
        self.roster.become(wanted, _entry)

    def told(self, mailbox: str) -> list[str]:
        """The hints about one mailbox, by kind and code, in order."""
        return [f"{hint.kind} {hint.code}".strip() for _, hint in self.hints if hint.mailbox == mailbox]

    def times(self, kind: HintKind, mailbox: str) -> list[float]:
        """When there were hints of that kind about one mailbox."""
        return [at for at, hint in self.hints if hint.kind is kind and hint.mailbox == mailbox]

    def modes(self) -> Counter[str]:
        """How many mailboxes are in which mode by the last hint about it, and why."""
        newest = {hint.mailbox: f"{hint.kind} {hint.code}".strip() for _, hint in self.hints if hint.kind in MODES}
        return Counter(newest.values())

    async def listen(self) -> None:
        """Collect the hints until cancelled."""
        try:
            async for hint in self.following.hints(self.roster):
                self.hints.append((self.clock.monotonic(), hint))
        except SourceError as error:
            self.ended = error


MODES = (HintKind.STREAM, HintKind.POLL)


def _entry(person: str, mailbox: str) -> Entry:
    return Entry(person, mailbox, 0.0, MailboxHealth(person, mailbox))


def people(count: int) -> list[str]:
    """So many addresses in order."""
    return [f"p{number:05d}@example.com" for number in range(count)]


@asynccontextmanager
async def following(
    mailboxes: Iterable[str], settings: EwsSettings = SETTINGS, *, server_of: Callable[[str], str] = one_server
) -> AsyncIterator[Scene]:
    """A scene that runs until the block ends; nothing has happened yet."""
    scene = Scene(settings, server_of)
    scene.employs(mailboxes)
    task = asyncio.create_task(scene.listen())
    try:
        yield scene
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
