"""Tables of presence: the order of states, their labels, and what they mean for reach."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from gateway.core.model import Availability, Calendar, Phone, Reach

STALE_AFTER: Final = timedelta(minutes=15)
"""A calendar not confirmed for that long is shown as stale …"""
UNKNOWN_AFTER: Final = timedelta(hours=24)
"""… and is unknown after this, even inside its window."""
LINK_STALE_AFTER: Final = timedelta(seconds=120)
"""Phone facts of a linked source (one that confirms) are stale after that silence …"""
LINK_GONE_AFTER: Final = timedelta(seconds=420)
"""… and not believed any more after this one."""
STICKY: Final = timedelta(seconds=60)
"""How long the end of a call id that is never reused wins over late news of that call."""

EVERYBODY: Final = "*"
"""The person of a confirmation that covers all of a source's facts, such as the heartbeat of a PBX link."""

ON_THE_PHONE: Final = "on_the_phone"

PHONE_ORDER: Final = (Phone.CONNECTED, Phone.HELD, Phone.DIALING, Phone.WRAP_UP, Phone.RINGING, Phone.IDLE)
"""Strongest first, over a person's lines, devices and calls."""
PHONE_RANK: Final[Mapping[Phone, int]] = {state: rank for rank, state in enumerate(PHONE_ORDER)}
CALLS: Final = frozenset({Phone.CONNECTED, Phone.HELD, Phone.DIALING})
"""The phone states that assert "On the phone"."""

SESSION_ORDER: Final = (
    Availability.DO_NOT_DISTURB,
    Availability.BUSY,
    Availability.AVAILABLE,
    Availability.IDLE,
    Availability.BE_RIGHT_BACK,
    Availability.AWAY,
    Availability.OFFLINE,
    Availability.UNKNOWN,
)
"""Strongest first, over a person's client sessions."""
SESSION_RANK: Final[Mapping[Availability, int]] = {state: rank for rank, state in enumerate(SESSION_ORDER)}

LABEL: Final[Mapping[str, str]] = {
    ON_THE_PHONE: "On the phone",
    "in_meeting": "In a meeting",
    "out_of_office": "Out of office",
    "available": "Available",
    "idle": "Idle",
    "away": "Away",
    "be_right_back": "Be right back",
    "busy": "Busy",
    "do_not_disturb": "Do not disturb",
    "offline": "Offline",
    "unknown": "Unknown",
}
"""The label of each effective state."""

SESSION_WORD: Final[Mapping[Availability, str]] = {
    state: "Online" if state is Availability.AVAILABLE else LABEL[state.value] for state in SESSION_ORDER
}
"""The availability component's word: available reads "Online" there."""

ASSERTING_BLOCKS: Final = frozenset({Calendar.IN_MEETING, Calendar.OUT_OF_OFFICE})
"""The calendar states that take part in the rule."""

REACH: Final[Mapping[str, Reach]] = {
    ON_THE_PHONE: Reach.BUSY,
    "in_meeting": Reach.BUSY,
    "out_of_office": Reach.AWAY,
    "available": Reach.REACHABLE,
    "idle": Reach.AWAY,
    "away": Reach.AWAY,
    "be_right_back": Reach.AWAY,
    "busy": Reach.BUSY,
    "do_not_disturb": Reach.DO_NOT_DISTURB,
    "offline": Reach.UNREACHABLE,
    "unknown": Reach.UNKNOWN,
}
"""What each effective state means for "may I disturb?", unless do-not-disturb was declared."""
