"""The directory: who there is to watch."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from aiohttp import web

from gateway.core.model import Person
from gateway.web import answers
from gateway.web.ports import Reader
from gateway.web.presence import AFTER, LIMIT, next_page, page_of, visible_people
from gateway.web.routes import Answer, Route
from gateway.web.services import PRIVATE, READER, SERVICES, visible


async def directory(request: web.Request) -> web.StreamResponse:
    """GET /v1/people: everybody visible, in pages sorted by id."""
    services, reader = request.app[SERVICES], request[READER]
    limit, after = page_of(request, services.limits.page)
    people = visible_people(reader, services.directory())
    first = bisect_right(people, after, key=lambda person: person.id) if after else 0
    page = people[first : first + limit]
    answer: dict[str, object] = {"people": [_entry(reader, person) for person in page]}
    if first + limit < len(people):
        answer["next"] = next_page(request, page[-1].id)
    return web.json_response(answer, headers=PRIVATE)


async def entry(request: web.Request) -> web.StreamResponse:
    """GET /v1/people/{person}: one entry."""
    return web.json_response(_entry(request[READER], visible(request)), headers=PRIVATE)


def _entry(reader: Reader, person: Person) -> dict[str, object]:
    """What a reader may know of a person; a reader kept to groups learns of no others."""
    groups = [group for group in person.groups if not reader.groups or group in reader.groups]
    return {"id": person.id, "name": person.name or person.id, "groups": groups}


ROUTES: Final = (
    Route(
        "GET",
        "/v1/people",
        directory,
        "The directory",
        {200: Answer("A page.", answers.People)},
        scope="watch",
        query=(LIMIT, AFTER),
    ),
    Route(
        "GET",
        "/v1/people/{person}",
        entry,
        "One entry of the directory",
        {200: Answer("The entry.", answers.DirectoryEntry)},
        scope="watch",
        problems=("person.unknown",),
    ),
)
