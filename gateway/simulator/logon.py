"""Who may log on, and the HTTP side of logging on: Basic per request, NTLM per connection.

Passwords are checked here and nowhere else; a caller leaves this file as one string: the service account's
name for the service, the lower-case address for a mailbox owner.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from gateway.simulator import negotiate, ntlm
from gateway.simulator.journal import Journal

Binding = Literal["none", "allow", "require"]
NameForm = Literal["any", "down_level", "principal"]
REALM = "localhost"


class UnknownAccount(LookupError):
    """No account logs on under that name."""


@dataclass(slots=True)
class Account:
    """One account: the caller the faces see, its password, and whether the directory has locked it."""

    caller: str
    password: str
    locked: bool = False

    def __repr__(self) -> str:
        return f"Account({self.caller!r}, locked={self.locked})"


class Directory:
    """The accounts: one service account, and one per mailbox (made when first asked for).

    The service account `DOMAIN\\user` is also known as `user@domain.example.com`; `name_form` leaves one of the
    two forms.
    Mailbox owners log on with their address. `lock_out_after` wrong passwords lock an account (None: never).
    """

    def __init__(
        self,
        service_account: str,
        service_password: str,
        mailbox_password: str,
        has_mailbox: Callable[[str], bool],
        journal: Journal,
        *,
        name_form: NameForm = "any",
        lock_out_after: int | None = None,
    ) -> None:
        self.name_form = name_form
        self.lock_out_after = lock_out_after
        self._service = Account(service_account, service_password)
        self._mailbox_password = mailbox_password
        self._has_mailbox = has_mailbox
        self._journal = journal
        self._owners: dict[str, Account] = {}

    @property
    def domain(self) -> str:
        """The directory's short name, from the service account's."""
        return self._service.caller.rpartition("\\")[0] or "EXAMPLE"

    def find(self, name: str) -> Account | None:
        """The account behind a logon name (`DOMAIN\\user`, `user@domain`, a mailbox address), or None."""
        given = name.casefold()
        if given in self._service_names():
            return self._service
        if given in self._owners:
            return self._owners[given]
        if not self._has_mailbox(given):
            return None
        return self._owners.setdefault(given, Account(given, self._mailbox_password))

    def _service_names(self) -> set[str]:
        domain, _, user = self._service.caller.casefold().rpartition("\\")
        if not domain:
            return {user}
        names = {"down_level": f"{domain}\\{user}", "principal": f"{user}@{domain}.example.com"}
        return set(names.values()) if self.name_form == "any" else {names[self.name_form]}

    def lock(self, name: str, *, locked: bool = True) -> None:
        """Lock or unlock an account; raises UnknownAccount."""
        self._known(name).locked = locked

    def change_password(self, name: str, password: str) -> None:
        """Give an account another password; raises UnknownAccount."""
        self._known(name).password = password

    def locked(self) -> list[str]:
        """The callers whose accounts are locked now."""
        return sorted(each.caller for each in (self._service, *self._owners.values()) if each.locked)

    def failed(self, name: str) -> None:
        """Count a refused logon as `name`, and lock the account if that was one too many."""
        account = self.find(name)
        counted = account.caller if account else name
        self._journal.failed_logon(counted)
        if account and self.lock_out_after and self._journal.logon_failures(counted) >= self.lock_out_after:
            account.locked = True

    def _known(self, name: str) -> Account:
        account = self.find(name)
        if account is None:
            raise UnknownAccount(f"account {name!r}")
        return account


@dataclass(slots=True)
class Connection:
    """What one TCP connection remembers: its number, an NTLM challenge in flight, and who it belongs to."""

    number: int
    caller: str = ""
    account: str = ""
    dance: ntlm.Dance | None = None
    scheme: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one request's logon: `caller` if it may pass, else `offers`, the WWW-Authenticate values of the 401."""

    scheme: str = ""
    account: str = ""
    caller: str = ""
    offers: tuple[str, ...] = ()
    token: str = ""
    """The WWW-Authenticate value that goes with the successful answer, as SPNEGO wants one."""


@dataclass(slots=True)
class Gate:
    """Decides about the `Authorization` header of each request."""

    directory: Directory
    schemes: frozenset[str]
    channel_binding: Binding
    now: Callable[[], datetime]
    certificate: Callable[[], bytes]
    """DER of the certificate in use, for channel bindings."""
    random: Callable[[int], bytes] = field(default=os.urandom)

    def admit(self, authorization: str | None, connection: Connection) -> Outcome:
        """Let one request in, or say what to offer instead; counts what a directory would count."""
        if authorization is None:
            if connection.caller:  # NTLM authenticates the connection, not the request
                return Outcome(connection.scheme, connection.account, connection.caller)
            return Outcome(offers=self.offers())
        scheme, _, blob = authorization.partition(" ")
        scheme = scheme.casefold()
        if scheme not in self.schemes:
            return Outcome(scheme, offers=self.offers())
        if scheme == "basic":
            return self._basic(blob)
        return self._connection_bound(scheme, blob, connection)

    def offers(self) -> tuple[str, ...]:
        """The `WWW-Authenticate` values of a plain 401, strongest first as IIS lists them."""
        named = (("negotiate", "Negotiate"), ("ntlm", "NTLM"), ("basic", f'Basic realm="{REALM}"'))
        return tuple(offer for scheme, offer in named if scheme in self.schemes)

    def _basic(self, blob: str) -> Outcome:
        try:
            # RFC 7617 2: everything after the first colon is the password
            name, _, password = base64.b64decode(blob, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Outcome("basic", offers=self.offers())
        account = self.directory.find(name)
        right = account is not None and hmac.compare_digest(account.password.encode(), password.encode())
        if account is None or account.locked or not right:
            self.directory.failed(name)
            return Outcome("basic", name, offers=self.offers())
        return Outcome("basic", name, account.caller)

    def _connection_bound(self, scheme: str, blob: str, connection: Connection) -> Outcome:
        dance, connection.dance, connection.caller = connection.dance, None, ""
        try:
            token = base64.b64decode(blob, validate=True)
            message, wrapped = negotiate.unwrap(token) if scheme == "negotiate" else (token, False)
            if message[8:12] == b"\x01\0\0\0":
                connection.dance = self._challenge(message)
                challenge = connection.dance.challenge
                return _next_leg(scheme, negotiate.wrap_challenge(challenge) if wrapped else challenge)
            answer = ntlm.parse_authenticate(message)
        except (binascii.Error, ntlm.Refused):
            return Outcome(scheme, offers=self.offers())
        outcome = self._verdict(scheme, answer, dance, connection)
        if outcome.caller and wrapped:
            return replace(outcome, token=_offer(scheme, negotiate.completed()))
        return outcome

    def _challenge(self, negotiate: bytes) -> ntlm.Dance:
        domain = self.directory.domain
        return ntlm.Dance(negotiate, self.random(8), self.now(), domain=domain, computer="EXCHANGE")

    def _verdict(
        self, scheme: str, answer: ntlm.Authenticate, dance: ntlm.Dance | None, connection: Connection
    ) -> Outcome:
        name = f"{answer.domain}\\{answer.user}" if answer.domain else answer.user
        if dance is None:  # an answer to no challenge of this connection: a client that changed connections
            return Outcome(scheme, name, offers=self.offers())
        account = self.directory.find(name)
        try:
            if account is None or account.locked:
                raise ntlm.Refused("no such account, or locked")
            dance.answer(answer, account.password, self._binding(), required=self.channel_binding == "require")
        except ntlm.Refused:
            self.directory.failed(name)
            return Outcome(scheme, name, offers=self.offers())
        connection.caller, connection.account, connection.scheme = account.caller, name, scheme
        return Outcome(scheme, name, account.caller)

    def _binding(self) -> bytes | None:
        return None if self.channel_binding == "none" else ntlm.binding_hash(self.certificate())


def _next_leg(scheme: str, token: bytes) -> Outcome:
    return Outcome(scheme, offers=(_offer(scheme, token),))


def _offer(scheme: str, token: bytes) -> str:
    return f"{_SPELLING[scheme]} {base64.b64encode(token).decode()}"


_SPELLING = {"ntlm": "NTLM", "negotiate": "Negotiate"}
