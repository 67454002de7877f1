"""The whole error tree.

    GatewayError(code, hint, **context)
    ├── ConfigError(problems)              every fault of the files at once, no traceback
    ├── SourceError(source, mailbox)
    │   ├── SourceUnavailable(retry_after) network, 5xx, throttling → back off, keep the fact until it expires
    │   ├── SourceDenied                   login, missing right, no such mailbox → park, say which right
    │   └── SourceProtocolError(excerpt)   we do not understand it → skip that mailbox, keep the old schedule
    ├── StoreError
    │   ├── StoreUnavailable               disk full, locked, closed → 503 or 507 for the writer
    │   ├── StoreConflict(key, revision)   a conditional put met another revision
    │   └── LeaseLost
    └── PublicationRefused                 an older sequence number, or nothing to dismiss → 409

The class says what we do, `code` which failure it is (`gateway.reasons`), `hint` what the operator should do.
Anything that is not a GatewayError is a bug. This module imports nothing.
"""


class GatewayError(Exception):
    """A failure with a stable reason code.

    `message` is lower case, names the step that failed and the object, and holds no secret and no calendar content.
    """

    def __init__(self, message: str, *, code: str, hint: str = "", **context: object) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.context = context


class ConfigError(GatewayError):
    """Every fault of the configuration at once: `problems` are lines of the form `file: key.path: fault; remedy`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems), code="config.invalid")
        self.problems = problems


class SourceError(GatewayError):
    """A source failed, for one mailbox if `mailbox` is set, else for the whole server."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str = "",
        source: str = "",
        mailbox: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(message, code=code, hint=hint, **context)
        self.source = source
        self.mailbox = mailbox


class SourceUnavailable(SourceError):
    """It may work later; `retry_after` (seconds) is the server's own wish, a lower bound."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retry_after: float | None = None,
        hint: str = "",
        source: str = "",
        mailbox: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(message, code=code, hint=hint, source=source, mailbox=mailbox, **context)
        self.retry_after = retry_after


class SourceDenied(SourceError):
    """Login, right or mailbox is wrong: only a person can mend it."""


class SourceProtocolError(SourceError):
    """The answer is not what the protocol allows; `excerpt` holds element names only, never content."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        excerpt: str = "",
        hint: str = "",
        source: str = "",
        mailbox: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(message, code=code, hint=hint, source=source, mailbox=mailbox, **context)
        self.excerpt = excerpt


class StoreError(GatewayError):
    """The store failed."""


class StoreUnavailable(StoreError):
    """Nothing was stored."""


class StoreConflict(StoreError):
    """A conditional put met another revision; nothing of that put was stored."""

    def __init__(self, key: str, revision: int) -> None:
        super().__init__(f"record {key!r} is at revision {revision}", code="store.conflict")
        self.key = key
        self.revision = revision


class LeaseLost(StoreError):
    """Somebody else holds the lease now."""


class PublicationRefused(GatewayError):
    """A well-formed publication that must not take effect (HTTP 409)."""
