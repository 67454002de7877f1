"""What an error code of Exchange means to us: one table, for single mailboxes and for whole calls alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.errors import SourceDenied, SourceError, SourceProtocolError, SourceUnavailable
from gateway.reasons import REASONS
from gateway.sources.ews.soap import Refusal

_BUSY = "server.throttled"
_AWAY = "server.unavailable"
_FAILED = "server.error"
_MISSING = "mailbox.not_found"
_DENIED = "permission.denied"
_REJECTED = "auth.rejected"
_LOST = "subscription.lost"
_MISSED = "subscription.missed_events"
_VERSION = "server.version_unsupported"

CODES: Final[Mapping[str, str]] = {
    "ErrorServerBusy": _BUSY,
    "ErrorTooManyObjectsOpened": _BUSY,
    "ErrorExceededConnectionCount": _BUSY,
    "ErrorNoFreeBusyAccess": _DENIED,
    "ErrorAccessDenied": _DENIED,
    "ErrorImpersonateUserDenied": _DENIED,
    "ErrorImpersonationDenied": _DENIED,
    "ErrorSubscriptionDelegateAccessNotSupported": _DENIED,
    "ErrorSubscriptionAccessDenied": _DENIED,
    "ErrorMailRecipientNotFound": _MISSING,
    "ErrorNonExistentMailbox": _MISSING,
    "ErrorInvalidSmtpAddress": _MISSING,
    "ErrorFreeBusyDLLimitReached": _MISSING,
    "ErrorServiceDiscoveryFailed": "mailbox.moved",  # no server known for that domain: a hybrid set-up, or a typo
    "ErrorMailboxMoveInProgress": "mailbox.moved",
    "ErrorProxyRequestNotAllowed": "mailbox.moved",
    "ErrorMailboxFailover": _AWAY,
    "ErrorMailboxStoreUnavailable": _AWAY,
    "ErrorMailboxLogonFailed": _AWAY,
    "ErrorNoRespondingCASInDestinationSite": _AWAY,
    "ErrorProxyRequestProcessingFailed": _AWAY,
    "ErrorTimeoutExpired": _AWAY,
    "ErrorConnectionFailed": _AWAY,
    "ErrorExceededSubscriptionCount": "subscription.limit",
    "ErrorSubscriptionNotFound": _LOST,
    "ErrorInvalidSubscription": _LOST,
    "ErrorSubscriptionUnsubscribed": _LOST,
    "ErrorExpiredSubscription": _LOST,
    "ErrorMissedNotificationEvents": _MISSED,
    "ErrorEventNotFound": _MISSED,
    "ErrorReadEventsFailed": _MISSED,
    "ErrorInvalidWatermark": _MISSED,
    "ErrorAccountDisabled": _REJECTED,
    "ErrorPasswordExpired": _REJECTED,
    "ErrorPasswordChangeRequired": _REJECTED,
    "ErrorInvalidServerVersion": _VERSION,
    "ErrorInvalidSchemaVersionForMailboxVersion": _VERSION,
    "ErrorIncorrectSchemaVersion": _VERSION,
    "ErrorSchemaValidation": _VERSION,
}
"""EWS response code → reason code; any other is `server.error`."""

OLDER_VERSION_HELPS: Final = frozenset(code for code, reason in CODES.items() if reason == _VERSION)
"""Codes after which a lower RequestServerVersion is tried."""

BUSY_CODES: Final = frozenset(code for code, reason in CODES.items() if reason == _BUSY)
"""Codes that ask for a pause of the whole account."""

BATCH_TOO_BIG: Final = "ErrorMailboxDataArrayTooBig"

_DENYING = ("tls.", "auth.", "permission.", "http.redirect_")
_DENIALS = frozenset(
    {"mailbox.not_found", "folder.not_found", "server.ews_disabled", "server.method_not_allowed", _VERSION}
)


def error_of(refusal: Refusal, mailbox: str | None = None) -> SourceError:
    """The error for a refusal, in place of one mailbox or of the whole call."""
    code = CODES.get(refusal.code, _FAILED)
    told = refusal.code if refusal.code.isascii() and refusal.code.isalnum() else "no code"
    what = f"mailbox {mailbox!r}" if mailbox is not None else "the call"
    return failure(
        code,
        f"exchange refused {what}: {told[:80]}",
        mailbox=mailbox,
        retry_after=refusal.back_off if code == _BUSY else None,
    )


def failure(
    code: str,
    message: str,
    *,
    mailbox: str | None = None,
    retry_after: float | None = None,
    excerpt: str = "",
) -> SourceError:
    """The error of the class that belongs to a reason code, with the code's remedy as its hint."""
    hint = REASONS[code].remedy
    if code.startswith("protocol.") or code == "http.body_too_large":
        return SourceProtocolError(message, code=code, excerpt=excerpt, hint=hint, mailbox=mailbox)
    if code.startswith(_DENYING) or code in _DENIALS:
        return SourceDenied(message, code=code, hint=hint, mailbox=mailbox)
    return SourceUnavailable(message, code=code, retry_after=retry_after, hint=hint, mailbox=mailbox)
