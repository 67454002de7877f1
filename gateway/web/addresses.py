"""Who is at the other end, seen through the proxies we trust."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from aiohttp import web

Network = IPv4Network | IPv6Network
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Addresses:
    """Reads the peer's address, and the X-Forwarded-* headers of trusted proxies if we stand `behind_proxy`."""

    def __init__(
        self, *, trusted: Sequence[Network] = (), behind_proxy: bool = False, public_url: str | None = None
    ) -> None:
        self._networks = tuple(trusted)
        self._behind_proxy = behind_proxy
        self._public = None if public_url is None else _origin(public_url)
        self._trusts = lru_cache(1024)(self._in_trusted_network)

    def from_trusted_proxy(self, request: web.BaseRequest) -> bool:
        """Whether the peer is a proxy whose word counts."""
        return bool(self._networks) and self._trusts(request.remote or "")

    def client(self, request: web.BaseRequest) -> str:
        """What failures are counted by: the IPv4 address or the IPv6 /64 of the client."""
        address = request.remote or ""
        if self._forwards(request):
            hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", []) for hop in line.split(",")]
            # The rightmost hop that is not ours; whatever stands left of it is the client's own claim.
            address = next((hop for hop in reversed(hops) if not self._trusts(hop)), address)
        return network_of(address) or network_of(request.remote or "") or "unknown"

    def secure(self, request: web.BaseRequest) -> bool:
        """Whether the browser speaks TLS to us or to the proxy in front."""
        if request.secure or (self._public is not None and self._public[0] == "https"):
            return True
        return self._forwards(request) and request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"

    def same_origin(self, request: web.BaseRequest) -> bool:
        """Whether the Origin header names this gateway: its public address, or the host that was asked."""
        claimed = _origin(request.headers.get("Origin", ""))
        if claimed is None:
            return False
        if claimed == self._public:
            return True
        hosts = [request.headers.get("Host", "")]
        if self._forwards(request):
            hosts.append(request.headers.get("X-Forwarded-Host", "").strip())
        return any(host and _origin(f"{claimed[0]}://{host}") == claimed for host in hosts)

    def _forwards(self, request: web.BaseRequest) -> bool:
        return self._behind_proxy and self.from_trusted_proxy(request)

    def _in_trusted_network(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)


def network_of(text: str) -> str | None:
    """The IPv4 address or the IPv6 /64 that an address stands for; None if it is not an address."""
    address = _address(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return None if address is None else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _origin(url: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an http(s) URL; None for `null` and everything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname.lower(), port or _DEFAULT_PORTS[parts.scheme]
