"""What may stand in a trust bundle: certificates of authorities, never a server's own."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID


def check_authorities(pem: bytes, name: str) -> None:
    """Raises ValueError (`fault; remedy`) if the bundle is unusable or holds a certificate of no authority.

    With OpenSSL's PARTIAL_CHAIN a server's own certificate in the bundle would silently act as a pin.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(
            f"{name} holds no certificate in PEM form; export the authority's certificate as Base-64 (PEM)"
        ) from None
    for certificate in certificates:
        if not _is_authority(certificate):
            raise ValueError(
                f"{name} holds the certificate of {_subject(certificate)!r}, which is a server's own, not an "
                "authority's; put the certificate of the authority that issued it there"
            )


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
