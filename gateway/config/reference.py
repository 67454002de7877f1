"""The reference of gateway.toml, made from the models: as commented TOML that loads, and as Markdown."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from enum import Enum
from textwrap import wrap
from typing import Any, Literal

from pydantic.fields import FieldInfo

from gateway.config.calendars import CALENDARS, PHONES, Section
from gateway.config.limits import LIMITS_SECTION
from gateway.config.models import Config
from gateway.config.values import DurationMark, plain, show_duration
from gateway.toml import toml_value

_TITLES = {
    "calendars": ("NAME is what people.toml calls it.", "hq"),
    "phones": ("NAME is what people.toml calls it.", "pbx"),
}


def sections() -> Iterator[tuple[str, str, type[Section]]]:
    """Header, meaning and model of every table, in the order of the file."""
    for name, field in Config.model_fields.items():
        if name in _TITLES:
            text, example = _TITLES[name]
            kinds = CALENDARS if name == "calendars" else PHONES
            for kind, model in kinds.items():
                yield f"{name}.{example}", f"{_first_line(model)} {text}", model
                del kind
        elif name == "limits":
            yield name, "Bounds; every one has a default sized for 20,000 people.", LIMITS_SECTION
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, _first_line(field.annotation), field.annotation


def as_toml() -> str:
    """A gateway.toml with every key: its meaning above it, its default beside it, optional keys commented out."""
    lines = ["# Reference of gateway.toml: every key with its default. Keys without one are commented out."]
    for header, meaning, model in sections():
        lines += ["", *_comment(meaning), f"[{header}]"]
        for name, field in model.model_fields.items():
            key = field.alias or name
            lines += _comment(f"{field.description} {_allowed(field)}".strip())
            lines.append(_setting(key, field))
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "<!-- made by: presence-gateway config reference --markdown -->",
        "",
        "`gateway.toml`, in TOML. Unknown keys are refused; `presence-gateway config check` reports every problem at",
        "once. Relative file names start at the folder of the file. Durations are a number with a unit in quotes:",
        '`"500ms"`, `"60s"`, `"5m"`, `"1h"`, `"1d"`. Secrets come from files (`*_file`) or environment variables',
        '(`"${NAME}"`), never from the file itself; under systemd a relative `password_file` is looked up in',
        "`$CREDENTIALS_DIRECTORY` first. `config/` holds examples of this file, `people.toml` and `tokens.toml`.",
    ]
    for header, meaning, model in sections():
        part, _, example = header.partition(".")
        title = f"[{part}.NAME], kind {_kind(model)}" if example else f"[{part}]"
        lines += ["", f"## {title}", "", meaning, "", "| key | default | meaning |", "| --- | --- | --- |"]
        for name, field in model.model_fields.items():
            lines.append(f"| `{field.alias or name}` | {_shown_default(field)} | {_meaning(field)} |")
    return "\n".join(lines) + "\n"


def _first_line(model: type[Section]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _kind(model: type[Section]) -> str:
    return f"`{typing.get_args(model.model_fields['kind'].annotation)[0]}`"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, 108)]


def _setting(key: str, field: FieldInfo) -> str:
    if field.is_required():
        return f"{key} = {toml_value(_example(field))}"
    default = _default(field)
    if default is None or (default == [] and field.examples):
        # one way of giving the password stands, so that the reference is a valid file
        prefix = "" if key == "password_file" else "# "
        return f"{prefix}{key} = {toml_value(_example(field))}"
    return f"{key} = {toml_value(default)}"


def _example(field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    return typing.get_args(field.annotation)[0]  # a Literal of one


def _default(field: FieldInfo) -> Any:
    value = field.default
    if any(isinstance(mark, DurationMark) for mark in field.metadata):
        return show_duration(value)
    return str(value.value) if isinstance(value, Enum) else plain(value)


def _shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = _default(field)
    return f"`{toml_value(default)}`" if default is not None else "none"


def _allowed(field: FieldInfo) -> str:
    """The closed choice, if it is one."""
    annotation = field.annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return ""
    if typing.get_origin(annotation) is Literal:
        values = typing.get_args(annotation)
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        values = tuple(member.value for member in annotation)
    else:
        return ""
    return f"One of: {', '.join(values)}." if len(values) > 1 else ""


def _meaning(field: FieldInfo) -> str:
    example = f" Example: `{toml_value(field.examples[0])}`." if field.examples else ""
    return f"{field.description} {_allowed(field)}".strip().replace("|", "\\|") + example
