"""Asks the host's own name servers what is not the cluster's."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_PORT = 53
_TIMEOUT_S = 2.0
_MAX_SERVERS = 3
"""As many as resolv.conf(5) may name."""
_MAX_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Forward:
    """To be asked upstream; ``finish`` makes the client's answer of what comes back, ``None`` standing for silence."""

    query: bytes
    finish: Callable[[bytes | None], bytes]


class Upstream:
    """One question at a time to one server after the other; bounded in number."""

    def __init__(self, read_servers: Callable[[], tuple[str, ...]], own_address: str, *, port: int = _PORT) -> None:
        self._read_servers = read_servers
        self._own_address = own_address
        self._port = port
        self._asking = 0

    async def ask(self, query: bytes, *, over_tcp: bool) -> bytes | None:
        """The first answer; ``None`` when nobody gives one, or too many ask already."""
        if self._asking >= _MAX_AT_ONCE:
            return None
        self._asking += 1
        try:
            servers = await asyncio.to_thread(self._read_servers)
            for server in choose_servers(servers, self._own_address):
                try:
                    async with asyncio.timeout(_TIMEOUT_S):
                        return await (self._ask_tcp if over_tcp else self._ask_udp)(server, query)
                except (OSError, TimeoutError, EOFError):
                    continue
            return None
        finally:
            self._asking -= 1

    async def _ask_udp(self, server: str, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        # A port of its own for each question, so that a forged answer has to guess it.
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: _Question(query, loop.create_future()), remote_addr=(server, self._port)
        )
        try:
            transport.sendto(query)
            return await protocol.answer
        finally:
            transport.close()

    async def _ask_tcp(self, server: str, query: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(struct.pack("!H", len(query)) + query)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(length)
        finally:
            writer.close()


def choose_servers(servers: Iterable[str], own_address: str) -> list[str]:
    """Those that can be asked: addresses, without ourselves."""
    return [server for server in servers if server != own_address and _is_address(server)][:_MAX_SERVERS]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


class _Question(asyncio.DatagramProtocol):
    """Takes the answer that has the query's number."""

    def __init__(self, query: bytes, answer: asyncio.Future[bytes]) -> None:
        self._query = query
        self.answer = answer

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self._query[:2] and len(data) > 2 and data[2] & 0x80 and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)
