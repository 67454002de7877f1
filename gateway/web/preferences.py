"""What a person chose, and what is in force for her."""

from __future__ import annotations

import dataclasses
from typing import Final

from aiohttp import web

from gateway.web import answers
from gateway.web.bodies import PreferencesPatch
from gateway.web.intake import body
from gateway.web.routes import PATCH_BODY, Answer, Route
from gateway.web.services import PRIVATE, SERVICES, writable


async def read(request: web.Request) -> web.StreamResponse:
    """GET /v1/people/{person}/preferences."""
    return _answer(request, writable(request).id)


async def change(request: web.Request) -> web.StreamResponse:
    """PATCH /v1/people/{person}/preferences: fields left out stay as they are, null forgets a choice."""
    services, person = request.app[SERVICES], writable(request).id
    patch = await body(request, PreferencesPatch, most=services.limits.put_body, media=PATCH_BODY)
    chosen = {name: getattr(patch, name) for name in patch.model_fields_set}
    if chosen:
        await services.ingest.choose(person, chosen)
    return _answer(request, person)


def _answer(request: web.Request, person: str) -> web.Response:
    ingest = request.app[SERVICES].ingest
    chosen = dataclasses.asdict(ingest.preferences(person))
    answer = {
        **ingest.policy(person),
        "chosen": {name: value for name, value in chosen.items() if value is not None},
    }
    return web.json_response(answer, headers=PRIVATE)


_ANSWER: Final = {200: Answer("In force and chosen.", answers.Preferences)}

ROUTES: Final = (
    Route(
        "GET",
        "/v1/people/{person}/preferences",
        read,
        "What is in force for a person",
        _ANSWER,
        scope="preferences",
        or_self=True,
        problems=("person.unknown",),
    ),
    Route(
        "PATCH",
        "/v1/people/{person}/preferences",
        change,
        "Change or forget choices",
        _ANSWER,
        scope="preferences",
        or_self=True,
        body=PreferencesPatch,
        media=PATCH_BODY,
        problems=("person.unknown", "store.unavailable", "store.disk_full"),
    ),
)
