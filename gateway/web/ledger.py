"""Who is how, as frames: the newest presence per person, its bytes per level in use, and the numbers of the changes.

A change that does not alter the bytes at a level did not happen at that level: no frame, no number, no new entity tag.
There is no history: a person has one frame per level, and of people who left only their going is remembered, bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from gateway.core.document import encode
from gateway.core.model import Level, Person, Presence
from gateway.web import frames
from gateway.web.ports import Directory
from gateway.web.views import View

if TYPE_CHECKING:
    from gateway.web.audience import Audience

MOVES: Final = 2_000
"""How many comings and goings are remembered for those who resume; who missed more starts again from everything."""


@dataclass(frozen=True, slots=True)
class Doc:
    """One document as bytes. `n` is the number of the change that made it."""

    n: int
    body: bytes
    etag: str


class Shown:
    """One person at one level that somebody reads: the frame of the newest state, and who is to be told.

    `frame` is empty while nothing is known. `n` numbers its last change; `placed` is the number under which those are
    told who did not see the person before: that of the last change or move, whichever is later.
    """

    __slots__ = ("_body", "_doc", "audiences", "frame", "n", "person", "placed")

    def __init__(self, person: str) -> None:
        self.person = person
        self.n = self.placed = 0
        self.frame = b""
        self.audiences: list[Audience] = []
        self._body = 0
        self._doc: Doc | None = None

    @property
    def body(self) -> bytes:
        """The document; empty while nothing is known."""
        return self.frame[self._body : -2]

    def set(self, n: int, revision: int, body: bytes) -> None:
        """Another state."""
        self.n = self.placed = n
        self.frame = frames.frame(n, revision, "presence", body)
        self._body = len(self.frame) - len(body) - 2
        self._doc = None

    def doc(self) -> Doc | None:
        """The document with its tag, made when first asked for; None while nothing is known."""
        if self._doc is None and self.frame:
            body = self.body
            self._doc = Doc(self.n, body, frames.etag(body))
        return self._doc

    def first(self, revision: int) -> Shown:
        """The state for those who did not see the person before."""
        if self.placed == self.n:
            return self
        same = Shown(self.person)
        same.set(self.placed, revision, self.body)
        return same

    @classmethod
    def gone(cls, n: int, revision: int, person: str) -> Shown:
        """The news that somebody left."""
        left = cls(person)
        left.n, left.frame = n, frames.gone(n, revision, person)
        return left


class Entry:
    """What is known of one person. `n` and `revision` are those of the last change, `moved` numbers the last move."""

    __slots__ = ("moved", "n", "person", "polled", "prepared", "presence", "revision", "shown")

    def __init__(self, person: str) -> None:
        self.person = person
        self.moved = self.n = 0
        self.revision = 0
        self.presence: Presence | None = None
        self.shown: dict[Level, Shown] = {}
        self.polled = float("-inf")
        self.prepared: tuple[Presence, dict[Level, bytes]] | None = None

    def at(self, level: Level) -> Shown:
        """The person at that level, which is kept encoded from now on.

        Its number is that of the last change at any level: nobody who reads this level was told anything before.
        """
        shown = self.shown.get(level)
        if shown is None:
            shown = self.shown[level] = Shown(self.person)
            if self.presence is not None:
                shown.set(self.n, self.revision, encode(self.presence, level))
                shown.placed = max(self.n, self.moved)
        return shown

    def move(self, n: int) -> None:
        """The person came or changed groups."""
        self.moved = n
        for shown in self.shown.values():
            shown.placed = n


@dataclass(frozen=True, slots=True)
class Move:
    """Somebody came, went, or changed groups: change number, and the person before and after."""

    n: int
    person: str
    old: Person | None
    new: Person | None


class _Nobody:
    """The directory before there is one."""

    def get(self, person: str) -> Person | None:
        return None

    def everybody(self) -> Sequence[Person]:
        return ()

    def group(self, name: str) -> Sequence[Person]:
        return ()


class Ledger:
    """The newest state of everybody. `n` numbers the changes of this process, `revision` is the store's newest."""

    def __init__(self) -> None:
        self.n = 0
        self.revision = 0
        self.directory: Directory = _Nobody()
        self._entries: dict[str, Entry] = {}
        self._moves: deque[Move] = deque()
        self._forgotten = 0

    def entry(self, person: str) -> Entry:
        """The entry of a person, made if there is none; `person` is kept, so pass the directory's own string."""
        entry = self._entries.get(person)
        if entry is None:
            entry = self._entries[person] = Entry(person)
        return entry

    def listed(self, person: str) -> Entry | None:
        """The entry of a person in the directory; None for everybody else."""
        known = self.directory.get(person)
        return None if known is None else self.entry(known.id)

    def find(self, person: str) -> Entry | None:
        """The entry of a person if there is one, in the directory or not."""
        return self._entries.get(person)

    def prepare(self, presence: Presence) -> None:
        """Encode ahead a presence that will probably be taken, as this very object, at a known instant."""
        entry = self.entry(presence.person)
        entry.prepared = (presence, {level: encode(presence, level) for level in entry.shown})

    def change(self, presence: Presence, revision: int) -> list[Shown]:
        """Take a newer presence; returns the levels at which something can be seen of it, with new frames."""
        entry = self.entry(presence.person)
        entry.presence = presence
        n = self.n + 1
        changed = []
        prepared, entry.prepared = entry.prepared, None
        bodies = prepared[1] if prepared is not None and prepared[0] is presence else {}
        for level, shown in entry.shown.items():
            body = bodies.get(level) or encode(presence, level)
            if body != shown.body:
                shown.set(n, revision, body)
                changed.append(shown)
        if changed or not entry.shown:
            self.n = entry.n = n
            entry.revision = revision
        return changed

    def move(self, directory: Directory) -> dict[str, Move]:
        """Another directory; returns who came, went or changed groups, in ascending change order."""
        old, self.directory = self.directory, directory
        moves: dict[str, Move] = {}
        for name in self._people(old):
            before, after = old.get(name), directory.get(name)
            if after is None:
                self._entries.pop(name, None)
            if before is None and after is None:
                continue
            if before is None or after is None or before.groups != after.groups:
                self.n += 1
                moves[name] = Move(self.n, name, before, after)
                if after is not None:
                    self.entry(after.id).move(self.n)
        if isinstance(old, _Nobody):
            self._forgotten = self.n  # nobody can have seen less
        else:
            self._moves.extend(moves.values())
        while len(self._moves) > MOVES:
            self._forgotten = self._moves.popleft().n
        return moves

    def numbered(self, view: View, people: Iterable[Shown], since: int) -> list[Shown]:
        """What changed in a view of these people after change `since`, in ascending order.

        -1: everybody. Who came and went is included only for a `since` that `remembers` knows.
        """
        found = [shown.first(self.revision) for shown in people if shown.placed > since and shown.frame]
        if since >= 0:
            left = self.departed(view, since)
            found += (Shown.gone(n, self.revision, person) for person, n in left.items())
        found.sort(key=attrgetter("n"))
        return found

    def departed(self, view: View, since: int) -> dict[str, int]:
        """Who was in the view at change `since` and is not now, with the number of the last move.

        Who is in the directory, but of whom nothing is known, is not in the view.
        """
        before: dict[str, Person | None] = {}
        last: dict[str, int] = {}
        for move in reversed(self._moves):
            if move.n <= since:
                break
            before[move.person] = move.old
            last.setdefault(move.person, move.n)
        return {
            person: last[person]
            for person, old in before.items()
            if old is not None and view.admits(old) and not self._visible(view, person)
        }

    def _visible(self, view: View, person: str) -> bool:
        """Whether the view has a document of that person."""
        known, entry = self.directory.get(person), self._entries.get(person)
        return known is not None and view.admits(known) and entry is not None and entry.presence is not None

    def remembers(self, since: int) -> bool:
        """Whether everything after change `since` can still be told."""
        return self._forgotten <= since <= self.n

    def _people(self, old: Directory) -> Iterator[str]:
        """Everybody a change of directory may concern, once."""
        for person in self.directory.everybody():
            yield person.id
        for person in old.everybody():
            if self.directory.get(person.id) is None:
                yield person.id
        for name in list(self._entries):
            if self.directory.get(name) is None and old.get(name) is None:
                yield name
