"""For operators: why a person is shown so, the health of the calendars, and the health of this process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from gateway.web import answers
from gateway.web.ports import Reader
from gateway.web.presence import AFTER, LIMIT, next_page, page_of
from gateway.web.problems import Problem
from gateway.web.routes import Answer, Route
from gateway.web.services import PRIVATE, READER, SERVICES, Services, visible, writable

LATEST_BEAT: Final = 30.0
"""Seconds that the event loop may lag before a supervisor should restart the process."""

EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
_NO_STORE: Final = {"Cache-Control": "no-store"}


async def why(request: web.Request) -> web.StreamResponse:
    """GET /v1/presence/{person}/why: operators for everybody they see, everybody for herself."""
    operator = "admin" in request[READER].scopes
    person = visible(request) if operator else writable(request)
    return web.json_response(dict(request.app[SERVICES].operations.why(person.id)), headers=PRIVATE)


async def calendars(request: web.Request) -> web.StreamResponse:
    """GET /v1/calendars: health per server."""
    servers = [dict(server) for server in request.app[SERVICES].operations.calendars()]
    return web.json_response({"calendars": servers}, headers=PRIVATE)


async def mailboxes(request: web.Request) -> web.StreamResponse:
    """GET /v1/calendars/{name}/mailboxes: health per mailbox, in pages."""
    services = request.app[SERVICES]
    limit, after = page_of(request, services.limits.page)
    known = services.operations.mailboxes(request.match_info["name"])
    if known is None:
        raise Problem("calendar.unknown")
    shown = sorted((box for box in known if _shown(services, request[READER], box)), key=_mailbox)
    first = bisect_right(shown, after, key=_mailbox) if after else 0
    page = shown[first : first + limit]
    answer: dict[str, object] = {"mailboxes": [dict(box) for box in page]}
    if first + limit < len(shown):
        answer["next"] = next_page(request, _mailbox(page[-1]))
    return web.json_response(answer, headers=PRIVATE)


def _mailbox(box: Mapping[str, Any]) -> str:
    return str(box.get("mailbox", "")).lower()


def _shown(services: Services, reader: Reader, box: Mapping[str, Any]) -> bool:
    """Operators of some groups see the mailboxes of those people only."""
    if not reader.groups:
        return True
    person = services.directory().get(str(box.get("person", "")))
    return person is not None and reader.sees(person)


async def alive(request: web.Request) -> web.StreamResponse:
    """GET /livez: whoever answers is alive, unless everything comes far too late."""
    lag = request.app[SERVICES].operations.loop_lag()
    well = lag <= LATEST_BEAT
    answer = {"alive": well, "loop_lag": round(lag, 3)}
    return web.json_response(answer, status=200 if well else 503, headers=_NO_STORE)


async def ready(request: web.Request) -> web.StreamResponse:
    """GET /readyz: whether to send traffic here; an Exchange outage is degraded, not unready."""
    well, details = request.app[SERVICES].operations.ready()
    answer = {**details, "ready": well}
    return web.json_response(answer, status=200 if well else 503, headers=_NO_STORE)


async def metrics(request: web.Request) -> web.StreamResponse:
    """GET /metrics in the Prometheus text format."""
    registry: CollectorRegistry = request.app[SERVICES].registry
    return web.Response(body=generate_latest(registry), headers={"Content-Type": EXPOSITION, **_NO_STORE})


ROUTES: Final = (
    Route(
        "GET",
        "/v1/presence/{person}/why",
        why,
        "Why a person is shown so",
        {200: Answer("Facts, rule and ages.", answers.Why)},
        scope="admin",
        or_self=True,
        problems=("person.unknown",),
    ),
    Route(
        "GET",
        "/v1/calendars",
        calendars,
        "Health per calendar server",
        {200: Answer("All servers.", answers.Calendars)},
        scope="admin",
    ),
    Route(
        "GET",
        "/v1/calendars/{name}/mailboxes",
        mailboxes,
        "Health per mailbox of one server",
        {200: Answer("A page.", answers.Mailboxes)},
        scope="admin",
        query=(LIMIT, AFTER),
        problems=("calendar.unknown",),
    ),
)

HEALTH_ROUTES: Final = (
    Route(
        "GET",
        "/livez",
        alive,
        "Whether the process lives",
        {200: Answer("It does.", answers.Alive), 503: Answer("It should be restarted.", answers.Alive)},
    ),
    Route(
        "GET",
        "/readyz",
        ready,
        "Whether this replica may take traffic",
        {200: Answer("It may.", answers.Ready), 503: Answer("Not now.", answers.Ready)},
    ),
    Route("GET", "/metrics", metrics, "Metrics", {200: Answer("Prometheus text.", media="text/plain")}),
)
