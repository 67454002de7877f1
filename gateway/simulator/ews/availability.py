"""GetUserAvailability: free and busy times of up to a hundred mailboxes (MS-OXWAVLS)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache

from lxml import etree

from gateway.simulator.ews.options import REQUEST_VERSIONS, EwsOptions
from gateway.simulator.ews.soap import (
    ILLEGAL_REFERENCE,
    MESSAGES,
    E,
    Fault,
    M,
    Refused,
    Request,
    SchemaFault,
    T,
    child_text,
    line_of,
    text,
)
from gateway.simulator.world import GARBLED, SILENT, Busy, Occurrence, OccurrenceKind, Right, WorkingHours, World
from gateway.simulator.zones import RuleZone, Transition, rule_zone

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
VIEWS = ("MergedOnly", "FreeBusy", "FreeBusyMerged", "Detailed", "DetailedMerged")
_DIGITS = {Busy.TENTATIVE: 1, Busy.BUSY: 2, Busy.OOF: 3, Busy.NO_DATA: 4}
_EXCEPTION_CODES = {"ErrorInvalidSmtpAddress": 5035, "ErrorServiceDiscoveryFailed": 5021}
_SINCE_2013 = frozenset(REQUEST_VERSIONS[REQUEST_VERSIONS.index("Exchange2013") :])
_NO_CHANGE = Transition(bias=0, at=time(), order=0, month=0, weekday=6)
_GARBLED_EVENTS = (
    "<CalendarEvent><StartTime>2026-11-20T10:00:00</StartTime><EndTime>2026-11-20T09:00:00</EndTime>"
    "<BusyType>Busy</BusyType></CalendarEvent><CalendarEvent><StartTime>today at ten</StartTime>"
    "<EndTime>later</EndTime><BusyType>Occupied</BusyType></CalendarEvent>"
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a GetUserAvailability request asks. `start` and `end` are UTC; `interval` is minutes."""

    zone: RuleZone
    addresses: tuple[str, ...]
    start: datetime
    end: datetime
    interval: int
    view: str


def answer(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """The GetUserAvailabilityResponse for a request. Raises Fault for what fails as a whole."""
    question = read(request.element)
    _check(question, options)
    if options.throttled in ("fault", "connections"):
        _refuse_throttled(world, question, options)
    writer = _Writer(world, options, question, request.version, caller)
    entries = [writer.entry(address) for address in question.addresses]
    if options.drop_entry and len(entries) > 1:
        entries.pop()
    return (
        f'<GetUserAvailabilityResponse xmlns="{M}"><FreeBusyResponseArray>'
        + "".join(entries)
        + "</FreeBusyResponseArray></GetUserAvailabilityResponse>"
    )


def read(element: etree._Element) -> Question:
    """Parse the request element. Raises Fault."""
    zone, view = element.find(f"{{{T}}}TimeZone"), element.find(f"{{{T}}}FreeBusyViewOptions")
    if zone is None:
        raise Fault("ErrorTimeZone", "The request must carry a time zone.")
    if view is None:
        raise Fault("ErrorMissingArgument", "The request must carry FreeBusyViewOptions.")
    start, end = child_text(view, "TimeWindow/StartTime"), child_text(view, "TimeWindow/EndTime")
    try:
        rules = _read_zone(zone)
        return Question(
            zone=rules,
            addresses=mailboxes(element),
            start=_moment(start or "", rules),
            end=_moment(end or "", rules),
            interval=int(child_text(view, "MergedFreeBusyIntervalInMinutes") or 30),
            view=child_text(view, "RequestedView") or "FreeBusy",
        )
    except (ValueError, IndexError) as error:
        raise SchemaFault(str(error), line_of(view)) from None


def mailboxes(element: etree._Element) -> tuple[str, ...]:
    """The addresses a request asks about, in its order."""
    path = f"{{{M}}}MailboxDataArray/{{{T}}}MailboxData/{{{T}}}Email/{{{T}}}Address"
    return tuple((address.text or "").strip() for address in element.iterfind(path))


def _read_zone(element: etree._Element) -> RuleZone:
    bias = int(child_text(element, "Bias") or 0)
    standard, daylight = element.find(f"{{{T}}}StandardTime"), element.find(f"{{{T}}}DaylightTime")
    if standard is None or daylight is None:
        return RuleZone(bias)
    return RuleZone(bias, _read_transition(standard), _read_transition(daylight))


def _read_transition(element: etree._Element) -> Transition:
    order = int(child_text(element, "DayOrder") or 0)
    return Transition(
        bias=int(child_text(element, "Bias") or 0),
        at=time.fromisoformat(child_text(element, "Time") or "00:00:00"),
        order=5 if order == -1 else order,
        month=int(child_text(element, "Month") or 0),
        weekday=WEEKDAYS.index(child_text(element, "DayOfWeek") or "Sunday"),
    )


def _moment(value: str, zone: RuleZone) -> datetime:
    moment = datetime.fromisoformat(value)
    return zone.to_utc(moment) if moment.tzinfo is None else moment.astimezone(UTC)


def _check(question: Question, options: EwsOptions) -> None:
    if not question.addresses:
        raise Fault("ErrorMailboxDataArrayEmpty", "No mailbox was named.")
    if len(question.addresses) > options.maximum_mailboxes:
        asked, limit = len(question.addresses), options.maximum_mailboxes
        raise Fault("ErrorMailboxDataArrayTooBig", f"The number of mailboxes is {asked}; the allowed limit is {limit}.")
    if question.view not in VIEWS:
        raise Fault("ErrorInvalidFreeBusyViewType", f"{question.view} cannot be requested.")
    length = question.end - question.start
    if length <= timedelta(0):
        raise Fault("ErrorInvalidTimeInterval", "The end of the time window must be after its start.")
    if length > timedelta(days=options.maximum_window_days):
        raise Fault(
            "ErrorTimeIntervalTooBig",
            f"The allowed limit is {options.maximum_window_days} days; the request has {length.days} days.",
        )
    if not 5 <= question.interval <= 1440 or timedelta(minutes=question.interval) > length:
        raise Fault("ErrorInvalidMergedFreeBusyInterval", "The merged free/busy interval is not valid.")


def _refuse_throttled(world: World, question: Question, options: EwsOptions) -> None:
    if not any(world.fault(address) == "ErrorServerBusy" for address in question.addresses):
        return
    if options.throttled == "connections":
        code = "ErrorExceededConnectionCount"
        values = {"Policy": "MaxConcurrency", "MaxConcurrencyLimit": "27", "ErrorMessage": code}
        raise Fault(code, "You have exceeded the available concurrent connections for your account.", values)
    values = {"BackOffMilliseconds": str(options.back_off_ms)} if options.back_off_ms else {}
    raise Fault("ErrorServerBusy", values=values)


class _Writer:
    """Writes the entries of one answer; everything that is the same for all mailboxes is settled once."""

    def __init__(self, world: World, options: EwsOptions, question: Question, version: str, caller: str) -> None:
        self.world = world
        self.options = options
        self.question = question
        self.caller = caller
        self.elsewhere = options.working_elsewhere == "always" or (
            options.working_elsewhere == "since_2013" and version in _SINCE_2013
        )
        self.style = "offset" if options.gromox else options.times
        self.shift = (
            timedelta(minutes=question.zone.bias + (question.zone.standard.bias if question.zone.standard else 0))
            if question.zone.constant
            else None
        )

    def entry(self, address: str) -> str:
        """The FreeBusyResponse of one mailbox, good or failed."""
        try:
            view = self.view(address)
        except Refused as refused:
            return _failed(refused)
        return (
            '<FreeBusyResponse><ResponseMessage ResponseClass="Success"><ResponseCode>NoError</ResponseCode>'
            f"</ResponseMessage><FreeBusyView>{view}</FreeBusyView></FreeBusyResponse>"
        )

    def view(self, address: str) -> str:
        """The content of one FreeBusyView. Raises Refused."""
        right = self._right(address)
        question, options = self.question, self.options
        view = question.view
        if view.startswith("Detailed") and right < Right.LIMITED_DETAILS:
            view = view.replace("Detailed", "FreeBusy")  # the caller gets as much as its rights reach
        if options.gromox:
            view = "Detailed" if view.startswith("Detailed") else "FreeBusy"
        occurrences = self.world.occurrences(address, question.start, question.end, touching=True)
        if len(occurrences) > options.maximum_events:
            raise Refused("ErrorResultSetTooBig")
        parts = [f'<FreeBusyViewType xmlns="{T}">{view}</FreeBusyViewType>']
        if "Merged" in view and options.digits:
            parts.append(f'<MergedFreeBusy xmlns="{T}">{self.digits(occurrences)}</MergedFreeBusy>')
        if view == "MergedOnly":
            return "".join(parts)
        if self.world.fault(address) == GARBLED:
            events = _GARBLED_EVENTS
        else:
            detail = right if view.startswith("Detailed") else None
            events = "".join([self.event(one, detail) for one in occurrences if self._listed(one)])
        if events or options.empty_array == "empty":
            parts.append(f'<CalendarEventArray xmlns="{T}">{events}</CalendarEventArray>')
        mailbox = self.world.mailbox(address)
        if mailbox.working_hours is not None and options.working_hours != "missing" and not options.gromox:
            days = options.working_hours == "full"
            parts.append(working_hours(mailbox.zone, mailbox.working_hours, question.start.year, days))
        return "".join(parts)

    def _right(self, address: str) -> Right:
        fault = self.world.fault(address)
        if fault == "ErrorServerBusy":
            raise self._throttled()
        if "@" not in address:
            raise Refused("ErrorInvalidSmtpAddress")
        if address.lower() not in self.world.mailboxes:
            raise Refused(fault if fault and fault not in (GARBLED, SILENT) else "ErrorMailRecipientNotFound")
        right = self.world.right(address, self.caller)
        if fault == "ErrorNoFreeBusyAccess" and right is Right.OWNER:
            fault = None
        if fault is not None and fault not in (GARBLED, SILENT):
            raise Refused(fault)
        if right is Right.NONE:
            raise Refused("ErrorNoFreeBusyAccess")
        return right

    def _throttled(self) -> Refused:
        wait = self.options.back_off_ms
        values = f'<Value xmlns="{T}" Name="BackOffMilliseconds">{wait}</Value>' if wait else ""
        if self.options.throttled == "inner":
            inner = (
                f'<Value xmlns="{T}" Name="InnerErrorMessageText">{MESSAGES["ErrorServerBusy"]}</Value>'
                f'<Value xmlns="{T}" Name="InnerErrorResponseCode">ErrorServerBusy</Value>'
                f'<Value xmlns="{T}" Name="InnerErrorDescriptiveLinkKey">0</Value>'
            )
            return Refused("ErrorInternalServerError", "An internal server error occurred.", inner + values)
        return Refused("ErrorServerBusy", xml=values)

    def _listed(self, one: Occurrence) -> bool:
        if one.busy is Busy.FREE and not self.options.free_events:
            return False
        if self.options.touching_events:
            return True
        return one.start < self.question.end and one.end > self.question.start

    def digits(self, occurrences: list[Occurrence]) -> str:
        """MergedFreeBusy: one digit per interval, the highest wins; free and working elsewhere are 0."""
        step, start = timedelta(minutes=self.question.interval), self.question.start
        slots = [0] * -(-(self.question.end - start) // step)
        for one in occurrences:
            digit = _DIGITS.get(one.busy, 0)
            first = max(0, (one.start - start) // step)
            beyond = min(len(slots), -(-(one.end - start) // step))
            for slot in range(first, beyond):
                slots[slot] = max(slots[slot], digit)
        return "".join(map(str, slots))

    def event(self, one: Occurrence, detail: Right | None) -> str:
        """One CalendarEvent; with details as far as the right reaches, or none at all."""
        busy = one.busy
        if busy is Busy.WORKING_ELSEWHERE and not self.elsewhere:
            busy = Busy.FREE
        details = "" if detail is None else self._details(one, detail)
        return (
            f"<CalendarEvent><StartTime>{self.stamp(one.start)}</StartTime>"
            f"<EndTime>{self.stamp(one.end)}</EndTime><BusyType>{busy.value}</BusyType>{details}</CalendarEvent>"
        )

    def _details(self, one: Occurrence, right: Right) -> str:
        item = one.item
        private = item.sensitivity in ("Private", "Confidential")
        texts = ""
        if not private or right is Right.OWNER:
            illegal = ILLEGAL_REFERENCE if self.options.illegal_reference else ""
            identity = f"<ID>{one.item_id.encode().hex().upper()}</ID>" if right >= Right.REVIEWER else ""
            texts = (
                f"{identity}<Subject>{text(item.subject)}{illegal}</Subject><Location>{text(item.location)}</Location>"
            )
        recurring = one.kind is not OccurrenceKind.SINGLE
        return (
            f"<CalendarEventDetails>{texts}<IsMeeting>{_bool('RequiredAttendees' in item.extra)}</IsMeeting>"
            f"<IsRecurring>{_bool(recurring)}</IsRecurring>"
            f"<IsException>{_bool(one.kind is OccurrenceKind.EXCEPTION)}</IsException>"
            f"<IsReminderSet>{item.extra.get('ReminderIsSet', 'false')}</IsReminderSet>"
            f"<IsPrivate>{_bool(private)}</IsPrivate></CalendarEventDetails>"
        )

    def stamp(self, moment: datetime) -> str:
        """A time as this server prints it; naive ones are wall time of the request's zone."""
        if self.style == "utc":
            return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
        naive = moment.replace(tzinfo=None)
        local = naive - self.shift if self.shift is not None else self.question.zone.to_local(moment)
        if self.style == "naive":
            return local.isoformat(timespec="seconds")
        minutes = round((local - naive).total_seconds() / 60)
        sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
        return f"{local.isoformat(timespec='seconds')}{sign}{minutes // 60:02}:{minutes % 60:02}"


def _failed(refused: Refused) -> str:
    """A failed entry; it still has a view, of type None."""
    xml = refused.xml or (
        f'<ExceptionType xmlns="{E}">{refused.code.removeprefix("Error")}Exception</ExceptionType>'
        f'<ExceptionCode xmlns="{E}">{_EXCEPTION_CODES.get(refused.code, 5000)}</ExceptionCode>'
        f'<ExceptionServerName xmlns="{E}">EX01</ExceptionServerName>'
    )
    return (
        f'<FreeBusyResponse><ResponseMessage ResponseClass="Error"><MessageText>{text(refused.message)}</MessageText>'
        f"<ResponseCode>{refused.code}</ResponseCode><DescriptiveLinkKey>0</DescriptiveLinkKey>"
        f"<MessageXml>{xml}</MessageXml></ResponseMessage>"
        f'<FreeBusyView><FreeBusyViewType xmlns="{T}">None</FreeBusyViewType></FreeBusyView></FreeBusyResponse>'
    )


@lru_cache(maxsize=1024)
def working_hours(zone: str, hours: WorkingHours, year: int, with_days: bool) -> str:
    """The WorkingHours element of a mailbox: its zone as yearly rules, and one working period."""
    rules = rule_zone(zone, year)
    days = " ".join(WEEKDAYS[day] for day in hours.weekdays) if with_days else ""
    return (
        f'<WorkingHours xmlns="{T}"><TimeZone><Bias>{rules.bias}</Bias>'
        f"<StandardTime>{_transition(rules.standard)}</StandardTime>"
        f"<DaylightTime>{_transition(rules.daylight)}</DaylightTime></TimeZone>"
        f"<WorkingPeriodArray><WorkingPeriod><DayOfWeek>{days}</DayOfWeek>"
        f"<StartTimeInMinutes>{hours.start_minutes}</StartTimeInMinutes>"
        f"<EndTimeInMinutes>{hours.end_minutes}</EndTimeInMinutes></WorkingPeriod></WorkingPeriodArray></WorkingHours>"
    )


def _transition(rule: Transition | None) -> str:
    rule = rule or _NO_CHANGE
    return (
        f"<Bias>{rule.bias}</Bias><Time>{rule.at.isoformat(timespec='seconds')}</Time>"
        f"<DayOrder>{rule.order}</DayOrder><Month>{rule.month}</Month>"
        f"<DayOfWeek>{WEEKDAYS[rule.weekday]}</DayOfWeek>"
    )


def _bool(value: bool) -> str:
    return "true" if value else "false"
