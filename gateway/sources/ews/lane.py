"""One connection to Exchange with its own state of being logged on; used by one call at a time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import structlog
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, encode_basic_auth
from yarl import URL

from gateway.sources.ews import ntlm
from gateway.sources.ews.http import XML_TYPES, Answer, RecordingConnector, media_failure, read_limited
from gateway.sources.ews.logon import Logon
from gateway.sources.ews.refusals import failure
from gateway.sources.ews.settings import EwsSettings

log = structlog.get_logger()

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 3
_HEADERS: Final = {
    "Content-Type": "text/xml; charset=utf-8",
    "Accept": "text/xml",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "presence-gateway",
}


class Lane:
    """A client session of exactly one connection, without cookies, redirects or credentials of its own."""

    def __init__(
        self, url: URL, settings: EwsSettings, context: ssl.SSLContext, logon: Logon, *, streams: bool = False
    ) -> None:
        """With `streams` a successful answer is handed out as soon as it begins, and no time limit is set to it."""
        self._url = url
        self._settings = settings
        self._logon = logon
        self._streams = streams
        self._connector = RecordingConnector(context)
        self._session = ClientSession(
            connector=self._connector,
            cookie_jar=DummyCookieJar(),
            headers=_HEADERS,
            timeout=ClientTimeout(total=None if streams else settings.call_timeout, connect=settings.connect_timeout),
            trust_env=False,
        )
        self._basic = encode_basic_auth(settings.username, settings.password) if settings.auth == "basic" else ""
        self._logged_on = 0
        """The number of the connection that NTLM or Negotiate opened; 0: none."""
        self._extra: Mapping[str, str] = NO_HEADERS
        """Headers of the call under way."""

    @property
    def certificate(self) -> bytes | None:
        """The server's certificate (DER) on the current connection."""
        return self._connector.certificate

    async def exchange(self, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
        """The answer to a request with these headers besides, logging on as needed; never 401.

        Raises SourceError for a logon that failed, was not offered or is not allowed now; else what aiohttp raises.
        """
        self._extra = headers
        if self._settings.auth == "basic":
            return await self._exchange_basic(body)
        if self._logged_on == self._connector.connections and self._connector.is_open:
            answer = await self.send(body)
            if answer.status != 401:
                return answer
        async with self._logon.attempt():
            return await self._handshake(body)

    async def send(self, body: bytes, authorization: str = "") -> Answer:
        """One POST and its answer, following at most three redirects within the same origin."""
        url = self._url
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._post(url, body, authorization)
            location = answer.headers.get("Location", "")
            if answer.status not in _REDIRECTS or not location:
                return answer
            url = self._redirected(url, location)
        raise failure("http.redirect_loop", f"exchange redirects more than {_MOST_REDIRECTS} times")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def _post(self, url: URL, body: bytes, authorization: str) -> Answer:
        headers: dict[str, str] = {}
        if url is self._url or url.origin() == self._url.origin():  # no secret leaves for another origin
            headers.update(self._extra)
            if authorization:
                headers["Authorization"] = authorization
        response = await self._session.post(url, data=body, headers=headers, allow_redirects=False)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(response)
            challenges, cookies = (response.headers.getall(name, ()) for name in ("WWW-Authenticate", "Set-Cookie"))
            answer = Answer(response.status, response.headers, b"", tuple(challenges), tuple(cookies))
            if self._streams and answer.status == 200 and media_failure(answer) is None:
                stack.pop_all()
                return replace(answer, stream=response)
            return replace(answer, body=await read_limited(response, self._settings.max_body))

    def _redirected(self, url: URL, location: str) -> URL:
        try:
            target = url.join(URL(location))
            same = target.origin() == self._url.origin()
        except ValueError:
            raise failure("http.redirect_refused", "exchange redirects to something that is no URL") from None
        if not same:
            raise failure(
                "http.redirect_refused", f"exchange redirects to {target.scheme}://{target.host}; not followed"
            )
        log.info("source.redirect.followed", path=target.path)
        return target

    async def _exchange_basic(self, body: bytes) -> Answer:
        if not self._logon.proven:
            async with self._logon.attempt():
                if not self._logon.proven:
                    answer = await self._send_basic(body)
                    await self._accepted(answer)
                    return answer
        return await self._send_basic(body)

    async def _send_basic(self, body: bytes) -> Answer:
        answer = await self.send(body, self._basic)
        if answer.status == 401:
            self._require_offer(answer)
            raise await self._logon.refused()
        return answer

    async def _handshake(self, body: bytes) -> Answer:
        """Log the connection on, with the request in the last leg (MS-NTHT 3.1, RFC 4559 4)."""
        self._logged_on = 0
        answer = await self.send(body)  # a server that wants no logon answers this at once
        if answer.status != 401:
            return answer
        self._require_offer(answer)
        scheme = self._settings.auth
        shake = ntlm.Handshake(
            scheme, self._settings.username, self._settings.password, self._url.host or "", self.certificate
        )
        challenges: tuple[str, ...] = ()
        for leg in range(ntlm.LEGS):
            token = await self._token(shake, challenges)
            if leg and not self._connector.is_open:
                raise failure("net.reset", "the connection was closed in the middle of the logon")
            if token is None:
                break
            first = scheme == "ntlm" and leg == 0  # that message can never be the last
            answer = await self.send(b"" if first else body, token)
            if answer.status != 401:
                if not first:
                    self._logged_on = self._connector.connections
                    await self._accepted(answer)
                return answer
            if not ntlm.has_challenge(scheme, answer.challenges):
                break
            challenges = answer.challenges
        raise await self._logon.refused()

    async def _accepted(self, answer: Answer) -> None:
        if answer.media_type in XML_TYPES:  # whoever answers SOAP has let us in; a load balancer's 503 has not
            await self._logon.succeeded()

    async def _token(self, shake: ntlm.Handshake, challenges: tuple[str, ...]) -> str | None:
        if shake.scheme == "ntlm":
            return shake.answer(challenges)
        return await asyncio.to_thread(shake.answer, challenges)  # may ask a Kerberos server

    def _require_offer(self, answer: Answer) -> None:
        """SourceDenied if the server does not offer the configured scheme: the password was not judged."""
        offered = ntlm.offered(answer.challenges)
        if self._settings.auth not in offered:
            told = ", ".join(sorted(offered)) or "nothing"
            raise failure("auth.scheme_unsupported", f"exchange offers {told}, configured is {self._settings.auth}")
