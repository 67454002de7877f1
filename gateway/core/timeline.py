"""A schedule resolved into one line of time: which calendar state holds when.

Overlaps reduce by Exchange's merge order, touching or overlapping stretches of the same state become one, and free time
is what lies between. All intervals are half-open, so at exactly 10:30 a meeting until 10:30 is over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from operator import attrgetter

from gateway.core.model import AllDayBusy, Block, Busy, Calendar, OutOfOffice, Tentative

RANK = (Calendar.WORKING_ELSEWHERE, Calendar.TENTATIVE, Calendar.IN_MEETING, Calendar.OUT_OF_OFFICE)
"""Weakest first: the merge order of Exchange free/busy."""

_RANK_OF = {state: rank for rank, state in enumerate(RANK)}
_START = attrgetter("start")


@dataclass(frozen=True, slots=True)
class Reading:
    """How blocks are read: the person's and the deployment's options."""

    tentative: Tentative = Tentative.IGNORE
    out_of_office: OutOfOffice = OutOfOffice.SHOW
    all_day_busy: AllDayBusy = AllDayBusy.MEETING

    def state(self, block: Block) -> Calendar | None:
        """What the block says, or None if it does not count."""
        if block.busy is Busy.BUSY:
            ignored = block.all_day and self.all_day_busy is AllDayBusy.IGNORE
            return None if ignored else Calendar.IN_MEETING
        if block.busy is Busy.OUT_OF_OFFICE:
            return None if self.out_of_office is OutOfOffice.IGNORE else Calendar.OUT_OF_OFFICE
        if block.busy is Busy.TENTATIVE:
            return Calendar.IN_MEETING if self.tentative is Tentative.BUSY else Calendar.TENTATIVE
        return Calendar.WORKING_ELSEWHERE


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of one state."""

    start: datetime
    end: datetime
    state: Calendar


class Timeline:
    """Segments in time order, disjoint, no two touching ones of the same state."""

    __slots__ = ("segments",)

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self.segments = segments

    def at(self, instant: datetime) -> Segment | None:
        """The segment that holds at that instant; None means free."""
        index = bisect_right(self.segments, instant, key=_START) - 1
        if index >= 0 and instant < self.segments[index].end:
            return self.segments[index]
        return None

    def edge_after(self, instant: datetime) -> datetime | None:
        """The first edge later than that instant."""
        return next(self.edges_after(instant), None)

    def edges_after(self, instant: datetime) -> Iterator[datetime]:
        """Every edge later than that instant, in order."""
        last = instant
        for segment in self.segments[max(0, bisect_right(self.segments, instant, key=_START) - 1) :]:
            for edge in (segment.start, segment.end):
                if edge > last:
                    last = edge
                    yield edge


def resolve(blocks: Iterable[Block], reading: Reading) -> Timeline:
    """The timeline of these blocks; zero-length blocks never count."""
    counted = [
        (block.start, block.end, _RANK_OF[state])
        for block in blocks
        if (state := reading.state(block)) is not None and block.start < block.end
    ]
    counted.sort()
    pieces = counted if _disjoint(counted) else _sweep(counted)
    return Timeline(tuple(Segment(start, end, RANK[rank]) for start, end, rank in _coalesce(pieces)))


_Piece = tuple[datetime, datetime, int]


def _disjoint(pieces: list[_Piece]) -> bool:
    return all(former[1] <= latter[0] for former, latter in pairwise(pieces))


def _sweep(pieces: list[_Piece]) -> list[_Piece]:
    """Overlapping pieces cut at every edge, the strongest rank of each stretch kept."""
    edges = sorted([(start, rank, 1) for start, _, rank in pieces] + [(end, rank, -1) for _, end, rank in pieces])
    running = [0] * len(RANK)
    cut: list[_Piece] = []
    for (at, rank, step), (until, _, _) in pairwise(edges):
        running[rank] += step
        if at < until:
            strongest = max((rank for rank, count in enumerate(running) if count), default=-1)
            if strongest >= 0:
                cut.append((at, until, strongest))
    return cut


def _coalesce(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Touching pieces of the same rank joined into one."""
    joined: list[_Piece] = []
    for start, end, rank in pieces:
        if joined and joined[-1][2] == rank and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end, rank)
        else:
            joined.append((start, end, rank))
    return joined
