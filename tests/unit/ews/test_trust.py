"""The TLS context and what may be in a trust bundle."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from gateway.errors import ConfigError
from gateway.sources import tls


def test_the_context_verifies_with_the_flags_of_every_python(tmp_path: Path) -> None:
    """Verified, TLS 1.2 or later, partial chains on, strict off."""
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    context = tls.client_context(bundle)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert len(context.get_ca_certs()) == 1


def test_a_servers_own_certificate_in_the_bundle_is_refused(tmp_path: Path) -> None:
    """It would silently act as a pin; the problem names the certificate and says what belongs there."""
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    leaf = authority.issue_cert("mail.example.com").cert_chain_pems[0].bytes()
    bundle.write_bytes(bundle.read_bytes() + leaf)
    with pytest.raises(ConfigError) as caught:
        tls.client_context(bundle)
    assert "authority that issued it" in caught.value.problems[0]


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_an_unusable_bundle_is_a_configuration_problem(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty or other content: one problem with the file's name, and no traceback."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        tls.client_context(bundle)
    assert str(bundle) in caught.value.problems[0]
