"""The outermost layer of every request: its id, the problems it ends with, headers, one log line, metrics."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.web.problems import Problem, from_error, from_http, render
from gateway.web.services import READER, REQUEST_ID

log = structlog.get_logger()

API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
_SECURITY: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Edge:
    """Wraps the handlers of one application."""

    def __init__(self, clock: Clock, registry: CollectorRegistry | None) -> None:
        self._clock = clock
        self._seed = secrets.token_hex(6)
        self._numbers = count(1)
        self._meters = None if registry is None else Meters(registry)

    def attach(self, app: web.Application) -> None:
        """Put the layer around an application that is still being made."""
        app.middlewares.append(self._around)
        app.on_response_prepare.append(self._dress)

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = self._clock.monotonic()
        identifier = self._identify(request)
        try:
            response = await handler(request)
        except Problem as problem:
            response = render(problem, identifier)
        except web.HTTPException as error:
            response = render(from_http(error), identifier)
        except ConnectionError:
            raise  # the client is gone: nobody to answer
        except Exception as error:
            response = self._failed(request, error, identifier)
        self._note(request, response, self._clock.monotonic() - began)
        return response

    def _identify(self, request: web.Request) -> str:
        """The client's own id if it is harmless, else ours."""
        given = request.headers.get("X-Request-Id")
        if given is None or not _SANE_ID.fullmatch(given):
            given = f"{self._seed}-{next(self._numbers)}"
        request[REQUEST_ID] = given
        return given

    def _failed(self, request: web.Request, error: Exception, identifier: str) -> web.Response:
        """The answer to an error on purpose, or to a bug: one log entry, and no word of it to the client."""
        problem = from_error(error) if isinstance(error, GatewayError) else None
        if problem is None:
            incident = secrets.token_hex(6)
            log.error(
                "web.request.crashed",
                incident=incident,
                route=_route(request),
                request_id=identifier,
                exc_info=error,
            )
            problem = Problem("internal.error", "the log tells more under the incident's id", incident=incident)
        if request.writer.output_size > 0:
            # The answer has begun, so it cannot become another one; cut it.
            raise ConnectionResetError("answer broken off")
        return render(problem, identifier)

    def _note(self, request: web.Request, response: web.StreamResponse, took: float) -> None:
        route, status = _route(request), response.status
        if self._meters is not None:
            stays = not isinstance(response, web.Response) or "Preference-Applied" in response.headers
            self._meters.count(request.method, route, status, None if stays else took)
        reader = request.get(READER)
        log.debug(
            "web.request.served",
            method=request.method,
            route=route,
            status=status,
            took_ms=round(took * 1000, 3),
            reader=None if reader is None else reader.name,
            request_id=request[REQUEST_ID],
        )

    async def _dress(self, request: web.Request, response: web.StreamResponse) -> None:
        """The headers that every answer carries, streams included."""
        headers = response.headers
        headers["X-Request-Id"] = request.get(REQUEST_ID, "")
        headers["Server"] = "presence-gateway"
        for name, value in _SECURITY:
            headers[name] = value
        if "Content-Security-Policy" not in headers:
            headers["Content-Security-Policy"] = API_POLICY


class Meters:
    """Requests by method, route and status; durations of those that do not stay. No label names a person."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "presence_gateway_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "presence_gateway_http_request_seconds",
            "Time to answer, without streams and waits.",
            ("route",),
            registry=registry,
            buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10),
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, method: str, route: str, status: int, took: float | None) -> None:
        """One request; `took` None if it stayed open on purpose."""
        key = (method, route, status)
        counter = self._counters.get(key)
        if counter is None:
            # Methods come from the client: those nobody serves share one label.
            known = method if method in _METHODS else "other"
            counter = self._counters[(known, route, status)] = self._requests.labels(known, route, str(status))
        counter.inc()
        if took is not None:
            histogram = self._histograms.get(route)
            if histogram is None:
                histogram = self._histograms[route] = self._seconds.labels(route)
            histogram.observe(took)


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _route(request: web.Request) -> str:
    """The path of the route's row, never the path that was asked for."""
    resource = request.match_info.route.resource
    return "unmatched" if resource is None else resource.canonical
