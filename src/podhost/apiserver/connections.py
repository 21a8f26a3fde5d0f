"""The HTTP server's connections: counted, and cut off beyond the limits.

aiohttp bounds what it keeps of a request, but neither all fields of a head together, nor how many clients there are,
nor how long one may leave unread what it was sent last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from podhost.apiserver.limits import ConnectionCount, RequestLimits

_log = logging.getLogger(__name__)
_COMPLAINT_EVERY_S = 60.0
UNIX_PEER = "the unix socket"
_LINGERING_S = 10.0
"""How long the rest of a refused body is read, so that the client sees the answer."""
_MAX_HEAD_BYTES = (1 << 20) + 4096
"""Of one request, as Go's HTTP server has it."""
_MAX_UNFINISHED_HEADS_BYTES = 64 << 20
"""Of all requests whose head has not come to its end."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedRunner(web.AppRunner):
    """An application's runner whose connections are limited in number, and in how long they may say nothing."""

    def __init__(self, app: web.Application, limits: RequestLimits, **options: Any) -> None:
        lingering_s = min(_LINGERING_S, limits.body_s)
        super().__init__(app, keepalive_timeout=limits.idle_s, lingering_time=lingering_s, **options)
        self._limits = limits

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return BoundedServer(
            made.request_handler,
            self._limits,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )


class BoundedServer(web.Server):
    """Makes a protocol for each connection, and knows them all."""

    def __init__(self, handler: Any, limits: RequestLimits, **options: Any) -> None:
        super().__init__(handler, **options)
        self.limits = limits
        self.unfinished_heads_bytes = 0
        self._count = ConnectionCount(limits)
        self._undo: dict[RequestHandler, Callable[[], None]] = {}
        self._complained_at = float("-inf")

    def __call__(self) -> RequestHandler:
        return BoundedHandler(self, loop=self._loop, **self._kwargs)

    def admit(self, transport: asyncio.BaseTransport) -> Callable[[], None] | None:
        """Count a connection; returns the undo, or ``None`` when there are too many."""
        peer = name_peer(transport)
        undo = self._count.take(peer)
        if undo is None:
            self._complain(peer)
        return undo

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        undo = self.admit(transport)
        if undo is None:
            transport.abort()
        else:
            self._undo[handler] = undo

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._undo.pop(handler, lambda: None)()
        super().connection_lost(handler, exc)

    def _complain(self, peer: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= _COMPLAINT_EVERY_S:
            self._complained_at = now
            _log.warning("too many connections: closing new ones of %s", peer)


class BoundedHandler(RequestHandler):
    """One connection."""

    __slots__ = ("_head_bytes", "_server")

    def __init__(self, server: BoundedServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._head_bytes = 0
        """Of a request whose head has not come to its end."""

    def data_received(self, data: bytes) -> None:
        count = self._request_count
        super().data_received(data)
        if self._request_count != count or self._is_in_body():
            self._count_head(0)
            return
        self._count_head(self._head_bytes + len(data))
        over = self._head_bytes > _MAX_HEAD_BYTES
        if (over or self._server.unfinished_heads_bytes > _MAX_UNFINISHED_HEADS_BYTES) and self.transport is not None:
            self.transport.write(_TOO_LARGE)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._count_head(0)
        super().connection_lost(exc)

    async def start(self) -> None:
        transport = self.transport
        try:
            await super().start()
        finally:
            # asyncio's TLS transport knows neither of these any more once its connection has ended.
            with contextlib.suppress(AttributeError):
                if transport is not None and transport.get_write_buffer_size():
                    # Closed, but open until the client has read what is left, which it may never do.
                    self._loop.call_later(self._server.limits.answer_s, _abort, transport)

    def _is_in_body(self) -> bool:
        """The head of the last request has come, and more of what follows it."""
        if self._upgraded:
            return True
        if self._messages:
            return not self._messages[-1][1].is_eof()
        return self._current_request is not None and not self._current_request.content.is_eof()

    def _count_head(self, size_bytes: int) -> None:
        self._server.unfinished_heads_bytes += size_bytes - self._head_bytes
        self._head_bytes = size_bytes


def _abort(transport: asyncio.Transport) -> None:
    with contextlib.suppress(AttributeError):
        transport.abort()


def name_peer(transport: asyncio.BaseTransport) -> str:
    """The IP address on the other side; all users of the unix socket are one peer."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return UNIX_PEER
    address = transport.get_extra_info("peername")
    return str(address[0]) if isinstance(address, tuple) and address else "unknown"
