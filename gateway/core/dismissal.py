"""Leaving a meeting early: which blocks a dismissal covers."""

from datetime import datetime

from gateway.core.evidence import Evidence, TimelineMemo, calendar, opted_in, reading
from gateway.core.model import Dismissal, Policy
from gateway.core.vocabulary import ASSERTING_BLOCKS


def dismissal(evidence: Evidence, policy: Policy, now: datetime, until: datetime) -> Dismissal | None:
    """The dismissal of what runs now and ends at `until`, or None if nothing does.

    `until` may be the end the document shows (then the whole coalesced run is left) or the end of one running block
    of it. A block is told by its start, end and state, so a block that changes is another one and counts again.
    """
    found = calendar(evidence)
    if found is None or not found.believed(now) or not opted_in(evidence.person, evidence.preferences, policy):
        return None
    blocks, read = found.schedule.blocks, reading(evidence.preferences, policy)
    run = TimelineMemo().timeline(found.schedule, None, None, read).at(now)
    if run is None or run.state not in ASSERTING_BLOCKS:
        return None
    same = [block for block in blocks if read.state(block) is run.state and block.end > now]
    running = [block for block in same if block.start <= now]
    if until != run.end and all(block.end != until for block in running):
        return None
    left = same if until == run.end else running
    return Dismissal(until, frozenset(block for block in left if block.end <= until))
