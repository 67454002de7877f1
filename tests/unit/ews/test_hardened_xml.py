"""The one way into XML."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.errors import SourceProtocolError
from gateway.sources import xml


@pytest.mark.parametrize(
    "document",
    [
        b"<!DOCTYPE a><a/>",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        '<!DOCTYPE a [<!ENTITY b "c">]><a/>'.encode("utf-16"),
        b"<!-- " + b"x" * xml.PROLOG + b" --><!DOCTYPE a><a/>",
        b"<?xml version='1.0'?><?do this?><a/>",
    ],
    ids=["document type", "entity", "in UTF-16", "behind a long comment", "processing instruction"],
)
def test_document_types_and_instructions_are_refused(document: bytes) -> None:
    """Exchange never sends one; whoever does is in the middle."""
    with pytest.raises(SourceProtocolError) as caught:
        xml.parse(document)
    assert caught.value.code == "protocol.forbidden_xml"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"   ",
        b"<a>",
        b"<a><b></a>",
        b"<a/>trailing",
        b"<a>\x00</a>",
        b"<a>&nbsp;</a>",
        b"<a>\xff</a>",
        b"<?xml version='1.0' encoding='utf-7'?><a/>",
        b"<?xml version='1.0' encoding='iso-8859-1'?><a/>",
        b"\xff\xfe<\x00a",
        b"<a>" * 300 + b"</a>" * 300,
    ],
)
def test_whatever_is_not_well_formed_utf8_or_utf16_is_malformed(document: bytes) -> None:
    """No recovery, no other encodings, no abyss of elements; the message quotes no content."""
    with pytest.raises(SourceProtocolError) as caught:
        xml.parse(document)
    assert caught.value.code == "protocol.malformed_xml"
    assert "trailing" not in str(caught.value)


def test_utf8_with_a_mark_and_utf16_are_read() -> None:
    """A byte order mark and UTF-16 in either order are fine, with or without a declaration."""
    declared = "<?xml version='1.0' encoding='utf-16'?><a>ä</a>"
    for document in (
        b"\xef\xbb\xbf<a>\xc3\xa4</a>",
        b"<?xml version='1.0' encoding='UTF-8'?><a>\xc3\xa4</a>",
        declared.encode("utf-16"),
        declared.encode("utf-16-le"),
        declared.encode("utf-16-be"),
    ):
        root, cleaned = xml.parse(document)
        assert root.text == "ä"
        assert not cleaned


def test_only_illegal_references_are_removed() -> None:
    """References to characters that XML cannot hold go, all others stay, and the caller hears of it."""
    root, cleaned = xml.parse(b"<a>x&#x0;&#8;&#xFFFE;&#x110000;&#99999999999;y&#228;&#x1F600;&amp;</a>")
    assert (root.text, cleaned) == ("xyä\U0001f600&", True)
    assert xml.parse(b"<a>&#228;&amp;</a>")[1] is False


def test_text_is_escaped_and_illegal_characters_replaced() -> None:
    """No text can break out of its element or make a document that no parser takes."""
    hostile = "</t:Address>&<\x00\ud800\ufffe ä"
    escaped = xml.escaped(hostile)
    assert escaped == "&lt;/t:Address&gt;&amp;&lt;\ufffd\ufffd\ufffd ä".encode()
    assert xml.parse(b"<a>" + escaped + b"</a>")[0].text == "</t:Address>&<\ufffd\ufffd\ufffd ä"


async def test_big_documents_are_parsed_off_the_loop() -> None:
    """Small ones stay in this thread, big ones leave it, at most four at once."""
    here, parses = threading.get_ident(), xml.Parses()
    assert await parses.run(xml.OFF_LOOP, threading.get_ident) == here
    running, most, gate = 0, 0, threading.Event()
    lock = threading.Lock()

    def parse() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 4:
                gate.set()
        assert gate.wait(10)
        with lock:
            running -= 1
        return threading.get_ident()

    threads = await asyncio.gather(*(parses.run(xml.OFF_LOOP + 1, parse) for _ in range(8)))
    await parses.close()
    assert here not in threads
    assert most == 4


async def test_small_documents_that_arrive_together_take_turns() -> None:
    """Between two parses the loop gets to run everything else that is ready."""
    order: list[str] = []
    parses = xml.Parses()

    async def heartbeat() -> None:
        for _ in range(6):
            order.append("beat")
            await asyncio.sleep(0)

    await asyncio.gather(*(parses.run(1, lambda: order.append("parse")) for _ in range(3)), heartbeat())
    assert order.count("parse") == 3
    assert "parse parse" not in " ".join(order)
