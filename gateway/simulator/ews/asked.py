"""What a request asks for, in a form a journal can keep and a test can judge."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from gateway.simulator.ews.availability import mailboxes
from gateway.simulator.ews.soap import M, T, child_text, parse

WRITES = frozenset({"CreateItem", "UpdateItem", "DeleteItem", "MoveItem"})
"""Operations that change a mailbox."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its operation without the `Request` suffix, the mailboxes it names, whom it impersonates,
    the properties it wants ("calendar:Start", "shape:Default"), its free/busy view, its
    RequestServerVersion."""

    operation: str
    mailboxes: tuple[str, ...]
    impersonated: str | None
    properties: tuple[str, ...]
    view: str | None
    server_version: str

    @property
    def writes(self) -> bool:
        """Whether the request changes anything."""
        return self.operation in WRITES


def describe(body: bytes) -> Asked:
    """Read a request for the journal. Raises NotXml, SchemaFault."""
    request = parse(body)
    element = request.element
    return Asked(
        operation=request.operation.removesuffix("Request"),
        mailboxes=mailboxes(element) or _folder_mailboxes(element),
        impersonated=request.impersonated[1] if request.impersonated else None,
        properties=_properties(element),
        view=child_text(element, "FreeBusyViewOptions/RequestedView"),
        server_version=request.version,
    )


def _folder_mailboxes(element: etree._Element) -> tuple[str, ...]:
    path = f".//{{{T}}}DistinguishedFolderId/{{{T}}}Mailbox/{{{T}}}EmailAddress"
    return tuple((address.text or "").strip() for address in element.iterfind(path))


def _properties(element: etree._Element) -> tuple[str, ...]:
    """Base shapes and named properties of the shapes in a request; not the fields it writes."""
    found = []
    for shape in ("ItemShape", "FolderShape"):
        holder = element.find(f"{{{M}}}{shape}")
        if holder is None:
            continue
        base = child_text(holder, "BaseShape")
        found += [f"shape:{base}"] if base else []
        named = holder.iter(f"{{{T}}}FieldURI", f"{{{T}}}IndexedFieldURI")
        found += [str(field.get("FieldURI")) for field in named]
        found += ["extended" for _ in holder.iter(f"{{{T}}}ExtendedFieldURI")]
    return tuple(found)
