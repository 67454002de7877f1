"""A calendar seen as its owner: the answer to FindItem with a CalendarView."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from gateway.core.model import Block, Busy
from gateway.errors import SourceProtocolError
from gateway.sources.ews.calendar_view import View, read_view, schedule_of
from gateway.sources.ews.soap import MESSAGES, SOAP, TYPES, Refusal
from tests.unit.ews.wire import WINDOW, at, refusing


def item(start: str, end: str, busy: str = "Busy", **more: str) -> str:
    """One CalendarItem; `more` are its other properties by name."""
    others = "".join(f"<t:{name}>{value}</t:{name}>" for name, value in more.items())
    return (
        f'<t:CalendarItem><t:ItemId Id="AAMk" ChangeKey="DwAA"/><t:Start>{start}</t:Start><t:End>{end}</t:End>'
        f"<t:LegacyFreeBusyStatus>{busy}</t:LegacyFreeBusyStatus>{others}</t:CalendarItem>"
    )


def answer(*items: str, whole: str = "true") -> bytes:
    """A FindItem answer of these items."""
    return _answer(
        '<m:FindItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
        f'<m:RootFolder TotalItemsInView="{len(items)}" IncludesLastItemInRange="{whole}"><t:Items>{"".join(items)}'
        "</t:Items></m:RootFolder></m:FindItemResponseMessage>"
    )


def _answer(message: str) -> bytes:
    return (
        f'<s:Envelope xmlns:s="{SOAP}"><s:Body><m:FindItemResponse xmlns:m="{MESSAGES}" xmlns:t="{TYPES}">'
        f"<m:ResponseMessages>{message}</m:ResponseMessages></m:FindItemResponse></s:Body></s:Envelope>"
    ).encode()


def blocks(*items: str) -> tuple[Block, ...]:
    """The blocks of the schedule these items make, in Berlin."""
    view = read_view(answer(*items))
    assert isinstance(view, View)
    return schedule_of([view], WINDOW, ZoneInfo("Europe/Berlin")).blocks


def test_appointments_become_blocks_by_their_kind() -> None:
    """Free ones and those without data make none; times come in UTC, with an offset, or without a zone."""
    assert blocks(
        item("2026-11-20T12:00:00+01:00", "2026-11-20T13:00:00+01:00", "Tentative"),
        item("2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z"),
        item("2026-11-20T14:00:00", "2026-11-20T15:00:00", "OOF"),
        item("2026-11-20T15:00:00Z", "2026-11-20T16:00:00Z", "WorkingElsewhere"),
        item("2026-11-20T16:00:00Z", "2026-11-20T17:00:00Z", "Free"),
        item("2026-11-20T17:00:00Z", "2026-11-20T18:00:00Z", "NoData"),
    ) == (
        Block(at(20, 9), at(20, 10), Busy.BUSY),
        Block(at(20, 11), at(20, 12), Busy.TENTATIVE),
        Block(at(20, 14), at(20, 15), Busy.OUT_OF_OFFICE),
        Block(at(20, 15), at(20, 16), Busy.WORKING_ELSEWHERE),
    )


def test_cancelled_appointments_and_masters_of_series_do_not_count() -> None:
    """An occurrence counts, and an exception of a series."""
    times = "2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z"
    assert blocks(item(*times, IsCancelled="true")) == ()
    assert blocks(item(*times, IsCancelled="1")) == ()
    assert blocks(item(*times, CalendarItemType="RecurringMaster")) == ()
    for kind in ("Single", "Occurrence", "Exception"):
        assert len(blocks(item(*times, IsCancelled="false", CalendarItemType=kind))) == 1


def test_a_whole_day_is_what_its_owner_made_one() -> None:
    """Wherever the owner's midnight is; and else what runs from midnight to midnight here."""
    assert [
        block.all_day
        for block in blocks(
            item("2026-11-19T08:00:00Z", "2026-11-20T08:00:00Z", IsAllDayEvent="true"),
            item("2026-11-19T23:00:00Z", "2026-11-20T23:00:00Z", IsAllDayEvent="false"),
            item("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", IsAllDayEvent="false"),
        )
    ] == [True, True, False]


def test_what_only_touches_the_window_is_no_part_of_it() -> None:
    """Views may overlap at their seams, and tell an appointment twice."""
    touching = item("2026-11-18T09:00:00Z", "2026-11-19T00:00:00Z")
    across = item("2026-11-20T11:00:00Z", "2026-11-20T13:00:00Z")
    views = [read_view(answer(touching, across)), read_view(answer(across))]
    whole = [view for view in views if isinstance(view, View)]
    found = schedule_of(whole, WINDOW, ZoneInfo("UTC"))
    assert found.blocks == (Block(at(20, 11), at(20, 13), Busy.BUSY),)
    assert (found.window_start, found.window_end) == (WINDOW.start, WINDOW.end)


def test_an_incomplete_answer_says_so() -> None:
    """Then the window is halved."""
    view = read_view(answer(item("2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z"), whole="false"))
    assert isinstance(view, View)
    assert not view.complete


def test_a_refusal_keeps_its_code() -> None:
    """Of the message, or of a fault."""
    assert read_view(
        _answer(refusing("ErrorAccessDenied", "m:FindItemResponseMessage").replace("ResponseCode", "m:ResponseCode"))
    ) == Refusal("ErrorAccessDenied")


@pytest.mark.parametrize(
    "items",
    [
        (item("2026-11-20T09:00:00Z", "yesterday"),),
        (item("2026-11-20T10:00:00Z", "2026-11-20T09:00:00Z"),),
        (item("2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z", "Asleep"),),
        ("<t:CalendarItem><t:Subject>Merger talks</t:Subject></t:CalendarItem>",),
    ],
)
def test_nonsense_is_refused_and_not_quoted(items: tuple[str, ...]) -> None:
    """An appointment that makes no sense never becomes a free hour."""
    with pytest.raises(SourceProtocolError) as caught:
        read_view(answer(*items))
    assert "Merger" not in f"{caught.value} {caught.value.excerpt}"


def test_another_operations_answer_is_refused() -> None:
    """Nor is an answer without a folder an empty calendar."""
    for body in (
        answer()
        .replace(b"FindItemResponse ", b"GetItemResponse ")
        .replace(b"/m:FindItemResponse>", b"/m:GetItemResponse>"),
        _answer(""),
    ):
        with pytest.raises(SourceProtocolError):
            read_view(body)
