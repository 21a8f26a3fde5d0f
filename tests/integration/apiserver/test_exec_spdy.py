"""Exec and attach over plain SPDY/3.1, in every version of their protocol; commands run on the host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from harness.spdy_client import SpdyClient, UpgradeRefusedError, connect_spdy
from podhost.api import errors
from podhost.apiserver import exec_clients
from podhost.errors import NotFoundError

PODS = "/api/v1/namespaces/default/pods"
V4 = "v4.channel.k8s.io"


@pytest.fixture(autouse=True)
async def pod(api: Any, http: aiohttp.ClientSession) -> None:
    body = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    async with http.post(PODS, json=body) as response:
        assert response.status == 201
    api.bind("one")


def target(*command: str, options: str = "stdout=1&stderr=1", verb: str = "exec") -> str:
    words = "&".join(f"command={word}" for word in command)
    return f"{PODS}/one/{verb}?{options}&{words}"


@asynccontextmanager
async def streams(
    api: Any, path: str, *names: str, protocol: str = V4
) -> AsyncIterator[tuple[SpdyClient, dict[str, int]]]:
    """A client that has opened its streams."""
    client = await connect_spdy(api.socket, path, [protocol])
    assert f"X-Stream-Protocol-Version: {protocol}" in client.head
    yield client, {name: await client.open(streamType=name) for name in names}
    await client.close()
    await until(lambda: all(session.closed for session in api.node.sessions))
    await until(lambda: not any(task.get_name().startswith("exec") for task in asyncio.all_tasks()))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def test_output_and_exit_code(api: Any) -> None:
    path = target("sh", "-c", "echo+out;echo+err>%262;exit+3")
    async with streams(api, path, "error", "stdout", "stderr") as (client, ids):
        assert await client.read_to_end(ids["stdout"]) == b"out\n"
        assert await client.read_to_end(ids["stderr"]) == b"err\n"
        status = json.loads(await client.read_to_end(ids["error"]))
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        assert client.replied == set(ids.values())


async def test_end_of_stdin_reaches_the_command(api: Any) -> None:
    options = "stdin=1&stdout=1&stderr=0"
    async with streams(api, target("cat", options=options), "error", "stdin", "stdout") as (client, ids):
        await client.send(ids["stdin"], bytes(range(256)) * 1000)
        await client.send(ids["stdin"], b"", fin=True)
        assert await client.read_to_end(ids["stdout"]) == bytes(range(256)) * 1000
        assert json.loads(await client.read_to_end(ids["error"]))["status"] == "Success"


async def test_terminal_is_resized_by_documents_that_are_cut_anywhere(api: Any) -> None:
    options = "stdin=1&stdout=1&tty=1"
    async with streams(api, target("cat", options=options), "error", "stdin", "stdout", "resize") as (client, ids):
        await client.send(ids["resize"], b'{"Width":80,"Height":24}\n{"Wid')
        await client.send(ids["resize"], b'th":100,"Height":40}{"Width":0,"Height":0}\n')
        await until(lambda: api.node.sessions[-1:] and api.node.sessions[-1].sizes == [(80, 24), (100, 40)])


@pytest.mark.parametrize("junk", [b'{"Width":"x"}', b"x" * 5000])
async def test_size_that_cannot_be_read_ends_it_with_a_reason(api: Any, junk: bytes) -> None:
    options = "stdin=1&stdout=1&tty=1"
    async with streams(api, target("cat", options=options), "error", "stdin", "stdout", "resize") as (client, ids):
        await client.send(ids["resize"], junk)
        status = json.loads(await client.read_to_end(ids["error"]))
        assert "cannot read a terminal size" in status["message"]


@pytest.mark.parametrize("version", ["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"])
async def test_older_versions_tell_failures_as_text(api: Any, version: str) -> None:
    options = "stdout=1&stderr=0" + ("&tty=1" if not version.startswith("v3") else "")
    path = target("sh", "-c", "exit+4", options=options)
    async with streams(api, path, "error", "stdout", protocol=version) as (client, ids):
        text = await client.read_to_end(ids["error"])
        assert text == b"command terminated with non-zero exit code: exit status 4"
    path = target("true", options=options)
    async with streams(api, path, "error", "stdout", protocol=version) as (client, ids):
        assert await client.read_to_end(ids["error"]) == b""


async def test_attach(api: Any) -> None:
    async with streams(api, target(verb="attach"), "error", "stdout", "stderr") as (client, ids):
        assert await client.read_to_end(ids["stdout"]) == b"attached\n"


async def test_streams_that_nobody_asked_for_are_refused(api: Any) -> None:
    async with streams(api, target("cat"), "error", "error", "resize", "stdin", "") as (client, ids):
        wanted = {ids["stdin"], ids["resize"], ids[""]}
        await client.wait(lambda: wanted <= client.reset.keys())


async def test_client_that_does_not_open_its_streams_is_let_go(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_clients, "_STREAMS_TIMEOUT_S", 0.05)
    async with streams(api, target("cat", options="stdin=1"), "error") as (client, _):
        await client.wait_closed()


@pytest.mark.parametrize("moment", ["before streams", "while it runs"])
async def test_command_of_a_vanished_client_is_ended(api: Any, moment: str) -> None:
    names = ("error", "stdout", "stderr") if moment == "while it runs" else ("error",)
    async with streams(api, target("sleep", "1000"), *names):
        await until(lambda: len(api.node.sessions) == 1)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (
            errors.internal_error('unable to upgrade connection: container not found ("c")'),
            'container not found ("c")\n',
        ),
        (errors.bad_request("no"), '"message":"no"'),
        (NotFoundError("gone"), '"message":"gone"'),
    ],
)
async def test_refusal_comes_before_the_upgrade(api: Any, failure: Exception, text: str) -> None:
    api.node.error = failure
    with pytest.raises(UpgradeRefusedError) as caught:
        await connect_spdy(api.socket, target("true"), [V4])
    assert text in caught.value.body


async def test_no_protocol_in_common_starts_nothing(api: Any) -> None:
    with pytest.raises(UpgradeRefusedError, match="403"):
        await connect_spdy(api.socket, target("true"), ["v9.channel.k8s.io"])
    assert api.node.sessions == []
