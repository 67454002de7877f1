"""Logging on to a connection: NTLM and Negotiate tokens, bound to the TLS channel they travel in."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import spnego
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from gateway.sources.ews.refusals import failure

LEGS: Final = 5
"""More tokens than any handshake needs: NTLM sends two, Kerberos one or two."""

_QUOTED = re.compile(r'"[^"]*"')
_PROTOCOLS: Final = {"ntlm": "ntlm", "negotiate": "negotiate"}


class Handshake:
    """One logon to one connection; `scheme` is `ntlm` or `negotiate`, `certificate` the peer's (DER), if any."""

    def __init__(self, scheme: str, username: str, password: str, host: str, certificate: bytes | None) -> None:
        self.scheme = scheme
        binding = None if certificate is None else channel_binding(certificate)
        # Without a usable Kerberos ticket, negotiate carries NTLM inside SPNEGO
        try:
            self._context = spnego.client(
                username,
                password,
                hostname=host,
                service="HTTP",
                protocol=_PROTOCOLS[scheme],
                channel_bindings=None if binding is None else GssChannelBindings(application_data=binding),
            )
        except (SpnegoError, ImportError, ValueError) as fault:
            raise failure("auth.rejected", f"the logon cannot begin: {type(fault).__name__}") from None

    def answer(self, challenges: Iterable[str]) -> str | None:
        """The Authorization value after these WWW-Authenticate values; None if the server wants no more tokens.

        The first call, before any challenge, gives the first token. It may ask a Kerberos server: run it in a thread.
        """
        try:
            token = self._context.step(self._challenge(challenges))
        except Exception as fault:  # the library reads untrusted bytes and raises whatever they provoke
            raise failure("auth.rejected", f"the server's challenge is no good: {type(fault).__name__}") from None
        return f"{_spoken(self.scheme)} {base64.b64encode(token).decode()}" if token else None

    def _challenge(self, challenges: Iterable[str]) -> bytes | None:
        for challenge in challenges:
            name, _, token = challenge.strip().partition(" ")
            if name.lower() == self.scheme and token.strip():
                return base64.b64decode(token.strip(), validate=True)
        return None


def has_challenge(scheme: str, challenges: Iterable[str]) -> bool:
    """Whether one of these WWW-Authenticate values continues a handshake of the scheme."""
    return any(value.strip().lower().startswith(f"{scheme} ") for value in challenges)


def offered(challenges: Iterable[str]) -> frozenset[str]:
    """The schemes of these WWW-Authenticate values, lower case; several may share one value."""
    names = set()
    for challenge in challenges:
        for part in _QUOTED.sub("", challenge).split(","):
            name = part.strip().partition(" ")[0].lower()
            if name and "=" not in name:
                names.add(name)
    return frozenset(names)


@lru_cache(maxsize=64)
def channel_binding(certificate: bytes) -> bytes | None:
    """`tls-server-end-point` of a certificate (DER), RFC 5929 4.1; None where that is undefined (Ed25519)."""
    try:
        digest = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return None
    if digest is None:
        return None
    if isinstance(digest, hashes.MD5 | hashes.SHA1):
        digest = hashes.SHA256()
    hashed = hashes.Hash(digest)
    hashed.update(certificate)
    return b"tls-server-end-point:" + hashed.finalize()


def _spoken(scheme: str) -> str:
    return "NTLM" if scheme == "ntlm" else "Negotiate"
