"""Reading presence: one person, many, changes since an answer, and the stream."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from aiohttp import web

from gateway.core.model import Person
from gateway.web import answers
from gateway.web.auth import REALM
from gateway.web.bodies import PresenceQuery, StreamQuery
from gateway.web.hub import Delta, Hub
from gateway.web.intake import body
from gateway.web.negotiate import matches, wait_wish
from gateway.web.ports import Directory, Reader
from gateway.web.problems import Problem, bad_query, invalid
from gateway.web.routes import ACCESS, Answer, Parameter, Route
from gateway.web.seats import Seats
from gateway.web.services import JSON, PRIVATE, READER, SERVICES, SESSION, visible
from gateway.web.stream import stream
from gateway.web.views import View

SEATS: Final = web.AppKey("seats", Seats)
_NOBODY: Final = ("",)
"""The people of a view that shows none: no person has an empty id."""


async def read(request: web.Request) -> web.StreamResponse:
    """GET /v1/presence/{person}: the document at the reader's level, conditional, waiting on request."""
    reader, person, hub = request[READER], visible(request).id, request.app[SERVICES].hub
    level = reader.level_for(person)
    found = hub.document(person, level)
    if found is None:
        raise Problem("person.unknown")
    known = request.headers.get("If-None-Match")
    if known is None or not matches(known, found.etag):
        return web.Response(body=found.body, headers={"ETag": found.etag, **JSON})
    wish = wait_wish(request.headers.getall("Prefer", ()))
    if wish is None:
        return web.Response(status=304, headers={"ETag": found.etag, **PRIVATE})
    with request.app[SEATS].taken_by(reader):
        await hub.wait_document(person, level, found.etag, wish)
    _still_admitted(request)
    return _after_wait(request, hub, known, wish)


def _after_wait(request: web.Request, hub: Hub, known: str, wish: float) -> web.Response:
    """The answer after the wait: the directory may have changed meanwhile."""
    person = visible(request).id
    found = hub.document(person, request[READER].level_for(person))
    if found is None:
        raise Problem("person.unknown")
    applied = {"ETag": found.etag, "Preference-Applied": f"wait={wish:g}"}
    if matches(known, found.etag):
        return web.Response(status=304, headers={**applied, **PRIVATE})
    return web.Response(body=found.body, headers={**applied, **JSON})


async def listing(request: web.Request) -> web.StreamResponse:
    """GET /v1/presence: the people of the query, their groups' members, or everybody visible."""
    view = _view_of_query(request)
    if "since" not in request.query:
        return _page(request, view)
    if wrong := [name for name in ("limit", "after", "from") if name in request.query]:
        raise bad_query([{"parameter": name, "detail": "not together with since"} for name in wrong])
    return await _changes(request, view, request.query["since"])


async def query(request: web.Request) -> web.StreamResponse:
    """POST /v1/presence/query: the same for up to 1,000 people by name."""
    limits = request.app[SERVICES].limits
    asked = await body(request, PresenceQuery, most=limits.query_body)
    view = _view_of_body(request[READER], asked.people, asked.groups, limits.people_in_query)
    if asked.since is None:
        return _listed(request.app[SERVICES].hub.snapshot(view, None))
    return await _changes(request, view, asked.since)


async def follow(request: web.Request) -> web.StreamResponse:
    """GET /v1/stream: server-sent events for the people of the query."""
    return await _stream(request, _view_of_query(request))


async def follow_many(request: web.Request) -> web.StreamResponse:
    """POST /v1/stream: server-sent events for up to 5,000 people by name."""
    limits = request.app[SERVICES].limits
    asked = await body(request, StreamQuery, most=limits.query_body)
    view = _view_of_body(request[READER], asked.people, asked.groups, limits.people_in_stream)
    return await _stream(request, view)


async def _stream(request: web.Request, view: View) -> web.StreamResponse:
    if request.method == "HEAD":
        return web.Response(headers={"Content-Type": "text/event-stream", **PRIVATE})
    access, session = request.app[ACCESS], request.get(SESSION)
    last = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    with request.app[SEATS].taken_by(request[READER]):
        return await stream(
            request,
            request.app[SERVICES].hub,
            view,
            last_event_id=last,
            still_valid=lambda reader: access.may_stay(reader, session),
        )


async def _changes(request: web.Request, view: View, since: str) -> web.Response:
    hub = request.app[SERVICES].hub
    wish = wait_wish(request.headers.getall("Prefer", ()))
    if wish is None:
        await hub.reached(since)
        return _listed(hub.snapshot(view, since), gone=True)
    with request.app[SEATS].taken_by(request[READER]):
        delta = await hub.wait_view(view, since, wish)
    _still_admitted(request)
    return _listed(delta, gone=True, headers={"Preference-Applied": f"wait={wish:g}"})


def _page(request: web.Request, view: View) -> web.Response:
    """One page of what is now, in the order of the ids.

    The first page's stream id goes along in the `next` address: changes between two pages are then found by `since`.
    """
    services, reader = request.app[SERVICES], request[READER]
    limit, after = page_of(request, services.limits.page)
    pinned = request.query.get("from")
    people = _visible_people(reader, services.directory(), view)
    first = bisect_right(people, after, key=_id) if after else 0
    page = people[first : first + limit]
    found = (services.hub.document(person.id, reader.level_for(person.id)) for person in page)
    delta = services.hub.snapshot(view, None) if pinned is None else None
    return _listed(
        Delta(
            docs=[document.body for document in found if document is not None],
            missing=delta.missing if delta is not None else [],
            gone=[],
            id=delta.id if delta is not None else str(pinned),
            reset=False,
        ),
        following=next_page(request, page[-1].id, delta.id if delta else pinned)
        if first + limit < len(people)
        else None,
    )


def _visible_people(reader: Reader, directory: Directory, view: View) -> Sequence[Person]:
    """Whom a view shows its reader, sorted by id."""
    if view.people is None and not view.groups:
        return visible_people(reader, directory)
    named = (directory.get(person) for person in view.people or ())
    members = (person for group in view.groups for person in directory.group(group))
    chosen = {person.id: person for person in (*named, *members) if person is not None and reader.sees(person)}
    return [chosen[identifier] for identifier in sorted(chosen)]


def visible_people(reader: Reader, directory: Directory) -> Sequence[Person]:
    """Everybody the reader may know, sorted by id."""
    everybody = directory.everybody()
    return [person for person in everybody if reader.sees(person)] if reader.groups else everybody


def page_of(request: web.Request, most: int) -> tuple[int, str]:
    """How many entries are asked for, and after which id; raises the problem request.query."""
    text = request.query.get("limit", str(most))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise bad_query([{"parameter": "limit", "detail": f"a number from 1 to {most}"}])
    return int(text), request.query.get("after", "").lower()


def next_page(request: web.Request, after: str, pinned: str | None = None) -> str:
    """The address of the page after that id, for the `next` field."""
    parameters = {"after": after} if pinned is None else {"after": after, "from": pinned}
    return str(request.rel_url.update_query(parameters))


def _view_of_query(request: web.Request) -> View:
    people = request.query.getall("person", [])
    most = request.app[SERVICES].limits.people_in_url
    if len(people) > most:
        detail = f"at most {most} people in a URL; POST takes more"
        raise bad_query([{"parameter": "person", "detail": detail}])
    groups = request.query.getall("group", [])
    return _view(request[READER], people or None, groups or None)


def _view_of_body(reader: Reader, people: list[str] | None, groups: list[str] | None, most: int) -> View:
    if people is not None and len(people) > most:
        raise invalid([{"pointer": "/people", "detail": f"at most {most} people"}])
    return _view(reader, people, groups)


def _view(reader: Reader, people: Iterable[str] | None, groups: Iterable[str] | None) -> View:
    """The view of a selection. None twice is everybody; lists that name nobody choose nobody."""
    named = tuple(dict.fromkeys(person.lower() for person in people or ()))
    members = tuple(dict.fromkeys(groups or ()))
    if named or members or (people is None and groups is None):
        return View(reader, named or None, members)
    return View(reader, _NOBODY)


def _still_admitted(request: web.Request) -> None:
    """A wait is long enough for a token to be withdrawn."""
    session = request.get(SESSION)
    if not request.app[ACCESS].may_stay(request[READER], session):
        code = "auth.token_rejected" if session is None else "auth.session_ended"
        raise Problem(code, headers={"WWW-Authenticate": REALM})


def _listed(
    delta: Delta, *, gone: bool = False, following: str | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    """The list around documents that are bytes already."""
    rest: dict[str, object] = {
        "missing": [person for person in delta.missing if person],
        "id": delta.id,
        "reset": delta.reset,
    }
    if gone:
        rest["gone"] = list(delta.gone)
    if following is not None:
        rest["next"] = following
    tail = json.dumps(rest, separators=(",", ":")).encode("ascii")
    whole = b"".join((b'{"presence":[', b",".join(delta.docs), b"],", tail[1:]))
    return web.Response(body=whole, headers={**JSON, **(headers or {})})


def _id(person: Person) -> str:
    return person.id


_PERSON: Final = Parameter("person", "A person's id; repeat for more, up to 150.", {"type": "string"}, True)
_GROUP: Final = Parameter("group", "Members of this group; repeat for more.", {"type": "string"}, True)
LIMIT: Final = Parameter("limit", "Entries per page.", {"type": "integer", "minimum": 1, "maximum": 1000})
AFTER: Final = Parameter("after", "Only entries after this id.", {"type": "string"})
_SINCE: Final = Parameter("since", "The `id` of an earlier answer: only what changed.", {"type": "string"})
_FROM: Final = Parameter("from", "Set in `next` addresses: the first page's stream id.", {"type": "string"})
_RESUME: Final = Parameter("last_event_id", "For clients that cannot set Last-Event-ID.", {"type": "string"})
_PREFER: Final = Parameter("Prefer", "`wait=N`, at most 60 seconds (RFC 7240).", {"type": "string"})
_MATCH: Final = Parameter("If-None-Match", "An ETag: 304 while it is the newest.", {"type": "string"})
_LAST: Final = Parameter("Last-Event-ID", "The last event's id: resume there.", {"type": "string"})
_SEATS: Final = ("connections.per_token", "connections.exhausted")
_STREAM: Final = {200: Answer("Server-sent events until the client leaves.", media="text/event-stream")}

ROUTES: Final = (
    Route(
        "GET",
        "/v1/presence/{person}",
        read,
        "One person's presence",
        {200: Answer("The document.", answers.Presence), 304: Answer("Nothing changed.")},
        scope="watch",
        headers=(_MATCH, _PREFER),
        problems=("person.unknown", *_SEATS),
    ),
    Route(
        "GET",
        "/v1/presence",
        listing,
        "Presence of many",
        {200: Answer("The list.", answers.Listing)},
        scope="watch",
        query=(_PERSON, _GROUP, _SINCE, LIMIT, AFTER, _FROM),
        headers=(_PREFER,),
        problems=_SEATS,
    ),
    Route(
        "POST",
        "/v1/presence/query",
        query,
        "Presence of up to 1,000 people by name",
        {200: Answer("The list.", answers.Listing)},
        scope="watch",
        body=PresenceQuery,
        headers=(_PREFER,),
        problems=_SEATS,
    ),
    Route(
        "GET",
        "/v1/stream",
        follow,
        "Presence as it changes",
        _STREAM,
        scope="watch",
        query=(_PERSON, _GROUP, _RESUME),
        headers=(_LAST,),
        problems=_SEATS,
    ),
    Route(
        "POST",
        "/v1/stream",
        follow_many,
        "Presence of up to 5,000 people as it changes",
        _STREAM,
        scope="watch",
        body=StreamQuery,
        query=(_RESUME,),
        headers=(_LAST,),
        problems=_SEATS,
    ),
)
