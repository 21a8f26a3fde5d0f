"""Byte streams under hostile clients: nothing of theirs stays, nothing of ours breaks, and others are served."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import build_pod
from harness.spdy_client import SpdyClient, connect_spdy

POD = "/api/v1/namespaces/default/pods/target"
V4 = "v4.channel.k8s.io"
FLOOD = """
import socket, threading
def serve(connection):
    try:
        while True:
            connection.sendall(bytes(65536))
    except OSError:
        connection.close()
def ignore(connection):
    threading.Event().wait()
for port, job in ((7000, serve), (7001, ignore)):
    def accept(listener=socket.create_server(("0.0.0.0", port), backlog=500), job=job):
        while True:
            threading.Thread(target=job, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=accept).start()
"""


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        probe = {"tcpSocket": {"port": 7001}, "periodSeconds": 1}
        container = {"name": "c", "image": "training/webapp", "command": ["python3", "-c", FLOOD]}
        running.apply(build_pod("target", "", containers=[{**container, "readinessProbe": probe}]))
        running.wait("pod/target", "condition=Ready", timeout_s=30)
        yield running


class Watched:
    """What a daemon holds for its clients, now and before."""

    def __init__(self, daemon: Daemon) -> None:
        assert daemon.process is not None
        self._daemon = daemon
        self._proc = Path(f"/proc/{daemon.process.pid}")
        self._fds = self._count_fds()

    def _count_fds(self) -> int:
        return len(os.listdir(self._proc / "fd"))

    def memory_mib(self) -> int:
        fields = (self._proc / "statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

    def _list_execs(self) -> list[str]:
        return os.listdir(
            self._proc / "root" / str(self._daemon.run_root)[1:] / self._daemon.instance / "runtime" / "execs"
        )

    def check_all_is_gone(self) -> None:
        wait_until(lambda: not self._list_execs(), what="all execs to go")
        wait_until(lambda: self._count_fds() <= self._fds + 3, what="their descriptors to be closed")
        assert "Traceback" not in self._daemon.log_tail(500)
        done = self._daemon.kubectl("exec", "target", "--", "echo", "served")
        assert done.stdout == "served\n"


def exec_target(*command: str, options: str = "stdout=1") -> str:
    return f"{POD}/exec?{options}&" + "&".join(f"command={word}" for word in command)


async def open_exec(daemon: Daemon, *command: str) -> tuple[SpdyClient, dict[str, int]]:
    client = await connect_spdy(daemon.socket_path, exec_target(*command), [V4])
    return client, {name: await client.open(streamType=name) for name in ("error", "stdout")}


async def open_forward(daemon: Daemon, port: int, connections: int = 1) -> SpdyClient:
    client = await connect_spdy(daemon.socket_path, f"{POD}/portforward")
    for number in range(connections):
        await client.open_pair(port, str(number))
    return client


async def test_clients_that_vanish_at_any_moment_leave_nothing(daemon: Daemon) -> None:
    watched = Watched(daemon)
    limit = asyncio.Semaphore(8)

    async def vanish(number: int) -> None:
        async with limit:
            delay_s = 0.002 * (number // 4)
            if number % 4 == 0:
                head = f"POST {exec_target('sleep', '1000')} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                _, writer = await asyncio.open_unix_connection(str(daemon.socket_path))
                writer.write(f"{head}Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {V4}\r\n\r\n".encode())
                await asyncio.sleep(delay_s)
                writer.transport.abort()
                return
            if number % 4 == 1:
                client = await connect_spdy(daemon.socket_path, exec_target("sleep", "1000"), [V4])
            elif number % 4 == 2:
                client, _ = await open_exec(daemon, "sleep", "1000")
            else:
                client = await open_forward(daemon, 7000, 5)
            await asyncio.sleep(delay_s)
            await client.close()

    await asyncio.gather(*(vanish(number) for number in range(100)))
    await asyncio.to_thread(watched.check_all_is_gone)


async def test_hundred_commands_at_once_do_not_mix(daemon: Daemon) -> None:
    watched = Watched(daemon)

    async def ask(number: int) -> None:
        client, ids = await open_exec(daemon, "sh", "-c", f"echo+{number};exit+{number}")
        assert await client.read_to_end(ids["stdout"]) == f"{number}\n".encode()
        status = json.loads(await client.read_to_end(ids["error"]))
        code = (status.get("details") or {"causes": [{"message": "0"}]})["causes"][0]["message"]
        assert code == str(number)
        await client.close()

    await asyncio.gather(*(ask(number) for number in range(100)))
    await asyncio.to_thread(watched.check_all_is_gone)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes that begin well, and then do not."""
    wire = bytearray(data)
    for _ in range(rng.randrange(4)):
        wire[rng.randrange(len(wire))] = rng.randrange(256)
    return bytes(wire[: rng.randrange(1, len(wire) + 1)]) + rng.randbytes(rng.randrange(60))


async def send_garbage(daemon: Daemon, head: str, data: bytes) -> None:
    """Whether and when the connection ends is the server's affair; it must be served to its end."""
    reader, writer = await asyncio.open_unix_connection(str(daemon.socket_path))
    writer.write(head.encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101"), answer
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(20):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
    writer.close()


async def test_garbage_on_the_wire_ends_its_connection_and_nothing_else(daemon: Daemon) -> None:
    watched = Watched(daemon)
    rng = random.Random(20261125)
    parts: list[bytes] = []

    async def keep(data: bytes) -> None:
        parts.append(data)

    async def nothing() -> bytes:
        return b""

    async def no_end() -> None:
        return None

    client = SpdyClient(nothing, keep, no_end)
    for name in ("error", "stdin", "stdout"):
        await client.send(await client.open(streamType=name, port="7001", requestID="1"), b"data")
    good = b"".join(parts)
    upgrades = [
        f"POST {exec_target('cat', options='stdin=1&stdout=1')} HTTP/1.1\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {V4}\r\n",
        f"POST {POD}/portforward HTTP/1.1\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n",
        *(
            f"GET {target} HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Protocol: {protocol}\r\n"
            for target, protocol in (
                (exec_target("cat", options="stdin=1&stdout=1&tty=1"), V4),
                (exec_target("cat", options="stdin=1&stdout=1"), "v4.base64.channel.k8s.io"),
                (f"{POD}/portforward", "SPDY/3.1+portforward.k8s.io"),
                (f"{POD}/portforward?ports=7001", V4),
            )
        ),
    ]
    limit = asyncio.Semaphore(8)

    async def attack(upgrade: str) -> None:
        data = mutate(good, rng)
        if "websocket" in upgrade and rng.random() < 0.8:
            length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
            data = bytes([0x80 | rng.choice((1, 2, 2, 2))]) + length + bytes(4) + data
        async with limit:
            await send_garbage(daemon, upgrade + "Host: x\r\nConnection: Upgrade\r\n\r\n", data)

    await asyncio.gather(*(attack(upgrades[number % len(upgrades)]) for number in range(150)))
    await asyncio.to_thread(watched.check_all_is_gone)


async def test_clients_that_read_nothing_cost_little_and_hold_nobody_up(daemon: Daemon) -> None:
    watched = Watched(daemon)
    before = watched.memory_mib()
    deaf = [(await open_exec(daemon, "cat", "/dev/zero"))[0] for _ in range(10)]
    deaf += [await open_forward(daemon, 7000, 10) for _ in range(5)]
    writers = []
    for _ in range(5):
        _, writer = await asyncio.open_unix_connection(str(daemon.socket_path), limit=1024)
        writer.write(f"GET {POD}:7000/proxy/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        writers.append(writer)
    await asyncio.sleep(1)  # all that can be poured into buffers is in them

    def measure() -> float:
        started = time.monotonic()
        daemon.get("/version")
        return time.monotonic() - started

    assert await asyncio.to_thread(measure) < 2
    assert watched.memory_mib() - before < 150
    for client in deaf:
        await client.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.to_thread(watched.check_all_is_gone)


async def test_upload_that_nobody_reads_is_held_and_ends_with_its_client(daemon: Daemon) -> None:
    watched = Watched(daemon)
    before = watched.memory_mib()

    async def pour(client: SpdyClient, stream_id: int) -> None:
        while True:
            await client.send(stream_id, bytes(1 << 16))

    clients = []
    pouring = []
    for number in range(10):
        if number % 2:
            client = await connect_spdy(daemon.socket_path, f"{POD}/portforward")
            stream_id, _ = await client.open_pair(7001, "1")
        else:
            target = exec_target("sleep", "1000", options="stdin=1")
            client = await connect_spdy(daemon.socket_path, target, [V4])
            await client.open(streamType="error")
            stream_id = await client.open(streamType="stdin")
        clients.append(client)
        pouring.append(asyncio.ensure_future(pour(client, stream_id)))
    await asyncio.sleep(1)
    assert watched.memory_mib() - before < 150
    for task in pouring:
        task.cancel()
    await asyncio.gather(*pouring, return_exceptions=True)
    for client in clients:
        await client.close()
    await asyncio.to_thread(watched.check_all_is_gone)
