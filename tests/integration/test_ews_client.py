"""The EWS client against the simulator: reads, failures of mailboxes, servers and networks, for both transports."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.core.model import Block, Busy, Schedule
from gateway.errors import ConfigError, SourceDenied, SourceError, SourceProtocolError, SourceUnavailable
from gateway.simulator import Busy as Marked
from gateway.simulator import certificates
from gateway.sources import Severity
from gateway.sources.ews import EwsSettings, open_calendar
from gateway.sources.ews.native import EwsCalendar
from gateway.sources.ews.session import Session
from tests.integration.ews_office import ANN, BOB, DAY, WINDOW, MemoryGuard, at, busy, office

TRANSPORTS = ["native", "exchangelib"]
AUTHS = ["basic", "ntlm"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("auth", AUTHS)
async def test_schedules_come_back_in_the_order_asked(auth: Any, transport: str) -> None:
    """A meeting, a whole day, a tentative one and an empty calendar are read as booked, whatever the logon."""
    async with office(auth, transport=transport) as hq:
        hq.world.book(ANN, at(12), at(13), busy=Marked.TENTATIVE)
        hq.world.book(ANN, at(12), at(13), busy=Marked.TENTATIVE)
        hq.world.book(BOB, at(0), at(1), busy=Marked.OOF, all_day=True)
        bob, ann = await hq.read(BOB, ANN)
        assert ann == Schedule(WINDOW.start, WINDOW.end, (busy(9, 10), Block(at(12), at(13), Busy.TENTATIVE)))
        assert bob == Schedule(WINDOW.start, WINDOW.end, (Block(at(-1), at(23), Busy.OUT_OF_OFFICE, all_day=True),))
        assert not hq.exchange.journal.writes()
        assert not hq.exchange.journal.content_asked()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("prefixes", ["recorded", "prefixed", "unprefixed", "soap11"])
@pytest.mark.parametrize("times", ["naive", "utc", "offset"])
async def test_every_dialect_means_the_same(transport: str, prefixes: Any, times: Any) -> None:
    """Prefixes, forms of time, missing digits and working hours change nothing."""
    async with office("basic", transport=transport) as hq:
        hq.exchange.ews.options.prefixes = prefixes
        hq.exchange.ews.options.times = times
        hq.exchange.ews.options.gromox = prefixes == "prefixed"
        hq.exchange.ews.options.working_hours = "no_days" if prefixes == "recorded" else "missing"
        ann, bob = await hq.read(ANN, BOB)
        assert ann == Schedule(WINDOW.start, WINDOW.end, (busy(9, 10),))
        assert bob == Schedule(WINDOW.start, WINDOW.end)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_failing_mailbox_fails_alone_with_its_reason(transport: str) -> None:
    """Each kind of failing mailbox gets its class and code in its place, and its neighbours their schedules."""
    expected: dict[str, tuple[type[SourceError], str]] = {
        "denied": (SourceDenied, "permission.denied"),
        "missing": (SourceDenied, "mailbox.not_found"),
        "badname": (SourceDenied, "mailbox.not_found"),
        "moved": (SourceUnavailable, "mailbox.moved"),
        "undiscovered": (SourceUnavailable, "mailbox.moved"),
        "failover": (SourceUnavailable, "server.unavailable"),
        "offline": (SourceUnavailable, "server.unavailable"),
        "slow": (SourceUnavailable, "server.unavailable"),
        "hybrid": (SourceUnavailable, "server.unavailable"),
        "broken": (SourceUnavailable, "server.error"),
        "crowded": (SourceUnavailable, "server.error"),
        "throttled": (SourceUnavailable, "server.throttled"),
        "garbled": (SourceProtocolError, "protocol.unexpected_shape"),
    }
    async with office("basic", transport=transport) as hq:
        addresses = [f"{name}@example.com" for name in expected]
        for address in addresses:
            hq.world.add_person(address)
        first, *errors, last = await hq.read(ANN, *addresses, ANN)
        assert first == last == Schedule(WINDOW.start, WINDOW.end, (busy(9, 10),))
        for address, error, (kind, code) in zip(addresses, errors, expected.values(), strict=True):
            assert type(error) is kind, address
            assert (error.code, error.mailbox, error.source) == (code, address, "hq")
            if code == "server.throttled":
                assert getattr(error, "retry_after", None) == 5.0


WHOLE_CALL: list[tuple[dict[str, Any], type[SourceError], str, float | None]] = [
    ({"action": "status", "status": 503, "retry_after": 7}, SourceUnavailable, "server.throttled", 7.0),
    ({"action": "status", "status": 429, "retry_after": 3}, SourceUnavailable, "server.throttled", 3.0),
    ({"action": "status", "status": 503}, SourceUnavailable, "server.unavailable", None),
    ({"action": "status", "status": 500}, SourceUnavailable, "server.error", None),
    ({"action": "status", "status": 403}, SourceDenied, "server.ews_disabled", None),
    ({"action": "status", "status": 404}, SourceDenied, "server.ews_disabled", None),
    ({"action": "status", "status": 405}, SourceDenied, "server.method_not_allowed", None),
    ({"action": "status", "status": 501}, SourceDenied, "server.method_not_allowed", None),
    ({"action": "status", "status": 440}, SourceDenied, "auth.login_timeout", None),
    ({"action": "soap_fault", "backoff_ms": 297749}, SourceUnavailable, "server.throttled", 297.749),
    ({"action": "soap_fault", "code": "ErrorExceededConnectionCount"}, SourceUnavailable, "server.throttled", None),
    ({"action": "soap_fault", "code": "ErrorInternalServerError"}, SourceUnavailable, "server.error", None),
    ({"action": "message_error", "backoff_ms": 5000}, SourceUnavailable, "server.throttled", 5.0),
    ({"action": "inner_busy", "backoff_ms": 4000}, SourceUnavailable, "server.throttled", 4.0),
    ({"action": "truncated"}, SourceUnavailable, "http.truncated", None),
    ({"action": "truncated", "framing": "chunked"}, SourceUnavailable, "http.truncated", None),
    ({"action": "oversized"}, SourceProtocolError, "http.body_too_large", None),
    ({"action": "oversized", "gzip": True}, SourceProtocolError, "http.body_too_large", None),
    ({"action": "slow_first_byte", "seconds": 30.0}, SourceUnavailable, "net.read_timeout", None),
    ({"action": "slow_trickle", "size": 8, "seconds": 0.3}, SourceUnavailable, "net.too_slow", None),
    ({"action": "hang"}, SourceUnavailable, "net.read_timeout", None),
    ({"action": "reset"}, SourceUnavailable, "net.reset", None),
    ({"action": "close"}, SourceUnavailable, "net.reset", None),
    ({"action": "login_page"}, SourceDenied, "auth.login_timeout", None),
    ({"action": "redirect", "location": "https://evil.example.net/EWS"}, SourceDenied, "http.redirect_refused", None),
    ({"action": "dtd"}, SourceProtocolError, "protocol.forbidden_xml", None),
    ({"action": "malformed"}, SourceProtocolError, "protocol.malformed_xml", None),
    ({"action": "empty"}, SourceProtocolError, "protocol.malformed_xml", None),
]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("fault", "kind", "code", "pause"), WHOLE_CALL, ids=["-".join(map(str, case[0].values())) for case in WHOLE_CALL]
)
async def test_a_failing_call_has_its_class_reason_and_pause(
    transport: str, fault: dict[str, Any], kind: type[SourceError], code: str, pause: float | None
) -> None:
    """Whatever the server or the network does, one listed code comes out, nothing is retried, and then all is well."""
    async with office("basic", transport=transport, call_timeout=2.0) as hq:
        await hq.read()
        rule = hq.exchange.faults.add(**fault)
        error = await hq.failure(ANN, BOB)
        assert type(error) is kind, repr(error)
        assert (error.code, error.source, error.mailbox) == (code, "hq", None)
        assert getattr(error, "retry_after", None) == pause
        assert rule.hits == 1
        assert hq.settings.password not in f"{error} {error.hint} {error.context}"
        hq.exchange.faults.clear()
        assert isinstance((await hq.read())[0], Schedule)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_wrong_number_of_entries_discards_the_batch(transport: str) -> None:
    """A dropped entry would shift everybody's calendar to the neighbour."""
    async with office("basic", transport=transport) as hq:
        hq.exchange.ews.options.drop_entry = True
        error = await hq.failure(ANN, BOB)
        assert isinstance(error, SourceProtocolError)
        assert error.code == "protocol.unexpected_shape"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_illegal_reference_does_not_cost_the_answer(transport: str) -> None:
    """What Exchange writes against the XML standard is removed first."""
    async with office("basic", transport=transport) as hq:
        hq.exchange.faults.add("illegal_reference")
        assert await hq.read() == [Schedule(WINDOW.start, WINDOW.end, (busy(9, 10),))]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_older_server_is_asked_in_its_own_version_from_then_on(transport: str) -> None:
    """The version is lowered step by step and remembered, so that it costs two calls once."""
    async with office("basic", transport=transport) as hq:
        hq.exchange.ews.options.server = "2010"
        assert isinstance((await hq.read())[0], Schedule)
        before = hq.exchange.journal.count("GetUserAvailability")
        assert isinstance((await hq.read())[0], Schedule)
        assert hq.exchange.journal.count("GetUserAvailability") == before + 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_batch_the_server_finds_too_big_is_halved_and_remembered(transport: str) -> None:
    """All mailboxes are still answered, in order, and the next fetch begins with the smaller batch."""
    async with office("basic", transport=transport) as hq:
        hq.exchange.ews.options.maximum_mailboxes = 3
        mailboxes = [ANN, BOB] * 5
        entries = await hq.read(*mailboxes)
        assert [len(entry.blocks) for entry in entries if isinstance(entry, Schedule)] == [1, 0] * 5
        assert hq.calendar.batch <= 3
        before = hq.exchange.journal.count("GetUserAvailability")
        await hq.read(*mailboxes[: hq.calendar.batch])
        assert hq.exchange.journal.count("GetUserAvailability") == before + 1


async def test_a_redirect_within_the_origin_is_followed_three_times() -> None:
    """The path may change, the server may not; a loop is told from a refusal."""
    async with office("basic") as hq:
        path = hq.settings.url.partition("127.0.0.1")[2].partition("/")[2]
        hq.exchange.faults.add("redirect", location=f"/{path}", status=307, count=3)
        assert isinstance((await hq.read())[0], Schedule)
        hq.exchange.faults.add("redirect", location=f"/{path}", status=302)
        error = await hq.failure()
        assert isinstance(error, SourceDenied)
        assert error.code == "http.redirect_loop"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_certificates_that_sites_get_wrong_have_their_reasons(transport: str) -> None:
    """Unknown authority, expired, not yet valid, another name, self-signed: each is denied with its code."""
    async with office("basic", transport=transport) as hq:
        names, authority = ("localhost", "127.0.0.1"), hq.exchange.authority
        for issued, codes in (
            (certificates.unknown_authority(*names), {"tls.untrusted_ca"}),
            (certificates.expired(authority, *names), {"tls.expired"}),
            (certificates.not_yet_valid(authority, *names), {"tls.not_yet_valid"}),
            (certificates.wrong_name(authority), {"tls.name_mismatch"}),
            (certificates.self_signed(*names), {"tls.self_signed"}),
            (certificates.missing_intermediate(authority, *names), {"tls.untrusted_ca", "tls.chain_incomplete"}),
        ):
            await hq.exchange.present(issued)
            error = await hq.failure()
            assert isinstance(error, SourceDenied)
            assert error.code in codes
        await hq.exchange.present(authority.issue(*names))
        assert isinstance((await hq.read())[0], Schedule)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_is_not_there_has_its_reason(transport: str) -> None:
    """Refused connections and unknown names are told apart; plain text on the port too."""
    async with office("basic", transport=transport) as hq:
        hq.exchange.stop_listening()
        assert (await hq.failure()).code == "net.refused"
    async with office("basic", transport=transport, url="https://nobody.invalid/EWS/Exchange.asmx") as hq:
        assert (await hq.failure()).code in {"dns.not_found", "dns.timeout"}
    async with plain_text() as port, office("basic", transport=transport, url=f"https://127.0.0.1:{port}/") as hq:
        error = await hq.failure()
        assert isinstance(error, SourceDenied)
        assert error.code == "tls.not_tls"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_never_shakes_hands_times_out_as_a_connection(transport: str) -> None:
    """A port that accepts and stays silent is a connection that never came about."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        async with office("basic", transport=transport, url=url, connect_timeout=0.3, call_timeout=2.0) as hq:
            assert (await hq.failure()).code in {"net.connect_timeout", "net.read_timeout"}


async def test_a_request_that_writes_never_leaves() -> None:
    """Only reading operations are sent; anything else raises before a socket is opened."""
    async with office("basic") as hq:
        session = Session("hq", hq.settings, SystemClock(), MemoryGuard())
        for request in (
            b"<s:Body><m:DeleteItem/></s:Body>",
            b"<s:Body><m:CreateItemRequest><m:GetUserAvailabilityRequest/></m:CreateItemRequest></s:Body>",
            b"",
        ):
            with pytest.raises(PermissionError):
                await session.call(request)
        await session.close()
        assert not list(hq.exchange.journal)


async def test_the_servers_clock_is_compared_with_ours() -> None:
    """The Date header tells by how much the clocks differ (here the simulator's stands still)."""
    async with office("basic") as hq:
        assert isinstance(hq.calendar, EwsCalendar)
        assert hq.calendar.clock_skew is None
        await hq.read()
        assert hq.calendar.clock_skew == pytest.approx((DAY - SystemClock().now()).total_seconds(), abs=10)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_free_busy_is_polled(transport: str) -> None:
    """There are no hints to follow: the iterator ends at once."""

    class Nobody:
        mailboxes = frozenset[str]()

        async def changed(self) -> None:
            await asyncio.Event().wait()

    async with office("basic", transport=transport) as hq:
        assert [hint async for hint in hq.calendar.follow(Nobody())] == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_check_names_every_step(transport: str) -> None:
    """Configuration, endpoint, logon and each mailbox: good ones are ok, a bad one has code and remedy."""
    async with office("ntlm", transport=transport) as hq:
        hq.world.add_person("denied@example.com")
        findings = await hq.calendar.check([ANN, "denied@example.com"])
        assert [(found.step, found.severity, found.code) for found in findings] == [
            ("configuration", Severity.OK, "ok"),
            ("endpoint", Severity.OK, "ok"),
            ("logon", Severity.OK, "ok"),
            ("read", Severity.OK, "ok"),
            ("read", Severity.ERROR, "permission.denied"),
        ]
        assert "ntlm" in findings[1].answered
        assert "AvailabilityOnly" in findings[-1].remedy
        assert hq.settings.password not in repr(findings)
        assert [found.code for found in await hq.calendar.check([])] == ["ok", "ok", "ok"]
        hq.exchange.stop_listening()
        await hq.exchange.present(certificates.unknown_authority("localhost", "127.0.0.1"))
        assert [found.code for found in await hq.calendar.check([ANN])] == ["ok", "tls.untrusted_ca"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_nothing_secret_is_logged(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the password nor an authorization appears in any log, even at the finest level and on failure."""
    caplog.set_level(logging.DEBUG)
    async with office("basic", transport=transport) as hq:
        await hq.read()
        hq.exchange.faults.add("malformed")
        await hq.failure()
        assert hq.settings.password not in caplog.text
        assert "Basic " not in caplog.text
        assert "secret plans" not in caplog.text


async def test_a_closed_calendar_says_so() -> None:
    """After close nothing is sent, and closing twice is harmless."""
    async with office("basic") as hq:
        await hq.read()
        await hq.calendar.close()
        assert (await hq.failure()).code == "net.reset"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cancelled_fetch_leaves_the_calendar_usable(transport: str) -> None:
    """Cancelling at any await gives the lane back."""
    async with office("basic", transport=transport, lanes=1) as hq:
        await hq.read()
        rule = hq.exchange.faults.add("hang", count=1)
        task = asyncio.create_task(hq.read())
        await asyncio.wait_for(rule.acted.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hq.exchange.faults.clear()
        assert isinstance((await hq.read())[0], Schedule)


@asynccontextmanager
async def plain_text() -> AsyncIterator[int]:
    """The port of a server that answers in plain text where TLS is expected."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_impossible_configuration_is_refused_at_once(transport: Any) -> None:
    """Plain http, and a logon that needs a package which is not there, are configuration problems."""
    settings = EwsSettings("http://mail.example.com/EWS/Exchange.asmx", "CORP\\svc", "x", transport=transport)
    with pytest.raises(ConfigError, match="https"):
        open_calendar("hq", settings, SystemClock(), MemoryGuard())


def test_negotiate_by_exchangelib_names_the_package_it_needs() -> None:
    """Without it there is no Kerberos, and the problem says what to install."""
    settings = EwsSettings("https://mail.example.com/", "CORP\\svc", "x", auth="negotiate", transport="exchangelib")
    with pytest.raises(ConfigError, match=r"exchangelib\[kerberos\]"):
        open_calendar("hq", settings, SystemClock(), MemoryGuard())
