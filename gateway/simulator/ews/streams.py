"""Subscriptions and streams: who hears of which mailbox, what waits for whom, and what a stream says next.

No I/O: whoever holds a `Stream` asks it for envelopes, and is called back when there is something to ask for.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from gateway.simulator.ews import stream_xml
from gateway.simulator.ews.backends import server_name
from gateway.simulator.ews.options import SERVERS, EwsOptions
from gateway.simulator.ews.soap import Refused
from gateway.simulator.ews.subscription_ids import mint, well_formed
from gateway.simulator.world import SILENT, Change, World

Signal = Literal["news", "taken", "unsubscribed"]
"""What a stream tells its holder: there is news; another stream took a subscription over; one is no more."""
EnvelopeKind = Literal["hello", "news", "heartbeat", "closed", "error"]
_COUNTED_FROM = datetime(2026, 1, 1, tzinfo=UTC)
_ONLINE_LIMIT, _LIMIT = 20, 5000


@dataclass(frozen=True, slots=True)
class Event:
    """One event that waits, and from when on it may be told."""

    due: datetime
    element: str


@dataclass(slots=True, eq=False)
class Subscription:
    """One streaming subscription to one mailbox. `folders` is None for all of them."""

    id: str
    creator: str
    address: str
    server: int
    folders: frozenset[str] | None
    event_types: frozenset[str]
    idle_since: datetime
    queue: list[Event] = field(default_factory=list)
    stream: Stream | None = None

    def concerns(self, change: Change) -> bool:
        """Whether a change of the mailbox is in a folder somebody listens to."""
        return self.folders is None or not self.folders.isdisjoint((change.folder, change.old_folder))


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a stream says at once, and about whom: `told` has (mailbox, number of events) pairs."""

    kind: EnvelopeKind
    body: bytes
    told: tuple[tuple[str, int], ...] = ()


class Subscriptions:
    """All subscriptions of a server, by id, and the streams that are open."""

    def __init__(self, world: World, options: Callable[[], EwsOptions], now: Callable[[], datetime]) -> None:
        self.world = world
        self.now = now
        self._options = options
        self._by_id: dict[str, Subscription] = {}
        self._by_mailbox: dict[str, dict[str, Subscription]] = {}
        self._made = 0
        self.streams: set[Stream] = set()
        world.on_change(self._changed)

    @property
    def options(self) -> EwsOptions:
        """The switches in force."""
        return self._options()

    @property
    def live(self) -> tuple[Subscription, ...]:
        """All subscriptions that have not expired."""
        return tuple(each for each in tuple(self._by_id.values()) if not self._expired(each))

    def subscribe(
        self, creator: str, address: str, server: int, folders: frozenset[str] | None, event_types: frozenset[str]
    ) -> Subscription:
        """A new subscription. Raises Refused(ErrorExceededSubscriptionCount)."""
        limit = self.options.streams.subscriptions_per_mailbox
        if limit is None:
            limit = _ONLINE_LIMIT if self.options.server == "Online" else _LIMIT
        there = [each for each in tuple(self._by_mailbox.get(address, {}).values()) if not self._expired(each)]
        if len(there) >= limit:
            raise Refused("ErrorExceededSubscriptionCount")
        made = Subscription(self._next_id(address, server), creator, address, server, folders, event_types, self.now())
        self._by_id[made.id] = self._by_mailbox.setdefault(address, {})[made.id] = made
        return made

    def unsubscribe(self, token: str, creator: str, server: int) -> None:
        """End a subscription; a stream that carries it hears of it. Raises Refused."""
        subscription = self.find(token, creator, server)
        self._forget(subscription)
        if subscription.stream is not None:
            subscription.stream.lose(subscription, "unsubscribed")

    def find(self, token: str, creator: str, server: int) -> Subscription:
        """A live subscription of this creator on this server. Raises Refused."""
        if not well_formed(token):
            raise Refused("ErrorInvalidSubscription")
        found = self._by_id.get(token)
        if found is None or found.server != server or self._expired(found):
            raise Refused(self.options.streams.unknown_id)
        if found.creator != creator:
            raise Refused("ErrorSubscriptionAccessDenied")
        return found

    def forget_all(self) -> None:
        """What a restart does: no id means anything any more, and counting ids begin anew."""
        self._by_id.clear()
        self._by_mailbox.clear()
        self._made = 0

    def forget(self, addresses: Iterable[str]) -> None:
        """Drop all subscriptions to these mailboxes without a word to anybody."""
        for address in addresses:
            for subscription in tuple(self._by_mailbox.get(address, {}).values()):
                self._forget(subscription)

    # --- inside

    def _next_id(self, address: str, server: int) -> str:
        self._made += 1
        if self.options.streams.ids == "counting":
            return mint(server_name(server), uuid.UUID(int=self._made), _COUNTED_FROM, None)
        mailbox = uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{address}")
        recent = SERVERS[self.options.server].build >= (15, 1)
        return mint(server_name(server), uuid.uuid4(), self.now(), mailbox if recent else None)

    def _expired(self, subscription: Subscription) -> bool:
        if subscription.stream is not None:
            return False
        lifetime = timedelta(seconds=self.options.streams.lifetime_s)
        if self.now() - subscription.idle_since < lifetime:
            return False
        self._forget(subscription)
        return True

    def _forget(self, subscription: Subscription) -> None:
        self._by_id.pop(subscription.id, None)
        self._by_mailbox.get(subscription.address, {}).pop(subscription.id, None)

    def _changed(self, change: Change) -> None:
        listening = self._by_mailbox.get(change.address)
        if not listening or self.world.fault(change.address) == SILENT:
            return
        now, switches = self.now(), self.options.streams
        for subscription in tuple(listening.values()):
            if not subscription.concerns(change) or self._expired(subscription):
                continue
            for save in range(switches.saves):
                due = now + timedelta(seconds=save * switches.save_gap_s)
                made = stream_xml.events(change, due, self.options)
                wanted = [Event(due, element) for name, element in made if name in subscription.event_types]
                subscription.queue += wanted
            subscription.queue.sort(key=lambda event: event.due)
            if subscription.queue and subscription.stream is not None:
                subscription.stream.hear(subscription)


class Stream:
    """One answer to GetStreamingEvents that goes on. `open` connects the subscriptions, `close` lets them go.

    `charged` is whose allowance of open streams it uses. A stream with a `refusal` has nothing but that to
    say; one that is not `lasting` is over when it has.
    """

    def __init__(
        self,
        registry: Subscriptions,
        subscriptions: Iterable[Subscription],
        *,
        charged: str,
        timeout_s: float,
        refusal: str = "",
    ) -> None:
        self.subscriptions = {each.id: each for each in subscriptions}
        self.charged = charged
        self.timeout_s = timeout_s
        self.lasting = not refusal or registry.options.streams.error_status == "OK"
        self.notify: Callable[[Signal], None] = lambda signal: None
        self.lost: list[str] = []
        """Subscriptions that ended under it, by id."""
        self._registry = registry
        self._refusal = refusal
        self._ready: dict[str, Subscription] = {}
        self._said = 0
        self._hello: Envelope | None = None

    @property
    def mailboxes(self) -> tuple[str, ...]:
        """Whom it is about."""
        return tuple(dict.fromkeys(each.address for each in self.subscriptions.values()))

    def open(self, notify: Callable[[Signal], None]) -> None:
        """Connect the subscriptions: news calls `notify` from now on. A stream that had one of them loses it."""
        self.notify = notify
        self._registry.streams.add(self)
        for subscription in self.subscriptions.values():
            if subscription.stream is not None:
                subscription.stream.lose(subscription, "taken")
            subscription.stream = self
            if subscription.queue:
                self._ready[subscription.id] = subscription

    def close(self) -> None:
        """Let the subscriptions go; they live on by themselves for a while. Harmless twice."""
        self._registry.streams.discard(self)
        self._ready.clear()
        for subscription in self.subscriptions.values():
            if subscription.stream is self:
                subscription.stream = None
                subscription.idle_since = self._registry.now()

    def hear(self, subscription: Subscription) -> None:
        """A subscription has something to say."""
        self._ready[subscription.id] = subscription
        self.notify("news")

    def lose(self, subscription: Subscription, why: Signal) -> None:
        """A subscription is no longer ours."""
        self.subscriptions.pop(subscription.id, None)
        self._ready.pop(subscription.id, None)
        self.lost.append(subscription.id)
        self.notify(why)

    @property
    def next_due(self) -> datetime | None:
        """When the earliest event that waits may be told."""
        return min((each.queue[0].due for each in self._ready.values() if each.queue), default=None)

    # --- what it says

    def hello(self) -> Envelope:
        """The first envelope: connected, or why not. The same one however often it is asked for."""
        if self._hello is None:
            content = self._refusal or stream_xml.message(status="OK")
            self._hello = self._envelope("error" if self._refusal else "hello", content)
        return self._hello

    def news(self, until: datetime, dropped: Callable[[str], bool] = lambda address: False) -> list[Envelope]:
        """Everything due by `until`, at most so many events of each subscription in one envelope.

        `dropped` is asked about the mailbox of each notification, whether it gets lost on the way.
        """
        switches = self._registry.options.streams
        made = []
        while due := [each for each in tuple(self._ready.values()) if each.queue and each.queue[0].due <= until]:
            parts = []
            for subscription in due[:1] if switches.one_notification else due:
                taken, more = self._take(subscription, until, switches.events_per_envelope)
                if not dropped(subscription.address):
                    flag = more if switches.notification_status else None
                    xml = stream_xml.notification(subscription.id, [event.element for event in taken], more=flag)
                    parts.append((xml, (subscription.address, len(taken))))
            if parts:
                status = "OK" if switches.notification_status else ""
                content = stream_xml.message([xml for xml, _ in parts], status=status)
                made.append(self._envelope("news", content, tuple(told for _, told in parts)))
        return made

    def heartbeat(self) -> Envelope | None:
        """The sign of life, if the server gives any."""
        kind = self._registry.options.streams.heartbeat
        if kind == "none":
            return None
        if kind == "empty" or not self.subscriptions:
            return self._envelope("heartbeat", stream_xml.message(status="OK"))
        nothing = [stream_xml.notification(each, [stream_xml.status_event()]) for each in self.subscriptions]
        return self._envelope("heartbeat", stream_xml.message(nothing, status="OK"))

    def closed(self) -> Envelope:
        """The last word of a stream that ended well."""
        return self._envelope("closed", stream_xml.message(status="Closed"))

    def error(self, code: str, ids: Iterable[str] = (), *, status: str = "Closed") -> Envelope:
        """An error in the middle of the stream."""
        return self._envelope("error", stream_xml.error(code, ids, self._registry.options, status=status))

    def _take(self, subscription: Subscription, until: datetime, most: int) -> tuple[list[Event], bool]:
        queue = subscription.queue
        taken = [event for event in queue[: max(1, most)] if event.due <= until]
        del queue[: len(taken)]
        if not queue:
            self._ready.pop(subscription.id, None)
        return taken, bool(queue) and queue[0].due <= until

    def _envelope(self, kind: EnvelopeKind, content: str, told: tuple[tuple[str, int], ...] = ()) -> Envelope:
        self._said += 1
        body = stream_xml.envelope(content, self._registry.options, first=self._said == 1)
        return Envelope(kind, body, told)
