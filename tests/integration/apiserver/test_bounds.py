"""Clients that ask for too much, or too slowly: refused, closed, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from podhost.apiserver.limits import RequestLimits

PODS = "/api/v1/namespaces/default/pods"
LIMITS = RequestLimits(
    mutating=2, streams=6, streams_per_user=2, connections=12, connections_per_peer=8, idle_s=0.5, body_s=0.5
)
CAROL = {"Authorization": "Bearer carol-token", "Content-Type": "application/json"}


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"limits": LIMITS}


@pytest.fixture
async def carol(api: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A user who is no administrator, over TLS, and does not look at certificates."""
    await api.ok("create", "clusterrole", "c", "--verb=*", "--resource=pods")
    await api.ok("create", "clusterrolebinding", "c", "--clusterrole=c", "--user=carol")
    connector = aiohttp.TCPConnector(ssl=False, force_close=True, limit=0)
    async with aiohttp.ClientSession(f"https://localhost:{api.port}", connector=connector, headers=CAROL) as session:
        yield session


async def slow_body() -> AsyncIterator[bytes]:
    yield b'{"metadata"'
    await asyncio.sleep(3600)


async def test_more_watches_than_a_user_may_have_are_refused(api: Any, carol: aiohttp.ClientSession) -> None:
    async with AsyncExitStack() as open_watches:
        for _ in range(2):
            watch = await open_watches.enter_async_context(carol.get(f"{PODS}?watch=1"))
            assert watch.status == 200
        async with carol.get(f"{PODS}?watch=1") as refused:
            assert refused.status == 429
            assert refused.headers["Retry-After"] == "1"
            assert (await refused.json())["reason"] == "TooManyRequests"
        async with carol.get(PODS) as listed, carol.get("/livez") as health:
            assert (listed.status, health.status) == (200, 200)
    status = 429
    async with asyncio.timeout(10):
        while status == 429:  # until the server has noticed that the first two have gone
            async with carol.get(f"{PODS}?watch=1") as again:
                status = again.status


async def test_bodies_that_do_not_come_end_their_requests(api: Any, carol: aiohttp.ClientSession) -> None:
    async def create() -> tuple[int, str]:
        async with carol.post(PODS, data=slow_body()) as response:
            return response.status, (await response.json())["reason"]

    answers = await asyncio.wait_for(asyncio.gather(*(create() for _ in range(3))), 20)
    assert sorted(answers) == [(429, "TooManyRequests"), (504, "Timeout"), (504, "Timeout")]
    assert (await api.kubectl("create", "configmap", "served"))[0] == 0


async def test_heads_that_do_not_come_end_their_connections(api: Any) -> None:
    for sent in (b"", b"GET /livez HTTP/1.1\r\nHost:", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET "):
        reader, writer = await asyncio.open_unix_connection(str(api.socket))
        for at in range(len(sent)):
            writer.write(sent[at : at + 1])
        answer = await asyncio.wait_for(reader.read(), 20)
        assert answer.startswith(b"HTTP/1.1 200") == (b"\r\n\r\n" in sent)
        writer.close()


async def test_a_peer_with_too_many_connections_locks_out_nobody(api: Any) -> None:
    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(api.socket))

    held = [await connect() for _ in range(LIMITS.connections_per_peer)]
    refused, writer = await connect()
    assert await asyncio.wait_for(refused.read(), 20) == b""
    writer.close()
    assert (await api.kubectl("get", "pods"))[0] == 0, "over TLS, which is another peer"
    for _, each in held:
        each.close()
        await each.wait_closed()
    async with asyncio.timeout(10):
        answer = b""
        while not answer:
            reader, writer = await connect()
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
