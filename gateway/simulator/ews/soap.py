"""SOAP 1.1 around EWS: reading requests safely, writing answers and faults.

Namespaces are `http://` strings on the wire. Text goes out through `text()`; attributes through `quoted()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from gateway.simulator.ews.options import EwsOptions, Reply, Server

S: Final = "http://schemas.xmlsoap.org/soap/envelope/"
M: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
T: Final = "http://schemas.microsoft.com/exchange/services/2006/types"
E: Final = "http://schemas.microsoft.com/exchange/services/2006/errors"
DECLARATION: Final = '<?xml version="1.0" encoding="utf-8"?>'
ILLEGAL_REFERENCE: Final = "\ue000"
"""Stands for `&#x0;` until the very end, since no XML tool lets the real thing pass."""

_PARSER: Final = etree.XMLParser(
    resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
)


class NotXml(ValueError):
    """The body is no well-formed XML, or brings a DTD."""

    def __init__(self, message: str, line: int = 0, position: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.position = position


class Fault(Exception):
    """The whole request fails with a soap:Fault. `values` become t:MessageXml."""

    def __init__(self, code: str, message: str = "", values: dict[str, str] | None = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or MESSAGES.get(code, "The request failed.")
        self.values = values or {}


class SchemaFault(Fault):
    """The request breaks the schema; the violation is named with line and position."""

    def __init__(self, violation: str, line: int = 1, position: int = 1) -> None:
        super().__init__("ErrorSchemaValidation", f"The request failed schema validation: {violation}")
        self.violation = violation
        self.line = line
        self.position = position


class Refused(Exception):
    """One message of an answer fails with an EWS code; its neighbours stay good."""

    def __init__(self, code: str, message: str = "", xml: str = "") -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or MESSAGES.get(code, "The operation failed.")
        self.xml = xml


MESSAGES: Final[dict[str, str]] = {
    "ErrorAccessDenied": "Access is denied. Check credentials and try again.",
    "ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange": "Occurrence index is out of recurrence range.",
    "ErrorCalendarOccurrenceIsDeletedFromRecurrence": "Occurrence with this index was previously deleted.",
    "ErrorCalendarViewRangeTooBig": "The specified view range exceeds the maximum range of two years.",
    "ErrorCannotDeleteObject": "The object cannot be deleted.",
    "ErrorExceededConnectionCount": "You have exceeded the available concurrent connections for your account.",
    "ErrorExceededSubscriptionCount": "You have exceeded the maximum number of subscriptions for this mailbox.",
    "ErrorFolderNotFound": "The specified folder could not be found in the store.",
    "ErrorFreeBusyGenerationFailed": "Unable to generate free/busy information.",
    "ErrorImpersonateUserDenied": "The account does not have permission to impersonate the requested user.",
    "ErrorInvalidIdMalformed": "Id is malformed.",
    "ErrorInvalidServerVersion": "The specified server version is invalid.",
    "ErrorInvalidSmtpAddress": "The SMTP address is not valid.",
    "ErrorInvalidSubscription": "The subscription id is invalid.",
    "ErrorIrresolvableConflict": "The change key passed in the request does not match the current one.",
    "ErrorItemNotFound": "The specified object was not found in the store.",
    "ErrorMailboxDataArrayTooBig": "The number of mailboxes in the request is too big.",
    "ErrorMailboxFailover": "The mailbox is failing over to another server.",
    "ErrorMailboxMoveInProgress": "Mailbox move in progress. Try again later.",
    "ErrorMailboxStoreUnavailable": "The mailbox database is temporarily unavailable.",
    "ErrorMailRecipientNotFound": "Unable to resolve e-mail address to an Active Directory object.",
    "ErrorMissedNotificationEvents": "Notification events were missed. Create a new subscription.",
    "ErrorMissingEmailAddress": "An account without a mailbox must name the mailbox of a distinguished folder.",
    "ErrorNameResolutionNoResults": "No results were found.",
    "ErrorNoFreeBusyAccess": "The caller does not have access to free/busy data.",
    "ErrorNonExistentMailbox": "The SMTP address has no mailbox associated with it.",
    "ErrorOccurrenceCrossingBoundary": "Modified occurrence is crossing or overlapping adjacent occurrence.",
    "ErrorProxyRequestProcessingFailed": "Unable to send a proxy request to the server of that mailbox.",
    "ErrorReadEventsFailed": "Unable to read the events of the subscription.",
    "ErrorResultSetTooBig": "The result set contains too many entries.",
    "ErrorServerBusy": "The server cannot service this request right now. Try again later.",
    "ErrorServiceDiscoveryFailed": "Unable to find an Availability service for that address.",
    "ErrorSubscriptionAccessDenied": "Only the account that made a subscription may use it.",
    "ErrorSubscriptionDelegateAccessNotSupported": "Subscriptions are not supported for delegate user access.",
    "ErrorSubscriptionNotFound": "The subscription could not be found.",
    "ErrorSubscriptionUnsubscribed": "The subscription was unsubscribed.",
    "ErrorTimeIntervalTooBig": "The requested time window is too big.",
    "ErrorTimeoutExpired": "The request timed out.",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One parsed request. `impersonated` is (element name, value) of ConnectingSID; `zone` the id of
    TimeZoneContext.
    """

    operation: str
    element: etree._Element
    version: str
    impersonated: tuple[str, str] | None
    zone: str | None


def parse(body: bytes) -> Request:
    """Read a SOAP request.

    Raises NotXml, and SchemaFault for XML that is no SOAP envelope with one body element.
    """
    try:
        root = etree.fromstring(body, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        line, position = getattr(error, "position", (0, 0)) or (0, 0)
        raise NotXml(str(error), line, position) from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise NotXml("a document type definition is not allowed")
    soap_body = root.find(f"{{{S}}}Body")
    if root.tag != f"{{{S}}}Envelope" or soap_body is None or len(soap_body) != 1:
        raise SchemaFault("the document is not a SOAP 1.1 envelope with one operation", line_of(root))
    operation = soap_body[0]
    name = etree.QName(operation)
    header = root.find(f"{{{S}}}Header")
    return Request(
        operation=name.localname if name.namespace == M else f"{{{name.namespace}}}{name.localname}",
        element=operation,
        version=_attribute(header, "RequestServerVersion", "Version") or "Exchange2007",
        impersonated=_impersonated(header),
        zone=_attribute(header, f"TimeZoneContext/{{{T}}}TimeZoneDefinition", "Id"),
    )


def line_of(element: etree._Element) -> int:
    """The line of an element in its document, counted from 1."""
    line: int | None = element.sourceline  # type: ignore[assignment]  # the stubs are wrong
    return line or 1


def _attribute(header: etree._Element | None, path: str, name: str) -> str | None:
    element = header.find(f"{{{T}}}{path}") if header is not None else None
    return element.get(name) if element is not None else None


def _impersonated(header: etree._Element | None) -> tuple[str, str] | None:
    sid = header.find(f"{{{T}}}ExchangeImpersonation/{{{T}}}ConnectingSID") if header is not None else None
    if sid is None:
        return None
    if len(sid) != 1:
        raise SchemaFault("ConnectingSID takes exactly one identity", line_of(sid))
    return etree.QName(sid[0]).localname, (sid[0].text or "").strip()


def text(value: str) -> str:
    """Character data, escaped; characters XML 1.0 cannot carry are dropped."""
    clean = "".join(c for c in value if c in "\t\n\r" or c >= " ") if not value.isprintable() else value
    return escape(clean)


def quoted(value: str) -> str:
    """An attribute value with its quotes."""
    return quoteattr(value)


def child_text(element: etree._Element, path: str) -> str | None:
    """The stripped text of a types-namespace child path ("TimeWindow/StartTime"), None when absent."""
    found = element.find("/".join(f"{{{T}}}{step}" for step in path.split("/")))
    return (found.text or "").strip() if found is not None else None


def number(element: etree._Element, name: str, default: int) -> int:
    """An attribute that is a whole number. Raises SchemaFault."""
    value = element.get(name)
    try:
        return default if value is None else int(value)
    except ValueError:
        raise SchemaFault(f"The '{name}' attribute is invalid: '{value}' is no number.", line_of(element)) from None


def version_header(options: EwsOptions, server: Server) -> str:
    """The SOAP Header of an answer; empty when the server does not tell its version."""
    if options.version_info == "missing":
        return ""
    major, minor, build, revision = server.build
    schema = f' Version="{server.schema}"' if options.version_info == "full" else ""
    return (
        f'<s:Header><h:ServerVersionInfo MajorVersion="{major}" MinorVersion="{minor}" MajorBuildNumber="{build}" '
        f'MinorBuildNumber="{revision}"{schema} xmlns:h="{T}"/></s:Header>'
    )


def envelope(content: str, options: EwsOptions, server: Server) -> str:
    """A whole answer around its body content."""
    return (
        f'{DECLARATION}<s:Envelope xmlns:s="{S}">{version_header(options, server)}'
        f"<s:Body>{content}</s:Body></s:Envelope>"
    )


def fault(problem: Fault, options: EwsOptions, server: Server) -> Reply:
    """A soap:Fault with HTTP 500, in the form of the server's generation."""
    if server.build[0] < 14:
        return Reply(500, _fault_2007(problem, options, server).encode(), {"Content-Type": CONTENT_TYPE}, False)
    values = "".join(f"<t:Value Name={quoted(k)}>{text(v)}</t:Value>" for k, v in problem.values.items())
    if isinstance(problem, SchemaFault):
        values = (
            f"<t:LineNumber>{problem.line}</t:LineNumber><t:LinePosition>{problem.position}</t:LinePosition>"
            f"<t:Violation>{text(problem.violation)}</t:Violation>"
        )
    message_xml = f'<t:MessageXml xmlns:t="{T}">{values}</t:MessageXml>' if values else ""
    body = (
        f'{DECLARATION}<s:Envelope xmlns:s="{S}"><s:Body><s:Fault>'
        f'<faultcode xmlns:a="{T}">a:{problem.code}</faultcode>'
        f'<faultstring xml:lang="en-US">{text(problem.message)}</faultstring>'
        f'<detail><e:ResponseCode xmlns:e="{E}">{problem.code}</e:ResponseCode>'
        f'<e:Message xmlns:e="{E}">{text(problem.message)}</e:Message>{message_xml}</detail>'
        "</s:Fault></s:Body></s:Envelope>"
    )
    return Reply(500, body.encode(), {"Content-Type": CONTENT_TYPE})


def _fault_2007(problem: Fault, options: EwsOptions, server: Server) -> str:
    """2007 SP1 blames `soap11:Client`, sends a Header, and names line and position in place of MessageXml."""
    header = version_header(options, server).replace("<s:", "<soap11:").replace("</s:", "</soap11:")
    line, position = (problem.line, problem.position) if isinstance(problem, SchemaFault) else (0, 0)
    return (
        f'{DECLARATION}<soap11:Envelope xmlns:soap11="{S}">{header}<soap11:Body><soap11:Fault>'
        f"<faultcode>soap11:Client</faultcode><faultstring>{text(problem.message)}</faultstring>"
        f'<detail><e:ResponseCode xmlns:e="{E}">{problem.code}</e:ResponseCode>'
        f'<e:Message xmlns:e="{E}">{text(problem.message)}</e:Message>'
        f'<e:Line xmlns:e="{E}">{line}</e:Line><e:Position xmlns:e="{E}">{position}</e:Position></detail>'
        "</soap11:Fault></soap11:Body></soap11:Envelope>"
    )


CONTENT_TYPE: Final = "text/xml; charset=utf-8"
