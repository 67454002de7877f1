"""ResolveNames, ConvertId and GetServerTimeZones: what clients ask beside calendars."""

from __future__ import annotations

import base64

from lxml import etree

from gateway.simulator.ews import ids
from gateway.simulator.ews.messages import collect, failed, response
from gateway.simulator.ews.options import EwsOptions
from gateway.simulator.ews.soap import M, Refused, Request, T, quoted, text
from gateway.simulator.world import Mailbox, World
from gateway.simulator.zones import WINDOWS_TO_IANA, Transition, rule_zone

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_HEX = ("HexEntryId",)
_BASE64 = ("EwsId", "EwsLegacyId", "EntryId", "StoreId", "OwaId")
_MOST_CANDIDATES = 100


def resolve_names(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer ResolveNames: exact addresses, or beginnings of names and addresses."""
    element = request.element
    full = element.get("ReturnFullContactData") == "true"
    parts = []
    for entry in element.iterfind(f"{{{M}}}UnresolvedEntry"):
        found = _candidates(world, (entry.text or "").strip())
        if not found:
            parts.append(failed("ResolveNames", Refused("ErrorNameResolutionNoResults")))
            continue
        several = len(found) > 1
        code = "ErrorNameResolutionMultipleResults" if several else "NoError"
        shown = found[:_MOST_CANDIDATES]
        whole = "true" if len(found) == len(shown) else "false"
        warning = (
            "<m:MessageText>Multiple results were found.</m:MessageText>" if several else "",
            "<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>" if several else "",
        )
        parts.append(
            f'<m:ResolveNamesResponseMessage ResponseClass="{"Warning" if several else "Success"}">{warning[0]}'
            f"<m:ResponseCode>{code}</m:ResponseCode>{warning[1]}"
            f'<m:ResolutionSet TotalItemsInView="{len(found)}" IncludesLastItemInRange="{whole}">'
            f"{''.join(_resolution(mailbox, full) for mailbox in shown)}</m:ResolutionSet>"
            "</m:ResolveNamesResponseMessage>"
        )
    return response("ResolveNames", "".join(parts))


def convert_id(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer ConvertId for item and folder ids of mailboxes."""
    wanted = request.element.get("DestinationFormat") or "EwsId"

    def one(source: etree._Element) -> str:
        token = _converted(source.get("Id") or "", source.get("Format") or "EwsId", wanted)
        xsi = "http://www.w3.org/2001/XMLSchema-instance"
        return (
            f'<m:AlternateId xmlns:xsi="{xsi}" xsi:type="t:AlternateIdType" Format={quoted(wanted)} '
            f"Id={quoted(token)} Mailbox={quoted(source.get('Mailbox') or '')}/>"
        )

    found = request.element.find(f"{{{M}}}SourceIds")
    return collect("ConvertId", iter(found if found is not None else ()), one)


def get_server_time_zones(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer GetServerTimeZones for the zones asked, or all, with their rules of the current year."""
    full = request.element.get("ReturnFullTimeZoneData") != "false"
    asked = [(element.text or "").strip() for element in request.element.iterfind(f"{{{M}}}Ids/{{{T}}}Id")]

    def one(names: list[str]) -> str:
        if any(name not in WINDOWS_TO_IANA for name in names):
            raise Refused("ErrorTimeZone", "The time zone is not valid.")
        inner = "".join(_definition(name, world.now().year, full) for name in names)
        return f"<m:TimeZoneDefinitions>{inner}</m:TimeZoneDefinitions>"

    return collect("GetServerTimeZones", [asked or list(WINDOWS_TO_IANA)], one)


def _candidates(world: World, entry: str) -> list[Mailbox]:
    entry = entry.lower().removeprefix("smtp:")
    if entry in world.mailboxes:
        return [world.mailboxes[entry]]
    words = [entry] if entry else []
    return [
        mailbox
        for mailbox in world.mailboxes.values()
        if any(part.startswith(word) for word in words for part in (mailbox.address, *mailbox.name.lower().split()))
        or (entry and mailbox.name.lower().startswith(entry))
    ]


def _resolution(mailbox: Mailbox, full: bool) -> str:
    contact = ""
    if full:
        contact = (
            f"<t:Contact><t:DisplayName>{text(mailbox.name)}</t:DisplayName><t:EmailAddresses>"
            f'<t:Entry Key="EmailAddress1">SMTP:{text(mailbox.address)}</t:Entry></t:EmailAddresses>'
            "<t:ContactSource>ActiveDirectory</t:ContactSource></t:Contact>"
        )
    return (
        f"<t:Resolution><t:Mailbox><t:Name>{text(mailbox.name)}</t:Name>"
        f"<t:EmailAddress>{text(mailbox.address)}</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType>"
        f"<t:MailboxType>Mailbox</t:MailboxType></t:Mailbox>{contact}</t:Resolution>"
    )


def _converted(token: str, source: str, wanted: str) -> str:
    if source not in _HEX + _BASE64 or wanted not in _HEX + _BASE64:
        raise Refused("ErrorUnsupportedTypeForConversion", "That id format is not supported.")
    try:
        raw = bytes.fromhex(token) if source in _HEX else base64.b64decode(token, validate=True)
    except ValueError:
        raise Refused("ErrorInvalidIdMalformed") from None
    encoded = base64.b64encode(raw).decode()
    ids.unpack(raw[4:5].decode("ascii", "replace"), encoded)
    return raw.hex().upper() if wanted in _HEX else encoded


def _definition(name: str, year: int, full: bool) -> str:
    opening = f"<t:TimeZoneDefinition Id={quoted(name)} Name={quoted(name)}"
    if not full:
        return opening + "/>"
    rules = rule_zone(name, year)
    period = f"trule:Microsoft/Registry/{name}/{year}"
    standard = f"{period}-Standard"
    periods = f'<t:Period Bias="{_duration(rules.bias)}" Name="Standard" Id={quoted(standard)}/>'
    changes = f'<t:Transition><t:To Kind="Period">{text(standard)}</t:To></t:Transition>'
    if rules.standard is not None and rules.daylight is not None:
        daylight = f"{period}-Daylight"
        bias = _duration(rules.bias + rules.daylight.bias)
        periods += f'<t:Period Bias="{bias}" Name="Daylight" Id={quoted(daylight)}/>'
        changes = _recurring(rules.daylight, daylight) + _recurring(rules.standard, standard)
    return (
        f"{opening}><t:Periods>{periods}</t:Periods>"
        f'<t:TransitionsGroups><t:TransitionsGroup Id="0">{changes}</t:TransitionsGroup></t:TransitionsGroups>'
        '<t:Transitions><t:Transition><t:To Kind="Group">0</t:To></t:Transition></t:Transitions>'
        "</t:TimeZoneDefinition>"
    )


def _recurring(rule: Transition, period: str) -> str:
    order = -1 if rule.order == 5 else rule.order
    offset = _duration(rule.at.hour * 60 + rule.at.minute)
    return (
        f'<t:RecurringDayTransition><t:To Kind="Period">{text(period)}</t:To><t:TimeOffset>{offset}</t:TimeOffset>'
        f"<t:Month>{rule.month}</t:Month><t:DayOfWeek>{_DAYS[rule.weekday]}</t:DayOfWeek>"
        f"<t:Occurrence>{order}</t:Occurrence></t:RecurringDayTransition>"
    )


def _duration(minutes: int) -> str:
    """An xs:duration of whole minutes."""
    sign, minutes = ("-", -minutes) if minutes < 0 else ("", minutes)
    hours, rest = divmod(minutes, 60)
    inner = f"{hours}H" * bool(hours) + f"{rest}M" * bool(rest)
    return f"{sign}PT{inner or '0S'}"
