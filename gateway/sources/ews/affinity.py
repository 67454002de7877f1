"""How the calls of one group of mailboxes find the same mailbox server through a load balancer.

The group's anchor is named in a header of every call, and the first server that answers leaves a cookie with its name
("Maintain affinity between a group of subscriptions and the Mailbox server", Exchange developer documentation).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

COOKIE: Final = "X-BackEndOverrideCookie"
"""The one cookie that is kept; `exchangecookie` is its predecessor of 2010, re-issued and ignored since 2013."""

_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,1024}")  # RFC 6265 4.1.1, cookie-octet


class Affinity:
    """What one group sends along. Its anchor is the mailbox that was subscribed first."""

    def __init__(self) -> None:
        self.anchor = ""
        """The anchor's address; empty until there is one."""
        self.cookie = ""
        """The cookie's value; empty until a server gave one."""

    def headers(self, mailbox: str = "") -> Mapping[str, str]:
        """The HTTP headers of one call; `mailbox` is the anchor-to-be while there is none."""
        headers = {"X-AnchorMailbox": _plain(self.anchor or mailbox), "X-PreferServerAffinity": "true"}
        if self.cookie:
            headers["Cookie"] = f"{COOKIE}={self.cookie}"
        return headers

    def note(self, cookies: Iterable[str]) -> None:
        """Keep the cookie out of these Set-Cookie values, unless there is one already."""
        for cookie in cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            if not self.cookie and name.strip().lower() == COOKIE.lower() and _VALUE.fullmatch(value.strip()):
                self.cookie = value.strip()

    def forget(self) -> None:
        """Begin anew, for the server it led to may no longer be the right one."""
        self.anchor = self.cookie = ""


def _plain(address: str) -> str:
    """The address as a header may hold it; whatever could end a header line is left out."""
    return "".join(letter for letter in address if letter.isprintable() and letter.isascii())
