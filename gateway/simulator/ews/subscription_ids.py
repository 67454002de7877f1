"""Subscription ids: base64 of the server's name, a GUID, a FILETIME and, since 2016, the mailbox' GUID.

Clients must not understand them; the form is as recorded, and the content is our own business.
"""

from __future__ import annotations

import base64
import binascii
import struct
import uuid
from datetime import UTC, datetime

_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def mint(server: str, number: uuid.UUID, made: datetime, mailbox: uuid.UUID | None) -> str:
    """An id; `mailbox` is None where servers leave it out."""
    name = server.encode("ascii")
    ticks = int((made - _FILETIME_EPOCH).total_seconds() * 10_000_000)
    raw = struct.pack("<H", len(name)) + name + _guid(number) + struct.pack("<Q", ticks)
    return base64.b64encode(raw + (_guid(mailbox) if mailbox is not None else b"")).decode()


def well_formed(token: str) -> bool:
    """Whether an id could be one of Exchange's, whoever made it."""
    try:
        raw = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(raw) < 2:
        return False
    rest = len(raw) - 2 - struct.unpack_from("<H", raw)[0]
    return rest in (20 + 8, 20 + 8 + 20)


def _guid(value: uuid.UUID) -> bytes:
    return struct.pack("<I", 16) + value.bytes_le
