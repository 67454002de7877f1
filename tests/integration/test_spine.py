"""The spine: a simulated Exchange in, presence over HTTP and server-sent events out, in one process on real sockets.

Most of it lives on a clock of the test's own. What is labelled real time does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.clock import Clock, SystemClock
from gateway.core.document import timestamp
from gateway.core.model import Block, Busy, Fact, Kind, Schedule
from gateway.records import fact_put
from gateway.stores import Change
from gateway.stores.sqlite import SqliteStore
from tests.clock import FakeClock
from tests.story.office import ANN, BEN, STAFF, Office, open_office
from tests.story.product import REFRESH, Files, Product, open_product, stored, write_files
from tests.story.screen import Document, Screen
from tests.story.waiting import starved, until

INTERVAL = REFRESH * 1.05
"""The longest time between two readings of a watched calendar: jitter is 2.5 % on either side."""
AT_ONCE = 1.0
"""Simulated seconds in which "at once" is over: the pauses of the stream's delivery are some milliseconds each."""
EDGE = timedelta(milliseconds=100)
"""The documented bound: after its time, an edge has reached everybody within this."""


def calendar(document: Document) -> Any:
    """The calendar component."""
    return document["components"].get("calendar")


async def test_the_founding_example(office: Office, gateway: Product) -> None:
    """A call outranks a meeting, a meeting outranks what clients declare, and all three stay visible."""
    api = gateway.api()
    await office.books("ann", "08:30", "10:00")
    async with gateway.screen() as screen:
        await api.session("ann", "available")
        await api.phone("ann", "connected")
        await office.clock.sleep(0)
        await advance(office, INTERVAL)
        await screen.shows("ann", "On the phone", where=lambda document: calendar(document)["state"] == "in_meeting")

    document = await api.presence("ann")
    assert document["effective"]["label"] == "On the phone"
    assert document["tooltip"] == "Online, On the phone, In a meeting"
    states = {kind: part["state"] for kind, part in document["components"].items()}
    assert states == {"availability": "available", "phone": "connected", "calendar": "in_meeting"}

    await api.hangs_up("ann")

    document = await api.presence("ann")
    assert document["effective"]["label"] == "In a meeting"
    assert document["effective"]["since"] == "2026-11-20T08:30:00.000Z"
    assert document["tooltip"] == "Online, In a meeting"


async def advance(office: Office, seconds: float) -> None:
    """Let the office's simulated time pass."""
    assert isinstance(office.clock, FakeClock)
    await office.clock.advance(seconds)


async def a_single_and_a_weekly_meeting(
    office: Office, screen: Screen, seen: Callable[[str | None, Callable[[Document], bool]], Awaitable[None]]
) -> None:
    """Ann books, moves and deletes over the wire; after each step `seen` waits for the screen to show its effect."""
    now = office.clock.now().replace(microsecond=0)
    start, end, hour, day = (
        now - timedelta(minutes=30),
        now + timedelta(minutes=30),
        timedelta(hours=1),
        timedelta(days=1),
    )

    def next_at(instant: datetime | None) -> Callable[[Document], bool]:
        if instant is None:
            return lambda document: document["next"] is None
        return lambda document: document["next"] is not None and document["next"]["at"] == timestamp(instant)

    async with office.owner("ann").at_work() as ann:
        meeting = await ann.books(start, end)
        await seen("In a meeting", next_at(end))
        await ann.moves(meeting, start, end + hour / 4)
        await seen("In a meeting", next_at(end + hour / 4))
        await ann.deletes(meeting)
        await seen("Available", next_at(None))

        series = await ann.books(start, end, weekly=(start, start + day))
        await seen("In a meeting", next_at(end))
        await ann.deletes(await ann.occurrence(series, 1))
        await seen("Available", next_at(start + day))
        await ann.moves(await ann.occurrence(series, 2), start + day + hour / 4, end + day + hour / 4)
        await seen("Available", next_at(start + day + hour / 4))
        await ann.deletes(series)
        await seen("Available", next_at(None))


async def test_what_exchangelib_does_is_shown_at_once_after_the_simulated_interval(
    clock: FakeClock, office: Office
) -> None:
    """A meeting booked, moved and deleted by a foreign client, over TLS and NTLM, reaches a stream with one reading."""
    async with open_product(office, no_session="available", show_until=True) as gateway:
        await gateway.has_read()
        async with gateway.screen("watch", "ann") as screen:

            async def seen(label: str | None, fits: Callable[[Document], bool]) -> None:
                before = clock.now()
                await clock.advance(INTERVAL)
                await screen.shows("ann", label, where=fits)
                assert clock.now() - before <= timedelta(seconds=INTERVAL + AT_ONCE)

            await a_single_and_a_weekly_meeting(office, screen, seen)


async def test_what_exchangelib_does_is_shown_within_one_interval_in_real_time(tmp_path: Path) -> None:
    """The same on the machine's clock, with an interval of a second and a half."""
    clock, refresh = SystemClock(), 1.5
    async with (
        open_office(clock, tmp_path, ("ann", "ben")) as office,
        open_product(office, refresh=refresh, no_session="available", show_until=True) as gateway,
        gateway.screen("watch", "ann") as screen,
    ):
        reading = 0.5  # seconds that Exchange's answer may take

        async def seen(label: str | None, fits: Callable[[Document], bool]) -> None:
            await screen.shows("ann", label, where=fits, within=refresh * 1.05 + reading)

        await a_single_and_a_weekly_meeting(office, screen, seen)


async def test_meetings_begin_and_end_on_time_while_exchange_is_down(
    clock: FakeClock, office: Office, gateway: Product
) -> None:
    """Their edges come from the schedule: exactly at their instants, with nobody asked."""
    await office.books("ann", "09:30", "10:00")
    async with gateway.screen() as screen:
        await clock.advance(INTERVAL)
        await screen.shows("ann", where=lambda document: calendar(document)["state"] == "free")
        await gateway.has_read()
        await screen.shows("ann", "Offline")
        office.closes()
        requests = office.exchange.journal.requests
        await to_just_before(clock, office.at("09:30"))
        assert screen.label("ann") == "Offline"
        await clock.advance(0.001)
        document = await screen.shows("ann", "In a meeting")
        assert document["effective"]["since"] == "2026-11-20T09:30:00.000Z"
        await to_just_before(clock, office.at("10:00"))
        assert screen.label("ann") == "In a meeting"
        await clock.advance(0.001)
        await screen.shows("ann", "Offline")
        assert office.exchange.journal.requests == requests


async def to_just_before(clock: FakeClock, instant: datetime) -> None:
    """A millisecond before that instant, by steps in which sockets keep up."""
    while (left := (instant - clock.now()).total_seconds() - 0.001) > 0:
        await clock.advance(min(left, 60.0))


async def test_an_edge_reaches_500_people_within_100_milliseconds_in_real_time(tmp_path: Path) -> None:
    """All their meetings begin in the same second with Exchange gone: nobody is early, nobody 100 ms late."""
    clock = SystemClock()
    names = [f"p{number:03}" for number in range(500)]
    async with (
        open_office(clock, tmp_path, names) as office,
        open_product(office, refresh=1.0, no_session="available", show_until=True) as gateway,
        gateway.screen() as screen,
    ):
        await gateway.has_read()
        start = (clock.now() + timedelta(seconds=4)).replace(microsecond=0)
        for name in names:
            await office.books(name, start, start + timedelta(hours=1))

        def knows(name: str) -> bool:
            document = screen.document(name)
            return document is not None and document["next"] is not None

        await until(lambda: all(map(knows, names)), clock, what="the knowledge of everybody's meeting")
        office.closes()
        assert clock.now() < start, "the machine was too slow to read 500 calendars before the edge"
        told, hunger = len(screen.seen), starved()

        def has_come() -> bool:
            nonlocal hunger
            if clock.now() < start:
                hunger = starved()
            return len(screen.seen) >= told + len(names)

        await until(has_come, clock, what="the edge")
        denied = starved() - hunger
        edge = screen.seen[told:]
        assert {seen.event.person for seen in edge} == set(office.people)
        late = [seen.at - start for seen in edge]
        assert min(late) >= timedelta(0)
        assert max(late) <= EDGE + denied, f"the machine kept the processor away for {denied}"
        assert all(screen.label(name) == "In a meeting" for name in names)


async def test_a_calendar_that_cannot_be_read_turns_stale_after_15_minutes(
    clock: FakeClock, office: Office, gateway: Product
) -> None:
    """The label stays, the component says so and as of when, and a reading takes the remark away."""
    await office.books("ann", "08:00", "18:00")
    async with gateway.screen("watch", "ann") as screen:
        await clock.advance(INTERVAL)
        await screen.shows("ann", "In a meeting")
        office.closes()
        read = await confirmed(clock, gateway, ANN)
        await to_just_before(clock, read + timedelta(minutes=15))
        assert "stale" not in calendar(screen.document("ann") or {})
        await clock.advance(0.001)
        document = await screen.shows("ann", "In a meeting", where=lambda document: "stale" in calendar(document))
        assert calendar(document)["stale"] is True
        assert calendar(document)["as_of"] == timestamp(read)

        await office.reopens()
        await clock.advance(600)
        document = await screen.shows("ann", "In a meeting", where=lambda document: "stale" not in calendar(document))
        assert "as_of" not in calendar(document)


async def confirmed(clock: FakeClock, gateway: Product, person: str) -> datetime:
    """When a calendar was read for the last time, once that is in the store; what was read is written with a delay."""
    api = gateway.api()
    for _ in range(30):
        health = (await api.get("/v1/calendars/hq/mailboxes"))["mailboxes"]
        read = next(each["last_success"] for each in health if each["person"] == person)
        if (await api.get(f"/v1/presence/{person}/why"))["calendar_confirmed"] == read:
            return datetime.fromisoformat(read)
        await clock.advance(5)
    raise AssertionError("a reading was not confirmed within 150 s")


async def test_a_calendar_not_read_for_a_day_is_unknown(clock: FakeClock, office: Office, gateway: Product) -> None:
    """Even inside its window, and on a machine that slept through that day."""
    await office.books("ann", "08:00", "23:00")
    async with gateway.screen("watch", "ann") as screen:
        await clock.advance(INTERVAL)
        await screen.shows("ann", "In a meeting")
        office.closes()
        clock.jump(timedelta(hours=13, minutes=30).total_seconds())
        await clock.advance(2)
        await screen.shows("ann", "In a meeting", where=lambda document: "stale" in calendar(document))
        clock.jump(timedelta(hours=10, minutes=30).total_seconds())
        await clock.advance(2)
        document = await screen.shows("ann", "Offline", where=lambda document: calendar(document)["state"] == "unknown")
        assert calendar(document) == {"state": "unknown", "label": None, "since": None, "until": None}


async def test_a_calendar_is_unknown_once_its_window_is_used_up(
    clock: FakeClock, office: Office, tmp_path: Path
) -> None:
    """At the end of what was read, not a moment earlier, free time is no longer told from ignorance."""
    end = office.at("09:10")
    schedule = Schedule(end - timedelta(hours=48), end, (Block(office.at("08:00"), end, Busy.BUSY),))
    files = write_files(tmp_path, office.people, office.exchange)
    await remember(files, clock, Fact(ANN, Kind.CALENDAR, "hq", "schedule", 0, schedule, clock.now(), clock.now()))
    office.closes()
    product = Product(files, clock)
    await product.start()
    try:
        async with product.screen("watch", "ann") as screen:
            await screen.shows("ann", "In a meeting")
            await to_just_before(clock, end)
            assert screen.label("ann") == "In a meeting"
            await clock.advance(0.001)
            await screen.shows("ann", "Offline", where=lambda document: calendar(document)["state"] == "unknown")
    finally:
        await product.stop()


async def remember(files: Files, clock: Clock, fact: Fact) -> None:
    """Put a fact into the store of a gateway that does not run."""
    store = await SqliteStore.open(f"sqlite://{files.folder / 'state.db'}", clock)
    await store.put([fact_put(fact)])
    await store.close()


async def test_who_opts_out_is_not_read_any_more_and_nothing_is_kept(
    clock: FakeClock, office: Office, gateway: Product
) -> None:
    """The calendar vanishes from screen and store at once; who comes back is read at once."""
    await office.books("ann", "08:00", "18:00")
    async with gateway.screen("watch", "ann") as screen:
        await clock.advance(INTERVAL)
        await screen.shows("ann", "In a meeting")
        api = gateway.api("ann")
        await api.prefers("ann", calendar_opt_in=False)
        document = await screen.shows("ann", "Offline", where=lambda document: calendar(document) is None)
        assert document["tooltip"] == "Offline"
        why = await gateway.api().get(f"/v1/presence/{ANN}/why")
        await until(lambda: asked_for(office, ANN) >= 1, clock)
        assert why["calendar_opt_in"] is False

        asked = asked_for(office, ANN), asked_for(office, BEN)
        for _ in range(11):
            await clock.advance(60)
            await gateway.has_read()
        assert asked_for(office, ANN) == asked[0]
        assert asked_for(office, BEN) > asked[1]
        assert (await gateway.api().get(f"/v1/presence/{ANN}/why"))["facts"] == []

        await api.prefers("ann", calendar_opt_in=True)
        await screen.shows("ann", "In a meeting")
        await api.prefers("ann", calendar_opt_in=False)
        await screen.shows("ann", "Offline")
        await clock.advance(1)
    await gateway.stop()
    records = await stored(office.folder, clock)
    assert [record.key for record in records if record.key.startswith(f"fact/{ANN}/")] == []
    assert [record.key for record in records if record.key.startswith(f"fact/{BEN}/")] == [f"fact/{BEN}/hq/schedule"]


def asked_for(office: Office, mailbox: str) -> int:
    """How many requests named that mailbox."""
    return sum(mailbox in entry.mailboxes for entry in office.exchange.journal)


async def test_who_leaves_the_directory_is_gone_and_everything_about_them_is_erased(
    clock: FakeClock, office: Office, gateway: Product
) -> None:
    """A reload without Ben: watchers are told, nobody can ask for him, and the store has never heard of him."""
    await office.books("ben", "08:00", "18:00")
    api = gateway.api()
    async with gateway.screen() as screen:
        await clock.advance(INTERVAL)
        await screen.shows("ben", "In a meeting")
        await api.phone("ben", "connected")
        await api.session("ben", "available", expires_in=3600)
        await api.put(f"/v1/people/{BEN}/status", state="away")
        await api.prefers("ben", show_until=True)
        document = await screen.shows("ben", "On the phone", where=lambda document: document["next"] is None)
        until_ = (await api.get(f"/v1/presence/{BEN}/why"))["presence"]["components"]["calendar"]["until"]
        await api.put(f"/v1/people/{BEN}/calendar/dismissal", until=until_)
        await screen.shows("ben", where=lambda document: calendar(document)["state"] == "free")
        assert document["person"] == BEN
        for _ in range(5):  # so that his calendar was also confirmed
            await clock.advance(60)
            await gateway.has_read()

        gateway.files.write_people([person for person in office.people if person != BEN])
        await gateway.reload()

        await screen.forgets("ben")
        assert screen.names.count("gone") == 1
        assert screen.names.count("reset") == 0
        assert await api.refusal("GET", f"/v1/presence/{BEN}") == 404
        assert BEN not in {person["id"] for person in (await api.get("/v1/people"))["people"]}
        await clock.advance(1)
        asked = asked_for(office, BEN)
        await clock.advance(600)
        assert asked_for(office, BEN) == asked
    await gateway.stop()
    records = await stored(office.folder, clock)
    assert mentioning(records, BEN) == []
    assert mentioning(records, ANN)


async def test_who_left_the_directory_while_the_gateway_was_down_is_erased_at_its_start(
    clock: FakeClock, office: Office, gateway: Product
) -> None:
    """Even if all that is left is when the calendar was last confirmed."""
    await clock.advance(1)
    await gateway.has_read()
    office.refuses("carla")
    for _ in range(11):
        await clock.advance(60)
        await gateway.has_read()
    await gateway.stop()
    before = await stored(office.folder, clock)
    assert mentioning(before, BEN)
    gateway.files.write_people([ANN])
    await gateway.start()
    await gateway.stop()
    after = await stored(office.folder, clock)
    assert [mentioning(after, person) for person in office.people if person != ANN] == [[], [], []]
    assert mentioning(after, ANN)


def mentioning(records: Iterable[Change], person: str) -> list[str]:
    """The records that tell anything of somebody."""
    return [record.key for record in records if person in record.key or person.encode() in (record.value or b"")]


async def test_whom_somebody_begins_to_watch_is_read_soon(clock: FakeClock, office: Office, gateway: Product) -> None:
    """Nobody looks at a calendar older than the interval until its turn in the background comes."""
    await gateway.has_read()
    await clock.advance(INTERVAL + 5)
    await office.books("ann", "08:00", "18:00")
    began = clock.now()
    async with gateway.screen("watch", "ann") as screen:
        await clock.advance(3)
        await screen.shows("ann", "In a meeting")
        assert clock.now() - began <= timedelta(seconds=3 + AT_ONCE)


async def test_a_mailbox_that_refuses_harms_nobody_else(clock: FakeClock, office: Office, gateway: Product) -> None:
    """Its owner's calendar is unknown, operators see why and what to do, the others are read as ever."""
    office.refuses("carla")
    for name in STAFF:
        await office.books(name, "08:00", "18:00")
    api = gateway.api()
    async with gateway.screen() as screen:
        await clock.advance(INTERVAL)
        for name in ("ann", "ben", "dan"):
            await screen.shows(name, "In a meeting")
        await screen.shows("carla", "Offline", where=lambda document: calendar(document)["state"] == "unknown")
        await gateway.has_read()

        (server,) = (await api.get("/v1/calendars"))["calendars"]
        assert (server["name"], server["code"]) == ("hq", "ok")
        assert server["mailboxes"] == {"ok": 3, "permission.denied": 1}
        health = {each["person"]: each for each in (await api.get("/v1/calendars/hq/mailboxes"))["mailboxes"]}
        assert health["carla@example.com"]["code"] == "permission.denied"
        assert health["carla@example.com"]["remedy"]
        assert {health[person]["code"] for person in office.people if not person.startswith("carla")} == {"ok"}


async def test_preferences_change_what_is_shown(clock: FakeClock, office: Office, gateway: Product) -> None:
    """Times, tentative meetings, the order of sources and invisibility are the person's own choice, at once."""
    await office.books("ann", "08:00", "18:00")
    await office.books("ben", "08:00", "18:00", busy=tentative())
    api = gateway.api()
    async with gateway.screen() as screen:
        await clock.advance(INTERVAL)
        document = await screen.shows("ann", "In a meeting")
        assert document["effective"]["until"] is None
        assert document["next"] is None

        await api.prefers("ann", show_until=True)
        document = await screen.shows("ann", where=lambda document: document["next"] is not None)
        assert document["effective"]["until"] == document["next"]["at"] == "2026-11-20T18:00:00.000Z"

        await screen.shows("ben", "Offline", where=lambda document: calendar(document)["state"] == "tentative")
        await api.prefers("ben", tentative="busy")
        await screen.shows("ben", "In a meeting")

        await api.session("ann", "do_not_disturb")
        await screen.shows("ann", "In a meeting", where=lambda document: document["reach"] == "do_not_disturb")
        await api.prefers("ann", override="dnd_over_calendar")
        await screen.shows("ann", "Do not disturb")

        await api.prefers("ann", invisible=True)
        document = await screen.shows("ann", "Offline")
        assert (document["reach"], document["components"]) == ("unreachable", {})


def tentative() -> Any:
    """The busy status of an appointment nobody has promised to attend."""
    from gateway.simulator import Busy as WorldBusy

    return WorldBusy.TENTATIVE


async def test_every_token_sees_its_own_level(clock: FakeClock, office: Office, gateway: Product) -> None:
    """Self sees everything, a colleague what is shared, limited the label alone, a group token its group."""
    await office.books("ann", "08:00", "18:00")
    async with (
        gateway.screen("watch") as colleague,
        gateway.screen("limited") as limited,
        gateway.screen("ann") as own,
        gateway.screen("sales") as sales,
    ):
        await clock.advance(INTERVAL)
        shown = await colleague.shows("ann", "In a meeting")
        assert (shown["effective"]["since"], shown["effective"]["until"]) == ("2026-11-20T08:00:00.000Z", None)
        little = await limited.shows("ann", "In a meeting")
        assert little == {
            "person": ANN,
            "effective": {"kind": "calendar", "state": "in_meeting", "label": "In a meeting"},
            "reach": "busy",
        }
        everything = await own.shows("ann", "In a meeting")
        assert everything["next"]["at"] == everything["effective"]["until"] == "2026-11-20T18:00:00.000Z"
        assert sales.people == {ANN, BEN}
        assert await gateway.api("sales").refusal("GET", "/v1/presence/carla@example.com") == 404
        assert await gateway.api("sales").refusal("GET", "/v1/presence/nobody@example.com") == 404

        await gateway.api("ann").prefers("ann", invisible=True)
        await colleague.shows("ann", "Offline", where=lambda document: document["components"] == {})
        assert (await limited.shows("ann", "Offline"))["reach"] == "unreachable"
        frames = len(colleague.seen), len(limited.seen)
        await gateway.api().phone("ann", "connected")
        await own.shows("ann", "On the phone")
        await clock.advance(1)
        assert (len(colleague.seen), len(limited.seen)) == frames
        assert await gateway.api("watch").refusal("GET", f"/v1/presence/{ANN}/why") == 403
