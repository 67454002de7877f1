"""What the parser makes of answers to GetUserAvailability."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.model import Block, Busy, Schedule
from gateway.errors import SourceDenied, SourceProtocolError, SourceUnavailable
from gateway.sources.ews.soap import TYPES, Refusal
from tests.unit.ews.wire import SUCCESS, WINDOW, answer, at, event, golden, only, read, refused, refusing, view


def test_a_recorded_answer_becomes_schedules_in_the_order_asked() -> None:
    """Free, unknown and empty blocks vanish, touching and outside ones too, the rest stays whole, sorted, in UTC."""
    busy, empty = read(golden("availability-2016"), 2).entries
    assert busy == Schedule(
        WINDOW.start,
        WINDOW.end,
        (
            Block(at(18, 22), at(19, 8), Busy.TENTATIVE),
            Block(at(19, 23), at(20, 23), Busy.OUT_OF_OFFICE, all_day=True),
            Block(at(20, 8), at(20, 8, 30), Busy.BUSY),
            Block(at(20, 12), at(20, 13), Busy.WORKING_ELSEWHERE),
            Block(at(21, 23), at(22, 23), Busy.BUSY, all_day=True),
        ),
    )
    assert empty == Schedule(WINDOW.start, WINDOW.end)


def test_times_may_be_naive_zulu_or_with_an_offset_under_any_prefix() -> None:
    """All three forms mean the same instants, cut to milliseconds; equal blocks count once."""
    assert only(golden("availability-2007")).blocks == (
        Block(datetime(2026, 11, 20, 8, 0, 0, 123000, tzinfo=UTC), at(20, 8, 30), Busy.TENTATIVE),
        Block(at(20, 17), at(20, 17, 30), Busy.BUSY),
    )


def test_digits_stand_in_when_no_events_came() -> None:
    """Runs of digits become blocks of 15 minutes per digit; 4 is nothing, and a mailbox of nothing but 4 is unknown."""
    digits, nothing = read(golden("availability-merged-only"), 2).entries
    assert isinstance(digits, Schedule)
    quarter = timedelta(minutes=15)
    assert [(found.start - WINDOW.start, found.end - found.start, found.busy) for found in digits.blocks] == [
        (2 * quarter, 2 * quarter, Busy.BUSY),
        (4 * quarter, quarter, Busy.TENTATIVE),
        (7 * quarter, 2 * quarter, Busy.OUT_OF_OFFICE),
    ]
    assert isinstance(nothing, SourceUnavailable)
    assert nothing.code == "server.unavailable"


def test_events_win_over_digits() -> None:
    """Digits are coarse: they are not looked at when there are events."""
    digits = f'<MergedFreeBusy xmlns="{TYPES}">33333333</MergedFreeBusy>'
    assert only(answer(view(event("2026-11-20T08:00:00", "2026-11-20T08:07:00"), digits))).blocks == (
        Block(at(20, 8), at(20, 8, 7), Busy.BUSY),
    )


def test_one_refused_mailbox_costs_its_neighbours_nothing() -> None:
    """The refusal stands in its place with its reason; a warning is a success and is told."""
    found = read(golden("availability-refused-entry"), 3)
    first, second, third = found.entries
    assert isinstance(first, Schedule)
    assert isinstance(third, Schedule)
    assert isinstance(second, SourceDenied)
    assert (second.code, second.mailbox) == ("mailbox.not_found", "p1@example.com")
    assert found.warned


@pytest.mark.parametrize(
    "entry",
    [
        view(event("2026-11-20T09:00:00", "2026-11-20T08:00:00")),
        view(event("tomorrow", "2026-11-20T08:00:00")),
        view(event("2026-11-20", "2026-11-21T00:00:00")),
        view(event("2026-11-20T08:00:00", "2026-11-20T09:00:00", "Asleep")),
        view("<CalendarEvent><EndTime>2026-11-20T08:00:00</EndTime><BusyType>Busy</BusyType></CalendarEvent>"),
        view(event("0001-01-01T00:00:00+14:00", "2026-11-20T09:00:00")),
        view(more=f'<MergedFreeBusy xmlns="{TYPES}">00x0</MergedFreeBusy>'),
        view(kind="None"),
        view(kind="MergedOnly"),
        f"{SUCCESS}<FreeBusyView/>",
        SUCCESS,
        view(event("2026-11-20T08:00:00", "2026-11-20T09:00:00")).removeprefix(SUCCESS),
    ],
    ids=[
        "ends before it begins",
        "no time",
        "only a date",
        "unknown busy type",
        "no start",
        "before the first year",
        "digits that are none",
        "success without a view",
        "merged view without digits",
        "empty view",
        "no view",
        "no response message",
    ],
)
def test_a_garbled_entry_is_an_error_in_its_place_and_never_a_free_day(entry: str) -> None:
    """Only that mailbox fails, with element names and no content in the report."""
    good = view(event("2026-11-20T08:00:00", "2026-11-20T09:00:00"))
    before, garbled, after = read(answer(good, entry, good), 3).entries
    assert isinstance(before, Schedule)
    assert before == after
    assert isinstance(garbled, SourceProtocolError)
    assert (garbled.code, garbled.mailbox) == ("protocol.unexpected_shape", "p1@example.com")
    assert garbled.excerpt.startswith("FreeBusyResponse")
    assert "tomorrow" not in str(garbled) + garbled.excerpt


def test_unsorted_and_double_blocks_are_tidied() -> None:
    """Whatever order the server likes, the schedule is sorted by start, end and busy, without doubles."""
    nine, ten = event("2026-11-20T09:00:00", "2026-11-20T11:00:00"), event("2026-11-20T10:00:00", "2026-11-20T11:00:00")
    away = event("2026-11-20T09:00:00", "2026-11-20T11:00:00", "OOF")
    assert only(answer(view(ten + away + nine + ten))).blocks == (
        Block(at(20, 9), at(20, 11), Busy.BUSY),
        Block(at(20, 9), at(20, 11), Busy.OUT_OF_OFFICE),
        Block(at(20, 10), at(20, 11), Busy.BUSY),
    )


def test_events_with_more_parts_than_three_are_read_by_name() -> None:
    """Details, another order of children and unknown elements change nothing."""
    odd = (
        "<CalendarEvent><BusyType>Busy</BusyType><EndTime>2026-11-20T09:00:00</EndTime>"
        "<StartTime>2026-11-20T08:00:00</StartTime><CalendarEventDetails><IsPrivate>true</IsPrivate>"
        "</CalendarEventDetails></CalendarEvent><Unknown/>"
    )
    assert only(answer(view(odd))).blocks == (Block(at(20, 8), at(20, 9), Busy.BUSY),)


def test_an_answer_with_another_number_of_entries_is_worth_nothing() -> None:
    """Entries are matched by position alone, so a wrong count discards the batch."""
    for count in (1, 3):
        with pytest.raises(SourceProtocolError) as caught:
            read(answer(view(), view()), count)
        assert caught.value.code == "protocol.unexpected_shape"


@pytest.mark.parametrize(
    "body",
    [
        b"<html/>",
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>',
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><Other/></s:Body></s:Envelope>',
        answer().replace(b"FreeBusyResponseArray", b"SomethingElse"),
    ],
)
def test_another_document_is_not_an_answer(body: bytes) -> None:
    """The envelope, the operation and the array are looked for before anything is believed."""
    with pytest.raises(SourceProtocolError) as caught:
        read(body)
    assert caught.value.code == "protocol.unexpected_shape"


def test_busy_in_every_entry_is_busy_for_the_call() -> None:
    """What is said of all mailboxes is said of the account; the pause comes along, also from an inner error."""
    assert read(golden("availability-inner-busy")).refusal == Refusal("ErrorServerBusy", 5.0)


def test_busy_in_one_entry_stays_there() -> None:
    """A single busy mailbox does not throw away its neighbours."""
    inner = golden("availability-inner-busy").decode()
    entry = inner[inner.index("<m:FreeBusyResponse>") : inner.index("</m:FreeBusyResponseArray>")]
    mixed = golden("availability-inner-busy").replace(
        entry.encode(),
        (entry + entry.replace("ErrorInternalServerError", "NoError").replace('Error"', 'Success"')).encode(),
    )
    first, second = read(mixed.replace(b">None<", b">FreeBusy<"), 2).entries
    assert isinstance(first, SourceUnavailable)
    assert (first.code, first.retry_after) == ("server.throttled", 5.0)
    assert isinstance(second, Schedule)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("fault-busy", Refusal("ErrorServerBusy", 297.749)),
        ("fault-connections", Refusal("ErrorExceededConnectionCount")),
        ("fault-2007", Refusal("ErrorSchemaValidation")),
        ("fault-array-too-big", Refusal("ErrorMailboxDataArrayTooBig")),
        ("fault-internal", Refusal("")),
    ],
)
def test_faults_of_every_kind_are_read(name: str, refusal: Refusal) -> None:
    """The code is in the detail, else in the fault code, else there is none."""
    assert read(golden(name)).refusal == refusal


def test_a_refusal_in_the_usual_list_of_messages_is_found() -> None:
    """Some errors come in the shape of the other operations, without any entry."""
    body = answer().replace(
        b"<FreeBusyResponseArray></FreeBusyResponseArray>",
        f"<ResponseMessages>{refusing('ErrorAccessDenied', 'M')}</ResponseMessages>".encode(),
    )
    assert read(body).refusal == Refusal("ErrorAccessDenied")


def test_illegal_references_are_removed_and_told() -> None:
    """An answer with &#x0; in it is read, and the fact is reported for the log."""
    found = read(answer(view(event("2026-11-20T08:00:00", "2026-11-20T09:00:00&#x0;"))))
    assert isinstance(found.entries[0], Schedule)
    assert found.cleaned


def test_a_denied_mailbox_is_denied() -> None:
    """No right to see free/busy is a matter for a person, and names the mailbox."""
    error = refused(answer(refusing("ErrorNoFreeBusyAccess")))
    assert isinstance(error, SourceDenied)
    assert (error.code, error.mailbox) == ("permission.denied", "p0@example.com")


def test_a_block_from_midnight_to_midnight_is_a_day_in_the_configured_zone_if_the_mailbox_tells_none() -> None:
    """Without working hours the configured zone decides."""
    body = answer(view(event("2026-11-19T23:00:00", "2026-11-20T23:00:00")))
    assert only(body, zone="Europe/Berlin").blocks[0].all_day
    assert not only(body, zone="UTC").blocks[0].all_day


def test_working_hours_that_make_no_sense_do_not_spoil_the_schedule() -> None:
    """A garbled zone is as good as none; an empty DayOfWeek is seen on real servers."""
    hours = f'<WorkingHours xmlns="{TYPES}"><TimeZone><Bias>soon</Bias></TimeZone></WorkingHours>'
    assert only(answer(view(event("2026-11-20T00:00:00", "2026-11-21T00:00:00"), hours))).blocks[0].all_day
