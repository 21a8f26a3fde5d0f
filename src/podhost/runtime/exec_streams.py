"""Streams of a process that runs in a container: bounded buffers that the event loop fills and empties."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from typing import Literal

StreamName = Literal["stdout", "stderr"]
_CHUNK_BYTES = 1 << 16
_BUFFER_BYTES = 1 << 18


class OutputReader:
    """Reads several descriptors into one queue.

    Reading pauses while the buffer is full: the process then waits in its own write.
    """

    def __init__(self, fds: dict[int, StreamName]) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[tuple[StreamName, bytes]] = deque()
        self._buffered_bytes = 0
        self._open = dict(fds)
        self._paused = False
        self._changed = asyncio.Event()
        for fd in self._open:
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._on_readable, fd)

    @property
    def is_open(self) -> bool:
        """Whether more may come from outside."""
        return bool(self._open)

    async def read(self) -> tuple[StreamName, bytes] | None:
        """Next chunk; ``None`` when all has ended."""
        while not self._chunks:
            if not self._open:
                return None
            self._changed.clear()
            await self._changed.wait()
        name, data = self._chunks.popleft()
        self._buffered_bytes -= len(data)
        if self._paused and self._buffered_bytes < _BUFFER_BYTES:
            self._paused = False
            for fd in self._open:
                self._loop.add_reader(fd, self._on_readable, fd)
        return name, data

    def push(self, name: StreamName, data: bytes) -> None:
        """Put a chunk of our own at the end."""
        self._chunks.append((name, data))
        self._buffered_bytes += len(data)
        self._changed.set()

    async def wait_ended(self) -> None:
        """Wait until nothing more comes from outside; what is buffered may still be unread."""
        while self._open:
            self._changed.clear()
            await self._changed.wait()

    def finish(self) -> None:
        """Take what is in the pipes now and close them: whoever still holds the other end is not waited for."""
        for fd in list(self._open):
            while fd in self._open and self._read_once(fd):
                pass
            self._close(fd)

    def abort(self) -> None:
        """Close everything and forget what was not read."""
        for fd in list(self._open):
            self._close(fd)
        self._chunks.clear()
        self._buffered_bytes = 0

    def _on_readable(self, fd: int) -> None:
        self._read_once(fd)
        if self._buffered_bytes >= _BUFFER_BYTES and not self._paused:
            self._paused = True
            for other in self._open:
                self._loop.remove_reader(other)

    def _read_once(self, fd: int) -> bool:
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal's end
                raise
            data = b""
        if not data:
            self._close(fd)
            return False
        self.push(self._open[fd], data)
        return True

    def _close(self, fd: int) -> None:
        if self._open.pop(fd, None) is not None:
            self._loop.remove_reader(fd)
            os.close(fd)
            self._changed.set()


class InputWriter:
    """Writes to a pipe or terminal; owns the descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        os.set_blocking(fd, False)

    async def write(self, data: bytes) -> None:
        """Returns when all is written, or when nobody reads any more."""
        async with self._lock:
            view = memoryview(data)
            while view and self._fd >= 0:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    await self._wait_writable()
                except OSError as error:
                    if error.errno not in (errno.EPIPE, errno.EIO):
                        raise
                    self.close()

    async def close_after_writes(self) -> None:
        """End of input, behind what is still being written."""
        async with self._lock:
            self.close()

    def close(self) -> None:
        """Idempotent; a write that waits gives up."""
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._wake.set()

    async def _wait_writable(self) -> None:
        self._wake.clear()
        fd = self._fd
        self._loop.add_writer(fd, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if self._fd == fd:
                self._loop.remove_writer(fd)
