"""What the web is given at start, and where a request finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.clock import Clock
from gateway.core.model import Person
from gateway.web.hub import Hub
from gateway.web.ports import Directory, Ingest, Limits, Operations, Reader, Tokens
from gateway.web.problems import Problem


@dataclass(frozen=True, slots=True)
class Services:
    """Everything behind the routes, and the settings of the server that shape an answer.

    `identity_header` is believed from `trusted_proxies` only; with `behind_proxy` their X-Forwarded-For, -Proto and
    -Host are believed as well. `public_url` is the address that people type. `operations_apart`: health and metrics
    are served by `make_operations_app` on a listener of their own, not beside the API.
    """

    hub: Hub
    directory: Callable[[], Directory]
    tokens: Tokens
    ingest: Ingest
    operations: Operations
    clock: Clock
    registry: CollectorRegistry
    limits: Limits = field(default_factory=Limits)
    public_url: str | None = None
    behind_proxy: bool = False
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    identity_header: str | None = None
    secure_cookies: bool = False
    operations_apart: bool = False


SERVICES: Final = web.AppKey("services", Services)
READER: Final = web.RequestKey("reader", Reader)
REQUEST_ID: Final = web.RequestKey("request_id", str)
SESSION: Final = web.RequestKey("session", bytes)
"""The digest of the session that admitted the reader; absent for tokens and proxies."""

PRIVATE: Final = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
JSON: Final = {"Content-Type": "application/json", **PRIVATE}


def visible(request: web.Request) -> Person:
    """The person of the path, if there is one and the reader may know it; else the same 404."""
    person = request.app[SERVICES].directory().get(request.match_info["person"].lower())
    if person is None or not request[READER].sees(person):
        raise Problem("person.unknown")
    return person


def writable(request: web.Request) -> Person:
    """The person of the path, if the reader may speak for it: a personal token only for its own person."""
    person = visible(request)
    if request[READER].person not in (None, person.id):
        raise Problem("person.unknown")
    return person
