"""Publishing and choosing over HTTP: what reaches the ingest, and what never does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gateway.core.model import Availability, Override, Phone
from gateway.errors import PublicationRefused, StoreUnavailable
from gateway.web.ports import Limits
from tests.integration.api_world import ANN, BOB, CONFIGURED, World, problem, running

PHONE = "/v1/people/ann@example.com/phone/desk"
SESSION = "/v1/people/ann@example.com/availability/web-1"
STATUS = "/v1/people/ann@example.com/status"
CHOICES = "/v1/people/ann@example.com/preferences"
DISMISSAL = "/v1/people/ann@example.com/calendar/dismissal"


async def test_a_phone_state_arrives_whole() -> None:
    """Every field reaches the ingest, parsed; the answer is the receipt."""
    async with running() as world:
        since = "2026-11-20T09:30:00.123456+01:00"
        body = {"state": "connected", "since": since, "expires_in": 60, "seq": 7, "publisher": "pbx:1"}
        response = await world.put("/v1/people/ANN@example.com/phone/desk%2B1", body, "pbx")
        assert response.status == 200
        assert await response.json() == {"expires_at": "2026-11-20T09:01:00.000Z", "seq": 7}
        at = world.clock.now() - timedelta(minutes=30) + timedelta(milliseconds=123)
        assert world.ingest.calls == [("phone", ANN.id, "desk+1", Phone.CONNECTED, at, 60.0, 7, "pbx:1")]


async def test_what_is_left_out_has_a_default() -> None:
    """A phone state is believed for 900 s, a session for 300 s, a status until it is changed."""
    async with running() as world:
        await world.put(PHONE, {"state": "ringing"})
        await world.put(SESSION, {"state": "be_right_back"})
        response = await world.put(STATUS, {"state": "do_not_disturb"})
        assert await response.json() == {"expires_at": None, "seq": None}
        assert world.ingest.calls == [
            ("phone", ANN.id, "desk", Phone.RINGING, None, 900.0, None, None),
            ("session", ANN.id, "web-1", Availability.BE_RIGHT_BACK, 300.0, None, None),
            ("status", ANN.id, Availability.DO_NOT_DISTURB, None),
        ]


async def test_withdrawals_answer_204_and_carry_their_order() -> None:
    """DELETE takes seq and publisher from the URL, and answers alike every time."""
    async with running() as world:
        for _ in range(2):
            assert (await world.ask("DELETE", f"{PHONE}?seq=8&publisher=pbx:1", "admin")).status == 204
        assert (await world.ask("DELETE", SESSION, "admin")).status == 204
        assert (await world.ask("DELETE", STATUS, "admin")).status == 204
        assert (await world.ask("DELETE", DISMISSAL, "admin")).status == 204
        assert world.ingest.calls == [
            ("end_phone", ANN.id, "desk", 8, "pbx:1"),
            ("end_phone", ANN.id, "desk", 8, "pbx:1"),
            ("end_session", ANN.id, "web-1", None, None),
            ("end_status", ANN.id),
            ("end_dismissal", ANN.id),
        ]


@pytest.mark.parametrize("query", ["seq=-1", "seq=x", "seq=9223372036854775808", "publisher=a%20b", "seq=1&seq=2"])
async def test_a_withdrawal_with_a_wrong_order_is_refused(query: str) -> None:
    """Nothing is withdrawn on a malformed query."""
    async with running() as world:
        await problem(await world.ask("DELETE", f"{PHONE}?{query}", "admin"), 400, "request.query")
        assert world.ingest.calls == []


async def test_every_fault_of_a_body_is_named() -> None:
    """One answer names all wrong fields by JSON pointer, and nothing is stored."""
    async with running() as world:
        body = {
            "state": "ended",
            "since": "2026-11-20T09:00:06Z",
            "expires_in": 5,
            "seq": -1,
            "publisher": "a b",
            "col/o~ur": "red",
        }
        fault = await problem(await world.put(PHONE, body), 422, "request.invalid")
        assert {error["pointer"] for error in fault["errors"]} == {
            "/state",
            "/since",
            "/expires_in",
            "/seq",
            "/publisher",
            "/col~1o~0ur",
        }
        assert all(error["detail"] for error in fault["errors"])
        assert world.ingest.calls == []


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        (PHONE, {}, "/state"),
        (PHONE, {"state": "available"}, "/state"),
        (PHONE, {"state": None}, "/state"),
        (PHONE, {"state": "idle", "expires_in": 43_201}, "/expires_in"),
        (PHONE, {"state": "idle", "expires_in": "60"}, "/expires_in"),
        (PHONE, {"state": "idle", "expires_in": True}, "/expires_in"),
        (PHONE, {"state": "idle", "expires_in": None}, "/expires_in"),
        (PHONE, {"state": "idle", "seq": 1.5}, "/seq"),
        (PHONE, {"state": "idle", "seq": 2**63}, "/seq"),
        (PHONE, {"state": "idle", "publisher": ""}, "/publisher"),
        (PHONE, {"state": "idle", "publisher": "x" * 65}, "/publisher"),
        (PHONE, {"state": "idle", "publisher": "x\n"}, "/publisher"),
        (PHONE, {"state": "idle", "since": "2026-11-19T08:59:59Z"}, "/since"),
        (PHONE, {"state": "idle", "since": "2026-11-20T08:00:00"}, "/since"),
        (PHONE, {"state": "idle", "since": 1_763_625_600}, "/since"),
        (PHONE, {"state": "idle", "since": "2026-02-30T08:00:00Z"}, "/since"),
        (PHONE, {"state": "idle", "since": "0001-01-01T00:00:00+14:00"}, "/since"),
        (SESSION, {"state": "connected"}, "/state"),
        (SESSION, {"state": "ended"}, "/state"),
        (SESSION, {"state": "idle", "expires_in": 59}, "/expires_in"),
        (SESSION, {"state": "idle", "expires_in": 14_401}, "/expires_in"),
        (SESSION, {"state": "idle", "since": "2026-11-20T08:00:00Z"}, "/since"),
        (STATUS, {"state": "away", "until": "2026-11-20T09:00:00Z"}, "/until"),
        (STATUS, {"state": "away", "until": "2028-11-20T09:00:00Z"}, "/until"),
        (STATUS, {"state": "away", "seq": 1}, "/seq"),
        (DISMISSAL, {}, "/until"),
        (DISMISSAL, [], ""),
        (DISMISSAL, "soon", ""),
    ],
)
async def test_wrong_fields_are_refused(path: str, body: object, pointer: str) -> None:
    """A well-formed body with a wrong field is 422 and names it; nothing is stored."""
    async with running() as world:
        fault = await problem(await world.put(path, body), 422, "request.invalid")
        assert [error["pointer"] for error in fault["errors"]] == [pointer]
        assert world.ingest.calls == []


async def test_a_little_clock_difference_is_forgiven() -> None:
    """A pusher whose clock is five seconds ahead is heard, and so is a state that is a day old."""
    async with running() as world:
        for since in ("2026-11-20T09:00:05Z", "2026-11-19T09:00:00Z"):
            assert (await world.put(PHONE, {"state": "held", "since": since})).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"not json",
        b'{"state": "idle"} trailing',
        b'{"state": "idle", "state": "held"}',
        b'{"state": "idle", "expires_in": NaN}',
        b'{"state": "idle", "expires_in": -Infinity}',
        b'\xff\xfe{"state": 1}',
        '{"state": "idle"}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"seq": ' + b"1" * 5_000 + b"}",
    ],
)
async def test_what_is_no_json_is_refused(raw: bytes) -> None:
    """Broken, ambiguous and foreign notations are 400; nothing is stored."""
    async with running(World(limits=Limits(put_body=200_000))) as world:
        response = await world.ask("PUT", PHONE, "admin", data=raw, headers={"Content-Type": "application/json"})
        await problem(response, 400, "request.malformed")
        assert world.ingest.calls == []


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-Type": "text/plain"}, "request.media_type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "request.media_type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "request.encoding"),
    ],
)
async def test_other_media_are_refused(headers: dict[str, str], code: str) -> None:
    """Only plain JSON is read."""
    async with running() as world:
        # Not compressed at all: it must be refused for what it claims.
        response = await world.ask("PUT", PHONE, "admin", data=b'{"state": "idle"}', headers=headers)
        await problem(response, 415, code)


async def test_a_body_without_a_type_is_refused() -> None:
    """An absent Content-Type is a wrong one."""
    async with running() as world:
        response = await world.ask("PUT", PHONE, "admin", data=b"{}", skip_auto_headers=["Content-Type"])
        await problem(response, 415, "request.media_type")
        await problem(await world.ask("PUT", PHONE, "admin"), 415, "request.media_type")


async def test_a_large_body_is_refused_early() -> None:
    """Declared or not, nobody sends more than the limit; the connection ends."""

    async def endless() -> AsyncIterator[bytes]:
        yield b'{"publisher": "'
        for _ in range(100):
            yield b"x" * 100

    async with running(World(limits=Limits(put_body=1_000))) as world:
        declared = await world.put(PHONE, {"state": "idle", "publisher": "x" * 2_000})
        await problem(declared, 413, "request.too_large")
        assert declared.headers["Connection"] == "close"
        undeclared = await world.ask(
            "PUT", PHONE, "admin", data=endless(), headers={"Content-Type": "application/json"}
        )
        await problem(undeclared, 413, "request.too_large")
        assert world.ingest.calls == []


async def test_a_slow_body_is_given_up() -> None:
    """A body that stops half way is 408 after the body time-out, and the connection ends."""
    async with running(World(limits=Limits(body_timeout=0.05))) as world:
        server = world.client.server
        assert server.port is not None
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                b"PUT " + PHONE.encode() + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n"
                b'Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"state"'
            )
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in head
        assert world.ingest.calls == []


@pytest.mark.parametrize("label", ["a%20b", "x" * 65, "a%2Fb", "%C3%A4", "a%0A"])
async def test_labels_are_plain(label: str) -> None:
    """Lines and sessions are called by 1 to 64 plain characters."""
    async with running() as world:
        for kind, state in (("phone", "idle"), ("availability", "idle")):
            path = f"/v1/people/{ANN.id}/{kind}/{label}"
            for response in (await world.put(path, {"state": state}), await world.ask("DELETE", path, "admin")):
                assert (response.status, (await response.json())["errors"][0]["detail"]) == (
                    422,
                    "1 to 64 letters, digits and . _ : @ + -",
                )
        assert world.ingest.calls == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PublicationRefused("seq 3 is older than 5", code="publication.outdated"), 409, "publication.outdated"),
        (PublicationRefused("no running block ends then", code="publication.odd"), 409, "publication.odd"),
        (StoreUnavailable("commit failed", code="store.io_error"), 503, "store.io_error"),
        (StoreUnavailable("commit failed", code="store.disk_full"), 507, "store.disk_full"),
    ],
)
async def test_a_refusal_of_the_writing_side_is_a_problem(error: Exception, status: int, code: str) -> None:
    """The code goes through; what may work later says when to try again."""
    async with running() as world:
        world.ingest.fault = error
        response = await world.put(PHONE, {"state": "idle"})
        fault = await problem(response, status, code)
        assert str(error) in fault["detail"]
        assert ("Retry-After" in response.headers) == (status != 409)


async def test_leaving_a_meeting_early() -> None:
    """The end of the running block is passed on as an instant."""
    async with running() as world:
        response = await world.put(DISMISSAL, {"until": "2026-11-20T10:00:00.000Z"}, "anns")
        assert await response.json() == {"expires_at": "2026-11-20T10:00:00.000Z", "seq": None}
        assert world.ingest.calls == [("dismiss", ANN.id, world.clock.now() + timedelta(hours=1))]


async def test_preferences_are_patched_and_forgotten() -> None:
    """Only the given fields change, null forgets; the answer has what is in force and what was chosen."""
    async with running() as world:
        assert await (await world.get(CHOICES, "admin")).json() == {**CONFIGURED, "chosen": {}}
        patch: dict[str, Any] = {"calendar_opt_in": True, "override": "dnd_over_all", "invisible": None}
        headers = {"Content-Type": "application/merge-patch+json"}
        response = await world.ask("PATCH", CHOICES, "admin", json=patch, headers=headers)
        assert world.ingest.calls == [
            ("choose", ANN.id, {"calendar_opt_in": True, "override": Override.DND_OVER_ALL, "invisible": None})
        ]
        assert await response.json() == {
            **CONFIGURED,
            "calendar_opt_in": True,
            "override": "dnd_over_all",
            "chosen": {"calendar_opt_in": True, "override": "dnd_over_all"},
        }
        await world.ask("PATCH", CHOICES, "admin", json={"override": None})
        assert (await (await world.get(CHOICES, "admin")).json())["chosen"] == {"calendar_opt_in": True}


async def test_an_empty_patch_changes_nothing() -> None:
    """No field, no choice."""
    async with running() as world:
        assert (await world.ask("PATCH", CHOICES, "admin", json={})).status == 200
        assert world.ingest.calls == []


async def test_wrong_preferences_are_named() -> None:
    """Values outside the vocabulary and unknown names are 422."""
    async with running() as world:
        patch = {"override": "always", "show_until": "yes", "mood": "fine"}
        fault = await problem(await world.ask("PATCH", CHOICES, "admin", json=patch), 422, "request.invalid")
        assert {error["pointer"] for error in fault["errors"]} == {"/override", "/show_until", "/mood"}
        assert world.ingest.calls == []


async def test_a_personal_token_speaks_for_its_person() -> None:
    """Without any scope for it: status, preferences, leaving a meeting and why; client sessions need the scope."""
    async with running() as world:
        assert (await world.put(STATUS, {"state": "away"}, "anns")).status == 200
        assert (await world.ask("DELETE", STATUS, "anns")).status == 204
        assert (await world.get(CHOICES, "anns")).status == 200
        assert (await world.ask("PATCH", CHOICES, "anns", json={"invisible": True})).status == 200
        assert (await world.ask("DELETE", DISMISSAL, "anns")).status == 204
        assert (await world.get(f"/v1/presence/{ANN.id}/why", "anns")).status == 200
        await problem(await world.put(SESSION, {"state": "idle"}, "anns"), 403, "auth.scope")
        await problem(await world.put(PHONE, {"state": "idle"}, "anns"), 403, "auth.scope")
        assert (await world.put(SESSION, {"state": "idle"}, "anns-chat")).status == 200


async def test_a_personal_token_speaks_for_nobody_else() -> None:
    """Other people look as if they did not exist to it, whatever its scopes."""
    async with running() as world:
        mine, theirs = ANN.id, BOB.id
        for method, path, body in (
            ("PUT", STATUS, {"state": "away"}),
            ("DELETE", STATUS, None),
            ("GET", CHOICES, None),
            ("PATCH", CHOICES, {}),
            ("PUT", DISMISSAL, {"until": "2026-11-20T10:00:00Z"}),
            ("GET", f"/v1/presence/{mine}/why", None),
        ):
            response = await world.ask(method, path.replace(mine, theirs), "anns", json=body)
            await problem(response, 404, "person.unknown")
        other = SESSION.replace(mine, theirs)
        await problem(await world.put(other, {"state": "idle"}, "anns-chat"), 404, "person.unknown")
        assert world.ingest.calls == []
