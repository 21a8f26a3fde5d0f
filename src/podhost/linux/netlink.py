"""A small rtnetlink client: links, addresses, routes of one network namespace.

A request is a list of messages sent in one system call and acknowledged one by one, so a pod's whole network
costs two round trips.  A socket belongs to the namespace of the thread that opened it, for good; that is how
another namespace is configured: open the socket in there (``namespaces.run_in_namespace``), use it anywhere.

Formats: ``linux/rtnetlink.h``, ``linux/if_link.h``; RFC 3549.  Blocking; used from worker threads.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import Final

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWNEIGH: Final = 28

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

IFF_UP: Final = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_NET_NS_FD = 18, 26, 27, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_INET_CONF = 1
_DEVCONF_SEND_REDIRECTS, _DEVCONF_ROUTE_LOCALNET = 6, 26
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80
_INET6_ADDR_GEN_MODE = 8
_ADDR_GEN_MODE_NONE = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 7, 15
_RT_TABLE_MAIN = 254
_RT_TABLE_LOCAL = 255
_RTPROT_STATIC = 4
_RTN_UNICAST = 1
SCOPE_UNIVERSE: Final = 0
SCOPE_LINK: Final = 253

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBi")
_NDMSG = struct.Struct("=BxxxiHBB")
_RTMSG = struct.Struct("=BBBBBBBBI")
_ATTR = struct.Struct("=HH")


class NetlinkError(OSError):
    """The kernel refused a message; the text says which."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request without its header, and what it is for (used in errors)."""

    type: int
    flags: int
    payload: bytes
    what: str
    ignore: frozenset[int] = frozenset()
    """Error numbers that mean: it is so already."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as observed."""

    index: int
    name: str
    kind: str
    """``bridge``, ``veth``…; empty for hardware and loopback."""
    master: int
    mac: str
    up: bool
    mtu: int


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An IPv4 address of an interface."""

    index: int
    address: IPv4Address
    prefix_length: int

    @property
    def network(self) -> IPv4Network:
        return IPv4Network((int(self.address), self.prefix_length), strict=False)


@dataclass(frozen=True, slots=True)
class Route:
    """An IPv4 route; ``local`` and ``broadcast`` routes of the local table are not listed."""

    destination: IPv4Network
    out_index: int
    gateway: IPv4Address | None
    table: int


def _attr(kind: int, value: bytes) -> bytes:
    length = _ATTR.size + len(value)
    return _ATTR.pack(length, kind) + value + b"\0" * (-length % 4)


def _nest(kind: int, *parts: bytes) -> bytes:
    return _attr(kind | 0x8000, b"".join(parts))


def _name(name: str) -> bytes:
    return _attr(_IFLA_IFNAME, name.encode() + b"\0")


def _u32(kind: int, value: int) -> bytes:
    return _attr(kind, struct.pack("=I", value))


def _mac(mac: str) -> bytes:
    return _attr(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))


def _attrs(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTR.size <= len(data):
        length, kind = _ATTR.unpack_from(data, at)
        if length < _ATTR.size:
            break
        found[kind & 0x3FFF] = data[at + _ATTR.size : at + length]
        at += (length + 3) & ~3
    return found


def build_bridge(name: str, mac: str) -> Message:
    """Create a bridge, with a fixed hardware address."""
    payload = (
        _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        + _name(name)
        + _mac(mac)
        + _nest(_IFLA_LINKINFO, _attr(_INFO_KIND, b"bridge\0"))
    )
    flags = NLM_F_CREATE | NLM_F_EXCL
    return Message(RTM_NEWLINK, flags, payload, f"create bridge {name!r}", frozenset({errno.EEXIST}))


def build_veth(name: str, *, mac: str, peer: str, peer_mac: str, peer_netns_fd: int, mtu: int) -> Message:
    """Create a pair: ``name`` here, ``peer`` directly in another namespace, where nothing need be moved."""
    peer_info = (
        _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        + _name(peer)
        + _mac(peer_mac)
        + _u32(_IFLA_MTU, mtu)
        + _u32(_IFLA_NET_NS_FD, peer_netns_fd)
    )
    data = _nest(_INFO_DATA, _nest(_VETH_INFO_PEER, peer_info))
    payload = (
        _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        + _name(name)
        + _u32(_IFLA_MTU, mtu)
        + _mac(mac)
        + _nest(_IFLA_LINKINFO, _attr(_INFO_KIND, b"veth\0"), data)
    )
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, f"create link {name!r}")


def build_quiet(name: str) -> Message:
    """No IPv6 link-local address: each would cost duplicate detection and multicast reports."""
    spec = _nest(_IFLA_AF_SPEC, _nest(socket.AF_INET6, _attr(_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_MODE_NONE]))))
    payload = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(name) + spec
    # Without IPv6 in the kernel there is nothing to silence.
    ignored = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL})
    return Message(RTM_NEWLINK, 0, payload, f"silence link {name!r}", ignored)


def build_routed_loopback(name: str) -> Message:
    """Let packets of 127/8 pass this link, and send no ICMP redirects out of it (where ``all`` does not)."""
    conf = _nest(_INET_CONF, _u32(_DEVCONF_ROUTE_LOCALNET, 1), _u32(_DEVCONF_SEND_REDIRECTS, 0))
    payload = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(name)
    payload += _nest(_IFLA_AF_SPEC, _nest(socket.AF_INET, conf))
    return Message(RTM_NEWLINK, 0, payload, f"set route_localnet of link {name!r}")


def build_up(name: str) -> Message:
    payload = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, IFF_UP, IFF_UP) + _name(name)
    return Message(RTM_NEWLINK, 0, payload, f"bring link {name!r} up")


def build_mtu(name: str, mtu: int) -> Message:
    payload = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(name) + _u32(_IFLA_MTU, mtu)
    return Message(RTM_NEWLINK, 0, payload, f"set the MTU of {name!r}")


def build_delete_link(name: str) -> Message:
    payload = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(name)
    return Message(RTM_DELLINK, 0, payload, f"delete link {name!r}", frozenset({errno.ENODEV}))


def build_group(name: str, group: int) -> Message:
    """Put a link into a group, so that :func:`build_delete_group` deletes many in the time of one."""
    payload = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(name) + _u32(_IFLA_GROUP, group)
    return Message(RTM_NEWLINK, 0, payload, f"group link {name!r}", frozenset({errno.ENODEV}))


def build_delete_group(group: int) -> Message:
    payload = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _u32(_IFLA_GROUP, group)
    return Message(RTM_DELLINK, 0, payload, f"delete link group {group}", frozenset({errno.ENODEV}))


def build_address(index: int, address: IPv4Address, prefix_length: int) -> Message:
    payload = (
        _IFADDR.pack(socket.AF_INET, prefix_length, 0, SCOPE_UNIVERSE, index)
        + _attr(_IFA_LOCAL, address.packed)
        + _attr(_IFA_ADDRESS, address.packed)
    )
    what = f"add address {address}/{prefix_length}"
    return Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload, what, frozenset({errno.EEXIST}))


def build_neighbour(index: int, address: IPv4Address, mac: str) -> Message:
    """A fixed neighbour: no ARP is needed, whatever ``arp_ignore`` the host is set to."""
    payload = (
        _NDMSG.pack(socket.AF_INET, index, _NUD_PERMANENT, 0, 0)
        + _attr(_NDA_DST, address.packed)
        + _attr(_NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
    )
    return Message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, payload, f"add neighbour {address}")


def build_route(
    destination: IPv4Network, out_index: int, *, gateway: IPv4Address | None = None, source: IPv4Address | None = None
) -> Message:
    """A unicast route of the main table; link scope without a gateway."""
    scope = SCOPE_UNIVERSE if gateway else SCOPE_LINK
    payload = _RTMSG.pack(
        socket.AF_INET, destination.prefixlen, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST, 0
    )
    if destination.prefixlen:
        payload += _attr(_RTA_DST, destination.network_address.packed)
    payload += _u32(_RTA_OIF, out_index)
    if gateway:
        payload += _attr(_RTA_GATEWAY, gateway.packed)
    if source:
        payload += _attr(_RTA_PREFSRC, source.packed)
    return Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, payload, f"add route {destination}")


class RouteSocket:
    """An open rtnetlink socket; a context manager.  Not for use by two threads at once."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        except OSError:
            self._socket.close()
            raise
        self._sequence = 0

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, messages: Sequence[Message]) -> None:
        """Send all messages in order and read every acknowledgement.

        A refused message does not stop those behind it (the kernel works them off one by one); the first
        refusal is raised once all are answered.

        Raises:
            NetlinkError: With errno and what was asked.
        """
        pending: dict[int, Message] = {}
        batch = b""
        for message in messages:
            self._sequence += 1
            pending[self._sequence] = message
            batch += self._encode(message, NLM_F_ACK)
        if not batch:
            return
        self._socket.send(batch)
        failed: NetlinkError | None = None
        while pending:
            for kind, sequence, payload in _split(self._socket.recv(1 << 18)):
                if kind != NLMSG_ERROR or sequence not in pending:
                    continue
                answered = pending.pop(sequence)
                number = -int(struct.unpack_from("=i", payload)[0])
                if number and number not in answered.ignore and failed is None:
                    failed = NetlinkError(number, f"cannot {answered.what}: {os.strerror(number)}")
        if failed is not None:
            raise failed

    def _encode(self, message: Message, extra_flags: int) -> bytes:
        length = _HEADER.size + len(message.payload)
        flags = NLM_F_REQUEST | message.flags | extra_flags
        return _HEADER.pack(length, message.type, flags, self._sequence, 0) + message.payload + b"\0" * (-length % 4)

    def _dump(self, kind: int, payload: bytes) -> Iterator[bytes]:
        self._sequence += 1
        self._socket.send(self._encode(Message(kind, 0, payload, "dump"), NLM_F_DUMP))
        while True:
            for answer, sequence, body in _split(self._socket.recv(1 << 18)):
                if sequence != self._sequence:
                    continue
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    number = -int(struct.unpack_from("=i", body)[0])
                    raise NetlinkError(number, f"cannot list from the kernel: {os.strerror(number)}")
                yield body

    def links(self) -> list[Link]:
        return [_parse_link(body) for body in self._dump(RTM_GETLINK, _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0))]

    def addresses(self) -> list[InterfaceAddress]:
        found = []
        for body in self._dump(RTM_GETADDR, _IFADDR.pack(socket.AF_INET, 0, 0, 0, 0)):
            _, prefix_length, _, _, index = _IFADDR.unpack_from(body)
            attrs = _attrs(body[_IFADDR.size :])
            raw = attrs.get(_IFA_LOCAL) or attrs.get(_IFA_ADDRESS)
            if raw:
                found.append(InterfaceAddress(index, IPv4Address(raw), prefix_length))
        return found

    def routes(self) -> list[Route]:
        payload = _RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        parsed = (_parse_route(body) for body in self._dump(RTM_GETROUTE, payload))
        return [route for route in parsed if route.table != _RT_TABLE_LOCAL]


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, sequence, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _parse_link(body: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    attrs = _attrs(body[_IFINFO.size :])
    info = _attrs(attrs.get(_IFLA_LINKINFO, b""))
    number: Callable[[int], int] = lambda kind: int.from_bytes(attrs.get(kind, b""), "little")  # noqa: E731
    return Link(
        index=index,
        name=attrs.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(),
        kind=info.get(_INFO_KIND, b"").rstrip(b"\0").decode(),
        master=number(_IFLA_MASTER),
        mac=attrs.get(_IFLA_ADDRESS, b"").hex(":"),
        up=bool(flags & IFF_UP),
        mtu=number(_IFLA_MTU),
    )


def _parse_route(body: bytes) -> Route:
    _, length, _, _, table, _, _, _, _ = _RTMSG.unpack_from(body)
    attrs = _attrs(body[_RTMSG.size :])
    gateway = attrs.get(_RTA_GATEWAY)
    return Route(
        destination=IPv4Network((attrs.get(_RTA_DST, b"\0\0\0\0"), length), strict=False),
        out_index=int.from_bytes(attrs.get(_RTA_OIF, b""), "little"),
        gateway=IPv4Address(gateway) if gateway else None,
        table=int.from_bytes(attrs.get(_RTA_TABLE, bytes([table])), "little"),
    )


def observe_links() -> dict[str, Link]:
    """All links of the calling thread's namespace, by name."""
    with RouteSocket() as route:
        return {link.name: link for link in route.links()}


def link_index(name: str) -> int:
    """Index of a link, 0 when there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def read_sysctl(name: str) -> str | None:
    """Value of a sysctl such as ``net/ipv4/ip_forward``; None where the kernel has it not."""
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def write_sysctl(name: str, value: str) -> None:
    """Set a sysctl; does not touch it when it has the value already (a read-only /proc/sys is then fine)."""
    if read_sysctl(name) == value:
        return
    with open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
        file.write(value)
