"""Assembles the web application from what it is given."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from prometheus_client import Counter, Gauge

from gateway.web import operations, people, preferences, presence, publications, signin
from gateway.web.auth import Access
from gateway.web.edge import Edge
from gateway.web.presence import SEATS
from gateway.web.routes import ACCESS, Route, register
from gateway.web.seats import Seats
from gateway.web.services import SERVICES, Services
from gateway.web.site import openapi_route, page_routes

API_ROUTES: Final = (
    *presence.ROUTES,
    *people.ROUTES,
    *publications.ROUTES,
    *preferences.ROUTES,
    *operations.ROUTES,
    *signin.ROUTES,
)


def make_app(services: Services) -> web.Application:
    """The whole application: API, page, description, and health unless that has a listener of its own.

    Everything that would block (the page's files) is read here. The registry must be fresh: it gets the web's metrics.
    """
    app = web.Application(client_max_size=services.limits.query_body)
    failed = Counter("presence_gateway_failed_logons", "Refused credentials.", registry=services.registry)
    access, seats = Access(services, on_failure=failed.inc), Seats(services.limits)
    app[SERVICES], app[ACCESS], app[SEATS] = services, access, seats
    Edge(services.clock, services.registry).attach(app)
    register(app, all_routes(services), access)
    _measure(services, access, seats)
    return app


def make_operations_app(services: Services) -> web.Application:
    """Health and metrics alone, for the operations listener."""
    app = web.Application()
    app[SERVICES] = services
    Edge(services.clock, None).attach(app)
    register(app, operations.HEALTH_ROUTES, Access(services))
    return app


def all_routes(services: Services) -> tuple[Route, ...]:
    """Every route of `make_app`, described."""
    health = () if services.operations_apart else operations.HEALTH_ROUTES
    described = (*API_ROUTES, *health, *page_routes())
    return (*described, openapi_route(described, services.public_url))


def _measure(services: Services, access: Access, seats: Seats) -> None:
    """Metrics whose values are asked for when somebody reads them."""
    registry = services.registry
    Gauge("presence_gateway_http_seats_taken", "Open streams and waits.", registry=registry).set_function(
        lambda: seats.taken
    )
    Gauge("presence_gateway_page_sessions", "Sessions of the page.", registry=registry).set_function(
        lambda: len(access.sessions)
    )
    Gauge("presence_gateway_stream_subscribers", "Subscribers of the hub.", registry=registry).set_function(
        lambda: services.hub.subscribers
    )
    Gauge(
        "presence_gateway_loop_lag_seconds", "How late the event loop ran its last beat.", registry=registry
    ).set_function(services.operations.loop_lag)
