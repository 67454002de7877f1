"""The description is valid, complete, and says what the server does."""

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.core.model import Availability, Calendar, Phone, Reach
from gateway.web import answers
from gateway.web.app import all_routes, make_app
from gateway.web.bodies import PhonePublication, SessionPublication
from gateway.web.openapi import describe
from gateway.web.problems import TABLE
from gateway.web.services import Services
from tests.integration.api_world import World


@pytest.fixture
async def services() -> Services:
    """What an application is made of."""
    return World().services


def _described(services: Services) -> dict[str, Any]:
    return describe(all_routes(services))


def test_the_document_is_valid(services: Services) -> None:
    """openapi-spec-validator has nothing to say."""
    document = json.loads(json.dumps(_described(services)))
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_is_described_and_nothing_else(services: Services) -> None:
    """The router of the application and the description have the same methods on the same paths."""
    app = make_app(services)
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {(method, path) for path, methods in _described(services)["paths"].items() for method in methods}
    assert served == described


def test_the_contract_is_there(services: Services) -> None:
    """Every method and path that was promised exists."""
    promised = """
        get /v1/presence/{person}
        get /v1/presence
        post /v1/presence/query
        get /v1/presence/{person}/why
        get /v1/stream
        post /v1/stream
        put /v1/people/{person}/phone/{line}
        delete /v1/people/{person}/phone/{line}
        put /v1/people/{person}/availability/{session}
        delete /v1/people/{person}/availability/{session}
        put /v1/people/{person}/status
        delete /v1/people/{person}/status
        get /v1/people/{person}/preferences
        patch /v1/people/{person}/preferences
        put /v1/people/{person}/calendar/dismissal
        delete /v1/people/{person}/calendar/dismissal
        get /v1/people
        get /v1/people/{person}
        get /v1/calendars
        get /v1/calendars/{name}/mailboxes
        post /v1/session
        delete /v1/session
        get /openapi.json
        get /livez
        get /readyz
        get /metrics
        get /
    """
    paths = _described(services)["paths"]
    for line in promised.split("\n"):
        if line.strip():
            method, path = line.split()
            assert method in paths[path], line


def test_operations_have_names_of_their_own(services: Services) -> None:
    """Generated clients need unique operation ids."""
    operations = [operation for methods in _described(services)["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z_0-9]+", name) for name in names)


def test_every_problem_is_mentioned(services: Services) -> None:
    """Each code of the table can be met on some route, except those of unknown addresses."""
    text = json.dumps(_described(services))
    unmentioned = {code for code in TABLE if f"`{code}`" not in text}
    assert unmentioned == {"route.unknown", "route.method", "publication.refused"}


def test_the_vocabularies_are_the_cores_own() -> None:
    """What publishers may say and readers may see follows the model; `ended` is neither."""

    def schema(model: Any, field: str) -> list[str]:
        return list(model.model_json_schema()["properties"][field]["enum"])

    def published(states: Any) -> set[str]:
        return {state.value for state in states} - {"ended"}

    assert set(schema(PhonePublication, "state")) == published(Phone)
    assert set(schema(SessionPublication, "state")) == published(Availability)
    assert set(schema(answers.PhoneComponent, "state")) == published(Phone)
    assert set(schema(answers.CalendarComponent, "state")) == published(Calendar)
    assert set(schema(answers.Presence, "reach")) == published(Reach)
