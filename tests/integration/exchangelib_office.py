"""An office on a simulated Exchange, and exchangelib's ways into it: a client nobody here wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests.adapters
from exchangelib import (
    BASIC,
    DELEGATE,
    IMPERSONATION,
    Account,
    Build,
    Configuration,
    Credentials,
    EWSTimeZone,
    FailFast,
    Version,
)
from exchangelib.protocol import BaseProtocol, CachingProtocol

from gateway.simulator import Right, Simulator, World

EWS_BERLIN = EWSTimeZone("Europe/Berlin")
ANN, BOB, HIDDEN = "ann@example.com", "bob@example.com", "hidden@example.com"
CONNECTIONS = 4
"""How many an account may have: a stream holds one as long as it lasts."""
Got = TypeVar("Got")


def at(day: str, clock: str) -> datetime:
    """A moment in Berlin."""
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=EWS_BERLIN)


@dataclass
class Office:
    """A running simulator and the ways into it."""

    world: World
    exchange: Simulator

    def configuration(self, username: str, password: str, *, version: Version | None) -> Configuration:
        """How one account connects."""
        return Configuration(
            service_endpoint=self.exchange.ews_url,
            credentials=Credentials(username, password),
            auth_type=BASIC,
            version=version,
            retry_policy=FailFast(),
            max_connections=CONNECTIONS,
        )

    def owner(self, address: str, *, version: Version | None = None) -> Account:
        """The owner of a mailbox, logged on to it."""
        config = self.configuration(address, self.exchange.mailbox_password, version=version)
        return _account(address, config, DELEGATE)

    def service(self, address: str, access: str = IMPERSONATION) -> Account:
        """The service account looking into a mailbox."""
        name, password = self.exchange.service_account, self.exchange.service_password
        return _account(address, self.configuration(name, password, version=_VERSION), access)


_VERSION = Version(build=Build(15, 2))


def _account(address: str, config: Configuration, access: str) -> Account:
    return Account(
        address, config=config, autodiscover=False, access_type=access, default_timezone=EWS_BERLIN, locale="en_US"
    )


async def ask(question: Callable[[], Got]) -> Got:
    """Run something of exchangelib, which blocks, beside the event loop of the simulator."""
    return await asyncio.to_thread(question)


@asynccontextmanager
async def open_office(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """Three people in Berlin; the calendar of one of them shows nothing to anybody."""
    world = World(lambda: datetime(2026, 3, 1, tzinfo=UTC))
    world.add_person(ANN, name="Ann Archer")
    world.add_person(BOB, name="Bob Baker", zone="America/New_York")
    world.add_person(HIDDEN, default_right=Right.NONE)
    async with Simulator(world, directory=folder) as exchange:

        class TrustingAdapter(requests.adapters.HTTPAdapter):
            def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
                super().cert_verify(conn=conn, url=url, verify=str(exchange.ca_file), cert=cert)  # type: ignore[no-untyped-call]

        monkeypatch.setattr(BaseProtocol, "HTTP_ADAPTER_CLS", TrustingAdapter)
        yield Office(world, exchange)
        await ask(CachingProtocol.clear_cache)
