"""The XML of notifications: events, notifications, messages, and the envelopes of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from gateway.simulator.ews import style
from gateway.simulator.ews.folders import parent_of
from gateway.simulator.ews.ids import folder_id, item_reference
from gateway.simulator.ews.options import SERVERS, EwsOptions
from gateway.simulator.ews.soap import DECLARATION, MESSAGES, M, S, T, text
from gateway.simulator.world import CALENDAR, Change, ChangeKind

_NAMES = {
    ChangeKind.CREATED: "CreatedEvent",
    ChangeKind.MODIFIED: "ModifiedEvent",
    ChangeKind.DELETED: "DeletedEvent",
    ChangeKind.MOVED: "MovedEvent",
}


def events(change: Change, moment: datetime, options: EwsOptions) -> list[tuple[str, str]]:
    """What one change makes: event types and their elements, in the order they are told.

    The item, directly followed by its free/busy, then the folder (recorded from 15.1.1591).
    """
    item = item_reference("ItemId", change.item_id, change.change_key)
    place = folder_id("ParentFolderId", change.address, change.folder)
    old = ""
    if change.kind is ChangeKind.MOVED:
        before = folder_id("OldParentFolderId", change.address, change.old_folder)
        old = item_reference("OldItemId", change.old_id, change.change_key) + before
    made = [(_NAMES[change.kind], item + place + old)]
    if options.streams.free_busy_changed and CALENDAR in (change.folder, change.old_folder):
        made.append(("FreeBusyChangedEvent", item + place))
    if options.streams.folder_events:
        itself = folder_id("FolderId", change.address, change.folder)
        above = folder_id("ParentFolderId", change.address, parent_of(change.folder))
        made.append(("ModifiedEvent", itself + above))
    stamp = f"<t:TimeStamp>{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</t:TimeStamp>"
    return [(name, f"<t:{name}>{stamp}{ids}</t:{name}>") for name, ids in made]


def status_event() -> str:
    """The event that says nothing happened."""
    return "<t:StatusEvent/>"


def notification(subscription_id: str, elements: Iterable[str], *, more: bool | None = None) -> str:
    """The events of one subscription; `more` adds MoreEvents."""
    flag = "" if more is None else f"<t:MoreEvents>{str(more).lower()}</t:MoreEvents>"
    identity = f"<t:SubscriptionId>{subscription_id}</t:SubscriptionId>"
    return f"<m:Notification>{identity}{flag}{''.join(elements)}</m:Notification>"


def message(notifications: Iterable[str] = (), *, status: str = "") -> str:
    """A good GetStreamingEvents message."""
    inside = "".join(notifications)
    news = f"<m:Notifications>{inside}</m:Notifications>" if inside else ""
    return _message("Success", "<m:ResponseCode>NoError</m:ResponseCode>" + news + _status(status))


def error(code: str, ids: Iterable[str], options: EwsOptions, *, status: str) -> str:
    """A failed GetStreamingEvents message; `ids` are the subscriptions to blame, if it is them."""
    prefix = "t" if options.streams.error_ids == "types" else "m"
    blamed = "".join(f"<{prefix}:SubscriptionId>{text(each)}</{prefix}:SubscriptionId>" for each in ids)
    return _message(
        "Error",
        f"<m:MessageText>{text(MESSAGES.get(code, 'The operation failed.'))}</m:MessageText>"
        f"<m:ResponseCode>{text(code)}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>"
        + (f"<m:ErrorSubscriptionIds>{blamed}</m:ErrorSubscriptionIds>" if blamed else "")
        + _status(status),
    )


def envelope(content: str, options: EwsOptions, *, first: bool) -> bytes:
    """One envelope of a stream, in the form recorded from 14.1 to 15.20; see `StreamOptions.prefixes`."""
    major, minor, build, revision = SERVERS[options.server].build
    schema = SERVERS[options.server].schema
    xml = (
        f'<Envelope xmlns="{S}"><soap11:Header xmlns:soap11="{S}"><ServerVersionInfo xmlns="{T}" '
        f'MajorVersion="{major}" MinorVersion="{minor}" MajorBuildNumber="{build}" MinorBuildNumber="{revision}" '
        f'Version="{schema}"/></soap11:Header><soap11:Body xmlns:soap11="{S}">{content}</soap11:Body></Envelope>'
    )
    switches = options.streams
    if switches.prefixes != "recorded":
        xml = style.restyled(xml, switches.prefixes)
    declared = switches.declaration == "always" or (switches.declaration == "once" and first)
    return ((DECLARATION if declared else "") + xml).encode()


def _message(kind: str, inside: str) -> str:
    name = "m:GetStreamingEventsResponseMessage"
    return (
        f'<m:GetStreamingEventsResponse xmlns:m="{M}" xmlns:t="{T}"><m:ResponseMessages>'
        f'<{name} ResponseClass="{kind}">{inside}</{name}></m:ResponseMessages></m:GetStreamingEventsResponse>'
    )


def _status(status: str) -> str:
    return f"<m:ConnectionStatus>{status}</m:ConnectionStatus>" if status else ""
