"""Requests that turn into a connection of another protocol: WebSocket, SPDY/3.1."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

from podhost.client import ws
from podhost.client.api_client import ApiClient, ApiStatusError, status_of
from podhost.client.transport import http_host, open_socket, path_prefix
from podhost.errors import UnavailableError

_ANSWER_TIMEOUT_S = 60.0
_MAX_HEAD_BYTES = 1 << 16


def open_websocket(client: ApiClient, target: str, protocols: tuple[str, ...]) -> tuple[socket.socket, str, bytes]:
    """Connect and upgrade: (socket, subprotocol, what came right behind the answer).

    Raises:
        ApiStatusError: The server refuses (no such pod or container, forbidden …).
        UnavailableError: It does not answer, or not as a WebSocket server.
    """
    key = ws.generate_key()
    url = path_prefix(client.endpoint) + target
    request = ws.build_handshake(http_host(client.endpoint), url, key, protocols, _headers(client))
    sock, answer, rest = _switch(client, request)
    protocol = answer.get("sec-websocket-protocol", "")
    if answer.get("sec-websocket-accept") != ws.accept_value(key) or protocol not in protocols:
        sock.close()
        raise UnavailableError(f"cannot open a stream: the server answered with protocol '{protocol}'")
    return sock, protocol, rest


def open_spdy(client: ApiClient, target: str, protocol: str) -> tuple[socket.socket, bytes]:
    """The same for SPDY/3.1, as servers before 1.31 want it.  Raises as :func:`open_websocket`."""
    lines = [
        f"POST {path_prefix(client.endpoint) + target} HTTP/1.1",
        f"Host: {http_host(client.endpoint)}",
        "Connection: Upgrade",
        "Upgrade: SPDY/3.1",
        "Content-Length: 0",
        f"X-Stream-Protocol-Version: {protocol}",
        *(f"{name}: {value}" for name, value in _headers(client).items()),
    ]
    sock, answer, rest = _switch(client, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    if answer.get("upgrade", "").lower() != "spdy/3.1":
        sock.close()
        raise UnavailableError(f"cannot open a stream: the server answered with '{answer.get('upgrade', '')}'")
    return sock, rest


def _headers(client: ApiClient) -> dict[str, str]:
    headers = client.headers
    headers.pop("Accept", None)
    return headers


def _switch(client: ApiClient, request: bytes) -> tuple[socket.socket, dict[str, str], bytes]:
    """Send the request; (socket, headers of the 101, what came behind them)."""
    sock = open_socket(client.endpoint)
    try:
        sock.settimeout(_ANSWER_TIMEOUT_S)
        sock.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = sock.recv(1 << 16)
            if not chunk or len(data) > _MAX_HEAD_BYTES:
                raise UnavailableError(f"cannot open a stream: {client.endpoint.description} closed the connection")
            data += chunk
        head, _, rest = data.partition(b"\r\n\r\n")
        code, reason, answer = ws.parse_response_head(head)
        if code != 101:
            raise ApiStatusError(status_of(code, reason, _read_body(sock, answer, rest)))
        sock.settimeout(None)
        return sock, answer, rest
    except (OSError, ws.ProtocolError) as error:
        sock.close()
        raise UnavailableError(f"cannot open a stream to {client.endpoint.description}: {error}") from error
    except BaseException:
        sock.close()
        raise


def _read_body(sock: socket.socket, headers: Mapping[str, str], rest: bytes) -> bytes:
    """Body of a refusal: by its length, or to the end of the connection (chunked bodies keep their framing off)."""
    if "content-length" in headers:
        missing = int(headers["content-length"]) - len(rest)
        while missing > 0 and (chunk := sock.recv(missing)):
            rest += chunk
            missing -= len(chunk)
        return rest
    sock.settimeout(2)
    with contextlib.suppress(OSError):
        while not rest.endswith(b"0\r\n\r\n") and (chunk := sock.recv(1 << 16)):
            rest += chunk
    start, end = rest.find(b"{"), rest.rfind(b"}")
    return rest[start : end + 1] if start >= 0 else rest
