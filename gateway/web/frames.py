"""The bytes of an event stream (WHATWG HTML, server-sent events).

A frame is one event without the first half of its `id:` line: it begins `<n>.<revision>`, so the same bytes serve every
subscriber, and `id: <process>.<view>.` goes in front of each when a batch is joined. Nothing user-given is in an id, an
event name, a retry time or a comment; the data is one line of ASCII JSON.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import blake2b
from random import Random
from typing import Final, Literal

HEARTBEAT: Final = b":\n\n"
RESET: Final = b"event: reset\ndata: {}\n\n"
BYE: Final = b"event: bye\ndata: {}\n\n"
FRAME_CAP: Final = 16 * 1024
"""Bytes of the longest frame. Documents hold closed vocabularies and one person id, so a longer one is a bug."""

Event = Literal["presence", "gone", "synced"]


def frame(n: int, revision: int, event: Event, body: bytes) -> bytes:
    """One event, shared by all subscribers of a level; ValueError if the body could break the stream.

    The frame ends with the body and two line feeds.
    """
    made = b"%d.%d\nevent: %b\ndata: %b\n\n" % (n, revision, event.encode("ascii"), body)
    if len(made) > FRAME_CAP:
        raise ValueError(f"frame of {len(made)} bytes is over the cap of {FRAME_CAP}")
    if b"\n" in body or b"\r" in body:
        raise ValueError("line break in the data of a frame")
    return made


def gone(n: int, revision: int, person: str) -> bytes:
    """The person left what the subscriber sees."""
    return frame(n, revision, "gone", json.dumps({"person": person}).encode("ascii"))


def synced(n: int, revision: int) -> bytes:
    """Everything up to `n` has been sent."""
    return frame(n, revision, "synced", b"{}")


def retry(random: Random) -> bytes:
    """How long this client is to wait before it reconnects: spread, so that they do not come back together."""
    return b"retry: %d\n\n" % random.randint(2_000, 6_000)


def etag(body: bytes) -> str:
    """The strong entity tag of a document (RFC 9110 8.8.3): its hash, so every replica says the same."""
    return f'"{urlsafe_b64encode(blake2b(body, digest_size=12).digest()).decode("ascii")}"'
