"""The simulated server as an HTTPS server: addresses, headers, methods, certificates, start and stop."""

from __future__ import annotations

import asyncio
import io
import json
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from lxml import etree

from gateway.simulator import Authority, Issued, Simulator, World, certificates
from gateway.simulator.script import run

from .conftest import NOW, Client, availability, connect

TYPES = "{http://schemas.microsoft.com/exchange/services/2006/types}"


async def test_the_service_reads_free_busy_over_https(client: Client) -> None:
    """A request over verified TLS comes back with the meeting's times."""
    answer = await client.post()
    starts = [each.text for each in etree.fromstring(answer.body).iter(f"{TYPES}StartTime")]
    assert answer.status == 200
    assert "2026-11-20T09:00:00" in starts
    assert answer.headers["Content-Type"].startswith("text/xml")


async def test_answers_carry_the_diagnostic_headers(client: Client) -> None:
    """Date follows the injected clock; the headers support staff ask for are there, each request its own id."""
    first, second = await client.post(), await client.post(authorization=None)
    assert first.headers["Date"] == "Fri, 20 Nov 2026 09:00:00 GMT"
    for answer in (first, second):
        assert answer.headers["Server"] == "Microsoft-IIS/10.0"
        assert {"X-FEServer", "X-BEServer", "X-DiagInfo"} <= answer.headers.keys()
    assert first.headers["request-id"] != second.headers["request-id"]


async def test_answers_are_compressed_for_who_accepts_it(client: Client) -> None:
    """gzip on request, the same text either way."""
    packed = await client.post(Accept_Encoding="gzip")
    plain = await client.post(Accept_Encoding="identity")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.body == plain.body


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("GET", "/EWS/Exchange.asmx", "text/xml", 200),
        ("POST", "/ews/exchange.ASMX", "text/xml", 200),
        ("PUT", "/EWS/Exchange.asmx", "text/xml", 405),
        ("POST", "/EWS/Other.asmx", "text/xml", 404),
        ("POST", "/EWS/Exchange.asmx", "application/json", 415),
    ],
)
async def test_methods_and_paths_are_those_of_iis(
    client: Client, method: str, path: str, content_type: str, status: int
) -> None:
    """Paths without regard to case, GET a page, anything else an HTML error."""
    url = f"https://127.0.0.1:{client.simulator.port}{path}"
    headers = {"Authorization": client.basic(), "Content-Type": content_type}
    answer = await client.ask(method, url, data=availability(), headers=headers)
    assert answer.status == status


async def test_a_body_beyond_the_limit_is_refused(client: Client) -> None:
    """More than 10 MiB is 413."""
    headers = {"Authorization": client.basic(), "Content-Type": "text/xml"}
    body = io.BytesIO(b" " * (10 * 2**20 + 1))
    answer = await client.ask("POST", client.simulator.ews_url, data=body, headers=headers)
    assert answer.status == 413


async def test_a_client_that_waits_for_100_continue_is_answered(client: Client) -> None:
    """Expect: 100-continue gets its interim answer."""
    assert (await client.post(Expect="100-continue")).status == 200


async def test_requests_that_are_no_xml_are_answered_and_journalled(client: Client) -> None:
    """The face decides the status; the journal has the request without an operation."""
    assert (await client.post(b"<no")).status >= 400
    assert client.simulator.journal.last.operation == ""


async def test_the_journal_says_who_asked_what(client: Client) -> None:
    """Operation, mailboxes, caller, scheme, user agent, anchor, status and connection are recorded."""
    body = availability("ann@example.com", "ben@example.com", view="Detailed")
    await client.post(body, User_Agent="test/1", X_AnchorMailbox="ann@example.com")
    seen = client.simulator.journal.last
    assert (seen.operation, seen.view, seen.status) == ("GetUserAvailability", "Detailed", 200)
    assert seen.mailboxes == ("ann@example.com", "ben@example.com")
    assert (seen.caller, seen.scheme, seen.user_agent) == (client.simulator.service_account, "basic", "test/1")
    assert (seen.anchor, seen.connection, seen.at) == ("ann@example.com", 1, NOW)
    assert client.simulator.journal.content_asked(by=client.simulator.service_account) == [seen]
    assert client.simulator.journal.max_batch == 2


async def test_connection_data_are_complete_json(exchange: Simulator) -> None:
    """`as_json` has exactly the agreed keys, and faces that do not exist are null."""
    data = json.loads(json.dumps(exchange.as_json()))
    assert list(data) == [
        "ews_url",
        "webdav_url",
        "control_url",
        "ami",
        "ca_file",
        "service_account",
        "service_password",
        "mailbox_password",
    ]
    assert data["webdav_url"] is data["ami"] is None
    assert data["ews_url"] == f"https://127.0.0.1:{exchange.port}/EWS/Exchange.asmx"


async def test_passwords_do_not_show_in_representations(exchange: Simulator) -> None:
    """No repr of the simulator or its accounts holds a password."""
    shown = f"{exchange!r}{exchange.accounts!r}{exchange.accounts.find('ann@example.com')!r}"
    assert exchange.service_password not in shown
    assert exchange.mailbox_password not in shown


async def test_the_ca_file_goes_where_it_is_wanted_and_the_rest_disappears(world: World, tmp_path: Path) -> None:
    """With a directory the file stays in it, without one nothing stays behind, and no key is ever there."""
    async with Simulator(world, directory=tmp_path) as kept:
        assert kept.ca_file == tmp_path / "ca.pem"
    assert os.listdir(tmp_path) == ["ca.pem"]
    assert b"PRIVATE" not in kept.ca_file.read_bytes()
    async with Simulator(world) as gone:
        assert gone.ca_file.exists()
    assert not gone.ca_file.exists()


async def test_a_restart_issues_another_certificate_of_the_same_authority(world: World, tmp_path: Path) -> None:
    """Clients that trust the authority need no change; the port stays."""
    simulator = Simulator(world, directory=tmp_path)
    await simulator.start()
    before, port = simulator.certificate, simulator.port
    await simulator.stop()
    async with simulator:
        assert simulator.certificate.der() != before.der()
        assert simulator.port == port
        async with connect(simulator) as session:
            assert (await Client(simulator, session).post()).status == 200


async def test_a_taken_port_is_an_error_and_leaves_nothing_behind(exchange: Simulator, world: World) -> None:
    """OSError, and the half-started simulator is stopped."""
    second = Simulator(world, port=exchange.port)
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    assert not second.listening
    assert not second.ca_file.exists()


async def test_a_server_that_stopped_listening_refuses_until_it_listens_again(client: Client) -> None:
    """Open connections end, new ones are refused, the same port answers afterwards."""
    await client.post()
    client.simulator.stop_listening()
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await client.post()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.post()
    await client.simulator.resume_listening()
    assert (await client.post()).status == 200


def _zoo(trusted: Authority) -> dict[str, tuple[Issued, int | None]]:
    """Certificates by accident, and the OpenSSL verify code a client gets (None: it is fine)."""
    names = ("localhost", "127.0.0.1")
    return {
        "good": (trusted.issue(*names), None),
        "good, with its intermediate": (trusted.intermediate().issue(*names), None),
        "no key identifiers": (trusted.issue(*names, key_identifiers=False), None),
        "unknown authority": (certificates.unknown_authority(*names), 20),
        "wrong name": (certificates.wrong_name(trusted), 64),
        "no names": (trusted.issue(*names, subject_alternative_names=False), 64),
        "expired": (certificates.expired(trusted, *names), 10),
        "not yet valid": (certificates.not_yet_valid(trusted, *names), 9),
        "missing intermediate": (certificates.missing_intermediate(trusted, *names), 20),
        "self-signed": (certificates.self_signed(*names), 18),
    }


@pytest.mark.parametrize("accident", _zoo(Authority.root()))
async def test_each_certificate_fails_for_its_own_reason(exchange: Simulator, accident: str) -> None:
    """The usual accidents give the verify codes that OpenSSL has for them, and no request arrives."""
    issued, code = _zoo(exchange.authority)[accident]
    await exchange.present(issued)
    async with connect(exchange) as session:
        if code is None:
            assert (await Client(exchange, session).post()).status == 200
            return
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await Client(exchange, session).post()
        error = caught.value.certificate_error
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert error.verify_code == code
        assert len(exchange.journal) == 0


async def test_an_issuer_without_the_ca_bit_is_no_issuer(exchange: Simulator) -> None:
    """Even trusted, it may not sign: verify code 79, or 24 on older OpenSSL."""
    authority, issued = certificates.issuer_not_a_ca("127.0.0.1")
    await exchange.present(issued)
    context = ssl.create_default_context(cadata=authority.pem().decode())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await Client(exchange, session).post()
    assert isinstance(caught.value.certificate_error, ssl.SSLCertVerificationError)
    assert caught.value.certificate_error.verify_code in (79, 24)


def test_the_authority_is_a_real_one() -> None:
    """CA bit, key-cert-sign, key identifiers, and a validity that includes today."""
    root = Authority.root().certificate
    usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert usage.key_cert_sign
    assert basic.ca
    assert root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert root.not_valid_before_utc < datetime.now(UTC) < root.not_valid_after_utc


async def test_an_office_can_be_served_on_its_own() -> None:
    """`run` announces where it is, serves until cancelled, and lets the service account impersonate."""
    ready: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(run(ready.set_result, size=3))
    announced = await asyncio.wait_for(ready, 20)
    assert announced["people"] == ["ann@example.com", "ben@example.com", "carla@example.com"]
    connection = announced["simulator"]
    assert isinstance(connection, dict)
    async with aiohttp.ClientSession() as session, session.get(connection["control_url"]) as answer:
        assert len((await answer.json())["people"]) == 3
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not await asyncio.to_thread(os.path.exists, connection["ca_file"])
