"""A GET over HTTP/1.1 into a pod, with the kubelet's limits: no reuse, no proxy, no verification, 10 KiB of body."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from podhost.errors import PodhostError
from podhost.kubelet.dial import (
    DialError,
    build_unverified_tls,
    close_stream,
    describe_os_error,
    dial,
    join_host_port,
    open_stream,
)
from podhost.kubelet.go_format import quote
from podhost.kubelet.http_request import HttpRequest, RedirectError, compute_redirect
from podhost.linux.namespace_sockets import NamespaceSockets

if TYPE_CHECKING:
    import h11

_MAX_BODY_BYTES = 10 << 10
_MAX_HEAD_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16
PLAIN_ANSWER = "http: server gave HTTP response to HTTPS client"


class HttpGetError(PodhostError):
    """No answer; the message is that of Go's client."""


class BodyError(PodhostError):
    """An answer whose body cannot be read."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status and the beginning of the body."""

    status: int
    body: bytes


@dataclass(slots=True)
class _Progress:
    """How far a request has come: decides what a timeout is called."""

    at: str = "dial"
    address: str = ""

    def describe_timeout(self) -> str:
        if self.at == "dial":
            return f"dial tcp {self.address}: i/o timeout (Client.Timeout exceeded while awaiting headers)"
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"


async def http_get(
    sockets: NamespaceSockets, netns: Path | None, request: HttpRequest, timeout_s: float | None
) -> HttpAnswer:
    """Send it, follow redirects to the same host, read the answer.

    Raises:
        HttpGetError: There is none within ``timeout_s``.
        BodyError: It broke off in the middle.
    """
    progress = _Progress()
    try:
        async with asyncio.timeout(timeout_s):
            for followed in range(1, 12):
                answer, location = await _exchange(sockets, netns, request, progress)
                next_request = compute_redirect(request, answer.status, location, followed)
                if next_request is None:
                    return answer
                request = next_request
    except TimeoutError as error:
        if progress.at == "body":
            text = "context deadline exceeded (Client.Timeout or context cancellation while reading body)"
            raise BodyError(text) from error
        raise HttpGetError(_describe(request, progress.describe_timeout())) from error
    except (DialError, RedirectError) as error:
        raise HttpGetError(_describe(request, str(error))) from error
    raise AssertionError("redirects end")


def _describe(request: HttpRequest, cause: str) -> str:
    return f"Get {quote(request.url)}: {cause}"


async def _exchange(
    sockets: NamespaceSockets, netns: Path | None, request: HttpRequest, progress: _Progress
) -> tuple[HttpAnswer, str | None]:
    """One request on a connection of its own; the answer and its Location."""
    progress.at, progress.address = "dial", join_host_port(request.host, request.port)
    sock = await dial(sockets, netns, request.host, request.port)
    progress.at = "headers"
    try:
        tls = _unverified_tls() if request.scheme == "https" else None
        reader, writer = await open_stream(sock, tls, request.host)
    except ssl.SSLError as error:
        plain = error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")
        raise HttpGetError(_describe(request, PLAIN_ANSWER if plain else f"tls: {error.reason}")) from error
    except OSError as error:
        raise HttpGetError(_describe(request, _describe_broken(error))) from error
    try:
        return await _converse(reader, writer, request, progress)
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise HttpGetError(_describe(request, _describe_broken(error))) from error
    finally:
        close_stream(writer)


def _describe_broken(error: OSError) -> str:
    return "EOF" if isinstance(error, ConnectionError) and error.errno is None else f"read: {describe_os_error(error)}"


@cache
def _unverified_tls() -> ssl.SSLContext:
    return build_unverified_tls("http/1.1")


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: HttpRequest, progress: _Progress
) -> tuple[HttpAnswer, str | None]:
    import h11

    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
    headers = [(name.encode(), value.strip().encode()) for name, value in request.build_headers()]
    try:
        head = connection.send(h11.Request(method="GET", target=request.target, headers=headers))
    except h11.LocalProtocolError as error:
        raise HttpGetError(_describe(request, f"net/http: invalid header: {error}")) from error
    connection.send(h11.EndOfMessage())
    writer.write(head or b"")
    received = bytearray()
    try:
        response = await _read_head(connection, reader, received)
    except h11.RemoteProtocolError as error:
        raise HttpGetError(_describe(request, _describe_nonsense(bytes(received), error))) from error
    progress.at = "body"
    try:
        body = await _read_body(connection, reader)
    except (h11.RemoteProtocolError, ConnectionError) as error:
        raise BodyError("unexpected EOF") from error
    location = next((value.decode("latin-1") for name, value in response.headers if name == b"location"), None)
    return HttpAnswer(response.status_code, body), location


async def _read_head(connection: h11.Connection, reader: asyncio.StreamReader, received: bytearray) -> h11.Response:
    import h11

    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_CHUNK_BYTES)
            received += data[: _CHUNK_BYTES - len(received)]
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            return event
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("EOF")


async def _read_body(connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    import h11

    body = bytearray()
    while len(body) < _MAX_BODY_BYTES:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK_BYTES))
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            break
    return bytes(body[:_MAX_BODY_BYTES])


def _describe_nonsense(received: bytes, error: Exception) -> str:
    if not received:
        return "EOF"
    if not received.startswith(b"HTTP/"):
        line = received.partition(b"\n")[0].rstrip(b"\r")[:100].decode("latin-1")
        return f"net/http: HTTP/1.x transport connection broken: malformed HTTP response {quote(line)}"
    return f"net/http: HTTP/1.x transport connection broken: {error}"
