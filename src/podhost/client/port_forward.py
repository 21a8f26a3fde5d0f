"""Connections to ports of a pod, many over one request, as kubectl makes them.

SPDY inside a WebSocket, or after a plain upgrade where the server knows no better.  One thread reads, one writes;
everybody else waits on conditions of one lock.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections import deque

from podhost.client import ws
from podhost.client.api_client import ApiClient, ApiStatusError, resource_path
from podhost.client.upgrade import open_spdy, open_websocket
from podhost.errors import UnavailableError
from podhost.wire.spdy_frames import SpdyError
from podhost.wire.spdy_session import (
    DataReceived,
    Event,
    PeerLeaves,
    SpdySession,
    StreamEnded,
    StreamReset,
    WindowChanged,
)

_TUNNEL, _PLAIN = "SPDY/3.1+portforward.k8s.io", "portforward.k8s.io"
_NO_FALLBACK = (401, 404)
_FRAME_BYTES = 1 << 15
_MAX_UNSENT_BYTES = 1 << 20
_MAX_UNREAD_BYTES = 4 << 20
"""Of one connection, where the server does not keep to windows: then nothing more is read until it has been taken."""

_MAX_TOLD_BYTES = 1 << 16


class _WebSocketPipe:
    """Bytes in binary messages."""

    def __init__(self, sock: socket.socket, first: bytes) -> None:
        self._sock = sock
        self._parser = ws.FrameParser()
        self._messages = deque(self._parser.feed(first) if first else ())

    def recv(self) -> bytes:
        """Empty at the end."""
        while True:
            while self._messages:
                message = self._messages.popleft()
                if message.opcode is ws.Opcode.CLOSE:
                    return b""
                if message.opcode is ws.Opcode.PING:
                    self._send(ws.Opcode.PONG, message.data)
                elif message.opcode is ws.Opcode.BINARY and message.data:
                    return message.data
            data = self._sock.recv(1 << 16)
            if not data:
                return b""
            self._messages += self._parser.feed(data)

    def send(self, data: bytes) -> None:
        self._send(ws.Opcode.BINARY, data)

    def _send(self, opcode: ws.Opcode, data: bytes) -> None:
        self._sock.sendall(ws.encode_frame(opcode, data, mask=os.urandom(4)))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class _PlainPipe:
    """Bytes as they are."""

    def __init__(self, sock: socket.socket, first: bytes) -> None:
        self._sock = sock
        self._first = first

    def recv(self) -> bytes:
        first, self._first = self._first, b""
        return first or self._sock.recv(1 << 16)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class PodConnection:
    """One connection into a pod."""

    def __init__(self, forward: PortForward, data_id: int, error_id: int) -> None:
        self._forward = forward
        self.data_id = data_id
        self.error_id = error_id
        self.chunks: deque[bytes] = deque()
        self.unread_bytes = 0
        self.ended = False
        self.broken = False
        self.told = bytearray()
        self.error_ended = False

    def read(self) -> bytes:
        """Next bytes; empty at the end.  Raises ConnectionError when it was broken off."""
        return self._forward.read(self)

    def write(self, data: bytes) -> None:
        """Waits while the pod does not read.  Raises ConnectionError when it has gone."""
        self._forward.write(self, data)

    def write_eof(self) -> None:
        """Half-close: the pod may go on sending."""
        self._forward.finish(self)

    def wait_over(self, timeout_s: float | None = None) -> str:
        """Until the server has done with it, both directions; what it says went wrong, or nothing."""
        return self._forward.wait_over(self, timeout_s)

    def close(self) -> None:
        """End it.  Idempotent."""
        self._forward.end(self)


class PortForward:
    """An open request.  Its connections may be used by several threads, each direction of one by one thread."""

    def __init__(self, pipe: _WebSocketPipe | _PlainPipe) -> None:
        self._pipe = pipe
        self._session = SpdySession(server=False)
        self._changed = threading.Condition()
        self._streams: dict[int, PodConnection] = {}
        self._numbers = itertools.count()
        self._unsent = bytearray()
        self._ended = False
        for target, name in ((self._run_reader, "port-forward reader"), (self._run_writer, "port-forward writer")):
            threading.Thread(target=target, name=name, daemon=True).start()

    @classmethod
    def open(cls, client: ApiClient, namespace: str, pod: str) -> PortForward:
        """Connect and upgrade.

        Raises:
            ApiStatusError: The server refuses (no such pod, forbidden …).
            UnavailableError: It does not answer.
        """
        target = resource_path("v1", "pods", namespace=namespace, name=pod, subresource="portforward")
        try:
            sock, _, first = open_websocket(client, target, (_TUNNEL,))
        except ApiStatusError as error:
            if error.code in _NO_FALLBACK:
                raise
            # A server before 1.31 refuses the WebSocket; one that refuses both tells the better reason now.
            return cls(_PlainPipe(*open_spdy(client, target, _PLAIN)))
        return cls(_WebSocketPipe(sock, first))

    @property
    def ended(self) -> bool:
        """Whether the server has closed it, or the network has."""
        return self._ended

    def connect(self, port: int) -> PodConnection:
        """A new connection; whether somebody listens shows later.  Raises UnavailableError at the end of it all."""
        headers = {"port": str(port), "requestID": str(next(self._numbers))}
        with self._changed:
            if self._ended:
                raise UnavailableError("cannot connect to the pod: the connection to the API server has ended")
            error_id = self._session.open_stream({**headers, "streamType": "error"}, fin=True)
            data_id = self._session.open_stream({**headers, "streamType": "data"})
            connection = PodConnection(self, data_id, error_id)
            self._streams[data_id] = self._streams[error_id] = connection
            self._collect()
        return connection

    def close(self) -> None:
        with self._changed:
            self._end()
        self._pipe.close()

    # -- used by connections ----------------------------------------------------------------------------------

    def read(self, connection: PodConnection) -> bytes:
        with self._changed:
            while not connection.chunks:
                if connection.broken:
                    raise ConnectionResetError("the connection was broken off")
                if connection.ended:
                    return b""
                self._changed.wait()
            data = connection.chunks.popleft()
            connection.unread_bytes -= len(data)
            self._session.consume(connection.data_id, len(data))
            self._collect()
            return data

    def write(self, connection: PodConnection, data: bytes) -> None:
        view = memoryview(data)
        with self._changed:
            while view:
                if self._ended or connection.broken or not self._session.can_send(connection.data_id):
                    raise ConnectionResetError("the connection was broken off")
                count = min(self._session.sendable_bytes(connection.data_id), _FRAME_BYTES, len(view))
                if count == 0 or len(self._unsent) > _MAX_UNSENT_BYTES:
                    self._changed.wait()
                    continue
                self._session.send_data(connection.data_id, bytes(view[:count]))
                view = view[count:]
                self._collect()

    def finish(self, connection: PodConnection) -> None:
        with self._changed:
            self._session.send_data(connection.data_id, b"", fin=True)
            self._collect()

    def wait_over(self, connection: PodConnection, timeout_s: float | None) -> str:
        with self._changed:
            self._changed.wait_for(lambda: connection.error_ended or self._ended, timeout_s)
            return connection.told.decode(errors="replace").strip()

    def end(self, connection: PodConnection) -> None:
        with self._changed:
            connection.broken = True
            for stream_id in (connection.data_id, connection.error_id):
                self._session.reset(stream_id)
                self._streams.pop(stream_id, None)
            self._collect()

    # -- threads ----------------------------------------------------------------------------------------------

    def _run_reader(self) -> None:
        try:
            while data := self._pipe.recv():
                with self._changed:
                    for event in self._session.receive(data):
                        self._on_event(event)
                    self._collect()
                    while self._is_flooded() and not self._ended:
                        self._changed.wait()
                    if self._ended:
                        break
        except (OSError, SpdyError, ws.ProtocolError):
            pass  # as at its end
        with self._changed:
            self._end()

    def _run_writer(self) -> None:
        while True:
            with self._changed:
                while not self._unsent and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                data = bytes(self._unsent)
                self._unsent.clear()
                self._changed.notify_all()
            try:
                self._pipe.send(data)
            except OSError:
                with self._changed:
                    self._end()

    def _is_flooded(self) -> bool:
        return any(connection.unread_bytes > _MAX_UNREAD_BYTES for connection in self._streams.values())

    def _on_event(self, event: Event) -> None:
        match event:
            case DataReceived(stream_id, data) if stream_id in self._streams:
                connection = self._streams[stream_id]
                if stream_id == connection.data_id:
                    connection.chunks.append(data)
                    connection.unread_bytes += len(data)
                else:
                    connection.told += data[: _MAX_TOLD_BYTES - len(connection.told)]
                    self._session.consume(stream_id, len(data))
            case StreamEnded(stream_id) if stream_id in self._streams:
                self._mark_ended(self._streams[stream_id], stream_id)
            case StreamReset(stream_id) if stream_id in self._streams:
                connection = self._streams[stream_id]
                connection.broken = connection.broken or stream_id == connection.data_id
                self._mark_ended(connection, stream_id)
            case PeerLeaves():
                self._end()
            case WindowChanged():
                self._changed.notify_all()

    def _mark_ended(self, connection: PodConnection, stream_id: int) -> None:
        if stream_id == connection.data_id:
            connection.ended = True
        else:
            connection.error_ended = True

    def _collect(self) -> None:
        """Hand what the session has to say to the writer.  Called with the lock."""
        self._unsent += self._session.take_output()
        self._changed.notify_all()

    def _end(self) -> None:
        self._ended = True
        for connection in self._streams.values():
            connection.broken = connection.broken or not connection.ended
            connection.error_ended = True
        self._changed.notify_all()
