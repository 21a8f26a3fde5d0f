"""The HTTP server's connections: counted, and those beyond the limits closed at once."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from podhost.apiserver.limits import ConnectionCount, RequestLimits

_log = logging.getLogger(__name__)
_COMPLAINT_EVERY_S = 60.0


class BoundedRunner(web.AppRunner):
    """An application's runner whose connections are limited in number, and in how long they may say nothing."""

    def __init__(self, app: web.Application, limits: RequestLimits, **options: Any) -> None:
        super().__init__(app, keepalive_timeout=limits.idle_s, **options)
        self._count = ConnectionCount(limits)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        _Guard(server, self._count).install()
        return server


class _Guard:
    """Stands between the server and its connections."""

    def __init__(self, server: web.Server, count: ConnectionCount) -> None:
        self._server = server
        self._count = count
        self._undo: dict[RequestHandler, Callable[[], None]] = {}
        self._complained_at = float("-inf")
        self._made = server.connection_made
        self._lost = server.connection_lost

    def install(self) -> None:
        # The server offers no hook; connections call these methods of it.
        self._server.connection_made = self._on_made  # type: ignore[method-assign]
        self._server.connection_lost = self._on_lost  # type: ignore[method-assign]

    def _on_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self._made(handler, transport)
        peer = name_peer(transport)
        undo = self._count.take(peer)
        if undo is None:
            self._complain(peer)
            transport.abort()
        else:
            self._undo[handler] = undo

    def _on_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._undo.pop(handler, lambda: None)()
        self._lost(handler, exc)

    def _complain(self, peer: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= _COMPLAINT_EVERY_S:
            self._complained_at = now
            _log.warning("too many connections: closing new ones of %s", peer)


def name_peer(transport: asyncio.BaseTransport) -> str:
    """The IP address on the other side; all users of the unix socket are one peer."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return "the unix socket"
    address = transport.get_extra_info("peername")
    return str(address[0]) if isinstance(address, tuple) and address else "unknown"
