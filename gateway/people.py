"""people.toml: who there is. Built by hand, not by models, so that 20,000 people load in about a second."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.core.model import Person
from gateway.errors import ConfigError
from gateway.toml import read_toml

_KEYS: Final = frozenset({"id", "name", "calendar", "mailbox", "phones", "groups", "calendar_opt_in"})
_ID: Final = re.compile(r"""[^\s/?#%,;"<>\\\x00-\x1f\x7f]{1,254}""")
_MAILBOX: Final = re.compile(r"[^\s@<>,;]{1,64}@[^\s@<>,;]{1,255}")
_LABEL: Final = re.compile(r"[^,\x00-\x1f\x7f]{1,128}")
_AT_MOST: Final = 100
"""So many problems are listed; a file generated wrongly has one per person."""


class People:
    """The directory: a `gateway.web.ports.Directory`. One instance never changes."""

    def __init__(self, people: Collection[Person], warnings: Sequence[str] = ()) -> None:
        ordered = tuple(sorted(people, key=lambda person: person.id))
        self._by_id = {person.id: person for person in ordered}
        self._everybody = ordered
        groups: dict[str, list[Person]] = {}
        for person in ordered:
            for group in person.groups:
                groups.setdefault(group, []).append(person)
        self._groups = {name: tuple(members) for name, members in groups.items()}
        self.warnings = tuple(warnings)

    def __len__(self) -> int:
        return len(self._everybody)

    def get(self, person: str) -> Person | None:
        """The person with that lower-case id."""
        return self._by_id.get(person)

    def everybody(self) -> Sequence[Person]:
        """All, sorted by id."""
        return self._everybody

    def group(self, name: str) -> Sequence[Person]:
        """The members of a group, sorted by id; empty if there is no such group."""
        return self._groups.get(name, ())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of reading the file: the people without fault, and the problems with all others."""

    people: People
    problems: tuple[str, ...]


def load(path: Path, *, calendars: Collection[str] = (), phones: Collection[str] = ()) -> People:
    """The directory of that file, for the configured calendars and phones; raises ConfigError with all problems."""
    outcome = read(path, calendars=calendars, phones=phones)
    if outcome.problems:
        raise ConfigError(list(outcome.problems))
    return outcome.people


def read(path: Path, *, calendars: Collection[str] = (), phones: Collection[str] = ()) -> Outcome:
    """As `load`, but faults are part of the answer, so that other files can be judged in the same run."""
    try:
        tables = read_toml(path)
    except ConfigError as error:
        return Outcome(People(()), tuple(error.problems))
    problems = [f"{path.name}: {key}: is no known key; write [[person]]" for key in tables if key != "person"]
    entries = tables.get("person", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        problems.append(f"{path.name}: person: is no list of tables; write [[person]] before each person")
        entries = []
    people: dict[str, Person] = {}
    mailboxes: dict[str, str] = {}
    warnings: list[str] = []
    for number, entry in enumerate(entries, 1):
        person, faults = _person(entry, calendars, phones)
        where = f"{path.name}: person {number} ({str(entry.get('id', 'no id'))[:80]})"
        if person.id and person.id in people:
            faults.append("id: is there twice (upper and lower case are the same); remove one of the two")
        problems += [f"{where}: {fault}" for fault in faults]
        if faults:
            continue
        people[person.id] = person
        if person.mailbox:
            other = mailboxes.setdefault(person.mailbox.lower(), person.id)
            if other != person.id:
                warnings.append(f"{where}: mailbox: is also that of {other}; both will show the same meetings")
    return Outcome(People(people.values(), _shortened(path.name, warnings)), _shortened(path.name, problems))


def _shortened(file: str, lines: list[str]) -> tuple[str, ...]:
    if len(lines) <= _AT_MOST:
        return tuple(lines)
    return (*lines[:_AT_MOST], f"{file}: and {len(lines) - _AT_MOST} more; correct these first")


def _person(entry: Mapping[str, Any], calendars: Collection[str], phones: Collection[str]) -> tuple[Person, list[str]]:
    faults: list[str] = []
    if not _KEYS.issuperset(entry):
        unknown = sorted(set(entry) - _KEYS)
        faults += [f"{key}: is no known key; known: {', '.join(sorted(_KEYS))}" for key in unknown]
    identity = entry.get("id")
    if not isinstance(identity, str) or not _ID.fullmatch(identity) or identity in (".", ".."):
        faults.append('id: must be a short text without spaces and / ? # % , ; " < >; write id = "ann@example.com"')
        identity = ""
    identity = identity.lower()
    name = entry.get("name", "")
    if not isinstance(name, str) or len(name) > 256 or not name.isprintable():
        faults.append('name: must be one line of text; write name = "Ann Archer"')
    calendar = entry.get("calendar")
    if calendar is not None and (not isinstance(calendar, str) or calendar not in calendars):
        faults.append(f"calendar: {_short(calendar)} is not configured; {_configured('calendars', calendars)}")
    mailbox = entry.get("mailbox", identity if calendar is not None else None)
    wanted = "mailbox" in entry or bool(identity)  # an id that is wrong itself is reported once
    if mailbox is not None and wanted and (not isinstance(mailbox, str) or not _MAILBOX.fullmatch(mailbox)):
        faults.append('mailbox: is no mail address; write mailbox = "ann@example.com"')
    opt_in = entry.get("calendar_opt_in")
    if opt_in is not None and not isinstance(opt_in, bool):
        faults.append("calendar_opt_in: must be true or false, without quotes")
    groups = entry.get("groups", [])
    if not _labels(groups):
        faults.append('groups: must be a list of names without commas; write groups = ["sales"]')
        groups = []
    lines = _phones(entry.get("phones"), phones, faults)
    if faults:
        return Person(identity), faults
    return Person(identity, name, calendar, mailbox, lines, tuple(dict.fromkeys(groups)), opt_in), faults


def _phones(value: object, configured: Collection[str], faults: list[str]) -> Mapping[str, tuple[str, ...]] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        faults.append('phones: must be a table; write phones = { pbx = ["PJSIP/1001"] }')
        return None
    for name, lines in value.items():
        if name not in configured:
            faults.append(f"phones.{name}: is not configured; {_configured('phones', configured)}")
        if not _labels(lines) or not lines:
            faults.append(f'phones.{name}: must be a list of lines; write {name} = ["PJSIP/1001"]')
    return None if faults else {name: tuple(lines) for name, lines in value.items()}


def _labels(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and _LABEL.fullmatch(item) for item in value)


def _short(value: object) -> str:
    return repr(value)[:60]


def _configured(section: str, names: Collection[str]) -> str:
    known = ", ".join(sorted(names))
    return f"configured: {known}" if known else f"there is no [{section}.NAME] in the configuration; add one"
