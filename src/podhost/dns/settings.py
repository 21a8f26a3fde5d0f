"""What the DNS server of one instance works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSettings:
    """Values of one instance."""

    domain: str = "cluster.local"
    cluster_ip: IPv4Address
    """Of the Service ``kube-dns``; never asked as an upstream server."""
    networks: tuple[IPv4Network, ...]
    """Of pods and services: their reverse names are ours."""
    read_upstreams: Callable[[], tuple[str, ...]]
    """Addresses of the host's name servers, as of now.  Blocking."""
