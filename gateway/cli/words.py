"""How presence looks in a terminal: colours, times of day, ages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TextIO

_COLOURS: Final = {
    "reachable": "32",
    "busy": "31",
    "do_not_disturb": "35",
    "away": "33",
    "unreachable": "90",
    "unknown": "90",
}
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Paint:
    """Colours for one output; none when it is no terminal or NO_COLOR is set (https://no-color.org)."""

    def __init__(self, out: TextIO, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.on = out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"

    def bold(self, text: str) -> str:
        """Emphasis."""
        return f"\x1b[1m{text}\x1b[0m" if self.on else text

    def faint(self, text: str) -> str:
        """Secondary."""
        return f"\x1b[2m{text}\x1b[0m" if self.on else text

    def reach(self, reach: str, text: str) -> str:
        """In the colour of that reach."""
        return f"\x1b[{_COLOURS.get(reach, '0')}m{text}\x1b[0m" if self.on else text


def safe(text: object) -> str:
    """The text without control characters, which could command the terminal."""
    return _UNPRINTABLE.sub("?", str(text))


def clock(instant: str | None, now: datetime) -> str:
    """A time of day in local time, with the day when it is another one; - if there is none."""
    if not instant:
        return "-"
    local = datetime.fromisoformat(instant).astimezone()
    here = now.astimezone()
    return local.strftime("%H:%M" if local.date() == here.date() else "%a %d %b %H:%M")


def age(seconds: float) -> str:
    """About how long, in one unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def row(document: Mapping[str, Any], now: datetime) -> tuple[str, str, str, str]:
    """Person, label, reach and remarks of a presence document at any level."""
    effective = document["effective"]
    remarks = []
    since, until = effective.get("since"), effective.get("until")
    if since:
        remarks.append(f"since {clock(since, now)}")
    if until:
        remarks.append(f"until {clock(until, now)}")
    following = document.get("next")
    if following:
        remarks.append(f"then {safe(following['effective']['label'])}")
    stale = [name for name, part in document.get("components", {}).items() if part.get("stale")]
    if stale:
        remarks.append(f"{', '.join(stale)} not confirmed lately")
    return safe(document["person"]), safe(effective["label"]), safe(document["reach"]), ", ".join(remarks)
