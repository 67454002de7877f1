"""Which mailboxes share a notification stream: at most 200 of one server, disturbed as little as possible. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

MOST: Final = 200
"""Subscriptions in one GetStreamingEvents."""


@dataclass(slots=True, eq=False)
class Table:
    """The mailboxes of one stream, all of one server; addresses in lower case."""

    server: str
    mailboxes: set[str] = field(default_factory=set)


class Seating:
    """Remembers who sits where. A change of the mailboxes touches only the tables of those who come and go."""

    def __init__(self, server_of: Callable[[str], str], most: int = MOST) -> None:
        """`server_of` names the server a mailbox is on; those of different servers never share a stream."""
        self.tables: list[Table] = []
        self._server_of = server_of
        self._most = most

    def seat(self, mailboxes: Iterable[str]) -> set[Table]:
        """From now on these mailboxes; the tables that changed, new and deserted ones among them.

        Whoever is new takes a free seat, where most are free, before a new table is laid in the order of addresses.
        """
        wanted: defaultdict[str, set[str]] = defaultdict(set)
        for mailbox in mailboxes:
            wanted[self._server_of(mailbox)].add(mailbox.lower())
        changed: set[Table] = set()
        for table in self.tables:
            gone = table.mailboxes - wanted[table.server]
            wanted[table.server] -= table.mailboxes
            if gone:
                table.mailboxes -= gone
                changed.add(table)
        for server, newcomers in wanted.items():
            changed.update(self._place(server, sorted(newcomers)))
        self.tables = [table for table in self.tables if table.mailboxes]
        return changed

    def _place(self, server: str, newcomers: Collection[str]) -> Iterable[Table]:
        waiting = iter(newcomers)
        left = len(newcomers)
        roomy = sorted(
            (table for table in self.tables if table.server == server), key=lambda table: len(table.mailboxes)
        )
        while left:
            table = roomy.pop(0) if roomy else None
            if table is None:
                table = Table(server)
                self.tables.append(table)
            room = min(left, self._most - len(table.mailboxes))
            if room <= 0:
                continue
            table.mailboxes.update(next(waiting) for _ in range(room))
            left -= room
            yield table
