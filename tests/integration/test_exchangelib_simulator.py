"""The simulator's honesty: exchangelib, a client nobody here wrote, books and reads through the EWS face."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from exchangelib import (
    DELEGATE,
    Account,
    Build,
    CalendarItem,
    Mailbox,
)
from exchangelib import (
    UTC as EWS_UTC,
)
from exchangelib.errors import (
    ErrorAccessDenied,
    ErrorImpersonateUserDenied,
    ErrorItemNotFound,
    ErrorMailboxMoveInProgress,
    ErrorMailRecipientNotFound,
    ErrorNoFreeBusyAccess,
    ErrorOccurrenceCrossingBoundary,
)
from exchangelib.folders import Calendar
from exchangelib.items import HARD_DELETE
from exchangelib.properties import DistinguishedFolderId
from exchangelib.recurrence import (
    AbsoluteMonthlyPattern,
    AbsoluteYearlyPattern,
    DailyPattern,
    Pattern,
    Recurrence,
    RelativeMonthlyPattern,
    WeeklyPattern,
)
from exchangelib.services import FindItem, GetUserAvailability

from gateway.simulator import Right
from tests.integration.exchangelib_office import ANN, BOB, EWS_BERLIN, HIDDEN, Office, ask, at, open_office


@pytest.fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """Three people in Berlin; the calendar of one of them shows nothing to anybody."""
    async with open_office(tmp_path, monkeypatch) as office:
        yield office


def spans(items: Any) -> list[tuple[str, str]]:
    """Start and end of calendar items or events, in UTC."""
    return [(f"{i.start.astimezone(EWS_UTC):%m-%d %H:%M}", f"{i.end.astimezone(EWS_UTC):%H:%M}") for i in items]


def events(account: Account, start: datetime, end: datetime, *addresses: str) -> list[Any]:
    """What get_free_busy_info says, one view per address."""
    asked = [(address, "Required", False) for address in addresses]
    return list(account.protocol.get_free_busy_info(accounts=asked, start=start, end=end, requested_view="FreeBusy"))


def view(account: Account, start: datetime, end: datetime) -> list[CalendarItem]:
    """What the calendar view shows."""
    return list(account.calendar.view(start=start, end=end))


async def test_a_meeting_that_is_booked_moved_and_deleted_is_seen_so_in_both_views(office: Office) -> None:
    """What a client saves, moves and deletes is what the calendar view and free/busy show at once."""
    ann = await ask(lambda: office.owner(ANN))
    start, end = at("2026-03-02", "00:00"), at("2026-03-03", "00:00")

    def shown() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        (free_busy,) = events(ann, start, end, ANN)
        return spans(view(ann, start, end)), spans(free_busy.calendar_events or ())

    def book() -> CalendarItem:
        item = CalendarItem(
            account=ann,
            folder=ann.calendar,
            start=at("2026-03-02", "09:00"),
            end=at("2026-03-02", "10:00"),
            subject="Budget <&> plans",
            body="Bring figures",
            location="Room 1",
            required_attendees=[BOB],
            categories=["Blue"],
        )
        return item.save()

    item = await ask(book)
    assert await ask(shown) == ([("03-02 08:00", "09:00")],) * 2

    def move() -> None:
        item.start, item.end = at("2026-03-02", "14:00"), at("2026-03-02", "14:45")
        item.save(update_fields=["start", "end"])

    key = item.changekey
    await ask(move)
    assert await ask(shown) == ([("03-02 13:00", "13:45")],) * 2
    assert item.changekey != key

    fresh = await ask(lambda: ann.calendar.get(id=item.id))
    assert (fresh.subject, fresh.body, fresh.location) == ("Budget <&> plans", "Bring figures", "Room 1")
    assert [each.mailbox.email_address for each in fresh.required_attendees] == [BOB]
    assert (fresh.categories, fresh.type, fresh.is_meeting) == (["Blue"], "Single", True)
    assert fresh.organizer.email_address == ANN

    await ask(item.delete)
    assert await ask(shown) == ([], [])


async def test_every_field_of_a_fetched_item_can_be_saved_again(office: Office) -> None:
    """A save without a list of fields, which sends all of them, changes nothing but the change key."""
    ann = await ask(lambda: office.owner(ANN))

    def story() -> tuple[CalendarItem, CalendarItem]:
        item = CalendarItem(
            folder=ann.calendar,
            start=at("2026-03-02", "09:00"),
            end=at("2026-03-02", "10:00"),
            legacy_free_busy_status="Tentative",
            sensitivity="Private",
        )
        item.save()
        item.refresh()
        before = ann.calendar.get(id=item.id)
        item.save()
        return before, ann.calendar.get(id=item.id)

    before, after = await ask(story)
    assert before.changekey != after.changekey
    for name in ("start", "end", "subject", "legacy_free_busy_status", "sensitivity", "uid", "reminder_is_set"):
        assert getattr(before, name) == getattr(after, name)
    assert after.legacy_free_busy_status == "Tentative"


async def weekly(office: Office, account: Account, first: str = "2026-03-16", number: int = 4) -> CalendarItem:
    """Mondays and Thursdays 09:00 to 10:00 in Berlin, across the change to summer time on 29 March."""

    def book() -> CalendarItem:
        return CalendarItem(
            account=account,
            folder=account.calendar,
            start=at(first, "09:00"),
            end=at(first, "10:00"),
            subject="Stand-up",
            recurrence=Recurrence(
                pattern=WeeklyPattern(interval=1, weekdays=["Monday", "Thursday"], first_day_of_week="Monday"),
                start=date.fromisoformat(first),
                number=number,
            ),
        ).save()

    return await ask(book)


async def test_a_weekly_meeting_keeps_its_hour_across_the_change_of_clocks(office: Office) -> None:
    """Occurrences stay at nine in Berlin: 08:00 UTC in winter, 07:00 UTC in summer."""
    ann = await ask(lambda: office.owner(ANN))
    await weekly(office, ann, first="2026-03-26")
    expected = [
        ("03-26 08:00", "09:00"),
        ("03-30 07:00", "08:00"),
        ("04-02 07:00", "08:00"),
        ("04-06 07:00", "08:00"),
    ]
    start, end = at("2026-03-25", "00:00"), at("2026-04-20", "00:00")
    assert spans(await ask(lambda: view(ann, start, end))) == expected
    (free_busy,) = await ask(lambda: events(ann, start, end, ANN))
    assert spans(free_busy.calendar_events) == expected


async def test_one_occurrence_can_move_and_another_vanish(office: Office) -> None:
    """An exception keeps its original start as recurrence id; a deleted occurrence is gone from every view."""
    ann = await ask(lambda: office.owner(ANN))
    master = await weekly(office, ann)

    def edit() -> None:
        second = master.occurrence(index=2)
        second.refresh()
        second.start, second.end = at("2026-03-20", "11:00"), at("2026-03-20", "11:30")
        second.save(update_fields=["start", "end"])
        master.occurrence(index=3).delete()

    await ask(edit)
    start, end = at("2026-03-15", "00:00"), at("2026-04-01", "00:00")
    expected = [("03-16 08:00", "09:00"), ("03-20 10:00", "10:30"), ("03-26 08:00", "09:00")]
    items = await ask(lambda: view(ann, start, end))
    assert spans(items) == expected
    assert [item.type for item in items] == ["Occurrence", "Exception", "Occurrence"]
    assert items[1].recurrence_id == datetime(2026, 3, 19, 8, tzinfo=UTC)
    assert items[0].item_class == "IPM.Appointment.Occurrence"
    (free_busy,) = await ask(lambda: events(ann, start, end, ANN))
    assert spans(free_busy.calendar_events) == expected

    whole = await ask(lambda: ann.calendar.get(id=master.id))
    assert spans(whole.modified_occurrences) == [("03-20 10:00", "10:30")]
    assert [each.start for each in whole.deleted_occurrences] == [datetime(2026, 3, 23, 8, tzinfo=UTC)]
    assert (whole.type, whole.is_recurring) == ("RecurringMaster", False)
    assert whole.last_occurrence.start == datetime(2026, 3, 26, 8, tzinfo=UTC)
    back = await ask(lambda: items[1].recurring_master().refresh())
    assert back.id == master.id
    with pytest.raises(ErrorItemNotFound):
        await ask(lambda: ann.calendar.get(id=items[1].id[:-8] + "AAAAAAA="))


async def test_an_occurrence_cannot_leap_over_its_neighbour(office: Office) -> None:
    """Moving an occurrence past the next one is refused, as Exchange does."""
    ann = await ask(lambda: office.owner(ANN))
    master = await weekly(office, ann)

    def leap() -> None:
        second = master.occurrence(index=2)
        second.refresh()
        second.start, second.end = at("2026-03-24", "11:00"), at("2026-03-24", "11:30")
        second.save(update_fields=["start", "end"])

    with pytest.raises(ErrorOccurrenceCrossingBoundary):
        await ask(leap)


@pytest.mark.parametrize(
    ("pattern", "days"),
    [
        (DailyPattern(interval=3), ["03-02", "03-05", "03-08"]),
        (AbsoluteMonthlyPattern(interval=1, day_of_month=31), ["03-31", "04-30", "05-31"]),
        (RelativeMonthlyPattern(interval=1, weekday="Tuesday", week_number="Second"), ["03-10", "04-14", "05-12"]),
        (RelativeMonthlyPattern(interval=2, weekday="Weekday", week_number="Last"), ["03-31", "05-29", "07-31"]),
        (AbsoluteYearlyPattern(day_of_month=15, month="March"), ["03-15", "03-15", "03-15"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Pattern) else "",
)
async def test_patterns_mean_the_days_a_client_expects(office: Office, pattern: Pattern, days: list[str]) -> None:
    """Every kind of pattern survives the way to the server and back, and names the right days."""
    ann = await ask(lambda: office.owner(ANN))

    def story() -> tuple[Recurrence, list[CalendarItem]]:
        item = CalendarItem(
            folder=ann.calendar,
            start=at("2026-03-02", "12:00"),
            end=at("2026-03-02", "12:30"),
            recurrence=Recurrence(pattern=pattern, start=date(2026, 3, 2), number=3),
        ).save()
        items = [
            each
            for year in (2026, 2027, 2028)
            for each in view(ann, at(f"{year}-01-01", "00:00"), at(f"{year + 1}-01-01", "00:00"))
        ]
        return ann.calendar.get(id=item.id).recurrence, items

    recurrence, items = await ask(story)
    assert [f"{item.start.astimezone(EWS_BERLIN):%m-%d}" for item in items] == days
    assert recurrence.pattern == pattern
    assert (recurrence.boundary.number, recurrence.boundary.start) == (3, date(2026, 3, 2))


@pytest.mark.parametrize(
    ("day", "begins", "hours"),
    [
        (date(2026, 3, 29), datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (date(2026, 10, 25), datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        (date(2026, 6, 1), datetime(2026, 5, 31, 22, tzinfo=UTC), 24),
    ],
)
async def test_an_all_day_item_is_the_local_day_whatever_its_length(
    office: Office, day: date, begins: datetime, hours: int
) -> None:
    """On the days the clocks change an all-day item lasts 23 or 25 hours, midnight to midnight."""
    ann = await ask(lambda: office.owner(ANN))

    def story() -> tuple[Any, Any]:
        folder = ann.calendar
        CalendarItem(folder=folder, start=day, end=day, is_all_day=True, legacy_free_busy_status="OOF").save()
        start = at(day.isoformat(), "00:00")
        end = start + timedelta(days=2)
        return view(ann, start, end), events(ann, start, end, ANN)[0].calendar_events

    (item,), (event,) = await ask(story)
    # The end as exchangelib gives it is not looked at: it takes 24 hours off in UTC, one day too many in March.
    assert (item.is_all_day, item.start) == (True, day)
    assert event.start == begins
    assert event.end.astimezone(EWS_UTC) - event.start.astimezone(EWS_UTC) == timedelta(hours=hours)
    assert event.busy_type == "OOF"


async def test_free_busy_needs_no_more_than_the_default_right(office: Office) -> None:
    """A stranger gets times without details; a calendar shown to nobody refuses; working hours come along."""
    office.world.book(BOB, at("2026-03-02", "15:00"), at("2026-03-02", "16:00"), subject="Secret")
    service = await ask(lambda: office.service(ANN, DELEGATE))

    def detailed() -> list[Any]:
        accounts = [(BOB, "Required", False)]
        start, end = at("2026-03-02", "00:00"), at("2026-03-03", "00:00")
        return list(service.protocol.get_free_busy_info(accounts=accounts, start=start, end=end))

    (bob,) = await ask(detailed)
    assert bob.view_type == "FreeBusyMerged"
    assert bob.calendar_events[0].details is None
    assert bob.merged == "0" * 30 + "22" + "0" * 16
    assert (bob.working_hours_timezone.bias, bob.working_hours[0].weekdays) == (300, [1, 2, 3, 4, 5])
    office.world.grant(BOB, office.exchange.service_account, Right.REVIEWER)
    (bob,) = await ask(detailed)
    assert (bob.view_type, bob.calendar_events[0].details.subject) == ("DetailedMerged", "Secret")
    with pytest.raises(ErrorNoFreeBusyAccess):
        await ask(lambda: events(service, at("2026-03-02", "00:00"), at("2026-03-03", "00:00"), HIDDEN))


class Patient(GetUserAvailability):  # type: ignore[misc]  # exchangelib has no types
    """GetUserAvailability that returns errors in their place."""

    ERRORS_TO_CATCH_IN_RESPONSE = (ErrorMailRecipientNotFound, ErrorNoFreeBusyAccess, ErrorMailboxMoveInProgress)


async def test_one_bad_mailbox_leaves_its_neighbours_good(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors stand in their own place, in the order of the request."""
    monkeypatch.setattr("exchangelib.protocol.GetUserAvailability", Patient)
    office.world.add_person("moved@example.com")
    service = await ask(lambda: office.service(ANN, DELEGATE))
    start, end = at("2026-03-02", "00:00"), at("2026-03-03", "00:00")
    addresses = [ANN, "nobody@example.com", HIDDEN, "moved@example.com", BOB]
    answers = await ask(lambda: events(service, start, end, *addresses))
    assert [type(answer).__name__ for answer in answers] == [
        "FreeBusyView",
        "ErrorMailRecipientNotFound",
        "ErrorNoFreeBusyAccess",
        "ErrorMailboxMoveInProgress",
        "FreeBusyView",
    ]


async def test_impersonation_needs_its_role_and_then_acts_as_the_owner(office: Office) -> None:
    """Without the role every impersonated call is refused; with it even a hidden calendar opens."""
    office.world.book(HIDDEN, at("2026-03-02", "15:00"), at("2026-03-02", "16:00"), subject="Secret")
    start, end = at("2026-03-02", "00:00"), at("2026-03-03", "00:00")
    service = await ask(lambda: office.service(HIDDEN))
    with pytest.raises(ErrorImpersonateUserDenied):
        await ask(lambda: view(service, start, end))
    office.world.allow_impersonation(office.exchange.service_account)
    (item,) = await ask(lambda: view(service, start, end))
    assert item.subject == "Secret"


async def test_a_delegate_sees_a_calendar_only_as_a_reviewer(office: Office) -> None:
    """FindItem on somebody else's calendar wants the reviewer right, and never shows a private subject."""
    office.world.book(ANN, at("2026-03-02", "15:00"), at("2026-03-02", "16:00"), subject="X", sensitivity="Private")
    service = await ask(lambda: office.service(ANN, DELEGATE))

    def find() -> list[Any]:
        from exchangelib.fields import FieldPath
        from exchangelib.properties import CalendarView

        return list(
            FindItem(account=service).call(
                folders=[DistinguishedFolderId(id="calendar", mailbox=Mailbox(email_address=ANN))],
                additional_fields=[FieldPath(field=CalendarItem.get_field_by_fieldname("subject"))],
                restriction=None,
                order_fields=None,
                shape="IdOnly",
                query_string=None,
                depth="Shallow",
                calendar_view=CalendarView(start=at("2026-03-02", "00:00"), end=at("2026-03-03", "00:00")),
                max_items=None,
                offset=0,
            )
        )

    with pytest.raises(ErrorAccessDenied):
        await ask(find)
    office.world.grant(ANN, office.exchange.service_account, Right.REVIEWER)
    (item,) = await ask(find)
    assert item.subject == "Private Appointment"


async def test_a_client_finds_version_zones_folders_and_names_by_asking(office: Office) -> None:
    """Version guessing, time zones, folder names and name resolution work as exchangelib uses them."""
    office.world.mailbox(ANN).calendar_name = "Kalender"
    ann = await ask(lambda: office.owner(ANN))
    assert await ask(lambda: ann.protocol.version.build) == Build(15, 2, 1118, 40)
    assert await ask(lambda: ann.calendar.name) == "Kalender"
    assert isinstance(ann.calendar, Calendar)
    zones = await ask(lambda: {zone.id for zone in ann.protocol.get_timezones(return_full_timezone_data=True)})
    assert {"W. Europe Standard Time", "UTC", "India Standard Time"} <= zones
    names = await ask(lambda: ann.protocol.resolve_names(["bob"], return_full_contact_data=True))
    assert [(mailbox.email_address, contact.display_name) for mailbox, contact in names] == [(BOB, "Bob Baker")]


async def test_an_item_moved_to_the_trash_frees_its_time(office: Office) -> None:
    """Items outside the calendar block nobody, and the calendar can be emptied item by item."""
    office.world.book(ANN, at("2026-03-02", "15:00"), at("2026-03-02", "16:00"))
    office.world.book(ANN, at("2026-03-02", "17:00"), at("2026-03-02", "18:00"))
    ann = await ask(lambda: office.owner(ANN))
    start, end = at("2026-03-02", "00:00"), at("2026-03-03", "00:00")

    def tidy() -> None:
        first = view(ann, start, end)[0]
        first.move(to_folder=ann.trash)

    await ask(tidy)
    assert spans(await ask(lambda: view(ann, start, end))) == [("03-02 16:00", "17:00")]
    assert await ask(lambda: ann.trash.all().count()) == 1
    await ask(lambda: ann.calendar.all().delete(delete_type=HARD_DELETE))
    assert await ask(lambda: view(ann, start, end)) == []
