"""``pods/portforward`` over each of its protocols; what listens is a server of the test."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from harness.spdy_client import SpdyClient, UpgradeRefusedError, connect_spdy, connect_tunnel
from podhost.apiserver import port_forward, server
from podhost.kubelet import port_forward as kubelet_side
from podhost.wire.spdy_frames import ResetStatus

TARGET = "/api/v1/namespaces/default/pods/one/portforward"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
async def pod(api: Any, http: aiohttp.ClientSession) -> None:
    body = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    async with http.post("/api/v1/namespaces/default/pods", json=body) as response:
        assert response.status == 201
    api.bind("one")


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """A server on loopback; its port."""
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def echo_at_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers only when the client has finished: needs a half-close."""
    data = await reader.read()
    writer.write(b"you said " + data)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


def count_forward_tasks() -> int:
    return sum(task.get_name().startswith("port-forward") for task in asyncio.all_tasks())


@pytest.fixture(params=["upgrade", "upgrade with GET", "tunnel"])
async def client(request: pytest.FixtureRequest, api: Any, http: aiohttp.ClientSession) -> AsyncIterator[SpdyClient]:
    if request.param == "tunnel":
        connected = await connect_tunnel(http, TARGET)
    else:
        connected = await connect_spdy(api.socket, TARGET, method="GET" if "GET" in request.param else "POST")
    yield connected
    await connected.close()
    await until(lambda: count_forward_tasks() == 0)


async def test_half_closed_connection_is_answered(client: SpdyClient) -> None:
    async with listening(echo_at_end) as port:
        data, error = await client.open_pair(port, "0")
        await client.send(data, b"hello")
        await client.send(data, b"", fin=True)
        assert await client.read_to_end(data) == b"you said hello"
        assert await client.read_to_end(error) == b""
        assert client.replied == {data, error}


async def test_client_that_waits_for_errors_before_it_closes_is_told_that_there_are_none(client: SpdyClient) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")

    async with listening(greet) as port:
        data, error = await client.open_pair(port, "0")  # as kubectl 1.20: no end from its side before
        assert await client.read_to_end(data) == b"bye"
        assert await client.read_to_end(error) == b""
        await client.send(data, b"", fin=True)


async def test_hundred_connections_at_once_do_not_mix(client: SpdyClient, api: Any) -> None:
    async with listening(echo) as port:
        pairs = [await client.open_pair(port, str(number)) for number in range(100)]
        for number, (data, _) in enumerate(pairs):
            await client.send(data, f"{number};".encode() * 3000, fin=True)
        for number, (data, error) in enumerate(pairs):
            assert await client.read_to_end(data) == f"{number};".encode() * 3000
            assert await client.read_to_end(error) == b""
        assert len(api.node.connections) == 100
        await until(lambda: count_forward_tasks() == 1)


async def test_refused_connection_says_so_and_harms_no_other(client: SpdyClient) -> None:
    async with listening(echo) as port:
        good, _ = await client.open_pair(port, "good")
        await client.send(good, b"before")
        assert await client.read_exactly(good, 6) == b"before"
        bad, error = await client.open_pair(1, "bad")
        assert "dial tcp4 127.0.0.1:1: connect: connection refused" in (await client.read_to_end(error)).decode()
        assert await client.read_to_end(bad) == b""
        await client.send(good, b"after")
        assert await client.read_exactly(good, 5) == b"after"


async def test_connection_that_the_pod_breaks_off_resets_its_stream_only(client: SpdyClient) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: RST in place of FIN

    async with listening(break_off) as port, listening(echo) as other:
        good, _ = await client.open_pair(other, "0")
        data, error = await client.open_pair(port, "1")
        await client.send(data, b"x")
        await client.wait(lambda: data in client.reset)
        assert await client.read_to_end(error) == b""
        await client.send(good, b"alive", fin=True)
        assert await client.read_to_end(good) == b"alive"


async def test_client_that_breaks_a_stream_off_closes_that_connection(client: SpdyClient) -> None:
    ended = asyncio.Event()

    async def wait_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready")
        await reader.read()
        ended.set()

    async with listening(wait_end) as port:
        data, error = await client.open_pair(port, "0")
        assert await client.read_exactly(data, 5) == b"ready"
        await client.break_off(data)
        assert await client.read_to_end(error) == b""
        await asyncio.wait_for(ended.wait(), 10)


async def test_large_answers_arrive_whole(client: SpdyClient) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(256):
            writer.write(bytes([number]) * (1 << 15))
            await writer.drain()

    async with listening(pour) as port:
        data, _ = await client.open_pair(port, "0")
        received = await client.read_to_end(data)
    assert received == b"".join(bytes([number]) * (1 << 15) for number in range(256))


@pytest.mark.parametrize(
    "headers",
    [
        {"streamType": "data"},
        {"streamType": "data", "port": "0"},
        {"streamType": "data", "port": "65536"},
        {"streamType": "data", "port": "http"},
        {"port": "80"},
        {"streamType": "stdin", "port": "80"},
    ],
)
async def test_stream_without_sense_is_refused(api: Any, headers: dict[str, str]) -> None:
    client = await connect_spdy(api.socket, TARGET)
    stream = await client.open(fin=False, **headers)
    await client.wait(lambda: stream in client.reset)
    assert client.reset[stream] == ResetStatus.REFUSED_STREAM
    await client.close()


async def test_old_clients_without_request_ids_are_paired_by_their_order(api: Any) -> None:
    async with listening(echo_at_end) as port:
        client = await connect_spdy(api.socket, TARGET)
        await client.open(fin=True, streamType="error", port=str(port))
        data = await client.open(streamType="data", port=str(port))
        await client.send(data, b"old", fin=True)
        assert await client.read_to_end(data) == b"you said old"
        await client.close()


async def test_half_a_pair_is_given_up(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "_PAIR_TIMEOUT_S", 0.05)
    client = await connect_spdy(api.socket, TARGET)
    error = await client.open(fin=True, streamType="error", port="80", requestID="7")
    data = await client.open(streamType="data", port="80", requestID="8")
    assert await client.read_to_end(error) == b"(request=7) timed out waiting for streams"
    await client.wait(lambda: data in client.reset)
    await client.close()


async def test_garbage_ends_the_connection(api: Any) -> None:
    client = await connect_spdy(api.socket, TARGET)
    await client._write(b"\xff" * 100)
    await client.wait_closed()
    await client.close()
    await until(lambda: count_forward_tasks() == 0)


async def test_vanished_client_leaves_no_connection(api: Any) -> None:
    open_connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        try:
            await reader.read()
        finally:
            open_connections -= 1

    async with listening(count) as port:
        client = await connect_spdy(api.socket, TARGET)
        for number in range(100):
            await client.open_pair(port, str(number))
        await until(lambda: open_connections == 100)
        await client.close()
        await until(lambda: open_connections == 0)
        await until(lambda: count_forward_tasks() == 0)


async def test_client_that_reads_nothing_holds_the_pod_back(api: Any) -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async with listening(pour) as port:
        client = await connect_spdy(api.socket, TARGET)
        await client.open_pair(port, "0")
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 32 << 20  # what fits into socket buffers, and not much more
        await client.close()
        await until(lambda: count_forward_tasks() == 0)


async def send_until_held_back(client: SpdyClient, stream_id: int) -> None:
    for _ in range(1000):
        sending = asyncio.ensure_future(client.send(stream_id, bytes(1 << 16)))
        done, _ = await asyncio.wait([sending], timeout=1)
        if not done:
            sending.cancel()
            return
    raise AssertionError("64 MiB were taken in for a pod that reads nothing")


async def test_pod_that_reads_nothing_holds_the_client_back_and_is_let_go_with_it(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HANGUP_GRACE_S", 0.0)
    monkeypatch.setattr(kubelet_side, "_FLUSH_S", 0.1)
    stop = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stop.wait()

    async with listening(ignore) as port:
        client = await connect_spdy(api.socket, TARGET)
        data, _ = await client.open_pair(port, "0")
        await send_until_held_back(client, data)
        await client.close()
        await until(lambda: count_forward_tasks() == 0)
        stop.set()


# -- channels -------------------------------------------------------------------------------------------------


async def test_channels_carry_each_port_on_two_of_them(http: aiohttp.ClientSession) -> None:
    async with listening(echo) as first, listening(echo_at_end) as second:
        query = f"?ports={first}&ports={second}"
        async with http.ws_connect(TARGET + query, protocols=["v4.channel.k8s.io"]) as ws:
            hello = sorted([await ws.receive_bytes() for _ in range(4)])
            ports = [struct.pack("<H", port) for port in (first, first, second, second)]
            assert hello == [bytes([channel]) + port for channel, port in enumerate(ports)]
            await ws.send_bytes(b"\x00hello")
            assert await ws.receive_bytes() == b"\x00hello"
            await ws.send_bytes(b"\x09nobody")
            await ws.send_bytes(b"")
            await ws.send_bytes(b"\x00again")
            assert await ws.receive_bytes() == b"\x00again"


async def test_channels_end_when_the_pod_has_ended_them_all(http: aiohttp.ClientSession) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")

    async with listening(greet) as port, http.ws_connect(f"{TARGET}?ports={port}") as ws:
        assert ws.protocol is None
        assert [await ws.receive_bytes() for _ in range(3)][2] == b"\x00bye"
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_refused_port_is_told_on_its_error_channel(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{TARGET}?ports=1", protocols=["v4.base64.channel.k8s.io"]) as ws:
        assert sorted([await ws.receive_str() for _ in range(2)]) == ["0AQA=", "1AQA="]
        message = await ws.receive_str()
        assert message[0] == "1"
        assert b"connection refused" in base64.b64decode(message[1:])
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_what_a_leaving_client_sent_last_still_arrives(http: aiohttp.ClientSession) -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read())

    async with listening(keep) as port:
        async with http.ws_connect(f"{TARGET}?ports={port}", protocols=["v4.channel.k8s.io"]) as ws:
            await ws.send_bytes(b"\x00" + b"x" * 500000)
        assert await asyncio.wait_for(received, 10) == b"x" * 500000


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", 'query parameter "ports" is required'),
        ("?ports=", 'query parameter "ports" cannot be empty'),
        ("?ports=80,x", 'unable to parse "80,x" as a port'),
        ("?ports=65536", 'unable to parse "65536" as a port'),
        ("?ports=0", 'port "0" must be > 0'),
    ],
)
async def test_ports_are_checked(http: aiohttp.ClientSession, query: str, message: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with http.get(TARGET + query, headers=headers) as response:
        assert (response.status, (await response.json())["message"]) == (400, message)


# -- refusals -------------------------------------------------------------------------------------------------


async def test_request_without_an_upgrade_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post(TARGET) as response:
        assert (response.status, (await response.json())["message"]) == (400, "Upgrade request required")


@pytest.mark.parametrize(
    ("protocols", "code", "message"),
    [
        ([], 400, "unable to upgrade: header X-Stream-Protocol-Version does not exist in request"),
        (
            ["a,b", "c"],
            403,
            "unable to upgrade: unable to negotiate protocol: client supports [a b c], "
            "server accepts [portforward.k8s.io]",
        ),
    ],
)
async def test_protocol_must_be_in_common(api: Any, protocols: list[str], code: int, message: str) -> None:
    with pytest.raises(UpgradeRefusedError) as caught:
        await connect_spdy(api.socket, TARGET, protocols)
    assert f" {code} " in caught.value.head
    assert message in caught.value.body


async def test_pod_without_a_node_is_refused(api: Any, http: aiohttp.ClientSession) -> None:
    body = {"metadata": {"name": "two"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    body["spec"]["schedulingGates"] = [{"name": "wait"}]  # type: ignore[index]
    async with http.post("/api/v1/namespaces/default/pods", json=body) as response:
        assert response.status == 201
    with pytest.raises(UpgradeRefusedError) as caught:
        await connect_spdy(api.socket, TARGET.replace("/one/", "/two/"))
    assert "pod two does not have a host assigned" in caught.value.body
