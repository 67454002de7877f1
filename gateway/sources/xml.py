"""The one hardened way in and out of XML; no other module may import lxml.etree.

Whatever a server sends is untrusted: it is capped in size before it comes here, may hold no document type and no
processing instruction, is read as UTF-8 or UTF-16 only, and is parsed strictly, so that a truncated answer can never
become a shorter calendar.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from xml.sax.saxutils import escape

from lxml import etree

from gateway.errors import SourceProtocolError

Element = etree._Element
_Answer = TypeVar("_Answer")

PROLOG: Final = 16 * 1024
"""Bytes searched for forbidden constructs before anything is parsed."""

OFF_LOOP: Final = 256 * 1024
"""Bytes above which a document is parsed in a thread: a smaller one takes at most 4 ms, less than a thread disturbs."""

_PARSES_AT_ONCE = 4  # memory is about 30 times the bytes
_ENCODINGS = frozenset({b"utf-8", b"utf8", b"us-ascii"})
_DECLARATION = re.compile(rb"\s*<\?xml\s[^>]{0,200}?\?>")
_DECLARED_ENCODING = re.compile(rb"""encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_REFERENCE = re.compile(rb"&#(?:x([0-9A-Fa-f]+)|([0-9]+));")
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2

_local = threading.local()
_big_parses = threading.BoundedSemaphore(_PARSES_AT_ONCE)


def _parser() -> etree.XMLParser:
    """This thread's parser: lxml lets only one thread at a time use one."""
    parser: etree.XMLParser | None = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = etree.XMLParser(
            encoding="utf-8",  # whatever the declaration says; it was checked before
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            dtd_validation=False,
            attribute_defaults=False,
            huge_tree=False,
            recover=False,
            remove_comments=True,
            remove_pis=True,
        )
    return parser


def parse(body: bytes) -> tuple[Element, bool]:
    """The root element, and whether illegal character references had to be removed first.

    Raises SourceProtocolError: `protocol.forbidden_xml` for a document type, an entity declaration or a processing
    instruction, `protocol.malformed_xml` for anything that is not well-formed UTF-8 or UTF-16.
    """
    body = _as_utf8(body)
    _refuse_forbidden(body[:PROLOG])
    body, cleaned = _without_illegal_references(body)
    try:
        root = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, ValueError) as fault:
        raise _malformed(f"the answer is not well-formed XML ({_kind(fault)})") from None
    if _document_type(root):  # behind more than 16 KiB of blanks or comments
        raise _forbidden("a document type")
    return root, cleaned


def _document_type(root: Element) -> str:
    docinfo: Any = root.getroottree().docinfo  # the stubs know neither this nor error_log
    return str(docinfo.doctype)


class Parses:
    """Runs parses so that the event loop is never held for long."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._threads: ThreadPoolExecutor | None = None

    async def run(self, size: int, read: Callable[[], _Answer]) -> _Answer:
        """What `read` gives for a document of that many bytes.

        Big documents are parsed in a thread, small ones here, one per turn of the loop: answers of many lanes may
        arrive in the same instant.
        """
        if size > OFF_LOOP:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(max_workers=_PARSES_AT_ONCE, thread_name_prefix="xml")
            return await asyncio.get_running_loop().run_in_executor(self._threads, _one_of_few, read)
        async with self._turn:
            await asyncio.sleep(0)
            return read()

    async def close(self) -> None:
        """End the threads."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)


def _one_of_few(read: Callable[[], _Answer]) -> _Answer:
    with _big_parses:
        return read()


def escaped(text: str) -> bytes:
    """The text as UTF-8 character data; characters that XML 1.0 cannot hold become U+FFFD."""
    return escape(_ILLEGAL.sub("\ufffd", text)).encode()


def texts_of(path: str, **prefixes: str) -> Callable[[Element], list[str]]:
    """A compiled XPath that gives plain strings: the fastest way to read many small elements at once."""
    return etree.XPath(path, namespaces=prefixes, smart_strings=False)  # type: ignore[return-value]


def shape(root: Element, limit: int = 12) -> str:
    """The first element names of a document, for reports: names only, never content."""
    names = [etree.QName(element).localname for element, _ in zip(root.iter("*"), range(limit), strict=False)]
    return " ".join(names)[:120]


def _as_utf8(body: bytes) -> bytes:
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or body[:2] in (b"<\x00", b"\x00<"):
        codec = "utf-16" if body[0] in b"\xff\xfe" else "utf-16-le" if body[0] else "utf-16-be"
        try:
            return _DECLARATION.sub(b"", body.decode(codec).encode(), count=1)
        except UnicodeError:
            raise _malformed("the answer is not valid UTF-16") from None
    body = body.removeprefix(b"\xef\xbb\xbf")
    if declaration := _DECLARATION.match(body):
        named = _DECLARED_ENCODING.search(declaration[0])
        if named and named[1].lower() not in _ENCODINGS:
            raise _malformed(f"the answer's encoding is neither UTF-8 nor UTF-16 but {named[1].decode()[:20]!r}")
    return body


def _refuse_forbidden(prolog: bytes) -> None:
    for construct, name in ((b"<!DOCTYPE", "a document type"), (b"<!ENTITY", "an entity declaration")):
        if construct in prolog:
            raise _forbidden(name)
    declaration = _DECLARATION.match(prolog)
    if prolog.find(b"<?", declaration.end() if declaration else 0) >= 0:
        raise _forbidden("a processing instruction")


def _without_illegal_references(body: bytes) -> tuple[bytes, bool]:
    # Exchange writes references such as &#x0; for characters in subjects that XML 1.0 forbids.
    if b"&" not in body or b"&#" not in body:  # one byte is found much faster than two
        return body, False
    clean = _REFERENCE.sub(_kept_if_legal, body)
    return clean, len(clean) != len(body)


def _kept_if_legal(reference: re.Match[bytes]) -> bytes:
    digits, base = (reference[1], 16) if reference[1] else (reference[2], 10)
    number = int(digits, base) if len(digits) <= 8 else -1
    legal = 0 <= number <= 0x10FFFF and not _ILLEGAL.match(chr(number))
    return reference[0] if legal else b""


def _kind(fault: Exception) -> str:
    """libxml2's name of the fault, without its text: that may quote content."""
    log: Any = getattr(fault, "error_log", ())
    return f"{log[0].type_name} at line {log[0].line}" if len(log) else "empty"


def _malformed(message: str) -> SourceProtocolError:
    return SourceProtocolError(message, code="protocol.malformed_xml")


def _forbidden(name: str) -> SourceProtocolError:
    return SourceProtocolError(f"the answer contains {name}", code="protocol.forbidden_xml")
