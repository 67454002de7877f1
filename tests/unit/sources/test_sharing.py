"""Who may share a call with whom."""

from random import Random

from gateway.sources.pacing import UNLIMITED, Entry, Line, Plan
from gateway.sources.sharing import Sharing
from tests.calendars import unavailable


def office(count: int) -> list[Entry]:
    """So many entries that have never failed."""
    plan = Plan(Random(2))
    return [plan.entry(f"p{number}", f"p{number}") for number in range(count)]


def test_a_spoilt_batch_is_halved_until_the_culprit_is_alone() -> None:
    """In seven rounds one of 100 is found, blamed only while the server answers others, and the rest are free."""
    sharing, entries, now = Sharing(), office(100), 1000.0
    culprit, batch = entries[37], entries
    while len(batch) > 1:
        assert not sharing.failed(batch, unavailable("server.error"), now)
        half = batch[0].share
        rest = [entry for entry in batch if entry is not culprit]
        batch = [culprit, *rest[: half - 1]]
        sharing.answered(rest[half - 1 :] or entries[:1], 1.0, 100, now)
    assert culprit.share == 1
    assert sharing.failed([culprit], unavailable("server.error"), now + 200)
    assert not sharing.failed([culprit], unavailable("server.error"), now + 400)


def test_an_outage_divides_nobody() -> None:
    """Failures that cannot be one mailbox's fault leave the batches whole."""
    sharing, entries = Sharing(), office(10)
    for code in ("net.refused", "dns.not_found", "auth.rejected", "server.throttled", "tls.expired"):
        assert not sharing.failed(entries, unavailable(code), 0.0)
    assert {entry.share for entry in entries} == {UNLIMITED}


def test_a_slow_call_is_slow_by_comparison() -> None:
    """Half a minute among calls of a second divides the batch; when every call takes that long nobody is divided."""
    sharing = Sharing()
    for _ in range(10):
        sharing.answered(office(100), 1.0, 100, 0.0)
    slow = office(100)
    sharing.answered(slow, 30.0, 100, 0.0)
    assert {entry.share for entry in slow} == {50}
    divided = 0
    for _ in range(20):
        batch = office(100)
        sharing.answered(batch, 30.0, 100, 0.0)
        divided += batch[0].share != UNLIMITED
    assert divided <= 4


def test_good_answers_bring_a_mailbox_back_among_the_healthy() -> None:
    """Its share doubles with every answer until it is whole again; repeated failure keeps it apart."""
    sharing, (entry,) = Sharing(), office(1)
    entry.failures = 2
    sharing.place(entry)
    assert (entry.share, entry.line) == (20, Line.QUARANTINE)
    entry.failures = 0
    lines = []
    for _ in range(3):
        sharing.answered([entry], 1.0, 100, 0.0)
        sharing.place(entry)
        lines.append(entry.line)
    assert lines == [Line.QUARANTINE, Line.QUARANTINE, Line.HEALTHY]
