"""The properties of a CalendarItem, written in the order of the schema, as far as a shape asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from lxml import etree

from gateway.simulator.ews import recurrence_xml
from gateway.simulator.ews.ids import folder_id, item_id
from gateway.simulator.ews.soap import M, T, child_text, quoted, text
from gateway.simulator.recurrence import wall
from gateway.simulator.world import Busy, Occurrence, OccurrenceKind, Right, World
from gateway.simulator.zones import windows_id, zone_info

COMPLEX = frozenset(
    {"Body", "Categories", "RequiredAttendees", "OptionalAttendees", "Resources", "Attachments", "ExtendedProperty"}
)
"""Properties a client writes as elements of their own; kept and returned as they came."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request wants to see: the property URIs, and whether it comes from FindItem, which never gives
    more than flat properties."""

    wanted: frozenset[str]
    flat_only: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """One item as one caller sees it."""

    world: World
    one: Occurrence
    right: Right
    elsewhere: bool
    """Whether this client may see WorkingElsewhere."""

    @property
    def hidden(self) -> bool:
        """Whether the item is private and the caller is not its owner."""
        return self.one.item.sensitivity in ("Private", "Confidential") and self.right is not Right.OWNER


def read(element: etree._Element, *, flat_only: bool = False) -> Shape:
    """Parse the ItemShape of a request."""
    shape = element.find(f"{{{M}}}ItemShape")
    if shape is None:
        return Shape(frozenset(), flat_only)
    wanted = {str(field.get("FieldURI")) for field in shape.iter(f"{{{T}}}FieldURI")}
    base = child_text(shape, "BaseShape")
    if base == "Default":
        wanted |= _DEFAULT
    elif base == "AllProperties":
        wanted |= _PROPERTIES.keys()
    return Shape(frozenset(wanted), flat_only)


def calendar_item(sight: Sight, shape: Shape) -> str:
    """The CalendarItem element."""
    inner = [
        write(sight)
        for uri, write in _PROPERTIES.items()
        if uri in shape.wanted and not (shape.flat_only and uri in _NOT_FLAT)
    ]
    return f"<t:CalendarItem>{item_id(sight.one)}{''.join(inner)}</t:CalendarItem>"


def stamp(moment: datetime) -> str:
    """A time as calendar items carry it: UTC with a Z."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


Write = Callable[[Sight], str]


def _simple(name: str, value: Callable[[Sight], str | bool | int | None]) -> Write:
    def write(sight: Sight) -> str:
        found = value(sight)
        if found is None:
            return ""
        return f"<t:{name}>{str(found).lower() if isinstance(found, bool) else text(str(found))}</t:{name}>"

    return write


def _kept(name: str, otherwise: str | None = None) -> Write:
    """A property the client wrote, or its default."""

    def write(sight: Sight) -> str:
        value = sight.one.item.extra.get(name, otherwise)
        if value is None or (sight.hidden and name in COMPLEX):
            return ""
        return value if name in COMPLEX else f"<t:{name}>{text(value)}</t:{name}>"

    return write


def _body(sight: Sight) -> str:
    if sight.hidden:
        return ""
    return sight.one.item.extra.get("Body", '<t:Body BodyType="Text"></t:Body>')


def _zone(name: str) -> Write:
    def write(sight: Sight) -> str:
        zone = quoted(windows_id(sight.one.item.zone))
        return f"<t:{name} Id={zone} Name={zone}/>"

    return write


def _organizer(sight: Sight) -> str:
    mailbox = sight.world.mailbox(sight.one.item.address)
    return (
        f"<t:Organizer><t:Mailbox><t:Name>{text(mailbox.name)}</t:Name><t:EmailAddress>{text(mailbox.address)}"
        "</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType></t:Mailbox></t:Organizer>"
    )


def _recurrence(sight: Sight) -> str:
    item = sight.one.item
    if sight.one.kind is not OccurrenceKind.MASTER or item.recurrence is None:
        return ""
    return recurrence_xml.write(item.recurrence, wall(item.start, zone_info(item.zone)).date(), item.zone)


def _edge(name: str, last: bool) -> Write:
    def write(sight: Sight) -> str:
        series = sight.one.item.series
        if sight.one.kind is not OccurrenceKind.MASTER or series is None:
            return ""
        index = series.count() if last else 1
        times = series.nth(index) if index else None
        if times is None or index is None:
            return ""
        # The edges of a series are those of its pattern, whatever became of the occurrences themselves.
        edge = Occurrence(f"{sight.one.item_id}.{int(times[0].timestamp())}", sight.one.change_key, *times,
                          OccurrenceKind.OCCURRENCE, sight.one.item)  # fmt: skip
        return f"<t:{name}>{_occurrence(edge, times[0])}</t:{name}>"

    return write


def _occurrence(one: Occurrence, original: datetime) -> str:
    return (
        f"{item_id(one)}<t:Start>{stamp(one.start)}</t:Start><t:End>{stamp(one.end)}</t:End>"
        f"<t:OriginalStart>{stamp(original)}</t:OriginalStart>"
    )


def _modified(sight: Sight) -> str:
    master = sight.one.item
    if sight.one.kind is not OccurrenceKind.MASTER or not master.deviations:
        return ""
    found = [sight.world.occurrence(master.item_id, master.deviations[key].index) for key in sorted(master.deviations)]
    inner = "".join(
        f"<t:Occurrence>{_occurrence(one, one.original_start or one.start)}</t:Occurrence>" for one in found
    )
    return f"<t:ModifiedOccurrences>{inner}</t:ModifiedOccurrences>"


def _deleted(sight: Sight) -> str:
    master = sight.one.item
    if sight.one.kind is not OccurrenceKind.MASTER or not master.deleted:
        return ""
    inner = "".join(
        f"<t:DeletedOccurrence><t:Start>{stamp(original)}</t:Start></t:DeletedOccurrence>"
        for original in sorted(master.deleted)
    )
    return f"<t:DeletedOccurrences>{inner}</t:DeletedOccurrences>"


def _busy(sight: Sight) -> str:
    busy = sight.one.item.busy
    return Busy.FREE.value if busy is Busy.WORKING_ELSEWHERE and not sight.elsewhere else busy.value


def _in_series(sight: Sight) -> bool:
    return sight.one.original_start is not None


def _is_meeting(sight: Sight) -> bool:
    extra = sight.one.item.extra
    return "RequiredAttendees" in extra or "OptionalAttendees" in extra or "Resources" in extra


def _state(sight: Sight) -> int:
    return _is_meeting(sight) * 1 + sight.one.item.cancelled * 4


def _duration(sight: Sight) -> str:
    minutes = round((sight.one.end - sight.one.start).total_seconds() / 60)
    return f"PT{minutes}M"


def _original(sight: Sight) -> str | None:
    return stamp(sight.one.original_start) if sight.one.original_start else None


_PROPERTIES: dict[str, Write] = {
    "item:ParentFolderId": lambda s: folder_id("ParentFolderId", s.one.item.address, s.one.item.folder),
    "item:ItemClass": _simple("ItemClass", lambda s: f"IPM.Appointment{'.Occurrence' * _in_series(s)}"),
    "item:Subject": _simple("Subject", lambda s: "Private Appointment" if s.hidden else s.one.item.subject or None),
    "item:Sensitivity": _simple("Sensitivity", lambda s: s.one.item.sensitivity),
    "item:Body": _body,
    "item:Attachments": _kept("Attachments"),
    "item:DateTimeReceived": _simple("DateTimeReceived", lambda s: stamp(s.one.item.created)),
    "item:Size": _simple("Size", lambda s: 4096),
    "item:Categories": _kept("Categories"),
    "item:Importance": _kept("Importance", "Normal"),
    "item:IsDraft": _simple("IsDraft", lambda s: False),
    "item:DateTimeSent": _simple("DateTimeSent", lambda s: stamp(s.one.item.created)),
    "item:DateTimeCreated": _simple("DateTimeCreated", lambda s: stamp(s.one.item.created)),
    "item:ReminderDueBy": _simple("ReminderDueBy", lambda s: stamp(s.one.start)),
    "item:ReminderIsSet": _kept("ReminderIsSet", "false"),
    "item:ReminderMinutesBeforeStart": _kept("ReminderMinutesBeforeStart", "15"),
    "item:HasAttachments": _simple("HasAttachments", lambda s: "Attachments" in s.one.item.extra),
    "item:Culture": _kept("Culture", "en-US"),
    "item:LastModifiedTime": _simple("LastModifiedTime", lambda s: stamp(s.one.item.modified)),
    "calendar:UID": _simple("UID", lambda s: s.one.item.extra.get("UID", s.one.item.uid)),
    "calendar:RecurrenceId": _simple("RecurrenceId", _original),
    "calendar:Start": _simple("Start", lambda s: stamp(s.one.start)),
    "calendar:End": _simple("End", lambda s: stamp(s.one.end)),
    "calendar:OriginalStart": _simple("OriginalStart", _original),
    "calendar:IsAllDayEvent": _simple("IsAllDayEvent", lambda s: s.one.item.all_day),
    "calendar:LegacyFreeBusyStatus": _simple("LegacyFreeBusyStatus", _busy),
    "calendar:Location": _simple("Location", lambda s: None if s.hidden else s.one.item.location or None),
    "calendar:When": _kept("When"),
    "calendar:IsMeeting": _simple("IsMeeting", _is_meeting),
    "calendar:IsCancelled": _simple("IsCancelled", lambda s: s.one.item.cancelled),
    # A master fetched alone says it is not recurring; its occurrences say they are.
    "calendar:IsRecurring": _simple("IsRecurring", _in_series),
    "calendar:MeetingRequestWasSent": _simple("MeetingRequestWasSent", lambda s: False),
    "calendar:IsResponseRequested": _kept("IsResponseRequested", "true"),
    "calendar:CalendarItemType": _simple("CalendarItemType", lambda s: s.one.kind.value),
    "calendar:MyResponseType": _simple("MyResponseType", lambda s: "Organizer" if _is_meeting(s) else "Unknown"),
    "calendar:Organizer": _organizer,
    "calendar:RequiredAttendees": _kept("RequiredAttendees"),
    "calendar:OptionalAttendees": _kept("OptionalAttendees"),
    "calendar:Resources": _kept("Resources"),
    "calendar:Duration": _simple("Duration", _duration),
    "calendar:AppointmentSequenceNumber": _simple("AppointmentSequenceNumber", lambda s: 0),
    "calendar:AppointmentState": _simple("AppointmentState", _state),
    "calendar:Recurrence": _recurrence,
    "calendar:FirstOccurrence": _edge("FirstOccurrence", last=False),
    "calendar:LastOccurrence": _edge("LastOccurrence", last=True),
    "calendar:ModifiedOccurrences": _modified,
    "calendar:DeletedOccurrences": _deleted,
    "calendar:StartTimeZone": _zone("StartTimeZone"),
    "calendar:EndTimeZone": _zone("EndTimeZone"),
    "calendar:ConferenceType": _kept("ConferenceType", "0"),
    "calendar:AllowNewTimeProposal": _kept("AllowNewTimeProposal", "true"),
    "calendar:IsOnlineMeeting": _simple("IsOnlineMeeting", lambda s: False),
    "calendar:MeetingWorkspaceUrl": _kept("MeetingWorkspaceUrl"),
    "calendar:NetShowUrl": _kept("NetShowUrl"),
}
_DEFAULT = {
    *("item:Subject", "item:HasAttachments", "calendar:Start", "calendar:End", "calendar:LegacyFreeBusyStatus"),
    *("calendar:Location", "calendar:CalendarItemType", "calendar:Organizer"),
}
_NOT_FLAT = {
    *("item:Body", "item:Attachments", "calendar:RequiredAttendees", "calendar:OptionalAttendees"),
    *("calendar:Resources", "calendar:Recurrence", "calendar:FirstOccurrence", "calendar:LastOccurrence"),
    *("calendar:ModifiedOccurrences", "calendar:DeletedOccurrences"),
}
