"""Our own client of port-forward against the real API server, over both of its protocols."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from podhost.client import ApiClient, ApiStatusError, Endpoint
from podhost.client import port_forward as module
from podhost.client.port_forward import PortForward
from podhost.errors import UnavailableError


@pytest.fixture(autouse=True)
async def pod(api: Any, http: aiohttp.ClientSession) -> None:
    body = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    async with http.post("/api/v1/namespaces/default/pods", json=body) as response:
        assert response.status == 201
    api.bind("one")


@pytest.fixture(params=["tunnel", "plain"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":  # as if the server knew no tunnel
        monkeypatch.setattr(module, "_TUNNEL", "unknown.example")
    return str(request.param)


@pytest.fixture
def echo() -> Iterator[int]:
    """A server in threads that answers what it has got once all is there; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            data = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            connection.sendall(b"got " + data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def open_forward(path: Path) -> PortForward:
    return PortForward.open(ApiClient(Endpoint(socket_path=path)), "default", "one")


def ask(forward: PortForward, port: int, data: bytes) -> tuple[bytes, str]:
    connection = forward.connect(port)
    connection.write(data)
    connection.write_eof()
    answer = b"".join(iter(connection.read, b""))
    told = connection.wait_over()
    connection.close()
    return answer, told


async def test_connections_carry_bytes_and_half_closes(api: Any, protocol: str, echo: int) -> None:
    def scenario() -> None:
        forward = open_forward(api.socket)
        blob = os.urandom(3 << 20)
        assert ask(forward, echo, blob) == (b"got " + blob, "")
        assert ask(forward, echo, b"") == (b"got ", "")
        forward.close()
        with pytest.raises(UnavailableError):
            forward.connect(echo)

    await asyncio.to_thread(scenario)


async def test_refused_connection_tells_why_and_harms_no_other(api: Any, protocol: str, echo: int) -> None:
    def scenario() -> None:
        forward = open_forward(api.socket)
        answer, told = ask(forward, 1, b"")
        assert (answer, "connection refused" in told) == (b"", True)
        assert ask(forward, echo, b"x") == (b"got x", "")
        forward.close()

    await asyncio.to_thread(scenario)


async def test_many_threads_use_one_request(api: Any, protocol: str, echo: int) -> None:
    answers: dict[int, bytes] = {}

    def scenario() -> None:
        forward = open_forward(api.socket)

        def one(number: int) -> None:
            answers[number] = ask(forward, echo, b"%d" % number * 20000)[0]

        threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        forward.close()

    await asyncio.to_thread(scenario)
    assert answers == {number: b"got " + b"%d" % number * 20000 for number in range(40)}


async def test_server_that_ends_breaks_all_connections(api: Any, protocol: str, echo: int) -> None:
    def begin() -> tuple[PortForward, Any]:
        forward = open_forward(api.socket)
        return forward, forward.connect(echo)

    forward, connection = await asyncio.to_thread(begin)
    reading = asyncio.create_task(asyncio.to_thread(connection.read))
    await api.runner.cleanup()
    with pytest.raises(ConnectionResetError):
        await reading
    assert forward.ended
    forward.close()


async def test_pod_that_does_not_exist_is_told(api: Any, protocol: str) -> None:
    def scenario() -> None:
        with pytest.raises(ApiStatusError, match='pods "none" not found'):
            PortForward.open(ApiClient(Endpoint(socket_path=api.socket)), "default", "none")

    await asyncio.to_thread(scenario)
