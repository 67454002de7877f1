"""Sessions of the page: a token is traded once for a cookie that scripts cannot read.

Only the digest of a session's id is kept, in memory: a restart ends every session, a copy of the memory opens none.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from gateway.clock import Clock
from gateway.web.ports import Reader

LIFETIME: Final = timedelta(hours=12)
MOST: Final = 20_000
"""The oldest session gives way to one more than this."""


@dataclass(frozen=True, slots=True)
class Session:
    """An admitted reader, for a while."""

    reader: Reader
    expires_at: datetime


class Sessions:
    """The open sessions by the digest of their ids, oldest first."""

    def __init__(self, clock: Clock, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._open: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, reader: Reader) -> tuple[str, Session]:
        """A new session and its id, which is not kept; it never outlives the reader's own expiry."""
        self._make_room()
        identifier = secrets.token_urlsafe(32)
        expires_at = self._clock.now() + LIFETIME
        if reader.expires is not None:
            expires_at = min(expires_at, reader.expires)
        session = Session(reader, expires_at)
        self._open[digest(identifier)] = session
        return identifier, session

    def find(self, key: bytes) -> Session | None:
        """The session with that digest, unless it is over."""
        session = self._open.get(key)
        if session is not None and session.expires_at <= self._clock.now():
            del self._open[key]
            return None
        return session

    def close(self, key: bytes) -> None:
        """End it; nothing happens if it is over already."""
        self._open.pop(key, None)

    def _make_room(self) -> None:
        if len(self._open) < self._most:
            return
        now = self._clock.now()
        for key in [key for key, session in self._open.items() if session.expires_at <= now]:
            del self._open[key]
        while len(self._open) >= self._most:
            del self._open[next(iter(self._open))]


def digest(secret: str) -> bytes:
    """SHA-256 of a text as it came over the wire."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def set_cookie(response: web.Response, identifier: str, *, secure: bool) -> None:
    """Give the browser the id of its session."""
    response.set_cookie(
        _name(secure),
        identifier,
        max_age=int(LIFETIME.total_seconds()),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=secure,
    )


def clear_cookie(response: web.Response, *, secure: bool) -> None:
    """Make the browser forget the id of its session."""
    response.del_cookie(_name(secure), path="/", httponly=True, samesite="Strict", secure=secure)


def from_cookie(request: web.Request, *, secure: bool) -> bytes | None:
    """The digest of the session id that the browser sent."""
    identifier = request.cookies.get(_name(secure))
    return digest(identifier) if identifier else None


def _name(secure: bool) -> str:
    # The prefix makes browsers refuse the cookie unless it is Secure, for this host alone and for every path.
    return "__Host-presence" if secure else "presence"
