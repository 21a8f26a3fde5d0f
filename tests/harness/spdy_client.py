"""A SPDY client for tests, over a plain upgrade or inside a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp

from podhost.wire.spdy_session import (
    DataReceived,
    Event,
    SpdySession,
    StreamEnded,
    StreamReplied,
    StreamReset,
)

TIMEOUT_S = 20


class UpgradeRefusedError(Exception):
    """The server did not switch protocols; ``head`` and ``body`` are its answer."""

    def __init__(self, head: str, body: str) -> None:
        super().__init__(head)
        self.head = head
        self.body = body


class SpdyClient:
    """The client's end.  What arrives is taken in while one of its methods waits."""

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        write: Callable[[bytes], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.session = SpdySession(server=False)
        self.replied: set[int] = set()
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.data: dict[int, bytearray] = {}
        self.closed = False
        self.head = ""
        self._read, self._write, self._close = read, write, close

    async def open(self, *, fin: bool = False, **headers: str) -> int:
        """A stream; it is not waited for."""
        stream_id = self.session.open_stream(headers, fin=fin)
        self.data[stream_id] = bytearray()
        await self.flush()
        return stream_id

    async def open_pair(self, port: int, request_id: str) -> tuple[int, int]:
        """Data and error stream of a forwarded connection, as kubectl opens them."""
        error = await self.open(fin=True, streamType="error", port=str(port), requestID=request_id)
        return await self.open(streamType="data", port=str(port), requestID=request_id), error

    async def send(self, stream_id: int, data: bytes, *, fin: bool = False) -> None:
        self.session.send_data(stream_id, data, fin=fin)
        await self.flush()

    async def break_off(self, stream_id: int) -> None:
        self.session.reset(stream_id)
        await self.flush()

    async def read_to_end(self, stream_id: int) -> bytes:
        """All of a stream until its end or a reset."""
        await self.wait(lambda: stream_id in self.ended or stream_id in self.reset)
        return bytes(self.data[stream_id])

    async def read_exactly(self, stream_id: int, count: int) -> bytes:
        """The first ``count`` bytes, which are taken away."""
        await self.wait(lambda: len(self.data[stream_id]) >= count)
        data = bytes(self.data[stream_id][:count])
        del self.data[stream_id][:count]
        return data

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Take in what comes until the condition is true.  Fails when the connection ends before."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                assert not self.closed, "the server closed the connection"
                await self.take_in()

    async def wait_closed(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not self.closed:
                await self.take_in()

    async def take_in(self) -> None:
        data = await self._read()
        if not data:
            self.closed = True
            return
        for event in self.session.receive(data):
            self._on_event(event)
        await self.flush()

    async def flush(self) -> None:
        if data := self.session.take_output():
            await self._write(data)

    async def close(self) -> None:
        await self._close()

    def _on_event(self, event: Event) -> None:
        match event:
            case StreamReplied(stream_id):
                self.replied.add(stream_id)
            case DataReceived(stream_id, data):
                self.data[stream_id] += data
                self.session.consume(stream_id, len(data))
            case StreamEnded(stream_id):
                self.ended.add(stream_id)
            case StreamReset(stream_id, status):
                self.reset[stream_id] = status


async def connect_spdy(
    socket_path: Path, target: str, protocols: Sequence[str] = ("portforward.k8s.io",), *, method: str = "POST"
) -> SpdyClient:
    """Over a plain upgrade.  Raises UpgradeRefusedError."""
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    lines += [f"X-Stream-Protocol-Version: {protocol}" for protocol in protocols]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()

    async def read() -> bytes:
        try:
            return await reader.read(1 << 16)
        except ConnectionError:
            return b""

    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    async def close() -> None:
        writer.transport.abort()  # at once, whatever is still unsent

    if not head.startswith("HTTP/1.1 101"):
        length = next(
            int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length")
        )
        body = await reader.readexactly(length)
        writer.close()
        raise UpgradeRefusedError(head, body.decode())
    client = SpdyClient(read, write, close)
    client.head = head
    return client


async def connect_tunnel(http: aiohttp.ClientSession, url: str) -> SpdyClient:
    """Inside a WebSocket, as kubectl does it."""
    socket = await http.ws_connect(url, protocols=("SPDY/3.1+portforward.k8s.io",))
    assert socket.protocol == "SPDY/3.1+portforward.k8s.io"

    async def read() -> bytes:
        message = await socket.receive()
        return bytes(message.data) if message.type is aiohttp.WSMsgType.BINARY else b""

    async def close() -> None:
        await socket.close()

    return SpdyClient(read, socket.send_bytes, close)
