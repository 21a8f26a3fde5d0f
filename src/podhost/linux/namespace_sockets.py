"""Sockets inside network namespaces, for code of the event loop.

A socket belongs for life to the namespace it was made in, so only its making needs a thread there.  One thread
serves all: it enters a namespace, makes the socket and goes back at once, lest it keep the namespace of a pod that
is gone.  It is started with the first socket.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from podhost.linux import syscalls as sys


@dataclass(frozen=True, slots=True)
class _Order:
    netns: Path
    family: socket.AddressFamily
    loop: asyncio.AbstractEventLoop
    result: asyncio.Future[socket.socket]


class NamespaceSockets:
    """Makes TCP sockets in any network namespace."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def make(self, netns: Path | None, family: socket.AddressFamily) -> socket.socket:
        """A non-blocking stream socket in ``netns``; ``None``: in the daemon's own.  Raises OSError."""
        if netns is None:
            return _make_socket(family)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, name="podhost-sockets", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[socket.socket] = loop.create_future()
        self._orders.put(_Order(netns, family, loop, result))
        return await result

    def close(self) -> None:
        """End the thread.  Idempotent."""
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        home_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            while (order := self._orders.get()) is not None:
                made: socket.socket | OSError
                try:
                    made = _make_inside(order)
                except OSError as error:
                    made = error
                finally:
                    # If that fails the thread ends with the error, and the next order gets a new one.
                    sys.setns(home_fd, sys.CLONE_NEWNET)
                try:
                    order.loop.call_soon_threadsafe(_deliver, order.result, made)
                except RuntimeError:  # The loop is closed.
                    _discard(made)
        finally:
            os.close(home_fd)


def _make_inside(order: _Order) -> socket.socket:
    fd = os.open(order.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sys.setns(fd, sys.CLONE_NEWNET)
    finally:
        os.close(fd)
    return _make_socket(order.family)


def _make_socket(family: socket.AddressFamily) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


def _deliver(result: asyncio.Future[socket.socket], made: socket.socket | OSError) -> None:
    if result.done():  # Whoever asked has gone.
        _discard(made)
    elif isinstance(made, OSError):
        result.set_exception(made)
    else:
        result.set_result(made)


def _discard(made: socket.socket | OSError) -> None:
    if isinstance(made, socket.socket):
        made.close()
