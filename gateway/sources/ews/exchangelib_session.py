"""Connections of exchangelib that obey our rules: our trust, our limits, our verdict on an HTTP answer.

Everything is bound to one private protocol instance that is kept out of exchangelib's cache of protocols: the usual
way, the class attribute HTTP_ADAPTER_CLS, would impose one authority on the whole process.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any, Final

import exchangelib
import requests
from exchangelib.errors import UnauthorizedError
from exchangelib.protocol import FailFast, Protocol
from exchangelib.transport import AUTH_TYPE_MAP, BASIC, GSSAPI, NTLM
from exchangelib.version import Build, Version
from requests.adapters import HTTPAdapter

from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.sources.ews import ntlm
from gateway.sources.ews.http import Answer, media_failure, status_failure
from gateway.sources.ews.refusals import failure
from gateway.sources.ews.settings import EwsSettings

logging.getLogger("exchangelib").setLevel(logging.CRITICAL + 1)  # it logs whole requests and answers

_SCHEMES: Final = {"basic": BASIC, "ntlm": NTLM, "negotiate": GSSAPI}
_BUILD: Final = Build(15, 0)  # enough to build any request of ours; the version asked for is our own


class _Policy(FailFast):  # type: ignore[misc]
    """Decides about an HTTP answer exactly as our own client does; a redirect is never followed."""

    def __init__(self, scheme: str, clock: Clock) -> None:
        self._scheme = scheme
        self._clock = clock

    def raise_response_errors(self, response: requests.Response) -> None:
        """Raise SourceError, or UnauthorizedError for a logon that failed."""
        challenges = (response.headers.get("WWW-Authenticate", ""),)
        answer = Answer(response.status_code, response.headers, response.content, challenges)
        if answer.status == 401:
            if self._scheme not in (offered := ntlm.offered(challenges)):
                told = ", ".join(sorted(offered)) or "nothing"
                raise failure("auth.scheme_unsupported", f"exchange offers {told}, configured is {self._scheme}")
            raise UnauthorizedError("refused")
        if 300 <= answer.status < 400:
            raise failure("http.redirect_refused", "exchange redirects; this transport follows nowhere")
        if problem := status_failure(answer, self._clock.now()) or media_failure(answer):
            raise problem


class _Adapter(HTTPAdapter):
    """Connections with our TLS context, our time-outs and a limit to every body."""

    def __init__(
        self, context: ssl.SSLContext, settings: EwsSettings, clock: Clock, date: Callable[[str], None]
    ) -> None:
        self._context = context
        self._settings = settings
        self._clock = clock
        self._date = date
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0, pool_block=True)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._context}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave trust to the context: requests would add the public authorities to it."""
        conn.cert_reqs, conn.ca_certs = "CERT_REQUIRED", None

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        options |= {"stream": True, "timeout": (self._settings.connect_timeout, self._settings.call_timeout)}
        response = super().send(request, **options)
        self._date(response.headers.get("Date", ""))
        if (
            response.status_code != 401
        ):  # its connection must stay attached: channel binding reads the certificate there
            self._read(response)
        return response

    def _read(self, response: requests.Response) -> None:
        deadline = self._clock.monotonic() + self._settings.call_timeout
        pieces, size = [], 0
        # iter_content would wait for whole pieces, however slowly they come
        while piece := response.raw.read1(64 * 1024, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > self._settings.max_body:
                response.close()
                raise failure("http.body_too_large", f"the answer is larger than {self._settings.max_body} bytes")
            if self._clock.monotonic() > deadline:
                response.close()
                raise failure("net.too_slow", f"the answer came too slowly after {size} bytes")
        response._content = b"".join(pieces)
        response._content_consumed = True  # type: ignore[attr-defined]


class _PrivateProtocol(Protocol):  # type: ignore[misc]
    """A protocol whose sessions use our adapter and no environment; made without exchangelib's cache of protocols."""

    adapter: Callable[[], _Adapter]

    def create_session(self) -> Any:
        session = super().create_session()
        session.trust_env = False
        session.headers["User-Agent"] = "presence-gateway"  # as in lane.HEADERS
        session.mount("https://", self.adapter())
        session.mount(self.service_endpoint, self.adapter())
        return session


def private_protocol(
    name: str,
    settings: EwsSettings,
    clock: Clock,
    context: ssl.SSLContext,
    date: Callable[[str], None],
    connections: int,
) -> Any:
    """A Protocol for this server alone; `date` hears the Date header of every answer.

    Raises ConfigError if the configured logon needs a package that is not installed.
    """
    scheme = _SCHEMES[settings.auth]
    if scheme not in AUTH_TYPE_MAP:
        raise ConfigError([f"calendars.{name}.auth: negotiate needs the package exchangelib[kerberos]; install it"])
    configuration = exchangelib.Configuration(
        credentials=exchangelib.Credentials(settings.username, settings.password),
        service_endpoint=settings.url,
        auth_type=scheme,
        version=Version(_BUILD, settings.request_version),
        retry_policy=_Policy(settings.auth, clock),
        max_connections=connections,
    )
    protocol: Any = object.__new__(_PrivateProtocol)
    protocol.adapter = lambda: _Adapter(context, settings, clock, date)
    protocol.__init__(config=configuration)
    return protocol
