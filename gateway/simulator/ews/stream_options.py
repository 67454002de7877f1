"""Switches of subscriptions and streams. The defaults are what recordings of Exchange 2013 to 2019 show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class StreamOptions:
    """How the server behaves towards subscribers. Change them at any time; what is said next obeys."""

    # --- what is said, and when

    heartbeat: Literal["empty", "status", "none"] = "empty"
    """An envelope with ConnectionStatus OK alone; with a StatusEvent for each subscription (Gromox); or none."""

    heartbeat_s: float = 45.0
    """Seconds between heartbeats."""

    closed: Literal["end", "linger", "missing"] = "end"
    """At the end of ConnectionTimeout: Closed and the end of the body; Closed, and the body stays open; or the
    end of the body alone."""

    minute_s: float = 60.0
    """Seconds in a minute of ConnectionTimeout: less makes streams end sooner than they were asked to."""

    events_per_envelope: int = 50
    """Most events of one subscription in one envelope; the others follow at once."""

    free_busy_changed: bool = True
    """Follow each event of an item with a FreeBusyChangedEvent of the same item."""

    folder_events: bool = True
    """Tell that the folder changed too, after the item."""

    saves: int = 1
    """How often each change is told, as clients save more than once."""

    save_gap_s: float = 1.0
    """Seconds between those."""

    # --- how it is written

    prefixes: Literal["recorded", "prefixed", "unprefixed", "soap11"] = "recorded"
    """`Envelope` unprefixed with `soap11:` on Header and Body, as recorded, or as in `EwsOptions.prefixes`."""

    declaration: Literal["never", "once", "always"] = "never"
    """XML declaration: never, before the first envelope (Gromox), or before each."""

    content_type: bool = False
    """Send a Content-Type header."""

    notification_status: bool = False
    """ConnectionStatus in envelopes with news, and MoreEvents in each Notification (Gromox)."""

    one_notification: bool = False
    """An envelope for each subscription with news, instead of one for all of them."""

    glued: bool = False
    """All envelopes that are due at the same time leave in one chunk."""

    chunk_size: int = 0
    """Most bytes in a chunk; 0 for envelopes in one piece."""

    walking_split: bool = False
    """Each envelope leaves in two chunks, split one byte later than the one before it."""

    chunk_pause_s: float = 0.0
    """Seconds between the chunks of one envelope."""

    # --- subscriptions

    ids: Literal["random", "counting"] = "random"
    """Ids that never come again, or ids that begin anew from 1 with each restart."""

    lifetime_s: float = 1800.0
    """Seconds a subscription lives without a connection (Gromox: 300)."""

    ids_per_stream: int = 200
    """Most subscriptions of one stream."""

    subscriptions_per_mailbox: int | None = None
    """Most live subscriptions to one mailbox; None: 20 Online, else 5,000."""

    streams_per_mailbox: int | None = None
    """Most open streams of one impersonated mailbox, or of a caller that impersonates nobody; None: 3 on 2010
    and 2013, else 10."""

    exceeded_connections: Literal["fault", "message"] = "fault"
    """How one stream too many is refused: a fault with MaxConcurrencyLimit and no back-off time, or an error
    message in the stream."""

    unknown_id: Literal["ErrorSubscriptionNotFound", "ErrorInvalidSubscription"] = "ErrorSubscriptionNotFound"
    """What is said of an id nobody knows."""

    error_ids: Literal["types", "messages"] = "types"
    """Namespace of the ids inside ErrorSubscriptionIds: as in the schema, or where some clients look for them."""

    error_status: Literal["Closed", "OK"] = "Closed"
    """ConnectionStatus beside an error; with OK the stream stays open and says nothing new (Gromox until 2026)."""

    # --- several mailbox servers

    backends: int = 1
    """Mailbox servers the mailboxes are spread over. Each knows only the subscriptions made through it."""

    affinity: Literal["strict", "routed"] = "strict"
    """With several servers: a request that lacks one of X-AnchorMailbox, X-PreferServerAffinity and the cookie
    ends up on the wrong one; or it goes where the cookie, else the anchor, else its mailbox is."""

    affinity_cookie: Literal["anchor", "every", "none"] = "anchor"
    """X-BackEndOverrideCookie with the answer to a Subscribe that brought none; with every answer; or never, and
    then nobody asks for it."""

    more_cookies: bool = False
    """Send X-BackEndCookie and exchangecookie with every answer, as 15.2 and 15.20 do."""
