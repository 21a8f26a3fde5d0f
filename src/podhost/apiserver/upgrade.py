"""Taking a connection over from the HTTP server, after ``101 Switching Protocols``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextvars import ContextVar
from typing import Protocol, cast

from aiohttp import web

from podhost.api import errors

_HIGH_WATER_BYTES = 1 << 18
_MAX_MESSAGE_BYTES = 4 << 20
_CLOSE_TIMEOUT_S = 5.0
stall_limit_s: ContextVar[float | None] = ContextVar("stall_limit_s", default=None)
"""How long the client of the present stream may leave what we send unread; ``None``: for ever."""


@contextlib.asynccontextmanager
async def give_up_on_stall() -> AsyncIterator[None]:
    """Around a write: a client that does not read for so long counts as gone.  Raises ConnectionError then."""
    try:
        async with asyncio.timeout(stall_limit_s.get()):
            yield
    except TimeoutError:
        raise ConnectionAbortedError("the client does not read") from None


class BytePipe(Protocol):
    """Bytes both ways, whatever they travel in."""

    async def read(self) -> bytes:
        """Next bytes; empty when the client sends no more."""

    async def write(self, data: bytes) -> None:
        """Waits while the client does not read.  Raises ConnectionError when it has gone."""

    async def close(self) -> None:
        """Idempotent."""


class RawConnection(asyncio.Protocol):
    """A connection's bytes as they are.  Bounded both ways: reading and writing pause on their own.

    The HTTP server keeps its part of the bookkeeping: it learns of the connection's end, and then cancels the
    handler, as with any other request.
    """

    def __init__(self, request: web.Request) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        self._transport = transport
        self._http = cast(asyncio.Protocol, request.protocol)
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._ended = False
        self._lost = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        # What came right behind the request: a client that does not wait for our answer.
        early = bytes(getattr(request.protocol, "_message_tail", b""))
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        if early:
            self.data_received(early)

    async def read(self) -> bytes:
        while not self._chunks and not self._ended:
            self._readable.clear()
            await self._readable.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered_bytes = 0
        if not self._ended:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        if self._lost:
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)
        if not self._writable.is_set():
            async with give_up_on_stall():
                await self._writable.wait()
            if self._lost:
                raise ConnectionResetError("the client has gone")

    async def close(self) -> None:
        self._transport.close()

    # -- called by the transport ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        self._readable.set()
        if self._buffered_bytes >= _HIGH_WATER_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._end()
        return False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._writable.set()
        self._end()
        self._http.connection_lost(error)

    def _end(self) -> None:
        self._ended = True
        self._readable.set()


class UpgradedResponse(web.StreamResponse):
    """What a handler returns when it has answered by itself: the server sends nothing, and closes."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def switch_protocols(request: web.Request, headers: Iterable[tuple[str, str]]) -> RawConnection:
    """Answer 101 and take the connection over.  Raises ConnectionError when the client has gone."""
    connection = RawConnection(request)
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers)]
    await connection.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    return connection


def is_upgrade_to(request: web.Request, protocol: str) -> bool:
    """Whether the client asks to go on in another protocol (``websocket``, ``spdy/3.1``; case does not matter)."""
    connection = ",".join(request.headers.getall("Connection", [])).lower()
    return "upgrade" in connection and request.headers.get("Upgrade", "").strip().lower() == protocol


def offered_websocket_protocols(request: web.Request) -> list[str]:
    """Subprotocols that the client offers, in its order."""
    lines = request.headers.getall("Sec-WebSocket-Protocol", [])
    return [part.strip() for line in lines for part in line.split(",") if part.strip()]


def check_websocket_protocols(request: web.Request, protocols: tuple[str, ...]) -> None:
    """Raises ApiError (400) when the client offers subprotocols, but none of these."""
    offered = offered_websocket_protocols(request)
    if offered and not set(offered) & set(protocols):
        supported = ", ".join(protocols)
        raise errors.bad_request(f"none of the WebSocket protocols is supported; supported are: {supported}")


async def open_websocket(request: web.Request, protocols: tuple[str, ...]) -> web.WebSocketResponse:
    """Answer 101 and speak WebSocket; a client that offers no subprotocol is content with none.

    Raises:
        ApiError: 400 when it offers only others.
        web.HTTPException: The handshake is no good.
    """
    check_websocket_protocols(request, protocols)
    socket = web.WebSocketResponse(
        protocols=protocols,
        max_msg_size=_MAX_MESSAGE_BYTES,
        compress=False,
        timeout=_CLOSE_TIMEOUT_S,
        autoclose=False,
    )
    await socket.prepare(request)
    return socket


class WebSocketPipe:
    """A :class:`BytePipe` in the binary messages of a WebSocket; their limits are of no meaning."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is not web.WSMsgType.BINARY:
                return b""
            if message.data:
                return bytes(message.data)

    async def write(self, data: bytes) -> None:
        async with give_up_on_stall():
            await self._socket.send_bytes(data)

    async def close(self) -> None:
        await self._socket.close()
