"""Exchange calendars over Exchange Web Services: free/busy for many mailboxes with one service account.

`soap`, `build`, `parse`, `blocks`, `zones`, `refusals`, `owner_requests`, `splitter`, `notices`, `affinity` and
`seating` are pure: bytes in, bytes or facts out. `session`, `lane`, `logon`, `ntlm` and `http` are the way to the
server. `native` is the port Calendar on top of both; `exchangelib_transport` is the same port on another client, for
logons that ours does not know.

Notifications: `following` seats the mailboxes in `group`s of at most 200, each with one stream; `recruiting` makes
their subscriptions, `notifier` speaks to the server, `doubts` finds those that tell nothing. `calendar_view` is the way
to calendars that refuse free/busy.
"""

from gateway.clock import Clock
from gateway.sources import Calendar, Guard
from gateway.sources.ews.settings import EwsSettings

__all__ = ["EwsSettings", "open_calendar"]


def open_calendar(name: str, settings: EwsSettings, clock: Clock, guard: Guard) -> Calendar:
    """The calendars of one server; `name` is that of the configuration. Nothing is opened yet.

    Raises ConfigError for an unusable URL or trust bundle.
    """
    if settings.transport == "exchangelib":
        from gateway.sources.ews.exchangelib_transport import ExchangelibCalendar

        return ExchangelibCalendar(name, settings, clock, guard)
    from gateway.sources.ews.native import EwsCalendar

    return EwsCalendar(name, settings, clock, guard)
