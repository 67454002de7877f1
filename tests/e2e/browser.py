"""A real Chromium with an empty profile, and a window of it on the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    Response,
    async_playwright,
    expect,
)

CHROMIUM: Final = Path("/usr/bin/chromium")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # nobody else is asked, whatever goes wrong
)
SOON: Final = 5.0
"""Seconds in which the page shows what the gateway knows."""
_NOTE_VIOLATIONS: Final = """
    document.addEventListener("securitypolicyviolation", (event) =>
        console.error(`policy violated: ${event.effectiveDirective} ${event.blockedURI}`))
"""
_FAINT: Final = """() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => rgb.slice(0, 3).map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const node of document.body.querySelectorAll("*")) {
        const own = [...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.textContent);
        const text = node.placeholder || own.join("").trim();
        if (!text || !node.checkVisibility()) continue;
        const style = getComputedStyle(node, node.placeholder ? "::placeholder" : null);
        const [one, two] = [light(parse(style.color)), light(ground(node))];
        const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        if (contrast < 4.5) faint.push(`${text}: ${contrast.toFixed(2)}`);
    }
    return faint;
}"""
_UNEVEN: Final = """() => [...document.querySelectorAll("#board ul")].flatMap((list) => {
    const tops = new Map();
    for (const card of list.children) {
        const row = card.getBoundingClientRect().top;
        const offsets = [".name", ".label"].map((part) => card.querySelector(part).getBoundingClientRect().top - row);
        if (!tops.has(row)) tops.set(row, new Set());
        tops.get(row).add(offsets.map(Math.round).join());
    }
    return [...tops.values()].filter((found) => found.size > 1).map((found) => [...found].join(" / "));
})"""


class Window:
    """One window on the page. `complaints` is what the browser and the page's scripts said went wrong."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.loads = 0
        self._policies: dict[str, str | None] = {}
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)
        page.on("request", self._on_request)
        page.on("response", self._on_response)
        page.on("load", self._on_load)

    @property
    def link(self) -> Locator:
        """The word about the connection."""
        return self.page.locator("#link")

    @property
    def alarm(self) -> Locator:
        """The banner that says that what one sees is old."""
        return self.page.locator("#alarm")

    @property
    def health(self) -> Locator:
        """The strip about calendar servers."""
        return self.page.get_by_label("Calendar servers")

    @property
    def hosts(self) -> set[str]:
        """Host and port of everybody the page talked to, or tried to."""
        return {urlsplit(url).netloc for url in self.asked if not url.startswith("data:")}

    @property
    def policies(self) -> set[str | None]:
        """The content security policies of the documents and scripts that were loaded."""
        return set(self._policies.values())

    def card(self, name: str) -> Locator:
        """Somebody's card."""
        return self.page.get_by_role("listitem").filter(has=self.page.get_by_text(name, exact=True))

    async def opens(self, url: str, token: str | None = None) -> None:
        """Go there; a `token` goes into the fragment of the address."""
        await self.page.goto(url + (f"/#token={token}" if token else "/"))

    async def signs_in(self, token: str) -> None:
        """Type a token, and confirm."""
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()

    async def is_live(self, within: float = SOON) -> None:
        """It says so, within these seconds."""
        await expect(self.link).to_have_text("Live", timeout=within * 1000)

    async def shows(self, name: str, label: str, tooltip: str | None = None, *, within: float = SOON) -> None:
        """Somebody's card comes to say this, within these seconds; `tooltip` is the label unless given."""
        card = self.card(name)
        await expect(card.locator(".label")).to_have_text(label, timeout=within * 1000)
        await expect(card).to_have_attribute("title", tooltip or label, timeout=within * 1000)

    async def groups(self) -> dict[str, list[str]]:
        """The names on the board by the heading they stand under, in the order of the page."""
        found: dict[str, list[str]] = await self.page.evaluate(
            """() => Object.fromEntries(
                [...document.querySelectorAll("#board section:not([hidden])")].map((section) => [
                    section.querySelector("h2").firstChild.textContent,
                    [...section.querySelectorAll("li .name")].map((name) => name.textContent),
                ])
            )"""
        )
        return found

    async def faint(self) -> list[str]:
        """Visible texts whose contrast is below that of WCAG 2.2, 1.4.3."""
        return list(await self.page.evaluate(_FAINT))

    async def uneven(self) -> list[str]:
        """Rows of the board in which names or labels stand at different heights."""
        return list(await self.page.evaluate(_UNEVEN))

    async def focused(self) -> str:
        """What has the keyboard: its id and text."""
        return str(await self.page.evaluate("`${document.activeElement.id} ${document.activeElement.textContent}`"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_error(self, error: Error) -> None:
        self.complaints.append(f"uncaught: {error}")

    def _on_request(self, request: Request) -> None:
        self.asked.append(request.url)

    def _on_response(self, response: Response) -> None:
        if response.request.resource_type in ("document", "script"):
            self._policies[response.url] = response.headers.get("content-security-policy")

    def _on_load(self, _page: Page) -> None:
        self.loads += 1


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Chromium with a new profile, gone at the end. Fails with the name of the Debian package if it is missing."""
    executable = await asyncio.to_thread(require, CHROMIUM)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_window(
    browser: Browser,
    *,
    width: int = 1280,
    height: int = 800,
    scheme: Literal["light", "dark"] = "light",
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Window]:
    """A window of that size in pixels, with cookies of its own; `headers` go with every request."""
    options: dict[str, Any] = {"extra_http_headers": dict(headers)} if headers else {}
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB", **options
    )
    try:
        await context.add_init_script(_NOTE_VIOLATIONS)
        yield Window(await context.new_page())
    finally:
        await context.close()


def require(executable: Path) -> Path:
    """That file, or a failure that names the Debian package it comes from."""
    if not executable.is_file():
        pytest.fail(f"{executable} is missing: install the Debian package chromium")
    return executable
