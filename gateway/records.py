"""How facts, choices, dismissals and confirmations are written in the store, and read back.

    fact/<person>/<source>/<key>     one fact
    choice/<person>                  preferences
    dismissal/<person>               the meeting left early
    confirmed/<source>/<bucket>      last confirmed truth of the bucket's people
    guard/<account>                  failed logons (gateway.guard)

Parts are percent-encoded. Values are JSON objects checked by pydantic on reading; instants are milliseconds since 1970.
A record that cannot be read is left alone and counts as absent.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.core.composer import Chosen, Dismissed, Item
from gateway.core.model import (
    AllDayBusy,
    Availability,
    Block,
    Busy,
    Confirmation,
    Dismissal,
    Fact,
    Kind,
    OutOfOffice,
    Override,
    Phone,
    Preferences,
    Schedule,
    Stamp,
    Tentative,
    Withdrawal,
)
from gateway.stores import Change, Put

BUCKETS: Final = 256
"""Confirmations are written for that many groups of people per source, each at most once a minute."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_BlockRow = tuple[int, int, Busy, bool]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScheduleRecord(_Record):
    """A schedule: the window and its blocks."""

    start: int
    end: int
    blocks: tuple[_BlockRow, ...]


class StampRecord(_Record):
    """The publisher's own numbering."""

    publisher: str | None = None
    seq: int | None = None
    digest: str


class FactRecord(_Record):
    """A fact without person, source and key, which are in the record's name, and without its order."""

    kind: Kind
    phone: Phone | None = None
    availability: Availability | None = None
    schedule: ScheduleRecord | None = None
    since: int
    observed: int
    until: int | None = None
    expires: int | None = None
    manual: bool = False
    sticky: bool = False
    stamp: StampRecord | None = None


class DismissalRecord(_Record):
    """A dismissal."""

    until: int
    blocks: tuple[_BlockRow, ...]


class ConfirmedRecord(_Record):
    """When the source confirmed each of these people."""

    at: dict[str, int]


class ChoiceRecord(_Record):
    """Preferences; what is absent was not chosen."""

    calendar_opt_in: bool | None = None
    override: Override | None = None
    show_until: bool | None = None
    invisible: bool | None = None
    tentative: Tentative | None = None
    out_of_office: OutOfOffice | None = None
    all_day_busy: AllDayBusy | None = None


def to_ms(instant: datetime) -> int:
    """Milliseconds since 1970."""
    return (instant - _EPOCH) // _MILLISECOND


def from_ms(value: int) -> datetime:
    """The instant, aware UTC."""
    return _EPOCH + timedelta(milliseconds=value)


def fact_key(person: str, source: str, key: str) -> str:
    """The record of a fact."""
    return f"fact/{_part(person)}/{_part(source)}/{_part(key)}"


def choice_key(person: str) -> str:
    """The record of a person's preferences."""
    return f"choice/{_part(person)}"


def dismissal_key(person: str) -> str:
    """The record of a person's dismissal."""
    return f"dismissal/{_part(person)}"


def confirmed_key(source: str, bucket: int) -> str:
    """The record of a bucket's confirmations."""
    return f"confirmed/{_part(source)}/{bucket}"


def bucket_of(person: str) -> int:
    """The bucket a person's confirmations are written in, the same on every replica."""
    return zlib.crc32(person.encode()) % BUCKETS


def fact_put(fact: Fact, expect: int | None = None) -> Put:
    """The write of a fact (its `seq` is given by the store)."""
    value = fact.value
    record = FactRecord(
        kind=fact.kind,
        phone=value if isinstance(value, Phone) else None,
        availability=value if isinstance(value, Availability) else None,
        schedule=_schedule_record(value) if isinstance(value, Schedule) else None,
        since=to_ms(fact.since),
        observed=to_ms(fact.observed_at),
        until=None if fact.until is None else to_ms(fact.until),
        expires=None if fact.expires_at is None else to_ms(fact.expires_at),
        manual=fact.manual,
        sticky=fact.sticky,
        stamp=None
        if fact.stamp is None
        else StampRecord(publisher=fact.stamp.publisher, seq=fact.stamp.seq, digest=fact.stamp.digest),
    )
    key = fact_key(fact.person, fact.source, fact.key)
    return Put(key, _dump(record), expires_at=fact.expires_at, expect=expect)


def choice_put(person: str, preferences: Preferences, expect: int | None = None) -> Put:
    """The write of a person's preferences."""
    chosen = {name: getattr(preferences, name) for name in ChoiceRecord.model_fields}
    record = ChoiceRecord(**{name: value for name, value in chosen.items() if value is not None})
    return Put(choice_key(person), _dump(record), expect=expect)


def dismissal_put(person: str, dismissal: Dismissal) -> Put:
    """The write of a dismissal; it expires with the last block it covers."""
    blocks = sorted(dismissal.blocks, key=lambda block: (block.start, block.end, block.busy))
    record = DismissalRecord(until=to_ms(dismissal.until), blocks=tuple(map(_block_row, blocks)))
    return Put(dismissal_key(person), _dump(record), expires_at=dismissal.until)


def confirmed_put(source: str, bucket: int, at: Mapping[str, datetime]) -> Put:
    """The write of a bucket's confirmations."""
    record = ConfirmedRecord(at={person: to_ms(instant) for person, instant in sorted(at.items())})
    return Put(confirmed_key(source, bucket), _dump(record))


def item_of(change: Change) -> Item | None:
    """What a change means for the composer; None if it means nothing to it or cannot be read."""
    area, *parts = change.key.split("/")
    names = [unquote(part) for part in parts]
    try:
        match area, names:
            case "fact", [person, source, key]:
                return _fact_item(person, source, key, change)
            case "choice", [person]:
                return Chosen(person, _preferences(change.value))
            case "dismissal", [person]:
                return Dismissed(person, _dismissal(change.value))
            case "confirmed", [source, _]:
                return None if change.value is None else _confirmation(source, change.value)
    except ValidationError:
        return None
    return None


def _fact_item(person: str, source: str, key: str, change: Change) -> Fact | Withdrawal | None:
    if change.value is None:
        return Withdrawal(person, source, key, change.revision)
    record = FactRecord.model_validate_json(change.value)
    value = _schedule(record.schedule) if record.schedule else record.phone or record.availability
    if value is None:
        return None
    stamp = record.stamp
    return Fact(
        person,
        record.kind,
        source,
        key,
        change.revision,
        value,
        from_ms(record.since),
        from_ms(record.observed),
        None if record.until is None else from_ms(record.until),
        None if record.expires is None else from_ms(record.expires),
        record.manual,
        record.sticky,
        None if stamp is None else Stamp(stamp.publisher, stamp.seq, stamp.digest),
    )


def _preferences(value: bytes | None) -> Preferences:
    if value is None:
        return Preferences()
    record = ChoiceRecord.model_validate_json(value)
    return Preferences(**{name: getattr(record, name) for name in ChoiceRecord.model_fields})


def _dismissal(value: bytes | None) -> Dismissal | None:
    if value is None:
        return None
    record = DismissalRecord.model_validate_json(value)
    return Dismissal(from_ms(record.until), frozenset(map(_block, record.blocks)))


def _confirmation(source: str, value: bytes) -> Confirmation:
    record = ConfirmedRecord.model_validate_json(value)
    return Confirmation(source, {person: from_ms(at) for person, at in record.at.items()})


def _schedule_record(schedule: Schedule) -> ScheduleRecord:
    return ScheduleRecord(
        start=to_ms(schedule.window_start),
        end=to_ms(schedule.window_end),
        blocks=tuple(map(_block_row, schedule.blocks)),
    )


def _schedule(record: ScheduleRecord) -> Schedule:
    return Schedule(from_ms(record.start), from_ms(record.end), tuple(map(_block, record.blocks)))


def _block_row(block: Block) -> _BlockRow:
    return to_ms(block.start), to_ms(block.end), block.busy, block.all_day


def _block(row: _BlockRow) -> Block:
    start, end, busy, all_day = row
    return Block(from_ms(start), from_ms(end), busy, all_day)


def _part(text: str) -> str:
    return quote(text, safe="@:+-._")


def _dump(record: BaseModel) -> bytes:
    return record.model_dump_json(exclude_defaults=True).encode()
