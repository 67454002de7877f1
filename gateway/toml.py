"""TOML files in and TOML text out: reading with remedies, problems as lines, values as text."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises ConfigError if it cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise ConfigError([f"{path.name}: {path} cannot be read ({reason}); check the name and its rights"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path.name}: is not UTF-8 text; save it as UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax(path.name, str(error))]) from None


def _syntax(file: str, message: str) -> str:
    fault, _, place = message.partition(" (at ")
    remedy = "correct the line"
    if "escape" in fault or "hex" in fault:
        remedy = "put text that holds a backslash in single quotes: 'CORP\\svc-presence'"
    return f"{file}: {place.rstrip(')') or 'file'}: is not TOML ({fault}); {remedy}"


def line(file: str, path: tuple[str, ...], text: str) -> str:
    """`file: key.path: text`, keys quoted where TOML needs it."""
    keys = ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in path)
    return f"{file}: {keys}: {text}" if keys else f"{file}: {text}"


def toml_value(value: object) -> str:
    """A value as TOML text; text with a backslash in single quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        literal = "\\" in value and "'" not in value and value.isprintable()
        return f"'{value}'" if literal else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
