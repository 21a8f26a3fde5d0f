"""Notice that the other side of a connection has gone, even while nobody reads from it.

An event loop that has paused reading learns of a closed connection only by its next write.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable


class HangupWatch:
    """Calls ``on_hangup`` once, when the peer of a stream socket has shut down or closed its side."""

    def __init__(self, sock: socket.socket, on_hangup: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_hangup = on_hangup
        # An epoll of our own, as the loop's reports readable data, too; it becomes readable itself.
        self._epoll = select.epoll()
        self._epoll.register(sock.fileno(), select.EPOLLRDHUP)
        self._loop.add_reader(self._epoll.fileno(), self._on_event)

    def close(self) -> None:
        """Watch no longer.  Idempotent."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _on_event(self) -> None:
        self.close()
        self._on_hangup()
