"""The page for people, and the OpenAPI document: what is served from memory, with entity tags."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Final

from aiohttp import web

from gateway.web.negotiate import matches
from gateway.web.openapi import describe
from gateway.web.routes import Answer, Route

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class Static:
    """Bytes that do not change while the process runs."""

    body: bytes
    media: str
    policy: str | None = None

    def handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Serves the bytes; asks browsers to come back every time, and answers 304 then."""
        headers = {"ETag": f'"{hashlib.sha256(self.body).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
        if self.policy is not None:
            headers["Content-Security-Policy"] = self.policy
        full = {"Content-Type": self.media, **headers}

        async def serve(request: web.Request) -> web.StreamResponse:
            if matches(request.headers.get("If-None-Match", ""), headers["ETag"]):
                return web.Response(status=304, headers=headers)
            return web.Response(body=self.body, headers=full)

        return serve


def page_routes() -> tuple[Route, ...]:
    """The page and its files, read from the installed package."""
    return (
        _file("/", "index.html", "text/html; charset=utf-8", "The page for people"),
        _file("/page.js", "page.js", "text/javascript; charset=utf-8", "The page's script"),
        _file("/board.js", "board.js", "text/javascript; charset=utf-8", "The page's drawing"),
        _file("/page.css", "page.css", "text/css; charset=utf-8", "The page's style"),
    )


def openapi_route(routes: Sequence[Route], public_url: str | None) -> Route:
    """GET /openapi.json: the description of these routes and of itself."""
    answers = {200: Answer("OpenAPI 3.1."), **_UNCHANGED}
    route = Route("GET", "/openapi.json", _nothing, "This description", answers)
    document = json.dumps(describe((*routes, route), public_url), separators=(",", ":")).encode("ascii")
    return replace(route, handler=Static(document, "application/json").handler())


async def _nothing(request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


def _file(path: str, name: str, media: str, summary: str) -> Route:
    content = files("gateway.web").joinpath("page", name).read_bytes()
    handler = Static(content, media, PAGE_POLICY).handler()
    return Route(
        "GET", path, handler, summary, {200: Answer(summary + ".", media=media.partition(";")[0]), **_UNCHANGED}
    )


_UNCHANGED: Final = {304: Answer("Nothing changed.")}
