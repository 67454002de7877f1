"""Records of the store: what is written is what is read, and nothing unreadable stops anybody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.composer import Chosen, Dismissed
from gateway.core.model import (
    Availability,
    Block,
    Busy,
    Confirmation,
    Dismissal,
    Fact,
    Kind,
    Override,
    Phone,
    Preferences,
    Schedule,
    Stamp,
    Withdrawal,
)
from gateway.records import choice_put, confirmed_put, dismissal_put, fact_key, fact_put, from_ms, item_of, to_ms
from gateway.stores import Change, Put

NOW = datetime(2026, 11, 20, 9, 0, 0, 123000, tzinfo=UTC)
BLOCK = Block(NOW, NOW + timedelta(minutes=30), Busy.OUT_OF_OFFICE, all_day=True)
FACTS = [
    Fact(
        "ann@example.com", Kind.PHONE, "push", "phone/1", 3, Phone.HELD, NOW, NOW, None, NOW, stamp=Stamp("p", 4, "d")
    ),
    Fact("a/b c%d", Kind.AVAILABILITY, "push", "status", 3, Availability.AWAY, NOW, NOW, NOW, NOW, manual=True),
    Fact("ann@example.com", Kind.PHONE, "pbx", "call", 3, Phone.ENDED, NOW, NOW, None, NOW, sticky=True),
    Fact(
        "ann@example.com",
        Kind.CALENDAR,
        "hq",
        "schedule",
        3,
        Schedule(NOW, NOW + timedelta(days=2), (BLOCK,)),
        NOW,
        NOW,
    ),
]


def read(put: Put, revision: int = 3) -> object:
    """What a reader makes of the write."""
    return item_of(Change(put.key, put.value, revision))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: str(fact.value)[:20])
def test_a_fact_comes_back_as_it_was(fact: Fact) -> None:
    """Its order is the record's revision, everything else is kept."""
    assert read(fact_put(fact)) == fact
    assert read(fact_put(replace(fact, seq=99))) == fact


def test_deleting_a_fact_withdraws_it() -> None:
    """The deletion has a place in the order too."""
    key = fact_key("a/b c%d", "hq", "schedule")
    assert item_of(Change(key, None, 8)) == Withdrawal("a/b c%d", "hq", "schedule", 8)


def test_choices_dismissals_and_confirmations_come_back() -> None:
    """All other records too."""
    chosen = Preferences(calendar_opt_in=False, override=Override.DND_OVER_ALL, invisible=True)
    assert read(choice_put("ann@example.com", chosen)) == Chosen("ann@example.com", chosen)
    left = Dismissal(NOW, frozenset({BLOCK}))
    assert read(dismissal_put("ann@example.com", left)) == Dismissed("ann@example.com", left)
    assert read(confirmed_put("hq", 7, {"ann@example.com": NOW})) == Confirmation("hq", {"ann@example.com": NOW})


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"nonsense", b'{"kind":"phone","phone":"flying","since":1,"observed":1}']
)
@pytest.mark.parametrize("key", [fact_key("ann@example.com", "hq", "x"), "what/is/this"])
def test_what_cannot_be_read_counts_as_absent(key: str, value: bytes) -> None:
    """A record of a newer version or a broken one stops nobody."""
    assert item_of(Change(key, value, 1)) is None


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))
def test_instants_keep_their_milliseconds(instant: datetime) -> None:
    """To milliseconds and back is the instant, cut."""
    aware = instant.replace(microsecond=instant.microsecond // 1000 * 1000, tzinfo=UTC)
    assert from_ms(to_ms(aware)) == aware
