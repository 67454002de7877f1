"""Logging on: Basic, and NTLM as clients nobody here wrote speak it (pyspnego, and exchangelib's requests)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Literal

import exchangelib
import exchangelib.protocol
import pytest
import requests.adapters
import spnego
from spnego.channel_bindings import GssChannelBindings

from gateway.simulator import Simulator, World

from .conftest import Client, connect

Sent = Literal["right", "wrong", "none"]


async def dance(
    client: Client, name: str, password: str, sent: Sent = "right", scheme: str = "NTLM", wrapped: bool = False
) -> int:
    """Log the client's connection on; the status of the last leg."""
    digest = hashlib.sha256(client.simulator.certificate.der()).digest()
    data = b"tls-server-end-point:" + (digest if sent == "right" else bytes(32))
    context = spnego.client(
        name,
        password,
        hostname="127.0.0.1",
        service="http",
        protocol="negotiate" if wrapped else "ntlm",
        channel_bindings=None if sent == "none" else GssChannelBindings(application_data=data),
        options=spnego.NegotiateOptions.use_negotiate if wrapped else spnego.NegotiateOptions.use_ntlm,
    )
    token: bytes | None = None
    for _leg in range(2):
        step = base64.b64encode(context.step(token) or b"").decode()
        answer = await client.post(authorization=f"{scheme} {step}")
        if answer.status == 401 and answer.offers and answer.offers[0].startswith(f"{scheme} "):
            token = base64.b64decode(answer.offers[0].split()[1])
    if wrapped and answer.status == 200:
        context.step(base64.b64decode(answer.offers[0].split()[1]))
        assert context.complete
    return answer.status


async def test_without_credentials_the_schemes_are_offered(client: Client) -> None:
    """401 with an HTML body, NTLM before Basic, and no failed logon."""
    answer = await client.post(authorization=None)
    assert answer.status == 401
    assert answer.offers == ["NTLM", 'Basic realm="localhost"']
    assert b"<html" in answer.body
    assert client.simulator.journal.logon_failures() == 0


@pytest.mark.parametrize("name", ["CORP\\svc-presence", "corp\\SVC-Presence", "svc-presence@corp.example.com"])
async def test_basic_takes_the_service_account_in_both_forms(client: Client, name: str) -> None:
    """`DOMAIN\\user` and `user@domain`, without regard to case, are one caller."""
    assert (await client.post(authorization=client.basic(name))).status == 200
    assert client.simulator.journal.last.caller == client.simulator.service_account


@pytest.mark.parametrize(
    ("form", "accepted", "refused"),
    [
        ("down_level", "CORP\\svc-presence", "svc-presence@corp.example.com"),
        ("principal", "svc-presence@corp.example.com", "CORP\\svc-presence"),
    ],
)
async def test_a_site_may_take_one_name_form_only(
    client: Client, form: Literal["down_level", "principal"], accepted: str, refused: str
) -> None:
    """The other form is a failed logon."""
    client.simulator.accounts.name_form = form
    assert (await client.post(authorization=client.basic(accepted))).status == 200
    assert (await client.post(authorization=client.basic(refused))).status == 401
    assert client.simulator.journal.logon_failures(refused) == 1


async def test_mailbox_owners_log_on_with_their_address(client: Client) -> None:
    """In any case of letters; the caller is the lower-case address."""
    owner = client.basic("Ann@Example.com", client.simulator.mailbox_password)
    assert (await client.post(authorization=owner)).status == 200
    assert client.simulator.journal.last.caller == "ann@example.com"
    stranger = client.basic("zoe@example.com", client.simulator.mailbox_password)
    assert (await client.post(authorization=stranger)).status == 401


@pytest.mark.parametrize("value", ["Basic !!!", "Basic", "Bearer abc", "NTLM !!!", "NTLM AAAA", "Negotiate AAAA"])
async def test_unreadable_credentials_are_refused(client: Client, value: str) -> None:
    """401 with the offers, never a server error."""
    answer = await client.post(authorization=value)
    assert answer.status == 401
    assert "NTLM" in answer.offers


async def test_failed_logons_are_counted_and_may_lock_the_account(client: Client) -> None:
    """After `lock_out_after` failures the right password is refused too, until somebody unlocks."""
    client.simulator.accounts.lock_out_after = 2
    for _ in range(2):
        assert (await client.post(authorization=client.basic(password="wrong"))).status == 401
    assert (await client.post()).status == 401
    assert client.simulator.journal.logon_failures("corp\\svc-presence") == 3
    client.simulator.accounts.lock("corp\\svc-presence", locked=False)
    assert (await client.post()).status == 200


@pytest.mark.parametrize(
    ("mode", "sent", "status"),
    [
        ("none", "right", 200),
        ("none", "wrong", 200),
        ("none", "none", 200),
        ("allow", "right", 200),
        ("allow", "wrong", 401),
        ("allow", "none", 200),
        ("require", "right", 200),
        ("require", "wrong", 401),
        ("require", "none", 401),
    ],
)
async def test_channel_bindings_are_checked_as_the_mode_says(
    world: World, mode: Literal["none", "allow", "require"], sent: Sent, status: int
) -> None:
    """Extended Protection: off, allowed, required, against a right, a wrong and no binding."""
    async with Simulator(world, channel_binding=mode) as exchange, connect(exchange) as session:
        client = Client(exchange, session)
        assert await dance(client, exchange.service_account, exchange.service_password, sent) == status


@pytest.mark.parametrize("name", ["CORP\\svc-presence", "svc-presence@corp.example.com"])
async def test_ntlm_logs_the_connection_on(client: Client, name: str) -> None:
    """After the three legs requests need no credentials, on this connection only."""
    assert await dance(client, name, client.simulator.service_password) == 200
    answer = await client.post(authorization=None)
    assert answer.status == 200
    assert answer.headers["Persistent-Auth"] == "true"
    seen = client.simulator.journal.last
    assert (seen.caller, seen.scheme, seen.connection) == ("CORP\\svc-presence", "ntlm", 1)
    async with connect(client.simulator) as other:
        assert (await Client(client.simulator, other).post(authorization=None)).status == 401


async def test_ntlm_owner_logon(client: Client) -> None:
    """Mailbox owners may use NTLM with their address."""
    assert await dance(client, "ann@example.com", client.simulator.mailbox_password) == 200
    assert client.simulator.journal.last.caller == "ann@example.com"


async def test_a_wrong_ntlm_password_is_one_failed_logon(client: Client) -> None:
    """The three legs with a wrong password count once, and the connection stays logged off."""
    assert await dance(client, client.simulator.service_account, "wrong") == 401
    assert client.simulator.journal.logon_failures(client.simulator.service_account) == 1
    assert (await client.post(authorization=None)).status == 401


async def test_an_ntlm_answer_is_good_for_one_challenge(client: Client) -> None:
    """The same third message again, without a new challenge, is refused and is no wrong password."""
    context = spnego.client(
        client.simulator.service_account,
        client.simulator.service_password,
        protocol="ntlm",
        hostname="127.0.0.1",
        service="http",
    )
    first = base64.b64encode(context.step() or b"").decode()
    challenge = await client.post(authorization=f"NTLM {first}")
    answer = context.step(base64.b64decode(challenge.offers[0].split()[1])) or b""
    third = f"NTLM {base64.b64encode(answer).decode()}"
    assert (await client.post(authorization=third)).status == 200
    assert (await client.post(authorization=third)).status == 401
    assert client.simulator.journal.logon_failures() == 0


@pytest.mark.parametrize("wrapped", [True, False])
async def test_negotiate_carries_ntlm_wrapped_or_raw(world: World, wrapped: bool) -> None:
    """SPNEGO is offered when asked for, and finishes on the client's side too."""
    async with (
        Simulator(world, auth=frozenset({"negotiate"}), channel_binding="require") as exchange,
        connect(exchange) as session,
    ):
        client = Client(exchange, session)
        assert (await client.post(authorization=None)).offers == ["Negotiate"]
        assert (await client.post()).status == 401
        name, password = exchange.service_account, exchange.service_password
        assert await dance(client, name, password, scheme="Negotiate", wrapped=wrapped) == 200
        assert exchange.journal.last.scheme == "negotiate"


@pytest.fixture
async def strict_exchange(world: World) -> AsyncIterator[Simulator]:
    """A simulator that requires channel bindings of NTLM."""
    async with Simulator(world, channel_binding="require") as simulator:
        yield simulator


@pytest.fixture
async def exchangelib_trusts(strict_exchange: Simulator) -> AsyncIterator[None]:
    """exchangelib's requests sessions trust the simulator's authority for this test."""
    before = exchangelib.protocol.BaseProtocol.HTTP_ADAPTER_CLS
    ca_file = str(strict_exchange.ca_file)

    class Adapter(requests.adapters.HTTPAdapter):
        def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
            super().cert_verify(conn, url, verify=ca_file, cert=cert)  # type: ignore[no-untyped-call]

    exchangelib.protocol.BaseProtocol.HTTP_ADAPTER_CLS = Adapter
    yield
    exchangelib.protocol.BaseProtocol.HTTP_ADAPTER_CLS = before


@pytest.mark.parametrize("scheme", [exchangelib.BASIC, exchangelib.NTLM])
async def test_exchangelib_reads_free_busy(strict_exchange: Simulator, exchangelib_trusts: None, scheme: str) -> None:
    """A client nobody here wrote logs on (NTLM with channel bindings), and reads Ann's meeting."""

    exchange = strict_exchange

    def read() -> list[tuple[object, object]]:
        configuration = exchangelib.Configuration(
            service_endpoint=exchange.ews_url,
            credentials=exchangelib.Credentials(exchange.service_account, exchange.service_password),
            auth_type=scheme,
            version=exchangelib.Version(exchangelib.Build(15, 2, 1118, 40)),
        )
        account = exchangelib.Account(
            "ann@example.com",
            config=configuration,
            autodiscover=False,
            access_type=exchangelib.DELEGATE,
            default_timezone=exchangelib.UTC,
        )
        start = exchangelib.EWSDateTime(2026, 11, 20, 8, 0, tzinfo=exchangelib.UTC)
        views = list(
            account.protocol.get_free_busy_info(
                accounts=[(account, "Required", False)],
                start=start,
                end=start + timedelta(hours=4),
                requested_view="FreeBusy",
            )
        )
        account.protocol.close()
        return [(event.start, event.end) for view in views for event in view.calendar_events or ()]

    events = await asyncio.to_thread(read)
    assert len(events) == 1
    assert exchange.journal.last.scheme == {exchangelib.BASIC: "basic", exchangelib.NTLM: "ntlm"}[scheme]
    assert exchange.journal.last.caller == exchange.service_account
