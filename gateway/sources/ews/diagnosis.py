"""The short diagnosis of an EWS calendar: configuration, endpoint, logon, and one read per mailbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from gateway.clock import Clock
from gateway.core.model import Schedule
from gateway.errors import SourceError
from gateway.reasons import REASONS
from gateway.sources import Finding, Severity, Window
from gateway.sources.ews.session import Doorstep
from gateway.sources.ews.settings import EwsSettings

Knock = Callable[[], Awaitable[Doorstep]]
Fetch = Callable[[Sequence[str], Window], Awaitable[Sequence[Schedule | SourceError]]]


async def diagnose(
    settings: EwsSettings, clock: Clock, knock: Knock, fetch: Fetch, batch: int, mailboxes: Sequence[str]
) -> list[Finding]:
    """The findings in order; a step that fails ends the diagnosis, since the later ones could only repeat it."""
    findings = [_configuration(settings)]
    asked = f"POST {settings.url} without credentials"
    try:
        doorstep = await knock()
    except SourceError as error:
        return [*findings, _failed("endpoint", asked, error)]
    findings.append(_endpoint(settings, asked, doorstep))
    if findings[-1].severity is Severity.ERROR:
        return findings
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    window = Window(today - timedelta(days=1), today + timedelta(days=2))
    asked = f"GetUserAvailability as {settings.username} by {settings.auth}"
    # Without a mailbox to ask for, any address will do: the logon is judged before the address
    wanted = list(mailboxes) or ["postmaster@" + settings.url.split("/")[2].partition(":")[0]]
    for start in range(0, len(wanted), batch):
        part = wanted[start : start + batch]
        try:
            read = await fetch(part, window)
        except SourceError as error:
            return [*findings, _failed("logon" if start == 0 else "read", asked, error)]
        if start == 0:
            findings.append(Finding("logon", Severity.OK, "ok", asked, "accepted"))
        if mailboxes:
            findings += [_read(mailbox, entry) for mailbox, entry in zip(part, read, strict=True)]
    return findings


def _configuration(settings: EwsSettings) -> Finding:
    asked = f"{settings.url}, {settings.auth}, {settings.transport}"
    if settings.auth != "negotiate" and "\\" not in settings.username and "@" not in settings.username:
        remedy = REASONS["auth.username_format"].remedy
        answered = f"the logon name {settings.username!r} has no domain"
        return Finding("configuration", Severity.WARNING, "auth.username_format", asked, answered, remedy)
    return Finding("configuration", Severity.OK, "ok", asked, f"logon name {settings.username!r}")


def _endpoint(settings: EwsSettings, asked: str, doorstep: Doorstep) -> Finding:
    certificate = f", certificate SHA-256 {doorstep.fingerprint}" if doorstep.fingerprint else ""
    if doorstep.status != 401:
        return Finding("endpoint", Severity.OK, "ok", asked, f"HTTP {doorstep.status}, no logon wanted{certificate}")
    answered = f"HTTP 401, offers {', '.join(sorted(doorstep.schemes)) or 'nothing'}{certificate}"
    if settings.auth in doorstep.schemes:
        return Finding("endpoint", Severity.OK, "ok", asked, answered)
    code = "auth.scheme_unsupported"
    return Finding("endpoint", Severity.ERROR, code, asked, answered, REASONS[code].remedy)


def _read(mailbox: str, entry: Schedule | SourceError) -> Finding:
    asked = f"free/busy of {mailbox}"
    if isinstance(entry, SourceError):
        return _failed("read", asked, entry)
    return Finding("read", Severity.OK, "ok", asked, f"{len(entry.blocks)} blocks")


def _failed(step: str, asked: str, error: SourceError) -> Finding:
    remedy = error.hint or REASONS[error.code].remedy
    return Finding(step, Severity.ERROR, error.code, asked, str(error), remedy)
