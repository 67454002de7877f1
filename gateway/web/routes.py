"""One row per route: what it is called, who may call it, what it takes and answers.

The rows stand next to the handlers; the server, the OpenAPI document and the tests all read them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from gateway.web.auth import REALM, Access
from gateway.web.problems import Problem, bad_query
from gateway.web.services import READER

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ACCESS: Final = web.AppKey("access", Access)

JSON_BODY: Final = ("application/json",)
PATCH_BODY: Final = ("application/json", "application/merge-patch+json")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query."""

    name: str
    description: str
    schema: Mapping[str, Any]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer: a JSON model, or another media type, or nothing but the status."""

    description: str
    model: type[BaseModel] | None = None
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    `scope` None means that no credentials are asked for; `or_self` lets a personal token in without the scope, for
    its own person only (the handler sees to that). `problems` are the codes beyond those every such route may give.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Answer]
    scope: str | None = None
    or_self: bool = False
    body: type[BaseModel] | None = None
    media: Sequence[str] = JSON_BODY
    query: Sequence[Parameter] = ()
    headers: Sequence[Parameter] = ()
    problems: Sequence[str] = ()
    parameters: Mapping[str, Parameter] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", {parameter.name: parameter for parameter in self.query})


def register(app: web.Application, routes: Sequence[Route], access: Access) -> None:
    """Put the routes on the application, each behind its door; GET answers HEAD as well."""
    for route in routes:
        handler = _guarded(route, access)
        if route.method == "GET":
            app.router.add_get(route.path, handler, allow_head=True)
        else:
            app.router.add_route(route.method, route.path, handler)


def _guarded(route: Route, access: Access) -> Handler:
    """The handler behind the checks that its row asks for."""
    scope, or_self, inner = route.scope, route.or_self, route.handler

    async def guarded(request: web.Request) -> web.StreamResponse:
        if scope is not None:
            reader = access.admit(request)
            if scope not in reader.scopes and not (or_self and reader.person is not None):
                raise Problem(
                    "auth.scope",
                    f"needed: {scope}",
                    headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'},
                )
            request[READER] = reader
        if request.query_string:
            _check_query(request, route)
        return await inner(request)

    return guarded


def _check_query(request: web.Request, route: Route) -> None:
    """Every parameter is known, and given once unless it may repeat."""
    faults = []
    for name in dict.fromkeys(request.query):
        parameter = route.parameters.get(name)
        if parameter is None:
            faults.append({"parameter": name[:64], "detail": "no such parameter"})
        elif not parameter.repeated and len(request.query.getall(name)) > 1:
            faults.append({"parameter": name, "detail": "may be given once only"})
    if faults:
        raise bad_query(faults)
