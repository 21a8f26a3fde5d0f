"""What one instance's network is made of."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Values of one instance.  No two instances of a machine share a bridge, a range or a table."""

    instance: str
    bridge: str
    pod_cidr: IPv4Network
    service_cidr: IPv4Network
    table: str
    """nftables table (family ``ip``); all rules of the pod network are in it."""
    data_dir: Path
    """Holds one file for each address given out; private to the instance."""
    shared_dir: Path
    """Shared by the instances of a machine and emptied at boot (``/run/podhost/_network``)."""
    mtu: int | None = None
    """None: that of the link with the default route."""

    @property
    def gateway(self) -> IPv4Address:
        """First address of the pod network; the bridge's own."""
        return self.pod_cidr[1]


def build_link_prefix(bridge: str) -> str:
    """Start of the names of all pod links of an instance, ``ph0-``; up to five hex digits follow."""
    return f"{bridge}-" if len(bridge) <= 9 else f"v{zlib.crc32(bridge.encode()):08x}-"
