"""Whose calendars one source reads, and the roster its backend may follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from gateway.sources.pacing import Entry


class Roster:
    """The assigned people by person and by mailbox; also the `gateway.sources.Roster` of the backend."""

    def __init__(self) -> None:
        self._people: dict[str, Entry] = {}
        self._by_mailbox: dict[str, list[Entry]] = {}
        self._mailboxes: frozenset[str] = frozenset()
        self._next = asyncio.Event()

    @property
    def mailboxes(self) -> frozenset[str]:
        """The addresses of this moment."""
        return self._mailboxes

    async def changed(self) -> None:
        """Returns after the next change of `mailboxes`, or the next `poke`."""
        await self._next.wait()

    def poke(self) -> None:
        """Wake whoever waits for a change, though there is none: everything is to be tried again."""
        told, self._next = self._next, asyncio.Event()
        told.set()

    def become(
        self, mailboxes: Mapping[str, str], new_entry: Callable[[str, str], Entry]
    ) -> tuple[list[Entry], list[Entry]]:
        """From now on these (person → mailbox); the entries added and the entries removed."""
        removed = [entry for entry in self if mailboxes.get(entry.person) != entry.mailbox]
        for entry in removed:
            del self._people[entry.person]
            self._by_mailbox[entry.mailbox.lower()].remove(entry)
        added = [new_entry(person, mailboxes[person]) for person in mailboxes if person not in self._people]
        for entry in added:
            self._people[entry.person] = entry
            self._by_mailbox.setdefault(entry.mailbox.lower(), []).append(entry)
        if added or removed:
            self._by_mailbox = {mailbox: entries for mailbox, entries in self._by_mailbox.items() if entries}
            self._mailboxes = frozenset(mailboxes.values())
            self.poke()
        return added, removed

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._people.values())

    def __contains__(self, entry: Entry) -> bool:
        """Whether this very entry is still assigned: not opted out, and not moved to another mailbox."""
        return self._people.get(entry.person) is entry

    def still(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that are still assigned."""
        people = self._people
        return [entry for entry in entries if people.get(entry.person) is entry]

    def person(self, person: str) -> Entry | None:
        """That person's entry, if assigned."""
        return self._people.get(person)

    def mailbox(self, address: str) -> Sequence[Entry]:
        """Everybody whose mailbox that is; addresses compare without case."""
        return self._by_mailbox.get(address.lower(), ())
