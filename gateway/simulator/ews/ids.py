"""Ids on the wire: opaque base64 that clients must not understand, and the way back to the World's ids.

An item id looks like Exchange's (`AAMkA…`), a change key too (`DwAAABYAAA…`); what is inside is our own
business.
"""

from __future__ import annotations

import base64
import binascii

from lxml import etree

from gateway.simulator.ews.soap import Refused, T, number, quoted
from gateway.simulator.world import DeletedOccurrence, NoSuchItem, Occurrence, World

_ID = b"\x00\x03\x24\x00"
_KEY = b"\x0f\x00\x00\x00\x16\x00\x00\x00"


def item_id(one: Occurrence) -> str:
    """The ItemId element of an item."""
    return item_reference("ItemId", one.item_id, one.change_key)


def item_reference(tag: str, item_id: str, change_key: str) -> str:
    """An ItemId or OldItemId element out of the World's id and change key."""
    key = base64.b64encode(_KEY + change_key.encode()).decode()
    return f'<t:{tag} Id="{pack("I", item_id)}" ChangeKey="{key}"/>'


def folder_id(tag: str, address: str, folder: str) -> str:
    """A FolderId or ParentFolderId element."""
    return f'<t:{tag} Id={quoted(pack("F", f"{folder}|{address}"))} ChangeKey="AQAAABYAAAA="/>'


def pack(kind: str, value: str) -> str:
    """The wire form of an id; `kind` is I for items, F for folders."""
    return base64.b64encode(_ID + kind.encode() + value.encode()).decode()


def unpack(kind: str, token: str) -> str:
    """Back from the wire. Raises Refused(ErrorInvalidIdMalformed)."""
    try:
        raw = base64.b64decode(token, validate=True)
        prefix = _ID + kind.encode()
        if raw.startswith(prefix):
            return raw[len(prefix) :].decode()
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise Refused("ErrorInvalidIdMalformed")


def unpack_folder(token: str) -> tuple[str, str]:
    """The (address, folder) behind a FolderId. Raises Refused."""
    folder, _, address = unpack("F", token).partition("|")
    return address, folder


def change_key(element: etree._Element) -> str | None:
    """The World's change key an id element carries; None without one. Raises Refused."""
    token = element.get("ChangeKey")
    if token is None:
        return None
    try:
        return base64.b64decode(token, validate=True).removeprefix(_KEY).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("ErrorInvalidChangeKey", "The change key is invalid.") from None


def find(world: World, element: etree._Element) -> Occurrence:
    """The item behind ItemId, OccurrenceItemId or RecurringMasterItemId. Raises Refused."""
    try:
        if element.tag == f"{{{T}}}OccurrenceItemId":
            return _nth(world, element)
        if element.tag == f"{{{T}}}RecurringMasterItemId":
            one = world.find(unpack("I", element.get("OccurrenceId") or ""))
            if one.master_id is None:
                raise Refused("ErrorCalendarIsNotOccurrence", "The item is not an occurrence of a series.")
            return world.find(one.master_id)
        return world.find(unpack("I", element.get("Id") or ""))
    except DeletedOccurrence:
        raise Refused("ErrorItemNotFound") from None
    except NoSuchItem:
        raise Refused("ErrorItemNotFound") from None


def _nth(world: World, element: etree._Element) -> Occurrence:
    master = world.find(unpack("I", element.get("RecurringMasterId") or ""))
    if master.item.series is None or master.original_start is not None:
        raise Refused("ErrorCalendarIsNotRecurringMaster", "The item is not the master of a series.")
    try:
        return world.occurrence(master.item_id, number(element, "InstanceIndex", 0))
    except DeletedOccurrence:
        raise Refused("ErrorCalendarOccurrenceIsDeletedFromRecurrence") from None
    except NoSuchItem:
        raise Refused("ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange") from None
