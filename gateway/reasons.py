"""Every reason code: the stable name of a failure, when it is tried again, and what an administrator does about it.

A code never changes its meaning; new ones may be added. Programs and tests match on codes, people read messages and
remedies. Health records, findings, problem documents and metrics all take their words from this table.
This module imports nothing of the gateway.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class RetryClass(StrEnum):
    """When a failure is tried again."""

    TRANSIENT = "T"
    """Full back-off with jitter, at most 60 s apart."""
    SLOW = "S"
    """At most 15 minutes apart."""
    HOLD = "H"
    """After a change of configuration or credentials, an operator's "retry now", or one probe an hour."""
    NEVER = "N"
    """Not by itself."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What a code means to a person; `message` and `remedy` are whole sentences without variables."""

    code: str
    retry: RetryClass
    message: str
    remedy: str


_T, _S, _H, _N = RetryClass.TRANSIENT, RetryClass.SLOW, RetryClass.HOLD, RetryClass.NEVER

_HEALTH = (
    Reason("ok", _N, "Everything works.", ""),
    Reason("pending", _N, "Not tried yet.", "Wait for the first read; it comes within one refresh interval."),
    Reason(
        "calendar.opted_out",
        _N,
        "This person does not share the calendar.",
        "Nothing: the choice is the person's own, or the deployment's default (presence.calendar_opt_in).",
    ),
)

_TLS = (
    Reason(
        "tls.untrusted_ca",
        _H,
        "The authority that issued the server's certificate is not trusted.",
        "Put the certificate of the authority, not the server's own, into ca_file; with several tiers put in every "
        "tier. If the authority is there already, the server does not send an intermediate certificate: install "
        "that on Exchange and on the reverse proxy.",
    ),
    Reason(
        "tls.self_signed",
        _H,
        "The server presents a self-signed certificate.",
        "Issue a certificate from your certification authority and assign it to IIS (Enable-ExchangeCertificate "
        "-Services IIS).",
    ),
    Reason(
        "tls.not_a_ca",
        _H,
        "A certificate signs others but is not marked as an authority.",
        "Typical of the self-signed material IIS creates by default; issue the server's certificate from a real "
        "certification authority (basic constraints CA, key usage certificate signing).",
    ),
    Reason(
        "tls.chain_incomplete",
        _H,
        "The server does not send an intermediate certificate.",
        "Install the intermediate on Exchange and on the reverse proxy or load balancer (often only one has it); "
        "as a stop-gap add it to ca_file.",
    ),
    Reason(
        "tls.name_mismatch",
        _H,
        "The certificate is for other names than the one we asked for.",
        "Configure one of the certificate's names as the host in url and make DNS resolve it, or issue the "
        "certificate again with this name; an IP address works only if the certificate lists it.",
    ),
    Reason(
        "tls.expired",
        _S,
        "A certificate of the server's chain has expired.",
        "Renew the certificate and assign it to IIS; if it is still valid, set this machine's clock.",
    ),
    Reason(
        "tls.not_yet_valid",
        _S,
        "A certificate of the server's chain is not valid yet.",
        "Set this machine's clock (and the certification authority's); else wait until the certificate is valid.",
    ),
    Reason(
        "tls.weak",
        _H,
        "A key or digest in the server's certificate chain is too weak.",
        "Issue the certificate again with RSA 2048 or an elliptic curve, and SHA-256.",
    ),
    Reason(
        "tls.strict",
        _H,
        "The server's certificate chain violates RFC 5280.",
        "Issue the certificate again from a current template; the message names the rule it breaks.",
    ),
    Reason(
        "tls.protocol",
        _S,
        "The server and we share no TLS version or cipher; TLS 1.2 is the least we speak.",
        "Enable TLS 1.2 on the server (Schannel), or put a TLS-terminating proxy in front of an old one.",
    ),
    Reason(
        "tls.not_tls",
        _S,
        "The port answers in plain text, not in TLS.",
        "Check the port in url; HTTPS is usually 443.",
    ),
    Reason(
        "tls.pin_mismatch",
        _H,
        "The server's certificate is not the pinned one.",
        "Verify the new certificate's fingerprint with whoever renewed it, then update the pin.",
    ),
)

_NETWORK = (
    Reason(
        "dns.not_found",
        _T,
        "The server's name does not resolve.",
        "Correct the host in url, or the DNS record; a working ping proves nothing, a TCP connection to the port does.",
    ),
    Reason(
        "dns.timeout",
        _T,
        "The name servers did not answer.",
        "Check the resolvers of this machine and the way to them.",
    ),
    Reason(
        "net.refused",
        _T,
        "The server refused the connection.",
        "Check that the web service runs there (iisreset /status), and the port and the firewall.",
    ),
    Reason(
        "net.connect_timeout",
        _T,
        "The server did not accept the connection in time.",
        "Check firewall and routing, and whether url should have the internal instead of the external name.",
    ),
    Reason(
        "net.reset",
        _T,
        "The connection was cut.",
        "If it repeats, look at load balancer, firewall and IIS logs at that time (application pool restarts).",
    ),
    Reason(
        "net.read_timeout",
        _T,
        "The server did not answer in time.",
        "Look at the server's load and at slow hops to other sites (cross-forest free/busy).",
    ),
    Reason(
        "net.too_slow",
        _T,
        "The answer began but came too slowly.",
        "Look at the network between this machine and the server.",
    ),
    Reason(
        "http.redirect_refused",
        _H,
        "The server sends us to another place; we did not follow.",
        "If that place is yours, configure it as url. In a browser a redirect is normal and proves nothing.",
    ),
    Reason(
        "http.redirect_loop",
        _H,
        "The server redirects again and again.",
        "Check the redirect rules of IIS (HTTP Redirect of the default web site is inherited by EWS) and of the proxy.",
    ),
    Reason(
        "http.body_too_large",
        _S,
        "The answer is larger than our limit.",
        "Check for a proxy in between that answers instead; raise the limit only with a reason.",
    ),
    Reason(
        "http.truncated",
        _S,
        "The answer ended too early.",
        "Check the reverse proxy's and load balancer's time-outs and response filters.",
    ),
)

_LOGON = (
    Reason(
        "auth.rejected",
        _H,
        "Exchange refuses the service account.",
        "Check that the password is the current one of the directory, that the logon name has the right form, and "
        "that the account is neither locked, disabled nor expired: a client cannot tell these apart. The account "
        "is not tried again for a while, so that we cannot lock it.",
    ),
    Reason(
        "auth.username_format",
        _H,
        "Exchange refuses the service account; its name has no domain.",
        "Write the name as DOMAIN\\user or user@domain.",
    ),
    Reason(
        "auth.scheme_unsupported",
        _H,
        "The server does not offer the configured kind of logon.",
        "Enable it on the virtual directory (Set-WebServicesVirtualDirectory -WindowsAuthentication or "
        "-BasicAuthentication), or set auth to one the server offers; we never fall back to a weaker one.",
    ),
    Reason(
        "auth.login_timeout",
        _H,
        "The server answers with a logon form instead of data.",
        "Let EWS bypass the forms logon of the reverse proxy; for WebDAV, switch the virtual directory to standard "
        "authentication if it repeats.",
    ),
    Reason(
        "permission.denied",
        _S,
        "The service account may not read this mailbox.",
        "Give the calendar's Default permission at least free/busy time (Set-MailboxFolderPermission -User Default "
        "-AccessRights AvailabilityOnly), or the account its role; inheritance takes 30 minutes to hours.",
    ),
)

_MAILBOX = (
    Reason(
        "folder.not_found",
        _S,
        "The mailbox has no calendar folder.",
        "It is looked up by its well-known property, not by its name; if it is missing, run outlook "
        "/resetfoldernames for the mailbox.",
    ),
    Reason(
        "mailbox.not_found",
        _S,
        "There is no mailbox with this address.",
        "Compare the person's mailbox with its primary SMTP address (Get-Recipient); a list is not a mailbox.",
    ),
    Reason(
        "mailbox.moved",
        _T,
        "The mailbox is moving, or lives on a server that this one may not ask.",
        "Wait for the end of the move (Get-MoveRequest); else configure the server that holds it.",
    ),
)

_SERVER = (
    Reason(
        "server.unavailable",
        _T,
        "The server, or the store behind it, is not available.",
        "Look at the server's health (Get-ServerComponentState, Test-ServiceHealth) and at the load balancer's pool.",
    ),
    Reason(
        "server.error",
        _T,
        "The server failed to answer.",
        "Look at the server's event log at that time.",
    ),
    Reason(
        "server.throttled",
        _T,
        "Exchange asks us to pause.",
        "Nothing if it is rare; else give the service account a throttling policy of its own with larger EWS budgets "
        "(New-ThrottlingPolicy, Set-ThrottlingPolicyAssociation).",
    ),
    Reason(
        "server.ews_disabled",
        _H,
        "The protocol is switched off or not present at this address.",
        "On-premises: check the path in url, the EWS virtual directory and Set-CASMailbox -EwsEnabled of the "
        "account. Exchange Online blocks EWS by default since October 2026.",
    ),
    Reason(
        "server.method_not_allowed",
        _H,
        "The server does not allow this kind of request at this address.",
        "Check the path in url and the request filters of IIS and of the reverse proxy (the verb must be allowed).",
    ),
    Reason(
        "server.version_unsupported",
        _H,
        "The server does not understand our schema version.",
        "Check that the server is Exchange 2007 SP1 or later, and that one address does not lead to servers of "
        "different versions.",
    ),
)

_PROTOCOL = (
    Reason(
        "protocol.malformed_xml",
        _T,
        "The answer is not well-formed XML.",
        "Check whether a proxy answers or changes the content in between.",
    ),
    Reason(
        "protocol.unexpected_shape",
        _T,
        "The answer is not what the protocol allows.",
        "Check whether a proxy or a logon page answers in place of Exchange; else report it with the server's version.",
    ),
    Reason(
        "protocol.forbidden_xml",
        _S,
        "The answer contains a document type or another forbidden construct.",
        "Exchange never sends one: somebody is in the middle. Investigate.",
    ),
    Reason(
        "subscription.lost",
        _T,
        "The server forgot a notification subscription; a new one was made.",
        "Nothing if it is rare; else make the load balancer keep affinity by cookie or header, not by source address.",
    ),
    Reason(
        "subscription.missed_events",
        _T,
        "Notifications were missed; the calendars were read again.",
        "Nothing if it is rare; else look at the connection between this machine and the server.",
    ),
    Reason(
        "subscription.limit",
        _T,
        "The server allows no more subscriptions or streams.",
        "Raise EwsMaxSubscriptions for the service account's throttling policy; leaked ones expire by themselves.",
    ),
    Reason(
        "subscription.silent",
        _T,
        "A notification stream fell silent; a safety read found changes it did not report.",
        "Look for proxies that buffer the stream, or firewalls that drop idle connections or notification datagrams.",
    ),
)

_STORE = (
    Reason(
        "store.disk_full", _T, "The disk that holds the store is full.", "Make room on it; nothing is lost meanwhile."
    ),
    Reason("store.read_only", _T, "The store cannot be written.", "Check owner and mode of its files and the mount."),
    Reason(
        "store.corrupt",
        _N,
        "The store's file is damaged; it was put aside.",
        "Keep the quarantined copy, check the disk, restore preferences from a backup if they matter.",
    ),
    Reason("store.slow", _T, "The store needs more than 5 s to make a write durable.", "Check the disk's health."),
    Reason(
        "store.locked",
        _T,
        "Another process holds the store.",
        "Run one gateway per SQLite file; several gateways need the shared store.",
    ),
    Reason(
        "store.io_error",
        _T,
        "The operating system failed to read or write the store.",
        "Check the disk and its file system.",
    ),
    Reason(
        "store.too_new",
        _N,
        "The store was written by a newer version of the gateway.",
        "Run that version or a later one; going back is not supported.",
    ),
    Reason("store.closed", _T, "The store is closed.", "The gateway is stopping; ask again later."),
    Reason("store.conflict", _T, "The record was changed meanwhile.", "Read it again and repeat the change."),
    Reason("store.lease_lost", _T, "Another gateway took over this work.", "Nothing: it was handed over."),
    Reason("bus.disconnected", _T, "The message bus cannot be reached.", "Check the NATS servers and the way to them."),
    Reason("bus.no_quorum", _T, "The message bus has no majority.", "Bring back enough NATS servers."),
    Reason("bus.slow_consumer", _T, "We read the message bus too slowly.", "Check this machine's load."),
    Reason("bus.stream_replaced", _T, "The bus's stream was replaced.", "Nothing: everything is read again."),
)

_GATEWAY = (
    Reason(
        "publication.outdated",
        _N,
        "A newer statement about this line or session is already stored.",
        "Send rising seq values per publisher; after a restart send a new publisher value.",
    ),
    Reason(
        "publication.nothing_to_dismiss",
        _N,
        "No running calendar block ends at that instant.",
        "Read the person's presence again; the block has ended or was changed.",
    ),
    Reason(
        "people.too_many_gone",
        _N,
        "So many people left the directory at once that nobody was erased.",
        "If they really left, remove them in smaller steps; else mend the people file.",
    ),
    Reason("clock.jump", _T, "This machine's clock jumped.", "Check its time synchronization (chrony, NTP)."),
    Reason("config.invalid", _N, "The configuration is invalid; the old one stays in force.", "Mend the named keys."),
    Reason("internal.error", _T, "The gateway has a fault.", "Report it with the incident id of the log."),
)

REASONS: Final[Mapping[str, Reason]] = MappingProxyType(
    {
        reason.code: reason
        for family in (_HEALTH, _TLS, _NETWORK, _LOGON, _MAILBOX, _SERVER, _PROTOCOL, _STORE, _GATEWAY)
        for reason in family
    }
)
"""Code → reason; there are no others."""
