"""The instance's bridge as a link: it holds the gateway's address, and tells other instances what is taken.

Its alias names the data directory of the instance that made it.  Instances with other data directories cannot
read each other's plans; the link is what all of a machine see.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from podhost.linux import netlink
from podhost.linux.netlink import RouteSocket

_MAX_ALIAS_CHARS = 255


def build_mac(address: IPv4Address) -> str:
    """Hardware address for an IP address: an address given out again has no stale neighbour entries anywhere."""
    return "0a:58:" + address.packed.hex(":")


def ensure_bridge(bridge: str, pod_cidr: IPv4Network, service_cidr: IPv4Network, mtu: int) -> None:
    """The bridge, up, with the gateway's address and the way to the services.  Idempotent; blocking.

    Raises:
        OSError: The kernel refused.
    """
    gateway = pod_cidr[1]
    with RouteSocket() as route:
        route.request(
            [
                netlink.build_bridge(bridge, build_mac(gateway)),
                netlink.build_quiet(bridge),
                netlink.build_mtu(bridge, mtu),
            ]
        )
        index = netlink.link_index(bridge)
        route.request(
            [
                netlink.build_up(bridge),
                netlink.build_address(index, gateway, pod_cidr.prefixlen),
                # The host's own packets to a service need some route before the rules can redirect them.
                netlink.build_route(service_cidr, index, source=gateway),
            ]
        )


def delete_bridge(bridge: str) -> None:
    """Raises OSError; blocking."""
    with RouteSocket() as route:
        route.request([netlink.build_delete_link(bridge)])


def mark_owner(bridge: str, data_dir: Path) -> None:
    """Write whose bridge it is.  Raises OSError."""
    _alias(bridge).write_text(_owner(data_dir))


def is_foreign(bridge: str, data_dir: Path) -> bool:
    """Whether a link of that name is there and another instance's.  Blocking."""
    try:
        return _alias(bridge).read_text().strip() not in ("", _owner(data_dir))
    except OSError:
        return False


def _alias(bridge: str) -> Path:
    return Path("/sys/class/net", bridge, "ifalias")


def _owner(data_dir: Path) -> str:
    return f"podhost {data_dir.resolve()}"[:_MAX_ALIAS_CHARS]
