"""Items, folders, impersonation and the journal's view of a request, in what exchangelib does not exercise."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.simulator.ews import EwsFace, describe
from gateway.simulator.recurrence import Daily, Recurrence
from gateway.simulator.world import Right, World
from tests.unit.simulator.wire import ANN, BOB, SERVICE, T, availability, fault_code, office, soap, tree, utc, values

CALENDAR = '<t:DistinguishedFolderId Id="calendar"/>'


def find(view: str, folders: str = CALENDAR, **header: str) -> bytes:
    """A FindItem with a calendar view for the presence fields."""
    fields = "".join(
        f'<t:FieldURI FieldURI="calendar:{name}"/>'
        for name in ("Start", "End", "LegacyFreeBusyStatus", "IsCancelled", "CalendarItemType", "RecurrenceId")
    )
    return soap(
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>'
        f"{fields}</t:AdditionalProperties></m:ItemShape><m:CalendarView {view}/><m:ParentFolderIds>{folders}"
        "</m:ParentFolderIds></m:FindItem>",
        **header,
    )


DAY = 'StartDate="2026-11-20T00:00:00Z" EndDate="2026-11-23T00:00:00Z"'


def codes(world: World, request: bytes, caller: str = ANN) -> list[str]:
    """The response codes of an answer."""
    return values(tree(EwsFace(world).answer(request, caller)), "ResponseCode")


def mailbox(address: str) -> str:
    """The calendar of somebody."""
    return (
        f'<t:DistinguishedFolderId Id="calendar"><t:Mailbox><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox>'
        "</t:DistinguishedFolderId>"
    )


def item_ids(world: World) -> list[str]:
    """The ItemId elements of Ann's calendar view, as text."""
    root = tree(EwsFace(world).answer(find(DAY), ANN))
    return [etree.tostring(each, with_tail=False).decode() for each in root.iter(f"{T}ItemId")]


def test_a_calendar_view_is_sorted_expanded_and_in_utc() -> None:
    """Occurrences stand between single items by start, every time with a Z, and a full answer says it is whole."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10), recurrence=Recurrence(Daily(), number=2))
    world.book(ANN, utc(20, 12), utc(20, 13), cancelled=True)
    root = tree(EwsFace(world).answer(find(DAY), ANN))
    assert values(root, "Start") == ["2026-11-20T09:00:00Z", "2026-11-20T12:00:00Z", "2026-11-21T09:00:00Z"]
    assert values(root, "CalendarItemType") == ["Occurrence", "Single", "Occurrence"]
    assert values(root, "RecurrenceId") == ["2026-11-20T09:00:00Z", "2026-11-21T09:00:00Z"]
    assert values(root, "IsCancelled") == ["false", "true", "false"]
    assert values(root, "Subject") == []
    folder = next(root.iter("{*}RootFolder"))
    assert dict(folder.items()) == {"TotalItemsInView": "3", "IncludesLastItemInRange": "true"}
    cut = tree(EwsFace(world).answer(find(f'MaxEntriesReturned="2" {DAY}'), ANN))
    assert next(cut.iter("{*}RootFolder")).get("IncludesLastItemInRange") == "false"
    assert len(values(cut, "Start")) == 2


def test_a_calendar_view_has_its_limits() -> None:
    """More than two years, an end before the start, and a missing mailbox are refused by name."""
    world = office()
    long = 'StartDate="2026-01-01T00:00:00Z" EndDate="2028-01-03T00:00:00Z"'
    assert codes(world, find(long)) == ["ErrorCalendarViewRangeTooBig"]
    back = 'StartDate="2026-01-02T00:00:00Z" EndDate="2026-01-01T00:00:00Z"'
    assert codes(world, find(back)) == ["ErrorCalendarEndDateIsEarlierThanStartDate"]
    assert codes(world, find(DAY), SERVICE) == ["ErrorMissingEmailAddress"]
    nonsense = find('StartDate="soon" EndDate="later"')
    assert fault_code(EwsFace(world).answer(nonsense, ANN)) == "ErrorSchemaValidation"


def test_folders_of_several_people_answer_one_by_one() -> None:
    """Each folder has its own message: granted, refused, missing, failing."""
    world = office()
    world.add_person("moved@example.com")
    world.add_person("denied@example.com")
    world.grant(ANN, SERVICE, Right.REVIEWER)
    people = (ANN, BOB, "nobody@example.com", "moved@example.com", "denied@example.com")
    request = find(DAY, "".join(mailbox(person) for person in people))
    assert codes(world, request, SERVICE) == [
        "NoError",
        "ErrorAccessDenied",
        "ErrorNonExistentMailbox",
        "ErrorMailboxMoveInProgress",
        "ErrorAccessDenied",
    ]


@pytest.mark.parametrize("form", ["PrimarySmtpAddress", "SmtpAddress", "PrincipalName", "SID"])
def test_every_form_of_identity_can_be_impersonated(form: str) -> None:
    """Addresses, principal names and SIDs lead to the same mailbox; unknown ones and missing roles are faults."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10))
    identity = world.mailbox(ANN).sid if form == "SID" else ANN.upper()
    request = find(DAY, impersonate=identity, form=form)
    face = EwsFace(world)
    assert fault_code(face.answer(request, SERVICE)) == "ErrorImpersonateUserDenied"
    world.allow_impersonation(SERVICE)
    assert values(tree(face.answer(request, SERVICE)), "Start") == ["2026-11-20T09:00:00Z"]
    stranger = find(DAY, impersonate="nobody@example.com", form=form)
    assert fault_code(face.answer(stranger, SERVICE)) == "ErrorNonExistentMailbox"


def test_writing_needs_the_owner() -> None:
    """A reviewer reads; creating, changing and deleting are refused."""
    world = office()
    world.grant(ANN, BOB, Right.REVIEWER)
    world.book(ANN, utc(20, 9), utc(20, 10))
    (item,) = item_ids(world)
    delete = f'<m:DeleteItem DeleteType="HardDelete" SendMeetingCancellations="SendToNone"><m:ItemIds>{item}'
    delete = soap(f"{delete}</m:ItemIds></m:DeleteItem>").decode()
    create = soap(
        '<m:CreateItem SendMeetingInvitations="SendToNone"><m:SavedItemFolderId>'
        f"{mailbox(ANN)}</m:SavedItemFolderId><m:Items><t:CalendarItem><t:Start>2026-11-20T12:00:00Z</t:Start>"
        "<t:End>2026-11-20T13:00:00Z</t:End></t:CalendarItem></m:Items></m:CreateItem>"
    )
    get = soap(
        f"<m:GetItem><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape></m:ItemShape><m:ItemIds>{item}"
        "</m:ItemIds></m:GetItem>"
    )
    assert codes(world, get, BOB) == ["NoError"]
    assert codes(world, get, SERVICE) == ["ErrorAccessDenied"]
    assert codes(world, delete.encode(), BOB) == ["ErrorAccessDenied"]
    assert codes(world, create, BOB) == ["ErrorAccessDenied"]
    assert codes(world, create) == codes(world, delete.encode()) == ["NoError"]
    assert codes(world, delete.encode()) == ["ErrorItemNotFound"]


def update(item: str, field: str, value: str, resolution: str = "NeverOverwrite") -> bytes:
    """An UpdateItem that sets one field."""
    return soap(
        f'<m:UpdateItem ConflictResolution="{resolution}" SendMeetingInvitationsOrCancellations="SendToNone">'
        f'<m:ItemChanges><t:ItemChange>{item}<t:Updates><t:SetItemField><t:FieldURI FieldURI="{field}"/>'
        f"<t:CalendarItem>{value}</t:CalendarItem></t:SetItemField></t:Updates></t:ItemChange></m:ItemChanges>"
        "</m:UpdateItem>"
    )


def test_a_stale_change_key_conflicts_when_nothing_may_be_overwritten() -> None:
    """The key changes with each save, and is required unless everything may be overwritten."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10))
    (item,) = item_ids(world)
    subject = "<t:Subject>New</t:Subject>"
    assert codes(world, update(item, "item:Subject", subject)) == ["NoError"]
    assert codes(world, update(item, "item:Subject", subject)) == ["ErrorIrresolvableConflict"]
    assert codes(world, update(item, "item:Subject", subject, "AlwaysOverwrite")) == ["NoError"]
    keyless = item.partition(" ChangeKey=")[0] + "/>"
    assert codes(world, update(keyless, "item:Subject", subject)) == ["ErrorChangeKeyRequired"]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("calendar:End", "<t:End>2026-11-19T10:00:00Z</t:End>", "ErrorCalendarEndDateIsEarlierThanStartDate"),
        ("calendar:StartTimeZone", '<t:StartTimeZone Id="Mars"/>', "ErrorTimeZone"),
        ("calendar:LegacyFreeBusyStatus", "<t:LegacyFreeBusyStatus>Asleep</t:LegacyFreeBusyStatus>", "ErrorInvalid"),
        ("calendar:Recurrence", "<t:Recurrence><t:NoEndRecurrence/></t:Recurrence>", "ErrorInvalidRecurrence"),
    ],
)
def test_impossible_values_are_refused_by_name(field: str, value: str, code: str) -> None:
    """Nothing senseless gets into the calendar through an update, and nothing of it remains."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10))
    (item,) = item_ids(world)
    (found,) = codes(world, update(item, field, value))
    assert found.startswith(code)
    assert item_ids(world) == [item]


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        ('<t:ItemId Id="DUMMY"/>', "ErrorInvalidIdMalformed"),
        ('<t:ItemId Id="AAMkAElub3RoaW5n"/>', "ErrorItemNotFound"),
        ('<t:OccurrenceItemId RecurringMasterId="{master}" InstanceIndex="3"/>', "ErrorCalendarOccurrenceIndexIs"),
        ('<t:OccurrenceItemId RecurringMasterId="{master}" InstanceIndex="1"/>', "ErrorCalendarOccurrenceIsDeleted"),
        ('<t:RecurringMasterItemId OccurrenceId="{master}"/>', "ErrorCalendarIsNotOccurrence"),
    ],
)
def test_ids_that_lead_nowhere_say_why(identity: str, code: str) -> None:
    """Malformed, gone, beyond the series, deleted from it, or of the wrong kind."""
    world = office()
    item = world.book(ANN, utc(20, 9), utc(20, 10), recurrence=Recurrence(Daily(), number=2))
    world.delete(world.occurrence(item.item_id, 1).item_id)
    request = (
        "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:ItemIds>{}</m:ItemIds></m:GetItem>"
    )
    everything = '<m:FindItem Traversal="Shallow"><m:ParentFolderIds>{}</m:ParentFolderIds></m:FindItem>'
    master = next(tree(EwsFace(world).answer(soap(everything.format(CALENDAR)), ANN)).iter(f"{T}ItemId")).get("Id")
    (found,) = codes(world, soap(request.format(identity.format(master=master))))
    assert found.startswith(code)


def test_an_unknown_operation_is_a_schema_fault() -> None:
    """What this server does not know it names; so it does with an envelope of two operations."""
    face = EwsFace(office())
    reply = face.answer(soap("<m:SyncFolderItems/>"), ANN)
    assert fault_code(reply) == "ErrorSchemaValidation"
    assert b"SyncFolderItems" in reply.body
    assert fault_code(face.answer(soap("<m:GetItem/><m:GetItem/>"), ANN)) == "ErrorSchemaValidation"
    assert fault_code(face.answer(b"<html/>", ANN)) == "ErrorSchemaValidation"


def test_a_journal_learns_what_a_request_wants() -> None:
    """Operation, mailboxes, identity, properties, view and version; writing is told from reading."""
    asked = describe(availability(ANN, BOB, view="FreeBusy", version="Exchange2010"))
    assert (asked.operation, asked.mailboxes, asked.view) == ("GetUserAvailability", (ANN, BOB), "FreeBusy")
    assert (asked.server_version, asked.properties, asked.impersonated, asked.writes) == (
        "Exchange2010",
        (),
        None,
        False,
    )
    asked = describe(find(DAY, mailbox(BOB), impersonate=ANN))
    assert (asked.operation, asked.mailboxes, asked.impersonated) == ("FindItem", (BOB,), ANN)
    assert asked.properties[:3] == ("shape:IdOnly", "calendar:Start", "calendar:End")
    assert describe(update("<t:ItemId Id='x'/>", "item:Subject", "<t:Subject/>")).writes


def test_names_resolve_to_one_several_or_nobody() -> None:
    """An exact address is one, a beginning may be several with a warning, the rest is an error."""
    world = office()
    world.add_person("anna@example.com", name="Anna Berg")

    def resolve(entry: str) -> tuple[list[str], list[str]]:
        request = f"<m:ResolveNames><m:UnresolvedEntry>{entry}</m:UnresolvedEntry></m:ResolveNames>"
        root = tree(EwsFace(world).answer(soap(request), SERVICE))
        return values(root, "ResponseCode"), values(root, "EmailAddress")

    assert resolve("smtp:ann@example.com") == (["NoError"], [ANN])
    assert resolve("ann") == (["ErrorNameResolutionMultipleResults"], [ANN, "anna@example.com"])
    assert resolve("berg") == (["NoError"], ["anna@example.com"])
    assert resolve("zoe") == (["ErrorNameResolutionNoResults"], [])


def test_ids_convert_between_formats_and_back() -> None:
    """Hexadecimal and base64 forms of one id lead to each other; junk is malformed."""
    world = office()
    world.book(ANN, utc(20, 9), utc(20, 10))
    token = etree.fromstring(item_ids(world)[0]).get("Id") or ""

    def convert(source: str, value: str, wanted: str) -> etree._Element:
        request = (
            f'<m:ConvertId DestinationFormat="{wanted}"><m:SourceIds><t:AlternateId Format="{source}" Id="{value}" '
            f'Mailbox="{ANN}"/></m:SourceIds></m:ConvertId>'
        )
        return tree(EwsFace(world).answer(soap(request), ANN))

    hexadecimal = next(convert("EwsId", token, "HexEntryId").iter("{*}AlternateId")).get("Id") or ""
    assert next(convert("HexEntryId", hexadecimal, "EwsId").iter("{*}AlternateId")).get("Id") == token
    assert values(convert("EwsId", "DUMMY", "EntryId"), "ResponseCode") == ["ErrorInvalidIdMalformed"]


def test_zones_are_listed_by_id_and_refused_when_unknown() -> None:
    """One zone asked is one zone answered, with or without its rules."""

    def zones(name: str, full: str) -> etree._Element:
        request = (
            f'<m:GetServerTimeZones ReturnFullTimeZoneData="{full}"><m:Ids><t:Id>{name}</t:Id></m:Ids>'
            "</m:GetServerTimeZones>"
        )
        return tree(EwsFace(office()).answer(soap(request), ANN))

    berlin = zones("W. Europe Standard Time", "true")
    assert [period.get("Bias") for period in berlin.iter(f"{T}Period")] == ["-PT1H", "-PT2H"]
    assert values(berlin, "Occurrence") == ["-1", "-1"]
    assert list(zones("W. Europe Standard Time", "false").iter(f"{T}Period")) == []
    assert values(zones("Mars", "true"), "ResponseCode") == ["ErrorTimeZone"]
    assert [period.get("Bias") for period in zones("UTC", "true").iter(f"{T}Period")] == ["PT0S"]


def test_folders_can_be_walked_from_the_top() -> None:
    """The calendar lies below the top of the store, under the name its owner gave it."""
    world = office()
    world.mailbox(ANN).calendar_name = "Kalender"
    walk = soap(
        '<m:FindFolder Traversal="Deep"><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>'
        '<m:ParentFolderIds><t:DistinguishedFolderId Id="root"/></m:ParentFolderIds></m:FindFolder>'
    )
    root = tree(EwsFace(world).answer(walk, ANN))
    assert values(root, "DisplayName") == ["Top of Information Store", "Kalender", "Deleted Items", "Inbox"]
    assert codes(world, walk, SERVICE) == ["ErrorMissingEmailAddress"]
