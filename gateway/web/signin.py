"""The page's session: a token for a cookie, and back."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.core.document import timestamp
from gateway.web import answers
from gateway.web.bodies import SignIn
from gateway.web.intake import body
from gateway.web.routes import ACCESS, Answer, Route
from gateway.web.services import PRIVATE, SERVICES
from gateway.web.sessions import clear_cookie, set_cookie


async def sign_in(request: web.Request) -> web.StreamResponse:
    """POST /v1/session: a token for a cookie."""
    access = request.app[ACCESS]
    asked = await body(request, SignIn, most=request.app[SERVICES].limits.put_body)
    identifier, session = access.sign_in(request, asked.token)
    reader = session.reader
    answer = {
        "name": reader.name,
        "scopes": sorted(reader.scopes),
        "person": reader.person,
        "expires_at": timestamp(session.expires_at),
    }
    response = web.json_response(answer, headers=PRIVATE)
    set_cookie(response, identifier, secure=access.secure(request))
    return response


async def sign_out(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/session: the cookie opens nothing any more; the same answer without one."""
    access = request.app[ACCESS]
    access.sign_out(request)
    response = web.Response(status=204, headers=PRIVATE)
    clear_cookie(response, secure=access.secure(request))
    return response


ROUTES: Final = (
    Route(
        "POST",
        "/v1/session",
        sign_in,
        "Trade a token for the page's cookie",
        {200: Answer("Who signed in; the cookie is set.", answers.Session)},
        body=SignIn,
        problems=("auth.token_rejected", "auth.throttled", "auth.origin"),
    ),
    Route(
        "DELETE",
        "/v1/session",
        sign_out,
        "End the page's session",
        {204: Answer("Ended.")},
        problems=("auth.origin",),
    ),
)
