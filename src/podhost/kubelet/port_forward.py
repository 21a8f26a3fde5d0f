"""Connections to a port of a pod, made from inside its network namespace."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from podhost.aiokit.completion import open_to_end
from podhost.errors import UnavailableError
from podhost.linux.namespaces import run_in_namespace

_CHUNK_BYTES = 1 << 16
_FLUSH_S = 5.0
_TARGETS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class NobodyListensError(UnavailableError):
    """No address of the pod's loopback takes a connection to the port; the text is that of a container runtime."""

    def __init__(self, port: int, ipv4: OSError, ipv6: OSError) -> None:
        self.port = port
        causes = (
            f"dial tcp4 127.0.0.1:{port}: connect: {_describe(ipv4)}",
            f"dial tcp6 [::1]:{port}: connect: {_describe(ipv6)}",
        )
        self.causes = causes
        super().__init__(f"cannot connect to port {port}: IPv4: {causes[0]} IPv6 {causes[1]}")


def _describe(error: OSError) -> str:
    """The kernel's words; asyncio puts its own in their place."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


class SocketStream:
    """A :class:`podhost.cri.node.ByteStream` over a connected socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Next bytes; empty at the end.  Raises ConnectionError when the other side broke off."""
        return await self._reader.read(_CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        """Waits while the other side does not read."""
        self._writer.write(data)
        await self._writer.drain()

    async def write_eof(self) -> None:
        """Half-close: the other side may go on sending."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def close(self) -> None:
        """Idempotent.  What is written and not yet taken has a few seconds to arrive."""
        self._writer.close()
        try:
            async with asyncio.timeout(_FLUSH_S):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:
            pass


async def connect_in_namespace(netns: Path | None, port: int) -> SocketStream:
    """Connect to 127.0.0.1, then ::1.  ``netns`` is ``None`` for a pod on the host's network.

    Raises:
        NobodyListensError: Neither takes the connection.
    """
    failures = []
    for family, address in _TARGETS:
        try:
            return await _connect(netns, family, address, port)
        except OSError as error:
            failures.append(error)
    raise NobodyListensError(port, *failures)


async def _connect(netns: Path | None, family: socket.AddressFamily, address: str, port: int) -> SocketStream:
    sock = await open_to_end(asyncio.to_thread(_create_socket, netns, family), _close_socket)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
        return SocketStream(*await asyncio.open_connection(sock=sock, limit=_CHUNK_BYTES))
    except BaseException:
        sock.close()
        raise


async def _close_socket(sock: socket.socket) -> None:
    sock.close()


def _create_socket(netns: Path | None, family: socket.AddressFamily) -> socket.socket:
    """A socket belongs for life to the namespace it was made in; connecting needs no thread of its own."""

    def create() -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        return sock

    return create() if netns is None else run_in_namespace(netns, "net", create)
