"""Mailboxes that fail on purpose, by the name before the @ (a number may follow, `denied2@`).

| name         | what happens                                                                      |
| ------------ | --------------------------------------------------------------------------------- |
| denied       | ErrorNoFreeBusyAccess: the calendar shows nothing to anybody else                 |
| missing      | ErrorMailRecipientNotFound: the directory has no such mailbox                     |
| moved        | ErrorMailboxMoveInProgress                                                        |
| failover     | ErrorMailboxFailover                                                              |
| throttled    | ErrorServerBusy, with a back-off time                                             |
| offline      | ErrorMailboxStoreUnavailable                                                      |
| slow         | ErrorTimeoutExpired                                                               |
| broken       | ErrorFreeBusyGenerationFailed                                                     |
| hybrid       | ErrorProxyRequestProcessingFailed                                                 |
| undiscovered | ErrorServiceDiscoveryFailed                                                       |
| badname      | ErrorInvalidSmtpAddress                                                           |
| crowded      | ErrorResultSetTooBig                                                              |
| garbled      | the entry is well-formed XML with an end before its start and a time that is none |
| silent       | answers are normal; notification faces never report a change of this mailbox      |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

GARBLED = "garbled"
SILENT = "silent"
FAULT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "denied": "ErrorNoFreeBusyAccess",
        "missing": "ErrorMailRecipientNotFound",
        "moved": "ErrorMailboxMoveInProgress",
        "failover": "ErrorMailboxFailover",
        "throttled": "ErrorServerBusy",
        "offline": "ErrorMailboxStoreUnavailable",
        "slow": "ErrorTimeoutExpired",
        "broken": "ErrorFreeBusyGenerationFailed",
        "hybrid": "ErrorProxyRequestProcessingFailed",
        "undiscovered": "ErrorServiceDiscoveryFailed",
        "badname": "ErrorInvalidSmtpAddress",
        "crowded": "ErrorResultSetTooBig",
        GARBLED: GARBLED,
        SILENT: SILENT,
    }
)
_FAULT_NAME = re.compile(rf"({'|'.join(FAULT_NAMES)})[-.+]?\d*@")


def fault_named(address: str) -> str | None:
    """What the name of a mailbox asks for: an EWS error code, GARBLED, SILENT, or None."""
    match = _FAULT_NAME.match(address)
    return FAULT_NAMES[match[1]] if match else None
