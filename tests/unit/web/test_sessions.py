"""The page's sessions: bounded, ending, and not recoverable from memory."""

from dataclasses import replace
from datetime import timedelta

from gateway.core.model import Level
from gateway.web.ports import Reader
from gateway.web.sessions import LIFETIME, Sessions, digest
from tests.clock import FakeClock

READER = Reader("page", frozenset({"watch"}), Level.COLLEAGUE)


async def test_a_session_is_found_by_the_digest_alone() -> None:
    """The id is random, opens the session through its digest, and is kept nowhere."""
    sessions = Sessions(FakeClock())
    identifier, session = sessions.open(READER)
    other, _ = sessions.open(READER)
    assert identifier != other
    assert len(identifier) >= 43
    assert sessions.find(digest(identifier)) is session
    assert sessions.find(identifier.encode()) is None
    assert identifier not in repr(vars(sessions))


async def test_a_session_ends_by_itself() -> None:
    """After its lifetime it is gone, also from memory; an earlier expiry of the token ends it earlier."""
    clock = FakeClock()
    sessions = Sessions(clock)
    long, _ = sessions.open(READER)
    short, session = sessions.open(replace(READER, expires=clock.now() + timedelta(minutes=1)))
    assert session.expires_at == clock.now() + timedelta(minutes=1)
    await clock.advance(60)
    assert sessions.find(digest(short)) is None
    assert sessions.find(digest(long)) is not None
    await clock.advance(LIFETIME.total_seconds() - 60)
    assert sessions.find(digest(long)) is None
    assert len(sessions) == 0


async def test_there_are_never_more_than_the_bound() -> None:
    """Ended sessions give way first, then the oldest."""
    clock = FakeClock()
    sessions = Sessions(clock, most=2)
    ended, _ = sessions.open(replace(READER, expires=clock.now() + timedelta(seconds=1)))
    oldest, _ = sessions.open(READER)
    await clock.advance(1)
    newer, _ = sessions.open(READER)
    assert [sessions.find(digest(key)) is not None for key in (ended, oldest, newer)] == [False, True, True]
    sessions.open(READER)
    assert [sessions.find(digest(key)) is not None for key in (oldest, newer)] == [False, True]
    assert len(sessions) == 2
