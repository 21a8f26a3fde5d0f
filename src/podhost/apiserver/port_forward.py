"""``pods/portforward``: connections to a pod's loopback, many over one request.

Three ways lead here: SPDY after a plain upgrade, SPDY inside a WebSocket (kubectl since 1.31), and the channels of a
WebSocket (:mod:`podhost.apiserver.port_forward_channels`).  With SPDY each connection is a pair of streams that name
the same request: what goes wrong is told on the error stream, bytes travel on the data stream.  A connection that
fails takes no other with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from podhost.aiokit.completion import run_to_end
from podhost.api import errors
from podhost.api.field_errors import go_quote
from podhost.apiserver.call import Call
from podhost.apiserver.pod_containers import check_host_assigned
from podhost.apiserver.port_forward_channels import CHANNEL_PROTOCOLS, parse_ports, serve_channels
from podhost.apiserver.spdy_connection import SpdyConnection, SpdyStream
from podhost.apiserver.spdy_upgrade import upgrade_to_spdy
from podhost.apiserver.upgrade import (
    UpgradedResponse,
    WebSocketPipe,
    is_upgrade_to,
    offered_websocket_protocols,
    open_websocket,
)
from podhost.cri.node import ByteStream, NodeApi
from podhost.errors import PodhostError
from podhost.wire.spdy_frames import ResetStatus

Obj = dict[str, Any]
Connect = Callable[[int], Awaitable[ByteStream]]

PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_PAIR_TIMEOUT_S = 30.0
"""The kubelet's ``streamCreationTimeout``."""


class DataStream(Protocol):
    """The client's side of a forwarded connection."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    async def write_eof(self) -> None: ...

    async def reset(self) -> None: ...


class ErrorStream(Protocol):
    """Where the client is told what went wrong."""

    async def write(self, data: bytes) -> None: ...

    async def write_eof(self) -> None: ...


async def serve_port_forward(call: Call, pod: Obj, node: NodeApi) -> web.StreamResponse:
    """Forward until the client leaves."""
    check_host_assigned(pod)

    def connect(port: int) -> Awaitable[ByteStream]:
        return node.port_forward(call.namespace, call.name, port)

    request = call.request
    if is_upgrade_to(request, "websocket"):
        if TUNNEL_PROTOCOL in offered_websocket_protocols(request):
            socket = await open_websocket(request, (TUNNEL_PROTOCOL,))
            await forward_streams(SpdyConnection(WebSocketPipe(socket)), connect)
            return socket
        ports = parse_ports(call.request.query.getall("ports", []))
        socket = await open_websocket(request, CHANNEL_PROTOCOLS)
        await serve_channels(socket, ports, connect, forward)
        return socket
    if not is_upgrade_to(request, "spdy/3.1"):
        raise errors.bad_request("Upgrade request required")
    _, connection = await upgrade_to_spdy(request, (PROTOCOL,))
    await forward_streams(connection, connect)
    return UpgradedResponse()


def find_header_problem(headers: Mapping[str, str]) -> str | None:
    """Why a stream cannot be one of port-forward; ``None`` when it can."""
    port, kind = headers.get("port", ""), headers.get("streamtype", "")
    if not port:
        return '"port" header is required'
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        return f"unable to parse {go_quote(port)} as a port"
    if int(port) < 1:
        return f"port {go_quote(port)} must be > 0"
    if not kind:
        return '"streamType" header is required'
    return None if kind in ("error", "data") else f"invalid stream type {go_quote(kind)}"


def compute_request_id(stream: SpdyStream) -> str:
    """Which connection a stream belongs to; very old clients do not say, but open error and data in a row."""
    named = stream.headers.get("requestid", "")
    if named:
        return named
    return str(stream.stream_id if stream.headers.get("streamtype") == "error" else stream.stream_id - 2)


@dataclass(slots=True)
class _Pair:
    """Streams of one connection, as far as they have come."""

    error: SpdyStream | None = None
    data: SpdyStream | None = None
    timer: asyncio.TimerHandle | None = None


async def forward_streams(connection: SpdyConnection, connect: Connect) -> None:
    """Serve all connections of a client until it leaves."""
    pairs: dict[str, _Pair] = {}
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(connection.run(), name="port-forward connection")
            while (stream := await connection.accept()) is not None:
                try:
                    await _on_stream(connection, stream, pairs, group, connect)
                except ConnectionError:
                    break
    finally:
        for pair in pairs.values():
            if pair.timer is not None:
                pair.timer.cancel()
    await connection.leave()


async def _on_stream(
    connection: SpdyConnection,
    stream: SpdyStream,
    pairs: dict[str, _Pair],
    group: asyncio.TaskGroup,
    connect: Connect,
) -> None:
    if find_header_problem(stream.headers) is not None:
        await stream.reset(ResetStatus.REFUSED_STREAM)
        return
    await connection.reply(stream)
    request_id = compute_request_id(stream)
    pair = pairs.setdefault(request_id, _Pair())
    kind = stream.headers["streamtype"]
    if getattr(pair, kind) is not None:
        if pair.error is not None:
            text = f"error processing stream for request {request_id}: {kind} stream already assigned"
            await pair.error.write(text.encode())
        await stream.reset(ResetStatus.REFUSED_STREAM)
        return
    setattr(pair, kind, stream)
    if pair.timer is None:
        loop = asyncio.get_running_loop()
        pair.timer = loop.call_later(
            _PAIR_TIMEOUT_S, lambda: group.create_task(_give_up(request_id, pairs), name="port-forward timeout")
        )
    if pair.data is not None and pair.error is not None:
        pair.timer.cancel()
        del pairs[request_id]
        port = int(pair.data.headers["port"])
        group.create_task(forward(pair.data, pair.error, port, connect), name=f"port-forward {port}")


async def _give_up(request_id: str, pairs: dict[str, _Pair]) -> None:
    """The other stream of a pair has not come."""
    pair = pairs.pop(request_id)
    try:
        if pair.error is not None:
            await pair.error.write(f"(request={request_id}) timed out waiting for streams".encode())
            await pair.error.write_eof()
        if pair.data is not None:
            await pair.data.reset(ResetStatus.CANCEL)
    except ConnectionError:
        return


async def forward(data: DataStream, error: ErrorStream, port: int, connect: Connect) -> None:
    """One connection: connect, copy both ways, close; failures are told to the client, not raised."""
    try:
        try:
            target = await connect(port)
        except (PodhostError, errors.ApiError) as failure:
            await error.write(str(failure).encode())
        else:
            try:
                await copy_both(data, error, target)
            finally:
                await run_to_end(target.close())
        await data.write_eof()
        await error.write_eof()
    except ConnectionError:
        return  # the client has gone


async def copy_both(client: DataStream, error: ErrorStream, target: ByteStream) -> None:
    """Both directions until both have ended; one that breaks off ends the other, and the client learns of it."""

    async def copy_down() -> None:
        await _copy(target, client)
        # Older kubectls close their side only when they know that no error is to come.
        await error.write_eof()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(client, target), name="port-forward up")
            group.create_task(copy_down(), name="port-forward down")
    except* ConnectionError:
        await client.reset()


class _Source(Protocol):
    async def read(self) -> bytes: ...


class _Sink(Protocol):
    async def write(self, data: bytes) -> None: ...

    async def write_eof(self) -> None: ...


async def _copy(source: _Source, sink: _Sink) -> None:
    while data := await source.read():
        await sink.write(data)
    await sink.write_eof()
