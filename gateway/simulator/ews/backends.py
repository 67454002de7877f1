"""The mailbox servers behind the front end, and which of them a request reaches.

Subscriptions live in the memory of one server. Clients keep their requests together with three things: the
headers X-AnchorMailbox and X-PreferServerAffinity, and the cookie X-BackEndOverrideCookie.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.simulator.ews.options import SERVERS, EwsOptions
from gateway.simulator.world import World

OVERRIDE_COOKIE = "X-BackEndOverrideCookie"
_COOKIE_NUMBER = 1941962752
_MORE_COOKIES = (
    "X-BackEndCookie=S-1-5-21=u56Lnp2ejJqBypqcnsfJx5nSy8ucnNLLnp7J0sfHz8jSz8yZz8; path=/EWS; secure; HttpOnly",
    "exchangecookie=9cb1a8b3c7e14a3f8d5e6f70a1b2c3d4; path=/; HttpOnly",
)


@dataclass(frozen=True, slots=True)
class Affinity:
    """What the HTTP headers of a request say about where it wants to go."""

    anchor: str = ""
    """X-AnchorMailbox."""
    prefer: bool = False
    """X-PreferServerAffinity: true."""
    cookie: str | None = None
    """Value of the cookie X-BackEndOverrideCookie."""


def server_name(server: int) -> str:
    """The FQDN of a mailbox server, counted from 0."""
    return f"exchange{server + 1:02}.corp.example.com"


def cookie_value(server: int) -> str:
    """What the override cookie says for a server: `<FQDN>~<number>`."""
    return f"{server_name(server)}~{_COOKIE_NUMBER + server}"


def home(world: World, address: str, servers: int) -> int | None:
    """The server a mailbox is on; None for no mailbox. One mailbox after the other is put on the next server."""
    mailbox = world.mailboxes.get(address.lower())
    return int(mailbox.sid.rpartition("-")[2]) % servers if mailbox is not None else None


def route(world: World, options: EwsOptions, affinity: Affinity, acting: str, *, subscribes: bool) -> int:
    """The server a request reaches; see `StreamOptions.affinity`."""
    servers = options.streams.backends
    if servers < 2:
        return 0
    named = _named(affinity.cookie, servers)
    anchor = home(world, affinity.anchor, servers)
    own_anchor = world.identify(affinity.anchor) == acting
    if options.streams.affinity == "routed":
        if named is not None and affinity.prefer:
            return named
        return anchor if anchor is not None else home(world, acting, servers) or 0
    if affinity.prefer and named is not None and anchor is not None and named != anchor:
        # One of the two is not the group's, and strict servers go by that one: the anchor of a member that
        # subscribes with its own, or of a stream that acts as somebody else; otherwise the cookie.
        return anchor if own_anchor == subscribes else named
    opens_group = subscribes and own_anchor
    needless = affinity.cookie is None and (opens_group or options.streams.affinity_cookie == "none")
    meant = next((server for server in (named, anchor, home(world, acting, servers)) if server is not None), 0)
    together = affinity.prefer and anchor is not None and (named is not None or needless)
    return meant if together else (meant + 1) % servers


def cookies(options: EwsOptions, affinity: Affinity, server: int, *, subscribes: bool) -> tuple[str, ...]:
    """Values of the Set-Cookie headers of an answer."""
    if SERVERS[options.server].build[0] < 15:  # 2013 brought them
        return ()
    wanted = options.streams.affinity_cookie
    first = subscribes and affinity.prefer and affinity.cookie is None
    told = wanted == "every" or (wanted == "anchor" and first)
    override = (f"{OVERRIDE_COOKIE}={cookie_value(server)}; path=/; secure; HttpOnly",) if told else ()
    return override + (_MORE_COOKIES if options.streams.more_cookies else ())


def _named(cookie: str | None, servers: int) -> int | None:
    known = {cookie_value(server): server for server in range(servers)}
    return known.get(cookie) if cookie is not None else None
