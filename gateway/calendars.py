"""The calendar servers of one gateway: opened from the configuration, told whom to read, asked for their health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from random import Random
from typing import Any, Final

import structlog

from gateway.clock import Clock
from gateway.config import Config, EwsCalendar
from gateway.core.document import timestamp
from gateway.core.evidence import opted_in
from gateway.core.model import Person, Schedule
from gateway.errors import StoreError
from gateway.metered import MeteredCalendar
from gateway.metrics import Metrics
from gateway.reading import Readings
from gateway.reasons import REASONS
from gateway.sources import SOURCES, Calendar, Guard, MailboxHealth, ServerHealth
from gateway.sources.backoff import RetryBudget
from gateway.sources.calendar import CalendarSettings, CalendarSource
from gateway.sources.ews.settings import EwsSettings
from gateway.view import View

SETTLE: Final = 0.2
"""Seconds in which several changes of consent become one new assignment."""

log = structlog.get_logger()


class Calendars:
    """All `[calendars.*]`: one CalendarSource each."""

    def __init__(
        self,
        config: Config,
        view: View,
        readings: Readings,
        guard: Guard,
        clock: Clock,
        watched: Callable[[str], bool],
        random: Random,
        metrics: Metrics,
    ) -> None:
        self._view = view
        self._readings = readings
        self._clock = clock
        self._dirty = asyncio.Event()
        self._people: tuple[Person, ...] = ()
        budget = RetryBudget()
        self.sources = {
            name: CalendarSource(
                name,
                section.kind,
                MeteredCalendar(name, open_calendar(name, section, clock, guard), metrics, clock),
                clock=clock,
                report=readings,
                settings=CalendarSettings(
                    refresh=section.refresh,
                    background=section.background,
                    zone=section.zone,
                    lanes=section.lanes,
                    call_timeout=section.call_timeout + 20,
                ),
                watched=watched,
                random=random,
                budget=budget,
            )
            for name, section in config.calendars.items()
        }

    def set_people(self, people: Iterable[Person]) -> None:
        """Another directory."""
        self._people = tuple(people)
        self._dirty.set()

    def chosen(self, person: str) -> None:
        """That person's preferences changed, consent perhaps among them."""
        self._dirty.set()

    def watch(self, people: Iterable[str]) -> None:
        """Somebody began to watch these people."""
        by_source: dict[str, list[str]] = {}
        for person in people:
            evidence = self._view.composer.evidence(person)
            if evidence is not None and evidence.person.calendar in self.sources:
                by_source.setdefault(evidence.person.calendar, []).append(person)
        for name, watched in by_source.items():
            self.sources[name].watch(watched)

    async def run(self) -> None:
        """Read until cancelled, each server in a task of its own."""
        async with asyncio.TaskGroup() as tasks:
            for source in self.sources.values():
                tasks.create_task(source.run(), name=f"calendar.{source.name}")
            tasks.create_task(self._readings.run(), name="calendar.confirmations")
            while True:
                await self._dirty.wait()
                self._dirty.clear()
                await self._assign()
                await self._clock.sleep(SETTLE)

    async def close(self) -> None:
        """Write what is confirmed, and leave every server in order."""
        await self._readings.flush(everything=True)
        await asyncio.gather(*(source.close() for source in self.sources.values()))

    async def _assign(self) -> None:
        """Tell each source its people; forget the schedules of everybody who no longer consents."""
        composer = self._view.composer
        wanted: dict[str, dict[str, str]] = {name: {} for name in self.sources}
        for person in self._people:
            if opted_in(person, composer.preferences(person.id), composer.policy):
                if person.calendar in wanted:
                    wanted[person.calendar][person.id] = person.mailbox or person.id
                continue
            for (source, _), fact in list(composer.facts(person.id).items()):
                if isinstance(fact.value, Schedule):
                    await self._withdraw(source, person.id)
        for name, mailboxes in wanted.items():
            self.sources[name].assign(mailboxes)

    async def _withdraw(self, source: str, person: str) -> None:
        try:
            await self._readings.withdraw(source, person)
        except StoreError as error:
            log.error("calendar.schedule.kept", person=person, source=source, code=error.code)
            self._dirty.set()

    def servers(self) -> Sequence[Mapping[str, Any]]:
        """Health per server, as JSON values."""
        return [_server(source.server_health()) for source in self.sources.values()]

    def mailboxes(self, name: str) -> Sequence[Mapping[str, Any]] | None:
        """Health per mailbox of one server, as JSON values; None if there is no such server."""
        source = self.sources.get(name)
        return None if source is None else [_mailbox(health) for health in source.mailbox_health()]


def open_calendar(name: str, section: EwsCalendar, clock: Clock, guard: Guard) -> Calendar:
    """The backend of one `[calendars.NAME]`, imported on first use."""
    module, _, factory = SOURCES[section.kind].partition(":")
    calendar: Calendar = getattr(import_module(module), factory)(name, ews_settings(section), clock, guard)
    return calendar


def ews_settings(section: EwsCalendar) -> EwsSettings:
    """The section as the adapter takes it."""
    return EwsSettings(
        url=section.url,
        username=section.username,
        password=section.password.reveal(),
        auth=section.auth,
        ca_file=section.ca_file,
        access=section.access,
        transport=section.transport,
        lanes=section.lanes,
        batch=section.batch,
        zone=section.zone,
        request_version=section.request_version,
        call_timeout=section.call_timeout,
    )


def _server(health: ServerHealth) -> Mapping[str, Any]:
    return {"name": health.name, "kind": health.kind, **_state(health), "mailboxes": health.mailboxes}


def _mailbox(health: MailboxHealth) -> Mapping[str, Any]:
    fallback = REASONS.get(health.mode_code)
    return {
        "person": health.person,
        "mailbox": health.mailbox,
        "mode": health.mode,
        "mode_since": timestamp(health.mode_since),
        "mode_code": health.mode_code,
        "mode_remedy": fallback.remedy if fallback is not None else "",
        **_state(health),
    }


def _state(health: ServerHealth | MailboxHealth) -> Mapping[str, Any]:
    reason = REASONS.get(health.code)
    return {
        "code": health.code,
        "message": health.message,
        "remedy": reason.remedy if reason is not None else "",
        "since": timestamp(health.since),
        "last_success": timestamp(health.last_success),
        "retry_at": timestamp(health.retry_at),
    }
