"""Streams of a SPDY connection for handlers: the effects around :mod:`podhost.wire.spdy_session`.

What arrives is kept until a handler reads it.  A peer that keeps windows sends no more than those allow; others are
held by not reading from the connection while too much is unread, on all of its streams together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from podhost.apiserver.upgrade import BytePipe
from podhost.wire.spdy_frames import ResetStatus, SpdyError
from podhost.wire.spdy_session import (
    DataReceived,
    Event,
    PeerLeaves,
    SpdySession,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowChanged,
)

_MAX_UNREAD_BYTES = 1 << 20
_FRAME_BYTES = 1 << 15
_LINGER_S = 2.0


class SpdyStream:
    """One stream of a connection."""

    def __init__(self, connection: SpdyConnection, stream_id: int, headers: Mapping[str, str]) -> None:
        self.stream_id = stream_id
        self.headers = headers
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._broken = False
        self._changed = asyncio.Event()

    async def read(self) -> bytes:
        """Next bytes; empty at the end.  Raises ConnectionError when the stream was broken off."""
        while not self._chunks:
            if self._broken:
                raise ConnectionResetError("the client broke the stream off")
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._chunks.popleft()
        await self._connection.on_consumed(self.stream_id, len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Waits while the client does not read.  Raises ConnectionError when it wants no more."""
        await self._connection.send(self.stream_id, data)

    async def write_eof(self) -> None:
        """Nothing more follows from us.  Idempotent."""
        await self._connection.finish(self.stream_id)

    async def reset(self, status: ResetStatus = ResetStatus.CANCEL) -> None:
        """Break it off.  Idempotent."""
        self.on_reset()
        await self._connection.reset(self.stream_id, status)

    # -- called by the connection -----------------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        self._chunks.append(data)
        self._changed.set()

    def on_end(self) -> None:
        self._ended = True
        self._changed.set()

    def on_reset(self) -> None:
        self._broken = True
        self._connection.forget_unread(sum(map(len, self._chunks)))
        self._chunks.clear()
        self._changed.set()


class SpdyConnection:
    """The server's end of a connection.  :meth:`run` must be running for anything to move."""

    def __init__(self, pipe: BytePipe) -> None:
        self._pipe = pipe
        self._session = SpdySession(server=True)
        self._streams: dict[int, SpdyStream] = {}
        self._opened: deque[SpdyStream] = deque()
        self._arrived = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._unread_bytes = 0
        self._gone = False
        self._leaving = False
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Take in what the client sends, until it leaves or breaks the protocol."""
        try:
            while not self._gone and (data := await self._pipe.read()):
                for event in self._session.receive(data):
                    self._on_event(event)
                await self._flush()
                await self._may_read.wait()
        except (SpdyError, ConnectionError):
            pass  # as at the end of the connection; the peer is told why
        finally:
            self._end()
        try:
            await self._flush()
        except ConnectionError:
            return

    async def accept(self) -> SpdyStream | None:
        """The next stream that the client opens, to be answered with :meth:`reply` or ``reset``; ``None``: no more."""
        while not self._opened:
            if self._gone:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._opened.popleft()

    async def reply(self, stream: SpdyStream) -> None:
        """Accept a stream.  Raises ConnectionError when the client has gone."""
        self._session.reply(stream.stream_id)
        await self._flush()

    async def wait_gone(self) -> None:
        """Until the client has left, or has broken the protocol."""
        await self._ended.wait()

    async def leave(self) -> None:
        """Say goodbye, and wait a moment for the client to go.

        Closing at once with something unread would have the kernel throw away what the client has not read yet.
        """
        self._leaving = True
        self._may_read.set()
        try:
            if not self._gone:
                self._session.go_away()
                await self._flush()
            async with asyncio.timeout(_LINGER_S):
                await self._ended.wait()
                while await self._pipe.read():
                    pass
        except (ConnectionError, TimeoutError):
            pass
        await self._pipe.close()

    # -- used by the streams ----------------------------------------------------------------------------------

    async def send(self, stream_id: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = min(self._session.sendable_bytes(stream_id), _FRAME_BYTES, len(view))
            if count == 0:
                if self._gone or not self._session.can_send(stream_id):
                    raise ConnectionResetError("the client broke the stream off")
                self._may_send.clear()
                await self._may_send.wait()
                continue
            self._session.send_data(stream_id, bytes(view[:count]))
            view = view[count:]
            await self._flush()

    async def finish(self, stream_id: int) -> None:
        self._session.send_data(stream_id, b"", fin=True)
        self._forget_if_closed(stream_id)
        await self._flush()

    async def reset(self, stream_id: int, status: ResetStatus) -> None:
        self._streams.pop(stream_id, None)
        self._session.reset(stream_id, status)
        self._may_send.set()
        await self._flush()

    async def on_consumed(self, stream_id: int, count: int) -> None:
        self.forget_unread(count)
        self._session.consume(stream_id, count)
        try:
            await self._flush()
        except ConnectionError:
            return  # whoever reads learns of it at the end

    def forget_unread(self, count: int) -> None:
        self._unread_bytes -= count
        if self._unread_bytes < _MAX_UNREAD_BYTES:
            self._may_read.set()

    # -- inside -----------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case StreamOpened(stream_id, headers):
                stream = self._streams[stream_id] = SpdyStream(self, stream_id, headers)
                self._opened.append(stream)
                self._arrived.set()
            case DataReceived() if self._leaving:
                pass
            case DataReceived(stream_id, data) if stream_id in self._streams:
                self._unread_bytes += len(data)
                self._streams[stream_id].on_data(data)
                if self._unread_bytes >= _MAX_UNREAD_BYTES:
                    self._may_read.clear()
            case StreamEnded(stream_id) if stream_id in self._streams:
                self._streams[stream_id].on_end()
                self._forget_if_closed(stream_id)
            case StreamReset(stream_id) if stream_id in self._streams:
                self._streams.pop(stream_id).on_reset()
                self._may_send.set()
            case WindowChanged():
                self._may_send.set()
            case PeerLeaves():
                self._end()

    def _forget_if_closed(self, stream_id: int) -> None:
        """Nothing more can come for it; a handler may still hold the stream, with what is unread."""
        if not self._session.is_open(stream_id):
            self._streams.pop(stream_id, None)

    def _end(self) -> None:
        self._gone = True
        for stream in self._streams.values():
            stream.on_reset()
        self._streams.clear()
        self._arrived.set()
        self._may_send.set()
        self._may_read.set()
        self._ended.set()

    async def _flush(self) -> None:
        if data := self._session.take_output():
            await self._pipe.write(data)
