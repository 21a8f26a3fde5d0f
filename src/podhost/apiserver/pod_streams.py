"""``pods/exec`` and ``pods/attach``, over a WebSocket or SPDY.

Two pumps run side by side: the client's input into the session, the session's output to the client.  When all
output has been sent, the exit status follows and the connection is closed.  A client that vanishes ends the
session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from aiohttp import web

from podhost.aiokit.completion import run_to_end
from podhost.api import errors
from podhost.apiserver import stream_protocol as protocol
from podhost.apiserver.answers import to_api_error
from podhost.apiserver.call import Call
from podhost.apiserver.exec_clients import (
    SPDY_PROTOCOLS,
    ClientGoneError,
    ExecClient,
    StreamOptions,
    WebSocketExecClient,
    collect_streams,
)
from podhost.apiserver.pod_containers import check_host_assigned, choose_container
from podhost.apiserver.spdy_upgrade import check_spdy_protocols, upgrade_to_spdy
from podhost.apiserver.upgrade import UpgradedResponse, check_websocket_protocols, is_upgrade_to, open_websocket
from podhost.cri.node import NodeApi
from podhost.cri.runtime import ExecSession
from podhost.errors import PodhostError

Obj = dict[str, Any]
OpenSession = Callable[[], Awaitable[ExecSession]]

_log = logging.getLogger(__name__)


def read_stream_options(call: Call) -> StreamOptions:
    """From the query, where what is absent is not wanted; a terminal has no stderr of its own.

    Raises:
        ApiError: 400 when no stream at all is wanted.
    """
    tty = call.flag("tty")
    stdin, stdout, stderr = call.flag("stdin"), call.flag("stdout"), call.flag("stderr") and not tty
    if not (stdin or stdout or stderr):
        raise errors.bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return StreamOptions(stdin, stdout, stderr, tty)


async def serve_exec(call: Call, pod: Obj, node: NodeApi) -> web.StreamResponse:
    """Run a command in a container."""
    options = read_stream_options(call)
    command = tuple(call.request.query.getall("command", []))
    if not command:
        raise errors.bad_request("you must specify at least one command for the container")
    container = _choose_container(call, pod)

    def start() -> Awaitable[ExecSession]:
        return node.exec(call.namespace, call.name, container, command, tty=options.tty, stdin=options.stdin)

    return await _serve(call, options, start)


async def serve_attach(call: Call, pod: Obj, node: NodeApi) -> web.StreamResponse:
    """Attach to a container's main process."""
    options = read_stream_options(call)
    container = _choose_container(call, pod)

    def start() -> Awaitable[ExecSession]:
        return node.attach(call.namespace, call.name, container, tty=options.tty, stdin=options.stdin)

    return await _serve(call, options, start)


def _choose_container(call: Call, pod: Obj) -> str:
    container = choose_container(pod, call.text("container"))
    check_host_assigned(pod)
    return container


async def _serve(call: Call, options: StreamOptions, start: OpenSession) -> web.StreamResponse:
    if is_upgrade_to(call.request, "websocket"):
        return await _serve_websocket(call, options, start)
    if is_upgrade_to(call.request, "spdy/3.1"):
        return await _serve_spdy(call, options, start)
    raise errors.bad_request("Upgrade request required")


async def _serve_websocket(call: Call, options: StreamOptions, start: OpenSession) -> web.StreamResponse:
    check_websocket_protocols(call.request, protocol.PROTOCOLS)
    session: ExecSession | None = None
    failure: Obj | None = None
    try:
        session = await start()
    except (PodhostError, errors.ApiError) as error:
        # kube-apiserver has switched protocols when it learns of this from the node.  A refused upgrade would
        # have kubectl try SPDY, and show what that is refused with.
        failure = _failure_status(error)
    try:
        socket = await open_websocket(call.request, protocol.PROTOCOLS)
        client = WebSocketExecClient(socket)
        await client.greet(options)
        if session is not None:
            await _run_session(client, session, options)
        elif failure is not None:
            await client.send_status(failure)
        await client.close()
        return socket
    finally:
        if session is not None:
            # The end of the connection may cancel us in the middle of it.
            await run_to_end(session.close())


async def _serve_spdy(call: Call, options: StreamOptions, start: OpenSession) -> web.StreamResponse:
    check_spdy_protocols(call.request, SPDY_PROTOCOLS)
    try:
        session = await start()
    except (PodhostError, errors.ApiError) as error:
        return _refuse_spdy(error)
    try:
        version, connection = await upgrade_to_spdy(call.request, SPDY_PROTOCOLS)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(connection.run(), name="exec connection")
            try:
                client = await collect_streams(connection, version, options)
                await _run_session(client, session, options)
            except (ClientGoneError, ConnectionError):
                _log.debug("the client of %s/%s has gone", call.namespace, call.name)
            await connection.leave()
            running.cancel()
        return UpgradedResponse()
    finally:
        await run_to_end(session.close())


def _refuse_spdy(error: PodhostError | errors.ApiError) -> web.Response:
    """As the kubelet refuses: in plain text, to which clients add that they were unable to upgrade."""
    failure = to_api_error(error)
    if failure.code < 500:
        raise failure
    text = failure.message
    for prefix in ("Internal error occurred: ", "unable to upgrade connection: "):
        text = text.removeprefix(prefix)
    return web.Response(status=failure.code, text=text + "\n")


class _SessionInput:
    """The client's input into the session; what nobody wants is thrown away."""

    def __init__(self, session: ExecSession, options: StreamOptions) -> None:
        self._session = session
        self._options = options
        self._stdin_open = options.stdin

    async def on_input(self, event: protocol.ClientEvent) -> None:
        match event:
            case protocol.StdinData(data) if self._stdin_open:
                try:
                    await self._session.write_stdin(data)
                except ConnectionError:
                    self._stdin_open = False  # closed by the process: the rest is thrown away, as with a pipe
            case protocol.StdinEnd() if self._stdin_open:
                self._stdin_open = False
                await self._session.close_stdin()
            case protocol.Resize(width, height) if self._options.tty:
                await self._session.resize(width, height)


async def _run_session(client: ExecClient, session: ExecSession, options: StreamOptions) -> None:
    """Both directions until the output ends, then the status; nothing more when the client went first."""
    status: Obj | None = None
    try:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(client.run_input(_SessionInput(session, options)), name="exec input")
            try:
                await _pump_output(client, session, options)
                status = protocol.build_exit_status(await session.wait())
            except PodhostError as error:
                status = _failure_status(error)
            finally:
                reader.cancel()
    except* (ClientGoneError, ConnectionError):
        status = None
    except* protocol.ChannelError as group_error:
        status = errors.bad_request(str(_first_error(group_error))).status
    if status is not None:
        await client.send_status(status)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _pump_output(client: ExecClient, session: ExecSession, options: StreamOptions) -> None:
    wanted: dict[Literal["stdout", "stderr"], bool] = {"stdout": options.stdout, "stderr": options.stderr}
    while (chunk := await session.read()) is not None:
        stream, data = chunk
        if wanted[stream]:
            await client.send_output(stream, data)


def _failure_status(error: PodhostError | errors.ApiError) -> Obj:
    if isinstance(error, errors.ApiError):
        return error.status
    return errors.internal_error(f"error executing command in container: {error}").status
