"""presence-gateway watch [PERSON…] [--group G]: a live table on a terminal, lines when piped."""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from gateway.cli import client
from gateway.cli.words import Paint, row, safe

SILENCE: Final = 60.0
"""Seconds without a byte after which the connection is taken for dead; heartbeats come every 20."""
PAUSE: Final = 3.0
"""Seconds before a reconnection, until the server names its own (`retry:`)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, and where to ask."""
    parser.add_argument("people", nargs="*", metavar="PERSON", help="ids to watch (default: everybody the token sees)")
    parser.add_argument("--group", action="append", default=[], metavar="G", help="members of a group; may be repeated")
    parser.add_argument("--json", action="store_true", help="print each event as one JSON line")
    parser.add_argument("--once", action="store_true", help="print what is now, and end")
    client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Watch until interrupted; lost connections are resumed without missing anything."""
    asked = client.Client.of(args)
    selection: dict[str, Any] = {}
    if args.people:
        selection["people"] = args.people
    if args.group:
        selection["groups"] = args.group
    screen: Lines | Table | Json
    if args.json:
        screen = Json(sys.stdout)
    elif sys.stdout.isatty() and not args.once:
        screen = Table(sys.stdout)
    else:
        screen = Lines(sys.stdout)
    follow(asked, selection, screen, once=args.once)
    return 0


@dataclass(slots=True)
class Event:
    """One server-sent event."""

    name: str = "message"
    data: str = ""
    id: str | None = None
    retry: float | None = None


def events(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events of a stream's lines (WHATWG HTML, server-sent events); a trailing half event is dropped."""
    event = Event()
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if event.data or event.retry is not None:
                yield event
            event = Event()
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event.name = value
        elif name == "data":
            event.data = f"{event.data}\n{value}" if event.data else value
        elif name == "id":
            event.id = value
        elif name == "retry" and value.isdigit():
            event.retry = int(value) / 1000


def follow(asked: client.Client, selection: dict[str, Any], screen: Lines | Table | Json, *, once: bool) -> None:
    """Show events for ever (or until everything has come once); raises Refused, and at the start Unreachable, Busy."""
    last: str | None = None
    pause = PAUSE
    connected = False
    while True:
        try:
            with asked.stream(selection, last, silence=SILENCE) as stream:
                connected = True
                for event in events(stream):
                    last = event.id or last
                    pause = event.retry if event.retry is not None else pause
                    if event.data:
                        screen.show(event.name, _document(event.data))
                    if once and event.name == "synced":
                        return
        except (client.Unreachable, client.Busy):
            if not connected:
                raise
        except (OSError, http.client.HTTPException):
            pass  # cut or silent: the same as ended
        screen.lost()
        time.sleep(random.uniform(0.5, 1.0) * pause)


def _document(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        hint = "is that the gateway? check --url"
        raise client.Refused("the stream holds something else than JSON", code="protocol.unexpected_shape", hint=hint)
    return data


@dataclass(slots=True)
class Json:
    """One JSON line per event, for programs."""

    out: TextIO

    def show(self, name: str, data: dict[str, Any]) -> None:
        """`{"event", "data"}`."""
        print(json.dumps({"event": name, "data": data}, separators=(",", ":")), file=self.out, flush=True)

    def lost(self) -> None:
        """The connection ended; it comes back by itself."""


@dataclass(slots=True)
class Lines:
    """One plain line per change, for pipes and logs."""

    out: TextIO

    def show(self, name: str, data: dict[str, Any]) -> None:
        """Tab-separated: time, person, label, reach, remarks."""
        now = datetime.now(UTC)
        if name == "presence":
            cells = row(data, now)
        elif name == "gone":
            cells = (safe(data["person"]), "gone", "-", "")
        else:
            return
        print("\t".join((now.strftime("%Y-%m-%dT%H:%M:%SZ"), *cells)).rstrip(), file=self.out, flush=True)

    def lost(self) -> None:
        """The connection ended; it comes back by itself."""
        print("presence-gateway: connection lost, trying again", file=sys.stderr)


@dataclass(slots=True)
class Table:
    """Everybody in one table that is drawn anew on each change."""

    out: TextIO
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    synced: bool = False
    stale: bool = False

    def show(self, name: str, data: dict[str, Any]) -> None:
        """Take in one event; draw once the first picture is complete."""
        if name == "presence":
            self.people[data["person"]] = data
        elif name == "gone":
            self.people.pop(data["person"], None)
        elif name == "reset":
            self.people.clear()
            self.synced = False
        elif name == "synced":
            self.synced = True
        self.stale = name == "bye"
        if self.synced:
            self.draw()

    def lost(self) -> None:
        """Say that the picture is old."""
        self.stale = True
        self.draw()

    def draw(self) -> None:
        """Home, the rows that fit, clear the rest."""
        size = shutil.get_terminal_size()
        paint = Paint(self.out)
        now = datetime.now(UTC)
        rows = [row(self.people[person], now) for person in sorted(self.people)]
        shown = rows[: max(1, size.lines - 2)]
        width = max((len(cells[0]) for cells in shown), default=6)
        labels = max((len(cells[1]) for cells in shown), default=5)
        lines = []
        for person, label, reach, remarks in shown:
            room = max(0, size.columns - width - labels - 5)
            rest = paint.faint(remarks[:room])
            lines.append(f"{person:<{width}}  {paint.reach(reach, '●')} {label:<{labels}} {rest}")
        state = "connection lost, trying again" if self.stale else now.astimezone().strftime("%H:%M:%S")
        more = f"  {len(rows) - len(shown)} more" if len(rows) > len(shown) else ""
        lines.append(paint.faint(f"{len(rows)} people{more}  {state}"))
        text = "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines[:-1]) + lines[-1] + "\x1b[K\x1b[J"
        self.out.write(text)
        self.out.flush()
