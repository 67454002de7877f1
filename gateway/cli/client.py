"""The command line's own API client: standard library only, so that it starts at once.

It follows no redirect and speaks plain HTTP to this machine only: a token goes to the gateway it is meant for.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from gateway.errors import ConfigError, GatewayError

TOKEN_VARIABLE = "PRESENCE_GATEWAY_TOKEN"
URL_VARIABLE = "PRESENCE_GATEWAY_URL"


class Unreachable(GatewayError):
    """The gateway did not answer; trying again may help."""


class Refused(GatewayError):
    """The gateway answered, with a problem."""


class Busy(GatewayError):
    """The gateway answered that it cannot now (429, 5xx); trying again may help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--url, --token-file, --ca-file."""
    default = os.environ.get(URL_VARIABLE, "http://127.0.0.1:8080")
    parser.add_argument("--url", default=default, help=f"the gateway (default: ${URL_VARIABLE}, or {default})")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"file with the token (default: the variable {TOKEN_VARIABLE})"
    )
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="authorities to trust (PEM), for https")


@dataclass(frozen=True, slots=True)
class Client:
    """One gateway and the token for it."""

    base: SplitResult
    token: str
    tls: ssl.SSLContext | None

    @staticmethod
    def of(args: argparse.Namespace) -> Client:
        """The client the arguments describe; raises ConfigError."""
        base = urlsplit(args.url)
        try:
            usable = base.scheme in ("http", "https") and bool(base.hostname) and base.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigError([f"--url: {args.url} is no URL; write http://127.0.0.1:8080 or https://…"])
        if base.scheme == "http" and not _loopback(base.hostname or ""):
            raise ConfigError([f"--url: plain http would show the token to the network; use https://{base.netloc}"])
        return Client(base, _token(args.token_file), _trust(args.ca_file) if base.scheme == "https" else None)

    def get(self, path: str, *, timeout: float = 10) -> Any:
        """The JSON answer to GET; raises Unreachable, Busy, Refused."""
        with Answer(self, "GET", path, timeout=timeout) as answer:
            body = answer.read()
        try:
            return json.loads(body)
        except ValueError:
            raise _refused(200, b"") from None

    def stream(self, selection: Mapping[str, Any], last: str | None, *, silence: float) -> Answer:
        """The event stream for {"people", "groups"} (everybody if empty), resumed after event id `last`.

        Reading from it raises OSError after `silence` seconds without a byte.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        body = json.dumps(selection).encode() if selection else None
        return Answer(self, "POST" if body else "GET", "/v1/stream", headers=headers, body=body, timeout=silence)


class Answer:
    """One request and its answer, closed at the end of `with`."""

    def __init__(
        self,
        client: Client,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,
    ) -> None:
        sent = {"Authorization": f"Bearer {client.token}", "Connection": "close", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        host, port = client.base.hostname or "", client.base.port
        self._connection = (
            http.client.HTTPSConnection(host, port, timeout=timeout, context=client.tls)
            if client.tls is not None
            else http.client.HTTPConnection(host, port, timeout=timeout)
        )
        try:
            self._connection.request(method, client.base.path.rstrip("/") + path, body=body, headers=sent)
            self.response = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _unreachable(client, error) from None
        if self.response.status != 200:
            status, problem = self.response.status, self.response.read(64 * 1024)
            self._connection.close()
            raise _refused(status, problem)

    def __enter__(self) -> http.client.HTTPResponse:
        return self.response

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self._connection.close()


def _unreachable(client: Client, error: Exception) -> Unreachable:
    where = f"{client.base.scheme}://{client.base.netloc}"
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "name the authority's certificate with --ca-file"
        return Unreachable(f"{where} is not trusted: {error.verify_message}", code="tls.untrusted_ca", hint=hint)
    if isinstance(error, socket.gaierror):
        return Unreachable(f"there is no host {client.base.hostname}", code="dns.not_found", hint="check --url")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Unreachable(
        f"no answer from {where}: {reason.lower()}", code="net.refused", hint="is it running? check --url"
    )


def _refused(status: int, body: bytes) -> Refused | Busy:
    """RFC 9457, or whatever a proxy in between says."""
    kind = Busy if status == 429 or status >= 500 else Refused
    try:
        problem = json.loads(body)
        code, title = str(problem["code"]), str(problem["title"])
    except (ValueError, KeyError, TypeError):
        return kind(f"the server answered {status}", code=f"http.{status}", hint="is that the gateway? check --url")
    hints = {
        401: f"give a valid token in --token-file or {TOKEN_VARIABLE}",
        403: "the token needs another scope; see presence-gateway token create --scope",
        404: "check the name, and whether the token may see that person",
    }
    return kind(title[:1].lower() + title[1:], code=code, hint=hints.get(status, ""))


def _token(file: Path | None) -> str:
    if file is None:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        fault = f"there is no token; name a file with --token-file, or set {TOKEN_VARIABLE}"
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ConfigError([f"--token-file: {file} cannot be read; check the name and its rights"]) from None
        fault = f"--token-file: {file} does not hold a token alone; write one into it"
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError([fault])
    return token


def _trust(file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError):
        raise ConfigError([f"--ca-file: {file} holds no certificate in PEM form; check the file"]) from None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
