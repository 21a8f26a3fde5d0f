"""Attach: conmon's socket beside a container's own stdio.

conmon writes each piece of output to every client and blocks on one that does not read, which would freeze the
container: so the socket is always drained, into a bounded buffer; a client that lets it overflow is dropped.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import Literal

from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerState
from podhost.errors import ConflictError, UnavailableError
from podhost.runtime.conmon import build_resize_message, write_control
from podhost.runtime.context import RuntimeContext
from podhost.runtime.descriptors import wait_writable
from podhost.runtime.records import compute_container_state
from podhost.runtime.settings import BundlePaths

_MAX_MESSAGE_BYTES = 1 << 16
_MAX_BUFFERED_BYTES = 4 << 20
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {2: "stdout", 3: "stderr"}
_STDIN_CHUNK_BYTES = 8192
"""conmon reads pieces of this size; a longer packet would be cut."""


class AttachedContainer:
    """An attached client (see :class:`podhost.cri.runtime.ExecSession`)."""

    def __init__(self, connection: socket.socket, bundle: BundlePaths, *, stdin: bool) -> None:
        self._connection = connection
        self._bundle = bundle
        self._stdin = stdin
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[tuple[Literal["stdout", "stderr"], bytes]] = deque()
        self._buffered_bytes = 0
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._loop.add_reader(connection.fileno(), self._on_readable)

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        while not self._chunks:
            if self._ended.is_set():
                return None
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self._buffered_bytes -= len(chunk[1])
        return chunk

    async def write_stdin(self, data: bytes) -> None:
        view = memoryview(data) if self._stdin else memoryview(b"")
        while view and not self._ended.is_set():
            try:
                view = view[self._connection.send(view[:_STDIN_CHUNK_BYTES]) :]
            except BlockingIOError:
                await wait_writable(self._connection.fileno())
            except OSError:
                return

    async def close_stdin(self) -> None:
        if self._stdin and not self._ended.is_set():
            try:
                self._connection.shutdown(socket.SHUT_WR)
            except OSError:
                return

    async def resize(self, width: int, height: int) -> None:
        try:
            await asyncio.to_thread(write_control, self._bundle.control, build_resize_message(width, height))
        except OSError:
            return  # it has ended

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    async def close(self) -> None:
        self._end()
        self._chunks.clear()

    def _on_readable(self) -> None:
        try:
            message = self._connection.recv(_MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._end()
            return
        name = _STREAMS.get(message[0])
        if name is None or len(message) == 1:
            return
        self._chunks.append((name, message[1:]))
        self._buffered_bytes += len(message) - 1
        self._changed.set()
        if self._buffered_bytes > _MAX_BUFFERED_BYTES:
            self._end()

    def _end(self) -> None:
        if not self._ended.is_set():
            self._loop.remove_reader(self._connection.fileno())
            self._connection.close()
            self._ended.set()
            self._changed.set()


async def attach(ctx: RuntimeContext, container_id: ContainerId, *, stdin: bool) -> AttachedContainer:
    """Connect to a running container's stdio.

    Raises:
        NotFoundError: There is no such container.
        ConflictError: It does not run.
        UnavailableError: Its monitor does not answer.
    """
    entry = ctx.registry.container(container_id)
    if compute_container_state(entry.record) is not ContainerState.RUNNING:
        raise ConflictError(f'cannot attach to container "{container_id}": it is not running')
    bundle = ctx.paths.bundle(container_id)
    try:
        connection = await asyncio.to_thread(_connect, bundle)
    except OSError as error:
        raise UnavailableError(f'cannot attach to container "{container_id}": {error}') from error
    return AttachedContainer(connection, bundle, stdin=stdin and entry.record.config.stdin)


def _connect(bundle: BundlePaths) -> socket.socket:
    directory = os.open(bundle.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        # By descriptor, as a socket's path may only have 107 bytes.
        connection.connect(f"/proc/self/fd/{directory}/{bundle.attach_socket.name}")
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection
