"""A running simulator with two people, and a plain HTTPS client that trusts it."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import pytest

from gateway.simulator import Simulator, World

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

ENVELOPE = """<?xml version="1.0" encoding="utf-8"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
  xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"
  xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">
<s:Header><t:RequestServerVersion Version="Exchange2016"/></s:Header><s:Body>{}</s:Body></s:Envelope>"""
TRANSITION = "<t:Bias>0</t:Bias><t:Time>02:00:00</t:Time><t:DayOrder>1</t:DayOrder>"
AVAILABILITY = (
    "<m:GetUserAvailabilityRequest><t:TimeZone><t:Bias>0</t:Bias>"
    f"<t:StandardTime>{TRANSITION}<t:Month>3</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek></t:StandardTime>"
    f"<t:DaylightTime>{TRANSITION}<t:Month>10</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek></t:DaylightTime>"
    "</t:TimeZone><m:MailboxDataArray>{mailboxes}</m:MailboxDataArray><t:FreeBusyViewOptions><t:TimeWindow>"
    "<t:StartTime>2026-11-20T00:00:00</t:StartTime><t:EndTime>2026-11-22T00:00:00</t:EndTime></t:TimeWindow>"
    "<t:MergedFreeBusyIntervalInMinutes>15</t:MergedFreeBusyIntervalInMinutes>"
    "<t:RequestedView>{view}</t:RequestedView></t:FreeBusyViewOptions></m:GetUserAvailabilityRequest>"
)
MAILBOX = (
    "<t:MailboxData><t:Email><t:Address>{}</t:Address></t:Email><t:AttendeeType>Required</t:AttendeeType>"
    "<t:ExcludeConflicts>false</t:ExcludeConflicts></t:MailboxData>"
)


def availability(*mailboxes: str, view: str = "FreeBusy") -> bytes:
    """A GetUserAvailability request."""
    listed = "".join(MAILBOX.format(each) for each in mailboxes or ("ann@example.com",))
    return ENVELOPE.format(AVAILABILITY.format(mailboxes=listed, view=view)).encode()


@dataclass(slots=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    offers: list[str]
    body: bytes


@dataclass(slots=True)
class Client:
    """One HTTPS client with at most one connection; Basic logon as the service unless told otherwise."""

    simulator: Simulator
    session: aiohttp.ClientSession

    def basic(self, name: str | None = None, password: str | None = None) -> str:
        """An Authorization value."""
        pair = f"{name or self.simulator.service_account}:{password or self.simulator.service_password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    async def post(self, body: bytes | None = None, *, authorization: str | None = "basic", **headers: str) -> Answer:
        """POST to the EWS address; `authorization` None sends none. Header names with _ for -."""
        sent = {"Content-Type": "text/xml; charset=utf-8"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization is not None:
            sent["Authorization"] = self.basic() if authorization == "basic" else authorization
        return await self.ask("POST", self.simulator.ews_url, data=body or availability(), headers=sent)

    async def ask(self, method: str, url: str, **more: object) -> Answer:
        """Any request, redirects not followed."""
        async with self.session.request(method, url, allow_redirects=False, **more) as answer:  # type: ignore[arg-type]
            offers = answer.headers.getall("WWW-Authenticate", [])
            return Answer(answer.status, dict(answer.headers), offers, await answer.read())


@pytest.fixture
def world() -> World:
    """Ann, who has a meeting now, and Ben."""
    world = World(lambda: NOW)
    world.add_person("ann@example.com")
    world.add_person("ben@example.com")
    world.book("ann@example.com", NOW.replace(minute=0), NOW.replace(hour=10), subject="Merger")
    return world


@pytest.fixture
async def exchange(world: World) -> AsyncIterator[Simulator]:
    """A simulator with the defaults."""
    async with Simulator(world) as simulator:
        yield simulator


@pytest.fixture
async def client(exchange: Simulator) -> AsyncIterator[Client]:
    """A client of `exchange`."""
    async with connect(exchange) as session:
        yield Client(exchange, session)


def connect(simulator: Simulator, *, limit: int = 1) -> aiohttp.ClientSession:
    """A session with one connection, or so many (0: any), which trusts the authority and keeps no cookies."""
    context = ssl.create_default_context(cafile=str(simulator.ca_file))
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT  # on by default from 3.13: one verdict for all
    connector = aiohttp.TCPConnector(ssl=context, limit=limit)
    timeout = aiohttp.ClientTimeout(total=20)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
