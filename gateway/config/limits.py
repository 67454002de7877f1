"""[limits]: generated from the bounds the web side knows, so that the two cannot drift apart."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, ValidationInfo, create_model

from gateway.config.calendars import Section
from gateway.config.values import Duration
from gateway.web.ports import Limits

DESCRIPTIONS: Final = {
    "connections": "Open connections in all.",
    "connections_per_token": "Open connections of one token.",
    "header_timeout": "A request's headers must be complete by then.",
    "body_timeout": "A request's body must be complete by then.",
    "keepalive": "An idle connection is kept so long.",
    "put_body": "Bytes of the body of a PUT, PATCH or small POST.",
    "query_body": "Bytes of the body of a query or of a stream's list of people.",
    "people_in_url": "People named in a URL.",
    "people_in_query": "People named in a query's body.",
    "people_in_stream": "People named in the body of a stream request.",
    "failed_logons_per_minute": "Wrong tokens from one IPv4 address or IPv6 /64 before it must wait.",
    "write_timeout": "A subscriber that takes nothing for so long is cut.",
    "heartbeat": "A comment is sent about so often on a quiet stream (jittered).",
    "drain": "On shutdown the streams are closed spread over this time.",
    "send_buffer": "Bytes of the socket's send buffer per stream.",
    "page": "People on one page of a list.",
}


def _field(field: dataclasses.Field[Any]) -> tuple[Any, Any]:
    described = DESCRIPTIONS.get(field.name, field.name.replace("_", " ").capitalize() + ".")
    if isinstance(field.default, float):
        return Duration, Field(field.default, gt=0, description=described)
    return int, Field(field.default, ge=1, description=described)


_FIELDS: dict[str, Any] = {field.name: _field(field) for field in dataclasses.fields(Limits)}
LIMITS_SECTION: Final[type[Section]] = create_model(
    "LimitsSection",
    __base__=Section,
    **_FIELDS,
)
"""The model of the section."""


def _limits(value: object, info: ValidationInfo) -> Limits:
    return Limits(**LIMITS_SECTION.model_validate(value, context=info.context).model_dump())


LimitsField = Annotated[Limits, PlainValidator(_limits)]
"""[limits] as the web side takes it."""
