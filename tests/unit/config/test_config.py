"""gateway.toml: what is accepted, and how everything else is told."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from gateway import config
from gateway.config.limits import DESCRIPTIONS
from gateway.config.values import show_duration
from gateway.core.model import Availability, Override, Policy
from gateway.errors import ConfigError
from gateway.web.ports import Limits

CALENDAR = """
[calendars.hq]
kind = "ews"
url = "https://mail.example.com/EWS/Exchange.asmx"
username = 'CORP\\svc-presence'
password_file = "ews-password"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration folder with everything a good file names."""
    (tmp_path / "people.toml").write_text("")
    (tmp_path / "tokens.toml").write_text("")
    secret = tmp_path / "ews-password"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    return tmp_path


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> config.Config:
    """The configuration of that text."""
    (folder / "gateway.toml").write_text(text)
    return config.load(folder / "gateway.toml", environ=environ or {})


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with that text, at least one thing."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ)
    return caught.value.problems


def test_an_empty_file_is_a_valid_gateway(folder: Path) -> None:
    """Everything has a default: loopback, the founding rule, no calendar."""
    found = load(folder, "")
    assert str(found.server.listen) == "127.0.0.1:8080"
    assert found.calendars == {}
    assert found.policy() == Policy()
    assert found.limits == Limits()


def test_durations_come_out_as_seconds(folder: Path) -> None:
    """A unit is part of the value: 5m is 300 seconds."""
    found = load(folder, CALENDAR + 'refresh = "30s"\nbackground = "2h"').calendars["hq"]
    assert (found.refresh, found.background) == (30.0, timedelta(hours=2).total_seconds())


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 60.0, 90.0, 100.0, 120.0, 300.0, 3600.0, 7200.0, 86400.0, 172800.0])
def test_a_shown_duration_reads_back_the_same(folder: Path, seconds: float) -> None:
    """The reference never shows a duration that means another one."""
    text = f'[limits]\nheartbeat = "{show_duration(seconds)}"'
    assert load(folder, text).limits.heartbeat == seconds


def test_a_bare_number_is_no_duration(folder: Path) -> None:
    """Sixty what? The answer shows how to write it."""
    (line,) = problems(folder, CALENDAR + "refresh = 60")
    assert line.startswith("gateway.toml: calendars.hq.refresh: must be a duration; ")
    assert '"60s"' in line


def test_policy_follows_the_presence_section(folder: Path) -> None:
    """What [presence] says is what the composer gets."""
    found = load(folder, '[presence]\noverride = "dnd_over_all"\nno_session = "available"\nshow_until = true')
    assert found.policy() == Policy(override=Override.DND_OVER_ALL, no_session=Availability.AVAILABLE, show_until=True)


def test_all_problems_come_in_one_run(folder: Path) -> None:
    """Single values, combinations, files and unknown names are all told at once, each with its key path."""
    found = problems(
        folder,
        """
        [server]
        listen = "0.0.0.0:8080"
        bogus = 1
        [presence]
        override = "sometimes"
        [calendars.hq]
        kind = "ews"
        url = "http://mail.example.com/EWS/Exchange.asmx"
        usrname = "svc"
        ca_file = "missing.pem"
        lanes = 21
        [calendars.legacy]
        kind = "webdav"
        [phones.pbx]
        kind = "asterisk"
        [limits]
        connections = 0
        """,
    )
    paths = {line.split(": ")[1] for line in found}
    assert paths == {
        "server.listen",
        "server.bogus",
        "presence.override",
        "calendars.hq.url",
        "calendars.hq.username",
        "calendars.hq.usrname",
        "calendars.hq.password_file",
        "calendars.hq.ca_file",
        "calendars.hq.lanes",
        "calendars.legacy",
        "phones.pbx",
        "limits.connections",
    }
    assert all(line.startswith("gateway.toml: ") and ("; " in line) for line in found)


def test_a_misspelt_key_is_recognised(folder: Path) -> None:
    """The answer names the key that was probably meant."""
    (line,) = problems(folder, '[presence]\noveride = "none"')
    assert line == "gateway.toml: presence.overide: is no known key; did you mean override?"


def test_a_kind_that_does_not_exist_names_those_that_do(folder: Path) -> None:
    """Nobody has to look up which kinds this version has."""
    (line,) = problems(folder, '[calendars.x]\nkind = "caldav"')
    assert line == "gateway.toml: calendars.x: kind 'caldav' is not available; available: ews"


def test_a_windows_name_in_double_quotes_gets_the_right_advice(folder: Path) -> None:
    """The commonest slip in such a file: a backslash in a TOML string."""
    (line,) = problems(folder, '[calendars.hq]\nkind = "ews"\nusername = "CORP\\svc"')
    assert line.startswith("gateway.toml: line 3, column ")
    assert "single quotes" in line


@pytest.mark.parametrize(
    ("password", "advice"),
    [('password = "hunter2"', "password_file"), ('password = "${MISSING}"', "MISSING is not set"), ("", "is missing")],
)
def test_a_password_is_never_taken_from_the_file(folder: Path, password: str, advice: str) -> None:
    """A literal password is a fault, it is not repeated, and the remedy is told."""
    (line,) = problems(folder, CALENDAR.replace('password_file = "ews-password"', password))
    assert advice in line
    assert "hunter2" not in line


def test_secrets_come_from_files_and_variables(folder: Path) -> None:
    """The line end of a file is not part of the password; a variable is taken as it is."""
    assert load(folder, CALENDAR).calendars["hq"].password.reveal() == "correct horse"
    text = CALENDAR.replace('password_file = "ews-password"', 'password = "${EWS}"')
    assert load(folder, text, {"EWS": " spaced "}).calendars["hq"].password.reveal() == " spaced "


def test_systemd_credentials_are_found_by_name(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A relative password_file is looked up in $CREDENTIALS_DIRECTORY first."""
    credentials = tmp_path_factory.mktemp("credentials")
    (credentials / "ews-password").write_text("from systemd")
    found = load(folder, CALENDAR, {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert found.calendars["hq"].password.reveal() == "from systemd"


def test_no_text_of_the_configuration_shows_a_secret(folder: Path) -> None:
    """repr and str of the whole and of the secret say ***; the list for redaction holds it."""
    found = load(folder, CALENDAR)
    for text in (repr(found), str(found), str(found.calendars["hq"].password)):
        assert "correct horse" not in text
    assert "***" in repr(found)
    assert found.secrets == ("correct horse",)


@pytest.mark.parametrize("text", ["", "two\nlines"])
def test_a_password_file_holds_one_password(folder: Path, text: str) -> None:
    """An empty file or one with several lines is a mistake, not a password."""
    (folder / "ews-password").write_text(text)
    (line,) = problems(folder, CALENDAR)
    assert line.startswith("gateway.toml: calendars.hq.password_file: ")


def test_a_secret_everybody_can_read_is_a_warning(folder: Path) -> None:
    """It works, and the operator is told."""
    assert load(folder, CALENDAR).warnings == ()
    (folder / "ews-password").chmod(0o644)
    (warning,) = load(folder, CALENDAR).warnings
    assert warning.startswith("gateway.toml: calendars.hq.password_file: ")
    assert "chmod" in warning


def test_a_user_name_without_domain_is_a_warning(folder: Path) -> None:
    """Many servers refuse it; the warning shows both accepted forms."""
    (warning,) = load(folder, CALENDAR.replace("CORP\\", "")).warnings
    assert "DOMAIN\\user or user@domain" in warning


@pytest.mark.parametrize(
    "server",
    [
        'listen = "0.0.0.0:8080"',
        'listen = "gateway.example.com:8080"',
        'listen = "[::]:8080"',
        'identity_header = "X-Forwarded-Email"',
        'tls_key = "ews-password"',
        'listen = "127.0.0.1:80"\noperations_listen = "127.0.0.1:80"',
        'trusted_proxies = ["10.0.0.1/8"]',
        'listen = "8080"',
        'public_url = "presence.example.com"',
    ],
)
def test_an_unsafe_or_useless_server_section_is_refused(folder: Path, server: str) -> None:
    """Plain HTTP off loopback, a header believed from nobody, half a certificate, a port used twice."""
    assert all(line.startswith("gateway.toml: server.") for line in problems(folder, f"[server]\n{server}"))


@pytest.mark.parametrize(
    "server",
    [
        'listen = "127.0.0.1:8080"',
        'listen = "[::1]:8080"',
        'listen = "localhost:0"',
        'listen = "0.0.0.0:80"\nbehind_proxy = true',
    ],
)
def test_loopback_and_proxies_may_speak_plain_http(folder: Path, server: str) -> None:
    """On the own machine, and behind a proxy that speaks TLS."""
    assert load(folder, f"[server]\n{server}").warnings == ()


def test_a_trust_file_with_the_servers_own_certificate_is_refused(folder: Path) -> None:
    """It would act as a silent pin; the remedy names what belongs there."""
    authority = trustme.CA()
    leaf = authority.issue_cert("mail.example.com", common_name="mail.example.com")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    assert load(folder, CALENDAR + 'ca_file = "ca.pem"').calendars["hq"].ca_file == folder / "ca.pem"
    leaf.cert_chain_pems[0].write_to_path(folder / "ca.pem", append=True)
    (line,) = problems(folder, CALENDAR + 'ca_file = "ca.pem"')
    assert "'mail.example.com'" in line
    assert "authority" in line


@pytest.mark.parametrize("content", [b"\x30\x82\x01", b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"])
def test_a_trust_file_must_hold_pem(folder: Path, content: bytes) -> None:
    """Binary certificates and broken ones are told apart from a missing file."""
    (folder / "ca.pem").write_bytes(content)
    (line,) = problems(folder, CALENDAR + 'ca_file = "ca.pem"')
    assert "PEM" in line


def test_the_loaded_trust_file_works_for_tls(folder: Path) -> None:
    """What the check accepts OpenSSL accepts as well."""
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    found = load(folder, CALENDAR + 'ca_file = "ca.pem"').calendars["hq"].ca_file
    assert len(ssl.create_default_context(cafile=found).get_ca_certs()) == 1


def test_a_renewed_file_makes_another_configuration(folder: Path) -> None:
    """The same text with another password or another authority is a change; the same contents are none."""
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    text = CALENDAR + 'ca_file = "ca.pem"'
    first = load(folder, text).calendars["hq"]
    assert load(folder, text).calendars["hq"] == first
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    second = load(folder, text).calendars["hq"]
    assert second != first
    (folder / "ews-password").write_text("new")
    assert load(folder, text).calendars["hq"] != second


def test_every_file_it_depends_on_is_known(folder: Path) -> None:
    """The watcher for changes watches them all."""
    names = {path.name for path in load(folder, CALENDAR).files}
    assert names == {"gateway.toml", "people.toml", "tokens.toml", "ews-password"}


@pytest.mark.parametrize(
    ("access", "extra"),
    [("impersonation", 'transport = "exchangelib"'), ("impersonation", 'request_version = "Exchange2007_SP1"')],
)
def test_impersonation_needs_what_carries_it(folder: Path, access: str, extra: str) -> None:
    """It works neither with exchangelib nor before Exchange 2010 SP1."""
    (line,) = problems(folder, CALENDAR + f'access = "{access}"\n{extra}')
    assert line.startswith("gateway.toml: calendars.hq.access: ")


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("sqlite:///var/lib/x.db", "sqlite:///var/lib/x.db"),
        ("sqlite::memory:", "sqlite::memory:"),
        ("sqlite:state.db", "sqlite://{folder}/state.db"),
    ],
)
def test_store_urls_come_out_absolute(folder: Path, url: str, stored: str) -> None:
    """A relative path starts at the file's folder, wherever the gateway is started."""
    assert load(folder, f'[store]\nurl = "{url}"').store.url == stored.format(folder=folder)


@pytest.mark.parametrize(
    "url", ["nats://127.0.0.1:4222", "state.db", "sqlite://host/x.db", "sqlite:", "sqlite:///var/lib/"]
)
def test_a_store_that_is_not_available_is_refused(folder: Path, url: str) -> None:
    """The line shows a URL that works."""
    (line,) = problems(folder, f'[store]\nurl = "{url}"')
    assert "sqlite:///var/lib/presence-gateway/state.db" in line


def test_an_absent_file_is_a_problem_not_a_traceback(tmp_path: Path) -> None:
    """So are files that are no UTF-8 and files that are folders."""
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    with pytest.raises(ConfigError, match="UTF-8"):
        config.load(tmp_path / "latin.toml")


def test_every_limit_is_described() -> None:
    """The reference explains each bound the web side knows, and no other."""
    assert set(DESCRIPTIONS) == set(Limits.__dataclass_fields__)
