"""GetFolder and FindFolder, and which folder of whose mailbox a request means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from gateway.simulator.ews.ids import folder_id, unpack_folder
from gateway.simulator.ews.messages import collect
from gateway.simulator.ews.options import EwsOptions
from gateway.simulator.ews.soap import M, Refused, Request, T, child_text, text
from gateway.simulator.world import CALENDAR, DELETED_ITEMS, GARBLED, SILENT, Right, World

ROOT, TOP, INBOX = "root", "msgfolderroot", "inbox"
_PARENTS = {ROOT: ROOT, TOP: ROOT, CALENDAR: TOP, DELETED_ITEMS: TOP, INBOX: TOP}
FOLDERS = frozenset(_PARENTS)
"""The folders every mailbox has, by their distinguished names."""
_NAMES = {ROOT: "root", TOP: "Top of Information Store", DELETED_ITEMS: "Deleted Items", INBOX: "Inbox"}
_CLASSES = {
    CALENDAR: "IPF.Appointment",
    ROOT: "IPF.Note",
    TOP: "IPF.Note",
    INBOX: "IPF.Note",
    DELETED_ITEMS: "IPF.Note",
}
_DEFAULT = ("folder:DisplayName", "folder:TotalCount", "folder:ChildFolderCount", "folder:UnreadCount")
_FAULTS = {"ErrorNoFreeBusyAccess": "ErrorAccessDenied", "ErrorMailRecipientNotFound": "ErrorNonExistentMailbox"}


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of one mailbox, and what the caller may do there."""

    address: str
    name: str
    right: Right


def get_folder(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer GetFolder."""
    shape = _shape(request.element)

    def one(element: etree._Element) -> str:
        return f"<m:Folders>{_folder(world, locate(world, element, caller), shape)}</m:Folders>"

    return collect("GetFolder", named(request.element, "FolderIds"), one)


def find_folder(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer FindFolder: the folders below one, at once (Shallow) or all the way down (Deep)."""
    shape = _shape(request.element)
    deep = request.element.get("Traversal") == "Deep"

    def one(element: etree._Element) -> str:
        parent = locate(world, element, caller)
        below = [name for name in _PARENTS if _is_below(name, parent.name, deep)]
        inner = "".join(_folder(world, Folder(parent.address, name, parent.right), shape) for name in below)
        return (
            f'<m:RootFolder IndexedPagingOffset="{len(below)}" TotalItemsInView="{len(below)}" '
            f'IncludesLastItemInRange="true"><t:Folders>{inner}</t:Folders></m:RootFolder>'
        )

    return collect("FindFolder", named(request.element, "ParentFolderIds"), one)


def named(element: etree._Element, holder: str) -> Iterator[etree._Element]:
    """The id elements inside a holder such as FolderIds."""
    found = element.find(f"{{{M}}}{holder}")
    return iter(found if found is not None else ())


def locate(world: World, element: etree._Element, caller: str) -> Folder:
    """The folder an id element means, if the caller may open it. Raises Refused."""
    if element.tag == f"{{{T}}}DistinguishedFolderId":
        name = element.get("Id") or ""
        address = child_text(element, "Mailbox/EmailAddress") or caller
        if address == caller and caller not in world.mailboxes:
            raise Refused("ErrorMissingEmailAddress")
    else:
        address, name = unpack_folder(element.get("Id") or "")
    right = may_open(world, address, caller)
    if name not in _PARENTS:
        raise Refused("ErrorFolderNotFound")
    if right is not Right.OWNER and (name != CALENDAR or right < Right.REVIEWER):
        raise Refused("ErrorAccessDenied" if name == CALENDAR else "ErrorFolderNotFound")
    return Folder(address.lower(), name, right)


def may_open(world: World, address: str, caller: str) -> Right:
    """What the caller may do in a mailbox. Raises Refused for a mailbox that is missing or failing."""
    fault = world.fault(address)
    known = address.lower() in world.mailboxes
    right = world.right(address, caller) if known else Right.NONE
    if fault == "ErrorNoFreeBusyAccess" and right is Right.OWNER:
        fault = None
    if fault is not None and fault not in (GARBLED, SILENT):
        raise Refused(_FAULTS.get(fault, fault))
    if not known:
        raise Refused("ErrorNonExistentMailbox")
    return right


def parent_of(name: str) -> str:
    """The folder a folder is in."""
    return _PARENTS[name]


def _is_below(name: str, parent: str, deep: bool) -> bool:
    above = _PARENTS[name]
    if name in (parent, ROOT):
        return False
    return above == parent or (deep and _is_below(above, parent, deep))


def _shape(element: etree._Element) -> frozenset[str]:
    shape = element.find(f"{{{M}}}FolderShape")
    if shape is None:
        return frozenset()
    fields = {str(field.get("FieldURI")) for field in shape.iter(f"{{{T}}}FieldURI")}
    base = child_text(shape, "BaseShape")
    if base == "AllProperties":
        fields |= {
            "folder:ParentFolderId",
            "folder:FolderClass",
            "folder:EffectiveRights",
            "folder:DistinguishedFolderId",
        }
    return frozenset(fields.union(_DEFAULT) if base in ("Default", "AllProperties") else fields)


def _folder(world: World, folder: Folder, shape: frozenset[str]) -> str:
    mailbox = world.mailbox(folder.address)
    tag = "CalendarFolder" if folder.name == CALENDAR else "Folder"
    owner = "true" if folder.right is Right.OWNER else "false"
    total = sum(item.folder == folder.name for item in mailbox.items.values())
    properties = {  # in the order of the schema
        "folder:ParentFolderId": folder_id("ParentFolderId", folder.address, _PARENTS[folder.name]),
        "folder:FolderClass": f"<t:FolderClass>{_CLASSES[folder.name]}</t:FolderClass>",
        "folder:DisplayName": f"<t:DisplayName>{text(_NAMES.get(folder.name, mailbox.calendar_name))}</t:DisplayName>",
        "folder:TotalCount": f"<t:TotalCount>{total}</t:TotalCount>",
        "folder:ChildFolderCount": f"<t:ChildFolderCount>{_children(folder.name)}</t:ChildFolderCount>",
        "folder:EffectiveRights": (
            f"<t:EffectiveRights><t:CreateAssociated>{owner}</t:CreateAssociated><t:CreateContents>{owner}"
            f"</t:CreateContents><t:CreateHierarchy>{owner}</t:CreateHierarchy><t:Delete>{owner}</t:Delete>"
            f"<t:Modify>{owner}</t:Modify><t:Read>true</t:Read></t:EffectiveRights>"
        ),
        "folder:DistinguishedFolderId": f"<t:DistinguishedFolderId>{folder.name}</t:DistinguishedFolderId>",
        "folder:UnreadCount": "" if tag == "CalendarFolder" else "<t:UnreadCount>0</t:UnreadCount>",
    }
    inner = "".join(xml for name, xml in properties.items() if name in shape)
    return f"<t:{tag}>{folder_id('FolderId', folder.address, folder.name)}{inner}</t:{tag}>"


def _children(name: str) -> int:
    return sum(_is_below(other, name, False) for other in _PARENTS)
