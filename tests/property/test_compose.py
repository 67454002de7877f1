"""Properties of composition that hold for every mixture of facts, choices and instants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.compose import compose
from gateway.core.composer import Chosen, Composer, Dismissed, Item
from gateway.core.dismissal import dismissal
from gateway.core.document import encode
from gateway.core.evidence import Evidence, newest
from gateway.core.model import (
    AllDayBusy,
    Availability,
    Block,
    Busy,
    Confirmation,
    Dismissal,
    Fact,
    Kind,
    Level,
    OutOfOffice,
    Override,
    Person,
    Phone,
    Policy,
    Preferences,
    Presence,
    Schedule,
    Tentative,
    Withdrawal,
    WorkingElsewhere,
)

ANN = "ann@example.com"
PERSON = Person(ANN, calendar="hq", phones={"pbx": ("1",)})
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
WINDOW = timedelta(hours=48)

minutes = st.integers(0, 60 * 60).map(lambda minute: timedelta(minutes=minute))
instants = minutes.map(lambda offset: MIDNIGHT + offset)
optional_bool = st.none() | st.booleans()

policies = st.builds(
    Policy,
    calendar_opt_in=st.booleans(),
    override=st.sampled_from(Override),
    no_session=st.sampled_from([Availability.OFFLINE, Availability.UNKNOWN, Availability.AVAILABLE]),
    show_until=st.booleans(),
    tentative=st.sampled_from(Tentative),
    out_of_office=st.sampled_from(OutOfOffice),
    all_day_busy=st.sampled_from(AllDayBusy),
    working_elsewhere=st.sampled_from(WorkingElsewhere),
    ringing_counts=st.booleans(),
    ringing_tooltip=st.booleans(),
    hold_tooltip=st.booleans(),
)
preferences = st.builds(
    Preferences,
    calendar_opt_in=optional_bool,
    override=st.none() | st.sampled_from(Override),
    show_until=optional_bool,
    invisible=optional_bool,
    tentative=st.none() | st.sampled_from(Tentative),
    out_of_office=st.none() | st.sampled_from(OutOfOffice),
    all_day_busy=st.none() | st.sampled_from(AllDayBusy),
)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """A block of up to five hours that overlaps the window."""
    start = MIDNIGHT + timedelta(minutes=draw(st.integers(-120, 48 * 60 - 1)) // 15 * 15)
    length = timedelta(minutes=15 * draw(st.integers(1, 20)))
    return Block(
        start, max(start + length, MIDNIGHT + timedelta(minutes=1)), draw(st.sampled_from(Busy)), draw(st.booleans())
    )


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """A window's schedule."""
    found = draw(st.lists(blocks(), max_size=6, unique=True))
    return Schedule(
        MIDNIGHT, MIDNIGHT + WINDOW, tuple(sorted(found, key=lambda each: (each.start, each.end, each.busy)))
    )


Tell = Callable[[datetime, int], Fact]


@st.composite
def tellings(draw: st.DrawFn) -> Tell:
    """A fact that a source may tell at some instant with some sequence number."""
    kind = draw(st.sampled_from(["call", "link", "session", "status", "calendar"]))
    lease = timedelta(minutes=draw(st.integers(1, 600)))
    before = timedelta(minutes=draw(st.integers(0, 30)))
    until = draw(st.none() | st.integers(1, 600).map(lambda minute: timedelta(minutes=minute)))
    key = draw(st.sampled_from(["1", "2"]))
    if kind in ("call", "link"):
        state = draw(st.sampled_from(Phone))
        source = "push" if kind == "call" else "pbx"
        return lambda now, seq: Fact(ANN, Kind.PHONE, source, key, seq, state, now - before, now, None, now + lease)
    if kind == "session":
        there = draw(st.sampled_from(Availability))
        return lambda now, seq: Fact(
            ANN, Kind.AVAILABILITY, "push", f"s{key}", seq, there, now - before, now, None, now + lease
        )
    if kind == "status":
        chosen = draw(st.sampled_from([state for state in Availability if state is not Availability.ENDED]))
        return lambda now, seq: Fact(
            ANN,
            Kind.AVAILABILITY,
            "push",
            "status",
            seq,
            chosen,
            now,
            now,
            None if until is None else now + until,
            None if until is None else now + until,
            manual=True,
        )
    schedule = draw(schedules())
    server = draw(st.sampled_from(["hq", "legacy"]))
    return lambda now, seq: Fact(ANN, Kind.CALENDAR, server, "schedule", seq, schedule, MIDNIGHT, now)


@dataclass
class Step:
    """What happens, and how long after the step before."""

    after: timedelta
    tell: Tell | None = None
    withdraw: int | None = None
    choose: Preferences | None = None
    dismiss: bool = False
    confirm: str | None = None
    prepare: bool = False


steps = st.builds(
    Step,
    after=st.integers(0, 240).map(lambda minute: timedelta(minutes=minute)),
    tell=st.none() | tellings(),
    withdraw=st.none() | st.integers(0, 5),
    choose=st.none() | preferences,
    dismiss=st.booleans(),
    confirm=st.none() | st.sampled_from(["hq", "legacy", "pbx"]),
    prepare=st.booleans(),
)


@dataclass
class Model:
    """The slow truth: keeps every fact for ever and composes from scratch."""

    policy: Policy
    facts: list[Fact] = field(default_factory=list)
    preferences: Preferences = field(default_factory=Preferences)
    dismissal: Dismissal | None = None
    confirmed: dict[str, dict[str, datetime]] = field(default_factory=dict)
    seq: int = 0

    def evidence(self) -> Evidence:
        """All that counts now, in no particular order."""
        return Evidence(PERSON, newest(reversed(self.facts)), self.preferences, self.dismissal, self.confirmed)

    def presence(self, now: datetime) -> Presence:
        """From scratch."""
        return compose(self.evidence(), self.policy, now)

    def take(self, step: Step, now: datetime) -> list[Item]:
        """Do the step here; returns the same as items for a composer."""
        items: list[Item] = []
        if step.tell is not None:
            self.seq += 1
            fact = step.tell(now, self.seq)
            self.facts.append(fact)
            items.append(fact)
        if step.withdraw is not None and self.facts:
            gone = self.facts[step.withdraw % len(self.facts)]
            self.seq += 1
            self.facts = [fact for fact in self.facts if (fact.source, fact.key) != (gone.source, gone.key)]
            items.append(Withdrawal(ANN, gone.source, gone.key, self.seq))
        if step.choose is not None:
            self.preferences = step.choose
            items.append(Chosen(ANN, step.choose))
        if step.dismiss:
            calendar = self.presence(now).calendar
            until = None if calendar is None else calendar.until
            self.dismissal = None if until is None else dismissal(self.evidence(), self.policy, now, until)
            items.append(Dismissed(ANN, self.dismissal))
        if step.confirm is not None:
            self.confirmed.setdefault(step.confirm, {})[ANN] = now
            items.append(Confirmation(step.confirm, {ANN: now}))
        return items


@settings(max_examples=400, deadline=None)
@given(policies, st.lists(steps, max_size=12))
def test_feeding_facts_and_ticks_one_by_one_equals_composing_from_scratch(policy: Policy, program: list[Step]) -> None:
    """After every step, and at every deadline on the way, the composer says what compose says."""
    model, composer, now = Model(policy), Composer(policy), MIDNIGHT
    composer.set_people([PERSON], now)
    for step in program:
        then = now + step.after
        if step.prepare and (coming := composer.next_deadline()) is not None:
            composer.prepare(composer.unprepared(coming), coming)
        while (deadline := composer.next_deadline()) is not None and deadline <= then:
            just_before = deadline - timedelta(milliseconds=1)
            if just_before > now:
                assert composer.presence(ANN) == model.presence(just_before)
            composer.advance(deadline)
            assert composer.presence(ANN) == model.presence(deadline)
        now = then
        before = composer.presence(ANN)
        changed = composer.observe(model.take(step, now), now)
        assert composer.presence(ANN) == model.presence(now)
        assert bool(changed) == (composer.presence(ANN) != before)


@settings(max_examples=200, deadline=None)
@given(policies, preferences, st.lists(tellings(), max_size=8), st.randoms(use_true_random=False), minutes)
def test_the_order_of_facts_does_not_matter(
    policy: Policy, chosen: Preferences, told: list[Tell], random: object, after: timedelta
) -> None:
    """Any order of the same facts gives the same bytes at every level."""
    facts = [tell(MIDNIGHT + timedelta(minutes=10 * number), number) for number, tell in enumerate(told, 1)]
    shuffled = list(facts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    now = MIDNIGHT + after
    one, other = (compose(Evidence(PERSON, newest(each), chosen), policy, now) for each in (facts, shuffled))
    assert one == other
    for level in Level:
        assert encode(one, level) == encode(other, level)


@settings(max_examples=400, deadline=None)
@given(policies, preferences, st.lists(tellings(), max_size=6), minutes)
def test_next_is_exact(policy: Policy, chosen: Preferences, told: list[Tell], after: timedelta) -> None:
    """`next` names the first later instant at which label or reach differ while leases hold, and what is shown then."""
    now = MIDNIGHT + after
    facts = [tell(now - timedelta(minutes=10 * number), len(told) - number) for number, tell in enumerate(told)]
    confirmed = {"hq": {ANN: now}, "legacy": {ANN: now}, "pbx": {"*": now}}
    evidence = Evidence(PERSON, tuple(newest(facts)), chosen, None, confirmed)
    presence = compose(evidence, policy, now)
    frozen = [
        replace(fact, expires_at=None) for fact in evidence.facts if fact.expires_at is None or fact.expires_at > now
    ]

    def at(instant: datetime) -> Presence:
        healthy = {source: {ANN: instant, "*": instant} for source in confirmed}
        return compose(Evidence(PERSON, frozen, chosen, None, healthy), policy, instant)

    def shows(seen: Presence) -> tuple[object, ...]:
        return seen.effective.kind, seen.effective.state, seen.effective.label, seen.reach

    window_end = MIDNIGHT + WINDOW
    edges = {fact.until for fact in frozen if fact.until}
    for fact in frozen:
        if isinstance(fact.value, Schedule) and now < window_end:
            edges |= {edge for each in fact.value.blocks for edge in (each.start, each.end) if edge < window_end}
    first = next((edge for edge in sorted(edges) if edge > now and shows(at(edge)) != shows(presence)), None)
    if first is None or (now < window_end <= first):
        assert presence.next is None or presence.next.at == first
    else:
        assert presence.next is not None
        assert presence.next.at == first
        assert (presence.next.effective, presence.next.reach) == (at(first).effective, at(first).reach)


@settings(max_examples=200, deadline=None)
@given(policies, preferences, st.lists(tellings(), max_size=8))
def test_every_fact_expires_if_all_sources_fall_silent(policy: Policy, chosen: Preferences, told: list[Tell]) -> None:
    """Long after the last word only what the person chose without an end is left, and nothing waits any more."""
    facts = [tell(MIDNIGHT + timedelta(minutes=number), number) for number, tell in enumerate(told, 1)]
    composer = Composer(policy)
    composer.set_people([PERSON], MIDNIGHT)
    composer.observe([Chosen(ANN, chosen), *facts], MIDNIGHT + timedelta(minutes=10))
    rounds = 0
    while (deadline := composer.next_deadline()) is not None:
        composer.advance(deadline)
        rounds += 1
        assert rounds < 1000
    presence = composer.presence(ANN)
    assert presence is not None
    assert presence.phone is not None
    assert presence.phone.state == "idle"
    assert presence.calendar is None or presence.calendar.state == "unknown"
    lasting = [fact for fact in newest(facts) if fact.manual and fact.until is None]
    expected = lasting[0].value if lasting else policy.no_session
    assert presence.availability.state == expected
    assert presence.next is None


@settings(max_examples=200, deadline=None)
@given(policies, schedules(), st.lists(steps, max_size=10))
def test_nothing_but_expiry_withdrawal_or_opt_out_makes_a_known_calendar_unknown(
    policy: Policy, schedule: Schedule, program: list[Step]
) -> None:
    """Whatever else happens, a calendar read within a day and inside its window stays known."""
    model = Model(replace(policy, calendar_opt_in=True))
    read = Fact(ANN, Kind.CALENDAR, "hq", "schedule", 0, schedule, MIDNIGHT, MIDNIGHT)
    model.facts.append(read)
    now = MIDNIGHT
    for step in program:
        now = min(now + step.after, MIDNIGHT + timedelta(hours=24) - timedelta(milliseconds=1))
        chosen = None if step.choose is None else replace(step.choose, calendar_opt_in=True)
        model.take(replace(step, withdraw=None, choose=chosen), now)
        calendar = model.presence(now).calendar
        assert calendar is not None
        assert calendar.state != "unknown"


@settings(max_examples=300, deadline=None)
@given(policies, schedules(), instants)
def test_the_timeline_agrees_with_looking_at_every_block(policy: Policy, schedule: Schedule, now: datetime) -> None:
    """The state at an instant is that of the strongest block that holds it, found by looking at all of them."""
    policy = replace(policy, calendar_opt_in=True, override=Override.NONE)
    if now >= schedule.window_end or now - MIDNIGHT >= timedelta(hours=24):
        return
    order = ["free", "working_elsewhere", "tentative", "in_meeting", "out_of_office"]
    holding = ["free"]
    for each in schedule.blocks:
        if each.start <= now < each.end:
            if each.busy is Busy.BUSY and not (each.all_day and policy.all_day_busy is AllDayBusy.IGNORE):
                holding.append("in_meeting")
            if each.busy is Busy.OUT_OF_OFFICE and policy.out_of_office is not OutOfOffice.IGNORE:
                holding.append("out_of_office")
            if each.busy is Busy.TENTATIVE:
                holding.append("in_meeting" if policy.tentative is Tentative.BUSY else "tentative")
            if each.busy is Busy.WORKING_ELSEWHERE:
                holding.append("working_elsewhere")
    read = Fact(ANN, Kind.CALENDAR, "hq", "schedule", 1, schedule, MIDNIGHT, MIDNIGHT)
    calendar = compose(Evidence(PERSON, [read]), policy, now).calendar
    assert calendar is not None
    assert calendar.state == max(holding, key=order.index)
