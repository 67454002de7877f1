"""SOAP 1.1 as Exchange speaks it: namespaces, the envelope, faults and response messages.

Elements are matched by `{namespace}local` only; prefixes and default namespaces differ by server and operation.
Namespaces are identifiers, never addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.errors import SourceProtocolError
from gateway.sources.xml import Element, parse, shape

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES: Final = "http://schemas.microsoft.com/exchange/services/2006/types"
ERRORS: Final = "http://schemas.microsoft.com/exchange/services/2006/errors"

_ENVELOPE = f"{{{SOAP}}}Envelope"
_BODY = f"{{{SOAP}}}Body"
_FAULT = f"{{{SOAP}}}Fault"
_VALUE = f"{{{TYPES}}}Value"
_RESPONSE_CODE = f"{{{MESSAGES}}}ResponseCode"

BUSY: Final = "ErrorServerBusy"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error code of Exchange (`Error…`), with the pause it asks for in seconds, if it names one."""

    code: str
    back_off: float | None = None


def open_envelope(body: bytes) -> tuple[Element, bool]:
    """The first child of the SOAP body, and whether illegal character references had to be removed.

    Raises SourceProtocolError if the document is not a SOAP envelope with something in its body.
    """
    root, cleaned = parse(body)
    if root.tag != _ENVELOPE:
        raise unexpected("the answer is not a SOAP envelope", root)
    content = next(iter(root.iterfind(f"{_BODY}/*")), None)
    if content is None:
        raise unexpected("the answer's SOAP body is empty", root)
    return content, cleaned


def fault(content: Element) -> Refusal | None:
    """The refusal in a SOAP fault, or None if this is none.

    The code is in `detail/ResponseCode`, else in the fault code behind its prefix; faults without either (WCF, 2007)
    give an empty code.
    """
    if content.tag != _FAULT:
        return None
    code = content.findtext(f"detail/{{{ERRORS}}}ResponseCode", "").strip()
    if not code:
        local = content.findtext("faultcode", "").rpartition(":")[2].strip()
        code = local if local.startswith("Error") else ""  # 2007 says soap11:Client
    return _refusal(code, content.find("detail"))


def refusal(message: Element) -> Refusal | None:
    """The refusal in one response message, or None if it is a success or only a warning.

    An ErrorInternalServerError may wrap the true reason, for example ErrorServerBusy.
    """
    code = (message.findtext(_RESPONSE_CODE) or "").strip()
    outcome = message.get("ResponseClass")
    if code == "NoError" and outcome != "Error":
        return None
    if outcome == "Warning":
        return None
    return _refusal(code, message)


def any_refusal(content: Element) -> Refusal | None:
    """The first refusal in an answer of the usual shape, a list of response messages."""
    for code in content.iter(_RESPONSE_CODE):
        message = code.getparent()
        if message is not None and (found := refusal(message)):
            return found
    return None


def unexpected(message: str, element: Element) -> SourceProtocolError:
    """The answer is XML, but not what the protocol allows."""
    return SourceProtocolError(message, code="protocol.unexpected_shape", excerpt=shape(element))


def _refusal(code: str, where: Element | None) -> Refusal:
    values = {} if where is None else {value.get("Name"): (value.text or "") for value in where.iter(_VALUE)}
    inner = values.get("InnerErrorResponseCode", "").strip()
    if inner and code in ("", "ErrorInternalServerError"):
        code = inner
    return Refusal(code, _seconds(values.get("BackOffMilliseconds", "")))


def _seconds(milliseconds: str) -> float | None:
    text = milliseconds.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        return None
    return int(text) / 1000 or None  # 0 is no wish
