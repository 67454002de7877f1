"""The whole gateway in this process: real files, a real store, real sockets on a free port, real NTLM to the office."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from gateway.app import Gateway
from gateway.clock import Clock
from gateway.loading import Settings, load_all
from gateway.simulator import Simulator
from gateway.stores import Change
from gateway.stores.sqlite import SqliteStore
from gateway.tokens import SCOPES, create_token
from gateway.toml import toml_value
from tests.story.api import Api
from tests.story.office import ANN, Office, address
from tests.story.screen import Screen, open_screen
from tests.story.waiting import until

REFRESH = 60.0
"""Seconds between two readings of a watched calendar, unless a test asks for less than the configuration allows."""
TOKENS: Mapping[str, Mapping[str, Any]] = {
    "all": {"scopes": SCOPES},
    "watch": {"scopes": ("watch",)},
    "limited": {"scopes": ("watch",), "level": "limited"},
    "sales": {"scopes": ("watch",), "groups": ("sales",)},
    "ann": {"scopes": ("watch", "preferences"), "person": ANN},
}
"""Which tokens there are, and what for."""


@dataclasses.dataclass(frozen=True)
class Files:
    """gateway.toml, people.toml, tokens.toml and the password, in one folder; `tokens` by their names above."""

    folder: Path
    tokens: Mapping[str, str]

    @property
    def config(self) -> Path:
        """gateway.toml."""
        return self.folder / "gateway.toml"

    def write_people(self, people: Iterable[str], *, calendar: bool = True, **fields: object) -> None:
        """Everybody's entry: Ann and Ben in sales, the others in service."""
        entries = []
        for person in people:
            group = "sales" if person.startswith(("ann@", "ben@")) else "service"
            entry: dict[str, object] = {"id": person, "name": person.partition("@")[0].title(), "groups": [group]}
            entry |= {"calendar": "hq"} if calendar else {}
            entries.append(_table("[[person]]", entry | fields))
        (self.folder / "people.toml").write_text("\n".join(entries), encoding="utf-8")


def write_files(folder: Path, people: Sequence[str], exchange: Simulator | None = None, **presence: object) -> Files:
    """Write all files; without an `exchange` nobody has a calendar. `presence` is the section of that name."""
    tables: dict[str, Mapping[str, object]] = {
        "[server]": {"listen": "127.0.0.1:0"},
        "[store]": {"url": "sqlite:state.db"},
        "[presence]": {"calendar_opt_in": True} | presence,
        "[limits]": {"drain": "200ms"},
        "[log]": {"format": "json"},
    }
    if exchange is not None:
        (folder / "ews-password").write_text(exchange.service_password, encoding="utf-8")
        tables["[calendars.hq]"] = {
            "kind": "ews",
            "url": exchange.ews_url,
            "username": exchange.service_account,
            "password_file": "ews-password",
            "auth": "ntlm",
            "ca_file": str(exchange.ca_file),
            "refresh": f"{REFRESH:g}s",
            "zone": "Europe/Berlin",
        }
    minted = {name: create_token(name, **options) for name, options in TOKENS.items()}
    (folder / "gateway.toml").write_text("\n".join(_table(*table) for table in tables.items()), encoding="utf-8")
    (folder / "tokens.toml").write_text("\n".join(each.entry for each in minted.values()), encoding="utf-8")
    files = Files(folder, {name: each.token for name, each in minted.items()})
    files.write_people(people, calendar=exchange is not None)
    return files


def _table(head: str, fields: Mapping[str, object]) -> str:
    return "\n".join([head, *(f"{key} = {toml_value(value)}" for key, value in fields.items()), ""])


class Product:
    """A running gateway, its files and its clients. `refresh` shortens the interval below what files may ask for."""

    def __init__(self, files: Files, clock: Clock, refresh: float | None = None) -> None:
        self.files = files
        self.clock = clock
        self.gateway: Gateway
        self._refresh = refresh
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._clients: list[Api] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.gateway.url

    async def start(self) -> None:
        """Read the files and serve; returns once it listens."""
        self.gateway = Gateway(await self._settings(), clock=self.clock, random=Random(1))
        self._stop, ready = asyncio.Event(), asyncio.Event()
        self._running = asyncio.create_task(self.gateway.run(self._stop, ready.set), name="gateway")
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({self._running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        if not waiting.done():
            waiting.cancel()
            await self._running
        assert ready.is_set()

    async def stop(self) -> None:
        """Stop in order; a second time nothing happens."""
        for client in self._clients:
            await client.close()
        self._clients.clear()
        running, self._running = self._running, None
        if running is not None:
            self._stop.set()
            await until(running.done, self.clock, what="the end of the gateway")
            running.result()

    async def reload(self) -> None:
        """Put the files in force as they are now, as SIGHUP does."""
        await self.gateway.reload(await self._settings())

    def api(self, token: str = "all") -> Api:
        """A caller with the token of that name."""
        client = Api(self.url, self.files.tokens[token])
        self._clients.append(client)
        return client

    def screen(self, token: str = "watch", *people: str) -> AbstractAsyncContextManager[Screen]:
        """A subscriber with the token of that name, for these people or everybody."""
        query = "?" + "&".join(f"person={address(person)}" for person in people) if people else ""
        return open_screen(self.url, self.files.tokens[token], self.clock, query)

    async def has_read(self, *people: str) -> None:
        """Wait until these calendars (or all) were read, or refused."""
        api, wanted = self.api(), {address(person) for person in people}
        while True:
            health = (await api.get("/v1/calendars/hq/mailboxes"))["mailboxes"]
            told = {each["person"]: each["code"] for each in health}
            wanted = wanted or set(told)
            if told and all(told.get(person, "pending") != "pending" for person in wanted):
                return
            await until(lambda: True, self.clock)
            await asyncio.sleep(0.01)

    async def _settings(self) -> Settings:
        settings = await asyncio.to_thread(load_all, self.files.config, now=self.clock.now)
        if self._refresh is None:
            return settings
        often = {"refresh": self._refresh, "background": self._refresh}
        calendars = {name: section.model_copy(update=often) for name, section in settings.config.calendars.items()}
        return dataclasses.replace(settings, config=settings.config.model_copy(update={"calendars": calendars}))


@asynccontextmanager
async def open_product(office: Office, *, refresh: float | None = None, **presence: object) -> AsyncIterator[Product]:
    """A gateway that reads this office, in the office's time; `presence` is the configuration's section."""
    product = Product(write_files(office.folder, office.people, office.exchange, **presence), office.clock, refresh)
    await product.start()
    try:
        yield product
    finally:
        await product.stop()


async def stored(folder: Path, clock: Clock) -> list[Change]:
    """Every record in the store of a gateway that has stopped."""
    store = await SqliteStore.open(f"sqlite://{folder / 'state.db'}", clock)
    records: list[Change] = []
    try:
        async for batch in store.watch():
            records += batch.changes
            if batch.synced:
                break
    finally:
        await store.close()
    return records
