"""What one EWS calendar is configured with; already validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class EwsSettings:
    """One `[calendars.*]` of kind `ews`. Durations are seconds, sizes bytes."""

    url: str
    username: str
    password: str = field(repr=False)
    auth: Literal["basic", "ntlm", "negotiate"] = "ntlm"
    ca_file: Path | None = None
    """Authorities to trust (PEM); None: the system's."""
    access: Literal["free_busy", "impersonation"] = "free_busy"
    """With impersonation the server tells what changes, and calendars are read when it does."""
    transport: Literal["native", "exchangelib"] = "native"
    lanes: int = 4
    """Connections, and so calls, at the same time."""
    batch: int = 100
    """Mailboxes per call."""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    """Decides what a whole day is for mailboxes that do not tell their own zone."""
    request_version: str = "Exchange2013"
    call_timeout: float = 70.0
    """Exchange itself gives up on a batch after about 60 s."""
    connect_timeout: float = 10.0
    max_body: int = 4 << 20
    """Decoded size of an answer, and of one envelope in a notification stream."""
    stream_silence: float = 100.0
    """A notification stream that sends nothing for so long is dead; Exchange sends a heartbeat about every 45 s."""
    stream_minutes: int = 30
    """How long the server keeps one open, 1 to 30."""
    stream_bytes: int = 16 << 20
    """Bytes a minute beyond which it is cut."""
    subscriptions_per_second: float = 10.0
    """How fast they are made."""
