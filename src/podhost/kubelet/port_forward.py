"""Connections to a port of a pod, made from inside its network namespace."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from podhost.linux.namespaces import run_in_namespace

_CHUNK_BYTES = 1 << 16
_TARGETS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class SocketStream:
    """A :class:`podhost.cri.node.ByteStream` over a connected socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Next bytes; empty at the end, also when the other side broke off."""
        try:
            return await self._reader.read(_CHUNK_BYTES)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Waits while the other side does not read."""
        self._writer.write(data)
        await self._writer.drain()

    async def write_eof(self) -> None:
        """Half-close: the other side may go on sending."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def close(self) -> None:
        """Idempotent."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (ConnectionError, OSError):
            pass


async def connect_in_namespace(netns: Path | None, port: int) -> SocketStream:
    """Connect to 127.0.0.1, then ::1.  ``netns`` is ``None`` for a pod on the host's network.

    Raises:
        OSError: Nobody listens on either.
    """
    failure: OSError = ConnectionRefusedError(f"connection refused: port {port}")
    for family, address in _TARGETS:
        try:
            sock = await asyncio.to_thread(_create_socket, netns, family)
        except OSError as error:
            failure = error if family is socket.AF_INET else failure
            continue
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
            return SocketStream(*await asyncio.open_connection(sock=sock))
        except OSError as error:
            sock.close()
            failure = error if family is socket.AF_INET else failure
        except BaseException:
            sock.close()
            raise
    raise failure


def _create_socket(netns: Path | None, family: socket.AddressFamily) -> socket.socket:
    """A socket belongs for life to the namespace it was made in; connecting needs no thread of its own."""

    def create() -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        return sock

    return create() if netns is None else run_in_namespace(netns, "net", create)
