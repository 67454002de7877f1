"""From what pydantic found to lines for people: `gateway.toml: calendars.hq.url: fault; remedy`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.config.calendars import CALENDARS, PHONES, Section
from gateway.config.limits import LIMITS_SECTION
from gateway.config.models import Config
from gateway.toml import line, toml_value

_PLAIN: Final = {
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "float_type": "must be a number, without quotes",
    "string_type": "must be text; put it in quotes",
    "list_type": 'must be a list; write ["…", "…"]',
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "string_too_short": "must not be empty; fill it in",
}


def problems(file: str, error: ValidationError, raw: Mapping[str, Any]) -> Iterator[str]:
    """One line per fault. No value is repeated in it that a text of ours does not repeat itself."""
    for detail in error.errors(include_url=False, include_input=False):
        location = tuple(str(part) for part in detail["loc"])
        name = location[:-1] if location and location[-1] == "[key]" else location
        yield line(file, name, _sentence(detail, location, raw))


def _sentence(detail: ErrorDetails, location: tuple[str, ...], raw: Mapping[str, Any]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return _missing(location, raw)
    if kind == "extra_forbidden":
        return _unknown(location, raw)
    if kind in ("literal_error", "enum"):
        allowed = str(context["expected"]).replace("'", '"')
        return f"must be {allowed}; correct the spelling"
    if kind in ("greater_than_equal", "less_than_equal", "greater_than"):
        bound = next(context[key] for key in ("ge", "le", "gt") if key in context)
        word = {"ge": "at least", "le": "at most", "gt": "more than"}[
            next(k for k in ("ge", "le", "gt") if k in context)
        ]
        return f"must be {word} {bound:g}{' (seconds)' if isinstance(bound, float) else ''}; choose another value"
    if kind == "string_pattern_mismatch":
        if location[-1] == "[key]":
            return "is no name for a section; use lower-case letters, digits, - and _"
        return f"does not have the form {context['pattern']}; correct it"
    return _PLAIN.get(kind, detail["msg"][:1].lower() + detail["msg"][1:])


def _missing(location: tuple[str, ...], raw: Mapping[str, Any]) -> str:
    model = model_at(location[:-1], raw)
    field = model.model_fields.get(location[-1]) if model else None
    example = field.examples[0] if field and field.examples else None
    return f"is missing; add {location[-1]} = {toml_value(example)}" if example else "is missing; add it"


def _unknown(location: tuple[str, ...], raw: Mapping[str, Any]) -> str:
    model = model_at(location[:-1], raw)
    known = [field.alias or name for name, field in model.model_fields.items()] if model else []
    close = difflib.get_close_matches(location[-1], known, n=1)
    if close:
        return f"is no known key; did you mean {close[0]}?"
    return f"is no known key; known here: {', '.join(known)}"


def model_at(location: tuple[str, ...], raw: Mapping[str, Any]) -> type[Section] | None:
    """The model of the table at that key path."""
    if not location:
        return Config
    if location == ("limits",):
        return LIMITS_SECTION
    if location[0] in ("calendars", "phones") and len(location) == 2:
        table = raw.get(location[0], {}).get(location[1], {})
        return (CALENDARS if location[0] == "calendars" else PHONES).get(table.get("kind"))
    field = Config.model_fields.get(location[0])
    model = field.annotation if field and len(location) == 1 else None
    return model if isinstance(model, type) and issubclass(model, Section) else None
