"""Who asks: a bearer token, the page's session cookie, or the identity that a trusted proxy vouches for."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import web

from gateway.clock import Clock
from gateway.web.addresses import Addresses
from gateway.web.ports import Reader
from gateway.web.problems import Problem
from gateway.web.services import SESSION, Services
from gateway.web.sessions import Session, Sessions, digest, from_cookie

log = structlog.get_logger()

REALM: Final = 'Bearer realm="presence-gateway"'
SAFE: Final = frozenset({"GET", "HEAD"})
JSON_MEDIA: Final = frozenset({"application/json", "application/merge-patch+json"})
_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")
_KNOWN_TOKENS = 4_096


class Access:
    """The door: admits readers, and says later whether they may stay."""

    def __init__(self, services: Services, on_failure: Callable[[], None] | None = None) -> None:
        self._services = services
        self._on_failure = on_failure
        self.addresses = Addresses(
            trusted=services.trusted_proxies,
            behind_proxy=services.behind_proxy,
            public_url=services.public_url,
        )
        self.sessions = Sessions(services.clock)
        self.failures = FailedLogons(services.clock, services.limits.failed_logons_per_minute)
        self._known: dict[bytes, Reader] = {}

    def admit(self, request: web.Request) -> Reader:
        """The reader behind a request.

        Raises the problems auth.* (401, 403, 429). A bearer token, once offered, decides alone; an authorization of
        another scheme is none of ours (a proxy in front may leave its own).
        """
        header = request.headers.get("Authorization")
        if header is not None and header[:7].lower() == "bearer ":
            return self._by_token(request, header[7:].strip())
        reader, vouched = self._by_proxy(request)
        if reader is None:
            reader = self._by_cookie(request)
        if reader is None:
            if vouched:
                raise Problem("auth.identity_unknown")
            raise Problem("auth.required", headers={"WWW-Authenticate": REALM})
        self._require_own_page(request)
        return reader

    def may_stay(self, reader: Reader, session: bytes | None) -> bool:
        """Whether a reader admitted earlier is still welcome, and so is its session if it came by one."""
        if session is not None and self.sessions.find(session) is None:
            return False
        return self._valid(reader)

    def sign_in(self, request: web.Request, token: str) -> tuple[str, Session]:
        """Trade a token for a session; raises the problems of a bearer token, and auth.origin for foreign pages."""
        if "Origin" in request.headers and not self.addresses.same_origin(request):
            raise Problem("auth.origin")
        return self.sessions.open(self._by_token(request, token))

    def sign_out(self, request: web.Request) -> None:
        """End the session of the request's cookie, if any; raises auth.origin for foreign pages."""
        key = from_cookie(request, secure=self.secure(request))
        if key is not None:
            self._require_own_page(request)
            self.sessions.close(key)

    def secure(self, request: web.Request) -> bool:
        """Whether cookies of this request are to be kept to TLS."""
        return self._services.secure_cookies or self.addresses.secure(request)

    def _by_token(self, request: web.Request, token: str) -> Reader:
        key = digest(token)
        reader = self._known.get(key)
        if reader is not None:
            if self._valid(reader):
                return reader
            del self._known[key]
        reader = self._services.tokens.reader(token) if _TOKEN.fullmatch(token) else None
        if reader is None or not self._valid(reader):
            if self._on_failure is not None:
                self._on_failure()
            self.failures.count(self.addresses.client(request))
            raise Problem("auth.token_rejected", headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'})
        if len(self._known) >= _KNOWN_TOKENS:
            self._known.clear()
        self._known[key] = reader
        return reader

    def _by_proxy(self, request: web.Request) -> tuple[Reader | None, bool]:
        """The reader of the identity header, and whether a trusted proxy vouched for anybody at all."""
        name = self._services.identity_header
        if name is None or name not in request.headers or not self.addresses.from_trusted_proxy(request):
            return None, False
        identities = {identity.strip() for identity in request.headers.getall(name)}
        if len(identities) != 1 or not (identity := identities.pop()):
            return None, True
        return self._services.tokens.person(identity), True

    def _by_cookie(self, request: web.Request) -> Reader | None:
        if "Cookie" not in request.headers:
            return None
        key = from_cookie(request, secure=self.secure(request))
        if key is None:
            return None
        session = self.sessions.find(key)
        if session is None or not self._valid(session.reader):
            raise Problem("auth.session_ended", headers={"WWW-Authenticate": REALM})
        request[SESSION] = key
        return session.reader

    def _require_own_page(self, request: web.Request) -> None:
        """A browser sends cookies and proxy logons unasked: what changes something must prove where it is from."""
        if request.method in SAFE:
            return
        if not self.addresses.same_origin(request):
            raise Problem("auth.origin")
        if request.body_exists and request.content_type not in JSON_MEDIA:
            raise Problem("request.media_type", "expected application/json")

    def _valid(self, reader: Reader) -> bool:
        if reader.expires is not None and reader.expires <= self._services.clock.now():
            return False
        return self._services.tokens.valid(reader)


class FailedLogons:
    """Failed attempts per client network: a bucket of one minute's worth, and one log line per minute over all.

    Good credentials are never refused for the bad ones of a neighbour behind the same address.
    """

    def __init__(self, clock: Clock, per_minute: int, networks: int = 10_000) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._networks = networks
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._quiet_until: float | None = None
        self._unsaid = 0

    def count(self, network: str) -> None:
        """Note one failure; raises the problem auth.throttled once the network has had its share."""
        now = self._clock.monotonic()
        self._say(network, now)
        left, at = self._buckets.pop(network, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - at) * self._per_minute / 60)
        allowed = left >= 1
        self._buckets[network] = (left - 1 if allowed else left, now)
        if len(self._buckets) > self._networks:
            self._buckets.popitem(last=False)
        if not allowed:
            pause = math.ceil((1 - left) * 60 / self._per_minute)
            raise Problem("auth.throttled", headers={"Retry-After": str(pause)})

    def _say(self, network: str, now: float) -> None:
        self._unsaid += 1
        if self._quiet_until is not None and now < self._quiet_until:
            return
        log.warning("web.logon.failed", network=network, count=self._unsaid)
        self._unsaid = 0
        self._quiet_until = now + 60
