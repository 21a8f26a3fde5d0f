"""Host ports of other instances: read from nft's JSON, compared with what a pod wants."""

from __future__ import annotations

from typing import Literal

import pytest

from podhost.cri.runtime import PortMapping
from podhost.network.other_instances import find_clash, read_published

_MAPS = {
    "host_ports": [[{"concat": ["tcp", 8080]}, {"concat": ["10.1.2.3", 80]}]],
    "host_ip_ports": [[{"concat": ["127.0.0.1", "udp", 53]}, {"concat": ["10.1.2.3", 5353]}]],
}


def _port(protocol: Literal["TCP", "UDP"], number: int, address: str = "") -> PortMapping:
    return PortMapping(protocol=protocol, container_port=80, host_port=number, host_ip=address)


def test_published_ports_are_read_from_both_maps() -> None:
    assert read_published(_MAPS) == [
        PortMapping(protocol="TCP", container_port=80, host_port=8080),
        PortMapping(protocol="UDP", container_port=5353, host_port=53, host_ip="127.0.0.1"),
    ]
    assert read_published({"host_ports": []}) == []


@pytest.mark.parametrize(
    ("wanted", "clashes"),
    [
        (_port("TCP", 8080), True),
        (_port("TCP", 8080, "192.0.2.1"), True),
        (_port("UDP", 8080), False),
        (_port("TCP", 8081), False),
        (_port("UDP", 53), True),
        (_port("UDP", 53, "0.0.0.0"), True),
        (_port("UDP", 53, "127.0.0.1"), True),
        (_port("UDP", 53, "192.0.2.1"), False),
    ],
)
def test_a_port_of_another_instance_clashes(wanted: PortMapping, clashes: bool) -> None:
    clash = find_clash([_port("TCP", 1), wanted], {"one": [], "two": read_published(_MAPS)})
    message = f"cannot publish host port {wanted.host_port}/{wanted.protocol}: it belongs to a pod of instance 'two'"
    assert clash == (message if clashes else None)
