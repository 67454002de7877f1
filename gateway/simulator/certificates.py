"""The simulator's own certification authority, and the certificates that real sites get wrong.

Everything here is made of the same bricks: an `Authority` signs, `issue` gives a server certificate with its
key and the chain the server will present, and `server_context` turns that into a TLS context. The functions
at the end are the usual accidents, each the smallest change from a correct set-up (RFC 5280).
"""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_LIFE = timedelta(days=3650)
_SERVER_LIFE = timedelta(days=365)
_BACKDATED = timedelta(hours=1)  # a peer whose clock is a little behind still finds the certificate valid


@dataclass(frozen=True, slots=True)
class Issued:
    """A server certificate, its private key, and the intermediates to present after it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def presented_pem(self) -> bytes:
        """PEM of what goes over the wire: the certificate, then `chain`."""
        return b"".join(_pem(each) for each in (self.certificate, *self.chain))

    def der(self) -> bytes:
        """DER of the certificate itself, the input of channel bindings and fingerprints."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def without_chain(self) -> Issued:
        """The same certificate from a server whose administrator forgot the intermediate."""
        return replace(self, chain=())

    def __repr__(self) -> str:
        return f"Issued({self.certificate.subject.rfc4514_string()!r})"


@dataclass(frozen=True, slots=True)
class Authority:
    """Somebody who signs: a root, or an intermediate that knows its own issuer."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuer: Authority | None = None

    @classmethod
    def root(cls, name: str = "Simulator Root CA", *, now: datetime | None = None) -> Authority:
        """A self-signed authority with the CA bit, key-cert-sign and a subject key identifier."""
        return _authority(name, None, now)

    def intermediate(self, name: str = "Simulator Issuing CA", *, now: datetime | None = None) -> Authority:
        """An authority one tier below this one."""
        return _authority(name, self, now)

    def pem(self) -> bytes:
        """PEM of this authority's own certificate: what a client puts into its trust file."""
        return _pem(self.certificate)

    def chain(self) -> tuple[x509.Certificate, ...]:
        """What a correct server presents after a certificate of this authority: all tiers but the root."""
        return () if self.issuer is None else (self.certificate, *self.issuer.chain())

    def issue(
        self,
        *names: str,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        subject_alternative_names: bool = True,
        key_identifiers: bool = True,
    ) -> Issued:
        """A server certificate for `names` (host names and IP addresses, the first is the common name).

        Valid from an hour ago for a year unless told otherwise. The two switches leave out the names
        extension or the key identifiers, as older certificate tools do.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        starts = not_before or datetime.now(UTC) - _BACKDATED
        builder = _builder(_name(names[0]), self.certificate.subject, key, starts, not_after or starts + _SERVER_LIFE)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        if subject_alternative_names:
            builder = builder.add_extension(_alternative_names(names), critical=False)
        if key_identifiers:
            builder = _with_identifiers(builder, key, self.key)
        return Issued(builder.sign(self.key, hashes.SHA256()), key, self.chain())


def server_context(issued: Issued, *, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """A TLS server context that presents `issued`; speaks TLS 1.2 and 1.3 by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    # The ssl module loads keys from files only; this one is private to us and gone at once.
    with tempfile.TemporaryDirectory(prefix="simulator-tls-") as folder:
        pem = Path(folder) / "server.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(_private_pem(issued.key) + issued.presented_pem())
        context.load_cert_chain(pem)
    return context


def unknown_authority(*names: str) -> Issued:
    """A good certificate of an authority nobody was told to trust."""
    return Authority.root("Unknown Root CA").issue(*names)


def wrong_name(authority: Authority, name: str = "mail.example.net") -> Issued:
    """A good certificate for another host."""
    return authority.issue(name)


def expired(authority: Authority, *names: str, now: datetime | None = None) -> Issued:
    """A certificate that ended yesterday."""
    today = now or datetime.now(UTC)
    return authority.issue(*names, not_before=today - timedelta(days=400), not_after=today - timedelta(days=1))


def not_yet_valid(authority: Authority, *names: str, now: datetime | None = None) -> Issued:
    """A certificate that begins tomorrow: usually the client's clock is wrong."""
    return authority.issue(*names, not_before=(now or datetime.now(UTC)) + timedelta(days=1))


def missing_intermediate(authority: Authority, *names: str) -> Issued:
    """A certificate of an intermediate of `authority`, presented alone."""
    return authority.intermediate().issue(*names).without_chain()


def self_signed(*names: str, now: datetime | None = None) -> Issued:
    """A certificate that vouches for itself, as a fresh web server makes one."""
    key = ec.generate_private_key(ec.SECP256R1())
    starts = (now or datetime.now(UTC)) - _BACKDATED
    builder = _builder(_name(names[0]), _name(names[0]), key, starts, starts + _SERVER_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_alternative_names(names), critical=False)
    return Issued(_with_identifiers(builder, key, key).sign(key, hashes.SHA256()), key)


def issuer_not_a_ca(*names: str) -> tuple[Authority, Issued]:
    """An issuer without the CA bit, to be trusted, and a certificate it signed all the same, to be served."""
    impostor = self_signed("Not A CA")
    authority = Authority(impostor.certificate, impostor.key)
    return authority, authority.issue(*names)


def _authority(name: str, issuer: Authority | None, now: datetime | None) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    signer, signer_name = (key, _name(name)) if issuer is None else (issuer.key, issuer.certificate.subject)
    starts = (now or datetime.now(UTC)) - _BACKDATED
    builder = _builder(_name(name), signer_name, key, starts, starts + _CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    certificate = _with_identifiers(builder, key, signer).sign(signer, hashes.SHA256())
    return Authority(certificate, key, issuer)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, starts: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
    )


def _with_identifiers(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuers = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return builder.add_extension(own, critical=False).add_extension(issuers, critical=False)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
