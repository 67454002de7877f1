"""No secret reaches a log, however it is dressed."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction import Redactor

SECRET = 'pä$$ "w0rd"/&<x>+=?'
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=4, max_size=24)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        SECRET.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        repr(SECRET),
        repr(SECRET.encode()),
        repr(SECRET.encode("utf-16-le")),
        SECRET.encode("utf-16-le").decode("latin-1"),
        SECRET.encode("utf-16-le").hex(),
    ],
)
def test_a_known_secret_is_hidden_in_every_disguise(form: str) -> None:
    """As it is, percent-encoded, in XML, as repr of text or bytes, in UTF-16."""
    assert Redactor([SECRET]).text(f"before {form} after") in (
        "before *** after",
        "before '***' after",
        "before b'***' after",
    )


@given(PRINTABLE, st.text(max_size=7), st.text(max_size=7))
def test_a_known_secret_is_hidden_inside_base64(secret: str, before: str, after: str) -> None:
    """At every offset: of the secret's own bytes nothing readable is left, in UTF-8 as in UTF-16."""
    for coding in ("utf-8", "utf-16-le"):
        raw = [text.encode(coding, "surrogatepass") for text in (before, secret, after)]
        if len(raw[1]) < 6:
            continue
        encoded = base64.b64encode(b"".join(raw)).decode()
        assert "***" in Redactor([secret]).text(f"sent {encoded} there")


@given(st.text(max_size=200), PRINTABLE)
def test_a_secret_is_never_left_as_it_is(text: str, secret: str) -> None:
    """Wherever it stands in a line."""
    assert secret not in Redactor([secret]).text(text + secret + text).replace("***", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: NTLM TlRMTVNTUAADAAAA", "Authorization: ***"),
        ("sent Basic c3ZjOmh1bnRlcjI= to it", "sent Basic *** to it"),
        ("{'Set-Cookie': 'sid=1; path=/'}", "{'Set-Cookie': ***"),
        ("password=hunter2&user=x", "password=***&user=x"),
        ("https://svc:hunter2@mail.example.com/EWS", "https://***@mail.example.com/EWS"),
        ("got https://mail.example.com/a?sid=1&x=2 back", "got https://mail.example.com/a?*** back"),
        ("pgw_0123456789abcdefghijklmnop", "pgw_***"),
        ("nothing secret: 12:30 - in a meeting", "nothing secret: 12:30 - in a meeting"),
    ],
)
def test_credentials_are_known_by_their_looks(text: str, expected: str) -> None:
    """Headers, schemes, URL credentials and queries, our own tokens: hidden without being known."""
    assert Redactor().text(text) == expected


def test_fields_are_hidden_by_their_names() -> None:
    """At any depth and in any spelling; the rest stays what it was."""
    cleaned = Redactor().fields(
        {
            "headers": {"AUTHORIZATION": "x", "Accept": "text/xml"},
            "set_cookie": ["a", "b"],
            "path": "/v1/presence?person=ann",
            "attempt": 3,
            "ok": True,
            "code": None,
        }
    )
    assert cleaned == {
        "headers": {"AUTHORIZATION": "***", "Accept": "text/xml"},
        "set_cookie": "***",
        "path": "/v1/presence?***",
        "attempt": 3,
        "ok": True,
        "code": None,
    }


def test_objects_become_text_before_they_are_searched() -> None:
    """An exception or bytes in a field cannot carry a secret past."""
    cleaned = Redactor(["hunter2"]).fields(
        {"error": ValueError("bad hunter2"), "raw": b"x hunter2", "pair": ("hunter2",)}
    )
    assert cleaned == {"error": "bad ***", "raw": "x ***", "pair": ["***"]}


def test_control_characters_cannot_forge_a_line() -> None:
    """Line breaks and terminal commands arrive as their escapes."""
    cleaned = Redactor().fields({"x": "a\nlevel=error\r\x1b[2J\u2028"})
    assert cleaned["x"] == "a\\nlevel=error\\x0d\\x1b[2J\\x2028"


def test_new_secrets_replace_the_old_ones() -> None:
    """After a reload it is the passwords in force that are hidden."""
    redactor = Redactor(["old-secret"])
    redactor.learn(["new-secret"])
    assert redactor.text("old-secret new-secret") == "old-secret ***"
