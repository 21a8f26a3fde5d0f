"""The standard gRPC health check (``grpc.health.v1.Health/Check``) over HTTP/2, as a client.

The two messages are small enough to be written out: a request with one string field, an answer with one enum.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from podhost.kubelet.dial import DialError, build_unverified_tls, close_stream, dial, join_host_port, open_stream
from podhost.kubelet.go_format import format_duration, quote
from podhost.kubelet.http_request import KUBERNETES_VERSION
from podhost.kubelet.probe_state import Outcome, Verdict
from podhost.linux.namespace_sockets import NamespaceSockets
from podhost.wire.protobuf import encode_field

if TYPE_CHECKING:
    import h2.connection
    import h2.events

_CHUNK_BYTES = 1 << 16
_MAX_ANSWER_BYTES = 1 << 16
_FIRST_RETRY_S = 1.0
_RETRY_FACTOR = 1.6
_SERVING = 1
_STATUS_NAMES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
    "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip
_UNIMPLEMENTED = _CODES.index("Unimplemented")
_UNAVAILABLE = _CODES.index("Unavailable")


@dataclass(frozen=True, slots=True)
class GrpcTarget:
    """Where the health service listens, and what it is asked about."""

    host: str
    port: int
    service: str
    tls: bool

    @property
    def address(self) -> str:
        return join_host_port(self.host, self.port)


@dataclass(slots=True)
class _Answer:
    """What has arrived of the answer."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    broken: str = ""


async def check_grpc_health(
    sockets: NamespaceSockets, netns: Path | None, target: GrpcTarget, timeout_s: float
) -> Outcome:
    """Ask once; every failure is the container's."""
    connected = False
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await _connect(sockets, netns, target)
            connected = True
            try:
                answer = await _check(reader, writer, target)
            finally:
                close_stream(writer)
    except TimeoutError:
        limit = format_duration(timeout_s)
        if connected:
            return Outcome(Verdict.FAILURE, f"timeout: health rpc did not complete within {limit}")
        text = f"timeout: failed to connect service {quote(target.address)} within {limit}: context deadline exceeded"
        return Outcome(Verdict.FAILURE, text)
    return judge_answer(answer.headers, bytes(answer.body), answer.broken)


async def _connect(
    sockets: NamespaceSockets, netns: Path | None, target: GrpcTarget
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As gRPC does it: again and again until there is a connection; the caller's timeout ends it."""
    delay_s = _FIRST_RETRY_S
    while True:
        try:
            sock = await dial(sockets, netns, target.host, target.port)
            return await open_stream(sock, _unverified_tls() if target.tls else None, target.host)
        except (DialError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
        await asyncio.sleep(delay_s)
        delay_s *= _RETRY_FACTOR


@cache
def _unverified_tls() -> ssl.SSLContext:
    return build_unverified_tls("h2")


async def _check(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: GrpcTarget) -> _Answer:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.exceptions import ProtocolError

    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, _build_headers(target))
    connection.send_data(stream, build_message(target.service), end_stream=True)
    answer = _Answer()
    try:
        writer.write(connection.data_to_send())
        while not answer.ended:
            data = await reader.read(_CHUNK_BYTES)
            if not data:
                answer.broken = "error reading from server: EOF"
                break
            for event in connection.receive_data(data):
                _take(answer, event, connection, stream)
            writer.write(connection.data_to_send())
    except (ProtocolError, ConnectionError) as error:
        answer.broken = f"connection error: desc = {quote(str(error))}"
    return answer


def _build_headers(target: GrpcTarget) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "https" if target.tls else "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", target.address),
        ("content-type", "application/grpc"),
        ("user-agent", f"kube-probe/{KUBERNETES_VERSION}"),
        ("te", "trailers"),
    ]


def _take(answer: _Answer, event: h2.events.Event, connection: h2.connection.H2Connection, stream: int) -> None:
    from h2 import events

    match event:
        case events.ResponseReceived(headers=headers) | events.TrailersReceived(headers=headers):
            answer.headers.update((str(name), str(value)) for name, value in headers or ())
        case events.DataReceived(data=data, flow_controlled_length=length):
            answer.body += (data or b"")[: _MAX_ANSWER_BYTES - len(answer.body)]
            connection.acknowledge_received_data(length or 0, stream)
        case events.StreamEnded():
            answer.ended = True
        case events.StreamReset() | events.ConnectionTerminated():
            answer.broken, answer.ended = "stream terminated by the server", True
        case _:
            pass


def build_message(service: str) -> bytes:
    """``HealthCheckRequest{service}`` with gRPC's prefix of five bytes."""
    name = service.encode()
    message = encode_field(1, name) if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def judge_answer(headers: dict[str, str], body: bytes, broken: str = "") -> Outcome:
    """What the answer to a health check says, in the kubelet's words."""
    if broken:
        return _failed_call(_UNAVAILABLE, broken)
    if headers.get(":status") != "200":
        status = headers.get(":status", "")
        return _failed_call(_UNAVAILABLE, f"unexpected HTTP status code received from server: {status}")
    code = headers.get("grpc-status", "2")
    if code != "0":
        return _failed_call(int(code) if code.isdigit() else 2, unquote(headers.get("grpc-message", "")))
    status_number = read_status(body)
    if status_number == _SERVING:
        return Outcome(Verdict.SUCCESS, "service healthy")
    name = _STATUS_NAMES.get(status_number, str(status_number))
    return Outcome(Verdict.FAILURE, f"service unhealthy (responded with {quote(name)})")


def _failed_call(code: int, message: str) -> Outcome:
    if code == _UNIMPLEMENTED:
        text = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
        return Outcome(Verdict.FAILURE, text + message)
    name = _CODES[code] if code < len(_CODES) else f"Code({code})"
    return Outcome(Verdict.FAILURE, f"error: health rpc probe failed: rpc error: code = {name} desc = {message}")


def read_status(body: bytes) -> int:
    """Field 1 of ``HealthCheckResponse``; 0 when it is absent, as in protobuf."""
    message = body[5 : 5 + int.from_bytes(body[1:5], "big")] if len(body) >= 5 else b""
    if not message.startswith(b"\x08"):
        return 0
    number = 0
    for position, byte in enumerate(message[1:]):
        number |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            break
    return number
