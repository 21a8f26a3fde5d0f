"""File descriptors with an owner, and reading them in the event loop."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType

_CHUNK_BYTES = 1 << 16


class Descriptors:
    """Closes what it owns at the end of a ``with`` block."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def __enter__(self) -> Descriptors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close_all()

    def own(self, fd: int) -> int:
        self._open.add(fd)
        return fd

    def pipe(self) -> tuple[int, int]:
        """Read end, write end; close-on-exec."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        return self.own(read_fd), self.own(write_fd)

    def release(self, fd: int) -> int:
        """Hand a descriptor to a new owner."""
        self._open.discard(fd)
        return fd

    def close(self, fd: int) -> None:
        """Idempotent."""
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)

    def close_all(self) -> None:
        for fd in list(self._open):
            self.close(fd)


async def wait_readable(fd: int) -> None:
    """Wait until a read would not block."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()

    def on_readable() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(fd, on_readable)
    try:
        await readable
    finally:
        loop.remove_reader(fd)


async def wait_writable(fd: int) -> None:
    """Wait until a write would take something."""
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()

    def on_writable() -> None:
        if not writable.done():
            writable.set_result(None)

    loop.add_writer(fd, on_writable)
    try:
        await writable
    finally:
        loop.remove_writer(fd)


async def read_to_end(fd: int, *, until: bytes | None = None) -> bytes:
    """Read a pipe up to its end, or until ``until`` has come."""
    os.set_blocking(fd, False)
    data = bytearray()
    while until is None or until not in data:
        await wait_readable(fd)
        try:
            chunk = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            continue
        if not chunk:
            break
        data += chunk
    return bytes(data)
