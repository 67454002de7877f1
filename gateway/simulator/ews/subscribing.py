"""Subscribe, Unsubscribe, GetStreamingEvents, and what is said to pull and push.

Only streaming subscriptions are made here; each belongs to the account that made it, whomever it impersonated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lxml import etree

from gateway.simulator.ews import stream_xml
from gateway.simulator.ews.folders import FOLDERS, may_open
from gateway.simulator.ews.ids import unpack_folder
from gateway.simulator.ews.messages import collect
from gateway.simulator.ews.options import REQUEST_VERSIONS, SERVERS
from gateway.simulator.ews.soap import Fault, M, Refused, Request, SchemaFault, T, child_text, line_of
from gateway.simulator.ews.streams import Stream, Subscriptions
from gateway.simulator.world import Right

EVENT_TYPES = frozenset(
    f"{kind}Event" for kind in ("Copied", "Created", "Deleted", "Modified", "Moved", "NewMail", "FreeBusyChanged")
)
_STREAMS_SINCE = REQUEST_VERSIONS.index("Exchange2010_SP1")
_FEW_STREAMS, _STREAMS = 3, 10


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who made it, whom it acts as, and the mailbox server it reached."""

    request: Request
    creator: str
    acting: str
    server: int


def subscribe(registry: Subscriptions, call: Call) -> str:
    """Answer Subscribe."""
    kinds = list(call.request.element)
    if len(kinds) != 1:
        raise SchemaFault("Subscribe takes exactly one subscription request.", line_of(call.request.element))

    def one(element: etree._Element) -> str:
        if element.tag != f"{{{M}}}StreamingSubscriptionRequest":
            raise Refused("ErrorInvalidSubscriptionRequest", "Only streaming subscriptions are supported here.")
        _check_version(call.request)
        event_types = _event_types(element)
        address, folders = _targets(registry, element, call.acting)
        made = registry.subscribe(call.creator, address, call.server, folders, event_types)
        return f"<m:SubscriptionId>{made.id}</m:SubscriptionId>"

    return collect("Subscribe", kinds, one)


def unsubscribe(registry: Subscriptions, call: Call) -> str:
    """Answer Unsubscribe."""

    def one(element: etree._Element) -> str:
        registry.unsubscribe((element.text or "").strip(), call.creator, call.server)
        return ""

    return collect("Unsubscribe", call.request.element.iterfind(f"{{{M}}}SubscriptionId"), one)


def get_events(registry: Subscriptions, call: Call) -> str:
    """Answer GetEvents: there are no pull subscriptions."""

    def one(element: etree._Element) -> str:
        raise Refused("ErrorInvalidPullSubscriptionId", "The subscription is not a pull subscription.")

    return collect("GetEvents", call.request.element.iterfind(f"{{{M}}}SubscriptionId"), one)


OPERATIONS: dict[str, Callable[[Subscriptions, Call], str]] = {
    "Subscribe": subscribe,
    "Unsubscribe": unsubscribe,
    "GetEvents": get_events,
}
"""Body element of the request to what answers it."""


def get_streaming_events(registry: Subscriptions, call: Call) -> Stream:
    """The stream that answers GetStreamingEvents, not yet open. Raises Fault, SchemaFault."""
    _check_version(call.request)
    element, switches = call.request.element, registry.options.streams
    minutes = _minutes(element)
    tokens = [(each.text or "").strip() for each in element.iterfind(f"{{{M}}}SubscriptionIds/{{{T}}}SubscriptionId")]
    if not tokens:
        raise SchemaFault("The element 'SubscriptionIds' has incomplete content.", line_of(element))
    if len(tokens) > switches.ids_per_stream:
        raise Fault("ErrorInvalidRequest", f"At most {switches.ids_per_stream} subscriptions per connection.")
    timeout_s = minutes * switches.minute_s
    found, bad = [], {}
    for token in tokens:
        try:
            found.append(registry.find(token, call.creator, call.server))
        except Refused as refused:
            bad[token] = refused.code
    if bad:
        code = next(iter(bad.values()))
        refusal = stream_xml.error(code, bad, registry.options, status=switches.error_status)
        return Stream(registry, (), charged=call.acting, timeout_s=timeout_s, refusal=refusal)
    taken = {each.stream for each in found}  # a stream that loses a subscription ends, and counts no more
    used = sum(each.charged == call.acting and each not in taken for each in registry.streams)
    if used >= (limit := _stream_limit(registry)):
        return _one_too_many(registry, call, limit)
    return Stream(registry, found, charged=call.acting, timeout_s=timeout_s)


def _one_too_many(registry: Subscriptions, call: Call, limit: int) -> Stream:
    code = "ErrorExceededConnectionCount"
    if registry.options.streams.exceeded_connections == "fault":
        policy = {"Policy": "MaxStreamingConcurrency", "MaxConcurrencyLimit": str(limit), "ErrorMessage": code}
        raise Fault(code, values=policy)
    refusal = stream_xml.error(code, (), registry.options, status="Closed")
    return Stream(registry, (), charged=call.acting, timeout_s=0, refusal=refusal)


def _stream_limit(registry: Subscriptions) -> int:
    limit = registry.options.streams.streams_per_mailbox
    if limit is not None:
        return limit
    return _FEW_STREAMS if SERVERS[registry.options.server].build < (15, 1) else _STREAMS


def _check_version(request: Request) -> None:
    """Streams came with 2010 SP1."""
    if REQUEST_VERSIONS.index(request.version) < _STREAMS_SINCE:
        raise Fault("ErrorInvalidServerVersion")


def _minutes(element: etree._Element) -> int:
    value = element.findtext(f"{{{M}}}ConnectionTimeout", "").strip()
    if not value.isdigit() or not 1 <= int(value) <= 30:
        raise SchemaFault(f"The 'ConnectionTimeout' element is invalid: '{value}'.", line_of(element))
    return int(value)


def _event_types(element: etree._Element) -> frozenset[str]:
    found = frozenset((each.text or "").strip() for each in element.iterfind(f"{{{T}}}EventTypes/{{{T}}}EventType"))
    if not found or found - EVENT_TYPES:
        raise SchemaFault(f"The 'EventTypes' element is invalid: {', '.join(sorted(found))}", line_of(element))
    return found


def _targets(registry: Subscriptions, element: etree._Element, acting: str) -> tuple[str, frozenset[str] | None]:
    """The mailbox and the folders of it (None: all) a request is about. Raises Refused."""
    if element.get("SubscribeToAllFolders") in ("true", "1"):
        asked = {(acting, "")}
    else:
        holder = element.find(f"{{{T}}}FolderIds")
        asked = {_place(each, acting) for each in (holder if holder is not None else ())}
    addresses = {address for address, _ in asked}
    if len(addresses) != 1:
        raise Refused("ErrorInvalidSubscriptionRequest", "A subscription is about one mailbox.")
    (address,) = addresses
    if address == acting and acting not in registry.world.mailboxes:
        raise Refused("ErrorMissingEmailAddress")
    if may_open(registry.world, address, acting) is not Right.OWNER:
        raise Refused("ErrorSubscriptionDelegateAccessNotSupported")
    names = {name for _, name in asked}
    if "" in names:
        return address, None
    if names - FOLDERS:
        raise Refused("ErrorFolderNotFound")
    return address, frozenset(names)


def _place(element: etree._Element, acting: str) -> tuple[str, str]:
    if element.tag == f"{{{T}}}DistinguishedFolderId":
        address = child_text(element, "Mailbox/EmailAddress") or acting
        return address.lower(), element.get("Id") or ""
    address, name = unpack_folder(element.get("Id") or "")
    return address.lower(), name
