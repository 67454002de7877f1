"""Setting switches by name out of JSON: every name and value is checked before any is set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def set_switches(options: Any, wanted: Mapping[str, Any]) -> None:
    """Set fields of a dataclass instance; a field that is itself one takes an object.

    Raises ValueError with the name of the switch and what it takes; then nothing has been set.
    """
    for holder, name, value in _checked(options, wanted):
        setattr(holder, name, value)


def _checked(options: Any, wanted: Mapping[str, Any]) -> list[tuple[Any, str, Any]]:
    hints = get_type_hints(type(options))
    known = [field.name for field in fields(options)]
    settled: list[tuple[Any, str, Any]] = []
    for name, value in wanted.items():
        if name not in known:
            raise ValueError(f"no switch {name!r}; there are {', '.join(known)}")
        now = getattr(options, name)
        if is_dataclass(now):
            if not isinstance(value, dict):
                raise ValueError(f"switch {name!r} takes an object")
            settled += _checked(now, value)
        elif _fits(value, hints[name]):
            settled.append((options, name, value))
        else:
            raise ValueError(f"switch {name!r} cannot be {value!r}; it takes {_described(hints[name])}")
    return settled


def _fits(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if hint in (int, float):
        numbers = (int, float) if hint is float else (int,)
        return isinstance(value, numbers) and not isinstance(value, bool) and value >= 0
    return isinstance(value, origin or hint)


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(each) for each in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join("null" if each is NoneType else _described(each) for each in get_args(hint))
    return str(getattr(hint, "__name__", hint))
