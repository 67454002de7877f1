"""CreateItem, UpdateItem, DeleteItem and MoveItem for calendar items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from gateway.simulator.ews import ids, recurrence_xml
from gateway.simulator.ews.folders import locate, may_open, named
from gateway.simulator.ews.messages import collect
from gateway.simulator.ews.options import EwsOptions
from gateway.simulator.ews.reading import moment
from gateway.simulator.ews.shape import COMPLEX
from gateway.simulator.ews.soap import Refused, Request, SchemaFault, T, line_of, quoted, text
from gateway.simulator.world import (
    DELETED_ITEMS,
    BadRecurrence,
    Busy,
    CrossesNeighbour,
    NoSuchItem,
    Occurrence,
    Right,
    World,
)
from gateway.simulator.zones import UnknownZone, zone_info

_TEXTS = {"Subject": "subject", "Location": "location", "Sensitivity": "sensitivity"}
_EMPTY = {"Subject": "", "Location": "", "Recurrence": None}
_ONLY_SERIES = {"Recurrence", "UID"}


@dataclass(slots=True)
class Draft:
    """What a client wrote: World fields, and the extra properties beside them (None removes one)."""

    fields: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, str | None] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)

    def take(self, element: etree._Element) -> None:
        """Take over one property element. Raises Refused."""
        name, value = etree.QName(element).localname, (element.text or "").strip()
        match name:
            case "Start" | "End":
                self.times[name.lower()] = value
            case "StartTimeZone" | "MeetingTimeZone" | "EndTimeZone":
                if name != "EndTimeZone":  # both ends of an appointment use one zone here
                    self.fields["zone"] = _zone(element)
            case "IsAllDayEvent":
                self.fields["all_day"] = value in ("true", "1")
            case "LegacyFreeBusyStatus":
                self.fields["busy"] = _busy(value)
            case "Recurrence":
                self.fields["recurrence"] = recurrence_xml.read(element)
            case _ if name in _TEXTS:
                self.fields[_TEXTS[name]] = value
            case _:
                self.extra[name] = _verbatim(element) if name in COMPLEX or len(element) else value

    def drop(self, name: str) -> None:
        """Remove one property."""
        if name in _EMPTY:
            self.fields[name.lower()] = _EMPTY[name]
        else:
            self.extra[name] = None

    def settled(self, zone: str | None) -> dict[str, Any]:
        """The fields for the World; naive times are wall time of the draft's zone, or else of `zone`."""
        fields: dict[str, Any] = dict(self.fields)
        for name, value in self.times.items():
            fields[name] = moment(value, fields.get("zone") or zone)
        if self.extra:
            fields["extra"] = self.extra
        return fields


def create_item(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer CreateItem."""
    element = request.element

    def one(item: etree._Element) -> str:
        if element.get("SendMeetingInvitations") is None:
            raise Refused("ErrorSendMeetingInvitationsRequired", "SendMeetingInvitations is required.")
        if item.tag != f"{{{T}}}CalendarItem":
            raise Refused("ErrorInvalidItemForOperationCreateItem", "Only calendar items can be created here.")
        targets = list(named(element, "SavedItemFolderId"))
        target = targets[0] if targets else etree.Element(f"{{{T}}}DistinguishedFolderId", Id="calendar")
        folder = locate(world, target, caller)
        if folder.right is not Right.OWNER:
            raise Refused("ErrorAccessDenied")
        draft = Draft()
        for child in item:
            draft.take(child)
        fields = draft.settled(request.zone or world.mailbox(folder.address).zone)
        fields["extra"] = {name: value for name, value in draft.extra.items() if value is not None}
        if "start" not in fields or "end" not in fields:
            raise Refused("ErrorRequiredPropertyMissing", "Start and End are required.")
        fields.setdefault("zone", request.zone)
        with _refusals():
            booked = world.book(folder.address, **fields)
        return _items(world.find(booked.item_id))

    return collect("CreateItem", named(element, "Items"), one)


def update_item(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer UpdateItem."""
    overwrite = request.element.get("ConflictResolution") == "AlwaysOverwrite"
    strict = request.element.get("ConflictResolution") == "NeverOverwrite"

    def one(change: etree._Element) -> str:
        target, updates = next(iter(change), change), change.find(f"{{{T}}}Updates")
        found = _own(world, target, caller)
        key = ids.change_key(target)
        if key is None and not overwrite:
            raise Refused("ErrorChangeKeyRequired", "A change key is required for this operation.")
        if strict and key != found.change_key:
            raise Refused("ErrorIrresolvableConflict")
        draft = Draft()
        for update in updates if updates is not None else ():
            _apply(update, draft, found)
        with _refusals():
            changed = world.change(found.item_id, **draft.settled(request.zone or found.item.zone))
        return _items(changed) + "<m:ConflictResults><t:Count>0</t:Count></m:ConflictResults>"

    return collect("UpdateItem", named(request.element, "ItemChanges"), one)


def delete_item(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer DeleteItem."""
    to = DELETED_ITEMS if request.element.get("DeleteType") == "MoveToDeletedItems" else None

    def one(element: etree._Element) -> str:
        if request.element.get("SendMeetingCancellations") is None:
            raise Refused("ErrorSendMeetingCancellationsRequired", "SendMeetingCancellations is required.")
        found = _own(world, element, caller)
        world.delete(found.item_id, to=to)
        return ""

    return collect("DeleteItem", named(request.element, "ItemIds"), one)


def move_item(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer MoveItem, within one mailbox. Raises SchemaFault."""
    target = next(named(request.element, "ToFolderId"), None)
    if target is None:
        raise SchemaFault("MoveItem needs a ToFolderId", line_of(request.element))

    def one(element: etree._Element) -> str:
        found = _own(world, element, caller)
        if found.original_start is not None:
            raise Refused("ErrorCalendarCannotMoveOrCopyOccurrence", "Occurrences cannot leave their series.")
        folder = locate(world, target, caller)
        if folder.address != found.item.address:
            raise Refused("ErrorMoveCopyFailed", "Items cannot be moved to another mailbox here.")
        return _items(world.find(world.file(found.item_id, folder.name).item_id))

    return collect("MoveItem", named(request.element, "ItemIds"), one)


def _own(world: World, element: etree._Element, caller: str) -> Occurrence:
    """The item behind an id, which the caller must own. Raises Refused."""
    found = ids.find(world, element)
    if may_open(world, found.item.address, caller) is not Right.OWNER:
        raise Refused("ErrorAccessDenied")
    return found


def _apply(update: etree._Element, draft: Draft, found: Occurrence) -> None:
    field_uri = update.find(f"{{{T}}}FieldURI")
    name = str(field_uri.get("FieldURI") if field_uri is not None else "").partition(":")[2]
    deletes = update.tag == f"{{{T}}}DeleteItemField"
    if found.original_start is not None and name in _ONLY_SERIES:
        raise Refused(
            "ErrorInvalidPropertyDelete" if deletes else "ErrorInvalidPropertySet",
            f"{name} cannot be changed on an occurrence.",
        )
    if deletes:
        draft.drop(name)
        return
    for holder in update.iterchildren(f"{{{T}}}CalendarItem", f"{{{T}}}Item"):
        for child in holder:
            draft.take(child)


def _items(one: Occurrence) -> str:
    return f"<m:Items><t:CalendarItem>{ids.item_id(one)}</t:CalendarItem></m:Items>"


@contextmanager
def _refusals() -> Iterator[None]:
    """Translate what the World refuses."""
    try:
        yield
    except CrossesNeighbour:
        raise Refused("ErrorOccurrenceCrossingBoundary") from None
    except NoSuchItem:
        raise Refused("ErrorItemNotFound") from None
    except UnknownZone:
        raise Refused("ErrorTimeZone", "The time zone is not valid.") from None
    except BadRecurrence as error:
        raise Refused("ErrorInvalidRecurrence", str(error)) from None
    except ValueError as error:
        raise Refused("ErrorCalendarEndDateIsEarlierThanStartDate", str(error)) from None


def _zone(element: etree._Element) -> str:
    name = element.get("Id") or element.get("TimeZoneName") or ""
    try:
        return zone_info(name).key
    except UnknownZone:
        raise Refused("ErrorTimeZone", "The time zone is not valid.") from None


def _busy(value: str) -> Busy:
    try:
        return Busy(value)
    except ValueError:
        raise Refused("ErrorInvalidValueForProperty", "The free/busy status is not valid.") from None


def _verbatim(element: etree._Element) -> str:
    """An element as the answers write it: with the `t:` prefix and without declarations."""
    name = etree.QName(element).localname
    attributes = "".join(f" {key!s}={quoted(str(value))}" for key, value in element.items())
    inner = text(element.text or "") + "".join(_verbatim(child) + text(child.tail or "") for child in element)
    return f"<t:{name}{attributes}>{inner}</t:{name}>"
