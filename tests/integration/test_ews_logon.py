"""Logging on to Exchange: once per connection, bound to the channel, and never past the lock-out guard."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from gateway.core.model import Schedule
from gateway.errors import SourceDenied, SourceUnavailable
from gateway.simulator.certificates import Authority
from tests.integration.ews_office import ANN, BOB, office

TRANSPORTS = ["native", "exchangelib"]


@pytest.mark.parametrize("auth", ["ntlm", "negotiate"])
async def test_a_connection_is_logged_on_once(auth: Any) -> None:
    """Three legs for the first request, one for every other, all on one connection."""
    async with office(auth) as hq:
        for _ in range(4):
            assert isinstance((await hq.read())[0], Schedule)
        assert [entry.status for entry in hq.exchange.journal] == [401, 401, 200, 200, 200, 200]
        assert len({entry.connection for entry in hq.exchange.journal}) == 1
        assert hq.guard.successes == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("binding", ["none", "allow", "require"])
async def test_extended_protection_is_satisfied(transport: str, binding: str) -> None:
    """The channel binding token is always sent, so a server may even require it."""
    async with office("ntlm", transport=transport, exchange={"channel_binding": binding}) as hq:
        assert isinstance((await hq.read())[0], Schedule)


async def test_extended_protection_is_satisfied_inside_negotiate_too() -> None:
    """The token travels inside SPNEGO as well."""
    async with office("negotiate", exchange={"channel_binding": "require"}) as hq:
        assert isinstance((await hq.read())[0], Schedule)


async def test_a_renewed_certificate_is_bound_anew() -> None:
    """The binding follows the connection, not the first certificate ever seen."""
    async with office("ntlm", exchange={"channel_binding": "require"}) as hq:
        await hq.read()
        authority: Authority = hq.exchange.authority
        await hq.exchange.present(authority.issue("localhost", "127.0.0.1"))
        with suppress(SourceUnavailable):  # it may meet the end of the old connection
            await hq.read()
        assert isinstance((await hq.read())[0], Schedule)


@pytest.mark.parametrize("auth", ["basic", "ntlm", "negotiate"])
async def test_a_wrong_password_costs_one_logon_a_call_and_two_in_all(auth: Any) -> None:
    """Eight calls at once over four lanes: two failed logons at the server, the other calls wait for the guard."""
    async with office(auth, password="wrong") as hq:
        errors = await asyncio.gather(*(hq.failure(ANN) for _ in range(8)))
        assert {error.code for error in errors} == {"auth.rejected"}
        assert sum(isinstance(error, SourceDenied) for error in errors) == 2
        held = [error for error in errors if isinstance(error, SourceUnavailable)]
        assert len(held) == 6
        assert all(800 < (error.retry_after or 0) <= 900 for error in held)
        assert hq.exchange.journal.logon_failures() == 2
        assert hq.guard.failures == 2
        assert "wrong" not in " ".join(map(str, errors))


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
async def test_exchangelib_obeys_the_guard_as_well(auth: Any) -> None:
    """The same promise for the other transport, one logon per call."""
    async with office(auth, password="wrong", transport="exchangelib") as hq:
        errors = await asyncio.gather(*(hq.failure(ANN) for _ in range(4)))
        assert {error.code for error in errors} == {"auth.rejected"}
        assert hq.guard.failures == 2
        assert hq.exchange.journal.logon_failures() == 2


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("auth", ["basic", "ntlm"])
async def test_a_name_without_a_domain_says_so(auth: Any, transport: str) -> None:
    """The reason is then more likely the form of the name than the password."""
    async with office(auth, username="svc-presence", transport=transport) as hq:
        error = await hq.failure()
        assert isinstance(error, SourceDenied)
        assert error.code == "auth.username_format"
        assert "DOMAIN\\user" in error.hint


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("auth", "offered"), [("ntlm", "basic"), ("basic", "ntlm")])
async def test_another_scheme_is_never_tried(auth: Any, offered: str, transport: str) -> None:
    """A server that does not offer the configured scheme is told apart from a wrong password, and costs no failure."""
    async with office(auth, exchange={"auth": frozenset({offered})}, transport=transport) as hq:
        error = await hq.failure()
        assert isinstance(error, SourceDenied)
        assert error.code == "auth.scheme_unsupported"
        assert offered in str(error)
        assert hq.guard.failures == 0


async def test_a_lost_connection_is_logged_on_again() -> None:
    """After a reset the next request shakes hands anew and succeeds."""
    async with office("ntlm", lanes=1) as hq:
        await hq.read()
        hq.exchange.faults.add("reset", count=1)
        assert (await hq.failure()).code == "net.reset"
        assert isinstance((await hq.read())[0], Schedule)
        assert hq.guard.failures == 0


async def test_a_password_changed_at_the_server_fails_at_the_next_logon() -> None:
    """Connections that are logged on stay so; the first new one is refused once, and the guard counts it."""
    async with office("ntlm", lanes=1) as hq:
        await hq.read()
        hq.exchange.accounts.change_password(hq.exchange.service_account, "another")
        assert isinstance((await hq.read())[0], Schedule)
        hq.exchange.faults.add("reset", count=1)
        await hq.failure()
        error = await hq.failure()
        assert isinstance(error, SourceDenied)
        assert error.code == "auth.rejected"
        assert hq.guard.failures == 1


async def test_a_password_changed_under_basic_is_noticed_by_the_next_call() -> None:
    """Two refusals, then the guard: the account is never locked by us, and no request leaves while it holds."""
    async with office("basic") as hq:
        await hq.read()
        hq.exchange.accounts.change_password(hq.exchange.service_account, "another")
        kinds = [type(await hq.failure()) for _ in range(4)]
        assert kinds == [SourceDenied, SourceDenied, SourceUnavailable, SourceUnavailable]
        assert hq.exchange.journal.logon_failures() == 2


async def test_a_load_balancers_error_does_not_count_as_a_logon() -> None:
    """Only an answer of Exchange itself proves the password; the guard forgets nothing for less."""
    async with office("ntlm") as hq:
        hq.exchange.faults.add("status", status=503, before_logon=True, skip=1, count=1)
        assert (await hq.failure()).code == "server.unavailable"
        assert hq.guard.successes == 0
        assert isinstance((await hq.read())[0], Schedule)


async def test_lanes_work_side_by_side() -> None:
    """Four calls at once use four connections, each logged on by itself."""
    async with office("ntlm") as hq:
        await hq.read()
        hq.exchange.faults.add("slow_first_byte", seconds=0.2)
        answers = await asyncio.gather(*(hq.read(BOB) for _ in range(8)))
        assert all(isinstance(answer[0], Schedule) for answer in answers)
        assert len({entry.connection for entry in hq.exchange.journal}) == 4


async def test_credentials_never_go_to_another_origin() -> None:
    """A redirect to another port is refused, and nobody there hears anything from us."""
    heard: list[web.BaseRequest] = []

    async def eavesdrop(request: web.BaseRequest) -> web.Response:
        heard.append(request)
        return web.Response(text="thanks")

    runner = web.ServerRunner(web.Server(eavesdrop))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with office("basic") as hq:
            host, port = runner.addresses[0][:2]
            hq.exchange.faults.add("redirect", location=f"http://{host}:{port}/EWS/Exchange.asmx", status=307)
            error = await hq.failure()
            assert isinstance(error, SourceDenied)
            assert error.code == "http.redirect_refused"
    finally:
        await runner.cleanup()
    assert heard == []
