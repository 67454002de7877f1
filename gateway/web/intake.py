"""Reads one request body within its bounds, and names everything that is wrong with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError

from gateway.web.problems import Problem, invalid
from gateway.web.routes import JSON_BODY
from gateway.web.services import SERVICES

Model = TypeVar("Model", bound=BaseModel)


async def body(request: web.Request, model: type[Model], *, most: int, media: Sequence[str] = JSON_BODY) -> Model:
    """The body as `model`, of at most `most` bytes.

    Raises the problems request.encoding and request.media_type (415), too_large (413), timeout (408), malformed
    (400), and invalid (422) with a JSON pointer per fault.
    """
    services = request.app[SERVICES]
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem("request.encoding")
    if request.content_type not in media or "Content-Type" not in request.headers:
        raise Problem("request.media_type", f"expected {media[0]}")
    raw = await _read(request, most, services.limits.body_timeout)
    return parse(raw, model, {"now": services.clock.now()})


def parse(raw: bytes, model: type[Model], context: Mapping[str, Any]) -> Model:
    """Bytes as `model`; raises the problems request.malformed and request.invalid."""
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except _Duplicate as duplicate:
        raise Problem("request.malformed", f"the name {str(duplicate)[:64]!r} appears twice in one object") from None
    except (ValueError, RecursionError):
        raise Problem("request.malformed", "the body is not JSON (RFC 8259) in UTF-8") from None
    if not isinstance(value, dict):
        raise invalid([{"pointer": "", "detail": "must be an object"}])
    try:
        return model.model_validate_json(raw, context=dict(context))
    except ValidationError as error:
        raise invalid([_fault(fault) for fault in error.errors(include_url=False, include_input=False)]) from None


async def _read(request: web.Request, most: int, seconds: float) -> bytes:
    if (request.content_length or 0) > most:
        raise Problem("request.too_large", f"at most {most} bytes")
    parts = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while chunk := await request.content.readany():
                parts += chunk
                if len(parts) > most:
                    raise Problem("request.too_large", f"at most {most} bytes")
    except TimeoutError:
        raise Problem("request.timeout", f"not complete after {seconds:g} seconds") from None
    except (HttpProcessingError, ClientPayloadError):
        raise Problem("request.malformed", "the body is broken off or badly framed") from None
    return bytes(parts)


class _Duplicate(Exception):
    """The same name twice in one JSON object, which readers may understand differently (RFC 8259 4)."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise _Duplicate(name)
        members[name] = value
    return members


def _refuse_constant(name: str) -> None:
    # NaN and Infinity are no JSON, though most parsers take them (RFC 8259 6).
    raise ValueError(name)


def _fault(fault: Mapping[str, Any]) -> dict[str, str]:
    if fault["type"] == "extra_forbidden":
        detail = "no such field"
    elif fault["type"] == "missing":
        detail = "is required"
    else:
        detail = str(fault["msg"]).removeprefix("Value error, ")
    return {"pointer": _pointer(fault["loc"]), "detail": detail[:256]}


def _pointer(location: Sequence[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1")[:128] for step in location)
