"""What a reader asks beside the path: an answer only if it changed, and to be kept waiting until it does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

LONGEST_WAIT: Final = 60.0
"""Seconds; a longer wish is honoured this far."""

_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')
_PREFERENCE = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*))?[^,]*')


def matches(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match header names that quoted entity tag (weak comparison, RFC 9110 8.8.3.2)."""
    if if_none_match == etag:
        return True
    if if_none_match.strip() == "*":
        return True
    opaque = etag.removeprefix("W/")
    return any(tag == opaque for tag in _TAG.findall(if_none_match))


def wait_wish(headers: Iterable[str]) -> float | None:
    """Seconds of the `wait` preference in the Prefer headers, cut to LONGEST_WAIT; None if there is none.

    A malformed preference is ignored, and of several the first counts (RFC 7240 2).
    """
    for name, value in (wish for header in headers for wish in _preferences(header)):
        if name == "wait":
            return min(float(value), LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,9}", value) else None
    return None


def _preferences(header: str) -> list[tuple[str, str]]:
    """The preferences of one header as (lower-case name, unquoted value)."""
    return [
        (name.lower(), value[1:-1] if value.startswith('"') else value) for name, value in _PREFERENCE.findall(header)
    ]
