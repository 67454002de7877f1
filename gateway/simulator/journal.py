"""What the simulator saw: one entry per request, and the questions tests ask about them.

The journal keeps names of operations, properties and mailboxes, never a body and never a secret.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from gateway.simulator.stream_journal import StreamJournal, most_within

CAPACITY = 10_000

# Operations that only read, or only open and close a subscription. Whatever is not in here counts as a write.
READS = frozenset(
    {
        "ConvertId", "ExpandDL", "FindFolder", "FindItem", "FindPeople", "GetAttachment", "GetDelegate",
        "GetEvents", "GetFolder", "GetInboxRules", "GetItem", "GetMailTips", "GetPersona", "GetRoomLists",
        "GetRooms", "GetServerTimeZones", "GetServiceConfiguration", "GetStreamingEvents",
        "GetUserAvailability", "GetUserConfiguration", "GetUserOofSettings", "ResolveNames", "Subscribe",
        "SyncFolderHierarchy", "SyncFolderItems", "Unsubscribe",
    }
)  # fmt: skip

# Property names (after `item:` or `calendar:`) and shapes that tell what a meeting is about or who is in it.
CONTENT = frozenset(
    {
        "allproperties", "attachments", "body", "categories", "conferencetype", "default", "displaycc",
        "displayto", "enhancedlocation", "headers", "internetmessageheaders", "location",
        "meetingworkspaceurl", "mimecontent", "netshowurl", "optionalattendees", "organizer", "preview",
        "requiredattendees", "resources", "sender", "subject", "textbody", "uniquebody",
        "from", "webclientreadformquerystring",
    }
)  # fmt: skip

_FOLDER_OPERATIONS = frozenset({"FindFolder", "GetFolder", "SyncFolderHierarchy"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One request and what became of it.

    `account` is the name it logged on with, `caller` whose that is, empty unless the password was right.
    `status` is 0 if no answer was given. `fault` is the action of the rule that hit it, `anchor` what it said
    in X-AnchorMailbox, `prefers_affinity` whether X-PreferServerAffinity was true, `cookie` its
    X-BackEndOverrideCookie, `view` the availability view it asked for, `at_s` the simulator's monotonic time.
    """

    at: datetime
    connection: int
    method: str
    path: str
    status: int
    operation: str = ""
    mailboxes: tuple[str, ...] = ()
    impersonated: str | None = None
    properties: frozenset[str] = frozenset()
    view: str | None = None
    scheme: str = ""
    account: str = ""
    caller: str = ""
    user_agent: str = ""
    anchor: str = ""
    prefers_affinity: bool = False
    cookie: str = ""
    fault: str = ""
    at_s: float = 0.0

    @property
    def asks_content(self) -> bool:
        """Whether it asked for subject, place, body or people of appointments."""
        if self.operation in _FOLDER_OPERATIONS:  # the shapes mean other properties there
            return False
        detailed = (self.view or "").casefold().startswith("detailed")
        return detailed or any(_local(name) in CONTENT for name in self.properties)


class Journal:
    """The newest requests (at most `capacity`) and counters over all of them since the start or `clear`."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._entries: deque[Entry] = deque(maxlen=capacity)
        self._failures: Counter[str] = Counter()
        self._operations: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._listeners: list[Callable[[Entry], None]] = []
        self.requests = 0
        self.connections = 0
        self.streams = StreamJournal()
        """What was streamed."""
        self.max_batch = 0
        """The largest number of mailboxes one request named."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last(self) -> Entry:
        """The newest entry; IndexError if there is none."""
        return self._entries[-1]

    def record(self, entry: Entry) -> None:
        """Keep `entry`, forgetting the oldest if the journal is full."""
        self._entries.append(entry)
        self.requests += 1
        self._statuses[entry.status] += 1
        if entry.operation:
            self._operations[entry.operation] += 1
        self.max_batch = max(self.max_batch, len(entry.mailboxes))
        for listener in tuple(self._listeners):
            listener(entry)

    def on_record(self, listener: Callable[[Entry], None]) -> Callable[[], None]:
        """Call `listener` with every new entry; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def failed_logon(self, account: str) -> None:
        """Count one refused password for `account`, as a directory's lock-out counter does."""
        self._failures[account.casefold()] += 1

    def logon_failures(self, account: str | None = None) -> int:
        """Refused passwords of `account` in any spelling the client used, or of everybody."""
        if account is None:
            return self._failures.total()
        return self._failures[account.casefold()]

    def count(self, operation: str | None = None, *, status: int | None = None, by: str | None = None) -> int:
        """How many of the kept requests were this operation, had this status and came from this caller."""
        return sum(
            (operation is None or entry.operation == operation)
            and (status is None or entry.status == status)
            and (by is None or entry.caller == by)
            for entry in self._entries
        )

    def peak(self, operation: str, *, seconds: float = 1.0) -> int:
        """Most requests of an operation that came within so many seconds of the monotonic time, of those kept."""
        times = [entry.at_s for entry in self._entries if entry.operation == operation]
        return most_within(sorted(times), seconds)

    def writes(self, by: str | None = None) -> list[Entry]:
        """Requests that would change a mailbox, whether or not the server let them."""
        return [entry for entry in self._of(by) if entry.operation and entry.operation not in READS]

    def content_asked(self, by: str | None = None) -> list[Entry]:
        """Requests that asked for what a meeting is about, where it is or who is in it."""
        return [entry for entry in self._of(by) if entry.asks_content]

    def clear(self) -> None:
        """Forget everything, counters included."""
        self._entries.clear()
        for counter in (self._failures, self._operations, self._statuses):
            counter.clear()
        self.requests = self.connections = self.max_batch = 0
        self.streams.clear()

    def summary(self) -> dict[str, object]:
        """Counters as JSON: requests, connections, operations, statuses, failed logons, largest batch."""
        return {
            "requests": self.requests,
            "connections": self.connections,
            "operations": dict(sorted(self._operations.items())),
            "statuses": {str(status): n for status, n in sorted(self._statuses.items())},
            "logon_failures": dict(sorted(self._failures.items())),
            "max_batch": self.max_batch,
            "writes": len(self.writes()),
            "content_asked": len(self.content_asked()),
            "streams": self.streams.summary(),
        }

    def _of(self, caller: str | None) -> list[Entry]:
        return [entry for entry in self._entries if caller is None or entry.caller == caller]


def _local(name: str) -> str:
    return name.rpartition(":")[2].casefold()
