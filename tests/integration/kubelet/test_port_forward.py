"""Connections into a network namespace, as root."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.kubelet.port_forward import NobodyListensError, connect_in_namespace
from podhost.linux.namespaces import pin_namespaces, run_in_namespace, unpin_namespaces
from podhost.linux.netlink import RouteSocket, build_up

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def _set_loopback_up() -> None:
    with RouteSocket() as route:
        route.request([build_up("lo")])


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    path = pin_namespaces(tmp_path, frozenset({"net"}))["net"]
    run_in_namespace(path, "net", _set_loopback_up)
    yield path
    unpin_namespaces(tmp_path)


def _listen(family: socket.AddressFamily, address: str) -> socket.socket:
    sock = socket.socket(family)
    sock.bind((address, 8080))
    sock.listen()
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_connects_to_the_loopback_of_the_pod(netns: Path, family: socket.AddressFamily, address: str) -> None:
    server = run_in_namespace(netns, "net", lambda: _listen(family, address))
    stream = await connect_in_namespace(netns, 8080)
    peer, _ = await asyncio.get_running_loop().sock_accept(server)
    await stream.write(b"ping")
    await stream.write_eof()
    loop = asyncio.get_running_loop()
    assert await loop.sock_recv(peer, 10) == b"ping"
    assert await loop.sock_recv(peer, 10) == b""
    # Half-closed: the other direction still works.
    await loop.sock_sendall(peer, b"pong")
    peer.close()
    assert await stream.read() == b"pong"
    assert await stream.read() == b""
    await stream.close()
    server.close()


async def test_refused_connection_is_an_error(netns: Path) -> None:
    wanted = (
        "dial tcp4 127.0.0.1:8081: connect: connection refused IPv6 dial tcp6 [::1]:8081: connect: connection refused"
    )
    with pytest.raises(NobodyListensError) as caught:
        await connect_in_namespace(netns, 8081)
    assert wanted in str(caught.value)


async def test_connection_that_the_pod_breaks_off_is_no_clean_end(netns: Path) -> None:
    server = run_in_namespace(netns, "net", lambda: _listen(socket.AF_INET, "127.0.0.1"))
    stream = await connect_in_namespace(netns, 8080)
    peer, _ = await asyncio.get_running_loop().sock_accept(server)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    with pytest.raises(ConnectionResetError):
        await stream.read()
    await stream.close()
    server.close()
