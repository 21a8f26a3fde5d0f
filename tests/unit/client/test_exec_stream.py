"""exec over a WebSocket, against a server that speaks the frames of the test."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from podhost.client import ApiStatusError
from podhost.client.exec_stream import (
    ERROR,
    STDERR,
    STDIN,
    STDOUT,
    V4,
    V5,
    ExecStream,
    exec_target,
    exit_code_of,
)
from podhost.client.ws import FrameParser, Opcode, accept_value, encode_frame
from podhost.errors import UnavailableError


def frame(channel: int, data: bytes) -> bytes:
    return encode_frame(Opcode.BINARY, bytes([channel]) + data)


def upgrade(protocol: str, script: Callable[[socket.socket], None]) -> Any:
    """A handler that upgrades, runs ``script`` on the socket and leaves."""

    def serve(request: Any, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        handler.send_header("Sec-WebSocket-Accept", accept_value(request.headers["Sec-WebSocket-Key"]))
        handler.send_header("Sec-WebSocket-Protocol", protocol)
        handler.end_headers()
        handler.wfile.flush()
        script(handler.connection)
        handler.close_connection = True

    return serve


def test_target_names_command_and_streams() -> None:
    target = exec_target("ns", "mc1", container="1st", command=("ls", "-l"), tty=False, stdin=True)
    assert target == (
        "/api/v1/namespaces/ns/pods/mc1/exec?command=ls&command=-l&container=1st"
        "&stdin=true&stdout=true&stderr=true&tty=false"
    )


def test_terminal_has_no_stderr_of_its_own() -> None:
    assert "stderr=false" in exec_target("ns", "p", container="", command=("sh",), tty=True, stdin=True)


def test_channels_are_told_apart(fake_server: Any) -> None:
    status = json.dumps({"status": "Success"}).encode()
    data = (
        frame(STDOUT, b"out") + frame(STDERR, b"err") + frame(ERROR, status) + encode_frame(Opcode.CLOSE, b"\x03\xe8")
    )
    fake_server.handler = upgrade(V5, lambda sock: sock.sendall(data))
    stream = ExecStream.open(fake_server.client, "/exec")
    assert list(stream.messages()) == [(STDOUT, b"out"), (STDERR, b"err"), (ERROR, status)]
    stream.close()


@pytest.mark.parametrize(("protocol", "sent"), [(V5, [b"\x00hi", b"\xff\x00"]), (V4, [b"\x00hi"])])
def test_end_of_stdin_is_a_close_message_in_version_5_only(fake_server: Any, protocol: str, sent: list[bytes]) -> None:
    received: list[bytes] = []

    def script(sock: socket.socket) -> None:
        parser = FrameParser()
        while len(received) < len(sent):
            received.extend(message.data for message in parser.feed(sock.recv(4096)))
        sock.sendall(frame(ERROR, b'{"status": "Success"}'))

    fake_server.handler = upgrade(protocol, script)
    stream = ExecStream.open(fake_server.client, "/exec")
    stream.send(STDIN, b"hi")
    stream.close_stdin()
    assert [channel for channel, _ in stream.messages()] == [ERROR]
    stream.close()
    assert received == sent


def test_refusal_is_the_servers_status(fake_server: Any) -> None:
    def serve(request: Any, handler: BaseHTTPRequestHandler) -> None:
        data = json.dumps({"kind": "Status", "code": 404, "message": 'pods "x" not found'}).encode()
        handler.send_response(404)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    fake_server.handler = serve
    with pytest.raises(ApiStatusError, match='pods "x" not found'):
        ExecStream.open(fake_server.client, "/exec")


def test_wrong_protocol_is_refused(fake_server: Any) -> None:
    fake_server.handler = upgrade("v9", lambda sock: None)
    with pytest.raises(UnavailableError, match="protocol 'v9'"):
        ExecStream.open(fake_server.client, "/exec")


def test_exit_code_is_in_the_status() -> None:
    causes = [{"reason": "ExitCode", "message": "7"}]
    assert exit_code_of({"status": "Success"}) == 0
    assert exit_code_of({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}) == 7
    with pytest.raises(ApiStatusError, match="no such file"):
        exit_code_of({"status": "Failure", "reason": "InternalError", "message": "no such file"})
