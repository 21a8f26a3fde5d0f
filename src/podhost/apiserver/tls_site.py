"""TLS connections: counted from the first byte on, and bounded in how long their handshake may take.

asyncio's own servers say nothing of a connection before its handshake is complete, so that nobody could count those
of a client that begins many and completes none.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

from podhost.aiokit.tasks import Tasks
from podhost.apiserver.connections import BoundedServer


class TlsSite(web.BaseSite):
    """Serves a runner's application on a listening TCP socket."""

    __slots__ = ("_context", "_sock", "_tasks")

    def __init__(self, runner: web.BaseRunner, sock: socket.socket, context: ssl.SSLContext, *, backlog: int) -> None:
        super().__init__(runner, backlog=backlog)
        self._sock = sock
        self._context = context
        self._tasks = Tasks()

    @property
    def name(self) -> str:
        address, port = self._sock.getsockname()[:2]
        return f"https://{address}:{port}"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert isinstance(server, BoundedServer)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Handshake(server, self._context, self._tasks), sock=self._sock, backlog=self._backlog
        )

    async def stop(self) -> None:
        await super().stop()
        await self._tasks.cancel_all()


class _Handshake(asyncio.Protocol):
    """A connection before it speaks HTTP."""

    def __init__(self, server: BoundedServer, context: ssl.SSLContext, tasks: Tasks) -> None:
        self._server = server
        self._context = context
        self._tasks = tasks
        self._early = bytearray()
        """What came right behind the handshake."""
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        undo = self._server.admit(transport)
        if undo is None:
            transport.abort()
            return
        self._tasks.spawn(self._run(transport, undo), name="TLS handshake")

    async def _run(self, transport: asyncio.Transport, undo: Callable[[], None]) -> None:
        timeout_s = self._server.limits.handshake_s
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=timeout_s
            )
        except OSError:
            transport.abort()  # no TLS, or not in time
            return
        finally:
            undo()  # the HTTP server counts the connection from its own beginning on, which is in this same moment
        if encrypted is None or self._lost:
            return
        handler = self._server()
        encrypted.set_protocol(handler)
        handler.connection_made(encrypted)
        if self._early:
            handler.data_received(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
