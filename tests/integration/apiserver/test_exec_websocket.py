"""exec and log as plain HTTP and WebSocket."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from harness.api_requests import PODS, fails, make, pod


async def test_exec_over_v4_with_stdin_and_resize(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    api.bind("one")
    url = f"{PODS}/one/exec?command=cat&stdin=true&stdout=true&tty=true"
    async with http.ws_connect(url, protocols=["v4.channel.k8s.io"]) as ws:
        assert ws.protocol == "v4.channel.k8s.io"
        assert (await ws.receive_bytes()) == b"\x01"
        await ws.send_bytes(b'\x04{"Width":100,"Height":40}')
        await ws.send_bytes(b"\x00hello")
        assert (await ws.receive_bytes()) == b"\x01hello"
        assert api.node.sessions[0].sizes == [(100, 40)]
    async with asyncio.timeout(5):
        while not api.node.sessions[0].closed:
            await asyncio.sleep(0.01)


async def test_exec_in_the_text_form_of_channels(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    api.bind("one")
    url = f"{PODS}/one/exec?command=cat&stdin=true&stdout=true"
    async with http.ws_connect(url, protocols=["base64.channel.k8s.io"]) as ws:
        assert await ws.receive_str() == "1"
        await ws.send_str("0aGk=")
        assert await ws.receive_str() == "1aGk="
        await ws.send_str("0not base64")
        assert (await ws.receive_str()).startswith("3")
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_exec_without_an_upgrade_is_refused(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    await fails(http, 400, "GET", f"{PODS}/one/exec?command=true&stdout=true")
    api.bind("one")
    status = await fails(http, 400, "GET", f"{PODS}/one/exec?command=true&stdout=true")
    assert status["message"] == "Upgrade request required"
    await fails(http, 400, "GET", f"{PODS}/one/exec")


async def test_log_options_are_checked(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    status = await fails(http, 422, "GET", f"{PODS}/one/log?tailLines=-1&limitBytes=0")
    assert 'PodLogOptions "one" is invalid' in status["message"]
    await fails(http, 400, "GET", f"{PODS}/one/log?tailLines=x")
    assert await (await http.get(f"{PODS}/one/log")).text() == ""
