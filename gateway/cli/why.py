"""presence-gateway why PERSON: the facts, the rule that decided, until when, and the age of each fact."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gateway.cli import client
from gateway.cli.words import Paint, age, clock, safe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PERSON and where to ask."""
    parser.add_argument("person", metavar="PERSON", help="a person's id, such as ann@example.com")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and explain."""
    found = client.Client.of(args).get(f"/v1/presence/{quote(args.person, safe='@')}/why")
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(explanation(found, Paint(sys.stdout))))
    return 0


def explanation(found: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    """The answer of /why as lines for people."""
    now = datetime.fromisoformat(found["at"])
    presence = found["presence"]
    label = paint.reach(presence["reach"], safe(presence["effective"]["label"]))
    until = f" until {clock(found['until'], now)}" if found.get("until") else ""
    yield f"{paint.bold(safe(found['person']))}  {label}{until}  ({safe(presence['reach'])})"
    yield f"  because   {safe(found['rule'])}"
    if presence.get("tooltip"):
        yield f"  tooltip   {safe(presence['tooltip'])}"
    yield f"  override  {safe(found['override'])}"
    yield f"  calendar  {_calendar(found)}"
    yield "  facts" + ("" if found["facts"] else "     none")
    for fact in found["facts"]:
        yield from _fact(fact, now, paint)


def _calendar(found: Mapping[str, Any]) -> str:
    if not found["calendar_opt_in"]:
        return "not shared (neither chosen by the person nor by the deployment)"
    if found.get("calendar_age") is None:
        return "shared; never read yet"
    return f"shared; last confirmed {age(found['calendar_age'])} ago"


def _fact(fact: Mapping[str, Any], now: datetime, paint: Paint) -> Iterator[str]:
    words = [f"{safe(fact['state'])}"]
    if fact.get("manual"):
        words.append("chosen by the person")
    if fact.get("until"):
        words.append(f"until {clock(fact['until'], now)}")
    if fact.get("expires_at"):
        words.append(f"believed until {clock(fact['expires_at'], now)}")
    told = f"{safe(fact['source'])}/{safe(fact['key'])}, {age(fact['age'])} old"
    yield f"    {safe(fact['kind']):<13}{', '.join(words)}  {paint.faint(told)}"
    for block in fact.get("blocks", ()):
        days = ", whole day" if block.get("all_day") else ""
        yield f"      {clock(block['start'], now)} to {clock(block['end'], now)}  {safe(block['busy'])}{days}"
