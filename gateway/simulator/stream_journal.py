"""What was streamed: one record per stream, and when each mailbox' news went out.

Times ending in `_s` are seconds of the simulator's monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

CAPACITY = 10_000
EMISSIONS = 100_000


@dataclass(slots=True, eq=False)
class StreamRecord:
    """One stream. `ended_s` is None while it is open; `ending` then says how it ended: closed (in good order),
    refused, client (went away or was shut out), cut, or a fault's action.
    """

    connection: int
    caller: str
    impersonated: str | None
    anchor: str
    ids: tuple[str, ...]
    mailboxes: tuple[str, ...]
    opened_s: float
    ended_s: float | None = None
    ending: str = ""
    envelopes: int = 0
    heartbeats: int = 0
    events: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Emission:
    """News of one mailbox, just before its bytes went to the socket."""

    mailbox: str
    events: int
    at_s: float


@dataclass(slots=True)
class StreamJournal:
    """The newest streams and emissions."""

    _records: deque[StreamRecord] = field(default_factory=lambda: deque(maxlen=CAPACITY))
    _emissions: deque[Emission] = field(default_factory=lambda: deque(maxlen=EMISSIONS))
    _listeners: list[Callable[[Emission], None]] = field(default_factory=list)
    _stream_listeners: list[Callable[[StreamRecord], None]] = field(default_factory=list)
    opened: int = 0
    """How many there were."""

    def __iter__(self) -> Iterator[StreamRecord]:
        return iter(tuple(self._records))

    def __len__(self) -> int:
        return len(self._records)

    @property
    def open(self) -> tuple[StreamRecord, ...]:
        """Those that have not ended."""
        return tuple(record for record in self._records if record.ended_s is None)

    @property
    def emissions(self) -> tuple[Emission, ...]:
        """News that went out, oldest first."""
        return tuple(self._emissions)

    def emitted(self, mailbox: str) -> list[float]:
        """When news of one mailbox went out."""
        return [each.at_s for each in self._emissions if each.mailbox == mailbox.lower()]

    def on_emission(self, listener: Callable[[Emission], None]) -> Callable[[], None]:
        """Call `listener` with all news that goes out; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def on_stream(self, listener: Callable[[StreamRecord], None]) -> Callable[[], None]:
        """Call `listener` with every stream as it opens and as it ends; returns how to stop that."""
        self._stream_listeners.append(listener)
        return lambda: self._stream_listeners.remove(listener)

    def peak(self, *, seconds: float = 1.0) -> int:
        """Most streams opened within so many seconds: a reconnect storm shows here."""
        return most_within(sorted(record.opened_s for record in self._records), seconds)

    def begin(self, record: StreamRecord) -> None:
        """Keep a stream that opens."""
        self._records.append(record)
        self.opened += 1
        self._tell(record)

    def end(self, record: StreamRecord, at_s: float, ending: str) -> None:
        """A stream has ended; what is known already of its ending stands."""
        record.ended_s = at_s
        record.ending = record.ending or ending
        self._tell(record)

    def emit(self, emission: Emission) -> None:
        """Keep news that goes out."""
        self._emissions.append(emission)
        for listener in tuple(self._listeners):
            listener(emission)

    def clear(self) -> None:
        """Forget everything but the streams that are open."""
        still = self.open
        self._records.clear()
        self._records.extend(still)
        self._emissions.clear()
        self.opened = len(still)

    def summary(self) -> dict[str, int]:
        """Counters as JSON."""
        return {
            "opened": self.opened,
            "open": len(self.open),
            "envelopes": sum(record.envelopes for record in self._records),
            "heartbeats": sum(record.heartbeats for record in self._records),
            "events": sum(record.events for record in self._records),
        }

    def _tell(self, record: StreamRecord) -> None:
        for listener in tuple(self._stream_listeners):
            listener(record)


def most_within(times: Sequence[float], seconds: float) -> int:
    """The largest number of `times` (ascending) in any half-open window of that length."""
    most, first = 0, 0
    for position, moment in enumerate(times):
        while times[first] <= moment - seconds:
            first += 1
        most = max(most, position - first + 1)
    return most
