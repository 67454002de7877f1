"""How many streams and waits may be open at once, in all and for one reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.web.ports import Limits, Reader
from gateway.web.problems import Problem

_RETRY = {"Retry-After": "10"}


class Seats:
    """Counts the requests that stay. Readers are told apart by name, so all sessions of one token count together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_reader: dict[str, int] = {}
        self.taken = 0

    @contextmanager
    def taken_by(self, reader: Reader) -> Iterator[None]:
        """Hold one seat; raises the problem 503 if all are taken, 429 if the reader has its share."""
        if self.taken >= self._limits.connections:
            raise Problem("connections.exhausted", headers=_RETRY)
        held = self._by_reader.get(reader.name, 0)
        if held >= self._limits.connections_per_token:
            raise Problem("connections.per_token", headers=_RETRY)
        self.taken += 1
        self._by_reader[reader.name] = held + 1
        try:
            yield
        finally:
            self.taken -= 1
            self._by_reader[reader.name] -= 1
            if not self._by_reader[reader.name]:
                del self._by_reader[reader.name]
