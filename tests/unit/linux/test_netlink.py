"""Messages and answers of rtnetlink, byte by byte where the kernel would not say."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest

from podhost.linux import netlink
from podhost.linux.netlink import Message, NetlinkError, RouteSocket


def test_route_message_has_the_fields_of_rtmsg() -> None:
    message = netlink.build_route(IPv4Network("10.1.0.0/16"), 7, source=IPv4Address("10.1.0.1"))
    family, dst_len, _, _, table, _, scope, kind, _ = struct.unpack_from("=BBBBBBBBI", message.payload)
    assert (family, dst_len, table, scope, kind) == (2, 16, 254, 253, 1)
    assert bytes([10, 1, 0, 0]) in message.payload
    assert bytes([10, 1, 0, 1]) in message.payload


def test_default_route_has_no_destination_and_universal_scope() -> None:
    message = netlink.build_route(IPv4Network("0.0.0.0/0"), 7, gateway=IPv4Address("10.1.0.1"))
    assert message.payload[6] == netlink.SCOPE_UNIVERSE
    assert message.payload.count(bytes([10, 1, 0, 1])) == 1


def test_attributes_are_padded_to_four_bytes() -> None:
    assert len(netlink.build_up("lo").payload) % 4 == 0
    assert len(netlink.build_up("eth0").payload) % 4 == 0


def test_loopback_is_seen_with_its_address() -> None:
    with RouteSocket() as route:
        loopback = next(link for link in route.links() if link.name == "lo")
        assert loopback.index == netlink.link_index("lo")
        addresses = [entry for entry in route.addresses() if entry.index == loopback.index]
        assert IPv4Network("127.0.0.0/8") in {entry.network for entry in addresses}
        assert all(not entry.destination.is_loopback for entry in route.routes())


def test_refused_message_says_what_was_asked() -> None:
    with RouteSocket() as route, pytest.raises(NetlinkError, match="cannot bring link 'no-such-link' up: "):
        route.request([netlink.build_up("no-such-link")])


def test_ignored_refusal_is_none() -> None:
    with RouteSocket() as route:
        route.request([Message(0x3FF, 0, b"", "nonsense", frozenset(range(1, 134)))])
        route.request([])


def test_link_that_is_not_there_has_index_zero() -> None:
    assert netlink.link_index("no-such-link") == 0


def test_sysctl_that_the_kernel_has_not_is_none() -> None:
    assert netlink.read_sysctl("net/ipv4/no_such_thing") is None
    assert netlink.read_sysctl("net/ipv4/ip_forward") in ("0", "1")
