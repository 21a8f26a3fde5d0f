"""``exec`` and ``attach`` over a WebSocket with Kubernetes' channels (``v5.channel.k8s.io``, ``v4.channel.k8s.io``).

A message's first byte is its channel.  Version 5 adds channel 255, which closes another: the end of stdin.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from podhost.client import ws
from podhost.client.api_client import ApiClient, ApiStatusError, resource_path
from podhost.client.upgrade import open_websocket
from podhost.errors import UnavailableError

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"


def exec_target(
    namespace: str,
    pod: str,
    *,
    container: str,
    command: Sequence[str],
    tty: bool,
    stdin: bool,
    verb: str = "exec",
) -> str:
    """Path and query of the request."""
    pairs = [("command", word) for word in command]
    if container:
        pairs.append(("container", container))
    pairs += [("stdin", str(stdin).lower()), ("stdout", "true"), ("stderr", str(not tty).lower())]
    pairs.append(("tty", str(tty).lower()))
    return resource_path("v1", "pods", namespace=namespace, name=pod, subresource=verb) + "?" + urlencode(pairs)


def exit_code_of(status: Mapping[str, Any]) -> int:
    """Exit code in the Status of the error channel.  Raises ApiStatusError when the command was not run at all."""
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        for cause in (status.get("details") or {}).get("causes") or []:
            if cause.get("reason") == "ExitCode":
                return int(cause.get("message") or 1)
    raise ApiStatusError(status)


class ExecStream:
    """An open stream.  Writing is allowed from several threads, reading from one."""

    def __init__(self, sock: socket.socket, protocol: str, first: bytes) -> None:
        self.protocol = protocol
        self._sock = sock
        self._parser = ws.FrameParser()
        self._pending = self._parser.feed(first) if first else []
        self._lock = threading.Lock()

    @classmethod
    def open(cls, client: ApiClient, target: str) -> ExecStream:
        """Connect and upgrade.

        Raises:
            ApiStatusError: The server refuses (no such pod or container, forbidden …).
            UnavailableError: It does not answer, or not as a WebSocket server.
        """
        return cls(*open_websocket(client, target, (V5, V4)))

    def send(self, channel: int, data: bytes) -> None:
        """One message to a channel; a stream that has ended swallows it."""
        self._send_frame(ws.Opcode.BINARY, bytes([channel]) + data)

    def close_stdin(self) -> None:
        """End of stdin.  Version 4 cannot say so; there the stream's end is stdin's end."""
        if self.protocol == V5:
            self.send(CLOSE, bytes([STDIN]))

    def resize(self, width: int, height: int) -> None:
        """Size of the terminal in characters."""
        self.send(RESIZE, json.dumps({"Width": width, "Height": height}).encode())

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(channel, data) until the server ends the stream."""
        while True:
            for message in self._pending:
                if message.opcode is ws.Opcode.CLOSE:
                    self._send_frame(ws.Opcode.CLOSE, message.data[:2])
                    return
                if message.opcode is ws.Opcode.PING:
                    self._send_frame(ws.Opcode.PONG, message.data)
                elif message.opcode in (ws.Opcode.BINARY, ws.Opcode.TEXT) and message.data:
                    yield message.data[0], message.data[1:]
            try:
                data = self._sock.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            try:
                self._pending = self._parser.feed(data)
            except ws.ProtocolError as error:
                raise UnavailableError(f"cannot read the stream: {error}") from error

    def close(self) -> None:
        """Leave; the server then ends an exec's command."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _send_frame(self, opcode: ws.Opcode, payload: bytes) -> None:
        frame = ws.encode_frame(opcode, payload, mask=os.urandom(4))
        with self._lock, contextlib.suppress(OSError):
            self._sock.sendall(frame)
