"""The simulated office: mailboxes, their calendars, who may see what, and mailboxes that fail on purpose.

`World` knows no protocol. Faces (EWS, WebDAV) translate it; clients and scripts change it through them or
directly. Times are aware; everything is kept in UTC. Not thread-safe: one event loop or one thread owns a
world. Mailboxes that fail by their name: `mishaps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from gateway.simulator.appearances import exception, expanded, occurrence_id, regular, settle, whole_days
from gateway.simulator.mishaps import FAULT_NAMES, GARBLED, SILENT, fault_named
from gateway.simulator.model import (
    CALENDAR,
    DELETED_ITEMS,
    Appointment,
    BadRecurrence,
    Busy,
    Change,
    ChangeKind,
    CrossesNeighbour,
    DeletedOccurrence,
    Deviation,
    Mailbox,
    NoSuchItem,
    NoSuchMailbox,
    Occurrence,
    OccurrenceKind,
    Right,
    WorkingHours,
)
from gateway.simulator.recurrence import Recurrence
from gateway.simulator.zones import windows_id, zone_info

__all__ = [
    "CALENDAR",
    "DELETED_ITEMS",
    "FAULT_NAMES",
    "GARBLED",
    "SILENT",
    "Appointment",
    "BadRecurrence",
    "Busy",
    "Change",
    "ChangeKind",
    "CrossesNeighbour",
    "DeletedOccurrence",
    "Mailbox",
    "NoSuchItem",
    "NoSuchMailbox",
    "Occurrence",
    "OccurrenceKind",
    "Recurrence",
    "Right",
    "WorkingHours",
    "World",
]

_OFFICE_HOURS = WorkingHours()
_DOMAIN_SID = "S-1-5-21-1004336348-1177238915-682003330"
_TIMING = {"start", "end", "zone", "recurrence", "all_day"}
_FIELDS = _TIMING | {"busy", "subject", "location", "sensitivity", "cancelled", "extra"}


class World:
    """Mailboxes and everything that is in them."""

    def __init__(self, now: Callable[[], datetime], *, zone: str = "Europe/Berlin") -> None:
        """`now` gives the current aware time, used for creation and change stamps only."""
        windows_id(zone)
        self.now = now
        self.zone = zone
        self._mailboxes: dict[str, Mailbox] = {}
        self._by_account: dict[str, list[str]] = {}
        self._items: dict[str, Appointment] = {}
        self._impersonators: set[str] = set()
        self._out_of_scope: set[str] = set()
        self._faults: dict[str, str | None] = {}
        self._callbacks: list[Callable[[Change], None]] = []
        self._serial = 0

    @property
    def mailboxes(self) -> Mapping[str, Mailbox]:
        """All mailboxes by lower-case address."""
        return MappingProxyType(self._mailboxes)

    @property
    def people(self) -> Mapping[str, Mailbox]:
        """The same by its other name: every person has one mailbox."""
        return self.mailboxes

    def add_person(
        self,
        address: str,
        *,
        name: str = "",
        zone: str | None = None,
        calendar_name: str = "Calendar",
        default_right: Right = Right.AVAILABILITY_ONLY,
        working_hours: WorkingHours | None = _OFFICE_HOURS,
    ) -> Mailbox:
        """Create a mailbox. `default_right` is what everybody who logs on may see of its calendar.

        Raises ValueError for an address already there, UnknownZone for a zone without a Windows id.
        """
        key = address.lower()
        if key in self._mailboxes:
            raise ValueError(f"mailbox {key!r} exists already")
        zone = zone_info(zone or self.zone).key
        windows_id(zone)
        account = key.partition("@")[0]
        name = name or account.replace(".", " ").title()
        sid = f"{_DOMAIN_SID}-{1100 + len(self._mailboxes)}"
        mailbox = Mailbox(key, name, zone, calendar_name, default_right, working_hours, sid)
        self._mailboxes[key] = mailbox
        self._by_account.setdefault(account, []).append(key)
        self._by_account[sid.lower()] = [key]
        return mailbox

    def mailbox(self, address: str) -> Mailbox:
        """The mailbox of an address, in any case of letters.

        Raises NoSuchMailbox.
        """
        try:
            return self._mailboxes[address.lower()]
        except KeyError:
            raise NoSuchMailbox(address) from None

    # --- who may see what

    def identify(self, caller: str) -> str:
        """The address behind a logon name (`ann@example.com`, `CORP\\ann`, `ann`); the name itself if it has
        none.
        """
        caller = caller.lower()
        if caller in self._mailboxes:
            return caller
        owners = self._by_account.get(caller.rpartition("\\")[2], [])
        return owners[0] if len(owners) == 1 else caller

    def grant(self, address: str, caller: str, right: Right) -> None:
        """Give one caller a right on one calendar, in place of the default right."""
        self.mailbox(address).rights[self.identify(caller)] = right

    def right(self, address: str, caller: str) -> Right:
        """What a caller may see of a calendar; owners see everything."""
        mailbox, caller = self.mailbox(address), self.identify(caller)
        if caller == mailbox.address:
            return Right.OWNER
        return mailbox.rights.get(caller, mailbox.default_right)

    def allow_impersonation(self, caller: str) -> None:
        """Let a caller act as anybody (the ApplicationImpersonation role)."""
        self._impersonators.add(self.identify(caller))

    def exempt(self, address: str, *, exempt: bool = True) -> None:
        """Put a mailbox outside the management scope of the role, so that nobody may act as its owner, or back."""
        (self._out_of_scope.add if exempt else self._out_of_scope.discard)(self.mailbox(address).address)

    def may_impersonate(self, caller: str, address: str) -> bool:
        """Whether a caller may act as the owner of a mailbox."""
        caller, address = self.identify(caller), address.lower()
        return caller == address or (caller in self._impersonators and address not in self._out_of_scope)

    # --- mailboxes that fail

    def fault(self, address: str) -> str | None:
        """What goes wrong with a mailbox: an EWS error code, GARBLED, SILENT, or None."""
        key = address.lower()
        if key in self._faults:
            return self._faults[key]
        return fault_named(key)

    def set_fault(self, address: str, code: str | None) -> None:
        """Force a fault on a mailbox, or None to force health, whatever its name says."""
        self._faults[address.lower()] = code

    # --- changes

    def on_change(self, callback: Callable[[Change], None]) -> None:
        """Call back after every change of any calendar, in the thread of the change."""
        self._callbacks.append(callback)

    def book(
        self,
        address: str,
        start: datetime,
        end: datetime,
        *,
        busy: Busy = Busy.BUSY,
        subject: str = "",
        location: str = "",
        all_day: bool = False,
        sensitivity: str = "Normal",
        recurrence: Recurrence | None = None,
        cancelled: bool = False,
        zone: str | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Appointment:
        """Put an appointment into a calendar. A series repeats at the wall time it has in `zone` (the
        mailbox' own).

        All-day appointments are widened to whole days of that zone. Raises NoSuchMailbox; ValueError for an
        end before the start or for naive times; UnknownZone.
        """
        mailbox = self.mailbox(address)
        item = Appointment(
            item_id=self._next("i"),
            change_key="",
            address=mailbox.address,
            start=start,
            end=end,
            zone=zone_info(zone).key if zone else mailbox.zone,
            uid="",
            busy=busy,
            subject=subject,
            location=location,
            all_day=all_day,
            sensitivity=sensitivity,
            recurrence=recurrence,
            cancelled=cancelled,
            created=self.now(),
            extra=dict(extra or {}),
        )
        item.uid = f"uid-{item.item_id}"
        settle(item)
        mailbox.items[item.item_id] = self._items[item.item_id] = item
        self._saved(item, ChangeKind.CREATED)
        return item

    def move(self, item_id: str, start: datetime, end: datetime) -> Occurrence:
        """Give an appointment, a whole series or one occurrence another time; see `change`."""
        return self.change(item_id, start=start, end=end)

    def change(self, item_id: str, **fields: Any) -> Occurrence:
        """Change fields of an item by id: start, end, busy, subject, location, all_day, sensitivity,
        recurrence, cancelled, zone, extra (merged; None values remove).

        An occurrence id makes or changes an exception of its series. Changing the time or pattern of a series
        brings moved and deleted occurrences back to their places, as Exchange does. Raises NoSuchItem,
        CrossesNeighbour, and what `book` raises.
        """
        if unknown := fields.keys() - _FIELDS:
            raise TypeError(f"no such fields of an appointment: {sorted(unknown)}")
        found = self.find(item_id)
        if found.original_start is not None:
            self._deviate(found, fields)
            return self.find(item_id)
        item = self._items[item_id]
        before = {name: getattr(item, name) for name in _TIMING}
        if "extra" in fields:
            fields["extra"] = _merged(item.extra, fields["extra"])
        if "start" in fields and "recurrence" not in fields and item.recurrence is not None:
            fields["recurrence"] = replace(item.recurrence, start=None)  # the series begins where it is moved to
        changed = replace(item, **fields)
        settle(changed)
        for name in (*_FIELDS, "series"):
            setattr(item, name, getattr(changed, name))
        if any(getattr(item, name) != before[name] for name in _TIMING):
            item.deviations.clear()
            item.deleted.clear()
        self._saved(item, ChangeKind.MODIFIED)
        return self.find(item_id)

    def delete(self, item_id: str, *, to: str | None = None) -> None:
        """Delete an appointment, a series, or one occurrence out of its series.

        `to` names a folder that receives a whole item instead (a new id there, a *moved* change). Raises
        NoSuchItem.
        """
        found = self.find(item_id)
        if found.original_start is not None:
            master = self._items[found.master_id or ""]
            master.deviations.pop(found.original_start, None)
            master.deleted.add(found.original_start)
            self._saved(master, ChangeKind.MODIFIED)
        elif to is not None:
            self.file(item_id, to)
        else:
            item = self._items.pop(item_id)
            del self._mailboxes[item.address].items[item_id]
            self._tell(item, ChangeKind.DELETED)

    def file(self, item_id: str, folder: str) -> Appointment:
        """Move an item to another folder of its mailbox, where it has another id. Only `CALENDAR` counts as
        busy.

        Raises NoSuchItem; for occurrences too, they cannot leave their series.
        """
        item = self._items.get(item_id)
        if item is None:
            raise NoSuchItem(item_id)
        mailbox = self._mailboxes[item.address]
        del mailbox.items[item_id], self._items[item_id]
        before = item.folder
        item.item_id, item.folder = self._next("i"), folder
        mailbox.items[item.item_id] = self._items[item.item_id] = item
        self._saved(item, ChangeKind.MOVED, old_id=item_id, old_folder=before)
        return item

    # --- looking things up

    def find(self, item_id: str) -> Occurrence:
        """An item by id: a single appointment, a master (kind MASTER, its first times) or one occurrence.

        Raises NoSuchItem, DeletedOccurrence.
        """
        item = self._items.get(item_id)
        if item is not None:
            kind = OccurrenceKind.MASTER if item.series else OccurrenceKind.SINGLE
            return Occurrence(item_id, item.change_key, item.start, item.end, kind, item)
        master_id, dot, stamp = item_id.partition(".")
        master = self._items.get(master_id)
        if not dot or master is None or master.series is None or not stamp.isdigit():
            raise NoSuchItem(item_id)
        original = datetime.fromtimestamp(int(stamp), UTC)
        index = master.series.index_of(original)
        if index is None:
            raise NoSuchItem(item_id)
        return self.occurrence(master_id, index)

    def occurrence(self, master_id: str, index: int) -> Occurrence:
        """The index-th occurrence of a series, counted from 1, deleted ones included.

        Raises NoSuchItem (also beyond the end of the series), DeletedOccurrence.
        """
        master = self._items.get(master_id)
        times = master.series.nth(index) if master is not None and master.series is not None else None
        if master is None or times is None:
            raise NoSuchItem(f"{master_id} has no occurrence {index}")
        original = times[0]
        if original in master.deleted:
            raise DeletedOccurrence(occurrence_id(master, original))
        if original in master.deviations:
            return exception(master, original)
        return regular(master, index, *times)

    def occurrences(self, address: str, start: datetime, end: datetime, *, touching: bool = False) -> list[Occurrence]:
        """What a calendar shows in a window, series expanded, sorted by start; cancelled and free items
        included.

        Items overlap the half-open window; with `touching` those that only meet its edges come too. Nothing
        is clipped. Raises NoSuchMailbox.
        """
        slack = timedelta(0) if not touching else timedelta(microseconds=1)
        opens, closes = start.astimezone(UTC) - slack, end.astimezone(UTC) + slack
        found = []
        for item in self.mailbox(address).items.values():
            if item.folder != CALENDAR:
                continue
            if item.series is not None:
                found += [one for one in expanded(item, opens, closes) if one.start < closes and one.end > opens]
            elif item.start < closes and item.end > opens:
                kind = OccurrenceKind.SINGLE
                found.append(Occurrence(item.item_id, item.change_key, item.start, item.end, kind, item))
        found.sort(key=lambda one: (one.start, one.end, one.item_id))
        return found

    # --- inside

    def _next(self, prefix: str) -> str:
        self._serial += 1
        return f"{prefix}{self._serial:07x}"

    def _deviate(self, found: Occurrence, fields: dict[str, Any]) -> None:
        master = self._items[found.master_id or ""]
        original, index = found.original_start, found.index
        assert original is not None
        assert index is not None
        known = master.deviations.get(original)
        own = dict(known.fields) if known else {}
        own.update({name: value for name, value in fields.items() if name != "extra"})
        if "extra" in fields:
            own["extra"] = _merged(found.item.extra, fields["extra"])
        times = {"start": own.get("start", found.start), "end": own.get("end", found.end)}
        if own.get("all_day", found.item.all_day):
            zone = own.get("zone", master.zone)
            times["start"], times["end"] = whole_days(times["start"], times["end"], zone)
        own |= {name: moment.astimezone(UTC) for name, moment in times.items()}
        if own["end"] < own["start"]:
            raise ValueError("an appointment cannot end before it starts")
        self._check_neighbours(master, index, own["start"], own["end"])
        master.deviations[original] = Deviation(index, own)
        self._saved(master, ChangeKind.MODIFIED)

    def _check_neighbours(self, master: Appointment, index: int, start: datetime, end: datetime) -> None:
        """An occurrence stays between its neighbours (EWS: ErrorOccurrenceCrossingBoundary)."""
        for neighbour in (index - 1, index + 1):
            try:
                other = self.occurrence(master.item_id, neighbour)
            except NoSuchItem:
                continue
            crossed = start < other.end if neighbour < index else end > other.start
            if crossed:
                raise CrossesNeighbour(f"occurrence {index} would cross occurrence {neighbour}")

    def _saved(self, item: Appointment, kind: ChangeKind, *, old_id: str = "", old_folder: str = "") -> None:
        item.change_key = self._next("k")
        item.modified = self.now()
        self._tell(item, kind, old_id, old_folder)

    def _tell(self, item: Appointment, kind: ChangeKind, old_id: str = "", old_folder: str = "") -> None:
        change = Change(item.address, item.item_id, kind, item.change_key, item.folder, old_id, old_folder)
        for callback in self._callbacks:
            callback(change)


def _merged(kept: Mapping[str, str], news: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in {**kept, **news}.items() if value is not None}
