"""The three files read together: everything that is in force, or every problem of all of them in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway import config, people, tokens
from gateway.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settings:
    """What one reading of the files gave. A reload makes a new one and swaps it in as a whole."""

    config: config.Config
    people: people.People
    tokens: tokens.TokenTable

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is accepted but unwise, in all three files."""
        return (*self.config.warnings, *self.people.warnings, *self.tokens.warnings)


def load_all(
    path: Path,
    *,
    now: Callable[[], datetime],
    environ: Mapping[str, str] | None = None,
    check_files: bool = True,
) -> Settings:
    """gateway.toml and the people and tokens it names; raises ConfigError with the problems of all three files.

    `now` is the wall clock tokens expire by. `check_files` as for `config.load`.
    """
    outcome = config.read(path, environ=environ, check_files=check_files)
    folder = path.absolute().parent
    people_file = outcome.config.people.file if outcome.config else _named(outcome.tables, "people", folder)
    tokens_file = outcome.config.tokens.file if outcome.config else _named(outcome.tables, "tokens", folder)
    problems = list(outcome.problems)
    directory = people.People(())
    if outcome.config or people_file.is_file():  # if not there, gateway.toml has that problem already
        calendars, phones = _names(outcome.tables, "calendars"), _names(outcome.tables, "phones")
        found = people.read(people_file, calendars=calendars, phones=phones)
        directory = found.people
        problems += found.problems
    table = tokens.TokenTable({}, directory, now)
    if outcome.config or tokens_file.is_file():
        minted = tokens.read(tokens_file, directory=directory, now=now)
        table = minted.tokens
        problems += minted.problems
    if outcome.config is None or problems:
        raise ConfigError(problems)
    return Settings(outcome.config, directory, table)


def _names(tables: Mapping[str, Any], section: str) -> frozenset[str]:
    found = tables.get(section)
    return frozenset(found) if isinstance(found, dict) else frozenset()


def _named(tables: Mapping[str, Any], section: str, folder: Path) -> Path:
    """The file a faulty configuration seems to mean."""
    table = tables.get(section)
    name = table.get("file") if isinstance(table, dict) else None
    return folder / (name if isinstance(name, str) else f"{section}.toml")
