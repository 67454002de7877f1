"""tokens.toml: who may use the API. The file holds hashes only; a token is shown once, when made."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final

from gateway.core.model import Level
from gateway.errors import ConfigError
from gateway.toml import read_toml, toml_value
from gateway.web.ports import Directory, Reader

PREFIX: Final = "pgw_"
"""How every token begins, so that scanners for leaked secrets can find it."""

SCOPES: Final = ("watch", "publish:phone", "publish:availability", "preferences", "admin")
"""What a token may be for."""

_KEYS: Final = frozenset({"name", "sha256", "scopes", "level", "groups", "person", "expires"})
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LEVELS: Final = {"colleague": Level.COLLEAGUE, "limited": Level.LIMITED}


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made: its text, which nobody can get a second time, and its lines for tokens.toml."""

    token: str
    entry: str


def create_token(
    name: str,
    *,
    scopes: Sequence[str] = ("watch",),
    level: str = "colleague",
    groups: Sequence[str] = (),
    person: str | None = None,
    expires: date | None = None,
    randomness: Callable[[int], bytes] = secrets.token_bytes,
) -> NewToken:
    """A token of 32 random bytes; raises ConfigError if the entry would not be accepted in tokens.toml."""
    token = PREFIX + base64.urlsafe_b64encode(randomness(32)).rstrip(b"=").decode()
    entry: dict[str, Any] = {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "scopes": list(scopes)}
    entry |= {"level": level, "groups": list(groups)}
    if person is not None:
        entry["person"] = person.lower()
    if expires is not None:
        entry["expires"] = expires
    faults = _faults(entry)
    if faults:
        raise ConfigError([f"token: {fault}" for fault in faults])
    lines = "\n".join(f"{key} = {toml_value(value)}" for key, value in entry.items())
    return NewToken(token, f"[[token]]\n{lines}\n")


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    reader: Reader


class TokenTable:
    """The tokens in force: a `gateway.web.ports.Tokens`. One instance never changes; time comes from `now`.

    A reader's name is the token's name and the first eight digits of its hash: a token made anew under its old name is
    another reader, so that streams opened with the old one end.
    """

    def __init__(
        self,
        readers: Mapping[bytes, Reader],
        directory: Directory,
        now: Callable[[], datetime],
        warnings: Sequence[str] = (),
    ) -> None:
        self._by_digest = {digest: _Entry(digest, reader) for digest, reader in readers.items()}
        self._by_name = {reader.name: reader for reader in readers.values()}
        self._directory = directory
        self._now = now
        self.warnings = tuple(warnings)

    def __len__(self) -> int:
        return len(self._by_digest)

    def reader(self, token: str) -> Reader | None:
        """Who holds that token; None if unknown or expired."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        entry = self._by_digest.get(digest)
        if entry is None or not hmac.compare_digest(entry.digest, digest) or self._expired(entry.reader):
            return None
        return entry.reader

    def valid(self, reader: Reader) -> bool:
        """Whether a reader admitted earlier is still admitted, unchanged."""
        if reader.name.startswith("user:"):
            return self.person(reader.name.removeprefix("user:")) == reader
        return self._by_name.get(reader.name) == reader and not self._expired(reader)

    def person(self, identity: str) -> Reader | None:
        """The reader for an identity that a trusted proxy vouches for; it is a person if we know that id."""
        identity = identity.strip().lower()
        if not identity or len(identity) > 254 or not identity.isprintable():
            return None
        known = self._directory.get(identity)
        return Reader(
            name=f"user:{identity}",
            scopes=frozenset({"watch"}),
            level=Level.COLLEAGUE,
            person=known.id if known else None,
        )

    def _expired(self, reader: Reader) -> bool:
        return reader.expires is not None and self._now() >= reader.expires


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of reading the file: the tokens without fault, and the problems with all others."""

    tokens: TokenTable
    problems: tuple[str, ...]


def load(path: Path, *, directory: Directory, now: Callable[[], datetime]) -> TokenTable:
    """The tokens of that file; raises ConfigError with all problems. A person's token counts while the person does."""
    outcome = read(path, directory=directory, now=now)
    if outcome.problems:
        raise ConfigError(list(outcome.problems))
    return outcome.tokens


def read(path: Path, *, directory: Directory, now: Callable[[], datetime]) -> Outcome:
    """As `load`, but faults are part of the answer, so that other files can be judged in the same run."""
    try:
        tables = read_toml(path)
    except ConfigError as error:
        return Outcome(TokenTable({}, directory, now), tuple(error.problems))
    problems = [f"{path.name}: {key}: is no known key; write [[token]]" for key in tables if key != "token"]
    entries = tables.get("token", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        problems.append(f"{path.name}: token: is no list of tables; write [[token]] before each token")
        entries = []
    readers: dict[bytes, Reader] = {}
    names: set[str] = set()
    warnings: list[str] = []
    for number, entry in enumerate(entries, 1):
        where = f"{path.name}: token {number} ({str(entry.get('name', 'no name'))[:64]})"
        faults = _faults(entry)
        if str(entry.get("name")) in names:
            faults.append("name: is there twice; give every token its own name")
        if not faults and bytes.fromhex(entry["sha256"]) in readers:
            faults.append("sha256: is there twice; make a token for each user")
        problems += [f"{where}: {fault}" for fault in faults]
        if faults:
            continue
        names.add(entry["name"])
        reader = _reader(entry)
        warned = list(_doubts(reader, directory, now()))
        warnings += [f"{where}: {text}" for text in warned]
        if reader.person is None or directory.get(reader.person) is not None:
            readers[bytes.fromhex(entry["sha256"])] = reader
    return Outcome(TokenTable(readers, directory, now, warnings), tuple(problems))


def _doubts(reader: Reader, directory: Directory, now: datetime) -> list[str]:
    doubts = []
    if reader.person is not None and directory.get(reader.person) is None:
        doubts.append(f"person: {reader.person} is not in the directory, so the token opens nothing; remove it")
    doubts += [
        f"groups: nobody is in {group!r}; check the name" for group in reader.groups if not directory.group(group)
    ]
    if reader.expires is not None and reader.expires <= now:
        doubts.append("expires: is over, so the token opens nothing; remove it")
    return doubts


def _faults(entry: Mapping[str, Any]) -> list[str]:
    faults = [f"{key}: is no known key; known: {', '.join(sorted(_KEYS))}" for key in sorted(set(entry) - _KEYS)]
    if "token" in entry or "secret" in entry:
        faults.append("sha256: only the hash belongs into this file; make a new token, this one is no secret any more")
    if not _text(entry.get("name"), _NAME):
        faults.append('name: must be letters, digits, dots, dashes, underscores; write name = "chat-server"')
    if not _text(entry.get("sha256"), _DIGEST):
        faults.append("sha256: must be 64 hexadecimal digits in lower case; run presence-gateway token create")
    scopes = entry.get("scopes")
    if not _texts(scopes) or not scopes or not set(scopes) <= set(SCOPES):
        faults.append(f'scopes: must be a list of {", ".join(SCOPES)}; write scopes = ["watch"]')
    if str(entry.get("level", "colleague")) not in _LEVELS:
        faults.append(
            'level: must be "colleague" or "limited" (a personal token sees its person fully anyway); correct it'
        )
    if not _texts(entry.get("groups", [])):
        faults.append('groups: must be a list of group names; write groups = ["sales"], or [] for everybody')
    person = entry.get("person")
    if person is not None and (not isinstance(person, str) or not person):
        faults.append('person: must be an id of people.toml; write person = "ann@example.com"')
    if entry.get("expires") is not None and not isinstance(entry["expires"], date):
        faults.append("expires: must be a date without quotes; write expires = 2027-01-01")
    return faults


def _text(value: object, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _reader(entry: Mapping[str, Any]) -> Reader:
    person = entry.get("person")
    return Reader(
        name=f"{entry['name']}#{entry['sha256'][:8]}",
        scopes=frozenset(entry["scopes"]),
        level=_LEVELS[entry.get("level", "colleague")],
        groups=frozenset(entry.get("groups", [])),
        person=person.lower() if person is not None else None,
        expires=_instant(entry.get("expires")),
    )


def _instant(value: date | None) -> datetime | None:
    """A date means its first instant; what has no zone is UTC."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
