"""What every answer has in common: ids, headers, problems, logs, metrics, the page and the operators' routes."""

import re
from importlib.resources import files

import pytest
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from gateway.core.model import Availability
from gateway.web.app import make_operations_app
from tests.integration.api_world import ANN, CEM, World, problem, running

DOCUMENT = "/v1/presence/ann@example.com"


async def test_every_answer_carries_the_security_headers() -> None:
    """Documents, problems, the page and unknown addresses alike; nobody is invited from other origins."""
    async with running() as world:
        for path, token in ((DOCUMENT, "watcher"), (DOCUMENT, None), ("/", None), ("/nowhere", None), ("/livez", None)):
            headers = (await world.get(path, token, headers={"Origin": "https://evil.example.com"})).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["Server"] == "presence-gateway"
            assert not [name for name in headers if name.startswith("Access-Control")]


async def test_a_sane_request_id_is_kept_and_others_are_replaced() -> None:
    """The client's own id comes back if it is harmless; else ours, a new one each time."""
    async with running() as world:
        kept = await world.get(DOCUMENT, headers={"X-Request-Id": "abc-1.2_3"})
        assert kept.headers["X-Request-Id"] == "abc-1.2_3"
        made = set()
        for bad in ("a b", "x" * 65, "<script>", ""):
            made.add((await world.get(DOCUMENT, headers={"X-Request-Id": bad})).headers["X-Request-Id"])
        assert len(made) == 4
        assert all(re.fullmatch(r"[0-9a-f]{12}-\d+", identifier) for identifier in made)


async def test_unknown_addresses_and_methods_are_problems() -> None:
    """404 for what is not there, 405 with Allow for what takes other methods."""
    async with running() as world:
        for path in ("/v2/presence", "/v1/presence/", "/v1/people/a/b/c/d", "/page/index.html", "/../etc/passwd"):
            await problem(await world.get(path), 404, "route.unknown")
        refused = await world.ask("POST", DOCUMENT)
        await problem(refused, 405, "route.method")
        assert refused.headers["Allow"] == "GET, HEAD"
        await problem(await world.ask("OPTIONS", DOCUMENT), 405, "route.method")


async def test_a_bug_is_one_incident() -> None:
    """The client gets an incident id and nothing else; the log has it once, with the traceback."""
    async with running() as world:
        world.ingest.fault = RuntimeError("secret detail")
        with capture_logs() as lines:
            response = await world.put(f"/v1/people/{ANN.id}/status", {"state": "away"})
        fault = await problem(response, 500, "internal.error")
        assert "secret" not in await response.text()
        errors = [line for line in lines if line["log_level"] == "error"]
        assert [(line["event"], line["incident"]) for line in errors] == [("web.request.crashed", fault["incident"])]
        assert errors[0]["exc_info"] is world.ingest.fault
        world.ingest.fault = None
        assert (await world.put(f"/v1/people/{ANN.id}/status", {"state": "away"})).status == 200
        assert world.ingest.calls == [("status", ANN.id, Availability.AWAY, None)]


async def test_served_requests_are_logged_without_paths_and_secrets() -> None:
    """One debug line per request with the route's row, the reader's name and the time; no token, no query."""
    async with running() as world:
        with capture_logs() as lines:
            await world.get(f"{DOCUMENT}", headers={"X-Request-Id": "me"})
            await world.get("/v1/presence?person=ann@example.com", "hunter2")
        assert lines[0] == {
            "event": "web.request.served",
            "log_level": "debug",
            "method": "GET",
            "route": "/v1/presence/{person}",
            "status": 200,
            "took_ms": 0.0,
            "reader": "watcher",
            "request_id": "me",
        }
        assert "hunter2" not in repr(lines)
        assert ANN.id not in repr(lines)


async def test_metrics_count_without_naming_anybody() -> None:
    """Requests by method, row and status, failures, open seats; methods nobody serves share a label."""
    async with running() as world:
        await world.get(DOCUMENT)
        await world.get(DOCUMENT, "wrong")
        for method in ("PROPFIND", "MKCALENDAR"):
            await world.ask(method, "/nowhere/ann@example.com")
        response = await world.get("/metrics", None)
        text = await response.text()
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        row = 'presence_gateway_http_requests_total{method="GET",route="/v1/presence/{person}",status="%d"} 1.0'
        assert row % 200 in text
        assert row % 401 in text
        assert 'presence_gateway_http_requests_total{method="other",route="unmatched",status="404"} 2.0' in text
        assert "presence_gateway_failed_logons_total 1.0" in text
        assert "presence_gateway_http_seats_taken 0.0" in text
        assert "example.com" not in text


async def test_health_is_open_and_honest() -> None:
    """Alive while the loop runs in time, ready as the operations say, both without credentials."""
    async with running() as world:
        assert await (await world.get("/livez", None)).json() == {"alive": True, "loop_lag": 0.0}
        assert await (await world.get("/readyz", None)).json() == {"ready": True, "degraded": ["calendars.hq"]}
        world.desk.lag, world.desk.well = 31.0, False
        assert (await world.get("/livez", None)).status == 503
        assert (await world.get("/readyz", None)).status == 503


async def test_health_can_have_a_listener_of_its_own() -> None:
    """Set apart, the API does not serve health and metrics; the other application serves nothing else."""
    async with running(operations_apart=True) as world:
        for path in ("/livez", "/readyz", "/metrics"):
            await problem(await world.get(path, None), 404, "route.unknown")
        async with TestClient(TestServer(make_operations_app(world.services), host="127.0.0.1")) as client:
            for path in ("/livez", "/readyz", "/metrics"):
                assert (await client.get(path)).status == 200
            await problem(await client.get("/v1/people"), 404, "route.unknown")


async def test_operators_see_calendars_and_mailboxes() -> None:
    """Health per server and mailbox, in pages; an operator of some groups sees their mailboxes only."""
    async with running() as world:
        assert await (await world.get("/v1/calendars", "admin")).json() == {"calendars": [{"name": "hq", "code": "ok"}]}
        first = await (await world.get("/v1/calendars/hq/mailboxes?limit=1", "admin")).json()
        assert [box["mailbox"] for box in first["mailboxes"]] == [ANN.id]
        second = await (await world.get(first["next"], "admin")).json()
        assert second["mailboxes"][0]["code"] == "permission.denied"
        assert "next" not in second
        some = await (await world.get("/v1/calendars/hq/mailboxes", "sales")).json()
        assert [box["mailbox"] for box in some["mailboxes"]] == [ANN.id]
        await problem(await world.get("/v1/calendars/none/mailboxes", "admin"), 404, "calendar.unknown")
        why = await (await world.get(f"/v1/presence/{CEM.id}/why", "admin")).json()
        assert why["rule"] == "availability"


@pytest.mark.parametrize(
    ("path", "name", "media"),
    [
        ("/", "index.html", "text/html"),
        ("/page.js", "page.js", "text/javascript"),
        ("/board.js", "board.js", "text/javascript"),
        ("/page.css", "page.css", "text/css"),
    ],
)
async def test_the_page_is_served_with_tags(path: str, name: str, media: str) -> None:
    """The package's own bytes, revalidated every time, under the strict policy."""
    async with running() as world:
        response = await world.get(path, None)
        assert await response.read() == files("gateway.web").joinpath("page", name).read_bytes()
        assert response.content_type == media
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["Content-Security-Policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
            "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        )
        again = await world.get(path, None, headers={"If-None-Match": response.headers["ETag"]})
        assert again.status == 304


async def test_the_page_obeys_its_own_policy() -> None:
    """No inline script or style, no handler attribute, nothing from another host, no markup made of texts."""
    page = files("gateway.web").joinpath("page")
    html = page.joinpath("index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=|javascript:", html)
    for file in page.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


async def test_the_description_is_served() -> None:
    """/openapi.json is open, tagged, and describes itself."""
    async with running(World(), public_url="https://presence.example.com") as world:
        response = await world.get("/openapi.json", None)
        document = await response.json()
        assert document["openapi"] == "3.1.0"
        assert document["servers"] == [{"url": "https://presence.example.com"}]
        assert "/openapi.json" in document["paths"]
        tag = {"If-None-Match": response.headers["ETag"]}
        assert (await world.get("/openapi.json", None, headers=tag)).status == 304
