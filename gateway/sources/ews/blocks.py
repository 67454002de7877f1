"""From what a calendar said to a Schedule: texts to blocks, blocks to a tidy, honest list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from gateway.clock import milliseconds
from gateway.core.model import Block, Busy, Schedule
from gateway.sources import Window
from gateway.sources.ews.build import INTERVAL_MINUTES
from gateway.sources.ews.zones import MailboxZone, is_all_day

BUSY_TYPES: Final = {
    "Tentative": Busy.TENTATIVE,
    "Busy": Busy.BUSY,
    "OOF": Busy.OUT_OF_OFFICE,
    "WorkingElsewhere": Busy.WORKING_ELSEWHERE,
}
"""BusyType → ours. Free and NoData assert nothing and make no block."""

_NO_BLOCK: Final = frozenset({"Free", "NoData"})
_DIGITS: Final = {"1": Busy.TENTATIVE, "2": Busy.BUSY, "3": Busy.OUT_OF_OFFICE}
_INTERVAL = timedelta(minutes=INTERVAL_MINUTES)
_SHORTEST_DAY = timedelta(hours=22)  # a local day may lose up to two hours to a change of season


@lru_cache(maxsize=65536)
def block(start: str, end: str, busy: str) -> Block | None:
    """The block three texts stand for; None if it is free, unknown or empty. Raises ValueError if they make no sense.

    Meetings share their edges, so few combinations are new: remembering them saves most of the work of a sweep, and
    equal blocks are one object.
    """
    return block_of(instant(start), instant(end), busy.strip())


def block_of(start: datetime, end: datetime, busy: str) -> Block | None:
    """The block of two aware UTC times and a BusyType; None and ValueError as for `block`."""
    start, end = milliseconds(start), milliseconds(end)
    if start > end:
        raise ValueError("a block ends before it begins")
    if busy in _NO_BLOCK or start == end:
        return None
    if busy not in BUSY_TYPES:
        raise ValueError("a BusyType is unknown")
    return Block(start, end, BUSY_TYPES[busy])


def instant(text: str) -> datetime:
    """A time of an answer as aware UTC: naive means the zone we asked in, which is UTC."""
    text = text.strip()
    if text[10:11] != "T":
        raise ValueError("a time is not in the form date, T, time")
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time is out of range") from None
    return at


def tidy(blocks: Iterable[Block], window: Window) -> tuple[Block, ...]:
    """The distinct blocks that overlap the window, whole, in the order of a schedule."""
    kept = {found for found in blocks if found.end > window.start and found.start < window.end}
    return tuple(sorted(kept, key=lambda found: (found.start, found.end, found.busy)))


def from_digits(digits: str, window: Window) -> list[Block]:
    """The blocks of a MergedFreeBusy, one digit per interval from the start of the window; 4 and more are no data.

    Raises ValueError for anything but digits.
    """
    digits = digits.strip()
    if not digits.isascii() or not digits.isdigit():
        raise ValueError("MergedFreeBusy holds something else than digits")
    blocks: list[Block] = []
    first = 0
    for at in range(1, len(digits) + 1):
        if at < len(digits) and digits[at] == digits[first]:
            continue
        if digits[first] in _DIGITS:
            start, end = window.start + first * _INTERVAL, window.start + at * _INTERVAL
            blocks.append(Block(start, end, _DIGITS[digits[first]]))
        first = at
    return blocks


def schedule(
    blocks: tuple[Block, ...], window: Window, zone: Callable[[], MailboxZone | None], site: ZoneInfo
) -> Schedule:
    """The schedule of tidy blocks, with whole days marked in the mailbox's zone, else in the site's.

    `zone` is asked only if some block is long enough to be a day.
    """
    for found in blocks:
        if found.end - found.start >= _SHORTEST_DAY:
            judge = zone() or site
            blocks = tuple(_judged(each, judge) for each in blocks)
            break
    return Schedule(window.start, window.end, blocks)


def _judged(found: Block, zone: MailboxZone | ZoneInfo) -> Block:
    if found.end - found.start < _SHORTEST_DAY:
        return found
    try:
        return replace(found, all_day=is_all_day(found.start, found.end, zone))
    except (OverflowError, ValueError):  # the edge of the calendar, years 1 and 9999
        return found
