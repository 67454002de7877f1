"""Every fault as a client sees it on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from lxml import etree

from gateway.simulator import ACTIONS, Simulator, World

from .conftest import Client, availability, connect

TYPES = "{http://schemas.microsoft.com/exchange/services/2006/types}"
MESSAGES = "{http://schemas.microsoft.com/exchange/services/2006/messages}"
ERRORS = "{http://schemas.microsoft.com/exchange/services/2006/errors}"


class Pauses:
    """A sleep that takes no time and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Only give way once."""
        self.asked.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def pauses() -> Pauses:
    """The simulator's sleep in these tests."""
    return Pauses()


@pytest.fixture
async def exchange(world: World, pauses: Pauses) -> AsyncIterator[Simulator]:
    """A simulator whose delays take no time."""
    async with Simulator(world, sleep=pauses) as simulator:
        yield simulator


def parse(body: bytes) -> etree._Element:
    """The document, parsed as a careful client does."""
    return etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True, recover=False))


def texts(body: bytes, name: str) -> list[str | None]:
    """Texts of all elements of that name."""
    return [each.text for each in parse(body).iter(name)]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 440, 500, 502])
async def test_status(client: Client, status: int) -> None:
    """Any HTTP error, with an HTML body and nothing that could be taken for SOAP."""
    client.simulator.faults.add("status", status=status, count=1)
    answer = await client.post()
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert client.simulator.journal.last.fault == "status"
    assert (await client.post()).status == 200


async def test_status_503_may_say_when_to_come_back(client: Client) -> None:
    """Retry-After in seconds, or none."""
    client.simulator.faults.add("status", status=503, retry_after=7, count=1)
    client.simulator.faults.add("status", status=503, count=1)
    assert (await client.post()).headers["Retry-After"] == "7"
    assert "Retry-After" not in (await client.post()).headers


async def test_status_401_is_a_failed_logon_to_whoever_sees_it(client: Client) -> None:
    """It carries the offers and counts for the lock-out, since no client can tell it from a wrong password."""
    client.simulator.faults.add("status", status=401)
    answer = await client.post()
    assert "NTLM" in answer.offers
    assert client.simulator.journal.logon_failures(client.simulator.service_account) == 1


@pytest.mark.parametrize(("milliseconds", "values"), [(297749, ["297749"]), (-1, [])])
async def test_soap_fault(client: Client, milliseconds: int, values: list[str]) -> None:
    """HTTP 500 with the code in faultcode and in the detail, with or without a back-off time."""
    client.simulator.faults.add("soap_fault", code="ErrorServerBusy", backoff_ms=milliseconds)
    answer = await client.post()
    assert answer.status == 500
    assert texts(answer.body, "faultcode") == ["a:ErrorServerBusy"]
    assert texts(answer.body, f"{ERRORS}ResponseCode") == ["ErrorServerBusy"]
    assert texts(answer.body, f"{TYPES}Value") == values


async def test_message_error(client: Client) -> None:
    """HTTP 200, each entry of the batch refused."""
    client.simulator.faults.add("message_error", code="ErrorServerBusy", backoff_ms=5000)
    answer = await client.post(availability("ann@example.com", "ben@example.com"))
    assert answer.status == 200
    assert texts(answer.body, f"{MESSAGES}ResponseCode") == ["ErrorServerBusy"] * 2
    assert texts(answer.body, f"{TYPES}Value") == ["5000"] * 2


async def test_inner_busy(client: Client) -> None:
    """The busy code is inside the MessageXml of an ErrorInternalServerError."""
    client.simulator.faults.add("inner_busy", backoff_ms=9000)
    answer = await client.post()
    inner = {each.get("Name"): each.text for each in parse(answer.body).iter(f"{TYPES}Value")}
    assert answer.status == 200
    assert texts(answer.body, f"{MESSAGES}ResponseCode") == ["ErrorInternalServerError"]
    assert inner["InnerErrorResponseCode"] == "ErrorServerBusy"
    assert inner["BackOffMilliseconds"] == "9000"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_truncated(client: Client, framing: str) -> None:
    """The end never comes, and a client that reads to the end notices."""
    client.simulator.faults.add("truncated", framing=framing, count=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.post()
    assert (await client.post()).status == 200


@pytest.mark.parametrize("packed", [False, True])
async def test_oversized(client: Client, packed: bool) -> None:
    """A right answer that goes on with blanks, in the open or hidden by gzip."""
    client.simulator.faults.add("oversized", size=5_000_000, gzip=packed)
    answer = await client.post()
    assert len(answer.body) == 5_000_000
    assert ("Content-Encoding" in answer.headers) is packed
    parse(answer.body)


async def test_slow_first_byte(client: Client, pauses: Pauses) -> None:
    """One pause before the answer, which is right."""
    client.simulator.faults.add("slow_first_byte", seconds=66)
    assert (await client.post()).status == 200
    assert pauses.asked == [66]


async def test_slow_trickle(client: Client, pauses: Pauses) -> None:
    """A pause after each piece, and the whole answer in the end."""
    client.simulator.faults.add("slow_trickle", size=100, seconds=21)
    answer = await client.post(Accept_Encoding="identity")
    assert set(pauses.asked) == {21}
    assert len(pauses.asked) == -(-len(answer.body) // 100)
    parse(answer.body)


@pytest.mark.parametrize("after", [0, 50])
async def test_reset(client: Client, after: int) -> None:
    """The connection is reset, at once or after a part of the answer."""
    client.simulator.faults.add("reset", after=after, count=1)
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)):
        await client.post()
    assert client.simulator.journal.last.status == 0
    assert (await client.post()).status == 200


async def test_close(client: Client) -> None:
    """The connection ends in good order without an answer."""
    client.simulator.faults.add("close", count=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.post()


async def test_hang_until_the_fault_is_cleared(client: Client) -> None:
    """The request waits; clearing the rule ends it."""
    rule = client.simulator.faults.add("hang")
    waiting = asyncio.create_task(client.post())
    await asyncio.wait_for(rule.acted.wait(), 5)
    assert not waiting.done()
    client.simulator.faults.clear()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting


async def test_hang_until_the_client_goes(client: Client) -> None:
    """A client that gives up is written down, without a status."""
    written = asyncio.Event()
    client.simulator.journal.on_record(lambda entry: written.set())
    rule = client.simulator.faults.add("hang")
    waiting = asyncio.create_task(client.post())
    await asyncio.wait_for(rule.acted.wait(), 5)
    waiting.cancel()
    await asyncio.wait_for(written.wait(), 5)
    assert client.simulator.journal.last.status == 0


async def test_a_simulator_stops_although_requests_hang(world: World) -> None:
    """`stop` lets them go."""
    async with Simulator(world) as exchange, connect(exchange) as session:
        rule = exchange.faults.add("hang")
        waiting = asyncio.create_task(Client(exchange, session).post())
        await asyncio.wait_for(rule.acted.wait(), 5)
        await asyncio.wait_for(exchange.stop(), 5)
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await waiting


async def test_login_page(client: Client) -> None:
    """HTTP 200, text/html, a form."""
    client.simulator.faults.add("login_page")
    answer = await client.post()
    assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, "text/html")
    assert b'type="password"' in answer.body


async def test_redirect(client: Client) -> None:
    """To wherever the rule says."""
    client.simulator.faults.add("redirect", location="https://elsewhere.example.net/", status=307)
    answer = await client.post()
    assert (answer.status, answer.headers["Location"]) == (307, "https://elsewhere.example.net/")


async def test_dtd(client: Client) -> None:
    """The right answer behind a document type."""
    client.simulator.faults.add("dtd")
    answer = await client.post()
    assert b"<!DOCTYPE" in answer.body[:200]
    parse(answer.body)


@pytest.mark.parametrize("action", ["malformed", "illegal_reference", "empty"])
async def test_answers_that_no_strict_parser_takes(client: Client, action: str) -> None:
    """HTTP 200 with XML that is none."""
    client.simulator.faults.add(action)
    answer = await client.post()
    assert answer.status == 200
    with pytest.raises(etree.XMLSyntaxError):
        parse(answer.body)


async def test_stop_listening(client: Client) -> None:
    """The request is cut and the next connection refused, until somebody switches it on."""
    client.simulator.faults.add("stop_listening", count=1)
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await client.post()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.post()
    await client.simulator.resume_listening()
    assert (await client.post()).status == 200


async def test_a_delay_comes_before_any_action(client: Client, pauses: Pauses) -> None:
    """`delay` is a field of every rule."""
    client.simulator.faults.add("status", status=500, delay=3)
    await client.post()
    assert pauses.asked == [3]


async def test_faults_wait_for_the_logon_or_do_not(client: Client) -> None:
    """By default a request without credentials gets its 401; with before_logon it meets the fault."""
    client.simulator.faults.add("status", status=500)
    assert (await client.post(authorization=None)).status == 401
    client.simulator.faults.clear()
    client.simulator.faults.add("status", status=502, before_logon=True)
    assert (await client.post(authorization=client.basic(password="wrong"))).status == 502
    assert client.simulator.journal.logon_failures() == 0


async def test_a_fault_for_one_mailbox_hits_the_batches_that_hold_it(client: Client) -> None:
    """As one bad mailbox spoils a request."""
    client.simulator.faults.add("malformed", mailbox="ben@example.com", operation="GetUserAvailability")
    parse((await client.post(availability("ann@example.com"))).body)
    with pytest.raises(etree.XMLSyntaxError):
        parse((await client.post(availability("ann@example.com", "ben@example.com"))).body)


def test_every_action_is_tested_here() -> None:
    """A new action needs its test; those of streams have theirs elsewhere."""
    tested = " ".join(name for name in globals() if name.startswith("test_"))
    three = {"malformed", "illegal_reference", "empty"}
    ours = {name for name, action in ACTIONS.items() if action.to == "request"}
    assert [action for action in ours - three if f"test_{action}" not in tested] == []
