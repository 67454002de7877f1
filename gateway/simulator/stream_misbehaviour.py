"""How each fault of a stream looks on the wire: one small coroutine per action that happens to an envelope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from gateway.simulator.ews import Envelope, Stream, Subscriptions
from gateway.simulator.faults import Rule

_BLANKS = b" " * 65536


class Over(Exception):
    """The stream is over. `how`: with its body, or its connection closed or reset; `ending` for the journal."""

    def __init__(self, how: str, ending: str) -> None:
        super().__init__(how)
        self.how = how
        self.ending = ending


class Sender(Protocol):
    """What a performer needs of whoever sends the stream."""

    @property
    def stream(self) -> Stream:
        """What it sends."""

    @property
    def subscriptions(self) -> Subscriptions:
        """Where the subscriptions are kept."""

    @property
    def sleep(self) -> Callable[[float], Awaitable[None]]:
        """How it waits, in seconds."""

    async def write(self, body: bytes) -> None:
        """Send some bytes."""

    def note(self, envelope: Envelope) -> None:
        """Write into the journal that an envelope goes out whole."""


Performer = Callable[[Sender, Rule, Envelope], Awaitable[None]]


async def perform(sender: Sender, rule: Rule, envelope: Envelope) -> None:
    """Do what a rule says in place of sending the envelope, after its delay. Raises Over."""
    if rule.delay:
        await sender.sleep(rule.delay)
    await STREAM_PERFORMERS[rule.action](sender, rule, envelope)


async def _cut(sender: Sender, rule: Rule, envelope: Envelope) -> None:
    await sender.write(envelope.body[: int(len(envelope.body) * rule.number_of("part"))])
    raise Over(rule.text("end"), rule.action)


async def _silent(sender: Sender, rule: Rule, envelope: Envelope) -> None:
    await rule.cleared.wait()
    raise Over("close", rule.action)


async def _malformed(sender: Sender, rule: Rule, envelope: Envelope) -> None:
    body = envelope.body
    cut = body.rindex(b"</", 0, body.rindex(b"</"))  # the last end tag but one
    await sender.write(body[:cut] + body[body.index(b">", cut) + 1 :])


async def _oversized(sender: Sender, rule: Rule, envelope: Envelope) -> None:
    end = envelope.body.rindex(b"</")
    missing = rule.whole("size") - len(envelope.body)
    sender.note(envelope)
    await sender.write(envelope.body[:end])
    while missing > 0:
        await sender.write(_BLANKS[:missing])
        missing -= len(_BLANKS)
    await sender.write(envelope.body[end:])


async def _endless(sender: Sender, rule: Rule, envelope: Envelope) -> None:
    repeated = envelope.body
    if rule.text("repeat") == "inside":
        start, end = _inside(repeated)
        await sender.write(repeated[:start])
        repeated = repeated[start:end]
    sender.note(envelope)
    while not rule.cleared.is_set():
        await sender.write(repeated)
        await sender.sleep(rule.number_of("seconds"))
    raise Over("close", rule.action)


def _inside(body: bytes) -> tuple[int, int]:
    """Where the content of the innermost-but-last element begins and ends: its notifications, or its status."""
    start = body.find(b"Notification>")
    if start < 0:
        start = body.index(b"ConnectionStatus>")
    start = body.rindex(b"<", 0, start)
    name = body[start + 1 : body.index(b">", start)]
    return start, body.rindex(b"</" + name + b">") + len(name) + 3


async def _error(sender: Sender, rule: Rule, envelope: Envelope) -> None:
    concerned = [each for each in sender.stream.subscriptions.values() if rule.mailbox.lower() in ("", each.address)]
    ids = [each.id for each in concerned] if rule.flag("blame") else []
    if rule.flag("forget"):
        sender.subscriptions.forget({each.address for each in concerned})
    status = rule.text("status")
    await sender.write(sender.stream.error(rule.text("code"), ids, status=status).body)
    if status != "OK":
        raise Over("body", rule.action)


async def _closed(sender: Sender, rule: Rule, envelope: Envelope) -> None:
    await sender.write(sender.stream.closed().body)
    raise Over("body", "closed")


STREAM_PERFORMERS: Mapping[str, Performer] = MappingProxyType(
    {
        "stream_cut": _cut,
        "stream_silent": _silent,
        "stream_malformed": _malformed,
        "stream_oversized": _oversized,
        "stream_endless": _endless,
        "stream_error": _error,
        "stream_closed": _closed,
    }
)
