"""The one table of HTTP problems, and the answer every one of them becomes (RFC 9457).

A code is stable; its status and title never vary. `detail` is for people and may change. Nothing in a problem comes
from a server behind us or from a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.errors import GatewayError, PublicationRefused, StoreError

TYPE: Final = "urn:presence-gateway:problem:"
MEDIA: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same for every problem of one code."""

    status: int
    title: str
    close: bool = False
    """The rest of the request will not be read, so the connection ends."""


TABLE: Final[Mapping[str, Kind]] = {
    "request.malformed": Kind(400, "The request cannot be understood"),
    "request.query": Kind(400, "The query of the URL is not acceptable"),
    "request.timeout": Kind(408, "The request body did not arrive in time", close=True),
    "request.too_large": Kind(413, "The request body is too large", close=True),
    "request.encoding": Kind(415, "Encoded request bodies are not accepted", close=True),
    "request.media_type": Kind(415, "The request body has the wrong content type", close=True),
    "request.invalid": Kind(422, "Some fields are not valid"),
    "auth.required": Kind(401, "Credentials are needed"),
    "auth.token_rejected": Kind(401, "The token is unknown or has expired"),
    "auth.session_ended": Kind(401, "The session has ended"),
    "auth.scope": Kind(403, "The credentials do not carry the needed scope"),
    "auth.origin": Kind(403, "The request does not come from this gateway's own page"),
    "auth.identity_unknown": Kind(403, "The identity given by the proxy is not known here"),
    "auth.throttled": Kind(429, "Too many failed attempts to authenticate"),
    "person.unknown": Kind(404, "No such person"),
    "calendar.unknown": Kind(404, "No such calendar server"),
    "route.unknown": Kind(404, "No such address"),
    "route.method": Kind(405, "This address does not take that method"),
    "publication.refused": Kind(409, "The publication does not take effect"),
    "publication.outdated": Kind(409, "A newer publication of the same publisher is known"),
    "publication.nothing_to_dismiss": Kind(409, "No running meeting ends at that instant"),
    "connections.per_token": Kind(429, "Too many open streams and waits for these credentials"),
    "connections.exhausted": Kind(503, "The gateway serves as many streams and waits as it may"),
    "store.unavailable": Kind(503, "The store does not take the publication now"),
    "store.disk_full": Kind(507, "The store is full"),
    "internal.error": Kind(500, "The gateway failed"),
}


class Problem(Exception):
    """A request that ends with a problem of `TABLE`.

    `errors` names each fault: `pointer` (RFC 6901) into the body or `parameter` of the URL, and `detail`. `members`
    are extension members.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        kind: Kind | None = None,
        **members: object,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.kind = TABLE[code] if kind is None else kind
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.members = members


def invalid(errors: Sequence[Mapping[str, str]]) -> Problem:
    """Well-formed, but these fields are wrong; nothing was stored."""
    return Problem("request.invalid", _counted(errors), errors=errors)


def bad_query(errors: Sequence[Mapping[str, str]]) -> Problem:
    """The URL asks something that does not exist."""
    return Problem("request.query", _counted(errors), errors=errors)


def from_error(error: GatewayError) -> Problem | None:
    """The problem of an error that the rest of the gateway raises on purpose; None if it is a bug."""
    detail = f"{error}; {error.hint}" if error.hint else str(error)
    if isinstance(error, PublicationRefused):
        kind = TABLE.get(error.code, TABLE["publication.refused"])
        return Problem(error.code, detail, kind=kind)
    if isinstance(error, StoreError):
        full = error.code == "store.disk_full"
        kind = TABLE["store.disk_full" if full else "store.unavailable"]
        return Problem(error.code, detail, kind=kind, headers={"Retry-After": "60" if full else "5"})
    return None


def from_http(error: web.HTTPException) -> Problem:
    """The problem of an answer that the HTTP library chose."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem("route.method", f"allowed: {allowed}", headers={"Allow": allowed})
    if error.status == 404:
        return Problem("route.unknown")
    if error.status == 413:
        return Problem("request.too_large")
    return Problem("request.malformed", error.reason)


def render(problem: Problem, instance: str) -> web.Response:
    """The answer; `instance` is the id of the request."""
    kind = problem.kind
    members: dict[str, Any] = {
        "type": TYPE + problem.code,
        "title": kind.title,
        "status": kind.status,
        "code": problem.code,
        "detail": problem.detail or kind.title,
        "instance": instance,
        **problem.members,
    }
    if problem.errors:
        members["errors"] = [dict(error) for error in problem.errors]
    response = web.Response(
        status=kind.status,
        body=json.dumps(members, separators=(",", ":")).encode("ascii"),
        headers={"Content-Type": MEDIA, "Cache-Control": "no-store", **problem.headers},
    )
    if kind.close:
        response.force_close()
    return response


def _counted(errors: Sequence[Mapping[str, str]]) -> str:
    return "1 fault, named in errors" if len(errors) == 1 else f"{len(errors)} faults, named in errors"
