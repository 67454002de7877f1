"""What operators ask of a running gateway: why, how the calendars do, and whether it is ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.calendars import Calendars
from gateway.clock import Clock
from gateway.core.explain import explain
from gateway.view import View


class Operations:
    """The port `gateway.web.ports.Operations`."""

    def __init__(self, view: View, calendars: Calendars, clock: Clock) -> None:
        self._view = view
        self._calendars = calendars
        self._clock = clock

    def why(self, person: str) -> Mapping[str, Any]:
        """The facts, the deciding rule, until when, and ages, as JSON values."""
        evidence = self._view.composer.evidence(person)
        assert evidence is not None, "the web asks only for people in the directory"
        return explain(evidence, self._view.composer.policy, self._clock.now())

    def calendars(self) -> Sequence[Mapping[str, Any]]:
        """Health per calendar server, as JSON values."""
        return self._calendars.servers()

    def mailboxes(self, calendar: str) -> Sequence[Mapping[str, Any]] | None:
        """Health per mailbox of one server, as JSON values; None if there is no such server."""
        return self._calendars.mailboxes(calendar)

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """Ready once the view is complete; a calendar server that fails makes it degraded, not unready."""
        degraded = {
            server["name"]: server["code"]
            for server in self._calendars.servers()
            if server["code"] not in ("ok", "pending")
        }
        ready = self._view.synced.is_set()
        state = "starting" if not ready else "degraded" if degraded else "ok"
        return ready, {"status": state, "calendars": degraded}

    def loop_lag(self) -> float:
        """How late the event loop ran its last beat, in seconds."""
        return self._view.lag
