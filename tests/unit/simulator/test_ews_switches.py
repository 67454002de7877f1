"""Every switch of the EWS face: the ways in which servers differ."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from gateway.simulator.ews import SERVERS, EwsFace, EwsOptions
from gateway.simulator.world import Busy, Right, World
from tests.unit.simulator.wire import (
    ANN,
    BERLIN_ZONE,
    BOB,
    SERVICE,
    E,
    M,
    T,
    availability,
    entries,
    fault_code,
    office,
    soap,
    tree,
    utc,
    values,
)


def busy_office() -> World:
    """Ann has a meeting from nine to ten UTC, and shows its details."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10), subject="Plan")
    world.grant(ANN, SERVICE, Right.REVIEWER)
    return world


def entry(options: EwsOptions, **asked: Any) -> etree._Element:
    """Ann's entry under some options."""
    (found,) = entries(EwsFace(busy_office(), options), availability(ANN, **asked))
    return found


@pytest.mark.parametrize(
    ("prefixes", "opening", "view"),
    [
        ("recorded", b"<s:Envelope ", b"<FreeBusyView>"),
        ("prefixed", b"<s:Envelope ", b"<m:FreeBusyView>"),
        ("unprefixed", b"<Envelope ", b"<FreeBusyView>"),
        ("soap11", b"<soap11:Envelope ", b"<FreeBusyView>"),
    ],
)
def test_prefixes_change_and_the_document_does_not(prefixes: Any, opening: bytes, view: bytes) -> None:
    """The same elements in the same namespaces, whatever they are called."""
    request = availability(ANN, view="DetailedMerged", zone=BERLIN_ZONE)
    reply = EwsFace(busy_office(), EwsOptions(prefixes=prefixes)).answer(request, SERVICE)
    plain = EwsFace(busy_office()).answer(request, SERVICE)
    assert opening in reply.body
    assert view in reply.body
    shape = [(element.tag, element.text) for element in tree(reply).iter()]
    assert shape == [(element.tag, element.text) for element in tree(plain).iter()]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ("naive", "2026-11-20T10:00:00"),
        ("utc", "2026-11-20T09:00:00Z"),
        ("offset", "2026-11-20T10:00:00+01:00"),
    ],
)
def test_times_are_naive_utc_or_with_an_offset(times: Any, expected: str) -> None:
    """Wall time of the request's zone is the default."""
    assert values(entry(EwsOptions(times=times), zone=BERLIN_ZONE), "StartTime") == [expected]


def test_digits_and_working_hours_can_be_missing() -> None:
    """Each goes without the other; days can be empty alone."""
    assert values(entry(EwsOptions(digits=False), view="FreeBusyMerged"), "MergedFreeBusy") == []
    assert values(entry(EwsOptions(working_hours="missing")), "WorkingHours") == []
    days = entry(EwsOptions(working_hours="no_days")).find(f".//{T}WorkingPeriod/{T}DayOfWeek")
    assert days is not None
    assert not days.text


def test_an_empty_array_can_be_there() -> None:
    """A view without events leaves the array out, or has an empty one."""
    face = EwsFace(office(), EwsOptions(empty_array="empty"))
    assert entries(face, availability(ANN))[0].find(f".//{T}CalendarEventArray") is not None


@pytest.mark.parametrize(("kind", "present", "schema"), [("full", 1, 1), ("no_schema", 1, 0), ("missing", 0, 0)])
def test_the_version_header_can_be_incomplete_or_missing(kind: Any, present: int, schema: int) -> None:
    """Some servers leave the schema out, some the header."""
    root = tree(EwsFace(office(), EwsOptions(version_info=kind)).answer(availability(ANN), SERVICE))
    found = list(root.iter(f"{T}ServerVersionInfo"))
    assert (len(found), sum("Version" in info.attrib for info in found)) == (present, schema)


def test_gromox_gives_types_and_events_with_offsets_and_nothing_else() -> None:
    """No digits and no working hours whatever the view; the view type is FreeBusy or Detailed."""
    found = entry(EwsOptions(gromox=True), view="DetailedMerged", zone=BERLIN_ZONE)
    view = found.find(f"{M}FreeBusyView")
    assert view is not None
    assert [etree.QName(child).localname for child in view] == ["FreeBusyViewType", "CalendarEventArray"]
    assert values(found, "FreeBusyViewType") == ["Detailed"]
    assert values(found, "StartTime") == ["2026-11-20T10:00:00+01:00"]


@pytest.mark.parametrize("prefixes", ["recorded", "prefixed"])
def test_an_illegal_reference_makes_detailed_answers_no_xml(prefixes: Any) -> None:
    """A strict parser refuses the body, and accepts it once the reference is taken out."""
    face = EwsFace(busy_office(), EwsOptions(illegal_reference=True, prefixes=prefixes))
    body = face.answer(availability(ANN, view="Detailed"), SERVICE).body
    assert body.count(b"&#x0;") == 1
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(body)
    assert values(etree.fromstring(body.replace(b"&#x0;", b"")), "Subject") == ["Plan"]
    assert b"&#x0;" not in face.answer(availability(ANN), SERVICE).body


def test_an_entry_can_be_dropped() -> None:
    """Two asked, one answered: a batch nobody may correlate."""
    assert len(entries(EwsFace(office(), EwsOptions(drop_entry=True)), availability(ANN, BOB))) == 1


@pytest.mark.parametrize(
    ("elsewhere", "version", "shown"),
    [
        ("since_2013", "Exchange2013", "WorkingElsewhere"),
        ("since_2013", "Exchange2016", "WorkingElsewhere"),
        ("since_2013", "Exchange2010_SP2", "Free"),
        ("since_2013", "", "Free"),
        ("always", "Exchange2010", "WorkingElsewhere"),
        ("never", "Exchange2016", "Free"),
    ],
)
def test_working_elsewhere_hides_from_old_clients(elsewhere: Any, version: str, shown: str) -> None:
    """The version in the request decides, in free/busy and in calendar views alike; none at all is the oldest."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10), busy=Busy.WORKING_ELSEWHERE)
    face = EwsFace(world, EwsOptions(working_elsewhere=elsewhere))
    (found,) = entries(face, availability(ANN, version=version))
    assert values(found, "BusyType") == [shown]
    find = soap(
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>Default</t:BaseShape></m:ItemShape>'
        '<m:CalendarView StartDate="2026-11-20T00:00:00Z" EndDate="2026-11-21T00:00:00Z"/>'
        '<m:ParentFolderIds><t:DistinguishedFolderId Id="calendar"/></m:ParentFolderIds></m:FindItem>',
        version=version,
    )
    assert values(tree(face.answer(find, ANN)), "LegacyFreeBusyStatus") == [shown]


def test_free_and_touching_events_can_be_left_out() -> None:
    """A server may be tidier than those recorded."""
    world = office()
    world.book(ANN, utc(19, 23), utc(20))
    world.book(ANN, utc(20, 9), utc(20, 10), busy=Busy.FREE)
    options = EwsOptions(free_events=False, touching_events=False)
    assert values(entries(EwsFace(world, options), availability(ANN))[0], "StartTime") == []
    options.free_events = True
    assert values(entries(EwsFace(world, options), availability(ANN))[0], "BusyType") == ["Free"]


def throttled(**options: Any) -> Any:
    """The answer for Ann and a throttled mailbox."""
    world = office()
    world.add_person("throttled@example.com")
    return EwsFace(world, EwsOptions(**options)).answer(availability(ANN, "throttled@example.com"), SERVICE)


def test_throttling_speaks_four_ways() -> None:
    """In the entry, inside another error, as a fault with a back-off time, or as a fault without one."""
    root = tree(throttled())
    assert values(root, "ResponseCode") == ["NoError", "ErrorServerBusy"]
    assert [(v.get("Name"), v.text) for v in root.iter(f"{T}Value")] == [("BackOffMilliseconds", "5000")]
    assert list(tree(throttled(back_off_ms=0)).iter(f"{T}Value")) == []
    inner = tree(throttled(throttled="inner", back_off_ms=7))
    assert values(inner, "ResponseCode")[1] == "ErrorInternalServerError"
    named = {value.get("Name"): value.text for value in inner.iter(f"{T}Value")}
    assert (named["InnerErrorResponseCode"], named["BackOffMilliseconds"]) == ("ErrorServerBusy", "7")
    fault = throttled(throttled="fault", back_off_ms=297749)
    assert fault_code(fault) == "ErrorServerBusy"
    assert values(tree(fault), "Value") == ["297749"]
    connections = throttled(throttled="connections")
    assert fault_code(connections) == "ErrorExceededConnectionCount"
    assert b"BackOffMilliseconds" not in connections.body
    assert b"MaxConcurrencyLimit" in connections.body


def test_what_is_no_xml_is_a_bad_request_or_a_schema_fault() -> None:
    """Bodies that are not well-formed, or bring a DTD, are never parsed further."""
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + availability(ANN)
    for body in (b"", b"<s:Envelope", bomb):
        reply = EwsFace(office()).answer(body, SERVICE)
        assert (reply.status, reply.body) == (400, b"")
        fault = EwsFace(office(), EwsOptions(malformed="fault")).answer(body, SERVICE)
        assert fault_code(fault) == "ErrorSchemaValidation"


@pytest.mark.parametrize("name", SERVERS)
def test_each_release_reports_its_build_and_refuses_newer_requests(name: str) -> None:
    """The newest version a release knows is accepted, the next one is ErrorInvalidServerVersion."""
    server = SERVERS[name]
    face = EwsFace(office(), EwsOptions(server=name))
    reply = face.answer(availability(ANN, version=server.newest), SERVICE)
    info = next(tree(reply).iter(f"{T}ServerVersionInfo"))
    assert info.get("MajorBuildNumber") == str(server.build[2])
    assert reply.chunked == (server.build[0] > 8)
    refused = "Exchange2010" if name == "2007" else "Exchange2099"
    assert fault_code(face.answer(availability(ANN, version=refused), SERVICE)) == "ErrorInvalidServerVersion"
    assert (face.answer(availability(ANN, version="Exchange2016"), SERVICE).status == 200) == (
        name not in ("2007", "2010", "2013")
    )


def test_faults_look_like_their_generation() -> None:
    """2007 blames soap11:Client, has a Header, Line and Position; later ones name the code and have none of these."""
    request = soap("<m:Teleport/>", version="Exchange2007")
    new, old = (EwsFace(office(), EwsOptions(server=name)).answer(request, SERVICE) for name in ("2019", "2007"))
    assert b"a:ErrorSchemaValidation</faultcode>" in new.body
    assert b"Header" not in new.body
    assert values(tree(new), "LineNumber") == ["1"]
    assert b"soap11:Client</faultcode>" in old.body
    assert tree(old).find(f".//{E}Line") is not None
    assert tree(old).find(f".//{T}ServerVersionInfo") is not None
    assert fault_code(old) == "ErrorSchemaValidation"
    assert not old.chunked


def test_more_headers_can_be_sent_and_folders_limited() -> None:
    """Headers go on good answers and faults; too many folders in one FindItem are refused."""
    face = EwsFace(office(), EwsOptions(headers={"X-BEServer": "EX01"}, find_folders=1))
    assert face.answer(availability(ANN), SERVICE).headers["X-BEServer"] == "EX01"
    folder = '<t:DistinguishedFolderId Id="calendar"/>'
    find = f'<m:FindItem Traversal="Shallow"><m:ParentFolderIds>{folder * 2}</m:ParentFolderIds></m:FindItem>'
    reply = face.answer(soap(find), ANN)
    assert fault_code(reply) == "ErrorExceededConnectionCount"
    assert reply.headers["X-BEServer"] == "EX01"
