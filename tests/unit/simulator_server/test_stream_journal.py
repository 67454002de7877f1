"""What the journal knows of streams."""

from __future__ import annotations

import pytest

from gateway.simulator import Emission, StreamJournal, StreamRecord
from gateway.simulator.stream_journal import most_within


def record(opened_s: float, ended_s: float | None = None) -> StreamRecord:
    """A stream."""
    return StreamRecord(1, "svc", None, "", ("id",), ("ann@example.com",), opened_s, ended_s)


@pytest.mark.parametrize(
    ("times", "most"), [([], 0), ([0.0], 1), ([0.0, 1.0], 1), ([0.0, 0.99], 2), ([0.0, 0.5, 1.2, 1.3, 1.4], 4)]
)
def test_the_busiest_second_is_half_open(times: list[float], most: int) -> None:
    """Two moments exactly one window apart are not in the same one."""
    assert most_within(times, 1.0) == most


def test_open_streams_survive_a_clearing() -> None:
    """What has ended is forgotten, what is open is still known."""
    journal = StreamJournal()
    for each in (record(0.0, 1.0), record(0.5)):
        journal.begin(each)
    assert (journal.peak(), len(journal.open), journal.opened) == (2, 1, 2)
    journal.clear()
    assert [each.opened_s for each in journal] == [0.5]
    assert (len(journal), journal.opened) == (1, 1)


def test_emissions_are_told_and_kept() -> None:
    """By mailbox, and to whoever listens, until it stops."""
    journal = StreamJournal()
    heard: list[Emission] = []
    stop = journal.on_emission(heard.append)
    journal.emit(Emission("ann@example.com", 2, 1.5))
    stop()
    journal.emit(Emission("ben@example.com", 1, 2.5))
    assert [each.mailbox for each in heard] == ["ann@example.com"]
    assert journal.emitted("Ben@example.com") == [2.5]
    assert len(journal.emissions) == 2
