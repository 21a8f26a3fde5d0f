"""Sockets of a network namespace, by the kernel's sock_diag (sock_diag(7)); nothing runs inside the namespace.

A netlink socket belongs for life to the namespace that it was made in, so only its making needs a thread there.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podhost.linux.namespaces import run_in_namespace

Protocol = Literal["tcp", "udp"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RECEIVE_BYTES = 1 << 18
_RECEIVE_TIMEOUT_S = 5.0

TCP_STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
}
_NOT_OWNED = 1 << 6 | 1 << 12
"""TIME_WAIT and half-open requests belong to no process."""
_ALL_STATES = 0xFFF & ~_NOT_OWNED

_HEADER = struct.Struct("=IHHII")
_INET_REQUEST = struct.Struct("=BBBxI48x")
_INET_ANSWER = struct.Struct("=BBBBHH16s16sI8xIIIII")
_INET_PORTS = struct.Struct("!HH")
_UNIX_REQUEST = struct.Struct("=BBHIIIII")
_UNIX_ANSWER = struct.Struct("=BBBxIII")
_ATTRIBUTE = struct.Struct("=HH")

_UDIAG_SHOW = 0x1 | 0x2 | 0x4  # name, file, peer
_UNIX_NAME, _UNIX_VFS, _UNIX_PEER = 0, 1, 2
_UNIX_TYPES = {1: "stream", 2: "dgram", 5: "seqpacket"}
_INET_SKV6ONLY = 11


@dataclass(frozen=True, slots=True)
class InetSocket:
    """A TCP or UDP socket that a process holds."""

    protocol: Protocol
    family: Literal[4, 6]
    state: str
    """A TCP state; a UDP socket is ``ESTABLISHED`` when connected and ``CLOSE`` otherwise."""
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    inode: int
    uid: int
    v6_only: bool = False


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A unix socket; ``name`` is a path, ``@name`` of an abstract one, or empty."""

    kind: str
    state: str
    inode: int
    name: str = ""
    file_device: int = 0
    """As ``st_dev`` of the socket's file; 0 without a file."""
    file_inode: int = 0
    peer_inode: int = 0


def observe_inet_sockets(netns: Path | None) -> list[InetSocket]:
    """TCP and UDP sockets of a namespace (``None``: the caller's); blocking.  Raises OSError."""
    found: list[InetSocket] = []
    with _open(netns) as sock:
        for protocol, number in (("tcp", socket.IPPROTO_TCP), ("udp", socket.IPPROTO_UDP)):
            for family in (socket.AF_INET, socket.AF_INET6):
                request = _INET_REQUEST.pack(family, number, 0, _ALL_STATES)
                try:
                    found.extend(
                        parse_inet_socket(body, "tcp" if protocol == "tcp" else "udp") for body in _dump(sock, request)
                    )
                except OSError as error:
                    # A kernel without IPv6, or without this handler.
                    if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                        raise
    return found


def observe_unix_sockets(netns: Path | None) -> list[UnixSocket]:
    """Unix sockets of a namespace (``None``: the caller's); blocking.  Raises OSError."""
    request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _UDIAG_SHOW, 0, 0)
    with _open(netns) as sock:
        return [parse_unix_socket(body) for body in _dump(sock, request)]


def parse_inet_socket(body: bytes, protocol: Protocol) -> InetSocket:
    """``struct inet_diag_msg`` and its attributes."""
    fields = _INET_ANSWER.unpack_from(body)
    family, state = fields[0], fields[1]
    local_port, remote_port = _INET_PORTS.unpack_from(body, 4)
    is_v6 = family == socket.AF_INET6
    # Only sockets of IPv6 have the attribute; thousands of others need not be searched.
    only = is_v6 and any(
        kind == _INET_SKV6ONLY and value[:1] == b"\1" for kind, value in _attributes(body, _INET_ANSWER.size)
    )
    return InetSocket(
        protocol,
        6 if is_v6 else 4,
        TCP_STATES.get(state, str(state)),
        _format_address(fields[6], is_v6),
        local_port,
        _format_address(fields[7], is_v6),
        remote_port,
        fields[13],
        fields[12],
        only,
    )


def parse_unix_socket(body: bytes) -> UnixSocket:
    """``struct unix_diag_msg`` and its attributes."""
    _family, kind, state, inode, _, _ = _UNIX_ANSWER.unpack_from(body)
    name, device, file_inode, peer = "", 0, 0, 0
    for attribute, value in _attributes(body, _UNIX_ANSWER.size):
        if attribute == _UNIX_NAME:
            name = _format_name(value)
        elif attribute == _UNIX_VFS:
            file_inode, raw_device = struct.unpack_from("=II", value)
            device = os.makedev(raw_device >> 20, raw_device & 0xFFFFF)
        elif attribute == _UNIX_PEER:
            (peer,) = struct.unpack_from("=I", value)
    return UnixSocket(
        _UNIX_TYPES.get(kind, str(kind)), TCP_STATES.get(state, str(state)), inode, name, device, file_inode, peer
    )


def _format_address(raw: bytes, is_v6: bool) -> str:
    if not is_v6:
        return socket.inet_ntop(socket.AF_INET, raw[:4])
    if raw.startswith(b"\0\0\0\0\0\0\0\0\0\0\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def _format_name(raw: bytes) -> str:
    if raw.startswith(b"\0"):
        return "@" + raw[1:].replace(b"\0", b"@").decode(errors="backslashreplace")
    return raw.partition(b"\0")[0].decode(errors="backslashreplace")


def _open(netns: Path | None) -> socket.socket:
    def create() -> socket.socket:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)

    sock = create() if netns is None else run_in_namespace(netns, "net", create)
    sock.settimeout(_RECEIVE_TIMEOUT_S)
    return sock


def _dump(sock: socket.socket, request: bytes) -> Iterator[bytes]:
    """Bodies of all answers to one request.  Raises OSError from the kernel."""
    size = _HEADER.size + len(request)
    sock.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0) + request)
    while True:
        data = sock.recv(_RECEIVE_BYTES)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, at)
            body = data[at + _HEADER.size : at + length]
            if kind == _NLMSG_DONE:
                _raise_if(body)
                return
            if kind == _NLMSG_ERROR:
                _raise_if(body)
                return
            yield body
            at += (max(length, _HEADER.size) + 3) & ~3


def _raise_if(body: bytes) -> None:
    """DONE and ERROR carry an errno, negative or 0."""
    number = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if number:
        raise OSError(number, f"sock_diag: {os.strerror(number)}")


def _attributes(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    at = start
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
