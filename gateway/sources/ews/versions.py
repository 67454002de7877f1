"""Which schema version to name in requests: the newest one the server takes, found by stepping down."""

from __future__ import annotations

import structlog

from gateway.sources.ews.build import older
from gateway.sources.ews.refusals import OLDER_VERSION_HELPS

log = structlog.get_logger()


class Versions:
    """The version in use for one kind of request to one server."""

    def __init__(self, source: str, configured: str) -> None:
        self.current = configured
        self._source = source
        self._configured = configured

    def lowered(self, tried: str, code: str) -> bool:
        """Whether the request refused with this code (as Exchange says it) is worth another try with `current`."""
        if code not in OLDER_VERSION_HELPS:
            return False
        if self.current != tried:  # another lane has stepped down meanwhile
            return True
        lower = older(tried)
        if lower is None:
            self.current = self._configured
            return False
        log.warning("source.version.lowered", source=self._source, version=lower, code=code)
        self.current = lower
        return True
