"""The headers that keep a group's calls on one mailbox server."""

from __future__ import annotations

from gateway.sources.ews.affinity import Affinity

COOKIE = "X-BackEndOverrideCookie=ex01.example.com~1941962752; path=/; secure; HttpOnly"


def test_the_first_cookie_is_kept_and_sent_with_every_call() -> None:
    """A later one, an empty one, or one of another name does not replace it."""
    affinity = Affinity()
    assert affinity.headers("ann@example.com") == {
        "X-AnchorMailbox": "ann@example.com",
        "X-PreferServerAffinity": "true",
    }
    affinity.note(["exchangecookie=9cb1; path=/", "X-BackEndCookie=u56; path=/EWS", "X-BackEndOverrideCookie=; path=/"])
    assert affinity.cookie == ""
    affinity.note([COOKIE, COOKIE.replace("ex01", "ex02")])
    affinity.note([COOKIE.replace("ex01", "ex03")])
    affinity.anchor = "ann@example.com"
    assert affinity.headers("ben@example.com") == {
        "X-AnchorMailbox": "ann@example.com",
        "X-PreferServerAffinity": "true",
        "Cookie": "X-BackEndOverrideCookie=ex01.example.com~1941962752",
    }
    affinity.forget()
    assert "Cookie" not in affinity.headers("ben@example.com")


def test_nothing_a_server_or_a_directory_says_can_break_out_of_a_header() -> None:
    """Line ends and list separators in cookies are refused, in addresses left out."""
    affinity = Affinity()
    affinity.note(['X-BackEndOverrideCookie=a"b', "X-BackEndOverrideCookie=a,b", "X-BackEndOverrideCookie=a\r\nX: y"])
    assert affinity.cookie == ""
    assert affinity.headers("ann@example.com\r\nX-Evil: 1")["X-AnchorMailbox"] == "ann@example.comX-Evil: 1"
