"""What Exchange says about subscriptions: the answer to Subscribe, and the documents of a notification stream.

A notification carries no content worth having: its subscription says which mailbox changed, and that is all we take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.sources.ews import soap
from gateway.sources.xml import OFF_LOOP, Element

_RESPONSE: Final = f"{{{soap.MESSAGES}}}GetStreamingEventsResponse"
_MESSAGE: Final = f"{{{soap.MESSAGES}}}GetStreamingEventsResponseMessage"
_STATUS: Final = f"{{{soap.MESSAGES}}}ConnectionStatus"
_NOTIFICATION: Final = f"{{{soap.MESSAGES}}}Notification"
_BAD: Final = f"{{{soap.MESSAGES}}}ErrorSubscriptionIds"
_ID: Final = f"{{{soap.TYPES}}}SubscriptionId"
_IDS: Final = frozenset({_ID, f"{{{soap.MESSAGES}}}SubscriptionId"})
_SUBSCRIBED: Final = f"{{{soap.MESSAGES}}}SubscribeResponse"
_SUBSCRIPTION: Final = f"{{{soap.MESSAGES}}}SubscriptionId"

_NO_NEWS: Final = frozenset(
    {_ID, *(f"{{{soap.TYPES}}}{name}" for name in ("StatusEvent", "PreviousWatermark", "MoreEvents", "Watermark"))}
)
"""Children of a Notification that do not say that something changed; whatever else there is does."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One document of a stream."""

    changed: tuple[str, ...] = ()
    """Subscriptions with news, each once."""
    closed: bool = False
    """The server ends this connection, after an error or because its time is over."""
    refusal: soap.Refusal | None = None
    """Why it is ended; None for its regular end."""
    bad: tuple[str, ...] = ()
    """Subscriptions the server does not know, among those asked for."""


def read_notice(document: bytes) -> Notice:
    """What one envelope says. Raises SourceProtocolError if it is none of a stream's."""
    content, _ = soap.open_envelope(document)
    if (refusal := soap.fault(content)) is not None:
        return Notice(closed=True, refusal=refusal)
    if content.tag != _RESPONSE:
        raise soap.unexpected("the document is not a GetStreamingEventsResponse", content)
    changed: dict[str, None] = {}
    bad: list[str] = []
    refusal, closed = None, False
    for message in content.iter(_MESSAGE):
        refusal = refusal or soap.refusal(message)
        for part in message:
            if part.tag == _STATUS:
                closed = closed or (part.text or "").strip() == "Closed"
            elif part.tag == _BAD:
                bad += [text for each in part if each.tag in _IDS and (text := (each.text or "").strip())]
        for notification in message.iter(_NOTIFICATION):
            if any(child.tag not in _NO_NEWS for child in notification):
                changed[(notification.findtext(_ID) or "").strip()] = None
    # An error ends the stream even where ConnectionStatus says OK (Gromox before July 2026).
    return Notice(tuple(changed), closed or refusal is not None, refusal, tuple(bad))


def read_subscription(body: bytes) -> str | soap.Refusal:
    """The id in the answer to Subscribe, or its refusal. Raises SourceProtocolError if it is neither."""
    content, _ = soap.open_envelope(body)
    if (refusal := soap.fault(content)) is not None:
        return refusal
    if content.tag != _SUBSCRIBED:
        raise soap.unexpected("the answer is not a SubscribeResponse", content)
    if (refusal := soap.any_refusal(content)) is not None:
        return refusal
    subscription = next((_text(found) for found in content.iter(_SUBSCRIPTION)), "")
    if not subscription:
        raise soap.unexpected("the answer names no subscription", content)
    return subscription


def is_long(document: bytes) -> bool:
    """Whether reading it would hold the event loop for more than a few milliseconds."""
    return len(document) > OFF_LOOP


def _text(element: Element) -> str:
    return (element.text or "").strip()
