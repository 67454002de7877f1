"""Every failure gets its class and its reason code, by one table each."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from gateway.errors import SourceDenied, SourceError, SourceProtocolError, SourceUnavailable
from gateway.reasons import REASONS, RetryClass
from gateway.sources import tls
from gateway.sources.ews import refusals
from gateway.sources.ews.http import (
    Answer,
    border,
    media_failure,
    network_failure,
    retry_after,
    status_failure,
)
from gateway.sources.ews.soap import Refusal

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SOURCES = Path(refusals.__file__).parents[1]


@pytest.mark.parametrize(
    ("told", "kind", "code"),
    [
        ("ErrorServerBusy", SourceUnavailable, "server.throttled"),
        ("ErrorTooManyObjectsOpened", SourceUnavailable, "server.throttled"),
        ("ErrorExceededConnectionCount", SourceUnavailable, "server.throttled"),
        ("ErrorNoFreeBusyAccess", SourceDenied, "permission.denied"),
        ("ErrorAccessDenied", SourceDenied, "permission.denied"),
        ("ErrorImpersonateUserDenied", SourceDenied, "permission.denied"),
        ("ErrorMailRecipientNotFound", SourceDenied, "mailbox.not_found"),
        ("ErrorNonExistentMailbox", SourceDenied, "mailbox.not_found"),
        ("ErrorInvalidSmtpAddress", SourceDenied, "mailbox.not_found"),
        ("ErrorMailboxMoveInProgress", SourceUnavailable, "mailbox.moved"),
        ("ErrorProxyRequestNotAllowed", SourceUnavailable, "mailbox.moved"),
        ("ErrorServiceDiscoveryFailed", SourceUnavailable, "mailbox.moved"),
        ("ErrorMailboxFailover", SourceUnavailable, "server.unavailable"),
        ("ErrorMailboxStoreUnavailable", SourceUnavailable, "server.unavailable"),
        ("ErrorMailboxLogonFailed", SourceUnavailable, "server.unavailable"),
        ("ErrorNoRespondingCASInDestinationSite", SourceUnavailable, "server.unavailable"),
        ("ErrorProxyRequestProcessingFailed", SourceUnavailable, "server.unavailable"),
        ("ErrorTimeoutExpired", SourceUnavailable, "server.unavailable"),
        ("ErrorFreeBusyGenerationFailed", SourceUnavailable, "server.error"),
        ("ErrorResultSetTooBig", SourceUnavailable, "server.error"),
        ("ErrorInternalServerTransientError", SourceUnavailable, "server.error"),
        ("ErrorPasswordExpired", SourceDenied, "auth.rejected"),
        ("ErrorInvalidServerVersion", SourceDenied, "server.version_unsupported"),
        ("ErrorNobodyHeardOf", SourceUnavailable, "server.error"),
        ("", SourceUnavailable, "server.error"),
    ],
)
def test_exchange_codes_have_one_meaning(told: str, kind: type[SourceError], code: str) -> None:
    """The same table serves single mailboxes and whole calls; the code Exchange gave is in the message."""
    for mailbox in ("ann@example.com", None):
        error = refusals.error_of(Refusal(told, 7.0), mailbox)
        assert type(error) is kind
        assert (error.code, error.mailbox) == (code, mailbox)
        assert told in str(error)
        assert error.hint == REASONS[code].remedy
    if isinstance(error, SourceUnavailable):
        assert error.retry_after == (7.0 if code == "server.throttled" else None)


def test_a_code_from_the_wire_cannot_inject_anything() -> None:
    """Only plain words of the server reach the message."""
    assert "\n" not in str(refusals.error_of(Refusal("Error\nforged line")))


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (403, SourceDenied, "server.ews_disabled"),
        (404, SourceDenied, "server.ews_disabled"),
        (405, SourceDenied, "server.method_not_allowed"),
        (501, SourceDenied, "server.method_not_allowed"),
        (440, SourceDenied, "auth.login_timeout"),
        (456, SourceDenied, "auth.rejected"),
        (449, SourceUnavailable, "server.unavailable"),
        (429, SourceUnavailable, "server.throttled"),
        (500, SourceUnavailable, "server.error"),
        (502, SourceUnavailable, "server.unavailable"),
        (503, SourceUnavailable, "server.unavailable"),
        (504, SourceUnavailable, "server.unavailable"),
        (507, SourceUnavailable, "server.error"),
        (204, SourceProtocolError, "protocol.unexpected_shape"),
        (400, SourceProtocolError, "protocol.unexpected_shape"),
        (418, SourceProtocolError, "protocol.unexpected_shape"),
    ],
)
def test_statuses_have_one_meaning(status: int, kind: type[SourceError], code: str) -> None:
    """A status that is no answer is a failure with its own code."""
    error = status_failure(Answer(status, {"Content-Type": "text/html"}, b""), NOW)
    assert type(error) is kind
    assert error.code == code


def test_a_soap_fault_is_an_answer() -> None:
    """200, and 500 with XML, go on to the parser."""
    assert status_failure(Answer(200, {}, b""), NOW) is None
    assert status_failure(Answer(500, {"Content-Type": "text/xml; charset=utf-8"}, b""), NOW) is None


def test_retry_after_is_throttling_in_seconds_or_until_a_date() -> None:
    """The server's wish is honoured in both forms, and nonsense is no wish."""
    error = status_failure(Answer(503, {"Retry-After": "120"}, b""), NOW)
    assert isinstance(error, SourceUnavailable)
    assert (error.code, error.retry_after) == ("server.throttled", 120.0)
    assert retry_after({"Retry-After": "Fri, 20 Nov 2026 09:01:30 GMT"}, NOW) == 90.0
    assert retry_after({"Retry-After": "Fri, 20 Nov 2026 08:00:00 GMT"}, NOW) == 0.0
    for nonsense in ("", "soon", "-5", "9" * 30):
        assert retry_after({"Retry-After": nonsense}, NOW) is None


def test_a_page_in_place_of_an_answer_is_told_from_a_logon_page() -> None:
    """A form with a password is a logon page, other content is unexpected, no type at all is left to the parser."""
    page = b'<!DOCTYPE html><form><input type="Password"></form>'
    form = media_failure(Answer(200, {"Content-Type": "text/html"}, page))
    assert isinstance(form, SourceDenied)
    assert form.code == "auth.login_timeout"
    for media, body in (("text/html", b"<h1>Welcome</h1>"), ("application/json", b"{}")):
        other = media_failure(Answer(200, {"Content-Type": media}, body))
        assert isinstance(other, SourceProtocolError)
        assert other.code == "protocol.unexpected_shape"
    for media in ("text/xml; charset=utf-8", "application/xml", "Text/XML"):
        assert media_failure(Answer(200, {"Content-Type": media}, b"")) is None
    assert media_failure(Answer(200, {}, b"")) is None


def _verification(code: int) -> ssl.SSLCertVerificationError:
    fault = ssl.SSLCertVerificationError(1, "certificate verify failed")
    fault.verify_code, fault.verify_message = code, "because"
    return fault


def _tls(reason: str) -> ssl.SSLError:
    fault = ssl.SSLError(1, reason)
    fault.reason = reason
    return fault


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (_verification(2), "tls.chain_incomplete"),
        (_verification(9), "tls.not_yet_valid"),
        (_verification(10), "tls.expired"),
        (_verification(18), "tls.self_signed"),
        (_verification(19), "tls.untrusted_ca"),
        (_verification(20), "tls.untrusted_ca"),
        (_verification(21), "tls.chain_incomplete"),
        (_verification(24), "tls.not_a_ca"),
        (_verification(62), "tls.name_mismatch"),
        (_verification(64), "tls.name_mismatch"),
        (_verification(66), "tls.weak"),
        (_verification(68), "tls.weak"),
        (_verification(79), "tls.not_a_ca"),
        (_verification(85), "tls.strict"),
        (_tls("WRONG_VERSION_NUMBER"), "tls.not_tls"),
        (_tls("UNSUPPORTED_PROTOCOL"), "tls.protocol"),
        (_tls("TLSV1_ALERT_PROTOCOL_VERSION"), "tls.protocol"),
        (_tls("EE_KEY_TOO_SMALL"), "tls.weak"),
        (_tls("UNEXPECTED_EOF_WHILE_READING"), "net.reset"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "dns.not_found"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "dns.timeout"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "net.refused"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "net.reset"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "net.connect_timeout"),
        (aiohttp.ServerDisconnectedError(), "net.reset"),
        (aiohttp.ConnectionTimeoutError(), "net.connect_timeout"),
        (aiohttp.SocketTimeoutError(), "net.read_timeout"),
        (TimeoutError(), "net.read_timeout"),
        (aiohttp.ClientPayloadError("not all data"), "http.truncated"),
        (aiohttp.ClientConnectionError("Connector is closed"), "net.reset"),
    ],
)
def test_network_and_tls_faults_have_one_meaning(fault: BaseException, code: str) -> None:
    """Whatever the libraries raise, wrapped or bare, becomes a listed code that names host and port."""
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = fault
    for raised in (fault, wrapped):
        error = network_failure(raised, "mail.example.com:443")
        assert error.code == code
        assert "mail.example.com:443" in str(error)
        denied = code.startswith("tls.")
        assert isinstance(error, SourceDenied if denied else SourceUnavailable)


def test_no_foreign_exception_passes_the_border() -> None:
    """Errors of the libraries are translated and named after the source; a bug is not dressed up."""
    with pytest.raises(SourceUnavailable) as caught, border("hq", "mail.example.com:443"):
        raise aiohttp.ServerDisconnectedError
    assert caught.value.source == "hq"
    with pytest.raises(KeyError), border("hq", "mail.example.com:443"):
        raise KeyError("a bug")


def test_every_code_the_package_can_raise_is_listed() -> None:
    """Codes in the sources of this package and in its tables are reasons, and every reason has words for a person."""
    written = set[str]()
    for path in [*SOURCES.glob("ews/*.py"), SOURCES / "xml.py", SOURCES / "tls.py"]:
        families = "|".join({code.partition(".")[0] for code in REASONS if "." in code})
        written |= set(re.findall(rf'(?<!b)"((?:{families})\.[a-z_]*[a-z])"', path.read_text()))
    assert len(written) > 25
    assert written <= REASONS.keys()
    assert set(refusals.CODES.values()) <= REASONS.keys()
    assert {tls.failure_code(_verification(code)) for code in range(120)} <= REASONS.keys()


def test_reasons_speak_in_sentences() -> None:
    """Every reason has a message, every failure a remedy, and they are sentences."""
    for code, reason in REASONS.items():
        assert reason.code == code
        assert reason.retry in RetryClass
        assert reason.message.endswith(".")
        assert reason.remedy.endswith(".") or code == "ok"
