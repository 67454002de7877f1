"""A notification stream cut into its documents: complete SOAP envelopes, one after the other, in pieces of any size."""

from __future__ import annotations

import re
from typing import Final

LARGEST: Final = 4 << 20
"""Bytes of one envelope."""

# Prefixes and blanks are bounded so that a tag which straddles two pieces has a known greatest length.
_OPENING = re.compile(rb"<(?:[A-Za-z_][\w.-]{0,63}:)?Envelope[\s>]")
_CLOSING = re.compile(rb"</(?:[A-Za-z_][\w.-]{0,63}:)?Envelope\s{0,64}>")
_OVERLAP: Final = 160
"""More than the longest tag that either pattern takes."""


class TooLarge(ValueError):
    """An envelope does not end within the limit."""


class EnvelopeSplitter:
    """Takes bytes as they come and gives whole envelopes; what lies between two of them is thrown away.

    XML declarations, blanks and whatever else a server or proxy puts in front of an envelope never reaches a parser.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._kept = bytearray()
        self._inside = False
        self._looked_until = 0
        self._largest = largest

    @property
    def pending(self) -> int:
        """Bytes that belong to no complete envelope yet."""
        return len(self._kept)

    def feed(self, piece: bytes) -> list[bytes]:
        """The envelopes that this piece completes, in order; TooLarge if the next one exceeds the limit."""
        self._kept += piece
        whole: list[bytes] = []
        while (envelope := self._next()) is not None:
            whole.append(envelope)
        return whole

    def _next(self) -> bytes | None:
        if not self._inside and not self._enter():
            return None
        end = _CLOSING.search(self._kept, self._looked_until)
        size = len(self._kept) if end is None else end.end()
        if size > self._largest:
            raise TooLarge(f"an envelope is larger than {self._largest} bytes")
        if end is None:
            self._looked_until = max(0, size - _OVERLAP)
            return None
        envelope = bytes(self._kept[:size])
        del self._kept[:size]
        self._inside, self._looked_until = False, 0
        return envelope

    def _enter(self) -> bool:
        """Throw away everything before the next opening tag; whether there is one."""
        start = _OPENING.search(self._kept)
        if start is None:
            del self._kept[: max(0, len(self._kept) - _OVERLAP)]
            return False
        del self._kept[: start.start()]
        self._inside = True
        return True
