"""Rules: which requests they take, and which rules are refused."""

from __future__ import annotations

import pytest

from gateway.simulator.faults import ACTIONS, BadRule, Faults
from gateway.simulator.misbehaviour import PERFORMERS
from gateway.simulator.stream_misbehaviour import STREAM_PERFORMERS

TABLES = {"request": PERFORMERS, "envelope": STREAM_PERFORMERS}
ANN = ("ann@example.com",)


def picked(faults: Faults, times: int, operation: str = "FindItem", mailboxes: tuple[str, ...] = ANN) -> str:
    """One letter per request: x where a rule acts."""
    hits = [faults.pick(operation, mailboxes, logged_on=True) for _ in range(times)]
    return "".join("x" if rule else "." for rule in hits)


def test_every_action_can_be_performed() -> None:
    """Each name has one performer, in the table of what it happens to."""
    actions = {to: {name for name, action in ACTIONS.items() if action.to == to} for to in TABLES}
    assert actions == {to: set(table) for to, table in TABLES.items()}
    assert [name for name, action in ACTIONS.items() if action.to not in TABLES] == ["stream_lost"]


def test_a_rule_acts_the_next_n_times() -> None:
    """`count` ends a rule."""
    faults = Faults()
    faults.add("reset", count=2)
    assert picked(faults, 4) == "xx.."


def test_a_rule_may_let_some_pass_and_then_hit_every_third() -> None:
    """`skip` and `every` combine."""
    faults = Faults()
    faults.add("reset", skip=1, every=3)
    assert picked(faults, 8) == ".x..x..x"


def test_a_rule_is_for_its_operation_and_mailbox_only() -> None:
    """Both are compared without case, and a request that names more mailboxes still matches."""
    faults = Faults()
    faults.add("reset", operation="finditem", mailbox="Ann@Example.com")
    assert picked(faults, 1) == "x"
    assert picked(faults, 1, "GetItem") == "."
    assert picked(faults, 1, mailboxes=("ben@example.com",)) == "."
    assert picked(faults, 1, mailboxes=("ben@example.com", "ann@example.com")) == "x"


def test_rules_wait_for_the_logon_unless_told_otherwise() -> None:
    """A rule acts either before or after the credentials are looked at, never twice on one request."""
    faults = Faults()
    faults.add("reset")
    assert faults.pick("", (), logged_on=False) is None
    faults.clear()
    faults.add("reset", before_logon=True)
    assert faults.pick("", (), logged_on=False)
    assert faults.pick("", (), logged_on=True) is None


def test_the_first_matching_rule_wins_and_others_keep_their_count() -> None:
    """A rule that was not reached has not been used up."""
    faults = Faults()
    faults.add("reset", count=1)
    second = faults.add("close", count=1)
    assert picked(faults, 1) == "x"
    assert second.hits == 0
    assert picked(faults, 2) == "x."


def test_clearing_one_rule_leaves_the_others() -> None:
    """`clear` takes a number, or nothing for all, and lets waiters go."""
    faults = Faults()
    first, second = faults.add("hang"), faults.add("close")
    faults.clear(first.number)
    assert first.cleared.is_set()
    assert faults.rules == (second,)
    faults.clear()
    assert not faults.rules


@pytest.mark.parametrize(
    ("action", "fields", "said"),
    [
        ("explode", {}, "unknown action 'explode'"),
        ("status", {}, "needs status"),
        ("status", {"status": 200}, "may be 400"),
        ("status", {"status": "503"}, "must be int"),
        ("status", {"status": True}, "must be int"),
        ("redirect", {}, "needs location"),
        ("reset", {"seconds": 3}, "has no 'seconds'"),
        ("reset", {"count": True}, "must be int or null"),
        ("reset", {"every": 0}, "'every' starts at 1"),
        ("reset", {"delay": -1}, "'delay' at 0"),
        ("truncated", {"framing": "none"}, "may be length, chunked"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_a_sentence(
    action: str, fields: dict[str, str | int | bool], said: str
) -> None:
    """The message names the field and what it may be."""
    with pytest.raises(BadRule, match=said):
        Faults().add(action, **fields)


def test_rules_are_shown_with_what_they_did() -> None:
    """The control endpoint's view has number, parameters and hits."""
    faults = Faults()
    faults.add("status", status=503, retry_after=7, operation="FindItem")
    picked(faults, 1)
    shown = faults.as_json()[0]
    assert shown.items() >= {"number": 1, "action": "status", "status": 503, "hits": 1, "matched": 1}.items()
