"""The OpenAPI 3.1 document, assembled from the table of routes and the models of bodies and answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from gateway import __version__
from gateway.web.answers import ProblemDetails
from gateway.web.bodies import LABEL
from gateway.web.problems import MEDIA, TABLE
from gateway.web.routes import Parameter, Route

Json = dict[str, Any]
_REFERENCE: Final = "#/components/schemas/{model}"
_ALWAYS: Final = ("internal.error",)
_WITH_SCOPE: Final = (
    "auth.required",
    "auth.token_rejected",
    "auth.session_ended",
    "auth.scope",
    "auth.origin",
    "auth.identity_unknown",
    "auth.throttled",
)
_WITH_BODY: Final = (
    "request.malformed",
    "request.timeout",
    "request.too_large",
    "request.encoding",
    "request.media_type",
    "request.invalid",
)
_PATH_PARAMETERS: Final[Mapping[str, tuple[str, Json]]] = {
    "person": ("The person's id; upper and lower case are the same.", {"type": "string"}),
    "line": ("The pusher's own label of the line.", {"type": "string", "pattern": f"^{LABEL}$"}),
    "session": ("The client's own label of its session.", {"type": "string", "pattern": f"^{LABEL}$"}),
    "name": ("The name of the server in the configuration.", {"type": "string"}),
}


def describe(routes: Sequence[Route], public_url: str | None = None) -> Json:
    """The document for these routes; deterministic."""
    models: list[type[BaseModel]] = [route.body for route in routes if route.body is not None]
    models += [answer.model for route in routes for answer in route.answers.values() if answer.model is not None]
    models.append(ProblemDetails)
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in dict.fromkeys(models)]
    _, definitions = models_json_schema(wanted, ref_template=_REFERENCE)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Presence gateway",
            "version": __version__,
            "description": "Phone, calendar and availability merged into one live presence per person.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-presence"},
            },
        },
    }
    if public_url is not None:
        document["servers"] = [{"url": public_url}]
    return document


def _operation(route: Route) -> Json:
    operation: Json = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "parameters": [
            *(_path_parameter(name) for name in re.findall(r"{(\w+)}", route.path)),
            *(_parameter(parameter, "query") for parameter in route.query),
            *(_parameter(parameter, "header") for parameter in route.headers),
        ],
        "responses": {**_answers(route), **_problems(route)},
    }
    if route.scope is None:
        operation["security"] = []
    else:
        operation["security"] = [{"token": []}, {"session": []}]
        operation["description"] = f"Scope `{route.scope}`{', or the person herself' if route.or_self else ''}."
    if route.body is not None:
        schema = {"$ref": _REFERENCE.format(model=route.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {media: {"schema": schema} for media in route.media}}
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", route.path.removeprefix("/v1"))
    return "_".join((route.method.lower(), *(words or ["page"])))


def _path_parameter(name: str) -> Json:
    description, schema = _PATH_PARAMETERS[name]
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _parameter(parameter: Parameter, place: str) -> Json:
    schema = dict(parameter.schema)
    if parameter.repeated:
        schema = {"type": "array", "items": schema}
    return {"name": parameter.name, "in": place, "description": parameter.description, "schema": schema}


def _answers(route: Route) -> Json:
    described: Json = {}
    for status, answer in route.answers.items():
        entry: Json = {"description": answer.description}
        if status not in (204, 304):
            schema = {"type": "object"} if answer.model is None else _schema(answer.model)
            entry["content"] = {answer.media: {"schema": schema if "json" in answer.media else {"type": "string"}}}
        described[str(status)] = entry
    return described


def _schema(model: type[BaseModel]) -> Json:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _problems(route: Route) -> Json:
    """The problems that a route may answer with, by status, each with its codes."""
    codes: list[str] = [*route.problems, *_ALWAYS, "request.query"]
    if route.scope is not None:
        codes += _WITH_SCOPE
    if route.body is not None:
        codes += _WITH_BODY
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(TABLE[code].status, []).append(code)
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in sorted(by_status[status])),
            "content": {MEDIA: {"schema": _schema(ProblemDetails)}},
        }
        for status in sorted(by_status)
    }
