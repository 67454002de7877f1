"""Who shares a stream with whom."""

from __future__ import annotations

from random import Random

from gateway.sources.ews.seating import Seating


def people(count: int, first: int = 0) -> list[str]:
    """So many addresses in order."""
    return [f"p{number:05d}@example.com" for number in range(first, first + count)]


def one(mailbox: str) -> str:
    """Everybody is on the same server."""
    return "here"


def test_fifteen_thousand_mailboxes_are_seventy_five_full_tables_in_the_order_of_addresses() -> None:
    """So the anchor, the first of a table, is known before anything was asked."""
    seating = Seating(one)
    assert len(seating.seat(reversed(people(15_000)))) == 75
    assert [sorted(table.mailboxes) for table in seating.tables] == [people(200, n) for n in range(0, 15_000, 200)]


def test_servers_never_share_a_table() -> None:
    """Neither at first nor when people come or are moved to another server."""
    home = {mailbox: f"ex{number % 3}" for number, mailbox in enumerate(people(500))}
    seating = Seating(home.__getitem__)
    seating.seat(people(450))
    seating.seat(people(500))
    for mailbox in people(20):
        home[mailbox] = "ex2"
    changed = seating.seat(people(500))
    assert {home[mailbox] for table in changed for mailbox in table.mailboxes} == {"ex0", "ex1", "ex2"}
    for table in seating.tables:
        assert {home[mailbox] for mailbox in table.mailboxes} == {table.server}
    assert sum(len(table.mailboxes) for table in seating.tables) == 500


def test_who_comes_or_goes_touches_one_table() -> None:
    """The one with free seats, else a new one; the others stay as they are."""
    seating = Seating(one)
    seating.seat(people(1000))
    assert seating.seat(people(1000)) == set()
    (gone,) = seating.seat(people(500) + people(499, 501))
    assert len(gone.mailboxes) == 199
    (joined,) = seating.seat([*people(500), *people(499, 501), "new@example.com"])
    assert joined is gone
    (opened,) = seating.seat([*people(500), *people(499, 501), "new@example.com", "newer@example.com"])
    assert opened.mailboxes == {"newer@example.com"}
    (deserted,) = seating.seat([*people(500), *people(499, 501), "new@example.com"])
    assert deserted is opened
    assert deserted.mailboxes == set()
    assert deserted not in seating.tables


def test_addresses_that_differ_in_case_are_one_mailbox() -> None:
    """It is subscribed once."""
    seating = Seating(one)
    seating.seat(["Ann@example.com", "ann@EXAMPLE.com"])
    assert [table.mailboxes for table in seating.tables] == [{"ann@example.com"}]


def test_whatever_the_changes_everybody_has_one_seat() -> None:
    """A thousand random changes: never more than a table's seats, nobody twice, nobody forgotten."""
    random, seating = Random(3), Seating(one, most=20)
    everybody = people(300)
    for _ in range(1000):
        wanted = set(random.sample(everybody, random.randrange(300)))
        before = {id(table): set(table.mailboxes) for table in seating.tables}
        changed = {id(table) for table in seating.seat(wanted)}
        seats = [mailbox for table in seating.tables for mailbox in table.mailboxes]
        assert sorted(seats) == sorted(wanted)
        assert all(len(table.mailboxes) <= 20 for table in seating.tables)
        assert all(id(t) in changed or before.get(id(t)) == t.mailboxes for t in seating.tables)
