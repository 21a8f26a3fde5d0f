"""What the proxy of one instance works with."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """Values of one instance."""

    table: str
    """nftables table (family ``ip``) for services; the proxy's alone."""
    link_prefix: str
    """Start of the names of all pod links (:func:`podhost.network.settings.build_link_prefix`)."""
    gateway: IPv4Address
    """The host's address towards pods; a pod that reaches itself through a service sees it as the client."""
    service_cidr: IPv4Network
