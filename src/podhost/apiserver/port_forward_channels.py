"""Port-forward over the channels of a WebSocket (``v4.channel.k8s.io``), as the Python client uses it.

Each port has two channels, one for data and one for errors, and one connection.  A message begins with its channel.
The first message of each channel names the port, as two bytes.  The protocol has no half-close: when the pod's side
ends, the connection is over; when all are over, the WebSocket is closed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from aiohttp import WSMessage, WSMsgType, web

from podhost.api import errors
from podhost.api.field_errors import go_quote
from podhost.apiserver.upgrade import give_up_on_stall
from podhost.cri.node import ByteStream

V4, V4_BASE64 = "v4.channel.k8s.io", "v4.base64.channel.k8s.io"
CHANNEL_PROTOCOLS = (V4, V4_BASE64)
_MAX_PORTS = 100
_MAX_QUEUED_MESSAGES = 4
_GRACE_S = 1.0
"""How long what a client sent last may take on its way into the pod, once the client has left."""


class _Forward(Protocol):
    def __call__(
        self, data: ChannelStream, error: ChannelStream, port: int, connect: Callable[[int], Awaitable[ByteStream]]
    ) -> Coroutine[Any, Any, None]: ...


def parse_ports(values: Sequence[str]) -> list[int]:
    """Ports of the query parameter ``ports``: several of them, or several in one.

    Raises:
        ApiError: 400.
    """
    if not values:
        raise errors.bad_request('query parameter "ports" is required')
    ports = []
    for value in values:
        if not value:
            raise errors.bad_request('query parameter "ports" cannot be empty')
        for text in value.split(","):
            if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
                raise errors.bad_request(f"unable to parse {go_quote(value)} as a port")
            if int(text) < 1:
                raise errors.bad_request(f"port {go_quote(value)} must be > 0")
            ports.append(int(text))
    if len(ports) > _MAX_PORTS:
        raise errors.bad_request(f"no more than {_MAX_PORTS} ports can be forwarded over one WebSocket")
    return ports


class ChannelStream:
    """One channel as a stream."""

    def __init__(self, socket: web.WebSocketResponse, channel: int) -> None:
        self._socket = socket
        self._channel = channel
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    async def read(self) -> bytes:
        """Empty also when the pod's side has ended: the client cannot be told, so there is no use in more."""
        while not self._chunks and not self._ended:
            await self._wait_changed()
        data = self._chunks.popleft() if self._chunks else b""
        self._changed.set()
        return data

    async def write(self, data: bytes) -> None:
        async with give_up_on_stall():
            if self._socket.ws_protocol == V4_BASE64:
                await self._socket.send_str(chr(ord("0") + self._channel) + base64.b64encode(data).decode())
            else:
                await self._socket.send_bytes(bytes([self._channel]) + data)

    async def write_eof(self) -> None:
        self.end()
        self._chunks.clear()

    async def reset(self) -> None:
        await self.write_eof()

    def end(self) -> None:
        """The client sends no more."""
        self._ended = True
        self._changed.set()

    async def feed(self, data: bytes) -> None:
        """What the client sent; waits while too much is unread."""
        while len(self._chunks) >= _MAX_QUEUED_MESSAGES and not self._ended:
            await self._wait_changed()
        if not self._ended:
            self._chunks.append(data)
            self._changed.set()

    async def _wait_changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def serve_channels(
    socket: web.WebSocketResponse,
    ports: Sequence[int],
    connect: Callable[[int], Awaitable[ByteStream]],
    forward: _Forward,
) -> None:
    """Serve all ports until their connections are over or the client has left."""
    streams = [ChannelStream(socket, channel) for channel in range(2 * len(ports))]
    try:
        for port, data, error in zip(ports, streams[::2], streams[1::2], strict=True):
            await data.write(struct.pack("<H", port))
            await error.write(struct.pack("<H", port))
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(_receive(socket, streams[::2]), name="port-forward input")
            async with asyncio.TaskGroup() as forwards:
                for port, data, error in zip(ports, streams[::2], streams[1::2], strict=True):
                    forwards.create_task(forward(data, error, port, connect), name=f"port-forward {port}")
            reader.cancel()
    except* (ConnectionError, TimeoutError):
        pass
    await socket.close()


async def _receive(socket: web.WebSocketResponse, data_streams: Sequence[ChannelStream]) -> None:
    """The client's messages to their streams.  When it leaves, what it sent may still arrive, for a moment."""
    while (message := decode_message(await socket.receive())) is not None:
        channel, data = message
        if channel % 2 == 0 and channel // 2 < len(data_streams):
            await data_streams[channel // 2].feed(data)
    for stream in data_streams:
        stream.end()
    await asyncio.sleep(_GRACE_S)
    raise ConnectionResetError("the client has left")


def decode_message(message: WSMessage) -> tuple[int, bytes] | None:
    """(channel, data); ``None`` at the end of the connection, and for what cannot be understood."""
    if message.type is WSMsgType.BINARY and message.data:
        return message.data[0], bytes(message.data[1:])
    if message.type is WSMsgType.TEXT and message.data:
        try:
            return ord(message.data[0]) - ord("0"), base64.b64decode(message.data[1:], validate=True)
        except (binascii.Error, ValueError):
            return None
    return (-1, b"") if message.type in (WSMsgType.BINARY, WSMsgType.TEXT) else None
