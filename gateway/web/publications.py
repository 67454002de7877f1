"""Publishing: phone states, client sessions, manual status, and leaving a meeting early."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from gateway.core.document import timestamp
from gateway.web import answers
from gateway.web.bodies import (
    HIGHEST_SEQ,
    LABEL,
    DismissalPublication,
    PhonePublication,
    SessionPublication,
    StatusPublication,
)
from gateway.web.intake import body
from gateway.web.ports import Receipt
from gateway.web.problems import Problem, bad_query
from gateway.web.routes import Answer, Parameter, Route
from gateway.web.services import PRIVATE, SERVICES, writable


async def put_phone(request: web.Request) -> web.StreamResponse:
    """PUT /v1/people/{person}/phone/{line}."""
    services, person, line = request.app[SERVICES], writable(request).id, _label(request, "line")
    told = await body(request, PhonePublication, most=services.limits.put_body)
    receipt = await services.ingest.phone(
        person,
        line,
        told.value,
        since=told.since,
        expires_in=told.expires_in,
        seq=told.seq,
        publisher=told.publisher,
    )
    return _receipt(receipt)


async def delete_phone(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/people/{person}/phone/{line}: withdraw what was said; the same answer if nothing was."""
    person, line, (seq, publisher) = writable(request).id, _label(request, "line"), _order(request)
    await request.app[SERVICES].ingest.end_phone(person, line, seq=seq, publisher=publisher)
    return _done()


async def put_session(request: web.Request) -> web.StreamResponse:
    """PUT /v1/people/{person}/availability/{session}."""
    services, person, session = request.app[SERVICES], writable(request).id, _label(request, "session")
    told = await body(request, SessionPublication, most=services.limits.put_body)
    receipt = await services.ingest.session(
        person, session, told.value, expires_in=told.expires_in, seq=told.seq, publisher=told.publisher
    )
    return _receipt(receipt)


async def delete_session(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/people/{person}/availability/{session}: the client session is over."""
    person, session, (seq, publisher) = writable(request).id, _label(request, "session"), _order(request)
    await request.app[SERVICES].ingest.end_session(person, session, seq=seq, publisher=publisher)
    return _done()


async def put_status(request: web.Request) -> web.StreamResponse:
    """PUT /v1/people/{person}/status: the person's own choice."""
    services, person = request.app[SERVICES], writable(request).id
    told = await body(request, StatusPublication, most=services.limits.put_body)
    return _receipt(await services.ingest.status(person, told.value, until=told.until))


async def delete_status(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/people/{person}/status: back to what the clients say."""
    await request.app[SERVICES].ingest.end_status(writable(request).id)
    return _done()


async def put_dismissal(request: web.Request) -> web.StreamResponse:
    """PUT /v1/people/{person}/calendar/dismissal: leave the running meeting early."""
    services, person = request.app[SERVICES], writable(request).id
    told = await body(request, DismissalPublication, most=services.limits.put_body)
    return _receipt(await services.ingest.dismiss(person, told.until))


async def delete_dismissal(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/people/{person}/calendar/dismissal: back into the meeting."""
    await request.app[SERVICES].ingest.end_dismissal(writable(request).id)
    return _done()


def _label(request: web.Request, name: str) -> str:
    label = request.match_info[name]
    if not re.fullmatch(LABEL, label):
        fault = {"parameter": name, "detail": "1 to 64 letters, digits and . _ : @ + -"}
        raise Problem("request.invalid", "1 fault, named in errors", errors=[fault])
    return label


def _order(request: web.Request) -> tuple[int | None, str | None]:
    """`seq` and `publisher` of a DELETE, which has no body."""
    faults = []
    seq, publisher = request.query.get("seq"), request.query.get("publisher")
    if seq is not None and not (re.fullmatch(r"[0-9]{1,19}", seq) and int(seq) <= HIGHEST_SEQ):
        faults.append({"parameter": "seq", "detail": f"a number from 0 to {HIGHEST_SEQ}"})
    if publisher is not None and not re.fullmatch(LABEL, publisher):
        faults.append({"parameter": "publisher", "detail": "1 to 64 letters, digits and . _ : @ + -"})
    if faults:
        raise bad_query(faults)
    return None if seq is None else int(seq), publisher


def _receipt(receipt: Receipt) -> web.Response:
    answer = {"expires_at": timestamp(receipt.expires_at), "seq": receipt.seq}
    return web.json_response(answer, headers=PRIVATE)


def _done() -> web.Response:
    return web.Response(status=204, headers=PRIVATE)


_RECEIPT: Final = {200: Answer("Durable.", answers.Receipt)}
_DONE: Final = {204: Answer("Durable; also if there was nothing to withdraw.")}
_ORDER: Final = (
    Parameter("seq", "As in the PUT.", {"type": "integer", "minimum": 0, "maximum": HIGHEST_SEQ}),
    Parameter("publisher", "As in the PUT.", {"type": "string", "pattern": f"^{LABEL}$"}),
)
_STORE: Final = ("person.unknown", "store.unavailable", "store.disk_full")
_ORDERED: Final = (*_STORE, "publication.outdated")

ROUTES: Final = (
    Route(
        "PUT",
        "/v1/people/{person}/phone/{line}",
        put_phone,
        "What one line does now",
        _RECEIPT,
        scope="publish:phone",
        body=PhonePublication,
        problems=_ORDERED,
    ),
    Route(
        "DELETE",
        "/v1/people/{person}/phone/{line}",
        delete_phone,
        "Withdraw a line's state",
        _DONE,
        scope="publish:phone",
        query=_ORDER,
        problems=(*_ORDERED, "request.invalid"),
    ),
    Route(
        "PUT",
        "/v1/people/{person}/availability/{session}",
        put_session,
        "What one client session declares",
        _RECEIPT,
        scope="publish:availability",
        body=SessionPublication,
        problems=_ORDERED,
    ),
    Route(
        "DELETE",
        "/v1/people/{person}/availability/{session}",
        delete_session,
        "End a client session",
        _DONE,
        scope="publish:availability",
        query=_ORDER,
        problems=(*_ORDERED, "request.invalid"),
    ),
    Route(
        "PUT",
        "/v1/people/{person}/status",
        put_status,
        "The person's manual choice",
        _RECEIPT,
        scope="publish:availability",
        or_self=True,
        body=StatusPublication,
        problems=_STORE,
    ),
    Route(
        "DELETE",
        "/v1/people/{person}/status",
        delete_status,
        "Forget the manual choice",
        _DONE,
        scope="publish:availability",
        or_self=True,
        problems=_STORE,
    ),
    Route(
        "PUT",
        "/v1/people/{person}/calendar/dismissal",
        put_dismissal,
        "Leave the running meeting early",
        _RECEIPT,
        scope="preferences",
        or_self=True,
        body=DismissalPublication,
        problems=(*_STORE, "publication.nothing_to_dismiss"),
    ),
    Route(
        "DELETE",
        "/v1/people/{person}/calendar/dismissal",
        delete_dismissal,
        "Return to the meeting",
        _DONE,
        scope="preferences",
        or_self=True,
        problems=_STORE,
    ),
)
