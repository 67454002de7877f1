"""How the simulated server behaves: its version, and a switch for every behaviour servers differ in.

The defaults are what recordings of real servers show.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gateway.simulator.ews.stream_options import StreamOptions

if TYPE_CHECKING:
    from gateway.simulator.ews.streams import Stream

REQUEST_VERSIONS = (
    "Exchange2007",
    "Exchange2007_SP1",
    "Exchange2010",
    "Exchange2010_SP1",
    "Exchange2010_SP2",
    "Exchange2013",
    "Exchange2013_SP1",
    "Exchange2015",
    "Exchange2016",
)
"""What a client may put into RequestServerVersion, oldest first."""


@dataclass(frozen=True, slots=True)
class Server:
    """One release of Exchange: the build it reports, its schema name, the newest version it accepts in
    requests.
    """

    name: str
    build: tuple[int, int, int, int]
    schema: str
    newest: str

    def accepts(self, version: str) -> bool:
        """Whether a request may name this version."""
        if version not in REQUEST_VERSIONS:
            return False
        return REQUEST_VERSIONS.index(version) <= REQUEST_VERSIONS.index(self.newest)


SERVERS: dict[str, Server] = {
    "2007": Server("2007 SP1", (8, 1, 436, 0), "Exchange2007_SP1", "Exchange2007_SP1"),
    "2010": Server("2010 SP3", (14, 3, 513, 0), "Exchange2010_SP2", "Exchange2010_SP2"),
    "2013": Server("2013 CU23", (15, 0, 1497, 48), "V2_23", "Exchange2013_SP1"),
    "2016": Server("2016 CU23", (15, 1, 2507, 44), "V2017_07_11", "Exchange2016"),
    "2019": Server("2019 CU12", (15, 2, 1118, 40), "V2017_07_11", "Exchange2016"),
    "SE": Server("Subscription Edition", (15, 2, 2562, 17), "V2017_07_11", "Exchange2016"),
    "Online": Server("Exchange Online", (15, 20, 7181, 18), "V2018_01_08", "Exchange2016"),
}
"""The releases that can be simulated, by short name."""


@dataclass(slots=True)
class EwsOptions:
    """Switches of the EWS face. Change them at any time; the next request sees the new value."""

    server: str = "2019"
    """Key of SERVERS."""

    prefixes: Literal["recorded", "prefixed", "unprefixed", "soap11"] = "recorded"
    """Namespaces: as recorded (availability unprefixed inside `s:`, others `m:`/`t:`), prefixes everywhere,
    default namespaces everywhere, or `soap11:` for the envelope with everything else unprefixed."""

    times: Literal["naive", "utc", "offset"] = "naive"
    """Availability times: wall time of the request's zone, `Z`, or with an offset (8.0-era samples,
    Gromox).
    """

    digits: bool = True
    """MergedFreeBusy present in the merged views."""

    working_hours: Literal["full", "no_days", "missing"] = "full"
    """WorkingHours complete, with an empty DayOfWeek (15.1.1531), or left out."""

    empty_array: Literal["left_out", "empty"] = "left_out"
    """CalendarEventArray of a view without events."""

    version_info: Literal["full", "no_schema", "missing"] = "full"
    """ServerVersionInfo header complete, without the Version attribute (15.0), or left out."""

    gromox: bool = False
    """Answer availability as Gromox does: view type and events only, no digits, no working hours, times with
    an offset, no view beyond FreeBusy or Detailed."""

    illegal_reference: bool = False
    """Put `&#x0;` into every subject of detailed answers (15.1.761)."""

    drop_entry: bool = False
    """Leave the last entry out of availability answers for more than one mailbox."""

    working_elsewhere: Literal["since_2013", "always", "never"] = "since_2013"
    """Whether BusyType may say WorkingElsewhere: hidden (Free) from requests below Exchange2013."""

    free_events: bool = True
    """List events whose BusyType is Free."""

    touching_events: bool = True
    """List events that only touch an edge of the window."""

    maximum_mailboxes: int = 100
    """Mailboxes in one availability request."""

    maximum_window_days: int = 62
    """Longest availability window: 62 since 2010, 42 on 2007."""

    maximum_events: int = 1000
    """Events of one mailbox in one availability answer (ErrorResultSetTooBig)."""

    throttled: Literal["message", "inner", "fault", "connections"] = "message"
    """How `throttled@` says it: in its entry with a back-off time, hidden inside ErrorInternalServerError, as
    a fault for the whole request, or as a fault ErrorExceededConnectionCount without a back-off time."""

    back_off_ms: int = 5000
    """BackOffMilliseconds of the above; 0 leaves the value out."""

    malformed: Literal["bad_request", "fault"] = "bad_request"
    """What a request that is no XML gets: HTTP 400 and nothing else, or a schema fault with HTTP 500."""

    find_folders: int = 0
    """Most folders in one FindItem (16 on Exchange Online); 0 for no limit."""

    headers: dict[str, str] = field(default_factory=dict)
    """More HTTP headers for every answer."""

    streams: StreamOptions = field(default_factory=StreamOptions)
    """Switches of subscriptions and streaming notifications."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. `chunked` says how 2010 and later send it; 2007 sends a Content-Length.

    With a `stream` the body is only what the stream says first; whoever sends the answer opens it and goes on.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    chunked: bool = True
    cookies: tuple[str, ...] = ()
    """Values of Set-Cookie headers."""
    stream: Stream | None = None
