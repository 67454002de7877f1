"""What one reader asked to see, and the ids that say how much of it was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Final

from gateway.core.model import Level, Person
from gateway.web.ports import Directory, Reader

_ID: Final = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9a-f]{12})\.([0-9]{1,18})\.([0-9]{1,18})")


@dataclass(frozen=True)
class View:
    """A filter in a reader's hands: those named and the members of the groups, as far as the reader sees them.

    `people` None and no groups: everybody the reader sees; an empty tuple and no groups: nobody. `people` are
    lower-case ids, known or not: who appears in the directory later appears in the view.
    """

    reader: Reader
    people: tuple[str, ...] | None = None
    groups: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """Twelve hex digits that differ if filter, level or visibility differ; the same on every replica."""
        reader = self.reader
        parts = (
            None if self.people is None else sorted(set(self.people)),
            sorted(set(self.groups)),
            reader.level.value,
            reader.person,
            sorted(reader.groups),
        )
        return blake2b(json.dumps(parts).encode("ascii"), digest_size=6).hexdigest()

    @property
    def everybody(self) -> bool:
        """Whether nothing narrows it but what the reader may see."""
        return self.people is None and not self.groups

    def admits(self, person: Person) -> bool:
        """Whether that person is in it."""
        if not self.reader.sees(person):
            return False
        if self.everybody:
            return True
        return person.id in (self.people or ()) or any(group in self.groups for group in person.groups)

    def level(self, person: str) -> Level:
        """The level at which the reader sees that person."""
        return self.reader.level_for(person)

    def members(self, directory: Directory) -> tuple[str, ...]:
        """The ids of the people in it now, sorted, as the directory's own strings."""
        if self.everybody:
            return tuple(person.id for person in directory.everybody() if self.reader.sees(person))
        return tuple(sorted({person.id for person in self._asked(directory) if self.reader.sees(person)}))

    def _asked(self, directory: Directory) -> Iterator[Person]:
        for name in self.people or ():
            if (person := directory.get(name)) is not None:
                yield person
        for group in self.groups:
            yield from directory.group(group)


@dataclass(frozen=True, slots=True)
class StreamId:
    """`<process>.<view>.<n>.<revision>`: whose numbers, of which view, how far, and how new the store was."""

    process: str
    view: str
    n: int
    revision: int

    @classmethod
    def parse(cls, text: str) -> StreamId | None:
        """The id in a client's words; None if it is not one of ours."""
        if (match := _ID.fullmatch(text)) is None:
            return None
        return cls(match[1], match[2], int(match[3]), int(match[4]))

    def __str__(self) -> str:
        return f"{self.process}.{self.view}.{self.n}.{self.revision}"
