"""The one place that wires: files → store, view, calendars, hub, web; the order of starting and of stopping."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import structlog
from aiohttp import web

from gateway import logs
from gateway.calendars import Calendars
from gateway.clock import Clock, SystemClock
from gateway.config import Address
from gateway.core.model import Presence
from gateway.errors import ConfigError, GatewayError, StoreError
from gateway.guard import LogonGuard
from gateway.ingest import Ingest
from gateway.loading import Settings, load_all
from gateway.metered import Census, MeteredStore
from gateway.metrics import Metrics
from gateway.operations import Operations
from gateway.reading import Readings
from gateway.stores.sqlite import SqliteStore
from gateway.systemd import Notifier
from gateway.view import View
from gateway.web.app import make_app, make_operations_app
from gateway.web.hub import Hub
from gateway.web.listener import Listener, be_discreet
from gateway.web.ports import Reader
from gateway.web.services import Services

SPARE_ERASURES: Final = 10
"""So many people may leave the directory at once without a second thought …"""
ERASE_AT_MOST: Final = 0.2
"""… and beyond that only this share of everybody known: more looks like a broken file, and is kept."""
ERASE_EVERY: Final = 60.0
"""Seconds between two looks for what is remembered of people who left."""

log = structlog.get_logger()


class Gateway:
    """One running replica. `settings` is what is in force; `url` where it listens once `run` says ready."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, random: Random | None = None) -> None:
        self.settings = settings
        self.url = ""
        self._clock = clock or SystemClock()
        self._random = random or Random()
        self._metrics = Metrics()
        self._hub = Hub(self._clock, process=secrets.token_hex(6), limits=settings.config.limits, random=self._random)
        self._view: View | None = None
        self._calendars: Calendars | None = None
        self._ingest: Ingest | None = None
        self._readings: Readings | None = None

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set. Raises ConfigError and StoreError when it cannot start."""
        store = await SqliteStore.open(self.settings.config.store.url, self._clock, alarm=_alarm)
        try:
            await self._serve(MeteredStore(store, self._metrics, self._clock), stop, ready)
        except ExceptionGroup as group:
            raise _cause(group) from None
        finally:
            await store.close()

    async def _serve(self, store: MeteredStore, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        clock, metrics = self._clock, self._metrics
        view = self._view = View(
            store, self.settings.config.policy(), clock, self._publish, self._chosen, self._composed, self._hub.prepare
        )
        readings = self._readings = Readings(store, view, clock)
        guard = LogonGuard(store, view, clock)
        self._ingest = Ingest(store, view, clock)
        calendars = self._calendars = Calendars(
            self.settings.config, view, readings, guard, clock, self._hub.watched, self._random, metrics
        )
        self._hub.on_watch = calendars.watch
        metrics.registry.register(Census(lambda: self._hub.stats, calendars.sources, clock))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(view.run(), name="view"), tasks.create_task(self._hub.run(), name="hub")]
            self._set_people()
            await view.synced.wait()
            await self._erase_strangers()
            running.append(tasks.create_task(calendars.run(), name="calendars"))
            running.append(tasks.create_task(self._erase_now_and_then(), name="erasure"))
            async with self._listening(Operations(view, calendars, clock)):
                gc.collect()
                gc.freeze()
                log.info("app.gateway.started", url=self.url, people=len(self.settings.people))
                ready()
                await stop.wait()
                log.info("app.gateway.stopping")
                await self._hub.close(self.settings.config.limits.drain)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await calendars.close()
        log.info("app.gateway.stopped")

    @contextlib.asynccontextmanager
    async def _listening(self, operations: Operations) -> AsyncIterator[None]:
        """The listeners, open inside the block."""
        server = self.settings.config.server
        assert self._ingest is not None
        services = Services(
            hub=self._hub,
            directory=lambda: self.settings.people,
            tokens=_Tokens(self),
            ingest=self._ingest,
            operations=operations,
            clock=self._clock,
            registry=self._metrics.registry,
            limits=self.settings.config.limits,
            public_url=server.public_url,
            behind_proxy=server.behind_proxy,
            trusted_proxies=tuple(server.trusted_proxies),
            identity_header=server.identity_header,
            secure_cookies=server.tls_certificate is not None or (server.public_url or "").startswith("https:"),
            operations_apart=server.operations_listen is not None,
        )
        context = _server_context(self.settings)
        be_discreet()
        async with contextlib.AsyncExitStack() as stack:
            address = await stack.enter_async_context(
                _listening_at(make_app(services), server.listen, self.settings, context)
            )
            self.url = f"{'https' if context else 'http'}://{address}"
            if server.operations_listen is not None:
                await stack.enter_async_context(
                    _listening_at(make_operations_app(services), server.operations_listen, self.settings, None)
                )
            yield

    async def reload(self, settings: Settings) -> None:
        """Put another reading of the files in force: people, tokens and [presence]; no watcher is dropped."""
        assert self._view is not None
        if settings.config.calendars != self.settings.config.calendars:
            log.warning("config.calendars.kept", detail="servers change at the next start")
        self.settings = settings
        self._view.set_policy(settings.config.policy())
        self._set_people()
        await self._erase_strangers()
        self._metrics.reloads.labels("applied").inc()

    def refused(self) -> None:
        """Another reading was faulty, so what is in force stays."""
        self._metrics.reloads.labels("refused").inc()

    def _set_people(self) -> None:
        assert self._view is not None
        people = self.settings.people
        self._hub.set_directory(people)
        self._view.set_people(people.everybody())
        self._metrics.people.set(len(people))
        if self._calendars is not None:
            self._calendars.set_people(people.everybody())

    async def _erase_now_and_then(self) -> None:
        """What was under way while its person left is stored after the erasure; it goes with the next one."""
        while True:
            await self._clock.sleep(ERASE_EVERY)
            await self._erase_strangers()

    async def _erase_strangers(self) -> None:
        """Erase who left the directory, unless so many left that the file looks broken."""
        assert self._view is not None
        assert self._ingest is not None
        assert self._readings is not None
        strangers = self._view.composer.strangers()
        known = len(strangers) + len(self.settings.people)
        if len(strangers) > max(SPARE_ERASURES, ERASE_AT_MOST * known):
            log.error("people.erasure.refused", code="people.too_many_gone", gone=len(strangers), known=known)
            return
        for person in strangers:
            try:
                await self._readings.forget(person)
                await self._ingest.erase(person)
            except StoreError as error:
                log.error("people.erasure.failed", code=error.code)
                return

    def _publish(self, changes: Sequence[Presence], revision: int, *, more: bool) -> None:
        self._hub.publish(changes, revision, more=more)

    def _chosen(self, person: str) -> None:
        if self._calendars is not None:
            self._calendars.chosen(person)

    def _composed(self, people: int, late: float) -> None:
        self._metrics.composed.inc(people)
        self._metrics.edge_lateness.observe(late)


class _Tokens:
    """`gateway.web.ports.Tokens` over whatever is in force."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def reader(self, token: str) -> Reader | None:
        return self._gateway.settings.tokens.reader(token)

    def valid(self, reader: Reader) -> bool:
        return self._gateway.settings.tokens.valid(reader)

    def person(self, identity: str) -> Reader | None:
        return self._gateway.settings.tokens.person(identity)


async def serve(path: Path) -> int:
    """The daemon: read the files, serve, reload on SIGHUP, stop on SIGTERM and SIGINT. Returns the exit code."""
    clock = SystemClock()
    settings = load_all(path, now=clock.now)
    chosen = settings.config.log
    redactor = logs.configure(level=chosen.level, form=chosen.format)
    redactor.learn(settings.config.secrets)
    for warning in settings.warnings:
        log.warning("config.file.doubtful", detail=warning)
    gateway, notifier = Gateway(settings, clock=clock), Notifier()

    async def reload() -> None:
        """A bad file leaves everything as it is and says so."""
        notifier.reloading()
        try:
            found = await asyncio.to_thread(load_all, path, now=clock.now)
            redactor.learn(found.config.secrets)
            await gateway.reload(found)
            log.info("config.files.reloaded", people=len(found.people), tokens=len(found.tokens))
        except ConfigError as error:
            gateway.refused()
            for problem in error.problems:
                log.error("config.files.refused", code=error.code, detail=problem)
        notifier.ready(f"listening at {gateway.url}")

    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(_stay_alive(notifier, clock))]

            def ready() -> None:
                """From here on there is something to reload; a signal that came earlier is not lost."""
                notifier.ready(f"listening at {gateway.url}")
                running.append(tasks.create_task(_at_every(again, reload)))

            try:
                await gateway.run(stop, ready)
            finally:
                notifier.stopping()
                for task in running:
                    task.cancel()
    except ExceptionGroup as group:
        raise _cause(group) from None
    return 0


async def _at_every(again: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
    """Act once for each time the event is set, or for several that came meanwhile."""
    while True:
        await again.wait()
        again.clear()
        await act()


async def _stay_alive(notifier: Notifier, clock: Clock) -> None:
    """Tell systemd's watchdog that the event loop turns."""
    while notifier.watchdog_interval is not None:
        notifier.alive()
        await clock.sleep(notifier.watchdog_interval)


def _cause(group: ExceptionGroup[Exception]) -> Exception:
    """The failure itself if a task group holds just one."""
    only = group.exceptions[0] if len(group.exceptions) == 1 else group
    return _cause(only) if isinstance(only, ExceptionGroup) and only is not group else only


def _alarm(error: GatewayError) -> None:
    """What the store must tell an operator though no caller fails."""
    log.error("store.file.ailing", code=error.code, detail=str(error))


def _server_context(settings: Settings) -> ssl.SSLContext | None:
    server = settings.config.server
    if server.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(server.tls_certificate, server.tls_key)
    return context


@contextlib.asynccontextmanager
async def _listening_at(
    app: web.Application, address: Address, settings: Settings, context: ssl.SSLContext | None
) -> AsyncIterator[str]:
    """An open listener; yields its "host:port" as it really is."""
    listener = Listener(app, settings.config.limits)
    try:
        try:
            await listener.start(address.host, address.port, context)
        except OSError as error:
            problem = f"gateway.toml: server.listen: cannot listen on {address}: {error.strerror}; choose another"
            raise ConfigError([problem]) from error
        yield listener.address
    finally:
        await listener.stop()
