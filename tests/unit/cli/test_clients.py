"""why and watch: what they ask the gateway, and what they make of its answers."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import client, main
from gateway.cli.watch import Event, Table, events
from gateway.cli.why import explanation
from gateway.cli.words import Paint, age, clock, row
from tests.unit.cli.gateway import answer, serving, stream

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


def document(person: str, label: str = "In a meeting", reach: str = "busy", **more: Any) -> dict[str, Any]:
    """A presence document."""
    effective = {"kind": "calendar", "state": "in_meeting", "label": label, "since": None, "until": None}
    return {
        "person": person,
        "effective": effective,
        "reach": reach,
        "components": {},
        "tooltip": label,
        "next": None,
    } | more


def event(name: str, data: object, id: str = "") -> str:
    """A server-sent event."""
    return (f"id: {id}\n" if id else "") + f"event: {name}\ndata: {json.dumps(data)}\n\n"


WHY = {
    "person": "ann@example.com",
    "at": "2026-11-20T09:30:00.000Z",
    "presence": document("ann@example.com", tooltip="Online, In a meeting"),
    "rule": "phone > calendar > availability: nobody is on the phone, and the calendar says in_meeting",
    "override": "none",
    "calendar_opt_in": True,
    "calendar_confirmed": "2026-11-20T09:29:18.000Z",
    "calendar_age": 42,
    "until": "2026-11-20T10:00:00.000Z",
    "facts": [
        {
            "kind": "availability",
            "source": "http",
            "key": "desk",
            "state": "available",
            "age": 4000,
            "manual": True,
            "until": None,
            "expires_at": "2026-11-20T09:35:00.000Z",
        },
        {
            "kind": "calendar",
            "source": "hq",
            "key": "schedule",
            "state": "schedule",
            "age": 42,
            "manual": False,
            "blocks": [
                {
                    "start": "2026-11-20T09:00:00.000Z",
                    "end": "2026-11-20T10:00:00.000Z",
                    "busy": "busy",
                    "all_day": False,
                }
            ],
        },
    ],
}


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token, no waiting, and UTC as local time."""
    monkeypatch.setenv(client.TOKEN_VARIABLE, "pgw_test")
    monkeypatch.setattr("gateway.cli.watch.time.sleep", lambda seconds: None)


def test_why_asks_with_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    """The person is one path segment; the token is in Authorization; --json gives the answer as it is."""
    with serving(answer(WHY)) as gateway:
        assert main(["why", "a/b c@example.com", "--json", "--url", gateway.url]) == 0
    assert json.loads(capsys.readouterr().out) == WHY
    (asked,) = gateway.asked
    assert asked.path == "/v1/presence/a%2Fb%20c@example.com/why"
    assert asked.headers["Authorization"] == "Bearer pgw_test"


def test_why_explains_in_words() -> None:
    """Who, what, why, the age of every fact, and the blocks of the calendar."""
    text = "\n".join(explanation(WHY, Paint(io.StringIO())))
    for part in (
        "ann@example.com  In a meeting until",
        "because   phone > calendar",
        "last confirmed 42 s ago",
        "available, chosen by the person",
        "http/desk, 1 h old",
        "  busy",
    ):
        assert part in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("status", "problem", "words"),
    [
        (404, {"code": "person.unknown", "title": "No such person"}, "no such person [person.unknown]; check the name"),
        (401, {"code": "auth.token_rejected", "title": "The token is unknown"}, "give a valid token"),
        (403, {"code": "auth.scope", "title": "No"}, "needs another scope"),
        (500, ["?"], "the server answered 500"),
        (302, {}, "the server answered 302"),
    ],
)
def test_a_refusal_is_one_line_with_advice(
    status: int, problem: object, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code and hint, exit 1, no traceback; a redirect is not followed."""
    with serving(answer(problem, status)) as gateway:
        assert main(["why", "ann", "--url", gateway.url]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert len(gateway.asked) == 1


def test_an_absent_gateway_is_one_line_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens: is it running?"""
    with serving(answer({})) as gateway:
        url = gateway.url
    assert main(["why", "ann", "--url", url]) == 1
    assert "is it running?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "http://gateway.example.com"],
        ["--url", "gateway"],
        ["--url", "ftp://127.0.0.1"],
        ["--token-file", "/nowhere/token"],
        ["--url", "https://127.0.0.1:1", "--ca-file", "/nowhere/ca.pem"],
    ],
)
def test_what_cannot_be_asked_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A token is never sent readable over the network, and every mistake is named by its option."""
    assert main(["why", "ann", *arguments]) == 2
    assert capsys.readouterr().err.startswith("--")


def test_without_a_token_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The line says where tokens come from."""
    monkeypatch.delenv(client.TOKEN_VARIABLE)
    assert main(["why", "ann"]) == 2
    assert "--token-file" in capsys.readouterr().err


def test_a_token_file_works(tmp_path: Path) -> None:
    """With its line end."""
    (tmp_path / "token").write_text("pgw_file\n")
    with serving(answer(WHY)) as gateway:
        assert main(["why", "ann", "--url", gateway.url, "--token-file", str(tmp_path / "token")]) == 0
    assert gateway.asked[0].headers["Authorization"] == "Bearer pgw_file"


def test_events_are_read_as_the_standard_says() -> None:
    """Comments and half events are nothing; lines of data join; ids and retry times are kept."""
    text = ": hello\n\nretry: 2500\n\nid: 7\nevent: presence\ndata: a\ndata:b\n\ndata: cut off"
    found = list(events(line.encode() + b"\n" for line in text.split("\n")[:-1]))
    assert found == [Event(retry=2.5), Event("presence", "a\nb", "7")]


def test_watch_prints_a_line_per_change_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    """Tab-separated and plain; --once ends when everything has come."""
    with serving(
        stream(event("presence", document("ann")), event("gone", {"person": "ben"}), event("synced", {}))
    ) as gateway:
        assert main(["watch", "ann", "ben", "--group", "sales", "--once", "--url", gateway.url]) == 0
    lines = [line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["ann", "In a meeting", "busy"], ["ben", "gone", "-"]]
    (asked,) = gateway.asked
    assert (asked.method, asked.path) == ("POST", "/v1/stream")
    assert asked.body == {"people": ["ann", "ben"], "groups": ["sales"]}


def test_watch_without_a_selection_watches_everybody(capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives each event as one line."""
    with serving(stream(event("presence", document("ann")), event("synced", {}))) as gateway:
        assert main(["watch", "--json", "--once", "--url", gateway.url]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["presence", "synced"]
    assert lines[0]["data"]["person"] == "ann"
    assert gateway.asked[0].method == "GET"


def test_watch_resumes_where_it_was_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A lost connection is taken up with the last complete event's id; a busy server is asked again."""
    half = 'id: p.v.2.2\nevent: presence\ndata: {"per'
    with serving(
        stream(event("presence", document("ann"), "p.v.1.1"), half),
        answer({"code": "connections.exhausted", "title": "Full"}, 503),
        stream(event("presence", document("ann", "Available"), "p.v.2.2"), event("synced", {})),
    ) as gateway:
        assert main(["watch", "--once", "--url", gateway.url]) == 0
    assert [asked.headers.get("Last-Event-ID") for asked in gateway.asked] == [None, "p.v.1.1", "p.v.1.1"]
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == ["In a meeting", "Available"]


def test_watch_ends_when_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A withdrawn token is not tried for ever."""
    with serving(
        stream(event("presence", document("ann"), "p.v.1.1")),
        answer({"code": "auth.token_rejected", "title": "The token is unknown"}, 401),
    ) as gateway:
        assert main(["watch", "--url", gateway.url]) == 1
    assert len(gateway.asked) == 2
    assert "auth.token_rejected" in capsys.readouterr().err


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_the_table_shows_the_newest_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row per person in the order of names, drawn once complete; who is gone is gone; a cut shows."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    screen = Screen()
    table = Table(screen)
    table.show("presence", document("ben"))
    table.show("presence", document("ann"))
    assert screen.getvalue() == ""
    table.show("synced", {})
    first = screen.getvalue()
    assert first.index("ann") < first.index("ben")
    assert "2 people" in first
    table.show("gone", {"person": "ben"})
    assert "ben" not in screen.getvalue()[len(first) :]
    table.lost()
    assert "connection lost" in screen.getvalue()


def test_the_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """More people than rows: the rest is counted."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "10")
    screen = Screen()
    table = Table(screen, {f"p{n:02}": document(f"p{n:02}") for n in range(30)}, synced=True)
    table.draw()
    assert screen.getvalue().count("\n") == 8
    assert "30 people  22 more" in screen.getvalue()


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals_that_want_it(environ: Mapping[str, str], coloured: bool) -> None:
    """NO_COLOR and dumb terminals get plain text, and so does a pipe."""
    assert (Paint(Screen(), environ).bold("x") != "x") == coloured
    assert Paint(io.StringIO(), environ).reach("busy", "x") == "x"


def test_a_name_cannot_command_the_terminal() -> None:
    """Control characters of any field are shown as question marks."""
    cells = row(document("a\x1b[2Jb", label="In\r\na meeting"), NOW)
    assert cells[:2] == ("a?[2Jb", "In??a meeting")


def test_remarks_tell_times_and_doubts() -> None:
    """Since, until, what comes next, and what has not been confirmed lately; a limited reader gets none."""
    full = document("ann", components={"calendar": {"stale": True}, "phone": {}})
    full["effective"] |= {"since": "2026-11-20T09:00:00.000Z", "until": "2026-11-20T10:00:00.000Z"}
    full["next"] = {"effective": {"label": "Available"}}
    remarks = row(full, NOW)[3]
    assert "then Available, calendar not confirmed lately" in remarks
    assert remarks.startswith("since ")
    limited = {"person": "ann", "effective": {"state": "available", "label": "Available"}, "reach": "reachable"}
    assert row(limited, NOW) == ("ann", "Available", "reachable", "")


def test_times_and_ages_are_short() -> None:
    """A time of day today, the day with it otherwise; an age in one unit."""
    assert clock(None, NOW) == "-"
    assert len(clock("2026-11-20T09:30:00.000Z", NOW)) == 5
    assert len(clock("2026-11-23T09:30:00.000Z", NOW)) > 5
    assert [age(seconds) for seconds in (0, 59, 60, 7300, 200_000)] == ["0 s", "59 s", "1 min", "2 h", "2 d"]
