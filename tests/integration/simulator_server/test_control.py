"""The control endpoint: who may use it, and what it does to the world."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from gateway.simulator import Right, Simulator

from .conftest import NOW, Client


@dataclass(slots=True)
class Remote:
    """A client of the control endpoint."""

    simulator: Simulator
    session: aiohttp.ClientSession

    async def get(self, path: str = "/state", **headers: str) -> tuple[int, Any]:
        """GET below the base."""
        async with self.session.get(self.simulator.control_url + path, headers=headers) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, **body: object) -> tuple[int, Any]:
        """POST JSON below the base."""
        async with self.session.post(self.simulator.control_url + path, json=body) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def remote(exchange: Simulator) -> AsyncIterator[Remote]:
    """A client of `exchange`'s control endpoint."""
    async with aiohttp.ClientSession() as session:
        yield Remote(exchange, session)


async def test_a_wrong_token_finds_nothing(remote: Remote) -> None:
    """404, whatever is asked, and the token is long enough not to be guessed."""
    base, _, token = remote.simulator.control_url.rpartition("/")
    assert len(token) >= 32
    for path in ("", "/wrong", "/wrong/state", f"/{token[:-1]}/state"):
        async with remote.session.get(base + path) as answer:
            assert answer.status == 404


async def test_web_pages_are_refused(remote: Remote) -> None:
    """Any Origin is 403, even with the right token."""
    status, _ = await remote.get(Origin="http://127.0.0.1")
    assert status == 403


async def test_the_state_shows_people_and_no_subjects(remote: Remote) -> None:
    """Who is there, when they are busy, what is scripted; not what meetings are about."""
    status, state = await remote.get()
    assert status == 200
    ann = state["people"][0]
    assert ann["person"] == "ann@example.com"
    assert ann["appointments"][0]["start"] == "2026-11-20T09:00:00.000Z"
    assert "Merger" not in json.dumps(state)
    assert state["listening"] is True


async def test_appointments_are_booked_moved_changed_and_deleted(remote: Remote) -> None:
    """The world has what was sent, in UTC."""
    world = remote.simulator.world
    status, made = await remote.post(
        "/book",
        person="ben@example.com",
        start="2026-11-20T11:00:00+01:00",
        end="2026-11-20T12:00:00+01:00",
        busy="Tentative",
        subject="Lunch",
    )
    item = made["item_id"]
    booked = world.mailboxes["ben@example.com"].items[item]
    assert status == 201
    assert (booked.start, booked.busy, booked.subject) == (NOW.replace(hour=10), "Tentative", "Lunch")
    times = {"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T13:00:00Z"}
    assert (await remote.post("/move", item_id=item, **times))[0] == 200
    assert booked.start == NOW.replace(hour=12)
    assert (await remote.post("/change", item_id=item, busy="OOF"))[0] == 200
    assert booked.busy == "OOF"
    assert (await remote.post("/delete", item_id=item))[0] == 200
    assert item not in world.mailboxes["ben@example.com"].items


async def test_people_rights_and_failing_mailboxes(remote: Remote) -> None:
    """Mailboxes are made, shown to somebody, and made to fail."""
    world = remote.simulator.world
    assert (await remote.post("/people", person="zoe@example.com", name="Zoe Zander"))[0] == 201
    assert (await remote.post("/rights", person="zoe@example.com", caller="ann@example.com", right="reviewer"))[
        0
    ] == 200
    assert world.right("zoe@example.com", "ann@example.com") is Right.REVIEWER
    assert (await remote.post("/rights", impersonation=remote.simulator.service_account))[0] == 200
    assert world.may_impersonate(remote.simulator.service_account, "zoe@example.com")
    await remote.post("/mailbox", person="zoe@example.com", fault="ErrorMailboxFailover")
    assert world.fault("zoe@example.com") == "ErrorMailboxFailover"
    await remote.post("/mailbox", person="zoe@example.com", fault=None)
    assert world.fault("zoe@example.com") is None


async def test_accounts_are_locked_and_passwords_changed(remote: Remote, client: Client) -> None:
    """As an administrator would, while clients are connected."""
    account = remote.simulator.service_account
    await remote.post("/account", account=account, locked=True)
    assert (await client.post()).status == 401
    assert (await remote.get())[1]["locked"] == [account]
    await remote.post("/account", account=account, locked=False, password="another")
    assert (await client.post()).status == 401
    assert (await client.post(authorization=client.basic(password="another"))).status == 200


async def test_faults_are_added_and_cleared(remote: Remote, client: Client) -> None:
    """A rule acts until it is cleared, by number or with all others."""
    status, rule = await remote.post("/faults", action="status", status=502, operation="GetUserAvailability")
    assert (status, rule["number"]) == (201, 1)
    assert (await client.post()).status == 502
    assert (await remote.get())[1]["faults"][0]["hits"] == 1
    await remote.post("/faults", clear=1)
    assert (await client.post()).status == 200
    await remote.post("/faults", action="close")
    await remote.post("/faults", clear=True)
    assert (await client.post()).status == 200


async def test_the_journal_can_be_read(remote: Remote, client: Client) -> None:
    """The newest requests, with names of properties and never a secret."""
    await client.post()
    await client.post(authorization=None)
    status, entries = await remote.get("/journal?limit=1")
    assert status == 200
    assert [entry["status"] for entry in entries] == [401]
    _, both = await remote.get("/journal")
    assert [entry["operation"] for entry in both] == ["GetUserAvailability"] * 2
    assert remote.simulator.service_password not in json.dumps(both)


async def test_listening_is_switched(remote: Remote) -> None:
    """Off and on again, on the same port."""
    port = remote.simulator.port
    await remote.post("/listening", on=False)
    assert not remote.simulator.listening
    await remote.post("/listening", on=True)
    assert (remote.simulator.listening, remote.simulator.port) == (True, port)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/book", {"person": "ann@example.com"}, 400, "'start' is missing"),
        ("/book", {"person": "ann@example.com", "start": "2026-11-20T09:00:00", "end": "x"}, 400, "offset"),
        ("/book", {"person": "ann@example.com", "begin": 1}, 400, "unknown fields begin"),
        ("/book", {"person": "x@example.com", "start": "2026-11-20T09Z", "end": "2026-11-20T10Z"}, 404, "x@ex"),
        ("/move", {"item_id": "none", "start": "2026-11-20T09Z", "end": "2026-11-20T10Z"}, 404, "none"),
        ("/change", {"item_id": "none", "busy": "Sleepy"}, 400, "Sleepy"),
        ("/rights", {"person": "ann@example.com", "caller": "x", "right": "king"}, 400, "OWNER"),
        ("/account", {"account": "x\\y", "locked": True}, 404, "account"),
        ("/faults", {"action": "explode"}, 400, "unknown action"),
        ("/faults", {}, 400, "'action' is missing"),
        ("/options", {"server": "2003"}, 400, "2019"),
        ("/options", {"streams": {"heartbeat": "loud"}}, 400, "'status'"),
        ("/streams", {"end": "softly"}, 400, "not_found"),
        ("/restart", {"streams": "softly"}, 400, "deaf"),
        ("/rights", {"person": "x@example.com", "exempt": True}, 404, "x@ex"),
        ("/calls", {}, 404, "not found"),
    ],
)
async def test_faulty_input_is_answered_with_what_is_wrong(
    remote: Remote, path: str, body: dict[str, object], status: int, said: str
) -> None:
    """400 or 404 with a sentence, and nothing has changed."""
    before = await remote.get()
    got, answer = await remote.post(path, **body)
    assert got == status
    assert said in answer["error"]
    assert await remote.get() == before


async def test_a_body_that_is_no_object_is_refused(remote: Remote) -> None:
    """Broken JSON and lists are 400."""
    for data in ("{", "[]"):
        async with remote.session.post(remote.simulator.control_url + "/book", data=data) as answer:
            assert answer.status == 400
