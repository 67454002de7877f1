"""GetUserAvailability as recorded from real servers: order, views, rights, limits, times."""

from __future__ import annotations

import pytest

from gateway.simulator.ews import EwsFace, EwsOptions
from gateway.simulator.recurrence import Daily, Recurrence
from gateway.simulator.world import Busy, Right
from tests.unit.simulator.wire import (
    ANN,
    BERLIN_ZONE,
    BOB,
    SERVICE,
    M,
    T,
    availability,
    entries,
    fault_code,
    office,
    tree,
    utc,
    values,
)


def test_answers_come_in_the_order_asked_and_a_failure_stays_in_its_place() -> None:
    """One entry per mailbox without addresses; the failed one has a view of type None and an explanation."""
    world = office()
    world.book(BOB, utc(20, 9), utc(20, 10))
    face = EwsFace(world)
    good, bad, last = entries(face, availability(ANN, "nobody@example.com", BOB))
    assert values(good, "StartTime") == []
    assert values(good, "FreeBusyViewType") == ["FreeBusy"]
    assert values(bad, "ResponseCode") == ["ErrorMailRecipientNotFound"]
    assert values(bad, "FreeBusyViewType") == ["None"]
    assert values(bad, "DescriptiveLinkKey") == ["0"]
    assert values(bad, "ExceptionType") == ["MailRecipientNotFoundException"]
    assert values(last, "StartTime") == ["2026-11-20T09:00:00"]


def test_the_answer_has_the_recorded_namespaces_and_no_wrapper() -> None:
    """A default namespace inside s:, types declared again on each child of the view, events left out when none."""
    reply = EwsFace(office()).answer(availability(ANN), SERVICE)
    assert b'<GetUserAvailabilityResponse xmlns="http' in reply.body
    assert b"<s:Envelope" in reply.body
    assert b"m:" not in reply.body
    assert b"CalendarEventArray" not in reply.body
    assert (reply.status, reply.headers["Content-Type"], reply.chunked) == (200, "text/xml; charset=utf-8", True)
    info = tree(reply).find(f".//{T}ServerVersionInfo")
    assert info is not None
    assert (info.get("MajorVersion"), info.get("Version")) == ("15", "V2017_07_11")


def test_times_are_wall_times_of_the_zone_in_the_request() -> None:
    """The same window asked in Berlin time gives Berlin times, in winter and in summer."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10))
    world.book(ANN, utc(20, 9).replace(month=7), utc(20, 10).replace(month=7))
    face = EwsFace(world)
    (winter,) = entries(face, availability(ANN, zone=BERLIN_ZONE))
    assert values(winter, "StartTime") == ["2026-11-20T10:00:00"]
    (summer,) = entries(
        face, availability(ANN, zone=BERLIN_ZONE, start="2026-07-20T00:00:00", end="2026-07-21T00:00:00")
    )
    assert values(summer, "StartTime") == ["2026-07-20T11:00:00"]
    (offset,) = entries(face, availability(ANN, start="2026-11-20T01:00:00+01:00", end="2026-11-21T00:00:00Z"))
    assert values(offset, "StartTime") == ["2026-11-20T09:00:00"]


def test_events_that_touch_or_cross_the_edge_come_back_whole() -> None:
    """Nothing is clipped; touching events are listed, and so are free ones."""
    world = office()
    world.book(ANN, utc(19, 22), utc(20, 0))
    world.book(ANN, utc(20, 23), utc(21, 5), busy=Busy.FREE)
    world.book(ANN, utc(21, 0), utc(21, 1))
    (entry,) = entries(EwsFace(world), availability(ANN))
    assert values(entry, "StartTime") == ["2026-11-19T22:00:00", "2026-11-20T23:00:00", "2026-11-21T00:00:00"]
    assert values(entry, "EndTime")[1] == "2026-11-21T05:00:00"
    assert values(entry, "BusyType") == ["Busy", "Free", "Busy"]


def test_digits_take_the_highest_status_of_each_interval() -> None:
    """Free and working elsewhere are 0, tentative 1, busy 2, out of office 3, no data 4; MergedOnly has nothing
    else.
    """
    world = office()
    for hour, busy in enumerate(Busy, start=1):
        world.book(ANN, utc(20, hour), utc(20, hour, 30), busy=busy)
    world.book(ANN, utc(20, 2, 30), utc(20, 3, 15), busy=Busy.OOF)
    (entry,) = entries(EwsFace(world), availability(ANN, view="MergedOnly"))
    assert values(entry, "MergedFreeBusy") == ["0033304" + "0" * 17]
    assert values(entry, "StartTime") == []
    assert values(entry, "WorkingHours") == []


def test_a_series_appears_occurrence_by_occurrence() -> None:
    """The server expands series, moved occurrences included."""
    world = office()
    item = world.book(ANN, utc(18, 9), utc(18, 10), recurrence=Recurrence(Daily(), number=9))
    world.move(world.occurrence(item.item_id, 3).item_id, utc(20, 14), utc(20, 15))
    (entry,) = entries(EwsFace(world), availability(ANN, end="2026-11-22T00:00:00"))
    assert values(entry, "StartTime") == ["2026-11-20T14:00:00", "2026-11-21T09:00:00"]


@pytest.mark.parametrize(
    ("right", "view", "shown"),
    [
        (Right.AVAILABILITY_ONLY, "FreeBusyMerged", {}),
        (Right.LIMITED_DETAILS, "DetailedMerged", {"Subject": ["Plan <1>", "Secret"], "Location": ["Here", ""]}),
        (Right.REVIEWER, "DetailedMerged", {"IsPrivate": ["false", "true"], "IsRecurring": ["false", "false"]}),
    ],
)
def test_details_reach_as_far_as_the_rights(right: Right, view: str, shown: dict[str, list[str]]) -> None:
    """The view answered may be lower than the one asked; private items never give their texts away."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10), subject="Plan <1>", location="Here")
    world.book(ANN, utc(20, 11), utc(20, 12), subject="Secret", sensitivity="Private")
    world.grant(ANN, SERVICE, right)
    (entry,) = entries(EwsFace(world), availability(ANN, view="DetailedMerged"))
    assert values(entry, "FreeBusyViewType") == [view]
    assert values(entry, "Subject") == (["Plan <1>"] if right >= Right.LIMITED_DETAILS else [])
    assert len(values(entry, "ID")) == (1 if right >= Right.REVIEWER else 0)
    for name in shown.keys() - {"Subject", "Location"}:
        assert values(entry, name) == shown[name]


def test_a_calendar_shown_to_nobody_refuses_everybody_but_its_owner() -> None:
    """Default right NONE is ErrorNoFreeBusyAccess; so is the mailbox called denied."""
    world = office()
    world.add_person("closed@example.com", default_right=Right.NONE)
    world.add_person("denied@example.com")
    request = availability("closed@example.com", "denied@example.com")
    refused = entries(EwsFace(world), request)
    assert [values(entry, "ResponseCode") for entry in refused] == [["ErrorNoFreeBusyAccess"]] * 2
    assert values(entries(EwsFace(world), request, caller="denied")[1], "ResponseCode") == ["NoError"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("moved", "ErrorMailboxMoveInProgress"),
        ("failover", "ErrorMailboxFailover"),
        ("offline", "ErrorMailboxStoreUnavailable"),
        ("missing", "ErrorMailRecipientNotFound"),
        ("badname", "ErrorInvalidSmtpAddress"),
        ("throttled", "ErrorServerBusy"),
        ("hybrid2", "ErrorProxyRequestProcessingFailed"),
    ],
)
def test_mailboxes_fail_by_their_name_and_leave_their_neighbours_alone(name: str, code: str) -> None:
    """Each fault is an error entry of its own code between two good entries."""
    world = office()
    world.add_person(f"{name}@example.com")
    answers = entries(EwsFace(world), availability(ANN, f"{name}@example.com", BOB))
    assert [values(entry, "ResponseCode")[0] for entry in answers] == ["NoError", code, "NoError"]


def test_a_garbled_mailbox_is_xml_that_makes_no_sense() -> None:
    """An end before its start, times that are none, a status nobody knows; still well-formed and a success."""
    world = office()
    world.add_person("garbled@example.com")
    (entry,) = entries(EwsFace(world), availability("garbled@example.com"))
    assert values(entry, "ResponseCode") == ["NoError"]
    assert values(entry, "StartTime")[0] > values(entry, "EndTime")[0]
    assert values(entry, "StartTime")[1] == "today at ten"
    assert values(entry, "BusyType") == ["Busy", "Occupied"]


def test_an_address_without_a_domain_is_invalid() -> None:
    """What is no SMTP address has its own code."""
    (entry,) = entries(EwsFace(office()), availability("ann"))
    assert values(entry, "ResponseCode") == ["ErrorInvalidSmtpAddress"]
    assert values(entry, "ExceptionCode") == ["5035"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (availability(*[ANN] * 101), "ErrorMailboxDataArrayTooBig"),
        (availability(), "ErrorMailboxDataArrayEmpty"),
        (availability(ANN, end="2027-01-21T00:00:01"), "ErrorTimeIntervalTooBig"),
        (availability(ANN, end="2026-11-20T00:00:00"), "ErrorInvalidTimeInterval"),
        (availability(ANN, interval=4), "ErrorInvalidMergedFreeBusyInterval"),
        (availability(ANN, interval=1441), "ErrorInvalidMergedFreeBusyInterval"),
        (availability(ANN, end="2026-11-20T00:30:00"), "ErrorInvalidMergedFreeBusyInterval"),
        (availability(ANN, view="None"), "ErrorInvalidFreeBusyViewType"),
        (availability(ANN, start="tomorrow"), "ErrorSchemaValidation"),
        (availability(ANN, zone="<t:Bias>west</t:Bias>"), "ErrorSchemaValidation"),
    ],
)
def test_what_is_wrong_with_the_request_fails_it_as_a_whole(request_: bytes, code: str) -> None:
    """Limits and senseless values are faults with HTTP 500."""
    assert fault_code(EwsFace(office()).answer(request_, SERVICE)) == code


def test_a_hundred_mailboxes_and_62_days_are_allowed() -> None:
    """The limits themselves still work."""
    face = EwsFace(office())
    assert len(entries(face, availability(*[ANN] * 100))) == 100
    assert len(entries(face, availability(ANN, end="2027-01-21T00:00:00"))) == 1
    assert fault_code(
        EwsFace(office(), EwsOptions(maximum_window_days=42)).answer(
            availability(ANN, end="2027-01-21T00:00:00"), SERVICE
        )
    ) == ("ErrorTimeIntervalTooBig")


def test_too_many_events_are_refused_for_that_mailbox_only() -> None:
    """Above the cap the mailbox fails and its neighbour does not."""
    world = office()
    for minute in range(4):
        world.book(ANN, utc(20, 9, minute), utc(20, 10))
    ann, bob = entries(EwsFace(world, EwsOptions(maximum_events=3)), availability(ANN, BOB))
    assert values(ann, "ResponseCode") == ["ErrorResultSetTooBig"]
    assert values(bob, "ResponseCode") == ["NoError"]


def test_working_hours_tell_the_zone_of_the_mailbox() -> None:
    """Days, minutes and the yearly rules, whatever zone the request was in."""
    world = office()
    world.add_person("priya@example.com", zone="India Standard Time")
    ann, priya = entries(EwsFace(world), availability(ANN, "priya@example.com"))
    assert values(ann, "DayOfWeek") == ["Sunday", "Sunday", "Monday Tuesday Wednesday Thursday Friday"]
    assert values(ann, "Bias") == ["-60", "0", "-60"]
    assert (values(ann, "StartTimeInMinutes"), values(ann, "EndTimeInMinutes")) == (["480"], ["1020"])
    assert values(priya, "Bias") == ["-330", "0", "0"]


def test_impersonation_lends_the_rights_of_the_impersonated() -> None:
    """Acting as Ann the service sees what Ann may see of Bob, not what Bob may."""
    world = office()
    world.allow_impersonation(SERVICE)
    world.book(BOB, utc(20, 9), utc(20, 10), subject="Plan")
    world.grant(BOB, ANN, Right.REVIEWER)
    face = EwsFace(world)
    (as_ann,) = entries(face, availability(BOB, view="Detailed", impersonate=ANN))
    (as_service,) = entries(face, availability(BOB, view="Detailed"))
    assert (values(as_ann, "Subject"), values(as_service, "Subject")) == (["Plan"], [])
    assert as_ann.find(f".//{M}FreeBusyView") is not None
