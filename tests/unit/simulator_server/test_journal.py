"""What the journal can say about the requests it saw."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.simulator.journal import Entry, Journal

SERVICE = "CORP\\svc-presence"


def entry(operation: str = "GetUserAvailability", **fields: Any) -> Entry:
    """A request of the service account, otherwise ordinary."""
    usual = {
        "at": datetime(2026, 11, 20, 9, 0, tzinfo=UTC),
        "connection": 1,
        "method": "POST",
        "path": "/EWS/Exchange.asmx",
        "status": 200,
        "caller": SERVICE,
    }
    return Entry(**{**usual, "operation": operation, **fields})


def test_operations_outside_the_list_of_reads_are_writes() -> None:
    """CreateItem counts, even refused, and by its caller; reading and subscribing do not."""
    journal = Journal()
    for operation in ("GetUserAvailability", "FindItem", "Subscribe", "GetStreamingEvents", "Unsubscribe"):
        journal.record(entry(operation))
    created = entry("CreateItem", status=500)
    journal.record(created)
    journal.record(entry("SomethingNew", caller="ann@example.com"))
    assert journal.writes(by=SERVICE) == [created]
    assert len(journal.writes()) == 2


@pytest.mark.parametrize(
    ("operation", "fields", "content"),
    [
        ("FindItem", {"properties": frozenset({"calendar:Start", "shape:IdOnly"})}, False),
        ("FindItem", {"properties": frozenset({"calendar:Start", "item:Subject"})}, True),
        ("FindItem", {"properties": frozenset({"calendar:Location"})}, True),
        ("GetItem", {"properties": frozenset({"shape:Default"})}, True),
        ("GetItem", {"properties": frozenset({"item:Body"})}, True),
        ("GetItem", {"properties": frozenset({"calendar:RequiredAttendees"})}, True),
        ("GetFolder", {"properties": frozenset({"shape:Default"})}, False),
        ("GetUserAvailability", {"view": "FreeBusy"}, False),
        ("GetUserAvailability", {"view": "DetailedMerged"}, True),
    ],
)
def test_asking_for_what_a_meeting_is_about_is_noticed(operation: str, fields: dict[str, Any], content: bool) -> None:
    """Subject, place, body, people, whole shapes of items and detailed views are content."""
    journal = Journal()
    journal.record(entry(operation, **fields))
    assert bool(journal.content_asked(by=SERVICE)) is content


def test_the_journal_forgets_the_oldest_and_keeps_counting() -> None:
    """Memory is bounded; counters cover everything."""
    journal = Journal(capacity=3)
    for number in range(5):
        journal.record(entry(mailboxes=("a@example.com",) * number))
    assert [len(each.mailboxes) for each in journal] == [2, 3, 4]
    assert (journal.requests, journal.max_batch) == (5, 4)
    assert journal.count("GetUserAvailability") == 3


def test_failed_logons_are_counted_per_account_in_any_spelling() -> None:
    """As a directory does, without regard to case."""
    journal = Journal()
    journal.failed_logon("Ann@Example.com")
    journal.failed_logon("ann@example.com")
    journal.failed_logon("ben@example.com")
    assert journal.logon_failures("ANN@example.com") == 2
    assert journal.logon_failures() == 3
    journal.clear()
    assert journal.logon_failures() == 0


def test_listeners_hear_every_entry_until_they_stop() -> None:
    """So that tests can wait for a request instead of sleeping."""
    journal = Journal()
    heard: list[Entry] = []
    stop = journal.on_record(heard.append)
    journal.record(entry())
    stop()
    journal.record(entry())
    assert len(heard) == 1
