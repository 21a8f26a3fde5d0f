"""The client's end of exec and attach, in each protocol: what it says, and how it is told output and status.

WebSocket: one message a piece of data, with its channel in front (:mod:`podhost.apiserver.stream_protocol`).
SPDY: one stream for each of error, stdin, stdout, stderr and resize, which the client opens and names.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from aiohttp import WSMessage, WSMsgType, web

from podhost.apiserver import stream_protocol as protocol
from podhost.apiserver.spdy_connection import SpdyConnection, SpdyStream
from podhost.apiserver.upgrade import give_up_on_stall
from podhost.wire.spdy_frames import ResetStatus

Obj = dict[str, Any]
OutputName = Literal["stdout", "stderr"]

SPDY_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_STREAMS_TIMEOUT_S = 30.0
"""The kubelet's ``streamCreationTimeout``."""
_MAX_SIZE_BYTES = 4096


class ClientGoneError(Exception):
    """The client has left before the end."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Which streams the client wants."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


class InputSink(Protocol):
    """Where the client's input goes."""

    async def on_input(self, event: protocol.ClientEvent) -> None: ...


class ExecClient(Protocol):
    """One client."""

    async def run_input(self, sink: InputSink) -> None:
        """Hand its input on, for as long as it is there.

        Raises:
            ClientGoneError: It has left.
            ChannelError: It sent what cannot be understood.
        """

    async def send_output(self, name: OutputName, data: bytes) -> None:
        """Waits while it does not read.  Raises ConnectionError when it has gone."""

    async def send_status(self, status: Obj) -> None:
        """The last thing that it is told."""

    async def close(self) -> None:
        """Say goodbye.  Idempotent."""


class WebSocketExecClient:
    """Channels of a WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._protocol = socket.ws_protocol or protocol.UNVERSIONED

    async def greet(self, options: StreamOptions) -> None:
        """Tell it that the streams are open."""
        await self._send(protocol.encode_greeting(stdout=options.stdout, stderr=options.stderr))

    async def run_input(self, sink: InputSink) -> None:
        while (data := self._unpack(await self._socket.receive())) is not None:
            event = protocol.decode_message(self._protocol, data)
            if event is not None:
                await sink.on_input(event)
        raise ClientGoneError

    async def send_output(self, name: OutputName, data: bytes) -> None:
        await self._send(protocol.encode_output(name, data))

    async def send_status(self, status: Obj) -> None:
        if text := protocol.encode_status_text(self._protocol, status):
            await self._send(bytes([protocol.Channel.ERROR]) + text)

    async def close(self) -> None:
        await self._socket.close()

    async def _send(self, message: bytes) -> None:
        async with give_up_on_stall():
            if self._protocol in protocol.BASE64_PROTOCOLS:
                await self._socket.send_str(f"{message[0]}" + base64.b64encode(message[1:]).decode())
            else:
                await self._socket.send_bytes(message)

    def _unpack(self, message: WSMessage) -> bytes | None:
        """A message in its binary form; ``None`` at the end of the connection."""
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
            return None
        data = message.data.encode() if isinstance(message.data, str) else bytes(message.data)
        if self._protocol not in protocol.BASE64_PROTOCOLS or not data:
            return data
        try:
            return bytes([data[0] - ord("0") & 0xFF]) + base64.b64decode(data[1:], validate=True)
        except binascii.Error as error:
            raise protocol.ChannelError(f"cannot read a message: {error}") from error


class SpdyExecClient:
    """Streams of a SPDY connection, all of them there."""

    def __init__(self, connection: SpdyConnection, version: str, streams: dict[str, SpdyStream]) -> None:
        self._connection = connection
        self._version = version
        self._streams = streams

    async def run_input(self, sink: InputSink) -> None:
        async with asyncio.TaskGroup() as group:
            if (stdin := self._streams.get("stdin")) is not None:
                group.create_task(_pump_stdin(stdin, sink), name="exec stdin")
            if (resize := self._streams.get("resize")) is not None:
                group.create_task(_pump_resize(resize, sink), name="exec resize")
            await self._connection.wait_gone()
            raise ClientGoneError

    async def send_output(self, name: OutputName, data: bytes) -> None:
        if (stream := self._streams.get(name)) is not None:
            await stream.write(data)

    async def send_status(self, status: Obj) -> None:
        error = self._streams["error"]
        if text := protocol.encode_status_text(self._version, status):
            await error.write(text)
        for stream in self._streams.values():
            await stream.write_eof()

    async def close(self) -> None:
        await self._connection.leave()


async def collect_streams(connection: SpdyConnection, version: str, options: StreamOptions) -> SpdyExecClient:
    """Wait until the client has opened all streams that it has to.

    Raises:
        ClientGoneError: It has left before, or takes too long.
    """
    wanted = {"error"} | {name for name in ("stdin", "stdout", "stderr") if getattr(options, name)}
    if options.tty and version in protocol.RESIZABLE_PROTOCOLS:
        wanted.add("resize")
    streams: dict[str, SpdyStream] = {}
    try:
        async with asyncio.timeout(_STREAMS_TIMEOUT_S):
            while wanted - streams.keys():
                stream = await connection.accept()
                if stream is None:
                    raise ClientGoneError
                name = stream.headers.get("streamtype", "")
                if name not in wanted or name in streams:
                    await stream.reset(ResetStatus.REFUSED_STREAM)
                    continue
                await connection.reply(stream)
                streams[name] = stream
    except (TimeoutError, ConnectionError) as error:
        raise ClientGoneError from error
    if version == "channel.k8s.io" and "stdin" in streams:
        await streams["stdin"].write_eof()
    return SpdyExecClient(connection, version, streams)


async def _pump_stdin(stream: SpdyStream, sink: InputSink) -> None:
    try:
        while data := await stream.read():
            await sink.on_input(protocol.StdinData(data))
    except ConnectionError:
        pass  # broken off is an end, too
    await sink.on_input(protocol.StdinEnd())


async def _pump_resize(stream: SpdyStream, sink: InputSink) -> None:
    """JSON documents, one behind the other, cut anywhere."""
    rest = b""
    try:
        while data := await stream.read():
            *lines, rest = (rest + data).replace(b"}", b"}\n").split(b"\n")
            for line in filter(bytes.strip, lines):
                if (event := protocol.decode_resize(line)) is not None:
                    await sink.on_input(event)
            if len(rest) > _MAX_SIZE_BYTES:
                raise protocol.ChannelError("cannot read a terminal size: it is too long")
    except ConnectionError:
        return
