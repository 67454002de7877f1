"""What is remembered of one mailbox that is to be followed."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Member:
    """One mailbox of a group; instants are monotonic.

    `subscription` is its id, empty while there is none; then `retry_at` says when one may be asked for. `followed`: we
    have told that notifications come; `code`: why we have told that they do not. `told_at`: when there was news;
    `silences`: how often a read found some that had not been told.
    """

    mailbox: str
    subscription: str = ""
    subscribed_at: float = 0.0
    retry_at: float = 0.0
    failures: int = 0
    asking: bool = False
    followed: bool = False
    code: str = ""
    told_at: float = -math.inf
    silences: int = 0
