"""Many watchers at once, fast ones and slow ones: each sees every change once and in order, and none waits for another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from podhost.store import ObjectKey

CM = "/api/v1/namespaces/default/configmaps"
TABLE = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n"
METADATA = "Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io\r\n"
BIG = "x" * 100_000
FRAME_BYTES = 64 << 10


@dataclass
class RawWatcher:
    """A watch on a socket of its own, which is read only when the test says so."""

    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)

    async def _receive(self) -> bool:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.connection, 1 << 18), 20)
        self.received += data
        return bool(data)

    async def head(self) -> bytes:
        while b"\r\n\r\n" not in self.received:
            assert await self._receive()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        return bytes(head)

    async def events(self, count: int, *, chunked: bool = True) -> list[tuple[str, Any]]:
        """Exactly so many: more would be an error as well."""
        while (body := _unchunk(self.received) if chunked else bytes(self.received)).count(b"\n") < count:
            assert await self._receive(), "the watch has ended"
        events = [json.loads(line) for line in body.splitlines()]
        assert len(events) == count
        return [(event["type"], event["object"]) for event in events]

    async def until_closed(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._receive():
                pass

    async def until_last_chunk(self) -> None:
        while not self.received.endswith(b"\r\n0\r\n\r\n"):
            assert await self._receive()


def _unchunk(data: bytearray) -> bytes:
    body, rest = bytearray(), bytes(data)
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return bytes(body)


@contextlib.asynccontextmanager
async def watch(api: Any, query: str = "", headers: str = "", version: str = "1.1") -> AsyncIterator[RawWatcher]:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, str(api.socket))
        request = f"GET {CM}?watch=1&{query} HTTP/{version}\r\nHost: podhost\r\n{headers}\r\n"
        await loop.sock_sendall(connection, request.encode())
        watcher = RawWatcher(connection)
        assert b" 200 " in await watcher.head()
        yield watcher


def write(api: Any, name: str, data: str = "", **labels: str) -> int:
    """Create, or update when it is there."""
    key = ObjectKey("configmaps", "default", name)
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": labels}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": data}}
    stored = api.store.create(key, config) if api.store.find(key) is None else api.store.update(key, config)
    return int(stored["metadata"]["resourceVersion"])


def versions(events: list[tuple[str, Any]]) -> list[int]:
    """Also of rows of tables."""
    objects = [obj["rows"][0]["object"] if obj["kind"] == "Table" else obj for _, obj in events]
    return [int(obj["metadata"]["resourceVersion"]) for obj in objects]


def unsent_bytes(api: Any) -> list[int]:
    """What the server keeps for each connection."""
    transports = [handler.transport for handler in api.runner.server.connections]
    return [transport.get_write_buffer_size() for transport in transports if transport is not None]


async def test_a_thousand_watchers_get_the_same_bytes(api: Any) -> None:
    async with contextlib.AsyncExitStack() as opened:
        since = f"resourceVersion={api.store.current_rv()}"
        watchers = [await opened.enter_async_context(watch(api, since)) for _ in range(1000)]
        write(api, "a", "text")
        await asyncio.gather(*(watcher.events(1) for watcher in watchers))
        assert {bytes(watcher.received) for watcher in watchers} == {bytes(watchers[0].received)}
        ((kind, obj),) = await watchers[0].events(1)
        assert (kind, obj["data"]) == ("ADDED", {"k": "text"})


async def test_watchers_of_every_form_see_every_change_whenever_they_come(api: Any) -> None:
    begin = api.store.current_rv()
    since = f"resourceVersion={begin}"
    forms = (
        ("", "", "1.1"),
        ("", TABLE, "1.1"),
        ("", METADATA, "1.1"),
        ("", "", "1.0"),
        ("&allowWatchBookmarks=1", "", "1.1"),
        ("&labelSelector=all", "", "1.1"),
    )
    written: list[int] = []
    going_on = True

    async def write_on() -> None:
        while going_on:
            written.append(write(api, f"n{len(written) % 7}", str(len(written)), all="yes"))
            await asyncio.sleep(0.001)

    async with contextlib.AsyncExitStack() as opened, asyncio.timeout(60):
        writer = asyncio.get_running_loop().create_task(write_on())
        watchers = [
            (await opened.enter_async_context(watch(api, since + query, headers, version)), version)
            for _ in range(5)
            for query, headers, version in forms
        ]
        going_on = False
        await writer
        for watcher, version in watchers:
            assert versions(await watcher.events(len(written), chunked=version == "1.1")) == written


async def test_watchers_over_tls_may_leave_at_any_moment(api: Any, pki: Path) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    request = f"GET {CM}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with watch(api) as reader:
        written = 0
        for rounds in range(10):
            writers = []
            for _ in range(5):
                stream, writer = await asyncio.open_connection("localhost", api.port, ssl=context)
                writer.write(request)
                await asyncio.wait_for(stream.readuntil(b"\r\n\r\n"), 20)
                writers.append(writer)
            for number, writer in enumerate(writers):
                if (number + rounds) % 2:
                    writer.close()
                else:
                    writer.transport.abort()
                write(api, f"n{written}")
                written += 1
                await asyncio.sleep(0)
            await reader.events(written)


@pytest.mark.parametrize("api_settings", [{"watch_write_timeout_s": 600.0}])
async def test_a_slow_watcher_costs_a_frame_of_memory_and_gets_everything_in_the_end(api: Any) -> None:
    since = f"resourceVersion={api.store.current_rv()}"
    async with contextlib.AsyncExitStack() as opened:
        slow = [await opened.enter_async_context(watch(api, since)) for _ in range(5)]
        fast = await opened.enter_async_context(watch(api, since))
        written = []
        for number in range(40):
            written.append(write(api, f"n{number % 3}", f"{number}{BIG}"))
            assert versions(await fast.events(len(written)))[-1] == written[-1]
        bounds = [size <= len(BIG) + FRAME_BYTES for size in unsent_bytes(api)]
        assert len(bounds) == 6
        assert all(bounds)
        assert sum(map(bool, unsent_bytes(api))) == len(slow)
        for watcher in slow:
            assert versions(await watcher.events(len(written))) == written
        write(api, "n0", "the end")
        for watcher in (*slow, fast):
            assert len(await watcher.events(len(written) + 1)) == len(written) + 1


async def test_a_watcher_that_reads_nothing_is_dropped(api: Any) -> None:
    async with watch(api) as silent, watch(api) as reader:
        for number in range(30):
            write(api, f"n{number}", BIG)
            await reader.events(number + 1)
        async with asyncio.timeout(20):  # the fixture ends a watch whose client takes nothing for a second
            while len(api.runner.server.connections) > 1:
                await asyncio.sleep(0.02)
        await silent.until_closed()
        write(api, "last")
        assert len(await reader.events(31)) == 31


async def test_more_changes_at_once_than_a_watch_keeps_are_read_from_the_history(api: Any) -> None:
    api.store._watch_capacity = 8
    async with watch(api) as first, watch(api) as second:
        await asyncio.sleep(0)
        written = [write(api, f"n{number}") for number in range(300)]
        assert versions(await first.events(300)) == written
        assert versions(await second.events(300)) == written


async def test_what_the_history_no_longer_has_ends_watchers_that_need_it(api: Any) -> None:
    api.store._watch_capacity = 8
    api.store._database._history_limit = 20
    async with watch(api) as watcher:
        write(api, "before")
        await watcher.events(1)
        for number in range(200):
            write(api, f"n{number}")
        (_, _), (kind, status) = await watcher.events(2)
        assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
        await watcher.until_last_chunk()
