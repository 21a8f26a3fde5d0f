"""What the proxy of one instance works with."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """Values of one instance."""

    table: str
    """nftables table (family ``ip``) for services; the proxy's alone."""
    bridge: str
    service_cidr: IPv4Network
