"""The guards of the whole suite can fail: each is shown a test that deserves it, in a pytest of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.clock import SystemClock
from gateway.core.model import Schedule
from gateway.simulator import Entry
from gateway.sources.ews import EwsSettings, open_calendar
from gateway.sources.pacing import window_at
from tests.calendars import OpenGuard
from tests.story.office import ANN, Office
from tests.story.witness import is_ours, offence

ROOT = Path(__file__).parents[2]
OFFENDERS = '''
import asyncio
import threading
import time
from contextlib import asynccontextmanager

import aiohttp

from gateway.toml import read_toml

HEAD = """<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"
 xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Body>"""
TAIL = "</s:Body></s:Envelope>"
DELETE = """<m:DeleteItem DeleteType="HardDelete" SendMeetingCancellations="SendToNone">
<m:ItemIds><t:ItemId Id="AAAA"/></m:ItemIds></m:DeleteItem>"""
GET = """<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>
<t:FieldURI FieldURI="{}"/></t:AdditionalProperties></m:ItemShape>
<m:ItemIds><t:ItemId Id="AAAA"/></m:ItemIds></m:GetItem>"""


async def ask(office, agent, operation):
    headers = {"User-Agent": agent, "Content-Type": "text/xml; charset=utf-8"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(office.exchange.ews_url, data=HEAD + operation + TAIL, ssl=False) as answer:
            await answer.read()


async def test_ours_writes(office):
    await ask(office, "presence-gateway", DELETE)


async def test_ours_writes_and_hides_it(office):
    await ask(office, "presence-gateway/1.0", DELETE)
    office.exchange.journal.clear()


async def test_ours_asks_for_the_subject(office):
    await ask(office, "presence-gateway", GET.format("item:Subject"))


async def test_ours_asks_for_attendees(office):
    await ask(office, "presence-gateway", GET.format("calendar:RequiredAttendees"))


async def test_ours_asks_for_the_start(office):
    await ask(office, "presence-gateway", GET.format("calendar:Start"))


async def test_theirs_does_what_it_likes(office):
    await ask(office, "Microsoft Office/16.0", DELETE)
    await ask(office, "Microsoft Office/16.0", GET.format("item:Subject"))


async def test_blocks_the_loop(tmp_path):
    (tmp_path / "file.toml").write_text("")
    read_toml(tmp_path / "file.toml")


async def test_blocks_beside_the_loop(tmp_path):
    (tmp_path / "file.toml").write_text("")
    await asyncio.to_thread(read_toml, tmp_path / "file.toml")


def test_blocks_without_a_loop(tmp_path):
    (tmp_path / "file.toml").write_text("")
    read_toml(tmp_path / "file.toml")


async def test_leaves_a_task():
    global task
    task = asyncio.create_task(asyncio.sleep(60))


async def test_ends_its_task():
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()


def test_leaves_a_thread():
    threading.Thread(target=time.sleep, args=(3,), name="lazybones").start()


def test_ends_its_thread():
    threading.Thread(target=time.sleep, args=(0.01,)).start()
'''
GUILTY = {
    "test_ours_writes",
    "test_ours_writes_and_hides_it",
    "test_ours_asks_for_the_subject",
    "test_ours_asks_for_attendees",
    "test_blocks_the_loop",
    "test_leaves_a_task",
    "test_leaves_a_thread",
}


def test_every_guard_finds_the_guilty_and_nobody_else(tmp_path: Path) -> None:
    """Writes, questions for content, blocking calls, tasks and threads left behind: exactly those tests fail."""
    file = tmp_path / "test_offenders.py"
    file.write_text(OFFENDERS)
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, options), "-q", "-rA", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = re.findall(r"(?m)^(PASSED|FAILED|ERROR) .*::(\w+)", done.stdout)
    all_of_them = set(re.findall(r"def (test_\w+)", OFFENDERS))
    assert {name for _, name in told} == all_of_them, done.stdout + done.stderr
    assert {name for outcome, name in told if outcome != "PASSED"} == GUILTY, done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize("transport", ["native", "exchangelib"])
async def test_every_connection_of_ours_says_that_it_is(
    office: Office, transport: Literal["native", "exchangelib"]
) -> None:
    """By its User-Agent, whatever carries it: otherwise the witness would look the other way."""
    exchange = office.exchange
    settings = EwsSettings(
        url=exchange.ews_url,
        username=exchange.service_account,
        password=exchange.service_password,
        auth="ntlm",
        ca_file=exchange.ca_file,
        transport=transport,
    )
    calendar = open_calendar("hq", settings, SystemClock(), OpenGuard())
    try:
        (read,) = await calendar.fetch([ANN], window_at(office.clock.now()))
    finally:
        await calendar.close()
    assert isinstance(read, Schedule)
    assert len(exchange.journal) > 0
    assert [entry.user_agent for entry in exchange.journal if not is_ours(entry)] == []


def test_a_detailed_view_or_another_method_of_ours_is_an_offence(office_entry: dict[str, Any]) -> None:
    """Free/busy times are all it may ask for, and POST all it may send."""
    entry = Entry(**office_entry)
    assert offence(entry) is None
    assert "asked for content" in str(offence(Entry(**(office_entry | {"view": "Detailed"}))))
    assert "asked for content" in str(offence(Entry(**(office_entry | {"properties": frozenset({"AllProperties"})}))))
    assert "sent a write" in str(offence(Entry(**(office_entry | {"method": "PROPPATCH", "operation": ""}))))
    assert offence(Entry(**(office_entry | {"view": "Detailed", "user_agent": "Outlook"}))) is None


@pytest.fixture
def office_entry() -> dict[str, Any]:
    """What the gateway's ordinary question looks like in the journal."""
    return {
        "at": SystemClock().now(),
        "connection": 1,
        "method": "POST",
        "path": "/EWS/Exchange.asmx",
        "status": 200,
        "operation": "GetUserAvailability",
        "view": "FreeBusy",
        "user_agent": "presence-gateway",
    }
