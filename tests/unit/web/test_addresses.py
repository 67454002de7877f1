"""Whose failures count together."""

import pytest

from gateway.web.addresses import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", None),
        ("unknown", None),
        ("192.0.2.7:80", None),
    ],
)
def test_an_address_stands_for_a_network(address: str, network: str | None) -> None:
    """IPv4 clients count alone, also when mapped into IPv6; IPv6 clients by their /64."""
    assert network_of(address) == network
