"""``pods/exec`` and ``pods/attach`` over a WebSocket.

Two pumps run side by side: the client's messages into the session, the session's output to the client.  When all
output has been sent, the exit status follows and the connection is closed.  A client that vanishes ends the
session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import WSMsgType, web

from podhost.aiokit.completion import run_to_end
from podhost.api import errors
from podhost.apiserver import stream_protocol as protocol
from podhost.apiserver.call import Call
from podhost.apiserver.pod_containers import choose_container
from podhost.cri.node import NodeApi
from podhost.cri.runtime import ExecSession
from podhost.errors import PodhostError

Obj = dict[str, Any]
OpenSession = Callable[[], Awaitable[ExecSession]]

_MAX_MESSAGE_BYTES = 4 << 20
_CLOSE_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Which streams the client wants."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def read_stream_options(call: Call, *, kind: str) -> StreamOptions:
    """From the query: output is wanted unless refused; a terminal has no stderr of its own.

    Raises:
        ApiError: 400 when no stream at all is wanted.
    """
    stdin, tty = call.flag("stdin"), call.flag("tty")
    stdout = call.optional_flag("stdout") is not False
    stderr = call.optional_flag("stderr") is not False and not tty
    if not (stdin or stdout or stderr):
        raise errors.bad_request(f"{kind}: at least one of stdin, stdout, stderr must be specified")
    return StreamOptions(stdin, stdout, stderr, tty)


async def serve_exec(call: Call, pod: Obj, node: NodeApi) -> web.StreamResponse:
    """Run a command in a container."""
    options = read_stream_options(call, kind="PodExecOptions")
    command = tuple(call.request.query.getall("command", []))
    if not command:
        raise errors.bad_request("you must specify at least one command for the container")
    container = _choose_container(call, pod)

    def start() -> Awaitable[ExecSession]:
        return node.exec(call.namespace, call.name, container, command, tty=options.tty, stdin=options.stdin)

    return await _serve(call, options, start)


async def serve_attach(call: Call, pod: Obj, node: NodeApi) -> web.StreamResponse:
    """Attach to a container's main process."""
    options = read_stream_options(call, kind="PodAttachOptions")
    container = _choose_container(call, pod)

    def start() -> Awaitable[ExecSession]:
        return node.attach(call.namespace, call.name, container, tty=options.tty, stdin=options.stdin)

    return await _serve(call, options, start)


def _choose_container(call: Call, pod: Obj) -> str:
    container = choose_container(pod, call.text("container"))
    if not (pod.get("spec") or {}).get("nodeName"):
        raise errors.bad_request(f"pod {call.name} does not have a host assigned")
    return container


def _check_upgrade(call: Call) -> None:
    headers = call.request.headers
    upgrade = headers.get("Upgrade", "").lower()
    if upgrade != "websocket":
        raise errors.bad_request(
            "you must use a WebSocket upgrade (v5.channel.k8s.io or v4.channel.k8s.io), not SPDY"
            if upgrade
            else "Upgrade request required"
        )
    offered = {part.strip() for part in headers.get("Sec-WebSocket-Protocol", "").split(",")}
    if not offered & set(protocol.PROTOCOLS):
        raise errors.bad_request(
            f"none of the WebSocket protocols is supported; supported are: {', '.join(protocol.PROTOCOLS)}"
        )


async def _serve(call: Call, options: StreamOptions, start: OpenSession) -> web.StreamResponse:
    _check_upgrade(call)
    session: ExecSession | None = None
    failure: Obj | None = None
    try:
        session = await start()
    except (PodhostError, errors.ApiError) as error:
        # kube-apiserver has switched protocols when it learns of this from the node.  A refused upgrade would
        # have kubectl try SPDY, and show what that is refused with.
        failure = _failure_status(error)
    socket = web.WebSocketResponse(
        protocols=protocol.PROTOCOLS,
        max_msg_size=_MAX_MESSAGE_BYTES,
        compress=False,
        timeout=_CLOSE_TIMEOUT_S,
    )
    try:
        await socket.prepare(call.request)
        greeting = protocol.encode_greeting(stdout=options.stdout, stderr=options.stderr)
        await socket.send_bytes(greeting)
        if session is not None:
            status = await _run_session(socket, session, options)
        else:
            status = failure
        if status is not None and not socket.closed:
            await socket.send_bytes(protocol.encode_status(status))
            await socket.close()
    except ConnectionError:
        _log.debug("the client of %s/%s has gone", call.namespace, call.name)
    finally:
        if session is not None:
            # The end of the connection may cancel us in the middle of it.
            await run_to_end(session.close())
    return socket


class _ClientGone(Exception):
    """The client has closed the connection before the end."""


async def _run_session(socket: web.WebSocketResponse, session: ExecSession, options: StreamOptions) -> Obj | None:
    """Both pumps until the output ends; ``None`` when the client went first."""
    status: Obj | None = None
    try:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(_pump_input(socket, session, options), name="exec input")
            try:
                await _pump_output(socket, session, options)
                status = protocol.build_exit_status(await session.wait())
            except PodhostError as error:
                status = _failure_status(error)
            finally:
                reader.cancel()
    except* (_ClientGone, ConnectionError):
        status = None
    except* protocol.ChannelError as group_error:
        status = errors.bad_request(str(group_error.exceptions[0])).status
    return status


async def _pump_output(socket: web.WebSocketResponse, session: ExecSession, options: StreamOptions) -> None:
    wanted: dict[Literal["stdout", "stderr"], bool] = {"stdout": options.stdout, "stderr": options.stderr}
    while (chunk := await session.read()) is not None:
        stream, data = chunk
        if wanted[stream]:
            await socket.send_bytes(protocol.encode_output(stream, data))


async def _pump_input(socket: web.WebSocketResponse, session: ExecSession, options: StreamOptions) -> None:
    """The client's messages into the session.  Raises _ClientGone at the end of the connection."""
    stdin_open = options.stdin
    chosen = socket.ws_protocol or protocol.V4
    while True:
        message = await socket.receive()
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
            raise _ClientGone
        data = message.data.encode() if isinstance(message.data, str) else bytes(message.data)
        match protocol.decode_message(chosen, data):
            case protocol.StdinData(data) if stdin_open:
                stdin_open = await _write_stdin(session, data)
            case protocol.StdinEnd() if stdin_open:
                stdin_open = False
                await session.close_stdin()
            case protocol.Resize(width, height) if options.tty:
                await session.resize(width, height)


async def _write_stdin(session: ExecSession, data: bytes) -> bool:
    """False when the process has closed its stdin: the rest of the input is thrown away, as with a pipe."""
    try:
        await session.write_stdin(data)
    except ConnectionError:
        return False
    return True


def _failure_status(error: PodhostError | errors.ApiError) -> Obj:
    if isinstance(error, errors.ApiError):
        return error.status
    return errors.internal_error(f"error executing command in container: {error}").status
