"""Clients that send nonsense, or too much, or too slowly, or do not read: each is bounded, and others are answered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podhost.apiserver.limits import RequestLimits
from podhost.store import ObjectKey

CM = "/api/v1/namespaces/default/configmaps"
EXEC = "/api/v1/namespaces/default/pods/p/exec"
LIMITS = RequestLimits(connections_per_peer=30, handshake_s=1.0, idle_s=1.0, body_s=1.0, answer_s=1.0)
PATIENCE_S = 20
BUFFER_BYTES = 1 << 20


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"limits": LIMITS}


@dataclass
class Raw:
    """A connection that is read only when the test says so."""

    connection: socket.socket

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.connection, data), PATIENCE_S)

    async def read(self, until: bytes = b"") -> bytes:
        """Up to some bytes, or everything until the server closes the connection."""
        received = bytearray()
        with contextlib.suppress(ConnectionError):
            while not (until and until in received):
                data = await asyncio.wait_for(
                    asyncio.get_running_loop().sock_recv(self.connection, 1 << 16), PATIENCE_S
                )
                if not data:
                    break
                received += data
        return bytes(received)


@contextlib.asynccontextmanager
async def connect(api: Any, *, port: int = 0) -> AsyncIterator[Raw]:
    with socket.socket(socket.AF_INET if port else socket.AF_UNIX) as connection:
        connection.setblocking(False)
        place: Any = ("127.0.0.1", port) if port else str(api.socket)
        await asyncio.get_running_loop().sock_connect(connection, place)
        yield Raw(connection)


async def others_are_answered(api: Any) -> None:
    """A new client gets what it asks for at once."""
    async with asyncio.timeout(PATIENCE_S / 4), connect(api) as other:
        await other.send(f"GET {CM} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert (await other.read()).startswith(b"HTTP/1.1 200")


def kept_bytes(api: Any) -> int:
    """What the server holds for all who do not read."""
    transports = [handler.transport for handler in api.runner.server.connections]
    return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)


async def until_no_connection(api: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while api.runner.server.connections:
            await asyncio.sleep(0.02)


def put_config(api: Any, name: str, size: int) -> None:
    metadata = {"name": name, "namespace": "default", "uid": name}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "x" * size}}
    api.store.create(ObjectKey("configmaps", "default", name), config)


def put_running_pod(api: Any) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
        "status": {},
    }
    api.store.create(ObjectKey("pods", "default", "p"), pod)
    api.bind("p")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
async def test_handshakes_that_come_to_no_end_are_counted_and_closed(api: Any, pki: Path, sent: bytes) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    async with contextlib.AsyncExitStack() as opened:
        begun = [
            await opened.enter_async_context(connect(api, port=api.port)) for _ in range(LIMITS.connections_per_peer)
        ]
        for each in begun:
            await each.send(sent)
        if not sent.startswith(b"GET"):
            refused = await opened.enter_async_context(connect(api, port=api.port))
            assert await refused.read() == b"", "one more than this address may have"
        await others_are_answered(api)
        for each in begun:
            await each.read()
    reader, writer = await asyncio.open_connection("localhost", api.port, ssl=context)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), PATIENCE_S)).endswith(b"ok")
    writer.close()


async def test_a_head_that_trickles_in_ends_its_connection(api: Any) -> None:
    async with connect(api) as slow:
        await slow.send(b"GET /livez HTTP/1.1\r\n")
        closed = asyncio.get_running_loop().create_task(slow.read())
        with contextlib.suppress(ConnectionError):
            while not closed.done():
                await slow.send(b"X-A: b\r\n")
                await asyncio.sleep(0.05)
        assert await closed == b""


async def test_a_head_is_bounded_as_a_whole_and_all_heads_together(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 60_000) for number in range(30))
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    async with connect(api) as large:
        with contextlib.suppress(ConnectionError):
            await large.send(head + fields + b"\r\n")
        assert (await large.read())[:13] in (b"HTTP/1.1 431 ", b"")
    monkeypatch.setattr("podhost.apiserver.connections._MAX_UNFINISHED_HEADS_BYTES", 100_000)
    async with connect(api) as first, connect(api) as second, connect(api) as whole:
        for each in (first, second):
            await each.send(head + fields[:60_000])
        assert (await second.read()).startswith(b"HTTP/1.1 431 ")
        await whole.send(head + b"\r\n")
        assert (await whole.read()).endswith(b"ok")
        await first.send(b"\r\n\r\n")
        assert (await first.read()).endswith(b"ok")
    assert api.runner.server.unfinished_heads_bytes == 0


@pytest.mark.parametrize(
    ("fields", "body", "code"),
    [
        (b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"{}   ", b"400"),
        (b"Content-Length: -1\r\n", b"", b"400"),
        (b"Content-Length: 99999999999999999999\r\n", b"", b"400"),
        (b"Content-Length: 9999999999\r\n", b"{", b"413"),
        (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n{", b"400"),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\n{", b"400"),
        (b"Transfer-Encoding: chunked\r\n", b"ffffff\r\n" + b" " * 0xFFFFFF, b"413"),
        (b"X: " + b"v" * (1 << 21) + b"\r\n", b"", b"400"),
    ],
)
async def test_lengths_that_cannot_be(api: Any, fields: bytes, body: bytes, code: bytes) -> None:
    async with connect(api) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(
                b"POST "
                + CM.encode()
                + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                + fields
                + b"\r\n"
            )
            await client.send(body)
        answer = await client.read()
        assert answer[9:12] in (code, b""), answer[:200]
    await others_are_answered(api)
    await until_no_connection(api)


async def test_answers_that_nobody_reads_are_broken_off(api: Any) -> None:
    for number in range(20):
        put_config(api, f"n{number}", 200_000)
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(10):
            client = await opened.enter_async_context(connect(api))
            await client.send(f"GET {CM} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await others_are_answered(api)
        await until_no_connection(api)


async def test_requests_in_a_row_are_answered_in_their_order_and_held_back_while_nobody_reads(api: Any) -> None:
    put_config(api, "n", 5_000)
    count = 3_000
    requests = b"".join(
        f"GET {CM}/{'n' if number % 2 else number} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for number in range(count)
    )
    async with connect(api) as silent:
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await silent.send(requests * 10)
        assert kept_bytes(api) < BUFFER_BYTES
        await others_are_answered(api)
        await until_no_connection(api)
    async with connect(api) as reader:
        sending = asyncio.get_running_loop().create_task(reader.send(requests + b"GET /livez HTTP/1.0\r\n\r\n"))
        answers = await reader.read()
        await sending
    codes = [part.split(b" ")[1] for part in answers.split(b"HTTP/1.")[1:]]
    assert codes == [b"404", b"200"] * (count // 2) + [b"200"]


async def test_connections_that_come_and_go_leave_nothing(api: Any) -> None:
    async def touch(number: int) -> None:
        async with connect(api, port=api.port if number % 2 else 0) as client:
            with contextlib.suppress(ConnectionError):
                await client.send(b"GET /livez HT" if number % 3 else b"\x16\x03\x01")

    for start in range(0, 500, 20):
        await asyncio.gather(*(touch(number) for number in range(start, start + 20)))
    await others_are_answered(api)
    await until_no_connection(api)
    assert api.runner.server._count._peers.total() == 0


async def open_exec(client: Raw, command: str) -> None:
    key = base64.b64encode(b"0" * 16).decode()
    query = "&".join(f"command={word}" for word in command.split())
    await client.send(
        f"GET {EXEC}?stdin=1&stdout=1&{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
    )
    assert (await client.read(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")


def frame(opcode: int, payload: bytes, *, fin: bool = True, length: int | None = None) -> bytes:
    """Masked with zeros."""
    size = len(payload) if length is None else length
    return struct.pack("!BBQI", opcode | (0x80 if fin else 0), 0x80 | 127, size, 0) + payload


@pytest.mark.parametrize(
    "frames",
    [
        [frame(2, b"\0x", length=(1 << 63) - 1)],
        [frame(2, b"\0x", length=5 << 20)],
        [frame(2, b"\0", fin=False), *[frame(0, b"x" * 65_536, fin=False)] * 100],
        [frame(2, b"\0", fin=False), *[frame(0, b"", fin=False)] * 20_000],
        [frame(0xB, b"")],
        [frame(9, b"p" * 126)],
        [frame(8, b"\xff")],
        [struct.pack("!BB", 0x82, 5) + b"no mask"],
        [struct.pack("!BBI", 0xF2, 0x80, 0)],
        [frame(2, b"\x63nobody listens to this channel")] * 10,
    ],
)
async def test_websocket_frames_that_cannot_be_end_the_command(api: Any, frames: list[bytes]) -> None:
    put_running_pod(api)
    async with connect(api) as client:
        await open_exec(client, "cat")
        with contextlib.suppress(ConnectionError):
            for each in frames:
                await client.send(each)
            client.connection.shutdown(socket.SHUT_WR)
        await others_are_answered(api)
        await client.read()
    async with asyncio.timeout(PATIENCE_S):
        while not all(session.closed for session in api.node.sessions):
            await asyncio.sleep(0.02)
    await until_no_connection(api)


async def test_output_that_nobody_reads_holds_the_command_back(api: Any) -> None:
    put_running_pod(api)
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(5):
            await open_exec(await opened.enter_async_context(connect(api)), "yes")
        for _ in range(20):
            await others_are_answered(api)
            assert kept_bytes(api) < 5 * BUFFER_BYTES
        assert [session.closed for session in api.node.sessions] == [False] * 5
    await until_no_connection(api)


async def test_a_log_that_nobody_reads_is_not_kept(api: Any) -> None:
    put_running_pod(api)
    api.node.lines = [b"x" * 65_535 + b"\n"] * 200
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(5):
            client = await opened.enter_async_context(connect(api))
            await client.send(b"GET " + EXEC.replace("exec", "log").encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(20):
            await others_are_answered(api)
            assert kept_bytes(api) < 5 * BUFFER_BYTES


async def test_pings_of_a_spdy_client_that_reads_nothing_are_not_heaped_up(api: Any) -> None:
    put_running_pod(api)
    pings = b"".join(struct.pack("!HHII", 0x8003, 6, 4, number * 2 + 1) for number in range(5_000))
    query = f"{EXEC}?stdin=1&stdout=1&command=cat"
    async with connect(api) as client:
        await client.send(
            f"POST {query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n".encode()
        )
        assert (await client.read(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(3):
                for _ in range(200):
                    await client.send(pings)
        assert api.runner.server.connections
        assert kept_bytes(api) < BUFFER_BYTES
        await others_are_answered(api)
