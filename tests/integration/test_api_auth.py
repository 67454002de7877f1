"""The doors of the API: tokens, scopes, page sessions, trusted proxies."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import ClientResponse
from structlog.testing import capture_logs

from gateway.web.ports import Limits
from tests.integration.api_world import ANN, BOB, World, problem, running

DOCUMENT = "/v1/presence/ann@example.com"
STATUS = "/v1/people/ann@example.com/status"
HERE = (ip_network("127.0.0.0/8"),)


async def test_without_credentials_the_answer_says_which() -> None:
    """401 names the scheme; credentials of other schemes are none."""
    async with running() as world:
        for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
            response = await world.get(DOCUMENT, None, headers=headers)
            await problem(response, 401, "auth.required")
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="presence-gateway"'


@pytest.mark.parametrize("token", ["wrong", "x" * 600, "ä", "two words"])
async def test_a_wrong_token_is_refused(token: str) -> None:
    """An unknown token is 401 and named invalid, whatever it looks like."""
    async with running() as world:
        response = await world.get(DOCUMENT, token)
        await problem(response, 401, "auth.token_rejected")
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("method", "path", "token", "scope"),
    [
        ("GET", DOCUMENT, "pbx", "watch"),
        ("GET", "/v1/stream", "pbx", "watch"),
        ("GET", "/v1/people", "pbx", "watch"),
        ("PUT", "/v1/people/ann@example.com/phone/1", "watcher", "publish:phone"),
        ("PUT", STATUS, "watcher", "publish:availability"),
        ("GET", "/v1/people/ann@example.com/preferences", "watcher", "preferences"),
        ("GET", f"{DOCUMENT}/why", "watcher", "admin"),
        ("GET", "/v1/calendars", "watcher", "admin"),
        ("GET", "/v1/calendars/hq/mailboxes", "anns", "admin"),
    ],
)
async def test_each_route_asks_for_its_scope(method: str, path: str, token: str, scope: str) -> None:
    """Good credentials without the scope are 403 and told which one is missing."""
    async with running() as world:
        response = await world.ask(method, path, token, json={} if method == "PUT" else None)
        fault = await problem(response, 403, "auth.scope")
        assert fault["detail"] == f"needed: {scope}"
        assert f'scope="{scope}"' in response.headers["WWW-Authenticate"]


async def test_a_token_is_looked_up_once_and_checked_always() -> None:
    """The second request finds it known; a withdrawn or expired one is refused at once."""
    async with running() as world:
        for _ in range(3):
            assert (await world.get(DOCUMENT)).status == 200
        assert world.tokens.asked == ["watcher"]
        reader = world.tokens.readers["watcher"]
        world.tokens.readers["watcher"] = replace(reader, expires=world.clock.now() + timedelta(seconds=60))
        assert (await world.get(DOCUMENT)).status == 200
        assert world.tokens.asked == ["watcher", "watcher"]
        await world.clock.advance(60)
        await problem(await world.get(DOCUMENT), 401, "auth.token_rejected")


async def test_failures_are_slowed_down_by_address_and_good_tokens_are_not() -> None:
    """After ten wrong tokens in a minute the answer is 429 with a time; right ones pass all along."""
    async with running() as world:
        for _ in range(10):
            await problem(await world.get(DOCUMENT, "wrong"), 401, "auth.token_rejected")
        refused = await world.get(DOCUMENT, "wrong")
        await problem(refused, 429, "auth.throttled")
        assert refused.headers["Retry-After"] == "6"
        await problem(await _sign_in(world, "wrong"), 429, "auth.throttled")
        assert (await world.get(DOCUMENT)).status == 200
        await world.clock.advance(6)
        await problem(await world.get(DOCUMENT, "wrong"), 401, "auth.token_rejected")


async def test_failures_are_logged_in_sum_and_without_secrets() -> None:
    """The first failure makes a line, later ones one line a minute with their number; no line has the token."""
    async with running() as world:
        with capture_logs() as lines:
            for _ in range(5):
                await world.get(DOCUMENT, "hunter2")
            await world.clock.advance(61)
            await world.get(DOCUMENT, "hunter2")
        failed = [line for line in lines if line["event"] == "web.logon.failed"]
        assert [(line["log_level"], line["count"], line["network"]) for line in failed] == [
            ("warning", 1, "127.0.0.1"),
            ("warning", 5, "127.0.0.1"),
        ]
        assert "hunter2" not in repr(lines)


async def test_the_page_trades_a_token_for_a_cookie() -> None:
    """The cookie is out of reach for scripts and other sites, reads, and ends with the sign-out."""
    async with running() as world:
        response = await _sign_in(world, "watcher")
        assert response.status == 200
        assert await response.json() == {
            "name": "watcher",
            "scopes": ["watch"],
            "person": None,
            "expires_at": "2026-11-20T21:00:00.000Z",
        }
        crumb = response.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(crumb.split("; "))
        assert "Secure" not in crumb
        cookie = {"Cookie": crumb.partition(";")[0]}
        assert (await world.get(DOCUMENT, None, headers=cookie)).status == 200
        gone = await world.ask("DELETE", "/v1/session", None, headers={**cookie, **_own_page(world)})
        assert gone.status == 204
        assert "Max-Age=0" in gone.headers["Set-Cookie"]
        await problem(await world.get(DOCUMENT, None, headers=cookie), 401, "auth.session_ended")
        assert (await world.ask("DELETE", "/v1/session", None)).status == 204


async def test_a_session_ends_after_twelve_hours_or_with_its_token() -> None:
    """Neither time nor a withdrawn token leaves a session open."""
    async with running() as world:
        first, second = await _cookie(world, "watcher"), await _cookie(world, "sales")
        await world.clock.advance(11.9 * 3600)
        assert (await world.get(DOCUMENT, None, headers=first)).status == 200
        del world.tokens.readers["sales"]
        await problem(await world.get(DOCUMENT, None, headers=second), 401, "auth.session_ended")
        await world.clock.advance(0.1 * 3600)
        await problem(await world.get(DOCUMENT, None, headers=first), 401, "auth.session_ended")


@pytest.mark.parametrize("settings", [{"public_url": "https://presence.example.com"}, {"secure_cookies": True}])
async def test_over_tls_the_cookie_is_kept_to_it(settings: dict[str, Any]) -> None:
    """With a public https address the cookie is Secure and bound to this host by its name."""
    async with running(**settings) as world:
        crumb = (await _sign_in(world, "watcher")).headers["Set-Cookie"]
        assert crumb.startswith("__Host-presence=")
        assert "Secure" in crumb.split("; ")
        headers = {"Cookie": crumb.partition(";")[0]}
        assert (await world.get(DOCUMENT, None, headers=headers)).status == 200


async def test_a_cookie_changes_something_only_from_our_own_page() -> None:
    """Without our Origin, or with a form's content type, a cookie opens nothing but reading."""
    async with running() as world:
        cookie = await _cookie(world, "admin")
        body = {"state": "away"}
        for origin in ({}, {"Origin": "null"}, {"Origin": "https://evil.example.com"}, {"Origin": "http://[broken"}):
            response = await world.ask("PUT", STATUS, None, json=body, headers={**cookie, **origin})
            await problem(response, 403, "auth.origin")
        own = {**cookie, **_own_page(world)}
        form = await world.ask("PUT", STATUS, None, data={"state": "away"}, headers=own)
        await problem(form, 415, "request.media_type")
        assert world.ingest.calls == []
        assert (await world.ask("PUT", STATUS, None, json=body, headers=own)).status == 200
        assert (await world.ask("DELETE", STATUS, None, headers=own)).status == 204
        public = {**cookie, "Origin": "https://presence.example.com"}
        await problem(await world.ask("PUT", STATUS, None, json=body, headers=public), 403, "auth.origin")


async def test_foreign_pages_neither_sign_in_nor_out() -> None:
    """A page of another origin cannot give a browser our cookie nor take it away."""
    async with running() as world:
        evil = {"Origin": "https://evil.example.com"}
        await problem(await _sign_in(world, "watcher", **evil), 403, "auth.origin")
        cookie = await _cookie(world, "watcher")
        response = await world.ask("DELETE", "/v1/session", None, headers={**cookie, **evil})
        await problem(response, 403, "auth.origin")
        assert (await world.get(DOCUMENT, None, headers=cookie)).status == 200


async def test_the_public_address_is_our_own_page() -> None:
    """Behind a proxy that changes Host, the Origin is compared with the public address."""
    async with running(public_url="https://presence.example.com/") as world:
        headers = {**await _cookie(world, "admin"), "Origin": "https://presence.example.com"}
        assert (await world.ask("PUT", STATUS, None, json={"state": "away"}, headers=headers)).status == 200


async def test_a_trusted_proxy_vouches_for_a_person() -> None:
    """Its identity header makes the reader; an unknown identity is 403."""
    async with running(identity_header="X-Forwarded-Email", trusted_proxies=HERE) as world:
        known = {"X-Forwarded-Email": "bob@example.com"}
        assert (await world.get(f"/v1/presence/{BOB.id}", None, headers=known)).status == 200
        for unknown in ("eve@example.com", ""):
            response = await world.get(DOCUMENT, None, headers={"X-Forwarded-Email": unknown})
            await problem(response, 403, "auth.identity_unknown")
        two = [("X-Forwarded-Email", "bob@example.com"), ("X-Forwarded-Email", "ann@example.com")]
        await problem(await world.client.get(DOCUMENT, headers=two), 403, "auth.identity_unknown")
        change = await world.ask("PUT", f"/v1/people/{BOB.id}/status", None, json={"state": "away"}, headers=known)
        await problem(change, 403, "auth.origin")


async def test_anybody_else_vouches_for_nobody() -> None:
    """From an address outside the trusted networks, or unconfigured, the header is as good as absent."""
    elsewhere = (ip_network("192.0.2.0/24"),)
    for settings in (
        {"identity_header": "X-Forwarded-Email", "trusted_proxies": elsewhere},
        {"identity_header": "X-Forwarded-Email"},
        {"trusted_proxies": HERE},
    ):
        async with running(**settings) as world:
            headers = {"X-Forwarded-Email": "bob@example.com"}
            await problem(await world.get(f"/v1/presence/{BOB.id}", None, headers=headers), 401, "auth.required")


async def test_behind_a_proxy_failures_count_for_the_client() -> None:
    """The rightmost address that is not a proxy of ours counts, and IPv6 clients by their /64."""
    world = World(limits=Limits(failed_logons_per_minute=1))
    async with running(world, behind_proxy=True, trusted_proxies=HERE):

        async def fails(chain: str) -> int:
            return (await world.get(DOCUMENT, "wrong", headers={"X-Forwarded-For": chain})).status

        assert [await fails("198.51.100.1"), await fails("203.0.113.9, 198.51.100.1, 127.0.0.5")] == [401, 429]
        assert await fails("198.51.100.2") == 401
        assert [await fails("2001:db8::1"), await fails("2001:db8::2"), await fails("2001:db8:0:1::1")] == [
            401,
            429,
            401,
        ]


async def test_a_closed_session_closes_only_itself() -> None:
    """Two sessions of one token live apart."""
    async with running() as world:
        first, second = await _cookie(world, "watcher"), await _cookie(world, "watcher")
        assert first != second
        await world.ask("DELETE", "/v1/session", None, headers={**first, **_own_page(world)})
        assert (await world.get(f"/v1/presence/{ANN.id}", None, headers=second)).status == 200


def _own_page(world: World) -> dict[str, str]:
    return {"Origin": str(world.client.make_url("/")).rstrip("/")}


async def _sign_in(world: World, token: str, **headers: str) -> ClientResponse:
    return await world.ask("POST", "/v1/session", None, json={"token": token}, headers=headers)


async def _cookie(world: World, token: str) -> dict[str, str]:
    response = await _sign_in(world, token)
    assert response.status == 200
    return {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
