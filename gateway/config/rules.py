"""Rules between keys: what no single value can tell.

Faults are looked for in the raw tables, so that they are found in the same run as the faults of single values; every
rule therefore passes over what has the wrong type (the models report that).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.config.models import Config, leaves
from gateway.config.values import Address, SecretFile, parse_address

KeyPath = tuple[str, ...]


def faults(raw: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Key path and `fault; remedy` of everything that does not go together."""
    yield from _server(_table(raw, "server"))
    for name, section in _table(raw, "calendars").items():
        if isinstance(section, Mapping) and section.get("kind") == "ews":
            for key, text in _ews(section):
                yield ("calendars", name, *key), text


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = raw.get(name, {})
    return found if isinstance(found, Mapping) else {}


def _server(server: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    with_tls = "tls_certificate" in server or "tls_key" in server
    for one, other in (("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")):
        if one in server and other not in server:
            yield ("server", other), f"is missing beside {one}; name both files"
    listen = _try_address(server.get("listen"))
    if listen and not listen.loopback and not with_tls and server.get("behind_proxy") is not True:
        yield (
            ("server", "listen"),
            f"{listen} would serve tokens over plain HTTP to the network; set tls_certificate and tls_key, or "
            "behind_proxy = true with a proxy that speaks TLS, or listen on 127.0.0.1",
        )
    if "identity_header" in server and not server.get("trusted_proxies"):
        yield (
            ("server", "identity_header"),
            "would be believed from nobody; name the proxies in trusted_proxies",
        )
    if listen and listen.port and listen == _try_address(server.get("operations_listen")):
        yield ("server", "operations_listen"), "is the same as listen; choose another port, or leave it out"


def _try_address(value: object) -> Address | None:
    try:
        return parse_address(value)
    except ValueError:
        return None


def _ews(section: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if "password" not in section and "password_file" not in section:
        yield ("password_file",), 'is missing; add password_file = "…", or password = "${NAME}"'
    if "password" in section and "password_file" in section:
        yield ("password_file",), "is given twice, here and as password; keep one of the two"
    if section.get("access") == "impersonation":
        if section.get("transport") == "exchangelib":
            yield ("access",), 'needs the native transport; set transport = "native", or access = "free_busy"'
        if section.get("request_version") in ("Exchange2007_SP1", "Exchange2010"):
            yield ("access",), 'needs Exchange 2010 SP1 or later; set access = "free_busy" for older servers'


def warnings(config: Config, *, check_files: bool) -> Iterator[tuple[KeyPath, str]]:
    """What is accepted but unwise."""
    for path, value in leaves(config):
        secret = value.path if isinstance(value, SecretFile) else None
        if path == ("server", "tls_key") and isinstance(value, Path):
            secret = value
        if secret is not None and check_files and _open_to_all(secret):
            yield path, f"{secret} is readable by everybody on this machine; chmod 600 it"
    operations = config.server.operations_listen
    if operations is not None and not operations.loopback:
        yield ("server", "operations_listen"), "shows health and metrics to the network; use loopback or a firewall"
    for name, calendar in config.calendars.items():
        if calendar.auth != "negotiate" and not set("\\@") & set(calendar.username):
            yield (
                ("calendars", name, "username"),
                "names no domain, which many servers refuse; try DOMAIN\\user or user@domain",
            )


def _open_to_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
