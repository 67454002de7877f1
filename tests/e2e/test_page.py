"""The page for people: the real process at one end, a real browser at the other."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from tests.e2e.browser import CHROMIUM, SOON, Window, open_browser, open_window, require
from tests.story.api import TIMEOUT, Api
from tests.story.process import running, serving
from tests.story.product import Files, write_files

REREAD = 25.0
"""Seconds in which a changed calendar shows: the demonstration reads watched ones every 10 s, at most 13 s apart as
each keeps its place in the round; then come the moments until it notices who watches, and until the page has it."""
GROUPS = {
    "engineering": ["Ben Baker", "Finn Fisher", "Jon Joiner"],
    "management": ["Dan Draper", "Hugo Hunter", "Lea Lister"],
    "sales": ["Ann Archer", "Eve Everett", "Iris Irving"],
    "support": ["Carla Cook", "Gina Glover", "Kim Knight"],
}
REFUSED = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
"""What Chromium itself says whenever somebody who is not signed in asks."""
RED = "rgb(179, 38, 30)"
"""What is wrong or busy, by day."""
POLICY_PARTS = ("default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'")


@dataclass
class Demo:
    """The running demonstration: its page, its token, and the simulated Exchange behind it."""

    url: str
    token: str
    api: Api
    control: str

    async def books(self, person: str, begins: datetime, lasts: timedelta = timedelta(hours=1)) -> None:
        """A meeting in somebody's calendar."""
        ends = begins + lasts
        await self._tell("book", {"person": person, "start": begins.isoformat(), "end": ends.isoformat()})

    async def _tell(self, what: str, fields: Mapping[str, str]) -> None:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.post(f"{self.control}/{what}", json=fields) as answer,
        ):
            assert answer.status < 300, await answer.text()


@pytest.fixture
async def demo() -> AsyncIterator[Demo]:
    """Twelve people in a world that keeps still."""
    async with running("demo", "--json", "--no-script", "--port", "0", "--people", "12") as process:
        ready = json.loads(await process.prints("{"))
        api = Api(ready["url"], ready["token"])
        try:
            yield Demo(ready["url"], ready["token"], api, ready["simulator"]["control_url"])
        finally:
            await api.close()
            process.sends(signal.SIGTERM)  # killed, it would leave its folder behind
            assert await process.ends(within=15) == 0


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, with an empty profile."""
    async with open_browser() as browser:
        yield browser


@pytest.fixture
async def window(demo: Demo, browser: Browser) -> AsyncIterator[Window]:
    """A window, not yet at the page; nothing may go wrong in it, and it talks to the gateway alone."""
    async with open_window(browser) as window:
        yield window
        assert set(window.complaints) <= {REFUSED}
        assert window.hosts == {urlsplit(demo.url).netloc}


async def test_the_link_signs_in(demo: Demo, window: Window) -> None:
    """The token in the fragment signs in, leaves the address bar, and cannot be had back by going back."""
    await window.opens(demo.url, demo.token)
    await window.is_live()
    assert window.page.url == f"{demo.url}/"
    await window.page.go_back()
    assert demo.token not in window.page.url
    assert window.complaints == []


async def test_a_typed_token_signs_in(demo: Demo, window: Window) -> None:
    """Without a link there is a field for the token; a wrong one is told, the right one opens the board."""
    await window.opens(demo.url)
    await expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await window.signs_in("pgw_wrong")
    refusal = window.page.get_by_text("This token is unknown or has expired.")
    await expect(refusal).to_be_visible()
    await expect(refusal).to_have_css("color", RED)
    await expect(window.card("Ann Archer")).to_have_count(0)
    await window.signs_in(demo.token)
    await window.is_live()
    await expect(window.card("Ann Archer")).to_be_visible()
    await expect(window.page.get_by_role("heading", name="Sign in")).to_be_hidden()


async def test_signing_out_clears_the_board(demo: Demo, window: Window) -> None:
    """Whoever signs out leaves nobody on the screen, and a reload does not bring them back."""
    await window.opens(demo.url, demo.token)
    await expect(window.card("Ann Archer")).to_be_visible(timeout=SOON * 1000)
    await window.page.get_by_role("button", name="Sign out").click()
    await expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await window.groups() == {}
    await window.page.reload()
    await expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await window.groups() == {}


async def test_everybody_is_listed(demo: Demo, window: Window) -> None:
    """All people stand there by name, each in their group, in order."""
    await window.opens(demo.url, demo.token)
    await window.is_live()
    await expect(window.card("Lea Lister")).to_be_visible()
    assert await window.groups() == GROUPS


async def test_the_filter_finds_people(demo: Demo, window: Window) -> None:
    """Typing part of a name or a group leaves those people; if nobody is like that, the page says so."""
    await window.opens(demo.url, demo.token)
    await expect(window.card("Ann Archer")).to_be_visible(timeout=SOON * 1000)
    wish = window.page.get_by_label("Filter by name, group or state")
    await wish.fill("archer")
    await expect(window.page.get_by_role("listitem")).to_have_count(1)
    await wish.fill("sales")
    await expect(window.page.get_by_role("listitem")).to_have_count(3)
    await wish.fill("nobody is called this")
    await expect(window.page.get_by_role("listitem")).to_have_count(0)
    await expect(window.page.get_by_text("Nobody to show.")).to_be_visible()
    await wish.fill("")
    await expect(window.page.get_by_role("listitem")).to_have_count(12)
    await expect(window.page.get_by_text("Nobody to show.")).to_be_hidden()


async def test_phone_calendar_and_availability_stand_in_this_order(demo: Demo, window: Window) -> None:
    """Online, then in a meeting, then on the phone as well: the label is the first that counts, the tooltip has all."""
    await window.opens(demo.url, demo.token)
    await window.shows("Ann Archer", "Offline")
    await demo.api.session("ann", "available")
    await window.shows("Ann Archer", "Available", "Online")
    await demo.books("ann@example.com", datetime.now(UTC))
    await window.shows("Ann Archer", "In a meeting", "Online, In a meeting", within=REREAD)
    await demo.api.phone("ann", "connected")
    await window.shows("Ann Archer", "On the phone", "Online, On the phone, In a meeting")
    await demo.api.hangs_up("ann")
    await window.shows("Ann Archer", "In a meeting", "Online, In a meeting")
    assert window.loads == 1


async def test_the_invisible_look_offline(demo: Demo, window: Window) -> None:
    """Somebody who became invisible is offline for others, with nothing in the tooltip that says more."""
    await demo.api.session("ben", "available")
    await demo.api.phone("ben", "connected")
    await window.opens(demo.url, demo.token)
    await window.shows("Ben Baker", "On the phone", "Online, On the phone")
    await demo.api.prefers("ben", invisible=True)
    await window.shows("Ben Baker", "Offline")
    await expect(window.card("Ben Baker").locator(".more")).not_to_contain_text("phone")


async def test_do_not_disturb_stays_visible_beside_what_wins(demo: Demo, window: Window) -> None:
    """Whoever is on the phone and not to be disturbed has a mark that says so; where the label says it, none does."""
    await demo.api.session("gina", "do_not_disturb")
    await window.opens(demo.url, demo.token)
    await window.shows("Gina Glover", "Do not disturb")
    await expect(window.card("Gina Glover").locator(".mark")).to_have_count(0)
    await demo.api.phone("gina", "connected")
    await window.shows("Gina Glover", "On the phone", "Do not disturb, On the phone")
    await expect(window.card("Gina Glover").locator(".mark")).to_have_text("Do not disturb")


async def test_a_calendar_that_refuses_is_seen(demo: Demo, window: Window) -> None:
    """The strip names the server and the reason code; the card of whom it concerns says: calendar unknown."""
    await window.opens(demo.url, demo.token)
    await window.is_live()
    await expect(window.health).to_have_text("hq: 1 × permission.denied")
    await expect(window.card("Iris Irving")).to_contain_text("calendar unknown")
    await expect(window.card("Ann Archer")).not_to_contain_text("calendar unknown")


async def test_foreign_scripts_and_hosts_are_shut_out(demo: Demo, browser: Browser) -> None:
    """The page may run its own scripts and talk to its own gateway only, and the browser sees to it."""
    async with open_window(browser) as window:
        await window.opens(demo.url, demo.token)
        await window.is_live()
        assert len(window.policies) == 1
        policy = str(window.policies.pop())
        assert [part for part in POLICY_PARTS if part not in policy] == []
        assert window.complaints == []
        await window.page.evaluate(_INTRUDE)
        await expect(window.page.locator("html")).to_have_attribute("data-fetch", "refused")
        assert await window.page.evaluate("window.intruded") is None
        violated = {line.split()[2] for line in window.complaints if line.startswith("policy violated")}
        assert violated == {"script-src-elem", "connect-src"}


async def test_the_strip_claims_nothing_about_calendars_that_are_not_read_yet(demo: Demo, window: Window) -> None:
    """As long as mailboxes are still to be read the strip says how many, and asks again soon."""
    unread = {"mailboxes": [{"person": "ann@example.com", "mailbox": "ann@example.com", "code": "pending"}]}
    await window.page.route("**/v1/calendars/hq/mailboxes", lambda route: route.fulfill(json=unread), times=1)
    await window.opens(demo.url, demo.token)
    await expect(window.health).to_have_text("hq: 1 not read yet", timeout=SOON * 1000)
    await expect(window.health).to_have_text("hq: 1 × permission.denied", timeout=2 * SOON * 1000)


@pytest.mark.parametrize("signed_in", ["by a token", "by the proxy in front"])
async def test_an_outage_is_unmistakable_and_ends_without_a_reload(
    tmp_path: Path, browser: Browser, signed_in: str
) -> None:
    """A killed gateway shows as a banner over a greyed board; after its return the page is live again by itself.

    Sessions live in memory: who came by a token is asked for it once, in the same window, and told why.
    """
    proxied = signed_in == "by the proxy in front"
    files = await asyncio.to_thread(_files, tmp_path, proxied)
    headers = {"X-Forwarded-Email": "ann@example.com"} if proxied else None
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(running("serve", "--config", files.config))
        url = await serving(process)
        window = await stack.enter_async_context(open_window(browser, headers=headers))
        await window.opens(url, None if proxied else files.tokens["watch"])
        await window.shows("Ann", "Offline")
        await expect(window.alarm).to_be_hidden()

        await process.kill()
        await expect(window.link).to_have_text("Disconnected", timeout=SOON * 1000)
        await expect(window.alarm).to_have_text("Connection lost. What you see below is old; trying again.")
        await expect(window.page).to_have_title("Disconnected – Presence")
        await expect(window.page.locator("#board")).to_have_css("filter", "grayscale(1)")
        await expect(window.card("Ann")).to_be_visible()
        await window.page.screenshot(path=tmp_path / "disconnected.png")

        await asyncio.to_thread(_replace, files.config, "127.0.0.1:0", urlsplit(url).netloc)
        again = await stack.enter_async_context(running("serve", "--config", files.config))
        assert await serving(again) == url
        if not proxied:
            await expect(window.page.get_by_text("Your session has ended.")).to_be_visible(timeout=RECONNECT * 1000)
            await window.page.screenshot(path=tmp_path / "ended.png")
            await window.signs_in(files.tokens["watch"])
        await window.is_live(within=RECONNECT)
        await window.shows("Ann", "Offline")
        await expect(window.alarm).to_be_hidden()
        await expect(window.page).to_have_title("Presence")
        await expect(window.page.locator("#board")).to_have_css("filter", "none")
        assert window.loads == 1
        assert [line for line in window.complaints if not line.startswith("Failed to load resource: ")] == []


async def test_a_limited_reader_sees_a_word_and_no_times(tmp_path: Path, browser: Browser) -> None:
    """A token of level limited shows the label alone, and no strip about calendars."""
    files = await asyncio.to_thread(_files, tmp_path, False)
    async with running("serve", "--config", files.config) as process, open_window(browser) as window:
        url = await serving(process)
        api = Api(url, files.tokens["all"])
        try:
            await api.phone("ann", "connected")
        finally:
            await api.close()
        await window.opens(url, files.tokens["limited"])
        await window.shows("Ann", "On the phone")
        await expect(window.card("Ann").locator(".more")).to_be_empty()
        await expect(window.health).to_be_hidden()


async def test_the_keyboard_reaches_everything_in_order(demo: Demo, window: Window) -> None:
    """Tab goes from the way past the header over the filter to the end of the session, and one sees where one is."""
    await window.opens(demo.url)
    await expect(window.page.get_by_label("Token")).to_be_focused()
    await window.page.keyboard.type(demo.token)
    await window.page.keyboard.press("Enter")
    await window.is_live()
    await window.page.reload()
    await window.is_live()
    for name in ("Skip to the people", "filter", "leave"):
        await window.page.keyboard.press("Tab")
        assert name in await window.focused()
        assert await window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for _ in range(2):
        await window.page.keyboard.press("Shift+Tab")
    await expect(window.page.get_by_text("Skip to the people")).to_be_in_viewport()
    await window.page.keyboard.press("Enter")
    assert "board" in await window.focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_it_is_readable(
    demo: Demo, browser: Browser, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    """By day, by night and on a phone: nothing sticks out, text stands out from its ground, rows line up at the top."""
    await _a_busy_day(demo)
    async with open_window(browser, width=width, height=844, scheme=scheme) as window:
        await window.opens(demo.url)
        await expect(window.page.get_by_label("Token")).to_be_focused()
        await window.page.screenshot(path=tmp_path / f"signin-{scheme}-{width}.png")
        assert await window.faint() == []
        await window.signs_in(demo.token)
        await window.shows("Ann Archer", "On the phone", "Online, On the phone, In a meeting", within=REREAD)
        await expect(window.card("Iris Irving")).to_contain_text("calendar unknown")
        await expect(window.health).to_be_visible()
        await window.page.screenshot(path=tmp_path / f"board-{scheme}-{width}.png", full_page=True)
        assert await window.page.evaluate("document.documentElement.scrollWidth") <= width
        assert await window.faint() == []
        assert await window.uneven() == []


def test_without_a_browser_the_package_is_named(tmp_path: Path) -> None:
    """A machine without Chromium fails these tests with the name of the package to install."""
    assert CHROMIUM.name == "chromium"
    with pytest.raises(pytest.fail.Exception, match="install the Debian package chromium"):
        require(tmp_path / "chromium")


RECONNECT = 30.0
"""Seconds in which the page must have found a gateway that came back; it tries every few seconds at first."""

_INTRUDE = """() => {
    const script = document.createElement("script");
    script.textContent = "window.intruded = true";
    document.body.append(script);
    fetch("https://elsewhere.example.com/").then(() => "answered", () => "refused")
        .then((end) => { document.documentElement.dataset.fetch = end; });
}"""
"""What somebody would do who managed to put a script into the page."""


async def _a_busy_day(demo: Demo) -> None:
    """One of each: a call in a meeting, a meeting, someone away, someone not to be disturbed, someone travelling."""
    await demo.books("ann@example.com", datetime.now(UTC))
    await demo.books("ben@example.com", datetime.now(UTC))
    await demo.api.session("ann", "available")
    await demo.api.phone("ann", "connected")
    for name, state in (("carla", "away"), ("dan", "do_not_disturb"), ("eve", "available"), ("finn", "be_right_back")):
        await demo.api.session(name, state)


def _files(folder: Path, proxied: bool) -> Files:
    """A gateway's files without calendars; `proxied`: the users of a proxy on this machine are believed."""
    files = write_files(folder, ["ann@example.com", "ben@example.com"])
    if proxied:
        _replace(files.config, "[server]", '[server]\ntrusted_proxies = ["127.0.0.1/32"]\nbehind_proxy = true\n'
                 'identity_header = "X-Forwarded-Email"')  # fmt: skip
    return files


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
