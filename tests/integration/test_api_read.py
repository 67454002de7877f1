"""Reading presence over HTTP: documents, lists, changes, waiting."""

import asyncio
import json
from datetime import timedelta

import pytest
from aiohttp import StreamReader

from gateway.core.document import encode
from gateway.core.model import Level, Person
from gateway.web.ports import Limits
from tests.integration.api_world import ANN, BOB, CEM, DAY, World, presence, problem, running, until

WAIT = {"Prefer": "wait=30"}


async def test_a_person_is_one_document_with_an_entity_tag() -> None:
    """The body is the document of the reader's level, private, and tagged."""
    async with running() as world:
        response = await world.get("/v1/presence/ann@example.com")
        assert response.status == 200
        assert await response.read() == encode(presence(ANN.id), Level.COLLEAGUE)
        assert response.content_type == "application/json"
        assert response.headers["ETag"].startswith('"')
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["Vary"] == "Authorization, Cookie"


@pytest.mark.parametrize("path", ["ANN@Example.com", "ann%40example.com", "%41nn@example.com"])
async def test_ids_are_decoded_and_matched_in_lower_case(path: str) -> None:
    """However a client writes an id, it is the same person."""
    async with running() as world:
        response = await world.get(f"/v1/presence/{path}")
        assert (await response.json())["person"] == "ann@example.com"


async def test_the_level_is_the_readers() -> None:
    """A limited token gets the limited document, a personal one everything about its person and no more of others."""
    async with running() as world:
        world.hub.publish([presence(ANN.id, until=DAY + timedelta(hours=10))], 2)
        assert set(await (await world.get("/v1/presence/ann@example.com", "limited")).json()) == {
            "person",
            "effective",
            "reach",
        }
        own = await (await world.get("/v1/presence/ann@example.com", "anns")).json()
        assert own["effective"]["until"] == "2026-11-20T10:00:00.000Z"
        others = await (await world.get("/v1/presence/ann@example.com", "watcher")).json()
        assert others["effective"]["until"] is None


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", W/{}', "*"])
async def test_who_has_the_newest_gets_304(form: str) -> None:
    """If-None-Match is compared weakly, in lists, and with a star; 304 has the tag and no body."""
    async with running() as world:
        tag = (await world.get("/v1/presence/ann@example.com")).headers["ETag"]
        response = await world.get("/v1/presence/ann@example.com", headers={"If-None-Match": form.format(tag)})
        assert response.status == 304
        assert response.headers["ETag"] == tag
        assert await response.read() == b""


async def test_another_tag_gets_the_document() -> None:
    """A tag of an older state is answered with the newest."""
    async with running() as world:
        response = await world.get("/v1/presence/ann@example.com", headers={"If-None-Match": '"old"', **WAIT})
        assert response.status == 200
        assert "Preference-Applied" not in response.headers


async def test_head_is_get_without_the_body() -> None:
    """HEAD gives the headers of GET."""
    async with running() as world:
        response = await world.ask("HEAD", "/v1/presence/ann@example.com")
        assert response.status == 200
        assert int(response.headers["Content-Length"]) == len(encode(presence(ANN.id), Level.COLLEAGUE))
        assert await response.read() == b""
        assert (await world.ask("HEAD", "/v1/stream")).content_type == "text/event-stream"


async def test_unknown_and_forbidden_people_look_alike() -> None:
    """Apart from the request's id, the bytes of both answers are the same."""
    async with running() as world:
        answers = []
        for person in ("nobody@example.com", CEM.id):
            for path in ("/v1/presence/{}", "/v1/people/{}", "/v1/presence/{}/why", "/v1/people/{}/preferences"):
                response = await world.get(path.format(person), "sales", headers={"X-Request-Id": "same"})
                await problem(response, 404, "person.unknown")
                answers.append(await response.read())
        assert len(set(answers)) == 1


async def test_waiting_ends_with_the_change() -> None:
    """With If-None-Match and wait the answer comes when the document differs, and says that it waited."""
    async with running() as world:
        tag = (await world.get("/v1/presence/ann@example.com")).headers["ETag"]
        headers = {"If-None-Match": tag, **WAIT}
        waiting = asyncio.create_task(world.get("/v1/presence/ann@example.com", headers=headers))
        await until(lambda: world.seats == 1)
        await until(lambda: world.clock.asleep > 0)
        world.hub.publish([presence(ANN.id, "Away")], 2)
        await until(lambda: world.seats == 0)
        response = await waiting
        assert response.status == 200
        assert response.headers["Preference-Applied"] == "wait=30"
        assert (await response.json())["effective"]["label"] == "Away"


async def test_waiting_ends_with_304_when_nothing_comes() -> None:
    """At the end of the wait, which is cut to a minute, nothing has changed."""
    async with running() as world:
        tag = (await world.get("/v1/presence/ann@example.com")).headers["ETag"]
        headers = {"If-None-Match": tag, "Prefer": "respond-async, wait=600"}
        waiting = asyncio.create_task(world.get("/v1/presence/ann@example.com", headers=headers))
        await until(lambda: world.clock.asleep > 0 and world.hub.watched(ANN.id))
        await until(lambda: world.seats == 1)
        await world.clock.advance(59)
        assert not waiting.done()
        await world.clock.advance(2)
        response = await waiting
        assert response.status == 304
        assert response.headers["Preference-Applied"] == "wait=60"


async def test_a_withdrawn_token_does_not_outlive_its_wait() -> None:
    """Who was removed while waiting is told nothing."""
    async with running() as world:
        tag = (await world.get("/v1/presence/ann@example.com")).headers["ETag"]
        headers = {"If-None-Match": tag, **WAIT}
        waiting = asyncio.create_task(world.get("/v1/presence/ann@example.com", headers=headers))
        await until(lambda: world.seats == 1)
        del world.tokens.readers["watcher"]
        world.hub.publish([presence(ANN.id, "Away")], 2)
        await problem(await waiting, 401, "auth.token_rejected")


async def test_lists_name_what_is_missing() -> None:
    """People asked for by name come sorted; unknown and forbidden ones are missing alike."""
    async with running() as world:
        path = "/v1/presence?person=CEM@example.com&person=bob@example.com&person=nobody@example.com"
        answer = await (await world.get(path, "sales")).json()
        assert [document["person"] for document in answer["presence"]] == [BOB.id]
        assert answer["missing"] == [CEM.id, "nobody@example.com"]
        assert answer["reset"] is False
        assert set(answer) == {"presence", "missing", "id", "reset"}


async def test_lists_of_groups_and_of_everybody() -> None:
    """A group gives its members, nothing gives everybody visible, an unknown group nobody."""
    async with running() as world:

        async def listed(path: str, token: str = "watcher") -> list[str]:
            answer = await (await world.get(path, token)).json()
            return [document["person"] for document in answer["presence"]]

        assert await listed("/v1/presence?group=sales") == [ANN.id, BOB.id]
        assert await listed("/v1/presence?group=board&group=service") == [BOB.id, CEM.id]
        assert await listed("/v1/presence") == [ANN.id, BOB.id, CEM.id]
        assert await listed("/v1/presence", "sales") == [ANN.id, BOB.id]
        assert await listed("/v1/presence?group=none") == []


async def test_pages_are_chained_by_next() -> None:
    """Following `next` gives everybody once, and the id of the first page, so that no change between is lost."""
    async with running(World(people=[Person(f"p{n:02}@example.com") for n in range(7)])) as world:
        path: str | None = "/v1/presence?limit=3"
        people: list[str] = []
        ids: set[str] = set()
        while path is not None:
            answer = await (await world.get(path)).json()
            people += [document["person"] for document in answer["presence"]]
            ids.add(answer["id"])
            path = answer.get("next")
            world.hub.publish([presence("p00@example.com", "Away" if len(people) == 3 else "Online")], len(people))
        assert people == [f"p{n:02}@example.com" for n in range(7)]
        assert len(ids) == 1
        changes = await (await world.get(f"/v1/presence?since={ids.pop()}")).json()
        assert [document["person"] for document in changes["presence"]] == ["p00@example.com"]


async def test_since_gives_only_what_changed() -> None:
    """An id gives the changes after it; an id of nobody gives everything and says reset."""
    async with running() as world:
        first = await (await world.get("/v1/presence")).json()
        world.hub.publish([presence(BOB.id, "Away")], 2)
        changes = await (await world.get(f"/v1/presence?since={first['id']}")).json()
        assert [document["person"] for document in changes["presence"]] == [BOB.id]
        assert (changes["gone"], changes["reset"]) == ([], False)
        again = await (await world.get("/v1/presence?since=whatever")).json()
        assert (len(again["presence"]), again["reset"]) == (3, True)


async def test_waiting_for_changes_of_a_list() -> None:
    """With since and wait the answer comes with the first change, or empty at the end."""
    async with running() as world:
        last = (await (await world.get("/v1/presence")).json())["id"]
        waiting = asyncio.create_task(world.get(f"/v1/presence?since={last}", headers=WAIT))
        await until(lambda: world.seats == 1 and world.clock.asleep > 0)
        world.hub.publish([presence(CEM.id, "Away")], 2)
        await until(lambda: world.seats == 0)
        response = await waiting
        changes = await response.json()
        assert [document["person"] for document in changes["presence"]] == [CEM.id]
        assert response.headers["Preference-Applied"] == "wait=30"
        quiet = asyncio.create_task(
            world.ask("POST", "/v1/presence/query", json={"since": changes["id"]}, headers=WAIT)
        )
        await until(lambda: world.seats == 1 and world.clock.asleep > 0)
        while not quiet.done():
            await world.clock.advance(5)
            await asyncio.sleep(0.001)
        assert (await (await quiet).json())["presence"] == []


async def test_query_takes_people_and_groups() -> None:
    """POST answers as GET does; lists that name nobody choose nobody."""
    async with running() as world:

        async def queried(body: object) -> tuple[list[str], list[str]]:
            answer = await (await world.ask("POST", "/v1/presence/query", json=body)).json()
            return [document["person"] for document in answer["presence"]], answer["missing"]

        body = {"people": ["Cem@example.com", "x"], "groups": ["board"]}
        assert await queried(body) == ([BOB.id, CEM.id], ["x"])
        assert await queried({}) == ([ANN.id, BOB.id, CEM.id], [])
        assert await queried({"people": []}) == ([], [])
        assert await queried({"people": [], "groups": []}) == ([], [])


async def test_too_many_names_are_refused() -> None:
    """The bounds of the URL and of the body are named in the answer."""
    async with running(World(limits=Limits(people_in_url=2, people_in_query=2, people_in_stream=2))) as world:
        names = [f"p{n}" for n in range(3)]
        url = "?" + "&".join(f"person={name}" for name in names)
        for path in ("/v1/presence", "/v1/stream"):
            fault = await problem(await world.get(path + url), 400, "request.query")
            assert fault["errors"] == [{"parameter": "person", "detail": "at most 2 people in a URL; POST takes more"}]
        for path in ("/v1/presence/query", "/v1/stream"):
            response = await world.ask("POST", path, json={"people": names})
            fault = await problem(response, 422, "request.invalid")
            assert fault["errors"] == [{"pointer": "/people", "detail": "at most 2 people"}]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=٣", "limit"),
        ("limit=1&limit=2", "limit"),
        ("colour=red", "colour"),
        ("since=x&after=y", "after"),
    ],
)
async def test_a_wrong_query_is_refused(query: str, parameter: str) -> None:
    """Unknown, repeated and senseless parameters are 400, by name."""
    async with running() as world:
        fault = await problem(await world.get(f"/v1/presence?{query}"), 400, "request.query")
        assert [error["parameter"] for error in fault["errors"]] == [parameter]


async def test_the_directory_is_paged_and_shows_no_foreign_groups() -> None:
    """Entries come sorted by id; a token kept to a group learns of no other group."""
    async with running() as world:
        first = await (await world.get("/v1/people?limit=2")).json()
        assert [entry["id"] for entry in first["people"]] == [ANN.id, BOB.id]
        second = await (await world.get(first["next"])).json()
        assert second == {"people": [{"id": CEM.id, "name": "Cem Çelik", "groups": ["service"]}]}
        assert await (await world.get("/v1/people/BOB@example.com")).json() == {
            "id": BOB.id,
            "name": "Bob Brewer",
            "groups": ["sales", "board"],
        }
        assert (await (await world.get(f"/v1/people/{BOB.id}", "sales")).json())["groups"] == ["sales"]
        assert len((await (await world.get("/v1/people", "sales")).json())["people"]) == 2


async def test_a_stream_says_everything_and_then_the_changes() -> None:
    """The stream begins with one event per person and `synced`, in GET and POST alike, and resumes by id."""
    async with running() as world:
        response = await world.get(f"/v1/stream?person={ANN.id}")
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        events = await _events(response.content, 2)
        assert [event["event"] for event in events] == ["presence", "synced"]
        assert json.loads(events[0]["data"])["person"] == ANN.id
        response.close()
        resumed = await world.get(f"/v1/stream?person={ANN.id}&last_event_id={events[1]['id']}")
        assert [event["event"] for event in await _events(resumed.content, 1)] == ["synced"]
        resumed.close()
        posted = await world.ask("POST", "/v1/stream", json={"groups": ["sales"]})
        assert len(await _events(posted.content, 3)) == 3
        posted.close()


async def test_streams_and_waits_are_counted() -> None:
    """One token has its share, all together have theirs; who leaves makes room."""
    async with running(World(limits=Limits(connections=3, connections_per_token=2))) as world:
        streams = [await world.get("/v1/stream") for _ in range(2)]
        refused = await world.get("/v1/stream")
        await problem(refused, 429, "connections.per_token")
        assert int(refused.headers["Retry-After"]) > 0
        streams.append(await world.get("/v1/stream", "admin"))
        full = await world.get("/v1/stream", "sales")
        await problem(full, 503, "connections.exhausted")
        assert int(full.headers["Retry-After"]) > 0
        for response in streams:
            response.close()
        await until(lambda: world.seats == 0)
        again = await world.get("/v1/stream")
        assert again.status == 200
        again.close()


async def _events(content: StreamReader, count: int) -> list[dict[str, str]]:
    """The next events of a stream, as their fields; comments and retry times are passed over."""
    events: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    async with asyncio.timeout(5):
        while len(events) < count:
            line = (await content.readline()).decode().rstrip("\n")
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                events.append(fields)
                fields = {}
            else:
                fields = {}
    return events
