"""Handshake tokens, offers and channel binding."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from gateway.errors import ConfigError, SourceDenied
from gateway.sources.ews import EwsSettings
from gateway.sources.ews.ntlm import Handshake, channel_binding, has_challenge, offered
from gateway.sources.ews.session import endpoint


def _certificate(digest: hashes.HashAlgorithm | None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()) if digest else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    now = datetime(2026, 11, 20, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, digest)  # type: ignore[arg-type]  # only SHA-2 here
    )
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("digest", "name"), [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")]
)
def test_the_binding_is_the_certificates_hash_by_its_own_digest(digest: hashes.HashAlgorithm, name: str) -> None:
    """RFC 5929 4.1: the digest of the certificate's signature."""
    certificate = _certificate(digest)
    assert channel_binding(certificate) == b"tls-server-end-point:" + hashlib.new(name, certificate).digest()


def test_a_sha1_certificate_is_bound_by_sha256() -> None:
    """RFC 5929 4.1: MD5 and SHA-1 are replaced. The recorded certificate is self-signed with SHA-1."""
    certificate = x509.load_pem_x509_certificate(
        (Path(__file__).parents[2] / "golden" / "ews" / "sha1-certificate.pem").read_bytes()
    ).public_bytes(serialization.Encoding.DER)
    assert channel_binding(certificate) == b"tls-server-end-point:" + hashlib.sha256(certificate).digest()


def test_a_certificate_without_a_digest_has_no_binding() -> None:
    """For Ed25519 the binding is undefined; none is sent. Nor for what is no certificate."""
    assert channel_binding(_certificate(None)) is None
    assert channel_binding(b"nonsense") is None


def test_offers_are_read_from_one_header_or_many() -> None:
    """Scheme names only, lower case, whatever the realm looks like."""
    assert offered(['Basic realm="a, b"', "NTLM", "Negotiate"]) == {"basic", "ntlm", "negotiate"}
    assert offered(['Negotiate, NTLM, Basic realm="mail.example.com"']) == {"basic", "ntlm", "negotiate"}
    assert offered([]) == frozenset()


def test_a_challenge_is_told_from_an_offer() -> None:
    """Only a scheme with a token goes on with a handshake."""
    assert has_challenge("ntlm", ["NTLM TlRMTVNTUAAC"])
    assert not has_challenge("ntlm", ["NTLM", "Negotiate abc"])


@pytest.mark.parametrize("challenge", ["NTLM !!!", "NTLM AAAA", "NTLM TlRMTVNTUAACAAAA"])
def test_a_broken_challenge_is_a_refusal_and_no_crash(challenge: str) -> None:
    """Whatever the server sends in place of a challenge ends in a reason code."""
    shake = Handshake("ntlm", "CORP\\svc", "secret", "mail.example.com", None)
    first = shake.answer(())
    assert first is not None
    assert first.startswith("NTLM ")
    with pytest.raises(SourceDenied) as caught:
        shake.answer((challenge,))
    assert caught.value.code == "auth.rejected"
    assert "secret" not in str(caught.value)


def test_the_password_is_not_in_the_settings_words() -> None:
    """A printed or logged setting hides it."""
    assert "hunter2" not in repr(EwsSettings("https://mail.example.com/EWS/Exchange.asmx", "CORP\\svc", "hunter2"))


@pytest.mark.parametrize(
    "url", ["http://mail.example.com/EWS/Exchange.asmx", "ftp://mail.example.com", "mail.example.com"]
)
def test_credentials_never_travel_in_plain_text(url: str) -> None:
    """Anything but https is refused, save for loopback."""
    with pytest.raises(ConfigError):
        endpoint("hq", url)
    assert endpoint("hq", "http://127.0.0.1:8080/EWS/Exchange.asmx").port == 8080
