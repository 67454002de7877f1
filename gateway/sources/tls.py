"""The one place where a TLS context is built, and where a failed handshake gets its reason code."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.errors import ConfigError

_VERIFY_CODES: Final = {  # OpenSSL 3, x509_vfy.h
    2: "tls.chain_incomplete",
    9: "tls.not_yet_valid",
    10: "tls.expired",
    18: "tls.self_signed",
    19: "tls.untrusted_ca",
    20: "tls.untrusted_ca",  # or an intermediate is missing: only the presented chain could tell
    21: "tls.chain_incomplete",
    24: "tls.not_a_ca",  # its number before OpenSSL 3
    32: "tls.not_a_ca",
    62: "tls.name_mismatch",
    64: "tls.name_mismatch",
    66: "tls.weak",
    67: "tls.weak",
    68: "tls.weak",
    79: "tls.not_a_ca",
    **dict.fromkeys(range(80, 95), "tls.strict"),
}
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE"})
_CUT = frozenset({"UNEXPECTED_EOF_WHILE_READING"})
_WEAK = ("_TOO_WEAK", "_TOO_SMALL")


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """The context for every outgoing connection: verified, TLS 1.2 or later, the same on every Python version.

    `ca_file` holds the authorities to trust (PEM); None means the system's. Raises ConfigError if it is unusable.
    """
    if ca_file is not None and (problems := list(bundle_problems(ca_file))):
        raise ConfigError(problems)
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate may be the anchor
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # 3.13 sets it and refuses authorities that 3.11 takes
    return context


def bundle_problems(ca_file: Path) -> Iterator[str]:
    """What is wrong with a trust bundle: unreadable, empty, or a server's own certificate in it.

    With PARTIAL_CHAIN a leaf in the bundle would silently act as a pin that breaks at the next renewal.
    """
    try:
        certificates = x509.load_pem_x509_certificates(ca_file.read_bytes())
    except OSError as fault:
        yield f"{ca_file}: cannot be read: {fault.strerror}; check its path and mode"
        return
    except ValueError:
        yield f"{ca_file}: holds no PEM certificate; export the authority's certificate as Base-64 (PEM)"
        return
    for certificate in certificates:
        if not _is_authority(certificate):
            yield (
                f"{ca_file}: {_subject(certificate)!r} is a server's own certificate, not an authority's; "
                "put in the certificate of the authority that issued it"
            )


def fingerprint(certificate: bytes | None) -> str | None:
    """SHA-256 of a certificate (DER) as operators compare it, `AB:CD:…`; None without a certificate."""
    return None if certificate is None else hashlib.sha256(certificate).digest().hex(":").upper()


def failure_code(fault: ssl.SSLError) -> str:
    """The reason code of a failed handshake; `net.reset` if the peer just hung up."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(fault.verify_code, "tls.untrusted_ca")
    reason = fault.reason or ""
    if reason in _NOT_TLS:
        return "tls.not_tls"
    if reason in _CUT or isinstance(fault, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "net.reset"
    if reason.endswith(_WEAK):
        return "tls.weak"
    return "tls.protocol"


def failure_detail(fault: ssl.SSLError) -> str:
    """OpenSSL's own words, without source lines."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"verify code {fault.verify_code}: {fault.verify_message}"
    return (fault.reason or "handshake failed").replace("_", " ").lower()


def _is_authority(certificate: x509.Certificate) -> bool:
    if certificate.version is x509.Version.v1:  # old roots know no extensions
        return certificate.issuer == certificate.subject
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _subject(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()
