"""gateway.toml, read and checked: `load` gives a `Config`, or every problem of the file at once.

Secrets come from files or the environment only, and show themselves as `***`. Relative names start at the folder of
the file. `[calendars.NAME]` and `[phones.NAME]` have a model per kind (`gateway.config.calendars`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config import rules
from gateway.config.calendars import EwsCalendar, Section
from gateway.config.models import Config
from gateway.config.problems import problems
from gateway.config.values import Address, Secret, Surroundings
from gateway.errors import ConfigError
from gateway.toml import line, read_toml

__all__ = [
    "Address",
    "Config",
    "EwsCalendar",
    "Outcome",
    "Secret",
    "Section",
    "load",
    "read",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of reading the file: `config` is None if there are problems; `tables` is what TOML gave."""

    config: Config | None
    problems: tuple[str, ...]
    tables: Mapping[str, Any]


def load(path: Path, *, environ: Mapping[str, str] | None = None, check_files: bool = True) -> Config:
    """The configuration in force for that file; raises ConfigError with all its problems.

    `environ` defaults to the process's environment. Without `check_files` the files and variables it names need not
    exist (secrets are then empty): for examples and documentation.
    """
    outcome = read(path, environ=environ, check_files=check_files)
    if outcome.config is None:
        raise ConfigError(list(outcome.problems))
    return outcome.config


def read(path: Path, *, environ: Mapping[str, str] | None = None, check_files: bool = True) -> Outcome:
    """As `load`, but a faulty file is an answer, so that other files can be judged in the same run."""
    try:
        tables = read_toml(path)
    except ConfigError as error:
        return Outcome(None, tuple(error.problems), {})
    near = Surroundings(path.absolute().parent, os.environ if environ is None else environ, check_files)
    found = [line(path.name, key, text) for key, text in rules.faults(tables)]
    config: Config | None = None
    try:
        config = Config.model_validate(tables, context=near)
    except ValidationError as error:
        found = [*problems(path.name, error, tables), *found]
    if config is None or found:
        return Outcome(None, tuple(dict.fromkeys(found)), tables)
    config._path = path.absolute()
    config._warnings = tuple(
        line(path.name, key, text) for key, text in rules.warnings(config, check_files=check_files)
    )
    return Outcome(config, (), tables)
